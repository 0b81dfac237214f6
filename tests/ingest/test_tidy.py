"""What is kept of a draft that does not fit: everything that does, and the names of the rest. Pure."""

import json
from typing import Any

import pytest

from services.ingest.normalize import Invalid
from services.ingest.tidy import NAMED_MAX, tidy_content
from shared.events.envelope import FEEDBACK_RECEIVED, WORK_SHIPPED
from shared.events.feedback import METRIC_RANGES

LONG = "k" * 150
KEPT: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("a dot in an unknown key", {"text": "a", "utm.source": 1}, {"text": "a"}, ["utm.source"]),
    ("a key that begins as one of ours", {"text": "a", "text.html": "<p>"}, {"text": "a"}, ["text.html"]),
    ("a long unknown key", {"text": "a", LONG: 1}, {"text": "a"}, [LONG[:100] + "…"]),
    ("a control in an unknown key", {"text": "a", "a\nb": 1}, {"text": "a"}, ["a\\u000ab"]),
    ("an unknown key of the customer", {"text": "a", "customer": {"id": "c", "email": "a@b.c", "crm.id": 7}},
        {"text": "a", "customer": {"id": "c", "email": "a@b.c"}}, ["customer.crm.id"]),
    ("a bad address beside a good id", {"text": "a", "customer": {"id": "c", "email": "nobody"}},
        {"text": "a", "customer": {"id": "c"}}, ["customer.email"]),
    ("ids that are numbers", {"text": "a", "external_id": 5, "customer": {"id": 123, "account_id": 9}},
        {"text": "a", "external_id": "5", "customer": {"id": "123", "account_id": "9"}}, []),
    ("an id that is true", {"text": "a", "customer": {"id": True, "name": "Li"}},
        {"text": "a", "customer": {"name": "Li"}}, ["customer.id"]),
    ("a score with a label, and no text", {"scores": [{"metric": "nps", "value": 9, "label": "great"}]},
        {"scores": [{"metric": "nps", "value": 9}]}, ["scores.label"]),
    ("half a yes beside a good score", {"scores": [{"metric": "hmd", "value": 0.5}, {"metric": "nps", "value": 9}]},
        {"scores": [{"metric": "nps", "value": 9}]}, ["scores out of range"]),
    ("a channel that we do not know", {"text": "a", "channel": "pigeon", "language": "zh_CN"},
        {"text": "a"}, ["channel", "language"]),
    ("a customer that is a word", {"text": "a", "customer": "Li"}, {"text": "a"}, ["customer"]),
]  # fmt: skip


def kept(kind: str, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    value = json.loads(tidy_content(kind, body, "s", METRIC_RANGES).canonical)
    left_out = value.get("attributes", {}).pop("left_out", [])
    return {name: item for name, item in value.items() if name not in {"source", "type"} and item}, left_out


@pytest.mark.parametrize(("body", "value", "left_out"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_what_fits_is_kept_and_the_rest_is_named(
    body: dict[str, Any], value: dict[str, Any], left_out: list[str]
) -> None:
    assert kept(FEEDBACK_RECEIVED, body) == (value, left_out)


def test_of_a_list_only_what_does_not_fit_is_left_out() -> None:
    body = {"work_id": 7, "feedback_ids": ["a", 1, "b", "", "c"]}
    value, left_out = kept(WORK_SHIPPED, body)
    assert value == {"work_id": "7", "feedback_ids": ["a", "b", "c"]}
    assert left_out == ["feedback_ids.1", "feedback_ids.3"]


def test_not_every_name_of_thousands_is_kept() -> None:
    value, left_out = kept(FEEDBACK_RECEIVED, {"text": "a"} | {f"k{number}": 1 for number in range(4_000)})
    assert (value, len(left_out)) == ({"text": "a"}, NAMED_MAX)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("feedback.received", {"text": " \u200b"}),
        ("feedback.received", {"scores": [{"metric": "hmd", "value": 0.5}]}),
        ("feedback.received", {"text.html": "<p>"}),
        ("customer.activity", {"activity": "login", "customer": {"name": "Li"}}),
        ("work.shipped", {"title": "no id"}),
    ],
)
def test_where_nothing_is_left_it_is_invalid(kind: str, body: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        tidy_content(kind, body, "s", METRIC_RANGES)
