"""What a rule holds back: opened at once, told to nobody, with no deadline said; and let go once, by its time or by somebody."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.closer import metrics
from services.closer.addresses import Allowed
from services.closer.case import (
    CUSTOMER,
    SYSTEM,
    Acknowledge,
    Assign,
    Case,
    Command,
    CustomerSaid,
    Decline,
    IllegalTransition,
    Join,
    Merge,
    Note,
    Open,
    Reassign,
    Resolve,
    Telling,
    Tick,
    Told,
    Untold,
    Wait,
    decide,
    next_due,
    open_case,
)
from services.closer.commands import Correct, Erase
from services.closer.records import Hold
from services.closer.sla import ClockSnapshot, Duration, due
from services.closer.store import NEVER
from services.closer.subscribers import read_subscribers
from services.closer.subscriptions import Way
from services.closer.subscriptions.webhook import Webhooks
from services.closer.tell import Teller
from services.closer.timers import Gauges
from shared.config import STARTER, Config, config_of, read_dir
from shared.events.envelope import rfc3339
from shared.retry import WEBHOOK
from tests.closer.served import served
from tests.closer.test_tell import all_of, hook
from tests.closer.world import START, World, feedback, message
from tests.hook_server import HookServer

NOW = datetime(2026, 12, 1, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNTIL = NOW + 3 * HOUR
HOLD = Hold(UNTIL, "planned maintenance")
SNAPSHOT = ClockSnapshot(
    policy="default",
    targets=(("acknowledge", Duration(1, "h")), ("resolve", Duration(1, "d")), ("tell_customer", Duration(2, "d"))),
    warn_at_percent=75,
    assume_after=Duration(14, "d"),
    escalate_to=(),
    calendar=None,
)


def opening(held: Hold | None = HOLD, history: bool = False) -> Case:
    command = Open(
        case_id="case-1",
        workspace="default",
        case_key="key-1",
        customer="c-1",
        team="support",
        theme="general",
        priority="normal",
        feedback_id="f-1",
        received_at=NOW,
        snapshot=None if history else SNAPSHOT,
        history=history,
        held=held,
    )
    return open_case(command, NOW).case


# ── the decision ──


def test_it_is_open_and_the_team_s_clock_stands_still_while_the_customer_s_goes_on() -> None:
    case = opening()
    assert (case.state, case.held, next_due(case)) == ("open", HOLD, UNTIL)
    assert case.clocks is not None
    found = due(case.clocks)["acknowledge"]
    assert (found.business, found.wall) == (None, NOW + HOUR)


def test_imported_history_is_held_by_nothing() -> None:
    assert opening(history=True).held is None


def test_its_time_lets_it_go_and_then_says_what_passed_for_the_customer() -> None:
    late = UNTIL + timedelta(minutes=30)
    outcome = decide(opening(), Tick(), late)
    what = [(event.what, event.reason) for event in outcome.events]
    assert what == [
        ("released", "its time is over"),
        ("clock.breached", "acknowledge on the wall clock"),
        ("clock.escalated", "acknowledge on the wall clock"),
    ]
    assert {event.actor for event in outcome.events} == {SYSTEM}
    assert outcome.events[0].data == {"until": "2026-12-02T02:00:00.000Z", "because": "planned maintenance"}
    assert outcome.events[1].data["due_at"] == rfc3339(NOW + HOUR), "broken when it was, whenever that is said"
    case = outcome.case
    assert case.clocks is not None
    assert case.held is None
    assert due(case.clocks)["acknowledge"].business == UNTIL + HOUR, "from its time on, however late we notice"
    assert next_due(case) == UNTIL + timedelta(minutes=45), "of which the team is warned as ever"


@pytest.mark.parametrize(
    ("command", "actor", "reason"),
    [
        (Acknowledge(), "key-7", "somebody acts on it"),
        (Assign("li@example.com"), "key-7", "somebody acts on it"),
        (Reassign(team="product"), "key-7", "somebody acts on it"),
        (Note("look"), "key-7", "somebody acts on it"),
        (Resolve("done"), "key-7", "somebody acts on it"),
        (Decline("no"), "key-7", "somebody acts on it"),
        (Merge("case-2"), "key-7", "somebody acts on it"),
        (Correct("f-1", {"kind": "bug"}), "key-7", "somebody acts on it"),
        (Erase(), "key-7", "somebody acts on it"),
        (Join("f-2", merged="case-2"), "key-7", "somebody acts on it"),
        (Join("f-2"), SYSTEM, "the customer says more"),
        (Join("f-2", on_loop=True), CUSTOMER, "the customer says more"),
        (CustomerSaid(solved=False), CUSTOMER, "the customer says more"),
        (CustomerSaid(solved=True), CUSTOMER, "the customer says more"),
        (Join("f-2", quiet=True), SYSTEM, None),
        (Reassign(team="product", reason="the team is no longer in teams.yaml"), SYSTEM, None),
        (Reassign(team="product", reason="by the rules of …"), "key-7", None),
        (Reassign(team="product", reason="moved in zendesk"), "zendesk", None),
        (Note("moved in zendesk to 'x', which is nobody here", heard=True), "zendesk", None),
        (Telling("heard", 1, "k", "email"), SYSTEM, None),
        (Told("heard", 1, "k", "email"), SYSTEM, None),
        (Untold("heard", 1, "no-address"), SYSTEM, None),
        (Tick(), SYSTEM, None),
    ],
)
def test_who_lets_it_go_before(command: Command, actor: str, reason: str | None) -> None:
    at = NOW + timedelta(minutes=10)
    outcome = decide(opening(), command, at, actor)
    released = [event for event in outcome.events if event.what == "released"]
    if reason is None:
        assert (outcome.case.held, released) == (HOLD, [])
        assert outcome.case.clocks is not None
        assert outcome.case.clocks.paused
        return
    assert outcome.case.held is None
    assert [(event.sequence, event.reason, event.actor) for event in released] == [(2, reason, SYSTEM)], "first of all"
    assert outcome.case.clocks is not None
    assert not outcome.case.clocks.paused
    settled = outcome.case.clocks.settled
    for found in (*due(outcome.case.clocks).values(), *(one.due for one in settled)):
        assert found.business is not None
        assert found.business - found.wall == timedelta(minutes=10), "the team's clock stood still for so long"


def test_what_is_not_allowed_lets_nothing_go() -> None:
    with pytest.raises(IllegalTransition):
        decide(opening(), Wait(), NOW + HOUR, "key-7")


MOVES = st.sampled_from(
    [
        (Tick(), SYSTEM),
        (Join("f-2", quiet=True), SYSTEM),
        (Join("f-3"), SYSTEM),
        (Told("heard", 1, "k", "email"), SYSTEM),
        (Acknowledge(), "key-7"),
        (Note("look"), "key-7"),
        (Resolve("done"), "key-7"),
        (CustomerSaid(solved=False), CUSTOMER),
    ]
)


@given(st.lists(st.tuples(MOVES, st.integers(0, 90 * 60)), max_size=12))
@settings(deadline=None)
def test_whatever_is_done_to_it(moves: list[tuple[tuple[Command, str], int]]) -> None:
    case, now, released = opening(), NOW, 0
    for (command, actor), seconds in moves:
        now += timedelta(seconds=seconds)
        before = case
        try:
            outcome = decide(case, command, now, actor)
        except IllegalTransition:
            continue
        case = outcome.case
        released += sum(event.what == "released" for event in outcome.events)
        if case.held is not None:
            assert (now < UNTIL, case.state, next_due(case)) == (True, "open", UNTIL)
            assert not any(event.what.startswith("clock.") for event in outcome.events), "no deadline is said"
        assert released == (case.held is None), "let go once"
        assert before.held is not None or case.held is None, "and never held again"


# ── with the database ──


def maintained(number: int = 1, until: datetime = START + 3 * HOUR, **changes: Any) -> dict[str, Any]:
    """Feedback that a rule holds back."""
    customer = {"id": f"c-{number}", "email": f"ann{number}@example.com"}
    value = feedback(**{"customer": customer, **changes})
    value["routing"]["held"] = {"until": rfc3339(until), "because": "planned maintenance"}
    return value


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with HookServer() as hooks:
        yield hooks


def config(url: str) -> Config:
    """Support hears of cases and feedback, sales of what it watches."""
    both = hook(f"{url}/support", "feedback.routed, case.changed")
    teams = f"""
default_team: support
teams:
  - {{name: support, subscribe: [{both}]}}
  - {{name: sales, subscribe: [{hook(f"{url}/sales")}]}}
  - {{name: product, subscribe: []}}
"""
    return config_of({**read_dir(STARTER), "teams.yaml": teams}, {"CLOSER_WEBHOOK_ALLOW": "127.0.0.1"})


@pytest.fixture
async def world(database_url: str, hooks: HookServer) -> AsyncIterator[World]:
    async with World.open(database_url, config(hooks.url)) as world:
        yield world


async def told(world: World, hooks: HookServer) -> list[str]:
    """What teams hear by what is due now: `/support case.changed opened`."""
    teller = Teller(world.unit, lambda _: _way(), replace(WEBHOOK, jitter=0.0))
    await teller.configure(read_subscribers(world.config))
    before = len(hooks.posted)
    try:
        await all_of(teller)
    finally:
        await teller.close()
    found = []
    for posted in hooks.posted[before:]:
        body = json.loads(posted.body)
        found.append(f"{posted.path} {body['type']} {body['data'].get('what', '')}".strip())
    return sorted(found)


def _way() -> Way:
    return Webhooks(Allowed.read("127.0.0.1"))


async def fire(world: World) -> int:
    fired = 0
    while count := await world.timers.fire_due():
        fired += count
    return fired


async def test_nobody_is_troubled_until_its_time_is_over_and_nothing_is_lost_then(
    world: World, hooks: HookServer
) -> None:
    value = maintained(priority="urgent", watchers=["sales"])  # to be acknowledged within an hour
    copy = {**value, "routing": {**value["routing"], "role": "watcher"}}
    await world.send(message(value), message(copy, topic="feedback.routed.sales"))
    async with world.running():
        await world.caught_up()
    case = await world.case(value["id"])
    assert (case["state"], case["held_until"], case["held_because"]) == (
        "open",
        START + 3 * HOUR,
        "planned maintenance",
    )
    assert (case["due_at"], case["queue_at"], case["breached"]) == (START + 3 * HOUR, NEVER, False)
    mail = await world.one("SELECT kind, status FROM published.notifications WHERE case_id = $1", case["id"])
    assert mail == {"kind": "heard", "status": "pending"}, "the customer is answered all the same"
    (opened,) = await world.outbox()
    assert opened["data"]["held"] == {"until": rfc3339(START + 3 * HOUR), "because": "planned maintenance"}

    world.clock.advance(3 * HOUR - timedelta(milliseconds=1))
    assert await fire(world) == 0
    assert await told(world, hooks) == []
    assert await world.timeline(case["id"]) == ["opened"]

    world.clock.advance(timedelta(milliseconds=1))
    assert await fire(world) == 1
    assert await fire(world) == 0
    assert await world.timeline(case["id"]) == [
        "opened",
        "released",
        "clock.breached",
        "clock.escalated",
    ], "the customer waited for longer than an hour"
    case = await world.case(value["id"])
    assert (case["held_until"], case["held_because"], case["state"], case["breached"]) == (None, None, "open", True)
    clock = await world.one("SELECT * FROM published.clocks WHERE case_id = $1 AND target = 'acknowledge'", case["id"])
    assert (clock["business_met"], clock["wall_met"]) == (None, False)
    assert clock["business_due"] == START + 4 * HOUR, "and the team has its hour"
    assert case["due_at"] == START + 3 * HOUR + timedelta(minutes=45), "of which it is warned"
    assert await told(world, hooks) == [
        "/sales feedback.routed",
        "/support case.changed clock.breached",
        "/support case.changed clock.escalated",
        "/support case.changed opened",
        "/support case.changed released",
        "/support feedback.routed",
    ]
    assert await told(world, hooks) == []


async def test_whoever_acts_on_it_lets_it_go_at_once(
    world: World, hooks: HookServer, database_url: str, tmp_path: Path
) -> None:
    value, other = maintained(1, watchers=["sales"]), maintained(2)
    copy = {**value, "routing": {**value["routing"], "role": "watcher"}}
    await world.send(message(value), message(other), message(copy, topic="feedback.routed.sales"))
    async with world.running():
        await world.caught_up()
    case = await world.case(value["id"])
    async with served(world, database_url, tmp_path) as closer:
        listed = (await closer.get("/v1/cases", held="true")).json()["items"]
        assert {one["held_because"] for one in listed} == {"planned maintenance"}
        assert len(listed) == 2
        assert (await closer.get("/v1/cases", held="maybe")).status_code == 400
        world.clock.advance(HOUR)
        answer = await closer.post(f"/v1/cases/{case['id']}/acknowledge")
        assert (answer.status_code, answer.json()["state"], answer.json()["held_until"]) == (200, "acknowledged", None)
        assert [one["id"] for one in (await closer.get("/v1/cases", held="false")).json()["items"]] == [str(case["id"])]
    assert await world.timeline(case["id"]) == ["opened", "released", "acknowledged"]
    assert await told(world, hooks) == [
        "/sales feedback.routed",
        "/support case.changed acknowledged",
        "/support case.changed opened",
        "/support case.changed released",
        "/support feedback.routed",
    ], "and of the other one nothing yet"
    world.clock.advance(2 * HOUR)
    await fire(world)
    assert await world.timeline(case["id"]) == ["opened", "released", "acknowledged"], "not let go a second time"
    assert await world.timeline((await world.case(other["id"]))["id"]) == ["opened", "released"]


async def test_letting_it_go_does_not_wait_for_an_erasure_that_waits_for_the_case(
    world: World, database_url: str, tmp_path: Path
) -> None:
    """An erasure holds what was said and then asks for the case; each would wait for the other."""
    value = maintained()
    await world.take(value)
    case = await world.case(value["id"])
    async with served(world, database_url, tmp_path) as closer, world.transactions.begin() as driver:
        await driver.execute("SELECT FROM closer.feedback WHERE id = $1 FOR UPDATE", value["id"])
        async with asyncio.timeout(10):
            answer = await closer.post(f"/v1/cases/{case['id']}/acknowledge")
    assert (answer.status_code, answer.json()["held_until"]) == (200, None)


async def test_what_joins_it(world: World, hooks: HookServer) -> None:
    first, later = maintained(), maintained(until=START + 6 * HOUR)
    history = {**feedback(history=True), "customer": first["customer"]}
    await world.take(first, later, history)
    case = await world.case(first["id"])
    assert await world.timeline(case["id"]) == ["opened", "joined", "joined"]
    assert case["held_until"] == START + 3 * HOUR, "it waits no longer than was said at first"
    assert await told(world, hooks) == []

    more = {**feedback(text="It burns!"), "customer": first["customer"]}
    await world.take(more)
    case = await world.case(first["id"])
    assert case["held_until"] is None
    assert await world.timeline(case["id"]) == ["opened", "joined", "joined", "released", "joined"]
    heard = await told(world, hooks)
    assert heard.count("/support feedback.routed") == 3
    assert heard.count("/support case.changed joined") == 3


async def test_held_and_let_go_in_one_batch(world: World, hooks: HookServer) -> None:
    value = maintained()
    await world.take(value, {**feedback(), "customer": value["customer"]})
    assert await world.timeline((await world.case(value["id"]))["id"]) == ["opened", "released", "joined"]
    assert (await told(world, hooks)).count("/support feedback.routed") == 2


async def test_a_case_that_is_work_already_is_not_held_by_what_joins_it(world: World, hooks: HookServer) -> None:
    value = feedback()
    await world.take(value)
    await told(world, hooks)
    await world.take({**maintained(), "customer": value["customer"]})
    assert (await world.case(value["id"]))["held_until"] is None
    assert await told(world, hooks) == ["/support case.changed joined"], "what was said is told when its time is over"
    world.clock.advance(3 * HOUR)
    assert await told(world, hooks) == ["/support feedback.routed"]


async def test_praise_has_no_case_and_is_told_when_its_time_is_over(world: World, hooks: HookServer) -> None:
    await world.take(maintained(kind="praise", follow_up=False))
    assert await told(world, hooks) == []
    world.clock.advance(3 * HOUR)
    assert await told(world, hooks) == ["/support feedback.routed"]


async def test_what_comes_late_from_the_log_is_let_go_at_once(world: World, hooks: HookServer) -> None:
    world.clock.advance(4 * HOUR)
    value = maintained()
    await world.take(value)
    assert await fire(world) == 1
    case = await world.case(value["id"])
    assert (await world.timeline(case["id"]))[:2] == ["opened", "released"]
    clock = await world.one("SELECT * FROM published.clocks WHERE case_id = $1 AND target = 'acknowledge'", case["id"])
    assert clock["business_due"] == START + 3 * HOUR + 8 * HOUR, "of eight hours none went before its time was over"


async def test_who_is_killed_while_letting_go_leaves_nothing_half_done(world: World, hooks: HookServer) -> None:
    """The row falls due again for whoever comes next: released once, told once."""
    values = [maintained(number) for number in range(30)]
    await world.take(*values)
    world.clock.advance(3 * HOUR)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            async with world.unit.work() as (driver, effects):
                for held in await world.unit.cases.claim_due(driver, effects.now, 10):
                    effects.record(held, decide(held.case, Tick(), effects.now))
                await effects.write(driver, world.snapshots)
                raise KeyboardInterrupt
    counts = await asyncio.gather(*(fire(world) for _ in range(3)))
    assert sum(counts) == 30
    rows = await world.rows("SELECT case_id, what FROM published.timeline WHERE what = 'released'")
    assert (len(rows), len({row["case_id"] for row in rows})) == (30, 30)
    assert (await told(world, hooks)).count("/support case.changed released") == 30


async def test_what_is_held_is_not_counted_as_waiting_to_be_told(world: World) -> None:
    world.clock.advance(datetime.now(UTC) + 2 * HOUR - START)
    await world.take(maintained(until=world.clock.now() + HOUR))
    gauges = Gauges(world.transactions)
    await gauges.refresh()
    assert metrics.DELIVERIES_WAITING._value.get() == 0


async def test_the_few_that_are_held_are_found_by_an_index_of_their_own(world: World) -> None:
    async with world.transactions.begin() as driver:
        await driver.execute("SET LOCAL enable_seqscan = off")
        plan = await driver.fetch(
            "EXPLAIN SELECT id FROM published.cases WHERE workspace = $1 AND held_because IS NOT NULL ORDER BY id DESC",
            "default",
        )
    assert "case_held" in str(plan)
