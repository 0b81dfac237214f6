"""Connections that end at the worst moment: while an answer is on its way, while a pool is empty, while we stop.

A road of ours stands between the client and a real server. It can be shut, and it can lose the answer to one COMMIT:
the server has committed, and nobody has heard.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from services.closer.deliver import LEASE_S, Deliverer
from services.closer.store import Snapshots, Unit
from services.closer.transactions import Transactions
from services.router.app import build as build_router
from shared.auth import Authenticator, Keys
from shared.config import STARTER
from shared.database import Database, copy, outbox
from shared.errors import Misuse, Transient
from shared.events.identity import Pseudonyms
from shared.links import Links
from shared.log import Message, TopicPartition
from shared.log.postgres import PostgresLog
from shared.runtime import Process, Runtime
from shared.settings import read_settings
from shared.topics import Topic
from tests.closer.served import Served, served
from tests.closer.test_deliver import RETRY, SETTINGS, Sink, deliverer
from tests.closer.world import SECRET, World, eventually, feedback, message

READY = b"Z\x00\x00\x00\x05I"
"""Ready for query, in no transaction: the server has committed."""


class Road:
    """A unix socket in between."""

    def __init__(self, directory: Path, behind: Path) -> None:
        self._path = directory / ".s.PGSQL.5432"
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.marker: bytes | None = None
        """The next transaction in which this is said loses the answer to its COMMIT."""
        self.lost = 0

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self._path)

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream, there = await asyncio.open_unix_connection(self._behind)
        self._writers |= {back, there}
        marked = cutting = False

        async def forward() -> None:
            nonlocal marked, cutting
            while data := await client.read(1 << 20):
                if self.marker is not None and self.marker in data:
                    self.marker, marked = None, True
                cutting = cutting or (marked and b"COMMIT" in data)
                there.write(data)
            there.close()

        async def deliver() -> None:
            while data := await upstream.read(1 << 20):
                if cutting and data.endswith(READY):
                    self.lost += 1
                    back.transport.abort()
                    break
                back.write(data)
            back.close()
            there.close()

        await asyncio.gather(forward(), deliver(), return_exceptions=True)
        self._writers -= {back, there}


@pytest.fixture
async def road(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Road, str]]:
    """The road, and the database's address by it."""
    parts = urlsplit(database_url)
    road = Road(tmp_path, Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432")
    await road.open()
    yield road, parts._replace(query=f"host={tmp_path}").geturl()
    await road.shut()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


@pytest.fixture
async def by_road(world: World, road: tuple[Road, str]) -> AsyncIterator[Unit]:
    """A unit of the closer whose every word goes by the road; the world's own go straight."""
    transactions = await Transactions.open(road[1])
    yield Unit(transactions, world.clock, Snapshots())
    await transactions.close()


def sender_by(unit: Unit, sink: Sink) -> Deliverer:
    return Deliverer(unit, {"email": sink}, Links(SECRET), "https://feedback.example.com", SETTINGS, RETRY)


@contextlib.asynccontextmanager
async def at_work(sender: Deliverer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(sender.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ── the pool ──


async def test_a_pool_without_a_free_connection_is_an_outage_and_no_defect(database_url: str) -> None:
    """A defect would end the process, or bury a good record."""
    database = Database(database_url, pool_size=1)
    database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    async with database.transaction(), database.transaction():
        with pytest.raises(Transient):
            async with database.transaction():
                pass
    await database.close()


# ── the relay ──


async def test_the_relay_outlives_the_database(database_url: str, road: tuple[Road, str]) -> None:
    the_road, url = road
    straight, database, log = Database(database_url), Database(url), await PostgresLog.open(database_url)
    await log.ensure_topics([Topic("t", None, 1)])
    producer, reader = await log.producer(), await log.reader()
    relay = asyncio.create_task(outbox.Relay(database, producer).run())
    place = TopicPartition("t", 0)

    async def published(count: int) -> None:
        async with asyncio.timeout(15):
            while (await reader.bounds(place))[1] < count:
                assert not relay.done(), relay.exception()
                await asyncio.sleep(0.02)

    try:
        for round_ in range(1, 4):
            async with straight.transaction() as connection:
                await outbox.append(connection, [Message("t", b"k", b"v", [])])
            await published(round_)
            await the_road.shut()
            await asyncio.sleep(1.2)  # long enough for it to find nobody there
            assert not relay.done(), relay.exception()
            await the_road.open()
        async with straight.transaction() as connection:
            await outbox.append(connection, [Message("t", b"k", b"v", [])])
        await published(4)
    finally:
        relay.cancel()
        await asyncio.gather(relay, return_exceptions=True)
        await log.close()
        await database.close()
        await straight.close()


async def test_a_connection_that_is_given_back_in_the_middle_of_an_operation_is_transient(database_url: str) -> None:
    """asyncpg then raises that another operation is in progress, on top of what had cut it off; that ended a process."""
    transactions = await Transactions.open(database_url)
    running: asyncio.Task[Any] | None = None
    with pytest.raises(Transient):
        async with transactions.begin() as driver:
            running = asyncio.create_task(driver.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0)
            raise ConnectionResetError
    assert running is not None
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await running
    # Without anything that had cut it off, it is a defect of ours.
    with pytest.raises(asyncpg.InterfaceError):
        async with transactions.begin() as driver:
            await asyncio.gather(driver.execute("SELECT 1"), driver.execute("SELECT 1"))
    await transactions.close()


# ── a COMMIT whose answer is lost ──


async def test_a_batch_of_the_closer_whose_commit_was_not_heard_of_has_its_effect_once(
    world: World, road: tuple[Road, str]
) -> None:
    the_road, url = road
    transactions = await Transactions.open(url)
    values = [feedback(customer={"id": f"c-{n}"}) for n in range(30)]
    the_road.marker = b"closer.position p"
    async with world.running(transactions=transactions, batch_records=10):
        await world.send(*(message(value) for value in values))
        await world.caught_up()
    assert the_road.lost == 1
    assert await world.value("SELECT count(*) FROM closer.case") == 30
    assert await world.value("SELECT count(*) FROM closer.timeline WHERE what = 'opened'") == 30
    assert len(await world.outbox()) == await world.value("SELECT count(*) FROM closer.timeline")
    assert await world.records("feedback.dead-letter") == []
    await transactions.close()


async def test_a_claim_whose_commit_was_not_heard_of_is_sent_all_the_same(
    world: World, by_road: Unit, road: tuple[Road, str]
) -> None:
    """It was claimed and certainly not sent: that is no mail of unknown fate."""
    await world.take(feedback())
    sink = Sink()
    road[0].marker = b"closer.attempt"

    async def settled() -> bool:
        return bool(await world.value("SELECT count(*) FROM closer.notification WHERE status = 'sent'"))

    async with at_work(sender_by(by_road, sink)):
        await eventually(settled, "the mail to be sent")
    assert road[0].lost == 1
    assert len(sink.got) == 1
    tries = await world.rows("SELECT number, outcome FROM closer.attempt ORDER BY number")
    assert [row["outcome"] for row in tries] == ["retry", "sent"]
    case = await world.one("SELECT id FROM closer.case")
    assert await world.timeline(case["id"]) == ["opened", "notification.sending", "notification.sent"]


async def test_a_receipt_whose_commit_was_not_heard_of_is_recorded_once(
    world: World, by_road: Unit, road: tuple[Road, str]
) -> None:
    await world.take(feedback())
    sink = Sink()
    road[0].marker = b"SET ended_at = $5"

    async def settled() -> bool:
        return road[0].lost == 1 and bool(await world.value("SELECT ended_at IS NOT NULL FROM closer.attempt"))

    async with at_work(sender_by(by_road, sink)):
        await eventually(settled, "the receipt to be recorded")
    world.clock.advance(timedelta(seconds=LEASE_S + 1))
    again = deliverer(world, sink)
    assert await again.claim(10) == []
    assert len(sink.got) == 1
    case = await world.one("SELECT id FROM closer.case")
    assert await world.timeline(case["id"]) == ["opened", "notification.sending", "notification.sent"]


# ── stopping ──


async def test_a_mail_on_its_way_is_seen_out_when_we_are_drained(world: World) -> None:
    await world.take(feedback())
    sink = Sink(gate=asyncio.Event())
    sender = deliverer(world, sink)
    async with at_work(sender) as running:
        await asyncio.wait_for(sink.entered.wait(), 10)
        draining = asyncio.create_task(sender.drain())
        await asyncio.sleep(0.2)  # time enough for a sender that gives up on it
        assert sink.gate is not None
        sink.gate.set()
        await asyncio.wait_for(draining, 10)
        await asyncio.wait_for(running, 10)
    assert await world.value("SELECT status FROM closer.notification") == "sent"


# ── two who meet ──


@pytest.fixture
async def api(world: World, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(world, database_url, tmp_path) as api:
        yield api


async def test_a_case_that_is_reopened_while_another_of_its_key_is_being_opened_is_merged_into_that_one(
    world: World, api: Served, database_url: str
) -> None:
    """The other one is not committed when we look, and is when we write."""
    value = feedback()
    await world.take(value)
    case = str((await world.case(value["id"]))["id"])
    assert (await api.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})).status_code == 200
    held = await asyncpg.connect(database_url)
    try:
        # The handler's transaction, held open before its commit by a lock that it needs.
        await held.execute("BEGIN; LOCK TABLE closer.timeline IN SHARE MODE")
        second = feedback(text="It happened again.")
        async with world.running():
            await world.send(message(second))

            async def inserted() -> bool:
                return bool(await _waiting_for(held, "closer.timeline", 1))

            await eventually(inserted, "the other case to be inserted")
            reopening = asyncio.create_task(api.post(f"/v1/cases/{case}/reopen"))

            async def waits() -> bool:
                waiting = await held.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return bool(waiting >= 2)

            await eventually(waits, "the reopening to meet it")
            await held.execute("ROLLBACK")
            answer = await reopening
            assert answer.status_code == 200, answer.text
            await world.caught_up()
    finally:
        await held.close()
    other = await world.case(second["id"])
    assert answer.json()["state"] == "merged"
    assert answer.json()["merged_into"] == str(other["id"])


async def _waiting_for(connection: Any, table: str, count: int) -> bool:
    found = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass", table
    )
    return bool(found >= count)


# ── a process that stands still ──


async def test_a_closer_that_stands_still_in_a_transaction_holds_up_its_twin_for_no_longer_than_a_lock_is_waited_for(
    world: World, database_url: str
) -> None:
    value = feedback()
    await world.take(value)
    case = str((await world.case(value["id"]))["id"])
    still, twin = await Transactions.open(database_url), await Transactions.open(database_url)
    locking, taken = "SELECT FROM closer.case WHERE id = $1 FOR UPDATE", False
    with pytest.raises(Transient):
        async with still.begin() as driver:
            await driver.execute(locking, case)
            async with twin.begin() as other:
                await other.execute(locking, case)  # waits
                taken = True
            await driver.execute("SELECT 1")  # the one that stood still finds out
    assert taken
    await still.close()
    await twin.close()


async def test_one_that_stands_still_in_the_midst_of_a_copy_is_ended_by_who_waited_in_vain(
    world: World, database_url: str
) -> None:
    """The server ends that wait by no timeout of its own."""
    value = feedback()
    await world.take(value)
    case = str((await world.case(value["id"]))["id"])
    still, twin = await Transactions.open(database_url), await Transactions.open(database_url)
    locking = "SELECT FROM closer.case WHERE id = $1 FOR UPDATE"
    copying, woken = asyncio.Event(), asyncio.Event()

    async def rows() -> AsyncIterator[tuple[Any, ...]]:
        copying.set()
        await woken.wait()
        for row in list[tuple[Any, ...]]():
            yield row

    async def stand_still() -> None:
        async with still.begin() as driver:
            await driver.execute(locking, case)
            await driver.copy_records_to_table("decision", schema_name="closer", columns=["id"], records=rows())

    stopped = asyncio.create_task(stand_still())
    await copying.wait()
    with pytest.raises(Transient, match="lock timeout"):
        async with twin.begin() as driver:
            await driver.execute(locking, case)
    async with twin.begin() as driver:
        await driver.execute(locking, case)
    woken.set()
    with pytest.raises(Transient):
        await stopped
    await still.close()
    await twin.close()


async def test_a_connection_lost_while_rows_wait_for_room_to_be_sent_ends_the_wait(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is not told of the loss by whoever made it wait."""
    monkeypatch.setattr("shared.database.COPY_TIMEOUT_S", 1.0)
    transactions = await Transactions.open(database_url)
    pids: asyncio.Queue[int] = asyncio.Queue()
    many = [("t", None, b"x" * 10_000, b"")] * 2_000  # more than the sockets hold

    async def write() -> None:
        async with transactions.begin() as driver:
            pids.put_nowait(await driver.fetchval("SELECT pg_backend_pid()"))
            await copy(driver, "shared", "outbox", ["topic", "key", "value", "headers"], many)

    async with world.transactions.begin() as driver:
        await driver.execute("LOCK TABLE shared.outbox IN SHARE MODE")  # so the server reads no row
        writing = asyncio.create_task(write())
        pid = await pids.get()
        waiting = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: driver.fetchval(waiting, pid), "the copy to wait")
        await driver.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Transient):
            async with asyncio.timeout(15):
                await writing
    await transactions.close()


# ── configuration ──


async def test_a_configuration_that_was_offered_during_an_outage_is_in_force_after_it(
    world: World, road: tuple[Road, str], tmp_path: Path
) -> None:
    the_road, url = road
    directory = tmp_path / "config"
    shutil.copytree(STARTER, directory)
    database = Database(url)
    runtime = Runtime(
        settings=read_settings(
            {"DATABASE_URL": url, "FLYWHEEL_SECRET": SECRET}, data_dir=tmp_path, config_dir=directory
        ),
        clock=world.clock,
        database=database,
        log=world.log,
        authenticator=Authenticator(database),
        keys=Keys(database, world.clock),
        links=Links(SECRET),
        pseudonyms=Pseudonyms(SECRET),
    )
    process = Process(runtime, [await build_router(runtime)])
    await process.offer()
    before = await world.value("SELECT version FROM shared.config_in_force")
    with (directory / "routing.yaml").open("a") as file:
        file.write("# edited\n")
    await the_road.shut()
    with pytest.raises(Transient):
        await process.offer()
    await the_road.open()
    await process.offer()
    assert await world.value("SELECT version FROM shared.config_in_force") != before
    await database.close()


# ── the heartbeat ──


async def test_a_member_whose_heartbeat_has_a_defect_says_so_and_does_not_sit_there_for_ever(database_url: str) -> None:
    log = await PostgresLog.open(database_url)
    await log.ensure_topics([Topic("t", None, 1)])

    class Quiet:
        async def assigned(self, positions: Any) -> Any:
            return positions

        async def revoked(self, partitions: Any) -> None: ...

    member = await log.consumer("g", ["t"], Quiet())
    sql = await asyncpg.connect(database_url)
    try:
        assert await member.poll(1, 0.5) == []
        await sql.execute("ALTER FUNCTION log.beat RENAME TO beat_renamed")
        heartbeat = member._task
        assert heartbeat is not None
        await asyncio.wait({heartbeat}, timeout=60)
        assert heartbeat.done(), "it still beats, or tries to"
        await sql.execute("ALTER FUNCTION log.beat_renamed RENAME TO beat")
        with pytest.raises(Misuse, match="lacks"):
            await member.poll(1, 0.1)
    finally:
        await sql.close()
        await member.close()
        await log.close()
