"""What is kept of a draft that does not fit: everything that does, and the names of the rest. Pure."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.tidy import NAMED_MAX, made_to_fit, plainly_good, tidy_content
from shared.events.acceptable import Invalid
from shared.events.envelope import FEEDBACK_RECEIVED, WORK_MOVED, WORK_SHIPPED
from shared.events.feedback import FEEDBACK_IDS_MAX, METRIC_RANGES

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


def test_of_a_list_that_is_too_long_the_first_are_kept() -> None:
    ids = [str(number) for number in range(26_000)]
    for many in (ids[: FEEDBACK_IDS_MAX + 1], ids):
        value, left_out = kept(WORK_SHIPPED, {"work_id": "7", "feedback_ids": many})
        assert value == {"work_id": "7", "feedback_ids": ids[:FEEDBACK_IDS_MAX]}
        assert f"feedback_ids after {FEEDBACK_IDS_MAX}" in left_out


def test_a_teams_number_is_its_id() -> None:
    assert kept(WORK_MOVED, {"work_id": 812, "team_id": 77}) == ({"work_id": "812", "team_id": "77"}, [])


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
        ("work.moved", {"work_id": "812", "team": "x" * 256}),
    ],
)
def test_where_nothing_is_left_it_is_invalid(kind: str, body: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        tidy_content(kind, body, "s", METRIC_RANGES)


_words = st.text(max_size=12)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=8,
)
_good = {
    "text": st.sampled_from(["好用，就是慢", "Fine\r\nso far.", "\u200b", "a\0b", "\ud800"]) | _words,
    "title": _words,
    "language": st.sampled_from(["zh", "zh-CN", "en_GB", ""]),
    "external_id": _words | st.integers(),
    "scores": st.lists(
        st.fixed_dictionaries(
            {"metric": st.sampled_from(["nps", "csat", "hmd", "x"]), "value": st.integers(-1, 11) | st.floats(0, 11)}
        ),
        max_size=3,
    ),
    "customer": st.fixed_dictionaries(
        {},
        optional={"id": _words | st.integers(), "email": st.sampled_from(["a@b.c", "A@B.c", "x", ""]), "name": _words},
    ),
    "channel": st.sampled_from(["chat", "pigeon", ""]),
    "solicited": st.booleans() | st.just("yes"),
    "occurred_at": st.sampled_from(["2026-11-01T00:00:00Z", "2026-11-01T00:00:00.5+08:00", "2026-13-01", ""]),
    "url": st.sampled_from(["https://example.com/1", ""]),
    "attributes": st.dictionaries(_words, _anything, max_size=3),
}


@given(
    st.fixed_dictionaries({}, optional=_good),
    st.just({}) | st.dictionaries(st.sampled_from([*_good, "other"]), _anything, max_size=1),
)
def test_the_short_way_leads_where_the_long_one_does(body: dict[str, Any], odd: dict[str, Any]) -> None:
    body |= odd
    short = plainly_good(body, "s", METRIC_RANGES)
    if short is not None:
        assert short == made_to_fit(FEEDBACK_RECEIVED, body, "s", METRIC_RANGES)


def test_what_most_tools_send_takes_the_short_way() -> None:
    body = {
        "text": "好用，但是导出太慢",
        "title": None,
        "scores": [{"metric": "nps", "value": 8}],
        "customer": {"id": "c-1", "email": "li@example.com", "name": ""},
        "attributes": {"form": "f-1", "tags": ["a", "b"]},
    }
    assert plainly_good(body, "s", METRIC_RANGES) is not None
