"""`suppress`: what is held, until when and why, follows from the event and the rules; and how a wrong one is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.actions.suppress import LONGEST
from services.router.feedback import read_feedback
from services.router.route import Routing, explain, route
from shared.config.document import ConfigError
from shared.events.envelope import rfc3339
from tests.router.rulesets import ruleset

FROM, UNTIL = datetime(2026, 12, 1, 22, tzinfo=UTC), datetime(2026, 12, 2, 2, tzinfo=UTC)
WINDOW = "suppress: {from: 2026-12-01T22:00:00Z, until: 2026-12-02T10:00:00+08:00, because: planned maintenance}"
RULES = f"""
rules:
  - name: maintenance
    when: {{all: [{{text: {{contains: login}}}}, {{not: {{urgency: safety}}}}]}}
    then: [{{assign: product}}, {{tag: maintenance}}, {{{WINDOW}}}]
    examples:
      - {{text: "login fails", received_at: 2026-12-01T23:00:00Z, expect: {{held: planned maintenance, team: product}}}}
      - {{text: "login fails", received_at: 2026-12-02T01:59:59Z, expect: {{held: true}}}}
      - {{text: "login fails", received_at: 2026-12-02T02:00:00Z, expect: {{held: false, team: product}}}}
      - {{text: "the login box caught fire", received_at: 2026-12-01T23:00:00Z, expect: {{held: false}}}}
"""


def said(text: str, received_at: str) -> dict[str, Any]:
    return {"id": "1", "workspace": "default", "source": "x", "text": text, "received_at": received_at}


def test_what_is_held_is_routed_at_once_and_says_until_when_and_why() -> None:
    found = explain(ruleset(RULES), said("login fails", "2026-12-01T23:00:00.000Z"))
    assert (found["team"], found["tags"], found["follow_up"], found["discarded"]) == (
        "product",
        ["maintenance"],
        True,
        None,
    )
    assert found["held"] == {"until": "2026-12-02T02:00:00.000Z", "because": "planned maintenance"}
    reasons = {reason["code"]: reason["text"] for reason in found["reasons"]}
    assert (
        "held if it is received from 2026-12-01T22:00:00.000Z before 2026-12-02T02:00:00.000Z"
        in reasons["rule.matched"]
    )
    assert reasons["held.until"] == (
        "It came within that time, so nobody is troubled by it before 2026-12-02T02:00:00.000Z: planned maintenance."
    )


def test_what_is_not_held_has_no_such_member() -> None:
    found = explain(ruleset(RULES), said("login fails", "2026-12-02T02:00:00.000Z"))
    assert found["team"] == "product"
    assert "held" not in found
    assert "held.until" not in {reason["code"] for reason in found["reasons"]}


@given(st.datetimes(FROM.replace(tzinfo=None) - timedelta(hours=2), UNTIL.replace(tzinfo=None) + timedelta(hours=2)))
@settings(deadline=None)
def test_it_follows_from_the_event_alone_whoever_decides_and_whenever(received: datetime) -> None:
    """Two routers that share nothing, and no clock between them, write the same bytes."""
    at = rfc3339(received.replace(tzinfo=UTC))
    value = json.dumps(said("login fails", at)).encode()
    one, other = (route(read_feedback(value), ruleset(RULES)) for _ in range(2))
    assert one == other
    assert isinstance(one, Routing)
    assert (one.held is not None) == (FROM <= datetime.fromisoformat(at) < UNTIL)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)), st.integers(1, 31 * 24 * 60))
@settings(deadline=None)
def test_a_span_counts_from_when_it_was_received(received: datetime, minutes: int) -> None:
    rules = ruleset(f"rules: [{{name: r, when: {{all: []}}, then: [{{suppress: {{for: {minutes}m, because: x}}}}]}}]")
    at = rfc3339(received.replace(tzinfo=UTC))
    found = explain(rules, said("hello", at))
    assert datetime.fromisoformat(found["held"]["until"]) == datetime.fromisoformat(at) + timedelta(minutes=minutes)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)))
@settings(deadline=None)
def test_nothing_is_held_for_longer_than_a_month_whatever_year_was_mistyped(received: datetime) -> None:
    rules = ruleset(
        "rules: [{name: r, when: {all: []}, then: [{suppress: {until: 2062-12-02T02:00:00Z, because: x}}]}]"
    )
    at = rfc3339(received.replace(tzinfo=UTC))
    held = explain(rules, said("hello", at)).get("held")
    if held is not None:
        assert datetime.fromisoformat(held["until"]) - datetime.fromisoformat(at) <= LONGEST


@pytest.mark.parametrize(
    ("written", "line", "column", "told"),
    [
        ("{because: x}", 4, 13, "`until` or `for` is wanted"),
        ("{from: 2026-12-01T22:00:00Z, because: x}", 4, 13, "`until` or `for` is wanted"),
        ("{for: 2h}", 4, 13, "because: is required"),
        ("{for: 2h, because: '  '}", 4, 33, "at least 1 character"),
        ("{for: 2h, because: [x]}", 4, 33, "because: "),
        ("{until: 2026-12-02T02:00:00, because: x}", 4, 24, "a time with its zone"),
        ("{until: 2026-12-02, because: x}", 4, 24, "a time with its zone"),
        ("{until: tomorrow, because: x}", 4, 24, "a time with its zone"),
        ("{until: 1796176800, because: x}", 4, 24, "a time with its zone"),
        ("{until: , because: x}", 4, 24, "a time with its zone"),
        ("{until: 0001-01-01T00:00:00+14:00, because: x}", 4, 24, "a time with its zone"),
        ("{from: now, until: 2026-12-02T02:00:00Z, because: x}", 4, 24, "a time with its zone"),
        ("{from: 2026-12-02T02:00:00Z, until: 2026-12-02T02:00:00Z, because: x}", 4, 52, "after it begins"),
        ("{from: 2026-12-02T02:00:00Z, until: 2026-12-02T09:00:00+08:00, because: x}", 4, 52, "after it begins"),
        ("{from: 2026-11-01T02:00:00Z, until: 2026-12-02T02:00:01Z, because: x}", 4, 52, "at most 31 days later"),
        ("{until: 2026-12-02T02:00:00Z, for: 2h, because: x}", 4, 53, "neither `from` nor `until`"),
        ("{from: 2026-12-02T02:00:00Z, for: 2h, because: x}", 4, 52, "neither `from` nor `until`"),
        ("{for: 2, because: x}", 4, 24, "valid string"),
        ("{for: 2w, because: x}", 4, 24, "such as 30m, 2h or 1d"),
        ("{for: 0h, because: x}", 4, 24, "such as 30m, 2h or 1d"),
        ("{for: 32d, because: x}", 4, 24, "at most 31 days"),
        ("{untill: 2026-12-02T02:00:00Z, because: x}", 4, 24, 'did you mean "until"?'),
        ("2h", 4, 13, "valid dictionary"),
    ],
)
def test_a_fault_is_named_with_its_place(written: str, line: int, column: int, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ruleset(f"rules:\n  - name: a\n    when: {{all: []}}\n    then: [{{suppress: {written}}}]")
    issue = caught.value.issues[0]
    assert told in issue.message
    assert (issue.file, issue.line, issue.column) == ("routing.yaml", line, column)


def test_a_failing_example_says_what_came_out() -> None:
    with pytest.raises(ConfigError, match="held is planned maintenance, not False"):
        ruleset(RULES.replace("expect: {held: true}", "expect: {held: false}"))
