"""Why not another rule: those that almost did, each with a sentence. ●

A rule almost did when it holds and another one stood before it and had decided already, or when it is short of one condition
and of no other. Being short of one alone says nothing where there is only one: then what it asks about must at least be
there, such as a score that is too high by three. Every rule is looked at, so this is for whoever asks, never for an event.
"""

from collections.abc import Sequence
from typing import Any

from services.router.conditions import Facts
from services.router.ruleset import Rule, Ruleset

MAX_ALMOST = 10


def almost(ruleset: Ruleset, facts: Facts, matched: Sequence[Rule]) -> list[dict[str, Any]]:
    """The first `MAX_ALMOST`, in the order of routing.yaml. `matched`: the rules that hold, up to the one that decided."""
    decider = matched[-1] if matched and matched[-1].decides else None
    did = {rule.name for rule in matched}
    before: Rule | None = None
    found: list[dict[str, Any]] = []
    for rule in ruleset.rules:
        if rule.name in did:
            before = before or (rule if rule is decider else None)
            continue
        why = _why_not(rule, facts, before)
        if why is not None:
            found.append(why)
            if len(found) == MAX_ALMOST:
                break
    return found


def _why_not(rule: Rule, facts: Facts, before: Rule | None) -> dict[str, Any] | None:
    """`before`: the rule that had decided when this one's turn would have come."""
    if rule.when.holds(facts):
        assert before is not None, "what holds and did not was never asked"
        seen = rule.when.why(facts)
        because = f" because {' and '.join(seen)}" if seen else ""
        return _told(rule, "rule.too-late", f"It holds too{because}, but {_stood(before)}.")
    lack = rule.when.lack(facts)
    if lack.conditions != 1 or not lack.near:
        return None
    besides = f" Besides, {_stood(before)}." if before is not None else ""
    return _told(rule, "rule.one-short", f"It is short of one condition, {lack.what}.{besides}")


def _stood(before: Rule) -> str:
    did = "discarded it" if any(step.verb == "discard" for step in before.then) else "assigned"
    return f'rule "{before.name}" stood before it and had {did} already'


def _told(rule: Rule, code: str, why: str) -> dict[str, Any]:
    return {"rule": rule.name, "code": code, "text": f"{why} What it would have done: {rule.done}.", "would": rule.done}
