"""What came in before, decided again: by the rules in force and by others. Nothing is written, to no log and to no database. ●

Both are asked about one look at the text, and about one sight of it where they see alike; a model judges for both, many texts
at once. What counts is what a team would notice; what was said is kept of as many as are asked for, and of no other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from services.router.difference import DEFAULT, NOBODY, alike, as_compared, unlike
from services.router.feedback import FeedbackValue, Unreadable, read_feedback
from services.router.model.judge import Judge
from services.router.route import Discarded, Routing, Seen, look, route, see
from services.router.rules import load, load_beside
from services.router.ruleset import Ruleset
from services.router.seen import identify, workspace_of
from shared.config import Config
from shared.events.envelope import FEEDBACK_RECEIVED
from shared.log import Record

MOST = 0.5
"""A rule that holds for more than this share of what came in asks for little."""
SEEN_TOGETHER = 100
_FEEDBACK = FEEDBACK_RECEIVED.encode()


class Pair(NamedTuple):
    """Two rulesets that one look at a text serves; the same one twice where there is nothing to compare with."""

    old: Ruleset
    new: Ruleset


def pair(old: Config, new: Config, judge: Judge | None = None) -> Pair:
    """`judge`: what was learnt, which judges beside either. Raises `ConfigError`."""
    before = replace(load(old), judge=judge)
    after = replace(load_beside(new, before.terms), judge=judge) if new.version != old.version else before
    # Behind the terms of both stand the words that lean towards a team, so they begin for both where they do in this matcher.
    return Pair(replace(before, matcher=after.matcher, leanings_from=after.leanings_from), after)


class Sample(NamedTuple):
    """One that would be decided otherwise."""

    id: str
    what: tuple[str, ...]
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    said: str | None
    """Only where samples were asked for."""


@dataclass
class Tally:
    """What was found so far."""

    samples: int = 0
    """So many are kept with what was said."""
    feedback: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    """duplicate, unreadable, other (what is no feedback)."""
    moved: int = 0
    """To another team, or to or from nobody."""
    otherwise: int = 0
    """Stays where it is, with other tags, watchers, priority or answer owed."""
    by_team: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_rule: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of what moves: the rule that decided, and the one that would."""
    what: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    fired_anew: Counter[str] = field(default_factory=Counter)
    kept: list[Sample] = field(default_factory=list)


class Replay:
    """Takes records of `feedback.received` in their order, one partition after the other or mixed."""

    def __init__(self, rules: Pair, tally: Tally) -> None:
        self.tally = tally
        self._old, self._new = rules
        self._same = rules.old is rules.new or rules.old.version == rules.new.version
        self._see_alike = (rules.old.metrics, rules.old.teams) == (rules.new.metrics, rules.new.teams)
        self._seen: dict[tuple[str, int], set[int]] = {}

    def take(self, records: Sequence[Record]) -> None:
        said = [one for record in records if (one := self._read(record)) is not None]
        for start in range(0, len(said), SEEN_TOGETHER):
            some = said[start : start + SEEN_TOGETHER]
            looked = [(feedback, look(feedback, self._old)) for feedback, _ in some]
            seen = see(looked, self._old)
            seen_anew = seen if self._same or self._see_alike else see(looked, self._new)
            for (feedback, history), by_old, by_new in zip(some, seen, seen_anew, strict=True):
                self._decide(feedback, history, by_old, by_new)

    def _read(self, record: Record) -> tuple[FeedbackValue, bool] | None:
        """The feedback, and whether it is history. A repeat is what came before within what is replayed."""
        passed_over = self.tally.passed_over
        headers = dict(record.headers)
        identity = identify(headers, workspace_of(record.topic)[1])
        if identity is None or headers["ce_type"] != _FEEDBACK:
            passed_over["unreadable" if identity is None else "other"] += 1
            return None
        seen = self._seen.setdefault((record.topic, record.partition), set())
        if identity[0] in seen:
            passed_over["duplicate"] += 1
            return None
        seen.add(identity[0])
        try:
            feedback = read_feedback(record.value)
        except Unreadable:
            passed_over["unreadable"] += 1
            return None
        return feedback, headers.get("ce_history") == b"1" or feedback.history is True

    def _decide(self, feedback: FeedbackValue, history: bool, by_old: Seen, by_new: Seen) -> None:
        tally = self.tally
        tally.feedback += 1
        old = route(feedback, self._old, history, by_old)
        tally.fired.update(_fired(old))
        if self._same:
            return
        new = route(feedback, self._new, history, by_new)
        tally.fired_anew.update(_fired(new))
        if alike(old, new):
            return
        before, after = as_compared(old), as_compared(new)
        what = unlike(before, after)
        if not what:
            return
        tally.what.update(what)
        left, right = before["team"] or NOBODY, after["team"] or NOBODY
        if left != right:
            tally.moved += 1
            tally.by_team[left, right] += 1
            tally.by_rule[before["rule"] or DEFAULT, after["rule"] or DEFAULT] += 1
        else:
            tally.otherwise += 1
        if len(tally.kept) < tally.samples:
            said = " · ".join(part for part in (feedback.title, feedback.text) if part)
            tally.kept.append(Sample(feedback.id, what, before, after, said))


def _fired(decision: Routing | Discarded) -> list[str]:
    """Every rule that held, up to the one that decided."""
    return [
        reason["rule"] for reason in decision.reasons if isinstance(reason, dict) and reason["code"] == "rule.matched"
    ]


def report(rules: Pair, tally: Tally) -> dict[str, Any]:
    """As plain data."""
    fired = tally.fired if rules.old.version == rules.new.version else tally.fired_anew
    share = {rule.name: fired[rule.name] / tally.feedback if tally.feedback else 0.0 for rule in rules.new.rules}
    return {
        "old": rules.old.version,
        "new": rules.new.version,
        "feedback": tally.feedback,
        "passed_over": dict(tally.passed_over),
        "moved": tally.moved,
        "otherwise": tally.otherwise,
        "what": dict(tally.what.most_common()),
        "by_team": [{"from": left, "to": right, "count": n} for (left, right), n in tally.by_team.most_common()],
        "by_rule": [{"from": left, "to": right, "count": n} for (left, right), n in tally.by_rule.most_common()],
        "rules": [
            {"rule": name, "old": tally.fired[name], "new": fired[name]}
            for name in dict.fromkeys([*(rule.name for rule in rules.old.rules), *share])
        ],
        "never": [name for name in share if not fired[name]] if tally.feedback else [],
        "most": [{"rule": name, "share": round(part, 3)} for name, part in share.items() if part > MOST],
        "samples": [sample._asdict() for sample in tally.kept],
    }
