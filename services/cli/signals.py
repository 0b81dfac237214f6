"""`flywheel signals`: what came too often."""

from collections.abc import Mapping
from typing import Any

from services.cli import client, show

FEEDBACK_SHOWN = 20


def listed(team: str | None, every: bool, cursor: str | None, limit: int, json_: bool) -> None:
    state = None if every else "up"
    page = client.page("closer", "/v1/signals", {"team": team, "state": state, "cursor": cursor, "limit": limit})
    if json_:
        show.as_json(page)
        return
    columns = ("signal", "name", "about", "team", "raised", "cases", "customers", "why")
    rows = [
        (
            one["id"],
            one["name"],
            one["group"] or "",
            one["team"],
            one["raised_at"][:16],
            one["cases"],
            one["customers"],
            show.short(one["reason"], 60),
        )
        for one in page["items"]
    ]
    show.table(columns, rows, empty="no signal" if every else "no signal is up (--all shows those that passed)")
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


def shown(signal_id: str, json_: bool) -> None:
    """One, with the first of its feedback."""
    signal = client.call("closer", "GET", f"/v1/signals/{signal_id}")
    evidence = client.page("closer", f"/v1/signals/{signal_id}/feedback", {"limit": 200 if json_ else FEEDBACK_SHOWN})
    if json_:
        show.as_json(signal | {"evidence": evidence})
        return
    about = f" ({signal['by']}: {signal['group']})" if signal["group"] else ""
    show.say(f"{signal['name']}{about}: {signal['reason']}")
    show.say(f"  team {signal['team']}{_watched(signal)}")
    passed = f", passed {signal['resolved_at']}" if signal["resolved_at"] else ", up"
    show.say(f"  raised {signal['raised_at']}{passed}")
    show.say(f"  {signal['feedback']} pieces of feedback, {signal['cases']} cases, {signal['customers']} customers")
    if signal["tags"]:
        show.say("  mostly " + ", ".join(f"{one['tag']} ({one['count']})" for one in signal["tags"]))
    rows = [(one["at"], one["feedback_id"], one["case_id"] or "") for one in evidence["items"]]
    show.table(("came", "feedback", "case"), rows)
    if evidence["next_cursor"]:
        show.say(f"{signal['feedback']} in all: --json has the first 200, GET /v1/signals/ID/feedback each of them")


def _watched(signal: Mapping[str, Any]) -> str:
    return f", watched by {', '.join(signal['watchers'])}" if signal["watchers"] else ""
