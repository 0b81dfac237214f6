"""Which figures say that they may not be whole: a table of silences, and of what rests on them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.console.hearing import sources_of
from services.console.metrics import MEASURES
from services.console.staleness import CAUSES, Known, Lag, Silence, Unusual, behind, doubts, known_until, stale
from services.console.volume import Volume
from shared.habits import WEEK

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def heard(ago: timedelta, longest: timedelta | None, hours: int = 100) -> dict[str, Any]:
    last = NOW - ago
    return {
        "source": "zendesk",
        "last_at": last,
        "events": 500,
        "hours": hours,
        "first_hour": last - 20 * DAY,
        "longest": longest,
    }


@pytest.mark.parametrize(
    ("ago", "longest", "hours", "silent"),
    [
        (timedelta(minutes=50), HOUR, 100, False),
        (timedelta(minutes=115), HOUR, 100, False),
        (timedelta(minutes=125), HOUR, 100, True),
        (15 * HOUR, 14 * HOUR, 100, False),
        (30 * HOUR, 14 * HOUR, 100, True),
        (2.6 * DAY, 2.6 * DAY, 100, False),
        (5 * DAY, 2.6 * DAY, 100, True),
        (5 * DAY, HOUR, 4, False),
        (5 * DAY, None, 1, False),
    ],
    ids=[
        "within the hour",
        "hours are counted whole, so two are the least",
        "it spoke every hour",
        "a night like every night",
        "a night, and the day after it",
        "a weekend like every weekend",
        "a weekend, and half of the week after it",
        "too few hours to tell its habits",
        "heard of once",
    ],
)
def test_a_source_is_measured_by_itself(ago: timedelta, longest: timedelta | None, hours: int, silent: bool) -> None:
    found = doubts(sources_of([heard(ago, longest, hours)], [], NOW, NOW).values())
    assert found == ((Silence("zendesk", NOW - ago, longest),) if silent and longest else ())


def spoken(name: str, lately: int) -> dict[str, Any]:
    """Ten an hour for five weeks, and then so many an hour for half a day."""
    events = [lately] * 12 + [10] * 5 * WEEK
    return {"source": name, "ago": list(range(len(events))), "events": events}


@pytest.mark.parametrize(
    ("name", "lately", "state"),
    [("zendesk", 10, None), ("zendesk", 2, "quiet"), ("zendesk", 31, "doubled"), ("loop", 2, None)],
    ids=["as usual", "a fifth", "three times as much", "what our own page says is no tool that breaks"],
)
def test_a_source_that_speaks_otherwise_than_usual(name: str, lately: int, state: str | None) -> None:
    row = heard(timedelta(minutes=40), HOUR) | {"source": name}
    found = doubts(sources_of([row], [spoken(name, lately)], NOW, NOW).values())
    if state is None:
        assert found == ()
    else:
        (one,) = found
        assert isinstance(one, Unusual)
        assert one.since == NOW - 6 * HOUR
        assert one.to_json() == {
            "source": "zendesk",
            "state": state,
            "from": "2026-11-23T04:30:00.000Z",
            "to": "2026-11-23T10:30:00.000Z",
            "came": 6 * lately,
            "expected": 60.0,
        }
        assert f"{6 * lately} from zendesk since 2026-11-23T04:30:00.000Z, usually 60" in one.sentence


@pytest.mark.parametrize(
    ("lags", "until"),
    [
        ((), NOW),
        ((Lag("router", None, NOW - DAY), Lag("closer", "sales", NOW - HOUR)), NOW - DAY),
        ((Lag("closer", "sales", NOW - HOUR), Lag("router")), None),
    ],
    ids=["nobody lags", "what waits for the longest", "nobody can tell"],
)
def test_a_source_is_judged_by_what_was_counted(lags: tuple[Lag, ...], until: datetime | None) -> None:
    assert known_until(lags, NOW) == until


@pytest.mark.parametrize(
    ("lag", "matters"),
    [
        (Lag("router", None, NOW - timedelta(seconds=59)), False),
        (Lag("router", None, NOW - timedelta(seconds=61)), True),
        (Lag("closer", "sales", NOW - DAY), True),
        (Lag("closer", "sales", NOW + DAY), False),
        (Lag("closer"), True),
    ],
    ids=["under a minute", "over a minute", "for a day", "a clock is wrong", "nobody can tell"],
)
def test_a_lag_matters_when_it_has_lasted_for_a_minute(lag: Lag, matters: bool) -> None:
    assert behind([lag], NOW) == ((lag,) if matters else ())


SILENCE = Silence("zendesk", NOW - DAY, HOUR)
FLOOD = Unusual("zendesk", Volume("doubled", NOW - DAY, NOW, 90, 40.0))
EVERYTHING = dict.fromkeys(CAUSES.values(), True)
NO_CASES = EVERYTHING | {CAUSES["case_id IS NOT NULL"]: False}


@pytest.mark.parametrize(
    ("known", "gave", "by", "group", "end", "rests", "does_not"),
    [
        (Known((SILENCE,)), EVERYTHING, None, None, NOW, {"feedback", "nps", "cases"}, set()),
        (Known((SILENCE,)), NO_CASES, None, None, NOW, {"feedback", "nps"}, {"cases", "closed_loop_rate", "sla_resolve_wall"}),
        (Known((SILENCE,)), EVERYTHING, None, None, NOW - 2 * DAY, set(), {"feedback", "nps", "cases"}),
        (Known((FLOOD,)), EVERYTHING, None, None, NOW, {"feedback", "nps"}, set()),
        (Known((FLOOD,)), EVERYTHING, None, None, NOW - 2 * DAY, set(), {"feedback", "nps", "cases"}),
        (Known((SILENCE,)), EVERYTHING, "team", "sales", NOW, set(), {"feedback", "nps", "cases"}),
        (Known((SILENCE,)), EVERYTHING, "team", None, NOW, {"feedback", "nps", "cases"}, set()),
        (Known((), (Lag("router", None, NOW - HOUR),)), {}, "team", "sales", NOW, {"feedback", "nps"}, set()),
        (Known((), (Lag("router", None, NOW - HOUR),)), {}, None, None, NOW - 2 * HOUR, set(), {"feedback"}),
        (Known((), (Lag("closer", "sales", NOW - HOUR),)), {}, "team", "sales", NOW, {"feedback", "nps"}, set()),
        (Known((), (Lag("closer", "sales", NOW - HOUR),)), {}, "team", "support", NOW, set(), {"feedback", "nps"}),
        (Known((), (Lag("closer", "sales", NOW - HOUR),)), {}, "tier", "gold", NOW, {"feedback", "nps"}, set()),
        (Known((), (Lag("closer"),)), {}, "team", "support", NOW - 9 * DAY, {"feedback", "nps"}, set()),
    ],
    ids=[
        "a silent source that gave everything",
        "one whose feedback never became a case",
        "a span that ended before it fell silent",
        "a source that says too much",
        "and a span before that",
        "a group that it gave nothing to",
        "the group without a name, that it gave everything to",
        "the router's lag is everybody's",
        "a span that ended before what waits",
        "the closer's of a team's topic, and that team",
        "and another team",
        "and a group of another kind",
        "nobody can tell",
    ],
)  # fmt: skip
def test_a_figure_rests_on_what_it_is_made_of(
    known: Known,
    gave: dict[str, bool],
    by: str | None,
    group: str | None,
    end: datetime,
    rests: set[str],
    does_not: set[str],
) -> None:
    rows = [{"source": "zendesk", "group_name": None, **gave}] if gave else []
    found = stale(known, rows, by, group, end)
    assert rests <= set(found)
    assert not does_not & set(found)
    assert set(found) <= {measure.name for measure in MEASURES}
    assert all(why for why in found.values())
