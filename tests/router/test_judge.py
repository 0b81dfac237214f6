"""One record → its outcome, without a log."""

import json
from typing import Any

import pytest

from services.router.judge import Outcome, judge, judge_all
from services.router.outputs import spliced
from services.router.route import route, see
from services.router.seen import SeenIds
from shared.events.dead_letter import whole
from shared.events.envelope import Envelope
from shared.events.feedback import Decision, FeedbackRouted
from shared.log import Headers, Record
from shared.topics import MAX_MESSAGE_BYTES
from tests.router.read_back import read_back
from tests.router.rulesets import ruleset

RULES = ruleset(
    """
rules:
  - {name: robot, when: {text: {contains: "out of office"}}, then: [{discard: "an automatic reply"}]}
  - {name: refund, when: {text: {contains: refund}}, then: [{assign: product}, {tag: billing}, {watch: [sales, product]}]}
"""
)
NOW = "2026-11-22T10:00:00.000Z"
ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def value(**changes: Any) -> bytes:
    body = {"id": ID, "workspace": "default", "received_at": NOW, "source": "web", "text": "a refund", "new": [1]}
    return json.dumps(body | changes).encode()


def record(raw: bytes | None = None, *, offset: int = 0, topic: str = "feedback.received", **envelope: Any) -> Record:
    given = {"id": ID, "type": "feedback.received", "source": "web", "time": NOW, "workspace": "default"}
    headers = Envelope(**(given | {"bodyhash": "aa", "traceparent": TRACE} | envelope)).headers()
    return Record(topic, 3, offset, 1000 + offset, b"key", value() if raw is None else raw, headers)


def one(of: Record, seen: SeenIds | None = None) -> Outcome:
    return judge(of, seen or SeenIds(10_000, 0), RULES, NOW)


def test_routed_to_its_owner_and_to_who_watches() -> None:
    found = one(record())
    assert found.what == "routed"
    owner, watcher = found.messages
    assert (owner.topic, watcher.topic) == ("feedback.routed.product", "feedback.routed.sales")
    for message, role in ((owner, "owner"), (watcher, "watcher")):
        assert message.key == b"key"
        headers = dict(message.headers)
        assert headers["ce_type"] == b"feedback.routed"
        assert headers["ce_id"] == ID.encode()
        assert headers["traceparent"] == TRACE.encode()
        assert len(message.headers) == len(record().headers)
        assert message.value.startswith(value()[:-1])  # byte for byte as it came
        routed = FeedbackRouted.model_validate_json(message.value)
        assert routed.routing.role == role
        assert routed.routing.team == "product"
        assert routed.routing.watchers == ["sales"]
        assert routed.model_extra == {"new": [1]}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a":1}', b'{"a":1,"routing":{}}'),
        (b'{"a":1}\r\n ', b'{"a":1,"routing":{}}'),
        (b'{"a":1 }', b'{"a":1 ,"routing":{}}'),
    ],
)
def test_splice(raw: bytes, expected: bytes) -> None:
    assert spliced(raw, b"{}") == expected
    assert json.loads(expected)["routing"] == {}


def test_headers_in_any_order_and_any_other_ones_stay() -> None:
    given = record()
    shuffled: Headers = [("x-mine", b"\xff"), *reversed(given.headers)]
    (message, _) = one(given._replace(headers=shuffled)).messages
    assert message.headers == [
        (name, b"feedback.routed" if name == "ce_type" else content) for name, content in shuffled
    ]


@pytest.mark.parametrize(
    ("header", "member", "history"), [(b"1", None, True), (None, True, True), (None, None, False), (b"0", False, False)]
)
def test_history(header: bytes | None, member: bool | None, history: bool) -> None:
    given = record(value() if member is None else value(history=member))
    if header is not None:
        given.headers.append(("ce_history", header))
    assert json.loads(one(given).messages[0].value)["routing"]["history"] is history


def test_discarded_is_decided_with_its_reason() -> None:
    found = one(record(value(text="I am out of office")))
    assert found.what == "discarded"
    (message,) = found.messages
    decision = Decision.model_validate_json(message.value)
    assert decision.decision == "discarded"
    assert "an automatic reply" in decision.reason
    assert decision.model_extra
    assert decision.model_extra["ruleset_version"] == RULES.version


def test_a_repeat_and_a_conflict_name_the_last_occurrence() -> None:
    seen = SeenIds(10_000, 0)
    outcomes = [
        judge(record(offset=offset, bodyhash=body), seen, RULES, NOW)
        for offset, body in enumerate(["aa", "aa", "bb", "bb"])
    ]
    assert [outcome.what for outcome in outcomes] == ["routed", "duplicate", "conflict", "duplicate"]
    for offset, outcome in enumerate(outcomes[1:], 1):
        (message,) = outcome.messages
        assert message.topic == "feedback.decisions"
        assert dict(message.headers)["ce_type"] == b"feedback.decided"
        decision = Decision.model_validate_json(message.value)
        assert decision.of == f"feedback.received/3/{offset - 1}"
        assert decision.id == ID


def test_a_redriven_one_is_no_repeat_of_its_original() -> None:
    seen = SeenIds(10_000, 0)
    assert judge(record(), seen, RULES, NOW).what == "routed"
    again = judge(record(offset=1, redrive=1), seen, RULES, NOW)
    assert again.what == "routed"
    assert dict(again.messages[0].headers)["redrive"] == b"1"
    assert judge(record(offset=2, redrive=1), seen, RULES, NOW).what == "duplicate"


def test_after_the_window_it_is_new_again() -> None:
    seen = SeenIds(10_000, 0)
    assert judge(record()._replace(timestamp_ms=0), seen, RULES, NOW).what == "routed"
    assert judge(record(offset=1)._replace(timestamp_ms=10_000), seen, RULES, NOW).what == "duplicate"
    assert judge(record(offset=2)._replace(timestamp_ms=20_001), seen, RULES, NOW).what == "routed"


def test_activity_is_noted_with_what_others_need() -> None:
    raw = json.dumps({"activity": "cancellation", "customer": {"id": "c-1"}, "occurred_at": NOW, "id": "x"}).encode()
    found = one(record(raw, type="customer.activity"))
    assert found.what == "activity.noted"
    decision = Decision.model_validate_json(found.messages[0].value)
    assert (decision.decision, decision.id) == ("activity.noted", ID)
    assert decision.model_extra
    assert decision.model_extra["activity"] == "cancellation"
    assert decision.model_extra["customer"] == {"id": "c-1"}


@pytest.mark.parametrize("kind", ["work.shipped", "work.declined"])
def test_work_is_noted(kind: str) -> None:
    found = one(record(json.dumps({"work_id": "JIRA-1", "feedback_ids": [ID]}).encode(), type=kind))
    decision = Decision.model_validate_json(found.messages[0].value)
    assert decision.decision == "work.noted"
    assert decision.model_extra
    assert (decision.model_extra["type"], decision.model_extra["work_id"]) == (kind, "JIRA-1")


def test_a_tickets_move_is_noted() -> None:
    given = {"work_id": "812", "source": "desk", "team": "Billing EU", "occurred_at": NOW}
    found = one(record(json.dumps(given).encode(), type="work.moved"))
    decision = Decision.model_validate_json(found.messages[0].value)
    assert (found.what, decision.decision) == ("work.noted", "work.noted")
    assert decision.model_extra
    assert {"type": "work.moved", **given}.items() <= decision.model_extra.items()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (record(b"nonsense"), "malformed"),
        (record(b"[]"), "wrong-type"),
        (record(value(text=5)), "wrong-type"),
        (record(value(routing={})), "reserved-member"),
        (record(b"{}"), "wrong-type"),
        (record(b"{}", type="customer.activity"), "wrong-type"),
        (record(b'{"activity": 1, "customer": {}}', type="customer.activity"), "wrong-type"),
        (record(b'{"work_id": "x", "feedback_ids": 5}', type="work.shipped"), "wrong-type"),
        (record(b'{"work_id": "x"}', type="work.moved"), "wrong-type"),
        (record(type="feedback.routed"), "bad-headers"),
        (record(workspace="acme"), "bad-headers"),
        (record()._replace(headers=[]), "bad-headers"),
        (record()._replace(headers=[h for h in record().headers if h[0] != "ce_id"]), "bad-headers"),
        (record()._replace(headers=[h for h in record().headers if h[0] != "ce_source"]), "bad-headers"),
        (record()._replace(headers=[*record().headers, ("redrive", b"x")]), "bad-headers"),
        (record()._replace(headers=[*record().headers, ("ce_id", "ü".encode())]), "bad-headers"),
        (record(value(note="x" * (MAX_MESSAGE_BYTES - 2000))), "too-large"),
    ],
)
def test_poison_is_dead_lettered_with_its_original_bytes(given: Record, reason: str) -> None:
    found = one(given)
    assert found.what == "dead-letter"
    (letter,) = whole([Record("feedback.dead-letter", 0, i, 0, *m[1:]) for i, m in enumerate(found.messages)])
    assert letter.reason == reason
    assert letter.service == "router"
    assert letter.value == given.value
    assert letter.headers == given.headers
    assert letter.id == f"{given.topic}/{given.partition}/{given.offset}"
    assert letter.detail


def test_another_workspace_has_its_own_topics() -> None:
    found = one(record(topic="acme.feedback.received", workspace="acme"))
    assert [message.topic for message in found.messages] == [
        "acme.feedback.routed.product",
        "acme.feedback.routed.sales",
    ]


def test_a_crash_is_tried_again_and_then_dead_lettered_without_quoting_the_customer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def crash(*_: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("secret-words of the customer")
        raise ZeroDivisionError("secret-words")

    monkeypatch.setattr("services.router.judge.route", crash)
    found = one(record())
    assert len(tries) == 3
    assert found.detail.startswith("crash: an unexpected ZeroDivisionError in test_judge.py")
    (letter,) = whole([Record("feedback.dead-letter", 0, i, 0, *m[1:]) for i, m in enumerate(found.messages)])
    assert (letter.reason, letter.attempts) == ("crash", 3)
    assert "secret" not in letter.detail


def test_a_crash_that_passes_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    real = route

    def crash_once(*given: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError
        return real(*given)

    monkeypatch.setattr("services.router.judge.route", crash_once)
    assert one(record()).what == "routed"


def test_many_are_judged_as_each_of_them_is_alone() -> None:
    """A repeat within them, too, and one whose text cannot be looked at ahead."""
    many = [record(), record(offset=1), record(offset=2)._replace(value=b"{"), record(offset=3, redrive=1)]
    seen = SeenIds(10_000, 0)
    alone = [judge(each, seen, RULES, NOW) for each in many]
    assert judge_all(many, SeenIds(10_000, 0), RULES, NOW) == alone
    assert [outcome.what for outcome in alone[::3]] == ["routed", "routed"]
    assert all(outcome.what != "routed" for outcome in alone[1:3])


def test_one_that_cannot_be_judged_ahead_takes_nobody_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = see

    def crash(looked: Any, ruleset: Any) -> Any:
        if any(feedback.text == "poison" for feedback, _ in looked):
            raise ZeroDivisionError
        return real(looked, ruleset)

    monkeypatch.setattr("services.router.judge.see", crash)
    monkeypatch.setattr("services.router.route.see", crash)
    poison = record(value(text="poison"), offset=1, id="3f2504e0-4f89-41d3-9a0c-0305e82c3302")
    found = judge_all([record(), poison], SeenIds(10_000, 0), RULES, NOW)
    assert [outcome.what for outcome in found] == ["routed", "dead-letter"]
    assert found[1].detail.startswith("crash: an unexpected ZeroDivisionError")


def test_bad_headers_with_an_id_count_alike_for_us_and_for_whoever_rebuilds_the_map() -> None:
    """The verdict about what follows is a function of the log, not of who was there."""
    bad, good = record(workspace="another"), record(offset=1)
    warm, rebuilt = SeenIds(10_000, 0), SeenIds(10_000, 1)
    assert judge(bad, warm, RULES, NOW).what == "dead-letter"
    rebuilt.add(read_back([(bad.offset, bad.timestamp_ms, bad.headers)]), b"default")
    assert judge(good, warm, RULES, NOW).what == judge(good, rebuilt, RULES, NOW).what
