"""What the hours of a week usually bring, and what is said when they do not: a table of sources as there are."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from services.console.rhythm import Rhythm
from services.console.rhythm import State as Spoken
from services.console.volume import HOURS, Standing, State, Volume, standing, volume
from shared.habits import WEEK, WEEKS

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
"""At midnight."""

Source = Callable[[datetime], float]
"""The start of an hour → how many come in it, on the average."""


def office(at: datetime) -> float:
    """From Monday to Friday, by day."""
    return 30.0 if at.weekday() < 5 and 8 <= at.hour < 18 else 0.0


def steady(_: datetime) -> float:
    return 20.0


def shop(at: datetime) -> float:
    """Always open: less by night, more at weekends."""
    return (4.0 if at.hour < 7 else 25.0) * (1.6 if at.weekday() >= 5 else 1.0)


def batch(at: datetime) -> float:
    """Four hundred, on Mondays at three."""
    return 400.0 if at.weekday() == 0 and at.hour == 3 else 0.0


def few(_: datetime) -> float:
    """Four a day."""
    return 4 / 24


def times(source: Source, by: float, since: datetime, until: datetime = MONDAY + timedelta(days=999)) -> Source:
    return lambda at: source(at) * (by if since <= at < until else 1.0)


def moved(source: Source, hours: int, since: datetime) -> Source:
    return lambda at: source(at + timedelta(hours=hours)) if at >= since else source(at)


def growing(source: Source, by: float, end: datetime) -> Source:
    """So many times as much each week."""
    return lambda at: source(at) * by ** ((at - end) / timedelta(weeks=1))


def heard(source: Source, end: datetime, seed: int = 1, weeks: float = HOURS / WEEK) -> Mapping[int, int]:
    """With the chance of a Poisson process; the last `weeks` of it."""
    chance = random.Random(seed)
    found = {}
    for ago in range(int(weeks * WEEK)):
        count = _poisson(chance, source(end - timedelta(hours=ago + 1)))
        if count:
            found[ago] = count
    return found


def _poisson(chance: random.Random, mean: float) -> int:
    count, left = 0, mean
    while (left := left - chance.expovariate(1.0)) > 0:
        count += 1
    return count


def at(day: int, hour: int) -> datetime:
    """0: Monday."""
    return MONDAY + timedelta(days=day, hours=hour)


@pytest.mark.parametrize(
    ("source", "end", "state"),
    [
        pytest.param(office, at(1, 14), "usual", id="a day like every day"),
        pytest.param(office, at(2, 4), "usual", id="a night like every night"),
        pytest.param(office, at(6, 12), "usual", id="a weekend like every weekend"),
        pytest.param(office, at(7, 9), "usual", id="a Monday morning, after it"),
        pytest.param(times(office, 0, at(1, 8)), at(1, 12), "quiet", id="a morning without a word"),
        pytest.param(times(office, 0.25, at(1, 8)), at(1, 14), "quiet", id="a morning with a quarter of them"),
        pytest.param(times(office, 0.7, at(1, 8)), at(1, 18), "usual", id="fewer than usual"),
        pytest.param(times(office, 0, at(1, 13), at(1, 14)), at(1, 14), "usual", id="an hour's noise"),
        pytest.param(times(office, 3, at(1, 13), at(1, 14)), at(1, 14), "usual", id="an hour's noise, upwards"),
        pytest.param(times(shop, 0.2, at(5, 8)), at(5, 16), "quiet", id="quiet for a weekend, busy for a weekday's night"),
        pytest.param(times(shop, 3, at(2, 9)), at(2, 17), "doubled", id="three times as much"),
        pytest.param(times(shop, 1.5, at(2, 9)), at(2, 17), "usual", id="half as much again"),
        pytest.param(times(shop, 40, at(2, 2), at(2, 4)), at(2, 6), "doubled", id="a flood by night"),
        pytest.param(batch, at(0, 4), "usual", id="a weekly batch that came"),
        pytest.param(batch, at(3, 12), "usual", id="and days without it"),
        pytest.param(times(batch, 0, at(0, 0)), at(0, 4), "usual", id="it is late by an hour"),
        pytest.param(times(batch, 0, at(0, 0)), at(0, 6), "quiet", id="it is late by three"),
        pytest.param(times(batch, 0, at(0, 0)), at(4, 12), "quiet", id="and still away on Friday"),
        pytest.param(times(batch, 2.5, at(0, 0)), at(0, 6), "doubled", id="it is twice as large"),
        pytest.param(few, at(2, 12), "usual", id="four a day"),
        pytest.param(times(few, 0, at(-1, 0)), at(0, 12), "usual", id="a day and a half without them is chance"),
        pytest.param(times(few, 0, at(-7, 0)), at(0, 0), "quiet", id="a week without them is none"),
        pytest.param(moved(office, 1, at(-2, 0)), at(0, 9), "usual", id="clocks went back or forth: the first morning"),
        pytest.param(moved(office, -1, at(-2, 0)), at(0, 10), "usual", id="and the other way"),
        pytest.param(moved(shop, 1, at(-2, 0)), at(0, 8), "usual", id="clocks, for who never sleeps"),
        pytest.param(times(office, 0.1, at(-14, 0), at(-7, 0)), at(1, 14), "usual", id="a week of holidays among them"),
        pytest.param(times(office, 0.1, at(-14, 0), at(-7, 0)), at(4, 18), "usual", id="and at the end of the next"),
        pytest.param(times(times(office, 0.1, at(-14, 0), at(-7, 0)), 0, at(1, 8)), at(1, 14), "quiet", id="which hides no outage"),
        pytest.param(times(shop, 6, at(-14, 0), at(-7, 0)), at(2, 17), "usual", id="a week of a campaign among them"),
        pytest.param(growing(shop, 1.2, at(2, 17)), at(2, 17), "usual", id="who grows by a fifth each week"),
        pytest.param(growing(steady, 0.85, at(2, 17)), at(2, 17), "usual", id="who fades away slowly"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(5))
def test_what_came_against_what_usually_does(source: Source, end: datetime, state: State, seed: int) -> None:
    found = volume(heard(source, end, seed), end)
    assert found is not None
    assert found.state == state, found
    assert found.end == end


@pytest.mark.parametrize(
    ("source", "weeks"),
    [
        pytest.param(steady, 0.5, id="since Thursday"),
        pytest.param(steady, 3.0, id="two weeks to compare with, and this one"),
        pytest.param(lambda _: 0.02, 8, id="three a week"),
        pytest.param(lambda _: 0.0, 8, id="nothing"),
    ],
)
def test_who_has_no_habits(source: Source, weeks: float) -> None:
    assert volume(heard(source, MONDAY, weeks=weeks), MONDAY) is None


def test_a_new_source_is_judged_once_three_weeks_can_be_compared() -> None:
    found = volume(dict.fromkeys(range(3 * WEEK + 7), 20), MONDAY)
    assert found is not None
    assert (found.state, found.came, found.expected) == ("usual", 120, 120)


def test_who_returns_after_a_long_silence_is_no_flood() -> None:
    """Nothing for five of the weeks: there is nothing to compare with."""
    assert (
        volume(heard(times(steady, 0, MONDAY - 7 * timedelta(weeks=1), MONDAY - timedelta(hours=30)), MONDAY), MONDAY)
        is None
    )


def test_who_was_mended_is_heard_within_the_shortest_span() -> None:
    broken = times(steady, 0, at(0, 0), at(2, 0))
    assert volume(heard(broken, at(2, 0)), at(2, 0)).state == "quiet"  # type: ignore[union-attr]
    assert volume(heard(broken, at(2, 6)), at(2, 6)).state == "usual"  # type: ignore[union-attr]


@pytest.mark.parametrize("source", [office, steady, shop, few, batch], ids=lambda one: one.__name__)
def test_nobody_cries_wolf(source: Source) -> None:
    """Each hour of six weeks of a source that does what it always does."""
    weeks = 6
    end = MONDAY + timedelta(weeks=weeks)
    spoken = heard(source, end, seed=7, weeks=weeks + HOURS / WEEK)
    for now in range(weeks * WEEK):
        found = volume({ago: spoken.get(ago + now, 0) for ago in range(HOURS) if ago + now in spoken}, end)
        assert found is not None
        assert found.state == "usual", (now, found)


SPAN = (MONDAY - timedelta(hours=6), MONDAY)


@pytest.mark.parametrize(
    ("spoken", "heard", "said"),
    [
        ("heard", "usual", "heard"),
        ("heard", "quiet", "quiet"),
        ("heard", "doubled", "doubled"),
        ("silent", "quiet", "silent"),
        ("silent", "usual", "silent"),
        ("unsure", "usual", "heard"),
        ("unsure", "quiet", "quiet"),
        ("unsure", None, "unsure"),
        ("silent", None, "silent"),
        ("heard", None, "heard"),
        ("never", None, "never"),
    ],
)
def test_one_word_for_both(spoken: Spoken, heard: State | None, said: Standing) -> None:
    came = Volume(heard, *SPAN, 1, 1.0) if heard else None
    assert standing(Rhythm(spoken, None, None, None), came) == said


def test_weeks_are_enough_for_what_is_said_of_growth() -> None:
    assert 1.2 ** ((WEEKS + 1) / 2) < 1.6
