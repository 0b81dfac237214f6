"""Dead letters: the original as it came, how often it was tried, and what can be sent again."""

import dataclasses

import pytest

from shared.events.dead_letter import dead_letter_of, redriven, whole
from shared.log import Headers, Record


def record(*headers: tuple[str, bytes]) -> Record:
    return Record("feedback.received", 1, 7, 0, b"key", b"\xff\x00", list(headers))


def tried(headers: Headers) -> int:
    return dead_letter_of(record(*headers), service="router", reason="bad-value", detail="x").attempts


@pytest.mark.parametrize(
    ("headers", "attempts"),
    [([], 1), ([("redrive", b"1")], 2), ([("redrive", b"12")], 13), ([("redrive", b"x")], 1), ([("redrive", b"9" * 5000)], 1)],
    ids=["first", "redriven once", "twelve times", "no number", "no number that anybody meant"],
)  # fmt: skip
def test_what_was_tried_before_it_was_redriven_counts(headers: Headers, attempts: int) -> None:
    assert tried(headers) == attempts


def test_a_redriven_record_is_the_original_and_says_how_often() -> None:
    letter = dead_letter_of(record(("ce_id", b"a")), service="router", reason="bad-value", detail="x")
    message = redriven(letter)
    assert (message.topic, message.key, message.value) == ("feedback.received", b"key", b"\xff\x00")
    assert message.headers == [("ce_id", b"a"), ("redrive", b"1")]
    again = redriven(dataclasses.replace(letter, headers=message.headers))
    assert again.headers == [("ce_id", b"a"), ("redrive", b"2")]
    unreadable = dataclasses.replace(letter, headers=[("redrive", b"x")])
    assert redriven(unreadable).headers == [("redrive", b"1")]


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ("feedback.received", "feedback.received"),
        ("acme.feedback.received", "acme.feedback.received"),
        ("feedback.routed.support", "feedback.redrive"),
        ("feedback.decisions", "feedback.redrive"),
        ("feedback.feedback.received", "feedback.feedback.received"),
        ("acme.feedback.routed.support", "acme.feedback.redrive"),
        ("feedback.redrive", "feedback.redrive"),
    ],
)
def test_what_others_read_too_is_sent_again_to_one_service_alone(came: str, goes: str) -> None:
    letter = dead_letter_of(record(), service="closer", reason="x", detail="x")
    letter = dataclasses.replace(letter, original_topic=came, headers=[("redrive", b"1"), ("redrive_for", b"old")])
    message = redriven(letter)
    assert message.topic == goes
    wanted = [("redrive", b"2"), ("redrive_for", b"closer")]
    assert message.headers == (wanted[:1] if goes.endswith("received") else wanted)


@pytest.mark.parametrize(
    ("original_topic", "how"),
    [
        ("feedback.received", "topic"),
        ("acme.feedback.routed.support", "topic"),
        ("webhooks/zendesk-eu", "webhook"),
        ("acme.webhooks/zendesk-eu", "webhook"),
        ("", "unknown"),
    ],
)
def test_how_it_came(original_topic: str, how: str) -> None:
    letter = dead_letter_of(record(), service="router", reason="bad-value", detail="x")
    assert dataclasses.replace(letter, original_topic=original_topic).came_by == how


def test_a_letter_is_read_back_whole() -> None:
    letter = dead_letter_of(record(("ce_id", b"a")), service="router", reason="bad-value", detail="x")
    large = dataclasses.replace(letter, value=bytes(range(256)) * 40_000)
    for one in (letter, large):
        messages = one.messages()
        records = [Record(m.topic, 0, offset, 0, m.key, m.value, list(m.headers)) for offset, m in enumerate(messages)]
        assert whole(records) == [one]
        assert len(messages) == 1 or whole(records[:-1]) == []
