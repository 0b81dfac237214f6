"""Team, person and rota: whose turn it is, had once each, and erased by nobody who takes the case."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.rotas import Rotas
from shared.config import ConfigError, config_of, read_dir
from shared.config.teams import teams_of
from shared.events.feedback import FeedbackRouted
from tests.closer.served import Served, served
from tests.closer.world import World, config_with, feedback, message

TEAMS = """
default_team: support
teams:
  - name: support
    members:
      - {email: Li@example.com}
      - {email: wang@example.com, away: [{from: 2026-11-24, to: 2026-11-25}]}
      - {email: ann@example.com}
  - {name: product}
  - {name: sales}
people: [{email: zoe@example.com, role: viewer}]
rotas:
  - {name: on-call, members: [li@example.com, wang@example.com, ann@example.com]}
  - {name: days, members: [zoe@example.com], hours: {zone: Asia/Shanghai, days: {mon-fri: ["09:00-12:00"]}}}
"""
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "last", "now", "whose"),
    [
        ("on-call", None, MONDAY, "li@example.com"),
        ("on-call", "li@example.com", MONDAY, "wang@example.com"),
        ("on-call", "ann@example.com", MONDAY, "li@example.com"),
        ("on-call", "gone@example.com", MONDAY, "li@example.com"),
        ("on-call", "li@example.com", MONDAY + timedelta(days=1), "ann@example.com"),
        ("on-call", "li@example.com", MONDAY + timedelta(days=2), "ann@example.com"),
        ("on-call", "li@example.com", MONDAY + timedelta(days=3), "wang@example.com"),
        ("days", "zoe@example.com", datetime(2026, 11, 23, 1, 0, tzinfo=UTC), "zoe@example.com"),
        ("days", None, datetime(2026, 11, 23, 4, 0, tzinfo=UTC), None),
        ("days", None, datetime(2026, 11, 22, 1, 0, tzinfo=UTC), None),
        ("nobody-knows", None, MONDAY, None),
    ],
)
def test_whose_turn_it_is(tmp_path: Path, name: str, last: str | None, now: datetime, whose: str | None) -> None:
    rotas = Rotas(teams_of(config_with(tmp_path, teams=TEAMS)))
    assert rotas.whose(name, last, now) == whose


def test_who_is_away_or_gone_is_handed_nothing(tmp_path: Path) -> None:
    rotas = Rotas(teams_of(config_with(tmp_path, teams=TEAMS)))
    assert rotas.there("LI@example.com", MONDAY) == "li@example.com"
    assert rotas.there("wang@example.com", MONDAY + timedelta(days=1)) is None
    assert rotas.there("gone@example.com", MONDAY) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[zoe@example.com]", "[zoe@example.com, joe@example.com]"), "joe@example.com is no member of a team"),
        (("name: days", "name: on-call"), "two rotas have the name 'on-call'"),
        (("to: 2026-11-25", "to: 2026-11-23"), "it ends on 2026-11-23, before it begins"),
        (("members: [zoe@example.com]", "members: []"), "at least 1 item"),
    ],
)
def test_what_cannot_be_is_refused(change: tuple[str, str], said: str) -> None:
    files = {**read_dir(Path("deploy/config")), "teams.yaml": TEAMS.replace(*change)}
    with pytest.raises(ConfigError, match=said):
        teams_of(config_of(files))


# ── cases ──


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(database_url, config_with(tmp_path, teams=TEAMS)) as world:
        yield world


def handed(number: int, **to: Any) -> dict[str, Any]:
    value = feedback(customer={"id": f"c-{number}"})
    value["routing"] |= to
    FeedbackRouted.model_validate(value)
    return value


async def test_each_turn_is_had_once_whoever_opens_the_case(world: World) -> None:
    """Two lanes and many batches; and what joins a case takes no turn."""
    values = [handed(number, rota="on-call") for number in range(30)]
    again = [handed(number, rota="on-call") for number in range(30)]
    await world.take(*values, *again)
    rows = await world.rows("SELECT assignee, rota, state FROM published.cases")
    assert Counter(row["assignee"] for row in rows) == {
        "li@example.com": 10,
        "wang@example.com": 10,
        "ann@example.com": 10,
    }
    assert {(row["rota"], row["state"]) for row in rows} == {("on-call", "open")}, "handed over is not acknowledged"
    opened = [event for event in await world.outbox() if event["what"] == "opened"]
    assert {event["data"]["rota"] for event in opened} == {"on-call"}
    assert "@example.com" not in str(opened), "no address on the topic that is kept for good"


async def test_a_batch_that_comes_again_takes_no_second_turn(world: World) -> None:
    first, second = handed(1, rota="on-call"), handed(2, rota="on-call")
    await world.take(first)
    await world.take(first, second)
    assert (await world.case(second["id"]))["assignee"] == "wang@example.com"


async def test_a_person_is_handed_it_unless_they_are_away(world: World) -> None:
    one, other = handed(1, person="zoe@example.com"), handed(2, person="wang@example.com")
    history = handed(3, rota="on-call", history=True)
    world.clock.advance(timedelta(days=1))
    await world.take(one, other, history)
    assert (await world.case(one["id"]))["assignee"] == "zoe@example.com"
    assert (await world.case(other["id"]))["assignee"] is None
    assert (await world.case(history["id"]))["assignee"] is None, "what is done needs nobody"


@pytest.fixture
async def api(world: World, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(world, database_url, tmp_path) as made:
        yield made


async def test_taking_a_case_erases_neither_its_team_nor_its_rota(api: Served) -> None:
    value = handed(1, rota="on-call")
    await api.world.take(value)
    case = (await api.world.case(value["id"]))["id"]
    found = (await api.post(f"/v1/cases/{case}/assign", {"to": "ann@example.com"})).json()
    assert (found["team"], found["assignee"], found["rota"]) == ("support", "ann@example.com", "on-call")
    found = (await api.post(f"/v1/cases/{case}/reassign", {"to": "zoe@example.com"})).json()
    assert (found["team"], found["assignee"], found["rota"]) == ("support", "zoe@example.com", "on-call")
    found = (await api.post(f"/v1/cases/{case}/reassign", {"team": "product"})).json()
    assert (found["team"], found["assignee"], found["rota"]) == ("product", None, None), "another team has its own"


async def test_two_closers_share_a_rota(world: World) -> None:
    """Each waits for the other's turn to be written."""
    await world.send(*(message(handed(number, rota="on-call")) for number in range(12)))
    async with world.running(), world.running():
        await world.caught_up()
    rows = await world.rows("SELECT assignee FROM published.cases")
    assert set(Counter(row["assignee"] for row in rows).values()) == {4}
