"""Signals, from the routed record to what a team is owed: real database, real log, a clock turned by hand."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.closer import judging
from services.closer.check import check
from services.closer.signaller import Signaller
from shared.config import Config
from shared.config.document import ConfigError
from shared.events.envelope import rfc3339
from shared.events.signal import SignalChanged
from tests.closer.world import START, World, config_with, feedback, message

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TEAMS = """
default_team: support
teams:
  - {name: support}
  - name: product
    subscribe:
      - {channel: webhook, url: "https://hooks.example.com/product", secret: whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}
      - {channel: slack, token: xoxb-1, signing_secret: "0123456789abcdef", to: C0123}
  - {name: sales}
"""
BUGS = "- {name: many-bugs, when: {kind: bug}, by: attributes.product, more_than: 3, within: 1h}"


def config(tmp_path: Path, *signals: str) -> Config:
    return config_with(
        tmp_path, routing="rules: []\nsignals:\n" + "\n".join(f"  {one}" for one in signals), teams=TEAMS
    )


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(database_url, config(tmp_path, BUGS)) as world:
        yield world


def judge_of(world: World) -> Signaller:
    found = check(world.config)
    made = Signaller(world.transactions, world.clock)
    made.configure(found.signals, found.subscribers)
    return made


def bug(world: World, product: Any = "A", ago: timedelta = timedelta(), **changes: Any) -> dict[str, Any]:
    said = {"kind": "bug", "team": "product", "tags": ["bug"], "theme": "bug", "attributes": {"product": product}}
    said |= {"customer": {"id": f"c-{uuid.uuid4()}"}, "received_at": rfc3339(world.clock.now() - ago)}
    return feedback(**said | changes)


async def settled(judge: Signaller) -> None:
    """Until all that there is to do at once is done."""
    while await judge.look():
        pass


async def signals(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM published.signals ORDER BY raised_at, group_name")


async def said(world: World) -> list[SignalChanged]:
    return [SignalChanged.model_validate(one) for one in await world.outbox("feedback.signals")]


async def test_one_more_than_the_limit_raises_once_and_it_passes_when_half_of_it_is_left(world: World) -> None:
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(bug(world) for _ in range(3)), bug(world, "B"), feedback(attributes={"product": "A"}))
    await settled(judge)
    assert await signals(world) == [], "three are not more than three"
    last = bug(world)
    await world.take(last)
    await settled(judge)
    (up,) = await signals(world)
    assert (up["name"], up["group_name"], up["team"], up["came"], up["feedback"], up["cases"], up["customers"]) == (
        "many-bugs", "A", "product", 4, 4, 4, 4,
    )  # fmt: skip
    await settled(judge)
    (raised,) = await said(world)
    assert (raised.what, raised.by, raised.group, raised.count) == ("raised", "attributes.product", "A", 4)
    assert last["id"] in raised.feedback_ids
    assert len(raised.case_ids) == 4
    assert [(one.tag, one.count) for one in raised.tags] == [("bug", 4)]
    assert "4 within 1h, more than 3" in raised.reason

    # What comes while it is up joins it, and says nothing anew.
    world.clock.advance(40 * MINUTE)
    await world.take(bug(world), bug(world))
    await settled(judge)
    (up,) = await signals(world)
    assert (up["resolved_at"], up["feedback"], up["latest"]) == (None, 6, 6)
    world.clock.advance(25 * MINUTE)
    await settled(judge)
    (up,) = await signals(world)
    assert (up["resolved_at"], up["latest"]) == (None, 2), "two are more than half of three: it does not flap"
    world.clock.advance(HOUR)
    await settled(judge)
    (up,) = await signals(world)
    assert up["resolved_at"] == world.clock.now()
    assert [one.what for one in await said(world)] == ["raised", "resolved"]
    assert (await said(world))[1].feedback == 6

    # Another time is another signal.
    await world.take(*(bug(world) for _ in range(4)))
    await settled(judge)
    assert [one["resolved_at"] is None for one in await signals(world)] == [False, True]


async def test_the_team_hears_of_it_once_by_each_of_its_ways(world: World) -> None:
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(bug(world) for _ in range(9)))
    await settled(judge)
    world.clock.advance(2 * HOUR)
    await settled(judge)
    owed = await world.rows(
        "SELECT channel, event, body, wanted FROM closer.delivery WHERE event LIKE 'signal%' ORDER BY channel, event"
    )
    assert [(row["channel"], row["event"], row["wanted"]) for row in owed] == [
        ("slack", "signal", 2),
        ("webhook", "signal.raised", 0),
        ("webhook", "signal.resolved", 0),
    ]
    assert json.loads(owed[0]["body"])["what"] == "resolved", "a message that is shown says what is so now"
    assert json.loads(owed[1]["body"])["count"] == 9


async def test_what_is_had_twice_is_counted_once_and_history_and_watchers_copies_never(world: World) -> None:
    judge = judge_of(world)
    await settled(judge)
    three = [bug(world) for _ in range(3)]
    await world.take(*three)
    await world.take(*three)
    await world.take(bug(world, history=True), bug(world, role="watcher"))
    conflict = {**three[0], "text": "other words"}
    await world.take(conflict)
    await settled(judge)
    assert await world.value("SELECT sum(came)::int FROM closer.counted") == 3
    assert await world.value("SELECT count(*) FROM closer.hit") == 3
    assert await signals(world) == []


async def test_several_judges_at_once_raise_it_once(world: World) -> None:
    judges = [judge_of(world) for _ in range(4)]
    await settled(judges[0])
    for _ in range(3):
        await world.take(*(bug(world) for _ in range(3)))
        await asyncio.gather(*(settled(judge) for judge in judges))
    assert len(await signals(world)) == 1
    assert [one.what for one in await said(world)] == ["raised"]


async def test_a_new_definition_knows_what_there_is_already(world: World, tmp_path: Path) -> None:
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(bug(world, tags=["crash"]) for _ in range(5)), *(bug(world, ago=3 * HOUR) for _ in range(5)))
    world.clock.advance(MINUTE)
    world.config = config(tmp_path, "- {name: crashes, when: {tag: crash}, more_than: 4, within: 2h}", BUGS)
    judge = judge_of(world)
    await settled(judge)
    assert {one["name"] for one in await signals(world)} == {"crashes", "many-bugs"}
    # Filled, then had as it comes, then filled again once all processes count by it: nothing is counted twice.
    await world.take(bug(world, tags=["crash"]))
    world.clock.advance(3 * MINUTE)
    await settled(judge)
    crashes = await world.value("SELECT series FROM closer.signal WHERE name = 'crashes'")
    assert await world.value("SELECT sum(came)::int FROM closer.counted WHERE series = $1", crashes) == 6


async def test_a_longer_window_of_the_same_knows_what_came_before_it_was_asked_for(
    world: World, tmp_path: Path
) -> None:
    await world.take(*(bug(world, ago=3 * DAY) for _ in range(4)))
    for within, up in (("1h", []), ("7d", ["many"])):
        world.config = config(tmp_path, f"- {{name: many, when: {{tag: bug}}, more_than: 4, within: {within}}}")
        judge = judge_of(world)
        await settled(judge)
        await world.take(bug(world))
        await settled(judge)
        assert [one["name"] for one in await signals(world)] == up


async def test_while_another_fills_there_is_nothing_to_do_at_once(world: World, tmp_path: Path) -> None:
    """It looked again without a pause for as long as that took."""
    world.config = config(tmp_path, "- {name: rise, rises: 3x}")
    await world.take(bug(world, ago=20 * DAY))
    judge = judge_of(world)
    assert await judge.look(), "more than a day is to be filled"
    async with world.transactions.begin() as another:
        await another.fetch("SELECT FROM closer.series FOR UPDATE")
        assert not await judge.look()
    assert await judge.look()


async def test_a_sharp_rise_above_the_same_hours_of_past_weeks(world: World, tmp_path: Path) -> None:
    world.config = config(tmp_path, "- {name: rise, by: tag, rises: 3x, at_least: 10, within: 1h}")
    old = [
        bug(world, ago=week * 7 * DAY + minute * MINUTE, tags=["usual"], team="support")
        for week in (1, 2, 3, 4)
        for minute in range(2, 50, 4)
    ]
    first = bug(world, ago=5 * 7 * DAY + HOUR)
    await world.take(first, *old)
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(bug(world, tags=["usual"]) for _ in range(20)), *(bug(world, tags=["new"]) for _ in range(9)))
    await settled(judge)
    assert await signals(world) == [], "20 where 12 are usual are no sharp rise, and nine are too few"
    await world.take(*(bug(world, tags=["usual"]) for _ in range(25)), bug(world, tags=["new"]))
    await settled(judge)
    rows = {row["group_name"]: row for row in await signals(world)}
    assert {name: (row["came"], row["expected"]) for name, row in rows.items()} == {
        "usual": (45, 12.0),
        "new": (10, 0.0),
    }
    assert "usually 12 in these hours" in rows["usual"]["reason"]


async def test_nobody_says_what_is_usual_before_there_are_three_weeks(world: World, tmp_path: Path) -> None:
    world.config = config(tmp_path, "- {name: rise, rises: 2x, at_least: 5}")
    judge = judge_of(world)
    await world.take(bug(world, ago=20 * DAY), *(bug(world) for _ in range(50)))
    await settled(judge)
    assert await signals(world) == []


def scored(world: World, value: float, product: str, ago: timedelta = timedelta()) -> dict[str, Any]:
    return bug(world, product, ago, scores=[{"metric": "csat", "value": value}], kind="comment", follow_up=False)


async def test_one_faulty_product_lowers_csat_and_everyone_affected_is_on_it(world: World, tmp_path: Path) -> None:
    falls = "- {name: csat-falls, by: attributes.product, falls: {metric: csat, by: 0.5}, at_least: 8, within: 4h, team: sales, watch: [product]}"
    world.config = config(tmp_path, falls)
    for product in ("kettle", "toaster"):
        await world.take(*(scored(world, 4 + n % 2, product, (n + 6) * HOUR) for n in range(40)))
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(scored(world, 4 + n % 2, "kettle") for n in range(10)))
    await world.take(*(scored(world, 1 + n % 2, "toaster") for n in range(7)))
    await settled(judge)
    assert await signals(world) == [], "seven answers are fewer than eight"
    await world.take(scored(world, 1, "toaster"))
    await settled(judge)
    (up,) = await signals(world)
    assert (up["group_name"], up["team"], up["watchers"], up["customers"]) == ("toaster", "sales", ["product"], 8)
    assert (up["expected"], up["number"]) == (4.5, 1.375)
    world.clock.advance(5 * HOUR)
    await world.take(*(scored(world, 5, "toaster") for _ in range(8)))
    await settled(judge)
    assert (await signals(world))[0]["resolved_at"] is not None


async def test_a_million_values_raise_a_bounded_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "UP_MAX", 3)
    judge = judge_of(world)
    await settled(judge)
    hostile: list[Any] = ["x" * 101, {"a": 1}, None, [], " "]
    await world.take(*(bug(world, f"p-{n}") for n in range(6) for _ in range(4)), *(bug(world, one) for one in hostile))
    await settled(judge)
    assert len(await signals(world)) == 3
    assert await world.value("SELECT count(DISTINCT group_name) FROM closer.hit") == 6


async def test_a_signal_whose_definition_is_gone_ends_and_not_by_a_process_that_is_behind(
    world: World, tmp_path: Path
) -> None:
    judge = judge_of(world)
    await settled(judge)
    await world.take(*(bug(world) for _ in range(5)))
    await settled(judge)
    world.config = config(tmp_path, "- {name: other, when: {kind: praise}, more_than: 3}")
    without = judge_of(world)
    world.clock.advance(MINUTE)
    await settled(without)
    assert (await signals(world))[0]["resolved_at"] is None
    world.clock.advance(10 * MINUTE)
    await settled(without)
    (gone,) = await signals(world)
    assert gone["resolved_at"] is not None
    assert "taken out" in gone["reason"]


async def test_what_nobody_needs_any_more_is_swept(world: World) -> None:
    judge = judge_of(world)
    await settled(judge)
    await world.take(bug(world))
    await settled(judge)
    world.clock.advance(60 * DAY)
    await settled(judge_of(world))
    assert await world.value("SELECT count(*) FROM closer.hit") == 0
    assert await world.value("SELECT count(*) FROM closer.counted") == 0


EVENTS = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 180), st.booleans(), st.sampled_from(["bug", "praise"])),
    max_size=40,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, cuts=st.lists(st.integers(0, 40), max_size=3))
async def test_counts_are_what_was_said_however_it_came_and_however_often(
    world: World, events: list[tuple[str, int, bool, str]], cuts: list[int]
) -> None:
    async with world.transactions.begin() as driver:
        for table in ("hit", "counted", "counted_anew", "series", "signal", "signal_feedback", "feedback"):
            await driver.execute(f"DELETE FROM closer.{table}")
    values = [(bug(world, product, minutes * MINUTE, kind=kind), twice) for product, minutes, twice, kind in events]
    sent = [value for value, twice in values for _ in range(1 + twice)]
    judge = judge_of(world)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(sent)], strict=True):
        await world.send(*(message(value) for value in sent[start:end]))
        async with world.running():
            await world.caught_up()
        await settled(judge)
    counted = await world.rows("SELECT group_name, sum(came)::int AS n FROM closer.counted GROUP BY 1")
    in_time = [value for value, _ in values if value["routing"]["kind"] == "bug"]
    hits = {str(row["feedback_id"]) for row in await world.rows("SELECT feedback_id FROM closer.hit")}
    assert hits <= {value["id"] for value in in_time}
    assert sum(row["n"] for row in counted) == len(hits), "a sum is what its rows say"
    lately = [v for v in in_time if START - datetime.fromisoformat(v["received_at"]) <= HOUR]
    assert {v["id"] for v in lately} <= hits
    up = {row["group_name"] for row in await signals(world)}
    many: Mapping[str, int] = {group: sum(v["attributes"]["product"] == group for v in lately) for group in "AB"}
    assert up == {group for group, n in many.items() if n > 3}
    assert len(await said(world)) >= len(up)


# ── the file ──


@pytest.mark.parametrize(
    ("signal", "line", "message"),
    [
        ("- {name: a}", 3, "one test is wanted"),
        ("- {name: a, more_than: 3, rises: 3x}", 3, "one test is wanted"),
        ("- {name: a, more_then: 3}", 3, 'did you mean "more_than"?'),
        ("- {name: a, more_than: 3, at_least: 2}", 3, "more_than says by itself"),
        ("- {name: a, more_than: 3, within: 8d}", 3, "from 1m to 7d"),
        ("- {name: a, rises: 3x, within: 2d}", 3, "from 1m to 1d"),
        ("- {name: a, rises: 3}", 3, "write 3x"),
        ("- {name: a, more_than: 3, when: {kind: bugs}}", 3, 'did you mean "bug"?'),
        ("- {name: a, more_than: 3, team: nobody}", 3, "'nobody' is not a team"),
        ("- {name: a, more_than: 3, watch: nobody}", 3, "'nobody' is not a team"),
        ("- {name: a, more_than: 3, by: customer.email}", 3, "cannot be counted by"),
        ("- {name: a, falls: {metric: happiness, by: 1}}", 3, "there is no metric 'happiness'"),
        ("- {name: a, falls: {metric: csat, by: 9}}", 3, "csat cannot fall by 9"),
        ("- {name: a, more_than: 3, when: {score: {metric: csat}}}", 3, "at_least or at_most"),
        ("- {name: a, more_than: 3}\n  - {name: a, more_than: 4}", 4, "two signals are named 'a'"),
        ('- {name: a, more_than: 3, team: "${NOT_SET_ANYWHERE}"}', 3, "environment variable"),
    ],
)
def test_a_definition_that_is_wrong_is_refused_with_its_place(
    tmp_path: Path, signal: str, line: int, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check(config(tmp_path, signal))
    (issue,) = refused.value.issues
    assert (issue.file, issue.line) == ("routing.yaml", line)
    assert message in issue.message


def test_the_same_counts_under_another_limit_are_not_counted_anew(tmp_path: Path) -> None:
    found = check(
        config(
            tmp_path,
            "- {name: a, when: {kind: bug}, more_than: 3}",
            "- {name: b, when: {kind: bug}, more_than: 30, within: 1d}",
            "- {name: c, when: {kind: [bug, complaint]}, more_than: 3}",
        )
    ).signals
    assert found.by_name["a"].series == found.by_name["b"].series
    assert len(found.series) == 2
