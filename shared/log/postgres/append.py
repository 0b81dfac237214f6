"""Appending: one writer per process takes all that is waiting and writes it in one statement.

Many callers share one commit, so the price of a flush is paid once for all of them. What would make the write
fail for one caller only (too large, no such topic) is found before it joins the others.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from shared.errors import NoSuchTopic, Rejected, Transient
from shared.log import Message
from shared.log.partitioning import partition_of
from shared.log.postgres.connection import Connections
from shared.log.postgres.headers import pack
from shared.tasks import keep
from shared.topics import MAX_MESSAGE_BYTES

WRITE_MAX_BYTES = 8 * 1024 * 1024
WRITE_MAX_RECORDS = 5_000
WAITING_MAX_BYTES = 64 * 1024 * 1024
"""What callers may leave waiting; the next ones wait at the door."""
RECORD_OVERHEAD_BYTES = 64

_APPEND = "SELECT log.append($1, $2, $3, $4, $5, $6, $7)"


class TopicInfo(NamedTuple):
    id: int
    name: str
    partitions: int


class Row(NamedTuple):
    """A message that has its place. Rows sort by the order in which counters are locked."""

    topic_id: int
    partition: int
    key: bytes | None
    headers: bytes
    value: bytes
    size: int


class Catalogue:
    """The topics, as last seen; looked up again when a name is missing."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._topics: dict[str, TopicInfo] = {}

    async def all(self) -> dict[str, TopicInfo]:
        rows = await self._connections.rows("SELECT id, name, partitions FROM log.topic")
        self._topics = {row["name"]: TopicInfo(row["id"], row["name"], row["partitions"]) for row in rows}
        return self._topics

    async def find(self, name: str) -> TopicInfo | None:
        return self._topics.get(name) or (await self.all()).get(name)


class Placer:
    """Checks messages and gives each its partition. Raises `Rejected` for what the log would never take."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._turn = count()

    async def place(self, messages: Sequence[Message]) -> list[Row]:
        topics: dict[str, TopicInfo] = {}
        rows: list[Row] = []
        for name, key, value, headers in messages:
            topic = topics.get(name)
            if topic is None:
                found = await self._catalogue.find(name)
                if found is None:
                    raise NoSuchTopic(f"there is no topic {name!r}: create it with `flywheel topics apply`")
                topic = topics[name] = found
            partition = partition_of(key, topic.partitions) if key is not None else next(self._turn) % topic.partitions
            packed = pack(headers)
            size = len(value) + len(packed) + len(key or b"") + RECORD_OVERHEAD_BYTES
            if size > MAX_MESSAGE_BYTES:
                raise Rejected(f"a message of {size} bytes for {name}: {MAX_MESSAGE_BYTES} is the most it may have")
            rows.append(Row(topic.id, partition, key, packed, value, size))
        return rows


def columns(rows: Sequence[Row]) -> tuple[list[object], ...]:
    """Rows as the arguments of `log.append`: partitions ascending, each record with its partition's number."""
    ordered = sorted(rows, key=_place)
    topic_ids: list[object] = []
    partitions: list[object] = []
    counts: list[int] = []
    slots: list[object] = []
    before: tuple[int, int] | None = None
    for row in ordered:
        place = row[:2]
        if place != before:
            before = place
            topic_ids.append(row[0])
            partitions.append(row[1])
            counts.append(0)
        counts[-1] += 1
        slots.append(len(counts))
    return (
        topic_ids,
        partitions,
        list(counts),
        slots,
        [row.key for row in ordered],
        [row.headers for row in ordered],
        [row.value for row in ordered],
    )


def _place(row: Row) -> tuple[int, int]:
    return row[:2]


class _Waiting(NamedTuple):
    rows: list[Row]
    bytes: int
    done: asyncio.Future[None]


class Appender:
    """The process's one writer."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, rows: list[Row]) -> None:
        written: list[asyncio.Future[None]] = []
        for piece in _pieces(rows):
            if not self._has_room():
                async with self._room:
                    await self._room.wait_for(self._has_room)
            written.append(self._enqueue(piece))
        if len(written) == 1:  # the usual case, and the one in a hurry
            return await written[0]
        for failure in await asyncio.gather(*written, return_exceptions=True):
            if failure is not None:
                raise failure
        return None

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        self._closed = True
        self._news.set()
        if self._task is not None:
            await self._task

    def _has_room(self) -> bool:
        return self._bytes <= WAITING_MAX_BYTES or self._closed

    def _enqueue(self, rows: list[Row]) -> asyncio.Future[None]:
        if self._closed:
            raise Transient("the log is closing")
        if self._task is None:
            self._task = keep(self._write_forever(), "log-append")
        size = sum(row.size for row in rows)
        waiting = _Waiting(rows, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._bytes += size
        self._news.set()
        return waiting.done

    async def _write_forever(self) -> None:
        while self._waiting or not self._closed:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            taken = self._take()
            failure: Exception | None = None
            try:
                await write(self._connections, [row for waiting in taken for row in waiting.rows])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait, whatever it is
                failure = error
            for waiting in taken:
                self._bytes -= waiting.bytes
                if waiting.done.done():  # its caller was cancelled
                    continue
                if failure is None:
                    waiting.done.set_result(None)
                else:
                    waiting.done.set_exception(Transient(str(failure)) if isinstance(failure, Transient) else failure)
            async with self._room:
                self._room.notify_all()

    def _take(self) -> list[_Waiting]:
        taken = [self._waiting.popleft()]
        size, records = taken[0].bytes, len(taken[0].rows)
        while self._waiting:
            size, records = size + self._waiting[0].bytes, records + len(self._waiting[0].rows)
            if size > WRITE_MAX_BYTES or records > WRITE_MAX_RECORDS:
                break
            taken.append(self._waiting.popleft())
        return taken


def _pieces(rows: list[Row]) -> list[list[Row]]:
    """In order, each small enough for one write."""
    if len(rows) <= WRITE_MAX_RECORDS and sum(row.size for row in rows) <= WRITE_MAX_BYTES:
        return [rows] if rows else []
    pieces: list[list[Row]] = [[]]
    size = 0
    for row in rows:
        if pieces[-1] and (size + row.size > WRITE_MAX_BYTES or len(pieces[-1]) == WRITE_MAX_RECORDS):
            pieces.append([])
            size = 0
        pieces[-1].append(row)
        size += row.size
    return pieces


async def write(connections: Connections, rows: Sequence[Row]) -> None:
    """One transaction, one round trip."""
    await connections.value(_APPEND, *columns(rows))


class PostgresProducer:
    """Implements `shared.log.Producer` on the process's one writer."""

    def __init__(self, placer: Placer, appender: Appender) -> None:
        self._placer = placer
        self._appender = appender

    async def append(self, messages: Sequence[Message]) -> None:
        if messages:
            await self._appender.append(await self._placer.place(messages))

    async def close(self) -> None:
        """Nothing to do: every `append` has its own end, and the writer belongs to the log."""
