"""One delivery, one routed event: on the real embedded log, through failed transactions, takeovers and redrives.

The judge is independent: it reads `feedback.received` as it stands, recomputes what every record must have become,
and compares it with all that was written.
"""

import asyncio
import contextlib
import dataclasses
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import asyncpg
import pytest

from services.router import metrics
from services.router.breaker import IN_A_ROW, TooManyCrashes
from services.router.handler import GROUP, Handler
from services.router.judge import judge
from services.router.rebuild import rebuilt
from services.router.ruleset import Ruleset
from services.router.seen import SLACK_MS, SeenIds, identify
from services.router.settings import DAY_MS, RouterSettings
from shared.clock import SystemClock
from shared.errors import Rejected
from shared.events.dead_letter import redriven, whole
from shared.events.envelope import Envelope
from shared.events.feedback import TEXT_MAX_CHARS, FeedbackRouted
from shared.events.identity import body_hash
from shared.log import Message, Record, TopicPartition
from shared.log.postgres import PostgresLog
from shared.topics import DEAD_LETTER, DECISIONS, MAX_MESSAGE_BYTES, RECEIVED, all_topics, routed
from tests.router.rulesets import ruleset

RULES = """
rules:
  - {name: refund, when: {text: {contains: refund}}, then: [{assign: product}, {watch: sales}]}
  - {name: robot, when: {text: {contains: robot}}, then: [{discard: "a robot"}]}
"""
TEAMS = ("product", "support", "sales")
PATIENCE_S = 30.0
LONG_TEXTS = 160
WINDOW_MS = 7 * DAY_MS


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    log = await PostgresLog.open(database_url)
    await log.ensure_topics(all_topics(TEAMS))
    yield log
    await log.close()


class Running:
    """A handler at work, as the service runs it."""

    def __init__(self, log: PostgresLog, *, rules: Ruleset | None = None, batch: int = 50, window_ms: int = WINDOW_MS):
        self.handler = Handler(log, SystemClock(), RouterSettings(batch, window_ms))
        self.handler.ruleset = rules or ruleset(RULES)
        self.task = asyncio.create_task(self.handler.run())

    async def drain(self) -> None:
        await self.handler.drain()
        await self.task

    async def abandon(self) -> None:
        """No goodbye: whatever it was doing is cut off."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(log: PostgresLog, **options: Any) -> AsyncIterator[Running]:
    at_work = Running(log, **options)
    try:
        yield at_work
    finally:
        await at_work.abandon()


def message(
    name: str, text: str = "hello there", *, key: str = "k", raw: bytes | None = None, **envelope: Any
) -> Message:
    body = {"id": name, "workspace": "default", "received_at": "2026-11-22T10:00:00Z", "source": "web", "text": text}
    given = {"id": name, "type": "feedback.received", "source": "web", "time": "", "workspace": "default"}
    headers = Envelope(**(given | {"bodyhash": body_hash(text.encode())} | envelope)).headers()
    return Message(RECEIVED, key.encode(), json.dumps(body).encode() if raw is None else raw, headers)


def new_id() -> str:
    return str(uuid.uuid4())


async def everything(log: PostgresLog, topic: str) -> list[Record]:
    reader = await log.reader()
    found: list[Record] = []
    for partition in range(await reader.partitions(topic)):
        tp = TopicPartition(topic, partition)
        _, end = await reader.bounds(tp)
        async for records in reader.scan(tp, 0, end):
            found += records
    return found


async def eventually(what: Callable[[], Awaitable[bool]], why: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await what():
            await asyncio.sleep(0.02)
    assert why


async def all_done(log: PostgresLog) -> None:
    async def no_lag() -> bool:
        lag = await log.lag(GROUP, [RECEIVED])
        return sum(lag.values()) == 0

    await eventually(no_lag, "the router reads everything")


async def assert_once_each(log: PostgresLog) -> Counter[str]:
    """Recomputes every verdict from the input, and finds exactly that in the output, in the input's order."""
    last: dict[tuple[int, str, bytes], tuple[int, int, bytes]] = {}
    expected: list[tuple[str, str, bytes]] = []
    for record in sorted(await everything(log, RECEIVED), key=lambda r: (r.partition, r.offset)):
        headers = dict(record.headers)
        name, redrive, body = headers["ce_id"].decode(), headers.get("redrive", b"0"), headers["ce_bodyhash"]
        before = last.get((record.partition, name, redrive))
        last[record.partition, name, redrive] = (record.offset, record.timestamp_ms, body)
        if before is not None and record.timestamp_ms - before[1] <= WINDOW_MS:
            expected.append(("duplicate" if before[2] == body else "conflict", name, redrive))
        elif b"poison" in record.value:
            expected.append(("dead-letter", name, redrive))
        elif b"robot" in record.value:
            expected.append(("discarded", name, redrive))
        elif b"refund" in record.value:
            expected.append(("product", name, redrive))
            expected.append(("sales", name, redrive))
        else:
            expected.append(("support", name, redrive))
    came: list[tuple[str, str, bytes]] = []
    for team in TEAMS:
        for record in await everything(log, routed(team)):
            headers = dict(record.headers)
            assert FeedbackRouted.model_validate_json(record.value).id == headers["ce_id"].decode()
            came.append((team, headers["ce_id"].decode(), headers.get("redrive", b"0")))
    for record in await everything(log, DECISIONS):
        headers = dict(record.headers)
        decision = json.loads(record.value)["decision"]
        came.append((decision, headers["ce_id"].decode(), headers.get("redrive", b"0")))
    for letter in whole(await everything(log, DEAD_LETTER)):
        headers = dict(letter.headers)
        came.append(("dead-letter", headers["ce_id"].decode(), headers.get("redrive", b"0")))
    assert Counter(came) == Counter(expected)
    return Counter(what for what, _, _ in came)


def mixed(count: int, rng: random.Random) -> list[Message]:
    """Good ones, repeats, conflicts, poison, discarded ones; a few customers."""
    sent: list[Message] = []
    for _ in range(count):
        roll = rng.random()
        if sent and roll < 0.15:
            sent.append(rng.choice(sent))
        elif sent and roll < 0.2:
            earlier = rng.choice(sent)
            name = dict(earlier.headers)["ce_id"].decode()
            sent.append(message(name, "another text " * 3, key=(earlier.key or b"").decode()))
        else:
            text = rng.choice(["hello there", "hello there", "a refund", "a robot"])
            raw = b'{"poison": ' if roll > 0.97 else None
            sent.append(message(new_id(), text, key=f"customer-{rng.randrange(9)}", raw=raw))
    return sent


async def test_every_delivery_has_its_one_outcome(log: PostgresLog) -> None:
    producer = await log.producer()
    await producer.append(mixed(400, random.Random(1)))
    async with running(log):
        await all_done(log)
    counts = await assert_once_each(log)
    assert set(counts) == {*TEAMS, "duplicate", "conflict", "discarded", "dead-letter"}


async def test_order_per_customer_is_kept(log: PostgresLog) -> None:
    producer = await log.producer()
    ids = [new_id() for _ in range(200)]
    await producer.append([message(name, key=f"c{number % 7}") for number, name in enumerate(ids)])
    async with running(log, batch=16):
        await all_done(log)
    for customer in range(7):
        came = [
            dict(r.headers)["ce_id"].decode()
            for r in await everything(log, routed("support"))
            if r.key == f"c{customer}".encode()
        ]
        assert came == ids[customer::7]


async def test_takeovers_leave_no_gap_and_no_double(log: PostgresLog, database_url: str) -> None:
    """Members come, are cut off in the middle of their work, and others go on, each on connections of its own."""
    rng = random.Random(2)
    producer = await log.producer()
    stream = mixed(1500, rng)
    sending = asyncio.create_task(_send(producer, stream))
    for _ in range(5):
        own = await PostgresLog.open(database_url)
        member = Running(own, batch=20)
        before = await _positions(log)

        async def moved(before: int = before) -> bool:
            return await _positions(log) > before or sending.done()

        await eventually(moved, "this member works")
        await member.abandon()
        await own.close()
    await sending
    async with running(log), running(log):
        await all_done(log)
    await assert_once_each(log)


async def _send(producer: Any, stream: list[Message]) -> None:
    for begin in range(0, len(stream), 25):
        await producer.append(stream[begin : begin + 25])
        await asyncio.sleep(0.005)


async def _positions(log: PostgresLog) -> int:
    ends = await log.lag("nobody", [RECEIVED])
    lag = await log.lag(GROUP, [RECEIVED])
    return sum(ends.values()) - sum(lag.values())


async def test_transactions_that_fail_are_done_again_and_nothing_twice(log: PostgresLog, database_url: str) -> None:
    """The database cuts the router's connections while it works: each transaction's outcome may be unknown to it."""
    producer = await log.producer()
    sending = asyncio.create_task(_send(producer, mixed(1500, random.Random(3))))
    own = await PostgresLog.open(database_url)
    beside = await asyncpg.connect(database_url)
    failed_before = _failed_transactions()
    try:
        async with running(own, batch=20) as router:
            for _ in range(12):
                before = await _positions(log)

                async def moved(before: int = before) -> bool:
                    return await _positions(log) > before or sending.done()

                await eventually(moved, "the router works again")
                await beside.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%log.transact%'"
                )
            await sending
            await all_done(log)
            assert not router.task.done()
    finally:
        await beside.close()
        await own.close()
    assert _failed_transactions() > failed_before, "no transaction was hit: this proved nothing"
    await assert_once_each(log)


def _failed_transactions() -> float:
    return sum(
        sample.value
        for metric in metrics.failed_transactions.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def test_a_taker_over_knows_what_its_predecessor_knew(log: PostgresLog) -> None:
    """At every position of every partition, a map rebuilt by reading back gives the verdict that was given."""
    producer = await log.producer()
    await producer.append(mixed(300, random.Random(4)))
    async with running(log):
        await all_done(log)
    repeats = Counter(
        (json.loads(r.value)["of"], json.loads(r.value)["decision"])
        for r in await everything(log, DECISIONS)
        if json.loads(r.value)["of"]
    )
    assert repeats, "there is nothing to compare"
    reader = await log.reader()
    found: Counter[tuple[str, str]] = Counter()
    for record in await everything(log, RECEIVED):
        tp = TopicPartition(record.topic, record.partition)
        seen, _ = await rebuilt(reader, tp, record.offset, WINDOW_MS)
        assert seen.position == record.offset
        identity = identify(dict(record.headers), b"default")
        assert identity is not None
        earlier = seen.earlier(identity, record.offset, record.timestamp_ms)
        if earlier is not None:
            what = "duplicate" if earlier.same_body else "conflict"
            found[f"{record.topic}/{record.partition}/{earlier.offset}", what] += 1
    assert found == repeats


async def test_a_redriven_record_is_routed_and_says_so(log: PostgresLog) -> None:
    producer = await log.producer()
    name = new_id()
    await producer.append([message(name, raw=b'{"poison": ')])
    async with running(log):
        await all_done(log)
        (letter,) = whole(await everything(log, DEAD_LETTER))
        assert (letter.reason, letter.value) == ("malformed", b'{"poison": ')
        mended = redriven(dataclasses.replace(letter, value=message(name).value))
        await producer.append([mended, mended])
        await all_done(log)
    (record,) = await everything(log, routed("support"))
    assert dict(record.headers)["redrive"] == b"1"
    (decision,) = await everything(log, DECISIONS)
    assert json.loads(decision.value)["decision"] == "duplicate"


async def test_the_window_is_that_of_the_records_not_of_our_clock(log: PostgresLog, database_url: str) -> None:
    """A router that comes back after weeks still knows what was a repeat then."""
    producer = await log.producer()
    recent, old = new_id(), new_id()
    await producer.append([message(old), message(recent)])
    async with running(log):
        await all_done(log)
    await producer.append([message(recent), message(old)])
    sql = await asyncpg.connect(database_url)
    try:
        # Three weeks ago: the first two records, one of them just inside the window of the others, one just outside.
        now_ms = 1_760_000_000_000
        for offset, at in enumerate([now_ms - WINDOW_MS - 1, now_ms - WINDOW_MS, now_ms, now_ms]):
            await sql.execute(
                'UPDATE log.record SET timestamp_ms = $1 WHERE key = $2 AND "offset" = $3', at, b"k", offset
            )
    finally:
        await sql.close()
    assert [r.timestamp_ms for r in await everything(log, RECEIVED)] == [
        now_ms - WINDOW_MS - 1,
        now_ms - WINDOW_MS,
        now_ms,
        now_ms,
    ]
    async with running(log):
        await all_done(log)
    counts = await assert_once_each(log)
    assert counts == {"support": 3, "duplicate": 1}
    reader = await log.reader()
    tp = TopicPartition(RECEIVED, (await everything(log, RECEIVED))[0].partition)
    _, count = await rebuilt(reader, tp, 2, WINDOW_MS)
    assert count == 2
    _, count = await rebuilt(reader, tp, 2, WINDOW_MS - SLACK_MS - 1)
    assert count == 0


async def test_a_new_ruleset_is_taken_up_between_batches(log: PostgresLog) -> None:
    producer = await log.producer()
    first, second = ruleset(RULES), ruleset(RULES.replace("refund", "hello"))
    assert first.version != second.version
    async with running(log, rules=first) as router:
        await producer.append([message(new_id())])
        await all_done(log)
        router.handler.ruleset = second
        await producer.append([message(new_id())])
        await all_done(log)
    (before,) = await everything(log, routed("support"))
    (after,) = await everything(log, routed("product"))
    assert json.loads(before.value)["routing"]["ruleset_version"] == first.version
    assert json.loads(after.value)["routing"]["ruleset_version"] == second.version


async def test_nothing_is_read_before_there_are_rules(log: PostgresLog) -> None:
    producer = await log.producer()
    await producer.append([message(new_id())])
    handler = Handler(log, SystemClock(), RouterSettings())
    task = asyncio.create_task(handler.run())
    await handler.drain()
    await task
    assert await everything(log, routed("support")) == []
    assert sum((await log.lag(GROUP, [RECEIVED])).values()) == 1


async def test_long_texts_keep_nobody_waiting(log: PostgresLog) -> None:
    """Beside the router heartbeats go out: no turn of the loop may work through a whole batch of them."""
    producer = await log.producer()
    text = ("包裹还没有送到，客服一直不回复，我要退款！" * 2_000)[:TEXT_MAX_CHARS]
    for _ in range(LONG_TEXTS // 20):
        await producer.append([message(new_id(), text) for _ in range(20)])
    alone = max(_work_of(record) for record in (await everything(log, RECEIVED))[:9])
    turns: list[float] = []
    async with running(log, batch=LONG_TEXTS):
        watching = asyncio.create_task(_watch(turns))
        await all_done(log)
        watching.cancel()
    assert max(turns) < alone * LONG_TEXTS / 2, f"{max(turns):.3f} s in one turn, {alone:.4f} s for one text"


def _work_of(record: Record) -> float:
    rules = ruleset(RULES)
    began = time.thread_time()
    judge(record, SeenIds(WINDOW_MS, 0), rules, "")
    return time.thread_time() - began


async def _watch(turns: list[float]) -> None:
    """How much this thread works between two turns of the loop, whoever else has the machine meanwhile."""
    while True:
        began = time.thread_time()
        await asyncio.sleep(0)
        turns.append(time.thread_time() - began)


async def test_drain_finishes_the_batch_and_leaves_the_group(log: PostgresLog) -> None:
    producer = await log.producer()
    await producer.append(mixed(500, random.Random(5)))
    router = Running(log, batch=10)

    async def begun() -> bool:
        return await _positions(log) > 0

    await eventually(begun, "it has begun")
    await router.drain()
    async with running(log):
        await all_done(log)
    await assert_once_each(log)


async def test_a_defect_stops_the_router_and_loses_nothing(log: PostgresLog) -> None:
    """A ruleset that breaks on every record: a bad deploy, not bad records."""
    producer = await log.producer()
    await producer.append([message(new_id()) for _ in range(IN_A_ROW + 10)])
    broken = dataclasses.replace(ruleset(RULES), matcher=cast(Any, None))
    router = Running(log, rules=broken, batch=1000)
    with pytest.raises(TooManyCrashes):
        async with asyncio.timeout(PATIENCE_S):
            await router.task
    assert await everything(log, DEAD_LETTER) == []
    async with running(log):
        await all_done(log)
    assert await assert_once_each(log) == {"support": IN_A_ROW + 10}


async def test_an_output_that_the_log_refuses_is_cornered_and_dead_lettered(log: PostgresLog) -> None:
    """Headers so large that the record fits as it came, and no longer with its routing."""
    producer = await log.producer()
    good = [message(new_id()) for _ in range(20)]
    bulky = message(new_id(), "hello " * 300)
    room = MAX_MESSAGE_BYTES - len(bulky.value) - 800
    bulky.headers.append(("x-bulk", b"x" * room))
    await producer.append([*good[:10], bulky, *good[10:]])
    async with running(log) as router:
        await all_done(log)
        assert not router.task.done()
    assert len(await everything(log, routed("support"))) == len(good)
    (letter,) = whole(await everything(log, DEAD_LETTER))
    assert (letter.reason, letter.value) == ("refused-by-log", bulky.value)


async def test_a_team_whose_topic_is_gone_stops_the_router_and_dead_letters_nothing(log: PostgresLog) -> None:
    producer = await log.producer()
    await producer.append([message(new_id())])
    elsewhere = ruleset("rules: []", teams="default_team: nowhere\nteams: [{name: nowhere}]")
    router = Running(log, rules=elsewhere)
    with pytest.raises(Rejected):
        async with asyncio.timeout(PATIENCE_S):
            await router.task
    assert await everything(log, DEAD_LETTER) == []
    async with running(log):
        await all_done(log)
    assert await assert_once_each(log) == {"support": 1}
