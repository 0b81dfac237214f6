"""The dead-letter topic as people go through it: a page at a time from the newest, one letter whole, and sending it again.

A letter is named by its place on the topic. Its `id` names the original, of which there may be several: a tool sends what it
got no good answer to again and again. The list reads headers and no bytes, and never more than about two pages of them from a
partition, however many there are.

Sending again is the same for whoever asks. It is planned first, so that it can be shown before it is done, written to the
audit trail before it is tried, and may be done twice: what comes out has the same id and the same `redrive`, so the second
one is a repeat of the first.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Literal, NamedTuple

from shared.errors import FlywheelError
from shared.events.dead_letter import LABEL_HEADERS, DeadLetter, Joining, Label, label_of, redriven
from shared.log import Log, Message, Reader, Record, TopicPartition
from shared.people import Person
from shared.sessions import Action, Audit
from shared.topics import DEAD_LETTER, DEFAULT_WORKSPACE, RECEIVED, REDRIVE, named

REDRIVEN: Action = "dead-letter.redriven"
"""The action in the audit trail; its object is the letter's id."""
NOT_REDRIVEN: Action = "dead-letter.not-redriven"
CHUNK_BYTES = 8 * 1024 * 1024
CHUNK_LETTERS = 500
"""What one append holds, about."""
READ_AT_ONCE = 8
LOOKED_THROUGH = 500
"""For one event: somebody waits for the answer, and a tool may ask again every second."""
PARTS_REACH = 1_000
"""The parts of a letter are appended together: so many records before its last one, the first is to be found."""
_PART_HEADERS = ("dlq_id", "dlq_part")

WhyNot = Literal["webhook", "unknown", "foreign"]


class Place(NamedTuple):
    """Where a letter stands on the dead-letter topic: its last part does, if it was cut."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"

    @classmethod
    def read(cls, text: str) -> "Place | None":
        partition, _, offset = text.partition("-")
        digits = partition.isascii() and offset.isascii() and partition.isdigit() and offset.isdigit()
        return cls(int(partition), int(offset)) if digits and len(partition) < 6 and len(offset) < 19 else None


class Listed(NamedTuple):
    place: Place
    at: datetime
    """By the log's clock."""
    label: Label


class Kept(NamedTuple):
    place: Place
    at: datetime
    letter: DeadLetter


class Page(NamedTuple):
    items: list[Listed]
    """The newest first."""
    older: Mapping[int, int]
    """Partition → where the next page ends; empty when there is none."""


class Plan(NamedTuple):
    """What becomes of a letter that is to be sent again."""

    kept: Kept
    message: Message | None
    why_not: WhyNot | None


@dataclass(frozen=True, slots=True)
class _Stack:
    """The newest letters of one partition, the newest first."""

    items: list[Listed]
    end: int
    is_all: bool


class DeadLetters:
    """Those of one workspace."""

    def __init__(self, log: Log, workspace: str = DEFAULT_WORKSPACE) -> None:
        self._log = log
        self._workspace = workspace
        self._topic = named(workspace, DEAD_LETTER)

    # ── looking ──

    async def page(self, limit: int, before: Mapping[int, int] | None = None) -> Page:
        """The newest `limit`; `before`: of those that stand before these offsets (`Page.older` of the page before)."""
        reader = await self._log.reader()
        try:
            stacks = await asyncio.gather(
                *(self._newest(reader, tp, (before or {}).get(tp.partition), limit) for tp in await self._all(reader))
            )
        finally:
            await reader.close()
        items = list(islice(merge(*(stack.items for stack in stacks), key=lambda one: one.at, reverse=True), limit))
        older = {number: stack.end for number, stack in enumerate(stacks)}
        for one in items:
            older[one.place.partition] = one.place.offset
        is_all = all(stack.is_all for stack in stacks) and len(items) == sum(len(stack.items) for stack in stacks)
        return Page(items, {} if is_all else older)

    async def of_event(self, event_id: str) -> Listed | None:
        """The newest that holds this event, among the newest `LOOKED_THROUGH` of all."""
        page = await self.page(LOOKED_THROUGH)
        return next((one for one in page.items if one.label.event_id == event_id), None)

    async def at(self, place: Place) -> Kept | None:
        """None: no letter stands there, or not the whole of it any more."""
        reader = await self._log.reader()
        try:
            tps = await self._all(reader)
            if place.partition >= len(tps):
                return None
            tp = tps[place.partition]
            last = await _record(reader, tp, place.offset)
            if last is None:
                return None
            joining = Joining()
            for offset in await _earlier_parts(reader, tp, last):
                part = await _record(reader, tp, offset)
                if part is not None:
                    joining.add(part)
            letter = joining.add(last)
        finally:
            await reader.close()
        return Kept(place, _moment(last.timestamp_ms), letter) if letter is not None else None

    async def several(self, places: Sequence[Place]) -> AsyncIterator[Kept]:
        """Those of them that are there, in that order."""
        for start in range(0, len(places), READ_AT_ONCE):
            for kept in await asyncio.gather(*map(self.at, places[start : start + READ_AT_ONCE])):
                if kept is not None:
                    yield kept

    async def everything(self) -> AsyncIterator[Kept]:
        """All that the topic keeps now, oldest first within a partition; not what comes meanwhile."""
        reader = await self._log.reader()
        try:
            tps = await self._all(reader)
            bounds = [await reader.bounds(tp) for tp in tps]
            for tp, (first, end) in zip(tps, bounds, strict=True):
                joining = Joining()
                async for records in reader.scan(tp, first, end):
                    for record in records:
                        letter = joining.add(record)
                        if letter is not None:
                            yield Kept(Place(tp.partition, record.offset), _moment(record.timestamp_ms), letter)
        finally:
            await reader.close()

    async def _all(self, reader: Reader) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in range(await reader.partitions(self._topic))]

    async def _newest(self, reader: Reader, tp: TopicPartition, before: int | None, limit: int) -> _Stack:
        """Backwards in windows, for not every offset is a letter: parts and control records have some too."""
        first, end = await reader.bounds(tp)
        end = max(first, end if before is None else min(before, end))
        found: list[Listed] = []
        start, size = end, 2 * limit
        while start > first and len(found) <= limit:  # one more than shown tells whether there are more
            start, stop = max(first, start - size), start
            size *= 2
            found = await _listed(reader, tp, start, stop) + found
        return _Stack(found[::-1][:limit], end, start == first and len(found) <= limit)

    # ── sending again ──

    async def redrive(self, letters: AsyncIterable[Kept], person: Person, audit: Audit | None) -> AsyncIterator[Plan]:
        """Send those that have somewhere to go, a chunk at a time; each is told once it is done. Raises `Transient` (unknown:
        those of the chunk may be there) or `Rejected`, and then that stands in the audit trail too."""
        chunk: list[Plan] = []
        size = 0
        async for kept in letters:
            chunk.append(plan(kept, self._workspace))
            size += len(kept.letter.value)
            if size >= CHUNK_BYTES or len(chunk) == CHUNK_LETTERS:
                await self._send(chunk, person, audit)
                for done in chunk:
                    yield done
                chunk, size = [], 0
        await self._send(chunk, person, audit)
        for done in chunk:
            yield done

    async def _send(self, plans: Sequence[Plan], person: Person, audit: Audit | None) -> None:
        going = [(one.kept, one.message) for one in plans if one.message is not None]
        if not going:
            return
        if audit is not None:
            rows = [(kept.letter.id, f"{kept.place} → {message.topic}") for kept, message in going]
            await audit.record_all(self._workspace, person, REDRIVEN, rows)
        producer = await self._log.producer()
        try:
            await producer.append([message for _, message in going])
        except FlywheelError as error:
            if audit is not None:
                failed = [(kept.letter.id, f"{type(error).__name__}: {error}"[:500]) for kept, _ in going]
                await audit.record_all(self._workspace, person, NOT_REDRIVEN, failed)
            raise
        finally:
            await producer.close()


def plan(kept: Kept, workspace: str = DEFAULT_WORKSPACE) -> Plan:
    """Pure: what would become of it."""
    letter = kept.letter
    if letter.came_by != "topic":
        return Plan(kept, None, letter.came_by)
    message = redriven(letter)
    if message.topic not in (named(workspace, RECEIVED), named(workspace, REDRIVE)):
        return Plan(kept, None, "foreign")  # who may write here may write down any topic as where it came from
    return Plan(kept, message, None)


async def _listed(reader: Reader, tp: TopicPartition, start: int, stop: int) -> list[Listed]:
    found = []
    async for columns in reader.scan_headers(tp, start, stop, LABEL_HEADERS):
        for offset, time_ms, *values in zip(columns.offsets, columns.times_ms, *columns.headers, strict=True):
            label = label_of(dict(zip(LABEL_HEADERS, values, strict=True)))
            if label is not None:
                name = label.id or f"{tp.topic}/{tp.partition}/{offset}"
                found.append(Listed(Place(tp.partition, offset), _moment(time_ms), label._replace(id=name)))
    return found


async def _record(reader: Reader, tp: TopicPartition, offset: int) -> Record | None:
    async for records in reader.scan(tp, offset, offset + 1):
        return records[0]
    return None


async def _earlier_parts(reader: Reader, tp: TopicPartition, last: Record) -> list[int]:
    """The offsets of the parts before the last one; of a letter that came twice, the nearest."""
    headers = dict(last.headers)
    name, parts = headers.get("dlq_id"), headers.get("dlq_part", b"").rpartition(b"/")[2]
    found: dict[bytes, int] = {}
    if parts not in (b"", b"1"):
        start = max(0, last.offset - PARTS_REACH)
        async for columns in reader.scan_headers(tp, start, last.offset, _PART_HEADERS):
            rows = zip(columns.offsets, *columns.headers, strict=True)
            found |= {part: offset for offset, one, part in rows if one == name and part is not None}
    return sorted(found.values())


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
