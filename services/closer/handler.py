"""A routed event opens, joins or reopens a case; the position is stored with the effect.

Log → database: the position that counts is the row in `closer.position`, moved in the transaction that writes what the
records led to, and only from where we believe it to be. Whoever was overtaken (a rebalance, a pause of the machine)
fails at that one statement with `Fenced` and drops what it holds. So after any crash the log is read on from the
effect, and an event has its effect once.

Records are taken in lanes by partition number. A customer's records share a number in all topics, so a lane keeps
their order; two lanes overlap our work with the database's.

When something fails:
* `Transient` (the database or the log is away): the consumer is paused, which keeps its membership, until they answer;
  then everything is read again from the stored positions.
* a record that cannot be read, or that the database refuses: it is found by halving the batch and goes to the dead-letter
  topic. That is written before the position moves; when it cannot be written, the position stands still.
* anything else is a defect. It is dead-lettered like a poison record, a few times; then the process stops.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from services.closer import metrics
from services.closer.check import InForce
from services.closer.counting import Counted
from services.closer.desk import Desk
from services.closer.positions import move, stored_positions
from services.closer.records import (
    DecisionRead,
    Feedback,
    Poison,
    Watched,
    read,
    workspace_of,
)
from services.closer.store import Cases, Effects, Snapshots
from services.closer.transactions import Driver, Transactions
from shared.clock import Clock
from shared.errors import Fenced, Transient
from shared.events.dead_letter import dead_letter_of
from shared.events.identity import Pseudonyms
from shared.log import Consumer, Log, Producer, Reader, Record, TopicPartition
from shared.telemetry import get_logger
from shared.topics import DECISIONS, REDRIVE, ROUTED_PREFIX

GROUP = "closer"
LANES = 2
POLL_S = 0.5
COMMIT_EVERY_S = 5.0
"""How often the log is told too where we are: for its own tools to show, never to resume from."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
CONFLICTS_TRIED = 2
DEFECTS_IN_A_ROW = 20
"""So many records in a row that we cannot handle are no bad records: we are broken, and stop."""

_log = get_logger("closer")

Place = tuple[str, int, int]
"""(topic, partition, offset)"""


def ours(topic: str) -> bool:
    """The routed topic of a team, the decisions, or what is sent again, of any workspace (another's name stands before,
    with a dot)."""
    bare = topic[topic.rfind("feedback.") :]
    return bare in (DECISIONS, REDRIVE) or bare.startswith(ROUTED_PREFIX)


@dataclass(slots=True)
class Batch:
    """What one transaction takes: the records of a lane, read."""

    expected: dict[TopicPartition, int]
    following: dict[TopicPartition, int] = field(default_factory=dict)
    feedback: list[Feedback] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    decisions: list[DecisionRead] = field(default_factory=list)
    poison: list[tuple[Record, Poison]] = field(default_factory=list)
    passed: int = 0


class Handler:
    """Consumes for ever. Implements `shared.log.Listener`."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        log: Log,
        log_name: str,
        clock: Clock,
        pseudonyms: Pseudonyms,
        snapshots: Snapshots,
        batch_records: int = 500,
    ) -> None:
        self._transactions = transactions
        self._log = log
        self._log_name = log_name
        self._clock = clock
        self._pseudonyms = pseudonyms
        self._snapshots = snapshots
        self._batch_records = batch_records
        self._cases = Cases(snapshots)
        self._found: InForce | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._topics: frozenset[str] = frozenset()
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._reader: Reader | None = None
        self._committed_at = 0.0
        self._defects = 0
        self._buried: set[Place] = set()
        """Whose dead letter is written, and whose position has not moved yet: what is tried again is not buried again."""
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting: str | None = "not started"
        """Why nothing is being handled; None while it is."""

    # ── configuration ──

    def configure(self, found: InForce) -> None:
        self._found = found

    async def resubscribe(self) -> None:
        """A team may have come or gone: read the routed topics that there are."""
        topics = frozenset(topic for topic in await self._log.topics() if ours(topic))
        if topics != self._topics:
            self._topics = topics
            if self._consumer is not None:
                await self._consumer.subscribe(sorted(topics))

    # ── the loop ──

    async def run(self) -> None:
        """Until cancelled."""
        self._idle.clear()
        try:
            await self._patiently(self._open())
            while not self._draining.is_set():
                await self._patiently(self._turn())
        finally:
            self._idle.set()
            await self._close()

    async def drain(self) -> None:
        """Finish the batch in hand, and take no other."""
        self._draining.set()
        await self._idle.wait()

    async def _open(self) -> None:
        if self._producer is None:
            self._producer = await self._log.producer()
        if self._reader is None:
            self._reader = await self._log.reader()
        if self._consumer is None:
            await self.resubscribe()
            topics = self._topics
            self._consumer = await self._log.consumer(GROUP, sorted(topics), self)
            if self._topics != topics:  # a team came while we joined
                await self._consumer.subscribe(sorted(self._topics))
        self.waiting = None

    async def _close(self) -> None:
        for part in (self._consumer, self._producer, self._reader):
            if part is not None:
                await part.close()
        self._consumer = self._producer = self._reader = None

    async def _patiently(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Fenced as error:
            metrics.FENCED.inc()
            _log.warning("handler.fenced", reason=str(error))
            await self._patiently(self._reposition())
        except Transient as error:
            await self._wait_out(error)

    async def _turn(self) -> None:
        assert self._consumer is not None
        records = await self._consumer.poll(self._batch_records * LANES, POLL_S)
        self.waiting = None
        if records:
            await self._handle_all(records)
        await self._tell_the_log()

    async def _handle_all(self, records: Sequence[Record]) -> None:
        """All lanes to their end, then the worst that happened in any."""
        lanes: list[list[Record]] = [[] for _ in range(LANES)]
        if len(records) <= self._batch_records // 10:
            lanes[0] = list(records)  # a few records are done sooner in one transaction than in two
        else:
            for record in records:
                lanes[record.partition % LANES].append(record)
        done = await asyncio.gather(*(self._lane(lane) for lane in lanes if lane), return_exceptions=True)
        failed = [error for error in done if isinstance(error, BaseException)]
        for error in sorted(failed, key=lambda e: (isinstance(e, Transient), isinstance(e, Fenced))):
            raise error

    async def _lane(self, records: Sequence[Record]) -> None:
        for start in range(0, len(records), self._batch_records):
            await self.handle(records[start : start + self._batch_records])

    # ── what goes wrong ──

    async def _wait_out(self, error: Transient) -> None:
        """Paused, a member still, until the database and the log answer; then on from the stored positions."""
        metrics.WAITS.inc()
        consumer = self._consumer
        if consumer is not None:
            consumer.pause()
        delay = BACKOFF_FIRST_S
        while True:
            self.waiting = str(error)
            _log.warning("handler.waiting", reason=str(error), seconds=delay)
            try:
                if consumer is not None:
                    await consumer.poll(1, delay)  # paused: gives nothing, and says that we live
                else:
                    await asyncio.sleep(delay)
                if self._draining.is_set():
                    return
                await self._transactions.ping()
                if consumer is None:
                    await self._open()
                else:
                    await self._reposition()
                    consumer.resume()
            except Transient as again:
                error = again
                await asyncio.sleep(delay)
                delay = min(delay * 2, BACKOFF_MAX_S)
            else:
                self.waiting = None
                return

    async def _reposition(self) -> None:
        """Read on from where the database says, for all that is ours."""
        assert self._consumer is not None
        ours_now = {tp: self._positions.get(tp, 0) for tp in self._consumer.assignment}
        if ours_now:
            async with self._transactions.begin() as driver:
                stored = await stored_positions(driver, self._log_name, ours_now)
            self._positions = dict(stored)
            self._consumer.seek(stored)

    async def handle(self, records: Sequence[Record]) -> None:
        """One transaction, or, when a record spoils it, halves of it until that record is alone."""
        try:
            await self._store_once_more(records)
            self._defects = 0
        except Transient:
            raise
        except Exception as error:
            if len(records) > 1:
                middle = len(records) // 2
                await self.handle(records[:middle])
                await self.handle(records[middle:])
                return
            self._defects += 1
            if self._defects > DEFECTS_IN_A_ROW:
                raise
            _log.error("handler.defect", record=_place(records[0]), exc_info=error)
            await self._bury([(records[0], Poison("not-handled", type(error).__name__))])
            await self._store(records, buried=True)

    async def _store_once_more(self, records: Sequence[Record]) -> None:
        """Somebody may have written, between our look and our insert, what we insert: then it is there to be seen."""
        for _ in range(CONFLICTS_TRIED):
            try:
                return await self._store(records)
            except asyncpg.UniqueViolationError:
                continue
        await self._store(records)

    async def _bury(self, poison: Sequence[tuple[Record, Poison]]) -> None:
        """On the dead-letter topic before anything moves. `Rejected` ends the process: the position stands."""
        assert self._producer is not None
        for record, why in poison:
            if record[:3] in self._buried:
                continue
            letter = dead_letter_of(record, service="closer", reason=why.slug, detail=str(why))
            await self._producer.append(letter.messages(workspace_of(record.topic)))
            self._buried.add(record[:3])
            metrics.EVENTS.labels("dead_letter").inc()
            _log.error("handler.dead_letter", record=_place(record), reason=why.slug, detail=str(why))

    # ── one batch ──

    async def _store(self, records: Sequence[Record], buried: bool = False) -> None:
        batch = self._read(records, skip=buried)
        if not batch.following:
            return
        if batch.poison:
            await self._bury(batch.poison)
        with metrics.BATCH_SECONDS.time():
            async with self._transactions.begin() as driver:
                await move(driver, self._log_name, batch.expected, batch.following)
                effects, outcomes = await self._decide(driver, batch)
                await effects.write(driver, self._snapshots)
        self._snapshots.remember(effects.snapshots)
        self._buried.difference_update(record[:3] for record in records)
        for tp, position in batch.following.items():
            if self._positions.get(tp) == batch.expected[tp]:
                self._positions[tp] = position
        for outcome, ids in outcomes.items():
            metrics.EVENTS.labels(outcome).inc(len(ids))
        if batch.passed:
            metrics.EVENTS.labels("passed").inc(batch.passed)
        # One line a batch, with every id: a line an event would cost as much as the event.
        _log.info("handler.batch", records=len(records), events=effects.events, passed=batch.passed, feedback=outcomes)

    def _read(self, records: Sequence[Record], *, skip: bool) -> Batch:
        batch = Batch({})
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            position = self._positions.get(tp)
            if position is None or record.offset < position:
                continue  # no longer ours, or read before we sought: whoever owns it does it
            batch.expected.setdefault(tp, position)
            batch.following[tp] = record.offset + 1
            if skip:
                continue
            try:
                found = read(record)
            except Poison as poison:
                batch.poison.append((record, poison))
                continue
            if found is None:
                batch.passed += 1
            elif isinstance(found, Feedback):
                batch.feedback.append(found)
            elif isinstance(found, Watched):
                batch.passed += 1
                batch.watched.append(found)
            else:
                batch.decisions.append(found)
        return batch

    async def _decide(self, driver: Driver, batch: Batch) -> tuple[Effects, dict[str, list[str]]]:
        now = self._clock.now()
        outcomes: dict[str, list[str]] = {}
        found = self._found
        assert found is not None, "configure() comes before run()"
        effects = Effects(now, subscribers=found.subscribers)
        effects.counted = Counted(found.signals) if found.signals else None
        desk = Desk(driver, effects, outcomes, self._cases, found.policies, self._pseudonyms, found.rotas)
        await desk.look_who_was_erased(batch.feedback, batch.watched, batch.decisions)
        if batch.feedback:
            await desk.prepare(batch.feedback)
            for feedback in batch.feedback:
                await desk.take(feedback)
        for decision in batch.decisions:
            desk.note(decision)
        await desk.watched(batch.watched)
        return effects, outcomes

    # ── Listener ──

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """From where the database says. A partition that it has never seen is read from its first record: what the log
        has committed for us is for show, and may be newer than a database that was restored."""
        assert self._reader is not None
        bounds = {tp: await self._reader.bounds(tp) for tp in positions}
        async with self._transactions.begin() as driver:
            stored = await stored_positions(driver, self._log_name, {tp: first for tp, (first, _) in bounds.items()})
        # Whoever had them may have worked on since we asked for the ends: a position is behind the end only if it still
        # is when that is asked for afterwards.
        for tp in [tp for tp, position in stored.items() if position > bounds[tp][1]]:
            bounds[tp] = await self._reader.bounds(tp)
        lost = {tp: bounds[tp][0] for tp, position in stored.items() if position > bounds[tp][1]}
        if lost:  # the topic was made anew, and counts from the start; effects already had are told by their ids
            _log.error("handler.log_made_anew", partitions=[f"{tp.topic}/{tp.partition}" for tp in lost])
            async with self._transactions.begin() as driver:
                await move(driver, self._log_name, stored, lost)
        for tp, position in stored.items():
            if position < bounds[tp][0]:
                _log.error("handler.gap", topic=tp.topic, partition=tp.partition, missed=bounds[tp][0] - position)
        self._positions.update({**stored, **lost})
        self._buried = {place for place in self._buried if place[:2] not in positions}
        return {tp: max(self._positions[tp], bounds[tp][0]) for tp in positions}

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._positions.pop(tp, None)

    # ── telling ──

    async def _tell_the_log(self) -> None:
        assert self._consumer is not None
        if self._clock.monotonic() - self._committed_at < COMMIT_EVERY_S:
            return
        self._committed_at = self._clock.monotonic()
        mine = {tp: at for tp, at in self._positions.items() if tp in self._consumer.assignment}
        try:
            if mine:
                await self._consumer.commit(mine)
            metrics.LAG.set(sum((await self._consumer.lag()).values()))
        except Transient as error:
            _log.warning("handler.commit_failed", reason=str(error))


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
