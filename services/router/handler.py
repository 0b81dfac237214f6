"""One batch: read, judge, write outputs and positions in one transaction of the log, again.

Nothing outside the log is written, and the only thing that is remembered between batches, the ids seen, is a function
of the log (`seen`, `rebuild`). So it does not matter when this is killed, or who goes on. The order within a batch:

1. `poll`. A partition that is new to us is first made ready: its window is read back up to the committed position.
2. Every record is judged by the rules in force when the batch began; the ids it brings are held apart.
3. `transact`. Committed: the ids are kept. Not committed, or unknown: they are forgotten, and the log assigns the
   partitions again at the positions that count; what lies between them and ours is read back like anybody else's.
4. Where other rules run as a shadow, they are asked about what was committed, for a share of the time it took (`shadowing`).

`Transient` is waited out here, with the membership kept. Anything else is a defect, or a zombie's fate, and ends the
process: a supervisor starts it again from the positions.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from services.router import metrics
from services.router.breaker import Breaker
from services.router.judge import CRASH, DECIDED, Outcome, judge, judge_all, refused
from services.router.rebuild import caught_up, rebuilt
from services.router.ruleset import Ruleset
from services.router.seen import SeenIds
from services.router.settings import RouterSettings
from services.router.shadowing import Shadowing
from shared.clock import Clock
from shared.errors import Fenced, NoSuchTopic, Rejected, Transient
from shared.events.envelope import rfc3339
from shared.log import Log, Message, Reader, Record, TopicPartition, TransactionalConsumer
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE, RECEIVED, named

GROUP = "router"
POLL_S = 0.2
BREATH_S = 0.02
"""After so much work the other tasks of the process have their turn. Not after so many records: a usual one takes a few
hundredths of a millisecond, a text of thirty thousand characters hundreds of times as long, and heartbeats must go out."""
RUN_MAX_RECORDS = 250
RUN_MAX_BYTES = 64 * 1024
"""What is judged between two looks at the clock: a hundred usual records, or two very long ones."""
LAG_EVERY_S = 5.0
WAIT_FIRST_S = 0.05
WAIT_MOST_S = 3.0
WORKSPACES = (DEFAULT_WORKSPACE,)

_log = get_logger(GROUP)


class Partition:
    """What is remembered of one partition that is ours."""

    def __init__(self, seen: SeenIds) -> None:
        self.seen = seen
        self.breaker = Breaker()

    def forget(self) -> None:
        """The batch was not committed and comes again: what it brought must not count twice."""
        self.seen.forget()
        self.breaker = Breaker()


class Handler:
    """`shared.log.Listener`; one for each process."""

    def __init__(self, log: Log, clock: Clock, settings: RouterSettings, shadowing: Shadowing | None = None) -> None:
        self.ruleset: Ruleset | None = None
        """Swapped whole; the batch in hand finishes by the one it began with."""
        self.away: str | None = "not connected to the log yet"
        self._log = log
        self._clock = clock
        self._settings = settings
        self._shadowing = shadowing
        self._partitions: dict[TopicPartition, Partition] = {}
        self._reader: Reader | None = None
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._lag_at = 0.0
        self._limit = settings.batch_records
        self._refused: dict[tuple[TopicPartition, int], str] = {}
        """Records whose outputs the log will never take, and why: place → what it said."""

    async def run(self) -> None:
        """Until `drain` or cancelled."""
        wait_s = WAIT_FIRST_S
        try:
            while not self._stop.is_set():
                try:
                    consumer = await self._join()
                except Transient as error:
                    wait_s = await self._wait(error, wait_s)
                    continue
                try:
                    await self._consume(consumer)
                finally:
                    await self._leave(consumer)
        finally:
            self._stopped.set()

    async def drain(self) -> None:
        """The batch in hand is finished, then the group is left, so that the others take over at once."""
        self._stop.set()
        await self._stopped.wait()

    # ── the group ──

    async def _join(self) -> TransactionalConsumer:
        topics = [named(workspace, RECEIVED) for workspace in WORKSPACES]
        self._reader = self._reader or await self._log.reader()
        return await self._log.transactional(GROUP, topics, self)

    async def _leave(self, consumer: TransactionalConsumer) -> None:
        self._partitions.clear()
        reader, self._reader = self._reader, None
        with contextlib.suppress(Transient):
            await consumer.close()
        if reader is not None:
            with contextlib.suppress(Transient):
                await reader.close()

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Makes each partition ready, or raises `Transient`, and then none of them is delivered."""
        for tp, position in positions.items():
            await self._make_ready(tp, position)
        self._count_partitions()
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._partitions.pop(tp, None)
            with contextlib.suppress(KeyError):
                metrics.lag.remove(str(tp.partition))
        self._count_partitions()

    async def _make_ready(self, tp: TopicPartition, position: int) -> None:
        assert self._reader is not None
        began = self._clock.monotonic()
        known = self._partitions.get(tp)
        if known is not None and known.seen.position <= position:
            # We have it already: only what was written since then is missing, by us or by whoever had it meanwhile.
            known.forget()
            count = await caught_up(known.seen, self._reader, tp, known.seen.position, position)
        else:
            seen, count = await rebuilt(self._reader, tp, position, self._settings.window_ms)
            known = self._partitions[tp] = Partition(seen)
        took = self._clock.monotonic() - began
        metrics.rebuild_seconds.observe(took)
        metrics.rebuilt_ids.inc(count)
        _log.info(
            "router.assigned",
            topic=tp.topic,
            partition=tp.partition,
            position=position,
            read_back=count,
            ids=len(known.seen),
            seconds=round(took, 3),
        )

    def _count_partitions(self) -> None:
        metrics.partitions.set(len(self._partitions))
        metrics.seen_ids.set(sum(len(partition.seen) for partition in self._partitions.values()))

    # ── batches ──

    async def _consume(self, consumer: TransactionalConsumer) -> None:
        wait_s = WAIT_FIRST_S
        while not self._stop.is_set():
            try:
                if self.ruleset is None:
                    await asyncio.sleep(POLL_S)
                    continue
                records = await consumer.poll(self._limit, POLL_S)
                self.away, wait_s = None, WAIT_FIRST_S
                if records:
                    await self._handle(consumer, records, self.ruleset)
                await self._watch_lag(consumer)
            except Transient as error:
                self._forget()
                wait_s = await self._wait(error, wait_s)

    async def _handle(self, consumer: TransactionalConsumer, records: list[Record], ruleset: Ruleset) -> None:
        began = self._clock.monotonic()
        metrics.in_flight.set(len(records))
        shadow = self._shadowing.beside(ruleset) if self._shadowing is not None else None
        decided: list[Outcome] | None = [] if shadow is not None else None
        outputs, counts, positions = await self._judge(records, ruleset, decided)
        if not positions:
            return
        try:
            await consumer.transact(outputs, positions)
        except Transient as error:
            metrics.failed_transactions.labels("fenced" if isinstance(error, Fenced) else "transient").inc()
            raise
        except Rejected as error:
            metrics.failed_transactions.labels("rejected").inc()
            await self._corner(error, records, outputs)
            return
        finally:
            metrics.in_flight.set(0)
        for tp, position in positions.items():
            if (partition := self._partitions.get(tp)) is not None:
                partition.seen.keep(position)
        self._limit = min(self._settings.batch_records, self._limit * 2)
        self._refused.clear()
        took = self._clock.monotonic() - began
        metrics.batch_seconds.observe(took)
        metrics.batch_records.observe(len(records))
        for what, count in counts.items():
            metrics.records.labels(what).inc(count)
        self._count_partitions()
        _log.info(
            "router.batch",
            records=len(records),
            outputs=len(outputs),
            milliseconds=round(took * 1000, 1),
            ruleset=ruleset.version,
            positions={f"{tp.topic}/{tp.partition}": position for tp, position in positions.items()},
            **counts,
        )
        if self._shadowing is not None and shadow is not None and decided:
            await self._shadowing.compare(shadow, decided, took)

    async def _corner(self, error: Rejected, records: list[Record], outputs: list[Message]) -> None:
        """The log will never take one of these outputs: find whose it is, by halves. Alone in its batch it is refused and
        becomes a dead letter; if that cannot be written either, the position stays where it is."""
        missing = {message.topic for message in outputs} - set(await self._log.topics())
        place = (TopicPartition(records[0].topic, records[0].partition), records[0].offset)
        if missing or place in self._refused:
            raise error
        if isinstance(error, NoSuchTopic):  # it is there: a broker has not heard of it yet, and no record is at fault
            raise Transient(str(error)) from error
        self._forget()
        if len(records) == 1:
            self._refused[place] = str(error)
        else:
            self._limit = max(1, len(records) // 2)

    async def _judge(
        self, records: list[Record], ruleset: Ruleset, decided: list[Outcome] | None
    ) -> tuple[list[Message], Counter[str], dict[TopicPartition, int]]:
        """`decided` is given what was decided about feedback, where somebody asks for it."""
        outputs: list[Message] = []
        counts: Counter[str] = Counter()
        positions: dict[TopicPartition, int] = {}
        decided_at = rfc3339(self._clock.now())
        monotonic = self._clock.monotonic
        breath_at = monotonic() + BREATH_S
        for run in _runs(records):
            if monotonic() >= breath_at:
                await asyncio.sleep(0)
                breath_at = monotonic() + BREATH_S
            tp = TopicPartition(run[0].topic, run[0].partition)
            partition = self._partitions.get(tp)
            if partition is None:
                continue  # taken from us meanwhile: its next owner reads it
            for record, outcome in zip(run, self._outcomes(run, partition.seen, ruleset, decided_at), strict=True):
                outputs += outcome.messages
                if decided is not None and outcome.what in DECIDED:
                    decided.append(outcome)
                counts[outcome.what] += 1
                partition.breaker.note(outcome.detail.startswith(CRASH))
                if outcome.detail:
                    _tell(record, outcome)
            positions[tp] = run[-1].offset + 1
        return outputs, counts, positions

    def _outcomes(self, run: list[Record], seen: SeenIds, ruleset: Ruleset, decided_at: str) -> list[Outcome]:
        if not self._refused:
            return judge_all(run, seen, ruleset, decided_at)
        return [
            refused(record, seen, why)
            if (why := self._refused.get((TopicPartition(record.topic, record.partition), record.offset)))
            else judge(record, seen, ruleset, decided_at)
            for record in run
        ]

    def _forget(self) -> None:
        for partition in self._partitions.values():
            partition.forget()

    # ── around ──

    async def _watch_lag(self, consumer: TransactionalConsumer) -> None:
        now = self._clock.monotonic()
        if now - self._lag_at < LAG_EVERY_S:
            return
        self._lag_at = now
        for tp, records in (await consumer.lag()).items():
            metrics.lag.labels(str(tp.partition)).set(records)

    async def _wait(self, error: Transient, wait_s: float) -> float:
        """Sleeps, and says how long the next time. One line for each outage, not for each try."""
        if self.away is None and not isinstance(error, Fenced):
            _log.warning("router.waiting", reason=str(error))
        if not isinstance(error, Fenced):
            self.away = str(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s * (0.8 + 0.4 * random.random())):
                await self._stop.wait()
        return min(WAIT_MOST_S, wait_s * 2)


def _runs(records: Iterable[Record]) -> Iterator[list[Record]]:
    """One partition's records that stand together, as many as are judged at once."""
    run: list[Record] = []
    size = 0
    for record in records:
        size += len(record.value)
        full = size > RUN_MAX_BYTES or len(run) == RUN_MAX_RECORDS
        if run and (full or record.partition != run[0].partition or record.topic != run[0].topic):
            yield run
            run, size = [], len(record.value)
        run.append(record)
    if run:
        yield run


def _tell(record: Record, outcome: Outcome) -> None:
    """A line for each dead letter and each conflict; repeats are only counted."""
    if outcome.what == "duplicate":
        return
    headers = dict(record.headers)
    say = _log.error if outcome.what == "dead-letter" else _log.warning
    say(
        f"router.{outcome.what}",
        id=headers.get("ce_id", b"").decode(errors="replace"),
        traceparent=headers.get("traceparent", b"").decode(errors="replace"),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=outcome.detail,
    )
