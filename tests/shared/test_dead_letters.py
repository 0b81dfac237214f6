"""The dead-letter topic: paged from the newest in bounded reads, one letter whole, and sent again, planned and written down."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.clock import SystemClock
from shared.database import Database
from shared.dead_letters import CHUNK_LETTERS, DeadLetters, Kept, Place, Plan, plan
from shared.errors import FlywheelError
from shared.events.dead_letter import DeadLetter
from shared.log import Log, Message, Producer, Reader, TopicPartition
from shared.log.choose import open_log
from shared.people import Person
from shared.sessions import Audit
from shared.settings import read_settings
from shared.topics import DEAD_LETTER, RECEIVED, REDRIVE, all_topics, named

MAX = Person("max@example.com", "lead")


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def where(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "postgres":
        return {"DATABASE_URL": request.getfixturevalue("database_url")}
    return {"KAFKA_BOOTSTRAP_SERVERS": request.getfixturevalue("kafka_bootstrap")}


@pytest.fixture
async def log(where: dict[str, str], tmp_path: Path) -> AsyncIterator[Log]:
    log = await open_log(read_settings(where, data_dir=tmp_path))
    yield log
    await log.close()


@pytest.fixture
async def workspace(log: Log) -> str:
    """One of its own, for a broker is shared; its topics carry its name."""
    name = f"w{uuid4().hex[:8]}"
    await log.ensure_topics(all_topics(["support"], name, 3))
    return name


@contextlib.asynccontextmanager
async def producing(log: Log) -> AsyncIterator[Producer]:
    producer = await log.producer()
    try:
        yield producer
    finally:
        await producer.close()


def letter(workspace: str, number: int, **changes: Any) -> DeadLetter:
    made = DeadLetter(
        id=f"{named(workspace, RECEIVED)}/0/{number}",
        service="router",
        reason="malformed",
        detail="the value is not JSON",
        attempts=1,
        original_topic=named(workspace, RECEIVED),
        key=b"key-%d" % (number % 7),
        value=b"letter %d" % number,
        headers=[("ce_id", b"%d" % number), ("ce_source", b"app-store")],
    )
    return replace(made, **changes)


async def write(log: Log, workspace: str, *letters: DeadLetter) -> None:
    """Each in an append of its own, so that each is later than the one before."""
    async with producing(log) as producer:
        for one in letters:
            await producer.append(one.messages(workspace))


async def pages(letters: DeadLetters, limit: int) -> list[list[str]]:
    found, page = [], await letters.page(limit)
    found.append([one.label.id.rpartition("/")[2] for one in page.items])
    while page.older:
        page = await letters.page(limit, page.older)
        found.append([one.label.id.rpartition("/")[2] for one in page.items])
    return found


async def test_pages_go_from_the_newest_to_the_oldest_over_all_partitions_and_each_letter_stands_once(
    log: Log, workspace: str
) -> None:
    letters = DeadLetters(log, workspace)
    assert (await letters.page(10)).items == []
    await write(log, workspace, *(letter(workspace, number) for number in range(25)))
    found = await pages(letters, 10)
    assert [len(page) for page in found] == [10, 10, 5]
    names = [name for page in found for name in page]
    assert sorted(names, key=int) == [str(number) for number in range(25)]
    newest = (await letters.page(10)).items
    assert [one.at for one in newest] == sorted((one.at for one in newest), reverse=True)
    for number in range(7):  # of one key, and so of one partition, exactly in their order
        of_key = [int(name) for name in names if int(name) % 7 == number]
        assert of_key == sorted(of_key, reverse=True)
    assert await pages(letters, 25) == [names], "a last page that is full is the last"


async def test_what_comes_meanwhile_moves_no_page(log: Log, workspace: str) -> None:
    letters = DeadLetters(log, workspace)
    await write(log, workspace, *(letter(workspace, number) for number in range(8)))
    first = await letters.page(4)
    await write(log, workspace, *(letter(workspace, number) for number in range(100, 110)))
    second = await letters.page(4, first.older)
    assert {one.label.id for one in first.items} | {one.label.id for one in second.items} == {
        letter(workspace, number).id for number in range(8)
    }
    assert second.older == {}


async def test_a_label_says_what_stands_on_the_letter_and_its_size(log: Log, workspace: str) -> None:
    headers = [("ce_source", b"cli"), ("redrive", b"2")]
    hook = letter(
        workspace, 2, id="webhooks/z/abc", service="ingest", original_topic="webhooks/z", headers=[], key=None
    )
    await write(log, workspace, letter(workspace, 1, headers=headers, attempts=3, value=b"x" * 5_000), hook)
    async with producing(log) as producer:
        await producer.append([Message(named(workspace, DEAD_LETTER), b"k", b"by hand", [("dlq_attempts", b"many")])])
    labels = {one.label.came_by: one.label for one in (await DeadLetters(log, workspace).page(10)).items}
    topic = labels["topic"]
    assert (topic.service, topic.reason, topic.attempts, topic.redrives) == ("router", "malformed", 3, 2)
    assert (topic.source, topic.bytes, topic.original_topic) == ("cli", 5_000, named(workspace, RECEIVED))
    assert (labels["webhook"].service, labels["webhook"].source) == ("ingest", "")
    assert (labels["unknown"].bytes, labels["unknown"].attempts) == (None, 1)
    assert labels["unknown"].id.startswith(named(workspace, DEAD_LETTER))


async def test_a_letter_is_found_by_its_place_and_by_no_other(log: Log, workspace: str) -> None:
    letters, wanted = DeadLetters(log, workspace), letter(workspace, 1, value=b"\xff\x00")
    await write(log, workspace, wanted)
    (listed,) = (await letters.page(10)).items
    kept = await letters.at(listed.place)
    assert kept == Kept(listed.place, listed.at, wanted)
    partition, offset = listed.place
    for nowhere in (
        Place(partition, offset + 1),
        Place(partition, 10**15),
        Place((partition + 1) % 3, 0),
        Place(99, 0),
    ):
        assert await letters.at(nowhere) is None
    assert await DeadLetters(log, "nobody").at(Place(0, 0)) is None
    assert (await DeadLetters(log, "nobody").page(10)).items == []


async def test_one_that_had_to_be_cut_is_one_letter_and_is_whole(log: Log, workspace: str) -> None:
    letters = DeadLetters(log, workspace)
    large = letter(workspace, 1, value=bytes(range(256)) * 30_000)
    other = letter(workspace, 8, value=b"of the same key")
    assert len(large.messages(workspace)) == 3
    one, two, three = large.messages(workspace)
    async with producing(log) as producer:  # as two who write at once may mix them, and one whose beginning is gone
        for message in (two, three, one, other.messages(workspace)[0], two, three, one, two, three):
            await producer.append([message])
    listed = (await letters.page(10)).items
    assert [item.label.bytes for item in listed] == [7_680_000, 7_680_000, 15, 7_680_000]
    assert await pages(letters, 1) == [["1"], ["1"], ["8"], ["1"]], "past the offsets that are no letters"
    whole = [await letters.at(item.place) for item in listed]
    assert [kept is not None and kept.letter == large for kept in whole] == [True, True, False, False]
    assert whole[2] is not None
    assert whole[2].letter == other
    assert whole[3] is None, "its beginning has aged out"
    assert [kept.letter async for kept in letters.everything()] == [other, large, large]
    assert await letters.at(Place(listed[0].place.partition, listed[0].place.offset - 1)) is None, "a part is none"


@pytest.mark.parametrize("letters", [5_000])
async def test_a_page_of_many_reads_few(database_url: str, tmp_path: Path, letters: int) -> None:
    log = await open_log(read_settings({"DATABASE_URL": database_url}, data_dir=tmp_path))
    try:
        await log.ensure_topics(all_topics(["support"]))
        async with producing(log) as producer:
            await producer.append([message for n in range(letters) for message in letter("default", n).messages()])
        counting = _Counting(log)
        dead = DeadLetters(counting, "default")  # type: ignore[arg-type]
        page = await dead.page(50)
        assert len(page.items) == 50
        assert counting.asked <= 6 * 100, "two pages from each partition at the most"
        counting.asked = 0
        assert await dead.at(page.items[0].place) is not None
        assert counting.asked <= 1
    finally:
        await log.close()


class _Counting:
    """A log that counts how many offsets are asked of its readers."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.asked = 0

    async def reader(self) -> Reader:
        reader, counting = await self._log.reader(), self

        class Counted:
            def __getattr__(self, name: str) -> Any:
                return getattr(reader, name)

            def scan(self, tp: Any, start: int, stop: int) -> Any:
                counting.asked += stop - start
                return reader.scan(tp, start, stop)

            def scan_headers(self, tp: Any, start: int, stop: int, names: Any) -> Any:
                counting.asked += stop - start
                return reader.scan_headers(tp, start, stop, names)

        return Counted()


@pytest.mark.parametrize(
    ("changes", "goes", "why_not"),
    [
        ({}, RECEIVED, None),
        ({"original_topic": "acme.feedback.routed.support", "service": "closer"}, REDRIVE, None),
        ({"original_topic": "acme.feedback.redrive", "service": "closer"}, REDRIVE, None),
        ({"original_topic": "acme.webhooks/zendesk-eu"}, None, "webhook"),
        ({"original_topic": ""}, None, "unknown"),
        ({"original_topic": "feedback.received"}, None, "foreign"),
        ({"original_topic": "other.feedback.received"}, None, "foreign"),
    ],
)
def test_where_a_letter_would_go(changes: dict[str, Any], goes: str | None, why_not: str | None) -> None:
    one = letter("acme", 1, **changes)
    found = plan(Kept(Place(0, 1), SystemClock().now(), one), "acme")
    assert found.why_not == why_not
    assert (found.message.topic if found.message else None) == (named("acme", goes) if goes else None)
    assert found.message is None or dict(found.message.headers)["redrive"] == b"1"


async def test_what_is_sent_again_is_the_original_and_stands_in_the_audit_trail(
    log: Log, workspace: str, empty_audit: Audit, audited: "Audited"
) -> None:
    letters = DeadLetters(log, workspace)
    hook = letter(workspace, 2, id="webhooks/z/abc", original_topic="webhooks/z", key=None)
    await write(log, workspace, letter(workspace, 1), hook)
    await audited.workspace(workspace)
    places = [one.place for one in (await letters.page(10)).items]
    done = [plan async for plan in letters.redrive(letters.several(places), MAX, empty_audit)]
    assert _told(done) == {letter(workspace, 1).id: None, "webhooks/z/abc": "webhook"}
    (again,) = await _records(log, named(workspace, RECEIVED))
    assert (again.key, again.value) == (b"key-1", b"letter 1")
    assert again.headers == [("ce_id", b"1"), ("ce_source", b"app-store"), ("redrive", b"1")]
    (row,) = await audited.rows()
    assert (row["person"], row["role"], row["action"]) == ("max@example.com", "lead", "dead-letter.redriven")
    assert row["object"] == letter(workspace, 1).id
    assert named(workspace, RECEIVED) in row["detail"]


async def test_many_go_a_chunk_at_a_time_and_none_is_left_or_doubled(
    log: Log, workspace: str, empty_audit: Audit, audited: "Audited"
) -> None:
    count = 2 * CHUNK_LETTERS + 7
    letters = DeadLetters(log, workspace)
    async with producing(log) as producer:
        await producer.append([one for n in range(count) for one in letter(workspace, n).messages(workspace)])
    await audited.workspace(workspace)
    done = [plan.kept.letter.id async for plan in letters.redrive(letters.everything(), MAX, empty_audit)]
    assert len(done) == count
    sent = await _records(log, named(workspace, RECEIVED))
    assert sorted(record.value for record in sent) == sorted(b"letter %d" % n for n in range(count))
    assert sorted(row["object"] for row in await audited.rows()) == sorted(done)


async def test_one_that_could_not_be_sent_is_told_and_stands_in_the_audit_trail_too(
    log: Log, empty_audit: Audit, audited: "Audited"
) -> None:
    await log.ensure_topics([topic for topic in all_topics([], "bare", 1) if topic.name == named("bare", DEAD_LETTER)])
    letters = DeadLetters(log, "bare")
    await write(log, "bare", letter("bare", 1))
    await audited.workspace("bare")
    with pytest.raises(FlywheelError):  # where it came from is gone
        _ = [plan async for plan in letters.redrive(letters.everything(), MAX, empty_audit)]
    assert [row["action"] for row in await audited.rows()] == ["dead-letter.redriven", "dead-letter.not-redriven"]


async def test_what_fails_again_while_all_are_sent_again_is_not_sent_once_more(log: Log, workspace: str) -> None:
    letters = DeadLetters(log, workspace)
    await write(log, workspace, *(letter(workspace, number) for number in range(10)))
    seen = 0
    async for kept in letters.everything():
        seen += 1
        await write(log, workspace, replace(kept.letter, headers=[("redrive", b"1")]))
        assert seen <= 10
    assert seen == 10


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3-17", Place(3, 17)),
        ("0-0", Place(0, 0)),
        ("-1-2", None),
        ("3", None),
        ("", None),
        ("3-", None),
        ("a-b", None),
        ("٣-١", None),
        ("1-2-3", None),
        ("1-9999999999999999999", None),
        ("1000000-1", None),
    ],
)
def test_a_place_in_an_address(text: str, place: Place | None) -> None:
    assert Place.read(text) == place
    assert place is None or str(place) == text


# ── what the tests read ──


class Audited:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def workspace(self, name: str) -> None:
        await self._run("INSERT INTO shared.workspace (name) VALUES ($1)", name)

    async def rows(self) -> list[dict[str, Any]]:
        return await self._run("SELECT * FROM published.audit ORDER BY id")

    async def _run(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        async with self._database.engine.begin() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            return [dict(row) for row in await driver.fetch(statement, *values)]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
def empty_audit(database: Database) -> Audit:
    return Audit(database, SystemClock())


@pytest.fixture
def audited(database: Database) -> Audited:
    return Audited(database)


def _told(done: list[Plan]) -> dict[str, str | None]:
    return {plan.kept.letter.id: plan.why_not for plan in done}


async def _records(log: Log, topic: str) -> list[Any]:
    reader, found = await log.reader(), []
    try:
        for partition in range(await reader.partitions(topic)):
            tp = TopicPartition(topic, partition)
            async for records in reader.scan(tp, *await reader.bounds(tp)):
                found += records
    finally:
        await reader.close()
    return found
