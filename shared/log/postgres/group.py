"""A member of a consumer group.

The database holds the truth: for each partition of the group an owner and a generation, which is one higher each
time the partition changes hands. Whoever moves a position names both, and the statement finds them so or fails:
a member that was stopped, cut off or slow can do no harm, whatever it still believes.

Membership is a lease, renewed by a task beside the reading, by the database's clock. Each renewal also looks
after the others: it buries those whose lease ran out (or whose process is dead), and if members or partitions
have changed it shares out anew. A partition that is to move is first let go by its owner, from within `poll`;
then whoever it is meant for takes it. Those that stay are not touched.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import msgspec

from shared.errors import Fenced, Transient
from shared.log import POLL_MAX_S, Listener, Message, Record, TopicPartition
from shared.log.postgres.append import Placer, columns
from shared.log.postgres.assignment import assign
from shared.log.postgres.connection import LEASE_S, SAFETY_POLL_S, Connections, Hub, wait
from shared.log.postgres.read import Place, fetch
from shared.tasks import keep
from shared.telemetry import get_logger

BEAT_S = LEASE_S / 4
SETTLE_MAX_TRIES = 5

_LAG = """
SELECT t.name, p.partition, p.next_offset - least(p.next_offset, greatest(p.first_offset, coalesce(q.position, 0)))
FROM log.topic t JOIN log.partition p ON p.topic_id = t.id
LEFT JOIN log.position q ON q.group_name = $1 AND q.topic_id = p.topic_id AND q.partition = p.partition
WHERE t.name = ANY ($2)
"""
_ENDS = """
SELECT p.next_offset FROM unnest($1::integer[], $2::integer[]) WITH ORDINALITY AS w (topic_id, partition, slot)
JOIN log.partition p ON p.topic_id = w.topic_id AND p.partition = w.partition ORDER BY w.slot
"""

_log = get_logger("log")


class Slot(msgspec.Struct, frozen=True):
    """A partition that is ours, as the database has it. `keep`: nobody else is meant to have it."""

    topic: str
    topic_id: int
    partition: int
    generation: int
    position: int | None
    first: int
    keep: bool

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Heard(msgspec.Struct, frozen=True):
    unplanned: bool
    owned: list[Slot]


class Seen(msgspec.Struct, frozen=True):
    version: int
    members: dict[str, list[str]]
    holders: list[tuple[str, int, int, str | None]]


class Held:
    """A partition that we read. `committed` is where the database has the group's position (None: nowhere yet)."""

    def __init__(self, slot: Slot, next_offset: int) -> None:
        self.topic_id = slot.topic_id
        self.generation = slot.generation
        self.committed = slot.position
        self.next = next_offset


_decode_heard = msgspec.json.Decoder(Heard).decode
_decode_seen = msgspec.json.Decoder(Seen).decode


async def group_lag(connections: Connections, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
    rows = await connections.rows(_LAG, group, list(topics))
    return {TopicPartition(topic, partition): records for topic, partition, records in rows}


class PostgresConsumer:
    """Implements `shared.log.TransactionalConsumer`, and `Consumer` by leaving one method unused."""

    def __init__(
        self,
        connections: Connections,
        hub: Hub,
        placer: Placer,
        group: str,
        topics: Sequence[str],
        listener: Listener,
    ) -> None:
        self._connections = connections
        self._hub = hub
        self._placer = placer
        self._group = group
        self._topics = sorted(set(topics))
        self._listener = listener
        self._id = uuid4()
        self._subscription = hub.subscribe(self._topics, group)
        self._wake = self._subscription.event
        self._slots: dict[TopicPartition, Slot] = {}
        self._held: dict[TopicPartition, Held] = {}
        self._ahead: asyncio.Task[dict[TopicPartition, list[Record]]] | None = None
        self._ahead_from: dict[TopicPartition, Held] = {}
        self._ahead_starts: dict[TopicPartition, int] = {}
        self._beating = asyncio.Lock()
        self._look_again = False
        self._start_again: set[TopicPartition] = set()
        self._paused = False
        self._closed = False
        self._polled_at = asyncio.get_running_loop().time()
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        await self._beat()
        self._task = keep(self._beat_forever(), "log-member")

    # ── reading ──

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while not self._closed:
            self._look_again |= clock() - self._polled_at > POLL_MAX_S
            self._polled_at = clock()
            if self._task is not None and self._task.done():
                self._task.result()  # without its heartbeat a member would wait for ever for what others have by now
            self._wake.clear()
            await self._settle()
            if self._held and not self._paused:
                was_ahead = self._ahead is not None
                records = await self._take(max_records)
                if was_ahead and not records:  # read before the news came that woke us
                    records = await self._take(max_records)
                if records:
                    return records
            left = deadline - clock()
            if left <= 0:
                break
            await wait(self._wake, min(left, SAFETY_POLL_S))
        return []

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        for tp, position in positions.items():
            if tp in self._held:
                self._held[tp].next = position
        self._wake.set()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake.set()

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._held)

    async def lag(self) -> dict[TopicPartition, int]:
        held = dict(self._held)
        rows = await self._connections.rows(_ENDS, [h.topic_id for h in held.values()], [tp.partition for tp in held])
        return {tp: max(0, row[0] - h.next) for (tp, h), row in zip(held.items(), rows, strict=True)}

    async def subscribe(self, topics: Sequence[str]) -> None:
        self._topics = sorted(set(topics))
        self._subscription.topics = frozenset(topics)
        await self._beat()
        self._wake.set()

    async def _take(self, limit: int) -> list[Record]:
        """What was read ahead, or what is there now; and the next read begun when there is more."""
        ahead, self._ahead = self._ahead or self._read_ahead(limit), None
        fetched = await asyncio.shield(ahead)
        records: list[Record] = []
        for tp, batch in fetched.items():
            held = self._held.get(tp)
            # Ours without a break since the read began, and nobody has sought elsewhere.
            if held is None or held is not self._ahead_from[tp] or held.next != self._ahead_starts[tp]:
                continue
            if len(records) + len(batch) > limit:  # read ahead for a poll that asked for more
                batch = batch[: limit - len(records)]
                if not batch:
                    continue
            held.next = batch[-1].offset + 1
            del self._held[tp]  # and to the end of the queue, so that every partition has its turn
            self._held[tp] = held
            records += batch
        if (
            records and len(records) >= limit // 2
        ):  # there is a backlog: the database reads on while these are worked on
            self._ahead = self._read_ahead(limit)
        return records

    def _read_ahead(self, limit: int) -> asyncio.Task[dict[TopicPartition, list[Record]]]:
        self._ahead_from = dict(self._held)
        self._ahead_starts = {tp: held.next for tp, held in self._held.items()}
        places = [Place(held.topic_id, tp, held.next) for tp, held in self._held.items()]
        task = asyncio.create_task(fetch(self._connections, places, limit), name="log-fetch")
        task.add_done_callback(_look_at)
        return task

    # ── moving positions ──

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        try:
            tps, arguments = self._claims(positions)
            await self._connections.value(
                "SELECT log.move($1, $2, $3, $4, $5, false, NULL, $6)", self._group, self._id, *arguments
            )
        except Transient:
            self._look_again = True
            raise
        self._committed(tps, positions)

    async def transact(self, outputs: Sequence[Message], positions: Mapping[TopicPartition, int]) -> None:
        """After a failure of any kind everything we hold is read again from where the database has the position;
        a transaction whose outcome we never heard of has either moved it, or cannot any more."""
        try:
            rows = await self._placer.place(outputs)
            tps, (topic_ids, partitions, generations, to) = self._claims(positions)
            known = [self._held[tp].committed for tp in tps]
            await self._connections.value(
                "SELECT log.transact($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
                *(self._group, self._id, topic_ids, partitions, generations, known, to),
                *columns(rows),
            )
        except BaseException:  # cancelled, too: the statement may have been on its way
            self._look_again = True
            self._start_again |= self._held.keys()
            raise
        self._committed(tps, positions)

    def _claims(
        self, positions: Mapping[TopicPartition, int]
    ) -> tuple[list[TopicPartition], tuple[list[int], list[int], list[int], list[int]]]:
        lost = [tp for tp in positions if tp not in self._held]
        if lost:
            raise Fenced(f"no longer ours: {lost}")
        tps = sorted(positions, key=lambda tp: (self._held[tp].topic_id, tp.partition))
        held = [self._held[tp] for tp in tps]
        return tps, (
            [h.topic_id for h in held],
            [tp.partition for tp in tps],
            [h.generation for h in held],
            [positions[tp] for tp in tps],
        )

    def _committed(self, tps: Sequence[TopicPartition], positions: Mapping[TopicPartition, int]) -> None:
        for tp in tps:
            if tp in self._held:
                self._held[tp].committed = positions[tp]

    # ── membership ──

    async def _settle(self) -> None:
        """Bring what we read in line with what is ours, and tell the listener."""
        for _ in range(SETTLE_MAX_TRIES):
            if self._look_again:
                await self._beat()
                self._look_again = False
            slots = self._slots
            gone = [tp for tp, held in self._held.items() if not _still(slots.get(tp), held)]
            if gone:
                for tp in gone:
                    del self._held[tp]
                    self._start_again.discard(tp)
                await self._listener.revoked(gone)
            if leaving := [slot for slot in slots.values() if not slot.keep]:
                await self._release(leaving)
                continue
            fresh = {tp: slot for tp, slot in slots.items() if tp not in self._held or tp in self._start_again}
            if not fresh:
                return
            await self._begin(fresh)

    async def _begin(self, slots: Mapping[TopicPartition, Slot]) -> None:
        positions = {tp: max(slot.first, slot.position or 0) for tp, slot in slots.items()}
        for tp in slots:  # whatever was held for them ends here, also when the listener fails
            self._held.pop(tp, None)
        starts = await self._listener.assigned(positions)
        for tp, slot in slots.items():
            self._held[tp] = Held(slot, starts.get(tp, positions[tp]))
            self._start_again.discard(tp)

    async def _release(self, leaving: Sequence[Slot]) -> None:
        await self._connections.value(
            "SELECT log.release($1, $2, $3, $4)",
            self._group,
            self._id,
            [slot.topic_id for slot in leaving],
            [slot.partition for slot in leaving],
        )
        self._look_again = True

    async def _beat_forever(self) -> None:
        news = self._subscription.group_event
        while True:
            await wait(news, BEAT_S)
            news.clear()
            if asyncio.get_running_loop().time() - self._polled_at > POLL_MAX_S:
                continue  # its lease runs out: it keeps partitions from the others
            try:
                await self._beat()
            except Transient as error:
                _log.warning("log.heartbeat_failed", group=self._group, reason=str(error))

    async def _beat(self) -> None:
        async with self._beating:
            heard = await self._renew()
            while heard.unplanned:
                await self._share_out()
                heard = await self._renew()
            slots = {slot.tp: slot for slot in heard.owned}
            if {tp: (s.generation, s.keep) for tp, s in slots.items()} != {
                tp: (s.generation, s.keep) for tp, s in self._slots.items()
            }:
                self._wake.set()
            self._slots = slots

    async def _renew(self) -> Heard:
        return _decode_heard(
            await self._connections.value(
                "SELECT log.beat($1, $2, $3, make_interval(secs => $4), $5)::text",
                *(self._group, self._id, self._topics, LEASE_S, self._hub.alive),
            )
        )

    async def _share_out(self) -> None:
        seen = _decode_seen(await self._connections.value("SELECT log.state($1)::text", self._group))
        plan = assign(seen.members, {(topic, partition): holder for topic, _, partition, holder in seen.holders})
        ids = {topic: topic_id for topic, topic_id, _, _ in seen.holders}
        await self._connections.value(
            "SELECT log.plan($1, $2, $3, $4, $5)",
            self._group,
            seen.version,
            [ids[topic] for topic, _ in plan],
            [partition for _, partition in plan],
            [None if member is None else UUID(member) for member in plan.values()],
        )

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._subscription.close()
        for task in (self._task, self._ahead):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self._held.clear()
        try:
            await self._connections.value("SELECT log.leave($1, $2)", self._group, self._id)
        except Transient as error:  # the lease runs out by itself
            _log.warning("log.leave_failed", group=self._group, reason=str(error))


def _still(slot: Slot | None, held: Held) -> bool:
    return slot is not None and slot.keep and slot.generation == held.generation


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error of a read that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()
