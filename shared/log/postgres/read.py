"""Reading: some records of some partitions in one statement, and the reader that needs no group.

Appends hold a partition's counter to their commit, so what a statement sees of a partition has no hole that
could be filled later: reading on from the last offset seen misses nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from shared.errors import Misuse
from shared.log import Columns, Record, TopicPartition
from shared.log.postgres.append import Catalogue, TopicInfo
from shared.log.postgres.connection import SAFETY_POLL_S, Connections, Hub, wait
from shared.log.postgres.headers import columns, unpack

FETCH_MAX_BYTES = 16 * 1024 * 1024
SCAN_RECORDS = 10_000
COLUMN_RECORDS = 500
"""So many are taken apart at once: of more, the first have left the processor's cache before they are looked at."""
FOLLOW_RECORDS = 1_000
BREATH_S = 1.0

# Partition by partition in the order given, as many as fit. A statement always gives one record, however large.
_FETCH = """
SELECT slot, "offset", timestamp_ms, key, headers, value FROM (
    SELECT w.slot, r.*, sum(octet_length(r.value)) OVER (ORDER BY w.slot, r."offset" ROWS UNBOUNDED PRECEDING)
                        - octet_length(r.value) AS before
    FROM unnest($1::integer[], $2::integer[], $3::bigint[]) WITH ORDINALITY AS w (topic_id, partition, start, slot)
    CROSS JOIN LATERAL (
        SELECT r."offset", r.timestamp_ms, r.key, r.headers, r.value FROM log.record r
        WHERE r.topic_id = w.topic_id AND r.partition = w.partition AND r."offset" >= w.start
        ORDER BY r."offset" LIMIT $4) r
    LIMIT $4) fetched
WHERE before < $5 ORDER BY slot, "offset"
"""
_SCAN = """
SELECT "offset", timestamp_ms, key, headers, value FROM (
    SELECT r.*, sum(octet_length(r.value)) OVER (ORDER BY r."offset" ROWS UNBOUNDED PRECEDING)
                - octet_length(r.value) AS before
    FROM (SELECT * FROM log.record
          WHERE topic_id = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
          ORDER BY "offset" LIMIT $5) r) scanned
WHERE before < $6 ORDER BY "offset"
"""
_SCAN_HEADERS = """
SELECT "offset", timestamp_ms, headers FROM (
    SELECT r.*, sum(octet_length(r.headers)) OVER (ORDER BY r."offset" ROWS UNBOUNDED PRECEDING)
                - octet_length(r.headers) AS before
    FROM (SELECT "offset", timestamp_ms, headers FROM log.record
          WHERE topic_id = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
          ORDER BY "offset" LIMIT $5) r) scanned
WHERE before < $6 ORDER BY "offset"
"""
_BOUNDS = "SELECT first_offset, next_offset FROM log.partition WHERE topic_id = $1 AND partition = $2"


class Place(NamedTuple):
    """Where to read on."""

    topic_id: int
    tp: TopicPartition
    start: int


async def fetch(connections: Connections, places: Sequence[Place], limit: int) -> dict[TopicPartition, list[Record]]:
    """Up to `limit` records, each partition's in order."""
    rows = await connections.rows(
        _FETCH,
        [place.topic_id for place in places],
        [place.tp.partition for place in places],
        [place.start for place in places],
        limit,
        FETCH_MAX_BYTES,
    )
    fetched: dict[TopicPartition, list[Record]] = {}
    begin = 0
    while begin < len(rows):  # one run of rows for each partition
        slot = rows[begin][0]
        end = len(rows) if rows[-1][0] == slot else _run_end(rows, begin, slot)
        tp = places[slot - 1].tp
        topic, partition = tp
        fetched[tp] = [
            Record(topic, partition, offset, timestamp_ms, key, value, unpack(headers))
            for _, offset, timestamp_ms, key, headers, value in rows[begin:end]
        ]
        begin = end
    return fetched


def _run_end(rows: list[Any], begin: int, slot: int) -> int:
    low, high = begin, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle][0] <= slot:
            low = middle + 1
        else:
            high = middle
    return low


class PostgresReader:
    """Implements `shared.log.Reader`."""

    def __init__(self, connections: Connections, hub: Hub, catalogue: Catalogue) -> None:
        self._connections = connections
        self._hub = hub
        self._catalogue = catalogue

    async def partitions(self, topic: str) -> int:
        found = await self._catalogue.find(topic)
        return found.partitions if found is not None else 0

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        topic = await self._topic(tp.topic)
        rows = await self._connections.rows(_BOUNDS, topic.id, tp.partition)
        if not rows:
            raise Misuse(f"topic {tp.topic} has no partition {tp.partition}")
        return rows[0]["first_offset"], rows[0]["next_offset"]

    async def offset_at(self, tp: TopicPartition, timestamp_ms: int) -> int:
        topic = await self._topic(tp.topic)
        found: int = await self._connections.value(
            "SELECT log.offset_at($1, $2, $3)", topic.id, tp.partition, timestamp_ms
        )
        return found

    async def scan(self, tp: TopicPartition, start: int, stop: int) -> AsyncIterator[list[Record]]:
        name, partition = tp
        async with aclosing(self._scan(_SCAN, tp, start, stop)) as chunks:
            async for rows in chunks:
                yield [
                    Record(name, partition, offset, timestamp_ms, key, value, unpack(headers))
                    for offset, timestamp_ms, key, headers, value in rows
                ]

    async def scan_headers(
        self, tp: TopicPartition, start: int, stop: int, names: Sequence[str]
    ) -> AsyncIterator[Columns]:
        async with aclosing(self._scan(_SCAN_HEADERS, tp, start, stop)) as chunks:
            async for rows in chunks:
                for begin in range(0, len(rows), COLUMN_RECORDS):
                    yield columns(rows[begin : begin + COLUMN_RECORDS], tuple(names))
                    await asyncio.sleep(0)  # the next ones come in, and the others of this process have their turn

    async def _scan(self, statement: str, tp: TopicPartition, start: int, stop: int) -> AsyncGenerator[list[Any], None]:
        topic = await self._topic(tp.topic)
        first, end = await self.bounds(tp)
        stop = min(stop, end)
        place = Place(topic.id, tp, max(start, first))
        ahead = asyncio.create_task(self._chunk(statement, place, stop))
        try:
            while rows := await ahead:
                # The next ones are read while these are worked on.
                place = place._replace(start=rows[-1][0] + 1)
                ahead = asyncio.create_task(self._chunk(statement, place, stop))
                yield rows
        finally:
            await _abandon(ahead)

    async def follow(self, topic: str, start: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        found = await self._topic(topic)
        tps = [TopicPartition(topic, partition) for partition in range(found.partitions)]
        places = {tp: start[tp.partition] if tp.partition in start else (await self.bounds(tp))[0] for tp in tps}
        subscription = self._hub.subscribe([topic])
        clock = asyncio.get_running_loop().time
        try:
            breath = clock() + BREATH_S
            while True:
                subscription.event.clear()
                fetched = await fetch(
                    self._connections, [Place(found.id, tp, at) for tp, at in places.items()], FOLLOW_RECORDS
                )
                for tp, records in fetched.items():
                    del places[tp]  # and to the end of the queue, so that every partition has its turn
                    places[tp] = records[-1].offset + 1
                if fetched or clock() >= breath:
                    breath = clock() + BREATH_S
                    yield [record for records in fetched.values() for record in records]
                else:
                    await wait(subscription.event, min(SAFETY_POLL_S, breath - clock()))
        finally:
            subscription.close()

    async def close(self) -> None:
        """Nothing to do: the connections belong to the log."""

    async def _topic(self, name: str) -> TopicInfo:
        found = await self._catalogue.find(name)
        if found is None:
            raise Misuse(f"there is no topic {name!r}")
        return found

    async def _chunk(self, statement: str, place: Place, stop: int) -> list[Any]:
        if place.start >= stop:
            return []
        topic_id, tp, start = place
        return await self._connections.rows(
            statement, topic_id, tp.partition, start, stop, SCAN_RECORDS, FETCH_MAX_BYTES
        )


async def _abandon(task: asyncio.Task[Any]) -> None:
    """End it and look at its outcome, so that none is left over."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
