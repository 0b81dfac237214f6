"""The traps of a log on Postgres, each with the test that would have caught it."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import msgspec
import pytest

from shared.database.embedded import EmbeddedPostgres
from shared.errors import Fenced, Misuse, Transient
from shared.log import Message, Record, TopicPartition
from shared.log.postgres import PostgresLog
from shared.log.postgres import append as append_module
from shared.log.postgres.connection import LEASE_S
from shared.log.postgres.retention import TRIM_LOCK
from shared.topics import Topic
from tests.contracts.log_process import Child, Job, Stop, copied, positions_after
from tests.contracts.test_log import (
    PATIENCE_S,
    Recorder,
    assert_in_order_per_key,
    eventually,
    everything,
    numbered,
    poll_until,
    poll_while,
    values,
)

APPEND = "SELECT log.append($1, $2, $3, $4, $5, $6, $7)"
NO_HEADERS = msgspec.msgpack.encode([])
SOURCE = Topic("in", timedelta(days=7), 6)
SINK = Topic("out", None, 6)


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    log = await PostgresLog.open(database_url)
    await log.ensure_topics([SOURCE, SINK])
    yield log
    await log.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Any]:
    """A connection beside the log's."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def append_by_hand(connection: Any, topic: str, partitions: list[int], values: list[bytes]) -> None:
    """Straight to the function, so that it can stand inside a transaction; one value for each partition named."""
    topic_id = await connection.fetchval("SELECT id FROM log.topic WHERE name = $1", topic)
    count = len(partitions)
    await connection.fetchval(
        APPEND,
        *([topic_id] * count, partitions, [1] * count, list(range(1, count + 1))),
        *([b"k"] * count, [NO_HEADERS] * count, values),
    )


@pytest.fixture
async def child(database_url: str) -> AsyncIterator[Callable[[str, Stop], Awaitable[Child]]]:
    """Starts a member of that group in a process of its own; none outlives the test."""
    started: list[Child] = []

    async def start(group: str, stop: Stop) -> Child:
        started.append(await Child.start(Job("postgres", database_url, group, "in", "out", stop=stop)))
        return started[-1]

    yield start
    for one in started:
        await one.kill()


async def owners(sql: Any, group: str = "g") -> Counter[str | None]:
    rows = await sql.fetch("SELECT owner::text FROM log.position WHERE group_name = $1", group)
    return Counter(row[0] for row in rows)


# ── appending ──


async def test_nothing_is_skipped_while_32_transactions_of_all_lengths_commit_and_abort(
    log: PostgresLog, database_url: str
) -> None:
    """Offsets taken early and committed late are where a sequence loses records: here a counter holds the others back."""
    committed: set[bytes] = set()
    done = asyncio.Event()
    seen: list[Record] = []

    async def write(writer: int) -> None:
        connection = await asyncpg.connect(database_url)
        chance = random.Random(writer)
        for n in range(15):
            partitions = sorted(chance.sample(range(6), chance.randint(1, 3)))
            batch = [b"%d-%d-%d" % (writer, n, p) for p in partitions]
            transaction = connection.transaction()
            await transaction.start()
            await append_by_hand(connection, "in", partitions, batch)
            await connection.execute("SELECT pg_sleep($1)", chance.choice([0, 0.001, 0.003]))
            if chance.random() < 0.2:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed.update(batch)
        await connection.close()

    async def read() -> None:
        reader = await log.reader()
        async with contextlib.aclosing(reader.follow("in", {})) as batches:  # type: ignore[type-var]
            async for batch in batches:
                seen.extend(batch)
                if done.is_set() and len(seen) >= len(committed):
                    return

    async def write_all() -> None:
        await asyncio.gather(*[write(writer) for writer in range(32)])
        done.set()

    async with asyncio.timeout(60):
        await asyncio.gather(read(), write_all())
    assert len(seen) == len(committed)
    assert set(values(seen)) == committed
    for partition in range(6):
        offsets = [r.offset for r in seen if r.partition == partition]
        assert offsets == list(range(len(offsets)))


async def test_times_are_taken_with_the_counter_and_never_run_backwards_along_the_offsets(
    log: PostgresLog, sql: Any, database_url: str
) -> None:
    """`now()` is when the transaction began: one that waited long would write an older time behind a newer one."""
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.fetchval("SELECT now()")
        for n in range(3):
            await append_by_hand(sql, "in", [0], [b"early %d" % n])
        await sql.execute("SELECT pg_sleep(0.01)")
        reached = await sql.fetchval("SELECT log.clock_ms()")
        await append_by_hand(other, "in", [0], [b"late"])
    await other.close()
    records = await everything(log, "in")
    assert values(records)[-1] == b"late"
    times = [r.timestamp_ms for r in records]
    assert times == sorted(times)
    assert times[-1] >= reached
    # A small step back of the machine's clock is held; after a large one (it had been wrong) the clock counts again.
    for ahead_ms, held in ((30_000, True), (86_400_000, False)):
        before = await sql.fetchval(
            "UPDATE log.partition SET last_timestamp_ms = log.clock_ms() + $1 WHERE partition = 1 AND topic_id = "
            "(SELECT id FROM log.topic WHERE name = 'in') RETURNING last_timestamp_ms",
            ahead_ms,
        )
        await append_by_hand(sql, "in", [1], [b"x"])
        assert ((await everything(log, "in"))[-1].timestamp_ms == before) is held


async def test_counters_are_locked_in_order_so_that_crossing_appends_never_deadlock(log: PostgresLog, sql: Any) -> None:
    with pytest.raises(asyncpg.RaiseError, match="ascend"):
        await append_by_hand(sql, "in", [3, 1], [b"a", b"b"])
    other = await PostgresLog.open(log._connections.dsn)
    producers = [await log.producer(), await other.producer()]
    messages = numbered("in", 50)

    async def write(n: int) -> None:
        order = messages if n % 2 else messages[::-1]
        for _ in range(20):
            await producers[n % 2].append(order)

    await asyncio.gather(*[write(n) for n in range(4)])  # a deadlock would come out as Transient
    await other.close()
    assert len(await everything(log, "in")) == 4 * 20 * 50


async def test_callers_share_a_write(log: PostgresLog, sql: Any) -> None:
    """What waits while one write is under way goes together with the next: 200 callers, a few transactions."""
    producer = await log.producer()
    await producer.append(numbered("in", 1))
    before = await sql.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    await asyncio.gather(*[producer.append([m]) for m in numbered("in", 200)])
    xids = await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM log.record")
    assert before is not None
    assert xids <= 4


async def test_callers_wait_at_the_door_when_the_database_is_slow(
    log: PostgresLog, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_module, "WAITING_MAX_BYTES", 10_000)
    producer = await log.producer()
    body = os.urandom(2_000)
    most = 0
    async with sql.transaction():
        await sql.execute("SELECT FROM log.partition FOR UPDATE")
        tasks = [asyncio.create_task(producer.append([Message("in", b"k", body, [])])) for _ in range(50)]
        while len(tasks) and most <= 10_000:
            await asyncio.sleep(0)
            most = max(most, log._appender._bytes)
    await asyncio.gather(*tasks)
    assert most < 10_000 + 3_000
    assert len(await everything(log, "in")) == 50


async def test_an_append_larger_than_one_write_goes_in_pieces_and_keeps_its_order(log: PostgresLog) -> None:
    producer = await log.producer()
    await producer.append(numbered("in", 12_000))
    records = await everything(log, "in")
    assert len(records) == 12_000
    assert_in_order_per_key(records)


async def test_a_counter_row_stays_on_its_page(log: PostgresLog, sql: Any) -> None:
    """Updated by every append: with room on the page dead versions are pruned in place, without vacuum."""
    producer = await log.producer()
    for _ in range(600):
        await producer.append(numbered("in", 6, keys=6))
    assert "fillfactor=10" in (
        await sql.fetchval("SELECT reloptions FROM pg_class WHERE oid = 'log.partition'::regclass")
    )
    assert await sql.fetchval("SELECT pg_relation_size('log.partition')") <= 5 * 8192


# ── waking readers ──


async def test_one_notification_a_write_and_topic_with_nothing_but_the_topic(log: PostgresLog, sql: Any) -> None:
    heard: list[str] = []
    await sql.add_listener("flywheel_log", lambda _c, _p, _ch, payload: heard.append(payload))
    await (await log.producer()).append([*numbered("in", 500), *numbered("out", 500)])

    async def both() -> bool:
        return len(heard) >= 2

    await eventually(both)
    assert sorted(heard) == ["in", "out"]


async def test_a_process_listens_once_and_never_inside_a_transaction(log: PostgresLog, sql: Any) -> None:
    """A listener in a transaction keeps every notification since then in the server's queue."""
    members = [await log.consumer(f"g{n}", ["in"], Recorder()) for n in range(3)]
    await (await log.producer()).append(numbered("in", 10))
    for member in members:
        await poll_until(member, 10)
        rows = await sql.fetch(
            "SELECT state, xact_start FROM pg_stat_activity WHERE application_name = 'flywheel log listener' "
            "AND datname = current_database()"
        )
        assert [(row["state"], row["xact_start"]) for row in rows] == [("idle", None)]
    for member in members:
        await member.close()


async def test_what_no_notification_announced_is_found_all_the_same(log: PostgresLog, sql: Any) -> None:
    member = await log.consumer("g", ["in"], Recorder())
    assert await member.poll(10, 0) == []
    polling = asyncio.create_task(poll_until(member, 1))
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        await sql.execute(
            """WITH p AS (UPDATE log.partition SET next_offset = 1 WHERE partition = 2
                          AND topic_id = (SELECT id FROM log.topic WHERE name = 'in') RETURNING *)
               INSERT INTO log.record (topic_id, partition, "offset", timestamp_ms, headers, value)
               SELECT topic_id, partition, 0, log.clock_ms(), $1, 'quiet' FROM p""",
            NO_HEADERS,
        )
    assert values(await polling) == [b"quiet"]
    await member.close()


async def test_every_connection_may_be_cut_at_any_time(log: PostgresLog, sql: Any) -> None:
    """The pool's and the listening one: the log finds its way back by itself, and is woken by news again."""
    listener = Recorder()
    member = await log.consumer("g", ["in"], listener)
    producer = await log.producer()
    await producer.append(numbered("in", 10))
    records = await poll_until(member, 10)
    for round_number in range(1, 4):
        await sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'flywheel log%'"
        )
        new = numbered("in", 10, start=10 * round_number)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await producer.append(new)
                    break
                except Transient:  # unknown: it may be there; here we can look
                    if {m.value for m in new} <= set(values(await _patiently(log))):
                        break
            while len(records) < 10 * (round_number + 1):
                with contextlib.suppress(Transient):
                    records += await member.poll(100, 0.5)
    assert [int(r.value) for r in sorted(records, key=lambda r: int(r.value))] == list(range(40))

    async def listening() -> bool:
        return log._hub.alive is not None

    await eventually(listening)
    await member.close()


async def _patiently(log: PostgresLog) -> list[Record]:
    while True:
        with contextlib.suppress(Transient):
            return await everything(log, "in")


# ── groups ──


async def test_a_killed_member_is_missed_at_once_and_a_silent_one_when_its_lease_ends(
    log: PostgresLog, sql: Any, child: Callable[[str, Stop], Awaitable[Child]]
) -> None:
    """`kill -9` frees the advisory lock of the dead process; under SIGSTOP only the lease tells."""
    await (await log.producer()).append(numbered("in", 10))
    for how in ("killed", "stopped"):
        process = await child(how, "before transact")
        await process.stopped()
        member = await log.transactional(how, ["in"], Recorder())
        if how == "killed":
            await sql.execute("UPDATE log.member SET lease_until = 'infinity' WHERE id <> $1", member._id)
            await process.kill()
        await poll_while([member], lambda member=member: len(member.assignment) < 6)  # type: ignore[misc]
        await process.kill()
        await member.close()


async def test_a_member_stopped_inside_a_transaction_holds_nobody_up_for_longer_than_its_lease(
    log: PostgresLog, sql: Any, child: Callable[[str, Stop], Awaitable[Child]]
) -> None:
    """Counters and positions stay locked under a stopped transaction; the server ends it before the lease does."""
    await (await log.producer()).append(numbered("in", 100))
    process = await child("g", "before commit")
    await process.stopped()
    # Somebody else's append to the same partitions: Transient at the worst, and then it goes through.
    producer = await log.producer()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(Transient):
                await producer.append(numbered("out", 6, keys=6, start=1000))
                break
    process.go_on()
    assert (await process.until("failed", "fenced", "committed"))["event"] == "failed"
    await process.until("committed", total=100)  # it goes back, reads again, and does it once
    await process.kill()
    found = [int(r.value) for r in await everything(log, "out")]
    assert Counter(found) == Counter([*range(100), *range(1000, 1006)])


async def test_a_clean_exit_leaves_no_member_behind(log: PostgresLog, sql: Any) -> None:
    member = await log.consumer("g", ["in"], Recorder())
    await member.poll(1, 0)
    assert len(await owners(sql)) == 1
    assert await sql.fetchval("SELECT count(*) FROM log.member") == 1
    await member.close()
    assert await sql.fetchval("SELECT count(*) FROM log.member") == 0
    assert await owners(sql) == {None: 6}


async def test_a_member_that_lost_a_partition_moves_no_position_and_appends_nothing(log: PostgresLog, sql: Any) -> None:
    """One of its six partitions is enough: all is undone."""
    await (await log.producer()).append(numbered("in", 60))
    listener = Recorder()
    member = await log.transactional("g", ["in"], listener)
    records = await poll_until(member, 60)
    await sql.execute("UPDATE log.position SET generation = generation + 1 WHERE partition = 5")
    with pytest.raises(Fenced):
        await member.transact(copied(records, "out"), positions_after(records))
    assert await everything(log, "out") == []
    assert await sql.fetchval("SELECT count(*) FROM log.position WHERE position IS NOT NULL") == 0
    with pytest.raises(Fenced):
        await member.commit({TopicPartition("in", 5): 1})
    again = await poll_until(member, 60)
    assert listener.told[-2][0] == "revoked"
    await member.transact(copied(again, "out"), positions_after(again))
    assert sorted(values(await everything(log, "out"))) == sorted(values(records))
    await member.close()


async def test_the_database_clock_alone_decides_who_is_late(log: PostgresLog, sql: Any) -> None:
    """A lease that the database calls over is over, whatever the member's own clock says; and the member comes back."""
    listener = Recorder()
    one, two = await log.consumer("g", ["in"], listener), await log.consumer("g", ["in"], Recorder())
    await poll_while([one, two], lambda: (len(one.assignment), len(two.assignment)) != (3, 3))
    had = one.assignment
    async with one._beating:  # it cannot renew
        await sql.execute(
            "UPDATE log.member SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = $1", one._id
        )
        await two._beat()
        assert await owners(sql) == {str(two._id): 6}

    def revoked() -> set[TopicPartition]:
        return {tp for what, tps in listener.told if what == "revoked" for tp in tps}

    await poll_while([one, two], lambda: not had <= revoked())
    await poll_while([one, two], lambda: (len(one.assignment), len(two.assignment)) != (3, 3))
    await one.close()
    await two.close()


async def test_a_slow_handler_keeps_its_membership(log: PostgresLog, sql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is renewed beside the work: one that does not poll for longer than the lease loses nothing."""
    monkeypatch.setattr(
        "shared.log.postgres.group.LEASE_S", 15.0
    )  # a machine that stands still for 3 s is no matter here
    await (await log.producer()).append(numbered("in", 30))
    listener = Recorder()
    member = await log.transactional("g", ["in"], listener)
    records = await poll_until(member, 30)

    async def lease_until() -> datetime:
        until: datetime = await sql.fetchval("SELECT lease_until FROM log.member WHERE id = $1", member._id)
        return until

    begun = await lease_until()
    async with asyncio.timeout(PATIENCE_S):
        while await lease_until() < begun + timedelta(seconds=LEASE_S * 1.2):  # somebody is there who would bury it
            await sql.execute("SELECT log.beat('g', $1, '{out}', '1 minute', NULL)", UUID(int=1))
            await asyncio.sleep(0.2)
    await member.transact(copied(records, "out"), positions_after(records))
    assert set(listener.times_assigned().values()) == {1}
    await member.close()


# ── outcomes that nobody hears of ──


class Proxy:
    """Stands between the log and the server. A request that holds `marker` it passes on, and then hangs up: once the answer
    is there, or (`at_once`) while the server is still at work."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.marker: bytes | None = None
        self.at_once = False
        self.swallowed = 0

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_unix_connection(str(self._server))
        cutting = False

        async def forward() -> None:
            nonlocal cutting
            while data := await client.read(1 << 20):
                if self.marker is not None and self.marker in data:
                    self.marker = None
                    self.swallowed += 1
                    cutting = True
                to_server.write(data)
                if cutting and self.at_once:
                    back.close()
            if not cutting:
                to_server.close()

        async def deliver() -> None:
            while data := await upstream.read(1 << 20):
                if cutting and data.endswith(b"Z\x00\x00\x00\x05I"):  # ready for query, idle: it has committed
                    break
                back.write(data)
            back.close()
            to_server.close()

        await asyncio.gather(forward(), deliver(), return_exceptions=True)


@pytest.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Proxy, str]]:
    parts = urlsplit(database_url)
    proxy = Proxy(Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432")
    server = await asyncio.start_unix_server(proxy.serve, tmp_path / ".s.PGSQL.5432")
    yield proxy, parts._replace(query=f"host={tmp_path}").geturl()
    server.close()


async def test_a_commit_whose_answer_is_lost_is_resolved_by_the_positions(
    proxy: tuple[Proxy, str], log: PostgresLog
) -> None:
    await (await log.producer()).append(numbered("in", 30, keys=1))
    cut, url = proxy
    client = await PostgresLog.open(url)
    listener = Recorder()
    member = await client.transactional("g", ["in"], listener)
    records = await poll_until(member, 10, max_records=10)
    cut.marker = b"the marked one"
    outputs = [*copied(records, "out"), Message("out", b"key-0", b"99", [("note", b"the marked one")])]
    with pytest.raises(Transient):
        await member.transact(outputs, positions_after(records))
    assert cut.swallowed == 1
    rest = await poll_until(member, 20)  # what was committed does not come again
    assert listener.told[-1][0] == "assigned"
    assert listener.told[-1][1].items() >= positions_after(records).items()
    await member.transact(copied(rest, "out"), positions_after(rest))
    assert Counter(int(r.value) for r in await everything(log, "out")) == Counter([*range(30), 99])
    await member.close()
    await client.close()


async def test_a_transaction_still_under_way_when_its_caller_gives_up_on_it_counts_once(
    proxy: tuple[Proxy, str], log: PostgresLog, sql: Any
) -> None:
    """The connection is lost while the server waits for a lock: the caller sees the old positions and does the batch again,
    while the first attempt is yet to commit. The position that each believes in lets only one of them through."""
    await (await log.producer()).append(numbered("in", 30, keys=1))
    cut, url = proxy
    client = await PostgresLog.open(url)
    member = await client.transactional("g", ["in"], Recorder())
    records = await poll_until(member, 30)
    outputs = [*copied(records, "out"), Message("out", b"key-0", b"99", [("note", b"the marked one")])]
    cut.marker, cut.at_once = b"the marked one", True
    async with sql.transaction():
        await sql.execute("SELECT FROM log.partition FOR UPDATE")
        with pytest.raises(Transient):
            await member.transact(outputs, positions_after(records))
        again = await poll_until(member, 30)
        assert values(again) == values(records)
        second = asyncio.create_task(member.transact(copied(again, "out"), positions_after(again)))
        await asyncio.sleep(0)
    with pytest.raises(Fenced):
        await second
    assert await member.poll(10, 0.1) == []
    assert cut.swallowed == 1
    assert Counter(int(r.value) for r in await everything(log, "out")) == Counter([*range(30), 99])
    await member.close()
    await client.close()


async def test_an_append_whose_answer_is_lost_says_unknown_and_the_next_one_goes_through(
    proxy: tuple[Proxy, str], log: PostgresLog
) -> None:
    cut, url = proxy
    client = await PostgresLog.open(url)
    producer = await client.producer()
    cut.marker = b"the marked one"
    with pytest.raises(Transient):
        await producer.append([Message("in", b"k", b"the marked one", [])])
    assert values(await everything(log, "in")) == [b"the marked one"]
    await producer.append([Message("in", b"k", b"next", [])])
    assert values(await everything(log, "in")) == [b"the marked one", b"next"]
    await client.close()


async def test_a_transaction_that_the_server_ended_left_nothing(log: PostgresLog, sql: Any, database_url: str) -> None:
    await (await log.producer()).append(numbered("in", 30))
    listener = Recorder()
    member = await log.transactional("g", ["in"], listener)
    records = await poll_until(member, 30)
    async with sql.transaction():
        await sql.execute("SELECT FROM log.partition FOR UPDATE")  # it stands at the counters, positions moved
        transacting = asyncio.create_task(member.transact(copied(records, "out"), positions_after(records)))
        other = await asyncpg.connect(database_url)  # a transaction sees one state of pg_stat_activity only
        while not await other.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE query LIKE 'SELECT log.transact%' AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)
        await other.close()
    with pytest.raises(Transient):
        await transacting
    assert await everything(log, "out") == []
    again = await poll_until(member, 30)
    assert set(listener.times_assigned().values()) == {2}
    await member.transact(copied(again, "out"), positions_after(again))
    assert len(await everything(log, "out")) == 30
    await member.close()


async def test_the_log_is_away_and_comes_back(tmp_path: Path) -> None:
    """A server that is stopped and started again: Transient meanwhile, then everything goes on."""
    from shared.database import migrate

    server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
    await migrate.upgrade(server.url)
    log = await PostgresLog.open(server.url)
    try:
        await log.ensure_topics([SOURCE])
        producer = await log.producer()
        member = await log.consumer("g", ["in"], Recorder())
        await producer.append(numbered("in", 10))
        await poll_until(member, 10)
        await asyncio.to_thread(server.stop)
        with pytest.raises(Transient):
            await producer.append(numbered("in", 10))
        with pytest.raises(Transient):
            await log.ping()
        with pytest.raises(Transient):
            await member.poll(10, 1)
        with pytest.raises(Transient):
            await PostgresLog.open(server.url)
        server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
        await log.ping()
        await producer.append(numbered("in", 10, start=10))
        assert sorted(int(r.value) for r in await poll_until(member, 10)) == list(range(10, 20))
        await member.close()
    finally:
        await log.close()
        await asyncio.to_thread(server.stop)


# ── retention ──


async def test_what_is_too_old_goes_by_offset_and_nobody_is_in_the_way(
    log: PostgresLog, sql: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.log.postgres.retention.DELETE_RECORDS", 7)
    producer = await log.producer()
    await producer.append([*numbered("in", 100, keys=1), *numbered("out", 10)])
    tp = TopicPartition("in", (await everything(log, "in"))[0].partition)
    late = await log.consumer("late", ["in"], Recorder())
    done = await poll_until(late, 10, max_records=10)
    await late.commit(positions_after(done))
    await late.close()
    await sql.execute('UPDATE log.record SET timestamp_ms = timestamp_ms - 8 * 86400000 WHERE "offset" < 60')
    reader = await log.reader()

    other = await asyncpg.connect(database_url)  # an open reader with an old snapshot stops neither side
    async with other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT count(*) FROM log.record")
        assert await log.trim(datetime.now(UTC)) == 60
        assert await other.fetchval("SELECT count(*) FROM log.record") == 110
    await other.close()
    assert await reader.bounds(tp) == (60, 100)
    assert await log.trim(datetime.now(UTC)) == 0
    assert len(await everything(log, "out")) == 10, "a topic without a retention keeps everything"
    assert [r.offset for r in await everything(log, "in")] == list(range(60, 100))
    assert await reader.offset_at(tp, 0) == 60
    # Whoever was behind goes on at what is left, and its lag says so.
    assert sum((await log.lag("late", ["in"])).values()) == 40
    listener = Recorder()
    late = await log.consumer("late", ["in"], listener)
    assert [int(r.value) for r in await poll_until(late, 40)] == list(range(60, 100))
    assert listener.told[0][1][tp] == 60
    await late.close()
    # Offsets go on where they were, also when nothing is left.
    assert await log.trim(datetime.now(UTC) + timedelta(days=8)) == 40
    await producer.append(numbered("in", 1, start=500))
    assert [(r.offset, r.value) for r in await everything(log, "in")] == [(100, b"500")]


async def test_retention_runs_by_itself_in_one_process_at_a_time(
    log: PostgresLog, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await log.producer()).append(numbered("in", 30))
    await sql.execute("UPDATE log.record SET timestamp_ms = timestamp_ms - 8 * 86400000")
    await sql.fetchval("SELECT pg_advisory_lock($1)", TRIM_LOCK)
    monkeypatch.setattr("shared.log.postgres.TRIM_EVERY_S", 0.01)
    others = [await PostgresLog.open(log._connections.dsn) for _ in range(2)]
    await log._connections.run(log._trim_alone)
    assert len(await everything(log, "in")) == 30, "somebody else is at it"
    await sql.fetchval("SELECT pg_advisory_unlock($1)", TRIM_LOCK)

    async def gone() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM log.record"))

    await eventually(gone)
    for other in others:
        await other.close()


# ── what people get wrong ──


async def test_a_database_without_our_schema_and_a_name_that_cannot_be(
    log: PostgresLog, empty_database_url: str
) -> None:
    with pytest.raises(Misuse, match="blank"):
        await log.ensure_topics([Topic("a blank", None)])
    bare = await PostgresLog.open(empty_database_url)
    with pytest.raises(Misuse, match="flywheel db migrate"):
        await bare.topics()
    with pytest.raises(Misuse, match="flywheel db migrate"):
        await bare.consumer("g", ["in"], Recorder())
    await bare.close()
