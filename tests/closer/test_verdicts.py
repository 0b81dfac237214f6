"""What becomes of each promise is judged once, as the views say it of the case itself."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.closer.served import Served, served
from tests.closer.test_page import answered, routed_back, say
from tests.closer.world import START, World, feedback


@pytest.fixture
async def closer(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as made:
        yield made


async def opened(closer: Served, **changes: Any) -> str:
    value = feedback(**changes)
    await closer.world.take(value)
    return str((await closer.world.case(value["id"]))["id"])


async def settled(closer: Served, case: str) -> list[tuple[str, str, bool, int]]:
    rows = await closer.world.rows(
        "SELECT target, clock, met, generation FROM published.settled WHERE case_id = $1 ORDER BY 4, 1, 2", case
    )
    return [tuple(row.values()) for row in rows]


async def test_a_promise_is_kept_on_both_clocks_when_it_is_done_in_time(closer: Served) -> None:
    case = await opened(closer)
    assert await settled(closer, case) == []
    await closer.post(f"/v1/cases/{case}/acknowledge")
    assert await settled(closer, case) == [("acknowledge", "business", True, 1), ("acknowledge", "wall", True, 1)]
    await closer.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})
    assert [row[0] for row in await settled(closer, case)] == ["acknowledge"] * 2 + ["resolve"] * 2


async def test_it_is_broken_at_its_deadline_whenever_that_is_noticed_and_stays_so(closer: Served) -> None:
    case = await opened(closer, priority="urgent", received_at="2026-11-23T09:30:00.000Z")
    closer.world.clock.advance(timedelta(hours=3))
    await closer.world.timers.fire_due()
    broken = [("acknowledge", "business", False, 1), ("acknowledge", "wall", False, 1)]
    assert await settled(closer, case) == broken
    rows = await closer.world.rows("SELECT DISTINCT at, team, policy FROM published.settled")
    assert rows == [{"at": START + timedelta(hours=1), "team": "support", "policy": "urgent"}]
    await closer.post(f"/v1/cases/{case}/acknowledge")
    assert await settled(closer, case) == broken, "done late, it is not kept after all"


async def test_what_a_person_is_too_late_for_is_broken_before_the_timer_comes(closer: Served) -> None:
    case = await opened(closer, priority="urgent")
    closer.world.clock.advance(timedelta(hours=3))
    await closer.post(f"/v1/cases/{case}/acknowledge")
    assert await settled(closer, case) == [("acknowledge", "business", False, 1), ("acknowledge", "wall", False, 1)]


async def test_it_is_the_team_s_that_had_the_case_then(closer: Served) -> None:
    case = await opened(closer, priority="urgent")
    closer.world.clock.advance(timedelta(hours=3))
    await closer.post(f"/v1/cases/{case}/reassign", {"team": "sales"})
    await closer.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})
    rows = await closer.world.rows("SELECT DISTINCT team, target FROM published.settled ORDER BY target")
    assert [(row["team"], row["target"]) for row in rows] == [("support", "acknowledge"), ("sales", "resolve")]


async def test_what_fell_away_in_time_is_neither_and_what_was_broken_before_is_broken(closer: Served) -> None:
    one = await opened(closer, priority="urgent")
    other = await opened(closer, priority="urgent", theme="login")
    await closer.post(f"/v1/cases/{one}/merge", {"into": other})
    assert await settled(closer, one) == []
    closer.world.clock.advance(timedelta(hours=3))
    third = await opened(closer, theme="third", received_at="2026-11-23T12:29:00.000Z")
    await closer.post(f"/v1/cases/{other}/merge", {"into": third})
    assert {row[2] for row in await settled(closer, other)} == {False}


async def test_a_reopened_case_promises_anew(closer: Served) -> None:
    case, token = await answered(closer)
    assert {row[3] for row in await settled(closer, case)} == {1}
    await say(closer, token, "no", "Not at all.")
    await routed_back(closer)
    await closer.post(f"/v1/cases/{case}/resolve", {"answer": "Now it is."})
    assert [row for row in await settled(closer, case) if row[3] == 2] == [
        ("resolve", "business", True, 2),
        ("resolve", "wall", True, 2),
    ]


async def test_imported_history_promises_nothing(closer: Served) -> None:
    case = await opened(closer, history=True)
    await closer.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})
    assert await settled(closer, case) == []


async def test_it_is_what_the_views_say_of_every_clock(closer: Served) -> None:
    """Over cases with all that can happen to one; the statement is the one by which a migration fills the table."""
    world = closer.world
    cases = [
        await opened(closer, priority="urgent" if number % 2 else "low", customer={"id": f"c-{number}"})
        for number in range(10)
    ]
    for number, case in enumerate(cases):
        world.clock.advance(timedelta(minutes=13 * number))
        await world.timers.fire_due()
        await closer.post(f"/v1/cases/{case}/assign", {"to": "li@example.com"})
        if number % 3 == 0:
            await closer.post(f"/v1/cases/{case}/wait", {"reason": "which order?"})
        world.clock.advance(timedelta(hours=5))
        await world.timers.fire_due()
        if number % 2:
            await closer.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})
        if number % 4 == 1:
            await closer.post(f"/v1/cases/{case}/reopen", {"reason": "it came back"})
        if number == 8:
            await closer.post(f"/v1/cases/{case}/merge", {"into": cases[1]})
    world.clock.advance(timedelta(days=2))
    await world.timers.fire_due()
    from_the_views = _filling()
    columns = "case_id, target, clock, generation, policy, met, at"
    written = await world.rows(f"SELECT {columns} FROM closer.settled ORDER BY 1, 2, 3, 4")
    said = await world.rows(f"SELECT {columns} FROM ({from_the_views}) AS s ORDER BY 1, 2, 3, 4")
    assert written == said
    assert {row["met"] for row in written} == {True, False}
    assert len(written) > 50
    keys = {(row["case_id"], row["target"], row["clock"], row["generation"]) for row in written}
    assert len(keys) == len(written), "each clock is judged once"


def _filling() -> str:
    from importlib.util import module_from_spec, spec_from_file_location

    path = next((Path(__file__).parents[2] / "deploy" / "migrations" / "versions").glob("*_board.py"))
    spec = spec_from_file_location("board", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    (statement,) = [one for one in module.SETTLED if one.startswith("INSERT INTO closer.settled")]
    selected: str = "SELECT" + statement.partition("SELECT")[2]
    return selected.replace("v.clock, v.met, k.case_id", "v.clock AS clock, v.met AS met, k.case_id AS case_id")
