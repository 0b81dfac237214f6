"""When is it too much, and when is it over: a table, and what must hold of any numbers."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.closer.rates import Past, Sums, Verdict, could_be, judge
from services.closer.signals import Definition

QUIET = [[0, 0, 0]] * 4
USUAL = [[9, 10, 11], [8, 10, 12], [10, 12, 10], [9, 9, 9]]


def define(**test: Any) -> Definition:
    return Definition.model_validate({"name": "a", **test})


def scores(*values: float) -> Sums:
    return Sums(len(values), sum(values), sum(value * value for value in values))


@pytest.mark.parametrize(
    ("came", "weeks", "is_up"),
    [
        (29, USUAL, False),  # not three times as many
        (31, USUAL, True),
        (31, USUAL[:2], False),  # nobody knows what is usual
        (31, USUAL[:3], True),
        (9, QUIET, False),  # fewer than at_least
        (10, QUIET, True),  # none ever came
        (31, [[10, 10, 10], [10, 10, 60], [10, 10, 60], [10, 10, 60]], False),  # an hour later it is usual
        (
            420,
            [[100, 100, 100], [100, 100, 100], [100, 100, 100], [100, 900, 100]],
            True,
        ),  # one flood is one week of four
    ],
)
def test_a_rise(came: int, weeks: Sequence[Sequence[int]], is_up: bool) -> None:
    assert judge(define(rises="3x", at_least=10), Sums(came), Past(weeks)).is_up is is_up


GOOD = scores(*[4, 5] * 40)


@pytest.mark.parametrize(
    ("now", "before", "is_up"),
    [
        (scores(*[2] * 10), GOOD, True),
        (scores(*[2] * 9), GOOD, False),  # fewer than at_least
        (scores(*[4] * 10), GOOD, False),  # half a point, and by chance
        (scores(*[4] * 60), GOOD, True),  # half a point, and so many say it
        (scores(*[2] * 10), scores(*[5] * 9), False),  # too little is known of before
        (scores(*[4.6, 5] * 30), scores(*[5] * 90), False),  # no chance, and not by half a point
        (scores(*[1, 5] * 10), scores(*[1, 5] * 10), False),
    ],
)
def test_a_fall(now: Sums, before: Sums, is_up: bool) -> None:
    one = define(falls={"metric": "csat", "by": 0.5}, at_least=10)
    assert judge(one, now, Past(scores=before)).is_up is is_up


@given(limit=st.integers(1, 1000), came=st.integers(0, 3000))
def test_what_is_raised_stays_up_at_the_same_count(limit: int, came: int) -> None:
    """No signal passes by the very count that raised it, and what has passed is not raised by the count that ended it."""
    one = define(more_than=limit)
    raised = judge(one, Sums(came), Past())
    assert raised.is_up == (came > limit) == could_be(one, Sums(came))
    again = judge(one, Sums(came), Past(), up_since=Verdict(True, limit))
    assert again.is_up or not raised.is_up


@given(
    weeks=st.lists(st.lists(st.integers(0, 500), min_size=3, max_size=3), max_size=4),
    came=st.integers(0, 2000),
    more=st.integers(0, 500),
)
def test_more_is_never_less_of_a_rise(weeks: list[list[int]], came: int, more: int) -> None:
    one, past = define(rises="3x"), Past(weeks)
    raised = judge(one, Sums(came), past)
    assert judge(one, Sums(came + more), past).is_up or not raised.is_up
    assert judge(one, Sums(came), past, up_since=raised).is_up or not raised.is_up
    assert could_be(one, Sums(came)) or not raised.is_up


@given(now=st.lists(st.integers(1, 5), min_size=1, max_size=60), before=st.lists(st.integers(1, 5), max_size=60))
def test_a_fall_that_is_raised_stays_up_on_the_same_scores(now: list[int], before: list[int]) -> None:
    one, past = define(falls={"metric": "csat", "by": 0.5}), Past(scores=scores(*before))
    raised = judge(one, scores(*now), past)
    if raised.is_up:
        assert judge(one, scores(*now), past, up_since=raised).is_up
        assert sum(now) / len(now) < sum(before) / len(before)
