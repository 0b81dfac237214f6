"""`flywheel rules reown`: the closer's open cases, decided anew by the router's rules in force, and given to whom those name."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

from services.cli import client, show
from services.cli.ruling import SAID_MAX_CHARS, since
from shared.clock import SystemClock
from shared.events.envelope import rfc3339

PAGE = 100
ASKED_MAX_BYTES = 500_000
GIVEN_AT_ONCE = 500
NO_RULE = "(no rule)"


def reown(since_: str, dry_run: bool, samples: int) -> dict[str, Any]:
    """What would go where, and what went. Raises `Misuse`, `Refused`, `Transient`."""
    opened = rfc3339(since(since_, SystemClock().now()))
    by_team: Counter[tuple[str, str]] = Counter()
    by_rule: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    cases: list[dict[str, str]] = []
    looked_at = discarded = 0
    version = None
    for some in _open(opened):
        decisions = client.call("router", "POST", "/v1/rules/explain", json=[one["feedback"] for one in some])
        for one, decision in zip(some, decisions, strict=True):
            looked_at += 1
            version = decision["ruleset_version"]
            if decision["team"] is None:
                discarded += 1
            elif decision["team"] != one["team"]:
                cases.append({"id": one["id"], "from": one["team"], "to": decision["team"]})
                by_team[one["team"], decision["team"]] += 1
                by_rule[decision["rule"] or NO_RULE] += 1
                if len(kept) < samples:
                    kept.append({**cases[-1], "rule": decision["rule"], "said": _said(one["feedback"])})
    found: dict[str, Any] = {
        "since": opened,
        "ruleset_version": version,
        "looked_at": looked_at,
        "differ": len(cases),
        "would_be_discarded": discarded,
        "by_team": [{"from": left, "to": right, "count": n} for (left, right), n in by_team.most_common()],
        "by_rule": [{"rule": rule, "count": n} for rule, n in by_rule.most_common()],
        "samples": kept,
        "batch": None,
        "moved": 0,
        "left": [],
    }
    return found if dry_run or not cases else found | _given(cases, f"owned anew by rules {version}")


def _open(opened: str) -> Iterator[list[dict[str, Any]]]:
    """As many as the router decides about at once."""
    cursor = None
    while True:
        page = client.page("closer", "/v1/reownings/open", {"since": opened, "cursor": cursor, "limit": PAGE})
        some: list[dict[str, Any]] = []
        size = 0
        for one in page["items"]:
            length = len(json.dumps(one["feedback"]))
            if some and size + length > ASKED_MAX_BYTES:
                yield some
                some, size = [], 0
            some.append(one)
            size += length
        if some:
            yield some
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _given(cases: list[dict[str, str]], why: str) -> dict[str, Any]:
    batch, moved, left = str(uuid.uuid4()), 0, []
    for start in range(0, len(cases), GIVEN_AT_ONCE):
        body = {"batch": batch, "why": why, "cases": cases[start : start + GIVEN_AT_ONCE]}
        done = client.call("closer", "POST", "/v1/reownings", json=body)
        moved += len(done["moved"])
        left += done["left"]
    return {"batch": batch, "moved": moved, "left": left}


def undo(batch: str) -> dict[str, Any]:
    found: dict[str, Any] = client.call("closer", "POST", f"/v1/reownings/{batch}/undo")
    return found


def _said(feedback: dict[str, Any]) -> str:
    return " · ".join(str(feedback[name]) for name in ("title", "text") if feedback.get(name))


def tell(found: dict[str, Any]) -> None:
    show.say(f"{found['looked_at']} open cases that nobody has taken since {found['since']}: {found['differ']} differ")
    for one in found["by_team"]:
        show.say(f"  {one['count']:>7}  {one['from']} → {one['to']}")
    if found["by_rule"]:
        show.say("by the rule that decides:")
    for one in found["by_rule"]:
        show.say(f"  {one['count']:>7}  {one['rule']}")
    for one in found["samples"]:
        show.say(f"  {one['id']}  {one['from']} → {one['to']}  “{show.short(one['said'], SAID_MAX_CHARS)}”")
    if found["would_be_discarded"]:
        show.say(f"{found['would_be_discarded']} would be discarded today, and stay where they are")
    if found["batch"] is not None:
        show.say(f"batch {found['batch']}: {found['moved']} moved, {len(found['left'])} had changed meanwhile")
        show.say(f"`flywheel rules reown --undo {found['batch']}` puts back those that nobody touches")


def tell_undone(found: dict[str, Any]) -> None:
    show.say(f"batch {found['batch']}: {len(found['moved'])} went back, {len(found['left'])} were touched and stay")
