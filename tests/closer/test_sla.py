"""Both clocks: what is due when, through pauses, and that each warning, breach and escalation is said once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.closer import sla
from services.closer.calendar import calendar_of
from services.closer.sla import Clocks, ClockSnapshot, Duration, Target
from shared.config.teams import Hours

SHANGHAI = Hours(zone="Asia/Shanghai", days={"mon-fri": ("09:00-12:00", "13:00-18:00")}, holidays="CN")
BERLIN = Hours(zone="Europe/Berlin", days={"mon-fri": ("09:00-17:00",)}, holidays="DE")


def snapshot(hours: Hours | None = SHANGHAI, **targets: str) -> ClockSnapshot:
    chosen = targets or {"acknowledge": "8h", "resolve": "3d", "tell_customer": "5d"}
    return ClockSnapshot(
        policy="default",
        targets=tuple((target, Duration.parse(chosen[target])) for target in sla.TARGETS if target in chosen),
        warn_at_percent=75,
        assume_after=Duration(14, "d"),
        escalate_to=("lead@example.com",),
        calendar=calendar_of(hours, 2026) if hours is not None else None,
    )


def at(text: str, zone: str = "Asia/Shanghai") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("30m", timedelta(minutes=30)),
        ("8h", timedelta(hours=8)),
        ("3d", timedelta(hours=72)),
        ("2w", timedelta(days=14)),
    ],
)
def test_a_duration_on_the_wall(text: str, wall: timedelta) -> None:
    assert Duration.parse(text).wall == wall
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0h", "-1h", "8", "8 hours", "1.5h", "8H", "1h30m", "99999w", "８h", " 8h", "8h\n"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|years"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("case", "hours", "start", "target", "business", "wall"),
    [
        (
            "8 working hours over National Day",
            SHANGHAI,
            "2026-09-30T17:00",
            "8h",
            "2026-10-08T17:00",
            "2026-10-01T01:00",
        ),
        ("3 working days to a make-up day", SHANGHAI, "2026-09-30T15:00", "3d", "2026-10-10T15:00", "2026-10-03T15:00"),
        (
            "a week of work is as long as theirs",
            SHANGHAI,
            "2026-11-02T15:00",
            "1w",
            "2026-11-09T15:00",
            "2026-11-09T15:00",
        ),
        ("at night nobody works", SHANGHAI, "2026-11-02T23:00", "30m", "2026-11-03T09:30", "2026-11-02T23:30"),
        ("without hours both clocks agree", None, "2026-10-03T23:00", "3d", "2026-10-06T23:00", "2026-10-06T23:00"),
        ("without hours both clocks agree", None, "2026-10-03T23:00", "8h", "2026-10-04T07:00", "2026-10-04T07:00"),
    ],
)
def test_two_clocks(case: str, hours: Hours | None, start: str, target: str, business: str, wall: str) -> None:
    due = sla.due(sla.start(snapshot(hours, resolve=target), at(start)))["resolve"]
    assert (due.business, due.wall) == (at(business), at(wall)), case


def test_the_wall_clock_knows_no_daylight_saving() -> None:
    clocks = sla.start(snapshot(BERLIN, resolve="1d"), at("2026-03-28T12:00", "Europe/Berlin"))
    assert sla.due(clocks)["resolve"].wall == at("2026-03-29T13:00", "Europe/Berlin")


def test_a_pause_moves_the_team_by_what_it_would_have_worked_and_the_customer_not_at_all() -> None:
    clocks = sla.start(snapshot(resolve="8h"), at("2026-11-02T09:00"))
    assert sla.due(clocks)["resolve"].business == at("2026-11-02T18:00")
    # Paused from 11:00 to 14:00: two hours of work and the lunch break.
    clocks = sla.pause(clocks, at("2026-11-02T11:00"))
    assert sla.due(clocks)["resolve"].business is None
    clocks = sla.resume(clocks, at("2026-11-02T14:00"))
    assert sla.due(clocks)["resolve"].business == at("2026-11-03T11:00")
    assert sla.due(clocks)["resolve"].wall == at("2026-11-02T17:00")


def test_a_pause_of_days_moves_days() -> None:
    clocks = sla.start(snapshot(resolve="3d"), at("2026-11-02T15:00"))
    clocks = sla.resume(sla.pause(clocks, at("2026-11-03T10:00")), at("2026-11-05T10:00"))
    assert sla.due(clocks)["resolve"].business == at("2026-11-09T15:00")


def test_a_pause_over_a_weekend_costs_nothing() -> None:
    clocks = sla.start(snapshot(resolve="8h"), at("2026-11-06T15:00"))
    before = sla.due(clocks)
    clocks = sla.resume(sla.pause(clocks, at("2026-11-06T18:00")), at("2026-11-09T09:00"))
    assert sla.due(clocks) == before


def test_a_pause_after_the_breach_takes_it_not_back() -> None:
    clocks = sla.start(snapshot(resolve="1h"), at("2026-11-02T09:00"))
    clocks = sla.pause(clocks, at("2026-11-02T10:30"))
    assert sla.due(clocks)["resolve"].business == at("2026-11-02T10:00")


def test_what_a_running_clock_promised_survives_storage_and_any_edit() -> None:
    promised = snapshot()
    clocks = sla.resume(
        sla.pause(sla.start(promised, at("2026-09-30T17:00")), at("2026-10-08T09:30")), at("2026-10-08T11:00")
    )
    clocks, _ = sla.passed(sla.stop(clocks, "acknowledge", at("2026-10-08T11:30")), at("2026-10-10T17:59"))
    kept = ClockSnapshot.from_json(promised.to_json())
    assert kept == promised
    assert kept.id == promised.id
    again = Clocks.from_json(clocks.to_json(), kept)
    assert again == clocks
    assert sla.due(again) == sla.due(clocks)
    # The team moves and changes its hours: a new snapshot, another id; the running clock stays.
    assert snapshot(BERLIN).id != promised.id


def test_a_snapshot_of_another_promise_has_another_id() -> None:
    ids = [snapshot().id, snapshot(resolve="3d").id, snapshot(resolve="4d").id, snapshot(None, resolve="3d").id]
    assert len(set(ids)) == 4


def names(passed: tuple[sla.Passed, ...]) -> list[str]:
    return [f"{one.target}.{one.clock}.{one.kind}" for one in passed]


def test_warned_then_breached_then_escalated_each_once() -> None:
    clocks = sla.start(snapshot(resolve="8h"), at("2026-11-02T09:00"))
    said: list[str] = []
    for minute in range(0, 3 * 1440, 7):
        clocks, passed = sla.passed(clocks, at("2026-11-02T09:00") + timedelta(minutes=minute))
        said += names(passed)
    assert said == [
        "resolve.wall.warned",
        "resolve.business.warned",
        "resolve.wall.breached",
        "resolve.wall.escalated",
        "resolve.business.breached",
    ]
    assert sla.next_event(clocks) is None


def test_a_late_timer_says_the_breach_and_no_warning_after_it() -> None:
    clocks = sla.start(snapshot(None, resolve="8h"), at("2026-11-02T09:00"))
    clocks, passed = sla.passed(clocks, at("2026-11-05T09:00"))
    assert Counter(one.kind for one in passed) == {"breached": 2, "escalated": 1}
    assert sla.passed(clocks, at("2026-11-09T09:00")) == (clocks, ())


def test_a_deadline_is_passed_at_its_very_moment_and_not_before() -> None:
    clocks = sla.start(snapshot(None, resolve="8h"), at("2026-11-02T09:00"))
    clocks, _ = sla.passed(clocks, at("2026-11-02T15:00"))
    assert sla.passed(clocks, at("2026-11-02T16:59:59.999")) == (clocks, ())
    assert "resolve.business.breached" in names(sla.passed(clocks, at("2026-11-02T17:00"))[1])


def test_who_waits_is_neither_warned_nor_breached_on_the_teams_clock() -> None:
    clocks = sla.pause(sla.start(snapshot(resolve="8h"), at("2026-11-02T09:00")), at("2026-11-02T10:00"))
    clocks, passed = sla.passed(clocks, at("2026-12-02T10:00"))
    assert names(passed) == ["resolve.wall.breached", "resolve.wall.escalated"]
    assert sla.next_event(clocks) is None
    clocks = sla.resume(clocks, at("2026-12-02T10:00"))
    assert sla.next_event(clocks) == (at("2026-12-02T16:00"), "resolve.business.warned")


def test_what_is_stopped_is_never_late() -> None:
    clocks = sla.start(snapshot(), at("2026-11-02T09:00"))
    for target in sla.TARGETS:
        clocks = sla.stop(clocks, target, at("2026-11-02T10:00"))
    assert sla.next_event(clocks) is None
    assert sla.passed(clocks, at("2027-11-02T09:00")) == (clocks, ())
    assert [(one.target, one.within("business"), one.within("wall")) for one in clocks.settled] == [
        (target, True, True) for target in sla.TARGETS
    ]


def test_stopped_too_late_on_one_clock_only() -> None:
    clocks = sla.start(snapshot(resolve="8h"), at("2026-11-02T17:00"))
    clocks = sla.stop(clocks, "resolve", at("2026-11-03T10:00"))
    (one,) = clocks.settled
    assert (one.within("business"), one.within("wall")) == (True, False)


def test_what_fell_away_was_neither_kept_nor_broken() -> None:
    clocks = sla.stop(sla.start(snapshot(), at("2026-11-02T17:00")), "tell_customer", at("2027-01-01T00:00"), met=False)
    assert clocks.settled[0].within("wall") is None


def test_reopened_resolving_and_telling_start_anew_and_the_past_stays() -> None:
    clocks = sla.start(snapshot(), at("2026-11-02T09:00"))
    clocks = sla.stop(sla.stop(clocks, "acknowledge", at("2026-11-02T10:00")), "resolve", at("2026-11-02T11:00"))
    past = clocks.settled
    again = sla.restart(clocks, at("2026-11-09T09:00"))
    assert again.generation == 2
    assert set(again.running) == {"resolve", "tell_customer"}
    assert again.settled[: len(past)] == past
    assert sla.due(again)["resolve"].business == at("2026-11-11T18:00")
    newer = snapshot(resolve="1d")
    assert sla.restart(clocks, at("2026-11-09T09:00"), newer).snapshot is newer


def test_the_moment_is_kept_to_the_millisecond() -> None:
    clocks = sla.start(snapshot(), at("2026-11-02T09:00:00.123456"))
    due = sla.due(clocks)["acknowledge"]
    assert due.wall == at("2026-11-02T17:00:00.123")
    # Of eight hours in the day, 123 ms were gone when it came.
    assert due.business == at("2026-11-03T09:00:00.123")


# ── through anything ──────────────────────────────────────────────────────────────────────────────────────────────

START = at("2026-03-25T07:13", "Europe/Berlin")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["tick", "tick", "tick", "pause", "resume", "stop.acknowledge", "stop.resolve"]),
        st.integers(0, 3 * 86_400).map(lambda s: timedelta(seconds=s)),
    ),
    max_size=40,
)


def slow_due(
    snap: ClockSnapshot, target: Target, since: datetime, pauses: list[tuple[datetime, datetime | None]]
) -> datetime:
    """Walk the minutes; those within a pause count nothing. Only for targets in hours and minutes."""
    left = snap.durations[target].wall.total_seconds() / 60
    calendar = snap.calendar
    now = since
    while left > 0:
        local = now.astimezone(ZoneInfo(calendar.zone)) if calendar is not None else now
        minute = local.hour * 60 + local.minute
        works = calendar is None or any(a <= minute < b for a, b in calendar.periods(local.date()))
        paused = any(begun <= now and (ended is None or now < ended) for begun, ended in pauses)
        left -= works and not paused
        now += timedelta(minutes=1)
    return now


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 6 * 1440),
    st.integers(1, 30),
    st.lists(st.integers(1, 2000), max_size=8),
    st.sampled_from([BERLIN, SHANGHAI, None]),
)
def test_pauses_agree_with_the_minute_walker(begin: int, hours: int, gaps: list[int], team: Hours | None) -> None:
    snap = snapshot(team, resolve=f"{hours}h")
    since = now = START + timedelta(minutes=begin)
    clocks = sla.start(snap, since)
    pauses: list[tuple[datetime, datetime | None]] = []
    for index, gap in enumerate(gaps):
        now += timedelta(minutes=gap)
        if index % 2 == 0:
            clocks = sla.pause(clocks, now)
            pauses.append((now, None))
        else:
            clocks = sla.resume(clocks, now)
            pauses[-1] = (pauses[-1][0], now)
    if clocks.paused:
        now += timedelta(minutes=1)
        clocks, pauses[-1] = sla.resume(clocks, now), (pauses[-1][0], now)
    assert sla.due(clocks)["resolve"].business == slow_due(snap, "resolve", since, pauses)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.sampled_from([BERLIN, SHANGHAI, None]))
def test_each_is_said_once_and_never_early(steps: list[tuple[str, timedelta]], team: Hours | None) -> None:
    snap = snapshot(team, acknowledge="2h", resolve="2d", tell_customer="1w")
    clocks, now, said = sla.start(snap, START), START, Counter[str]()
    for what, gap in [*steps, ("tick", timedelta(days=60))]:
        now += gap
        upcoming = sla.next_event(clocks)
        clocks, passed = sla.passed(clocks, now)
        assert bool(passed) == (upcoming is not None and upcoming[0] <= now)
        for one in passed:
            assert one.passed_at <= now
            said[f"{one.target}.{one.clock}.{one.kind}" if one.kind != "escalated" else f"{one.target}.escalated"] += 1
        after = sla.next_event(clocks)
        assert after is None or after[0] > now
        if what == "pause":
            clocks = sla.pause(clocks, now)
        elif what == "resume":
            clocks = sla.resume(clocks, now)
        elif what.startswith("stop."):
            clocks = sla.stop(clocks, what.removeprefix("stop."), now)  # type: ignore[arg-type]
    assert all(count == 1 for count in said.values()), said
    # What ran to the end on the wall clock was breached there.
    for target in clocks.running:
        assert said[f"{target}.wall.breached"] == 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 400 * 1440),
    st.fixed_dictionaries(
        {},
        optional={
            target: st.sampled_from(["5m", "45m", "1h", "8h", "30h", "1d", "2d", "3d", "9d", "1w", "2w"])
            for target in sla.TARGETS
        },
    ).filter(bool),
    st.sampled_from([BERLIN, SHANGHAI, Hours(zone="UTC", days={"mon": ("09:00-10:00",)}), None]),
)
def test_the_short_cuts_for_fresh_clocks_find_what_the_long_way_finds(
    begin: int, targets: dict[str, str], team: Hours | None
) -> None:
    clocks = sla.start(snapshot(team, **targets), START + timedelta(minutes=begin))
    short = sla.next_event(clocks)
    long = min(sla._unsaid(clocks))
    assert short is not None
    assert short[0] == long[0]
    assert sla.due(clocks) == {target: sla._due(clocks, target) for target in clocks.running}


def test_explain_shows_both_clocks_and_the_days_that_counted() -> None:
    told = sla.explain(snapshot(), at("2026-09-30T15:00"))
    assert told["resolve"] == {
        "within": "3d",
        "business": "2026-10-10T07:00:00.000Z",
        "wall": "2026-10-03T07:00:00.000Z",
    }
    days = {day["date"]: day for day in told["days"]}
    assert days["2026-10-01"]["counted"] is False
    assert days["2026-10-01"]["why"] == "National Day"
    assert days["2026-10-10"]["counted"] is True
    assert days["2026-10-10"]["why"] == "make-up working day, wed's hours"
    assert days["2026-10-10"]["periods"] == ["09:00-12:00", "13:00-18:00"]
    assert told["days"][-1]["date"] == "2026-10-13"  # the fifth working day, where telling is due
