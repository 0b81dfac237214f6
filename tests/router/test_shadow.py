"""Rules beside those in force: what they would decide, what is counted of it, and that nothing else comes of them."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.conditions import Condition, Facts
from services.router.handler import Handler
from services.router.judge import Decided, judge_all
from services.router.route import look, route, see
from services.router.rules import load
from services.router.ruleset import index_of, rule_of
from services.router.seen import SeenIds
from services.router.settings import RouterSettings
from services.router.shadow import SAMPLES_EACH, Shadow, Tally, beside
from services.router.shadow_kept import ENDED_KEPT, KeptShadows
from services.router.shadowing import Shadowing
from shared.clock import ManualClock, SystemClock
from shared.config import Config
from shared.database import Database, raw
from shared.log import Record
from shared.log.postgres import PostgresLog
from shared.topics import DECISIONS, all_topics, routed
from tests.router.rulesets import TEAMS, config
from tests.router.test_difference import record
from tests.router.test_handler import all_done, everything, message, new_id

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
NAMES = ("product", "support", "sales")
POOL = (
    "{name: apple, when: {text: {contains: [apple, 苹果]}}, then: [{assign: product}, {tag: [fruit]}]}",
    "{name: pear, when: {text: {contains: pear}}, then: [{assign: sales}, {watch: [product]}]}",
    "{name: refund, when: {text: {says: refund, typos: 1}}, then: [{assign: support}, {prioritise: high}]}",
    "{name: plum, when: {text: {contains: plum}}, then: [{tag: [plum, fruit]}, {follow_up: false}]}",
    "{name: robot, when: {text: {contains: robot}}, then: [{discard: a robot}]}",
    "{name: praise, when: {kind: praise}, then: [{watch: sales}, {set_tier: vip}]}",
    "{name: quote, when: {text: {matches: 'quot(e|ation)'}}, then: [{assign: sales}]}",
    "{name: score, when: {score: {metric: nps, at_most: 6}}, then: [{prioritise: urgent}]}",
    "{name: late, when: {text: {contains: [apple, delivery, quote]}}, then: [{assign: support}]}",
)
WORDS = (
    *("apple", "苹果", "pear", "refund", "refnud", "not a refund", "plum", "robot", "thank you", "quote", "delivery"),
    *("invoice", "I love it", "cannot log in", "licence", "feature request", "!"),
)


def rules(*some: str) -> str:
    return f"rules: [{', '.join(some)}]"


def asked(live: Config, *records: Record) -> list[Decided]:
    found = judge_all(records, SeenIds(10_000, 0), load(live), "2026-11-30T09:00:00.000Z")
    return [outcome.decided for outcome in found if outcome.decided is not None]


def compared(live: Config, other: str, *records: Record) -> Tally:
    shadow, tally = beside(1, other, live, load(live)), Tally()
    for decided in asked(live, *records):
        shadow.compare(decided, tally)
    return tally


some_rules = st.lists(st.sampled_from(POOL), unique=True, max_size=len(POOL))
some_text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
some_texts = st.lists(some_text, min_size=1, max_size=8)


@given(some_rules, some_rules, some_texts)
@settings(max_examples=60, deadline=None)
def test_beside_others_it_decides_as_it_does_alone(live: list[str], other: list[str], texts: list[str]) -> None:
    """To the last word of its reasons, though most of what is known of the text comes from the others' look."""
    in_force, alone = config(rules(*live)), load(config(rules(*other)))
    shadow = beside(1, rules(*other), in_force, load(in_force))
    for decided in asked(in_force, *(record(number, text) for number, text in enumerate(texts))):
        assert shadow.route(decided) == route(decided.feedback, alone)


@given(some_rules, some_texts)
@settings(max_examples=40, deadline=None)
def test_beside_itself_nothing_ever_differs(live: list[str], texts: list[str]) -> None:
    records = [record(number, text, scores=[{"metric": "nps", "value": number}]) for number, text in enumerate(texts)]
    tally = compared(config(rules(*live)), rules(*live), *records)
    assert (tally.compared, tally.differ, list(tally.samples)) == (len(texts), 0, [])


@pytest.mark.parametrize(
    ("live", "other", "counts"),
    [
        (POOL[0], POOL[8], {("team", "product", "support"): 1, ("rule", "apple", "late"): 1, ("what", "team", ""): 1}),
        (POOL[0], "", {("team", "product", "support"): 1, ("rule", "apple", "(no rule)"): 1}),
        (POOL[0], POOL[0].replace("assign: product", "discard: fruit"), {("team", "product", "(discarded)"): 1}),
        (POOL[0].replace("assign: product", "discard: fruit"), POOL[0], {("team", "(discarded)", "product"): 1}),
        (POOL[0], POOL[0].replace("fruit", "food"), {("otherwise", "", ""): 1, ("what", "tags", ""): 1}),
        (POOL[0], POOL[0].replace("{tag", "{set_tier: vip}, {tag"), {("what", "tier", ""): 1}),
        (POOL[0], POOL[0].replace("{tag", "{suppress: {for: 2h, because: x}}, {tag"), {("what", "held", ""): 1}),
        (POOL[0], POOL[0].replace("{tag", "{watch: sales}, {tag"), {("what", "watchers", ""): 1}),
        (POOL[0], POOL[0].replace("{tag", "{prioritise: urgent}, {tag"), {("what", "priority", ""): 1}),
        (POOL[0], POOL[0].replace("{tag", "{follow_up: false}, {tag"), {("what", "follow_up", ""): 1}),
        (POOL[0], POOL[0].replace("name: apple", "name: fruits"), {("rule", "apple", "fruits"): 1}),
    ],
)
def test_what_is_counted(live: str, other: str, counts: dict[tuple[str, str, str], int]) -> None:
    tally = compared(config(rules(live)), rules(other) if other else "rules: []", record(0, "an apple?"))
    assert counts.items() <= tally.counts.items()
    assert tally.compared == 1
    assert tally.differ == (0 if "fruits" in other else 1)


def test_of_what_differs_the_newest_few_are_kept_by_their_id_alone() -> None:
    records = [record(number, f"a secret apple {number}") for number in range(SAMPLES_EACH + 5)]
    tally = compared(config(rules(POOL[0])), rules(POOL[8]), *records)
    kept = list(tally.samples)
    assert [int(sample.id[-2:]) for sample in kept] == list(range(5, SAMPLES_EACH + 5))
    assert (kept[0].live["rule"], kept[0].shadow["rule"]) == ("apple", "late")
    assert "secret" not in str(kept)


class Broken:
    """A condition with a defect."""

    def holds(self, facts: Facts) -> bool:
        raise ZeroDivisionError

    def why(self, facts: Facts) -> list[str]:
        return []

    def lack(self, facts: Facts) -> Any:
        return None

    def keys(self) -> None:
        return None


def broken(shadow: Shadow) -> Shadow:
    condition: Condition = Broken()
    some = (rule_of("broken", condition, ()),)
    return replace(shadow, ruleset=replace(shadow.ruleset, rules=some, index=index_of(some)))


def test_a_shadow_that_raises_is_counted() -> None:
    live, tally = config(rules(POOL[0])), Tally()
    shadow = broken(beside(1, rules(), live, load(live)))
    for decided in asked(live, record(0, "an apple"), record(1, "a pear")):
        shadow.compare(decided, tally)
    assert tally.counts == Counter({("failed", "", ""): 2})


# ── kept ──


@dataclass
class World:
    log: PostgresLog
    database: Database
    kept: KeptShadows

    async def status(self, live: str | None) -> dict[str, Any]:
        return await self.kept.status(live)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url)
    log = await PostgresLog.open(database_url)
    await log.ensure_topics(all_topics(NAMES))
    yield World(log, database, KeptShadows(database))
    await log.close()
    await database.close()


def shadowing(world: World, live: Config, clock: Any = None, share: float = 10) -> Shadowing:
    ruleset = load(live)
    options = RouterSettings(shadow_share=share)
    return Shadowing(world.kept, clock or SystemClock(), options, lambda: (ruleset, live))


async def test_a_router_routes_and_compares(world: World) -> None:
    live = config(rules(POOL[0], POOL[4]))
    await world.kept.start(rules(POOL[8], POOL[4]), NOW, "li", "apples are support's")
    beside_it = shadowing(world, live)
    await beside_it.turn()
    handler = Handler(world.log, SystemClock(), RouterSettings(), beside_it)
    handler.ruleset = load(live)
    ids = [new_id() for _ in range(6)]
    texts = ["an apple", "a robot", "a robot with an apple", "thanks", "delivery?", "an apple"]
    producer = await world.log.producer()
    messages = [message(name, text, key=name) for name, text in zip(ids, texts, strict=True)]
    await producer.append(
        [*messages, messages[0], message(new_id(), raw=b"{")]
    )  # a repeat and poison count for nothing
    task = asyncio.create_task(handler.run())
    await all_done(world.log)
    await handler.drain()
    await task
    await beside_it.close()
    found = await world.status(live.version)
    assert found["shadow"]["reason"] == "apples are support's"
    assert (found["live"], found["compared"], found["differ"], found["share"]) == (live.version, 6, 3, 0.5)
    assert (found["moved"], found["otherwise"], found["failed"], found["skipped"]) == (3, 0, 0, 0)
    assert found["by_team"] == [{"from": "product", "to": "support", "count": 3}]
    assert {sample["id"] for sample in found["samples"]} == {ids[0], ids[2], ids[5]}
    await producer.close()


async def test_what_is_written_twice_counts_once_and_processes_add_up(world: World) -> None:
    live = config(rules(POOL[0]))
    await world.kept.start(rules(POOL[8]), NOW, None, None)
    running = await world.kept.running()
    assert running is not None
    tally = compared(live, running.rules, *(record(number, "an apple") for number in range(3)))
    one, other = uuid.uuid4(), uuid.uuid4()
    for writer, number in ((one, 1), (one, 1), (other, 1), (one, 2), (one, 1)):
        await world.kept.add(running.id, live.version, tally, writer, number, NOW)
    found = await world.status(live.version)
    assert (found["compared"], found["moved"]) == (9, 9)
    assert found["rules"] == [{"rule": "apple", "live": 9, "shadow": 0}, {"rule": "late", "live": 0, "shadow": 9}]
    assert len(found["samples"]) == 3


async def test_samples_are_few_of_each_move_and_the_newest(world: World) -> None:
    live = config(rules(POOL[0], POOL[1]))
    await world.kept.start(rules(POOL[8]), NOW, None, None)
    running = await world.kept.running()
    assert running is not None
    for turn in range(3):
        records = [record(turn * 100 + number, "an apple") for number in range(SAMPLES_EACH)]
        tally = compared(live, running.rules, *records, record(turn * 100 + 50, "a pear?"))
        at = NOW + timedelta(minutes=turn)
        await world.kept.add(running.id, live.version, tally, uuid.uuid4(), 1, at)
    samples = (await world.status(live.version))["samples"]
    moves = Counter((one["live"]["team"], one["shadow"]["team"]) for one in samples)
    assert moves == {("product", "support"): SAMPLES_EACH, ("sales", "support"): 3}
    assert {int(one["id"][-3]) for one in samples if one["live"]["team"] == "product"} == {2}


async def test_another_takes_its_place_and_what_was_found_can_still_be_looked_at(world: World) -> None:
    assert (await world.status("abc"))["shadow"] is None
    live = config(rules(POOL[0]))
    for number in range(ENDED_KEPT + 3):
        await world.kept.start(rules(POOL[8]) + f"  # {number}\n", NOW, None, None)
    running = await world.kept.running()
    assert running is not None
    tally = compared(live, running.rules, record(0, "an apple"))
    await world.kept.add(running.id, live.version, tally, uuid.uuid4(), 1, NOW)
    other = await world.status("another")
    assert (other["compared"], other["earlier"]) == (0, [{"live": live.version, "compared": 1, "differ": 1}])
    assert await world.kept.end(NOW, "stopped")
    assert not await world.kept.end(NOW, "stopped")
    found = await world.status("another")
    assert (found["shadow"]["ended"], found["live"], found["compared"]) == ("stopped", live.version, 1)
    async with world.database.transaction() as connection:
        assert await (await raw(connection)).fetchval("SELECT count(*) FROM router.shadow") == ENDED_KEPT + 1


# ── asked within bounds ──


class Ticking(ManualClock):
    """Each look at it takes a second."""

    def monotonic(self) -> float:
        self.advance(timedelta(seconds=1))
        return super().monotonic()


async def test_when_its_share_of_the_time_is_over_the_rest_is_counted_as_skipped(world: World) -> None:
    live = config(rules(POOL[0]))
    await world.kept.start(rules(POOL[8]), NOW, None, None)
    at_work = shadowing(world, live, Ticking(NOW), share=0.5)
    await at_work.turn()
    shadow = at_work.beside(load(live))
    assert shadow is not None
    outcomes = judge_all([record(number, "an apple") for number in range(9)], SeenIds(10_000, 0), load(live), "x")
    await at_work.compare(shadow, outcomes, took_s=6.0)
    await at_work.close()
    found = await world.status(live.version)
    assert found["compared"] + found["skipped"] == 9
    assert 0 < found["compared"] < 3  # each looks at the clock, and every other one gives way to other tasks


async def test_no_share_no_question(world: World) -> None:
    live = config(rules(POOL[0]))
    await world.kept.start(rules(POOL[8]), NOW, None, None)
    at_work = shadowing(world, live, share=0)
    await at_work.turn()
    assert at_work.beside(load(live)) is None


async def test_a_shadow_that_cannot_be_asked_any_more_is_refused_and_says_why(world: World) -> None:
    """It was proved when it was started; then a team went."""
    live = config(rules())
    await world.kept.start(rules(POOL[1]), NOW, None, None)
    at_work = shadowing(world, live)
    await at_work.turn()
    assert at_work.beside(load(live)) is not None
    assert (await world.status(live.version))["shadow"]["refused"] is None
    without = config(rules(), teams=TEAMS.replace(", {name: sales}", ""))
    later = shadowing(world, without)
    await later.turn()
    assert later.beside(load(without)) is None
    assert later.beside(load(live)) is None  # nor beside what was in force before
    refused = (await world.status(without.version))["shadow"]["refused"]
    assert refused.startswith("routing.yaml:1:")
    assert 'there is no team "sales"' in refused


async def test_it_is_asked_by_the_model_that_judges_and_no_longer_once_it_has_ended(world: World) -> None:
    live = config(rules())
    await world.kept.start(rules(POOL[1]), NOW, None, None)
    at_work = shadowing(world, live)
    await at_work.turn()
    ruleset = load(live)
    found = at_work.beside(ruleset)
    assert found is not None
    assert found.ruleset.judge is ruleset.judge
    assert at_work.beside(replace(ruleset, version="another")) is None
    await world.kept.end(NOW, "stopped")
    await at_work.turn()
    assert at_work.beside(ruleset) is None


# ── and nothing else comes of it ──


async def routed_by(url: str, messages: list[Any], shadow: str | None) -> dict[str, list[tuple[Any, ...]]]:
    """What stands on every topic afterwards."""
    log, database = await PostgresLog.open(url), Database(url)
    await log.ensure_topics(all_topics(NAMES))
    live, kept = config(rules(*POOL[:6])), KeptShadows(database)
    clock = ManualClock(NOW)
    if shadow is not None:
        await kept.start(shadow, NOW, None, None)
    ruleset = load(live)
    at_work = Shadowing(kept, clock, RouterSettings(shadow_share=10), lambda: (ruleset, live))
    await at_work.turn()
    assert (at_work.beside(ruleset) is None) == (shadow is None)
    handler = Handler(log, clock, RouterSettings(batch_records=7), at_work)
    handler.ruleset = ruleset
    producer = await log.producer()
    await producer.append(messages)
    task = asyncio.create_task(handler.run())
    await all_done(log)
    await handler.drain()
    await task
    await at_work.close()
    if shadow is not None:
        assert (await kept.status(live.version))["differ"] > 0
    topics = [DECISIONS, *(routed(team) for team in NAMES)]
    found = {
        topic: [(one.partition, one.offset, one.key, one.value, one.headers) for one in await everything(log, topic)]
        for topic in topics
    }
    await producer.close()
    await log.close()
    await database.close()
    return found


@pytest.fixture
def another_url(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with new_database() as url:
        yield url


async def test_what_is_routed_is_the_same_byte_for_byte(database_url: str, another_url: str) -> None:
    texts = [f"{one} {other}" for one in WORDS for other in WORDS[::3]]
    messages = [message(new_id(), text, key="k") for text in texts]
    shadow = rules(POOL[8], POOL[6], *POOL[3:5], POOL[2].replace("refund", "refunds"))
    assert await routed_by(database_url, messages, shadow) == await routed_by(another_url, messages, None)


def test_the_look_of_the_rules_in_force_is_left_as_it_was() -> None:
    live = config(rules(*POOL[:3]))
    ruleset = load(live)
    feedback = asked(live, record(0, "a refnud for my apple delivery quote"))[0].feedback
    (seen,) = see([(feedback, look(feedback, ruleset))], ruleset)
    before = (set(seen.text.scan.terms), dict(seen.text.scan.typos), dict(seen.text.scan.said))
    decided = Decided(feedback, seen, False, route(feedback, ruleset, False, seen))
    said = dict(seen.text.scan.said)
    beside(1, rules(*POOL), live, ruleset).route(decided)
    assert (set(seen.text.scan.terms), dict(seen.text.scan.typos)) == before[:2]
    assert dict(seen.text.scan.said) == said
