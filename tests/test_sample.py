"""The sample feedback is what a newcomer sees first: valid, varied, and enough of it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from shared.events.feedback import METRIC_RANGES, Feedback

SAMPLE = Path(__file__).resolve().parents[1] / "deploy" / "sample" / "feedback.jsonl"
LINES = SAMPLE.read_text(encoding="utf-8").splitlines()
ITEMS = [Feedback.model_validate_json(line) for line in LINES]


@pytest.mark.parametrize("line", LINES, ids=lambda line: json.loads(line)["external_id"])
def test_each_piece_is_what_the_door_accepts(line: str) -> None:
    item = Feedback.model_validate_json(line)
    assert (item.text and item.text.strip()) or item.scores
    assert item.source
    assert item.external_id
    assert item.channel
    assert item.solicited is not None
    for score in item.scores:
        low, high = METRIC_RANGES[score.metric]
        assert low <= score.value <= high
    if item.customer and item.customer.email:  # nobody is ever reached by accident
        assert item.customer.email.rpartition("@")[2] in {"example.com", "example.cn"}


def test_no_two_are_one_delivery() -> None:
    assert len({(item.source, item.external_id) for item in ITEMS}) == len(ITEMS) >= 72


def test_the_languages_are_those_of_the_people_who_will_read_it() -> None:
    languages = Counter((item.language or "und").split("-")[0] for item in ITEMS)
    assert languages["zh"] * 3 >= len(ITEMS)
    for language in ("ja", "es", "de", "fr", "en"):
        assert languages[language] >= 5, language


def test_every_kind_of_place_that_feedback_comes_from_is_there() -> None:
    assert {"survey", "ticket", "chat", "review", "social", "call", "community"} <= {item.channel for item in ITEMS}
    assert {score.metric for item in ITEMS for score in item.scores} == set(METRIC_RANGES)


def test_some_people_write_again() -> None:
    customers = Counter(item.customer.id for item in ITEMS if item.customer)
    assert sum(count > 1 for count in customers.values()) >= 10
