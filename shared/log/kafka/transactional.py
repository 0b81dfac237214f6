"""Read → write → positions, in Kafka transactions that the consumer group fences (confluent-kafka, in two threads).

aiokafka's transactions were measured to lose records and to let zombies write; this client's raise at the commit and
carry the group's metadata (KIP-447). Threads of our own, one for each of the two clients, run their calls, one at a time, so the
event loop never blocks, and a rebalance is only ever told to us while we poll. How a partition comes and goes:

1. The group gives it to us while we poll: assigned paused, nothing is fetched, and it counts as *fresh*.
2. The next `poll` asks for its committed position (only stable ones: a dead member's open transaction is waited for),
   tells `Listener.assigned`, which may take its time, then seeks to what that returns and resumes: *open*.
3. `transact` failed, for whatever reason: the transaction is aborted, or where its end is unknown the producer is
   replaced by one of the same id, whose start settles it. Every open partition is fresh again, so 2 goes back to the
   committed positions; what was fetched meanwhile is never delivered. So too where a call of the producer does not come
   back: librdkafka 2.16 waits for ever for a group coordinator that it has forgotten, whatever deadline it was given (its
   issues 5456 and 5511; seen after a lone broker had stood still).
4. The group takes it away: closed at once; `Listener.revoked` is told by the next `poll`.
"""

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as ConfluentPartition

from shared.errors import Fenced, FlywheelError, Transient
from shared.log import Listener, Message, Record, TopicPartition
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.errors import of_exception, of_librdkafka, passes, unknown
from shared.log.kafka.producer import refuse_oversize
from shared.log.kafka.records import record_of, taken
from shared.log.kafka.settings import LOST_S, KafkaSettings, group_reader, group_writer, knows_a_broker
from shared.log.kafka.threads import Threads

CALL_TIMEOUT_S = 6.0
START_TIMEOUT_S = 5.0
OVERDUE_S = 12.0
"""Twice what any call of the producer is given. Of the seconds in which we ran: a process that was stopped was not kept waiting."""
HANG_S = 90.0
LOOK_S = 1.0
POLL_SLICE_S = 0.25
SEEK_TIMEOUT_S = 5.0
SEEK_PAUSE_S = 0.01

T = TypeVar("T")

_log = logging.getLogger("flywheel.kafka.transactional")


class KafkaTransactionalConsumer:
    """`shared.log.TransactionalConsumer`."""

    def __init__(
        self, settings: KafkaSettings, admin: KafkaAdmin, group: str, topics: Sequence[str], listener: Listener
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._group = group
        self._topics = list(topics)
        self._listener = listener
        self._transactional_id = f"{group}-{uuid.uuid4().hex}"
        self._reading = Threads(1, "kafka-reading")
        self._writing = Threads(1, "kafka-writing")
        self._steps = 0  # that the producer's thread has taken
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._open: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}  # what comes after the last record delivered
        self._ends: dict[TopicPartition, int] = {}  # where the broker said the partition ends
        self._seeks: dict[TopicPartition, int] = {}
        self._consuming: asyncio.Future[list[Record]] | None = None
        self._paused = False
        self._pause_wanted = False
        self._away: KafkaError | None = None
        self._placed_at = time.monotonic()  # when we last had a partition
        self._heard_at = self._placed_at  # when we last heard of one, or looked why we did not
        self._behind: set[TopicPartition] = set()  # of which there was more then
        self._closed = False

    # The protocol

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            # Not cancelled with us, and kept: a caller that gives up waiting must not lose what was taken for him. It is handed out
            # before a partition that came back meanwhile is opened, of which it may hold what no longer counts.
            if self._consuming is None:
                try:
                    await self._settle()
                except Transient:
                    # The client tells us only while it is polled what the group has taken away. Unpolled, it would keep what we
                    # cannot open from those who could, and us at partitions that are long not ours.
                    if self._consumer is not None:
                        self._consuming = loop.run_in_executor(self._reading, self._consume, max_records, 0.0)
                    raise
                wait = max(0.0, min(POLL_SLICE_S, deadline - loop.time()))
                self._consuming = loop.run_in_executor(self._reading, self._consume, max_records, wait)
            try:
                records = await self._ended(self._consuming)
            except KafkaException as error:
                self._reset()  # what was taken before it failed is lost, and the client has gone on from there
                raise unknown("polling", error) from error
            self._consuming = None
            if records:
                last = {r[:2]: r.offset for r in records}  # a slice is a plain tuple, equal to a TopicPartition
                if not last.keys() <= self._open:
                    records = [r for r in records if r[:2] in self._open]
                for place, offset in last.items():
                    if place in self._open:
                        self._next[TopicPartition(*place)] = offset + 1
            if records:
                return records
            if loop.time() >= deadline:
                away, self._away = self._away, None
                if away is not None:
                    raise of_librdkafka(away, "polling")
                await self._settle()
                return []

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        self._check_owned(positions)

        def call() -> None:
            assert self._consumer is not None
            done = self._consumer.commit(offsets=_confluent(positions), asynchronous=False)
            for tp in done or ():
                if tp.error is not None:
                    raise KafkaException(tp.error)

        try:
            await self._read(call)
        except KafkaException as error:
            raise of_exception(error, "committing positions") from error

    async def transact(self, outputs: Sequence[Message], positions: Mapping[TopicPartition, int]) -> None:
        try:
            self._check_owned(positions)
            refuse_oversize(outputs)
            failure = await self._write(lambda: self._transact(outputs, positions))
            if failure is not None:
                raise failure
        except BaseException:  # given up is like failed: nobody has heard how it ended
            self._reset()
            raise

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        ours = {tp: offset for tp, offset in positions.items() if tp in self._open}
        if self._consuming is not None:  # a poll was given up: what it takes is dropped, so everything goes back
            self._consuming = None
            self._seeks |= {tp: self._next[tp] for tp in self._open if tp in self._next}
        self._seeks |= ours

    def pause(self) -> None:
        self._pause_wanted = True

    def resume(self) -> None:
        self._pause_wanted = False

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Other topics from now on; what is kept of the old ones stays as it is."""
        self._topics = list(topics)
        if self._consumer is not None:
            await self._read(self._subscribe)

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._open)

    async def lag(self) -> dict[TopicPartition, int]:
        ours = self.assignment
        ends = await self._admin.ends(ours)
        return {tp: max(0, ends[tp] - max(self._next.get(tp, 0), self._ends.get(tp, 0))) for tp in ours}

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True

        def end() -> None:
            if self._consumer is not None:
                with contextlib.suppress(KafkaException):
                    self._consumer.close()
            self._producer = None

        await self._read(end)
        self._reading.shutdown()
        self._writing.shutdown()

    # On the event loop

    async def _read(self, call: Callable[[], T]) -> T:
        """In the consumer's thread, to its end, even if our caller is cancelled meanwhile. Every call has a deadline of its
        own; one was seen to miss it by for ever (`metadata.recovery.strategy`). Such a thread cannot be ended, nor a consumer
        be closed that is in use: so the process goes, for a supervisor to start again."""
        return await self._ended(asyncio.get_running_loop().run_in_executor(self._reading, call))

    @staticmethod
    async def _ended(future: "asyncio.Future[T]") -> T:
        done, _ = await asyncio.wait([future], timeout=HANG_S)
        if not done:
            _log.critical("a call of the Kafka client hangs: this process ends")
            os._exit(os.EX_SOFTWARE)
        return future.result()

    async def _write(self, call: Callable[[], T]) -> T:
        """In the producer's thread, while the consumer's has nothing to do. Who does not come back from there is left behind, with
        its producer: the next one of the same id fences it, so it can write no more, whenever it wakes."""
        if self._consuming is not None:  # a poll was given up
            await asyncio.wait([self._consuming], timeout=HANG_S)
        future = asyncio.get_running_loop().run_in_executor(self._writing, call)
        waited, steps = 0.0, self._steps
        while True:
            done, _ = await asyncio.wait([future], timeout=LOOK_S)
            if done:
                return future.result()
            waited, steps = waited + LOOK_S if self._steps == steps else 0.0, self._steps
            if waited >= OVERDUE_S:
                _log.error("a transactional Kafka producer is replaced: a call of it does not come back")
                self._writing.shutdown()
                self._writing, self._producer = Threads(1, "kafka-writing"), None
                raise unknown("writing", "a call of the client does not come back")

    def _check_owned(self, positions: Iterable[TopicPartition]) -> None:
        lost = [tp for tp in positions if tp not in self._open]
        if lost:
            raise Fenced(f"no longer ours: {', '.join(f'{tp.topic}/{tp.partition}' for tp in lost)}")

    def _reset(self) -> None:
        """Nothing more is delivered of what we own until it was assigned again."""
        self._consuming = None
        self._fresh |= self._open
        self._open.clear()

    async def _settle(self) -> None:
        """Tells the listener what came and went, and opens what came."""
        try:
            await self._look_around()
            if self._producer is None:
                self._producer = await self._write(self._start)
            if self._consumer is None:
                await self._read(self._join)
            if self._gone:
                gone = sorted(self._gone)
                self._forget(gone)
                await self._listener.revoked(gone)
                self._gone.difference_update(gone)
            if self._fresh:
                await self._open_fresh()
            if self._seeks or self._paused != self._pause_wanted:
                await self._read(self._steer)
        except KafkaException as error:
            raise unknown("joining the group", error) from error

    async def _look_around(self) -> None:
        """A client that knows no broker any more says nothing, and waits for ever: it is replaced, once the log is there.
        It has no open partition then: those that it had before cannot be opened by it either. A member too many, which has
        none, knows one. One that has, and says nothing though there is more, is replaced where it knows none; else where there is
        more of the same at two looks: it reads no more.
        """
        now = time.monotonic()
        if self._open:
            self._placed_at = now
            if not self._paused and now - self._heard_at > LOST_S:
                await self._look_behind()
                self._heard_at = now  # where nobody answered, it is asked again at the next poll
        elif self._consumer is not None and now - self._placed_at > LOST_S:
            self._placed_at = now
            await self._admin.ping()
            await self._read(self._replace_lost)

    async def _look_behind(self) -> None:
        behind, before = {tp for tp, records in (await self.lag()).items() if records}, self._behind
        self._behind = behind
        if not behind:
            return
        silent = self._consumer
        await self._read(self._replace_lost)
        if self._consumer is silent and behind & before:
            self._behind = set()
            await self._read(lambda: self._replace_consumer(KafkaError(KafkaError._FAIL, "it reads no more")))

    async def _open_fresh(self) -> None:
        fresh = sorted(self._fresh)
        committed = await self._read(lambda: self._committed(fresh))
        without = [tp for tp in fresh if tp not in committed]
        committed |= await self._admin.starts(without)
        wanted = {**committed, **await self._listener.assigned(committed)}
        await self._read(lambda: self._start_reading(fresh, wanted))
        for tp in fresh:
            if tp in self._fresh:  # a rebalance may have been quicker
                self._fresh.discard(tp)
                self._open.add(tp)
                self._next[tp] = wanted[tp]
                self._ends.pop(tp, None)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            for place in (self._next, self._ends, self._seeks):
                place.pop(tp, None)

    # In the consumer's thread

    def _join(self) -> None:
        self._consumer = Consumer(group_reader(self._settings, self._group) | {"error_cb": self._on_error})
        self._subscribe()

    def _subscribe(self) -> None:
        assert self._consumer is not None
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            self._away = error

    def _on_assign(self, consumer: Consumer, partitions: list[ConfluentPartition]) -> None:
        # Any explicit offset will do: nothing is fetched before `_start_reading` seeks.
        given = [ConfluentPartition(tp.topic, tp.partition, 0) for tp in partitions]
        consumer.incremental_assign(given)
        consumer.pause(given)
        fresh = {TopicPartition(tp.topic, tp.partition) for tp in partitions}
        self._fresh |= fresh

    def _on_revoke(self, consumer: Consumer, partitions: list[ConfluentPartition]) -> None:
        gone = {TopicPartition(tp.topic, tp.partition) for tp in partitions}
        self._open -= gone
        self._fresh -= gone
        self._gone |= gone
        consumer.incremental_unassign(partitions)

    def _consume(self, max_records: int, wait_s: float) -> list[Record]:
        consumer = self._consumer
        assert consumer is not None
        records: list[Record] = []
        for messages in taken(consumer, max_records, wait_s):
            there = [record_of(message) for message in messages if not self._is_news(message)]
            if there:
                self._hear()
                records += there
            if self._consumer is not consumer:
                break  # replaced: the old one is closed
        return records

    def _hear(self) -> None:
        self._heard_at = time.monotonic()
        self._behind = set()

    def _is_news(self, message: Any) -> bool:
        """Whether it is no record but something that the client has to say, which is noted."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[TopicPartition(message.topic() or "", message.partition() or 0)] = message.offset() or 0
            self._hear()
        elif error.fatal():
            self._replace_consumer(error)
        elif not passes(error):
            _log.warning("Kafka, polling: %s", error)
            self._away = error
        return True

    def _replace_consumer(self, error: KafkaError) -> None:
        _log.error("a Kafka consumer is replaced: %s", error)
        old, self._consumer = self._consumer, None
        self._gone |= self._fresh | self._open
        self._fresh.clear()
        self._open.clear()
        if old is not None:
            with contextlib.suppress(KafkaException):
                old.close()

    def _replace_lost(self) -> None:
        if self._producer is not None and not knows_a_broker(self._producer):
            self._producer = None
        if self._consumer is not None and not knows_a_broker(self._consumer):
            self._replace_consumer(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    def _committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        assert self._consumer is not None
        self._consumer.pause(_plain(partitions))
        found = self._consumer.committed(_plain(partitions), CALL_TIMEOUT_S)
        for tp in found:
            if tp.error is not None:
                raise KafkaException(tp.error)
        return {TopicPartition(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def _start_reading(self, partitions: Sequence[TopicPartition], positions: Mapping[TopicPartition, int]) -> None:
        assert self._consumer is not None
        for tp in partitions:
            if tp in self._fresh:
                self._seek(tp, positions[tp])
        self._hear()
        if not self._paused:
            self._consumer.resume(_plain(tp for tp in partitions if tp in self._fresh))
            self._wake_fetchers(partitions)

    def _wake_fetchers(self, partitions: Iterable[TopicPartition]) -> None:
        """The client's threads sleep up to a second while nothing is fetched, and a resume does not wake them: any
        question to each partition's leader does."""
        assert self._consumer is not None
        with contextlib.suppress(KafkaException):
            self._consumer.offsets_for_times([ConfluentPartition(tp.topic, tp.partition, 0) for tp in partitions], 1.0)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        """The client takes a moment to start on a partition just assigned, and refuses to seek until then."""
        assert self._consumer is not None
        tries = int(SEEK_TIMEOUT_S / SEEK_PAUSE_S)
        while True:
            try:
                self._consumer.seek(ConfluentPartition(tp.topic, tp.partition, offset))
            except KafkaException as error:
                tries -= 1
                if error.args[0].code() != KafkaError._STATE or not tries:
                    raise
                time.sleep(SEEK_PAUSE_S)
            else:
                return

    def _steer(self) -> None:
        """What `seek`, `pause` and `resume` asked for."""
        assert self._consumer is not None
        ours = list(self._open)
        if self._paused != self._pause_wanted:
            self._paused = self._pause_wanted
            if self._paused:
                self._consumer.pause(_plain(ours))
            else:
                self._hear()
                self._consumer.resume(_plain(ours))
                self._wake_fetchers(ours)
        seeks, self._seeks = self._seeks, {}
        for tp, offset in seeks.items():
            if tp in self._open:
                self._seek(tp, offset)
                self._next[tp] = offset
                self._ends.pop(tp, None)
        if seeks:
            self._wake_fetchers(seeks)

    # In the producer's thread

    def _start(self) -> Producer:
        # A new one of the same id: whatever an old one left open is finished or aborted when this returns.
        producer = Producer(group_writer(self._settings, self._transactional_id))
        producer.init_transactions(START_TIMEOUT_S)
        return producer

    def _transact(self, outputs: Sequence[Message], positions: Mapping[TopicPartition, int]) -> FlywheelError | None:
        """None when it is committed; else what went wrong, with the transaction ended one way or the other."""
        producer, consumer = self._producer, self._consumer
        assert producer is not None
        assert consumer is not None
        try:
            producer.begin_transaction()
            produce = producer.produce
            for topic, key, value, headers in outputs:
                try:
                    produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
                except BufferError:  # the queue is full: what is in it goes first
                    self._steps += 1
                    producer.flush(CALL_TIMEOUT_S)
                    produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
            membership = consumer.consumer_group_metadata()
            if not consumer.memberid():  # expelled, and not told yet: a commit like that might pass for nobody's
                self._abort(producer, None)
                return Fenced("the group has expelled this member")
            self._steps += 1
            producer.send_offsets_to_transaction(_confluent(positions), membership, CALL_TIMEOUT_S)
            self._steps += 1
            self._commit(producer)
        except KafkaException as error:
            self._steps += 1
            reason = self._reason(producer, positions, error)
            self._abort(producer, reason.args[0])
            return of_exception(reason, "in a transaction", writing=True)
        except BufferError:
            self._abort(producer, None)
            return Transient("Kafka, in a transaction: its queue stays full")
        return None

    def _commit(self, producer: Producer) -> None:
        """Raises when any output of this transaction was refused."""
        producer.commit_transaction(CALL_TIMEOUT_S)

    def _reason(
        self, producer: Producer, positions: Mapping[TopicPartition, int], error: KafkaException
    ) -> KafkaException:
        """What really failed: a refused output that ends the transaction while another call is under way makes that call
        say "erroneous state", as if it could be tried again. The next call is told what was refused."""
        if error.args[0].code() != KafkaError._STATE or self._consumer is None:
            return error
        try:  # whatever it does is aborted
            producer.send_offsets_to_transaction(
                _confluent(positions), self._consumer.consumer_group_metadata(), CALL_TIMEOUT_S
            )
        except KafkaException as reason:
            return reason
        return error

    def _abort(self, producer: Producer, error: KafkaError | None) -> None:
        self._steps += 1
        if error is None or not error.fatal():
            with contextlib.suppress(KafkaException):
                producer.abort_transaction(CALL_TIMEOUT_S)
                return
        if self._producer is producer:  # else it was left behind
            _log.warning("a transactional Kafka producer is replaced: %s", error)
            self._producer = None


def _confluent(positions: Mapping[TopicPartition, int]) -> list[ConfluentPartition]:
    return [ConfluentPartition(tp.topic, tp.partition, offset) for tp, offset in positions.items()]


def _plain(partitions: Iterable[TopicPartition]) -> list[ConfluentPartition]:
    return [ConfluentPartition(tp.topic, tp.partition) for tp in partitions]
