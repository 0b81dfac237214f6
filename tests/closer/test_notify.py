"""What an event owes the customer: a mail, a reason why not, or nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.closer.case import (
    Acknowledge,
    Case,
    Command,
    CustomerSaid,
    Decline,
    Event,
    Join,
    Note,
    Open,
    Reopen,
    Resolve,
    Told,
    decide,
    open_case,
)
from services.closer.notify import Contact, Notification, Withheld, language_of, notify

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
KNOWN = Contact(email="c@example.com", name="Chen", locale="de-DE")


def opening(*, history: bool = False, language: str = "zh-Hans-CN") -> tuple[Case, Event]:
    command = Open(
        case_id="case-1",
        workspace="acme",
        case_key="k",
        customer="c-1",
        team="support",
        theme="general",
        priority="normal",
        feedback_id="f-1",
        received_at=NOW,
        snapshot=None,
        language=language,
        history=history,
    )
    outcome = open_case(command, NOW)
    return outcome.case, outcome.events[0]


def last(case: Case, *commands: Command) -> tuple[Case, Event]:
    event = None
    for command in commands:
        outcome = decide(case, command, NOW)
        case, event = outcome.case, outcome.events[-1]
    assert event is not None
    return case, event


def test_we_heard_you_when_the_case_opens() -> None:
    found = notify(*opening(), KNOWN)
    assert isinstance(found, Notification)
    assert (found.kind, found.language, found.to, found.name) == ("heard", "zh", "c@example.com", "Chen")
    assert found.dedup_key == "acme/case-1/heard/1"


@pytest.mark.parametrize(
    ("commands", "kind", "key"),
    [
        ((Resolve("done"),), "answered", "acme/case-1/answered/1"),
        ((Decline("no"),), "declined", "acme/case-1/declined/1"),
        ((Resolve("done"), Reopen(), Resolve("done again")), "answered", "acme/case-1/answered/2"),
        ((Resolve("done"), Reopen(), Decline("no")), "declined", "acme/case-1/declined/2"),
    ],
)
def test_the_answer_once_per_generation(commands: tuple[Command, ...], kind: str, key: str) -> None:
    found = notify(*last(opening()[0], *commands), KNOWN)
    assert isinstance(found, Notification)
    assert (found.kind, found.dedup_key) == (kind, key)


@pytest.mark.parametrize(
    "commands",
    [
        (Join("f-2"),),
        (Acknowledge(),),
        (Note("x"),),
        (Resolve("done"), Reopen()),
        (Resolve("done"), Told("answered", 1, "k", "email")),
        (Resolve("done"), CustomerSaid(solved=True)),
        (Resolve("done"), CustomerSaid(solved=False)),
    ],
)
def test_nothing_else_is_owed(commands: tuple[Command, ...]) -> None:
    assert notify(*last(opening()[0], *commands), KNOWN) is None


@pytest.mark.parametrize(
    ("contact", "history", "reason"),
    [
        (Contact(), False, "no-address"),
        (Contact(email=""), False, "no-address"),
        (Contact(email="c@example.com", unsubscribed=True), False, "unsubscribed"),
        (Contact(unsubscribed=True), False, "unsubscribed"),
        (KNOWN, True, "history"),
    ],
)
def test_each_decision_not_to_send_has_its_reason(contact: Contact, history: bool, reason: str) -> None:
    case, event = opening(history=history)
    for happened in ((case, event), last(case, Resolve("done"))):
        found = notify(*happened, contact)
        assert isinstance(found, Withheld)
        assert found.reason == reason
        assert found.dedup_key.startswith("acme/case-1/")


@pytest.mark.parametrize(
    ("written", "locale", "expected"),
    [
        ("zh", None, "zh"),
        ("zh-TW", "en-US", "zh"),
        ("ZH_cn", None, "zh"),
        ("en-GB", "zh-CN", "en"),
        ("ja", "zh-CN", "zh"),
        ("ja", "ja-JP", "en"),
        ("und", "zh-CN", "zh"),
        ("und", None, "en"),
        ("zha", None, "en"),  # Zhuang is not Chinese
        ("", "", "en"),
    ],
)
def test_in_the_language_that_the_customer_wrote_in(written: str, locale: Any, expected: str) -> None:
    assert language_of(written, locale) == expected
