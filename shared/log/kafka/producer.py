"""Appending for many callers at once: what waits for a partition goes in one write, answered together (aiokafka).

What the client does badly, and the rule here (each has its test in `tests/contracts/test_log_kafka.py`):

* A write that timed out may still land: callers get `Transient`, which means unknown, and never "not there".
* After a write that timed out, or failed for good, its idempotent producer may refuse every later one
  (`OutOfOrderSequenceNumber`): it is retired, takes nothing new, and a fresh one takes over.
* Its `send` expires nothing while the broker is away, and its `start` and `stop` may hang: every wait has a
  deadline, what waits is bounded in bytes, and an absent log is answered at once after `STALL_S`.
* It connects to whoever is there, also to one broker of three that can store nothing by itself: the log is back when a
  write was answered, and until then one call tries it while the others are told at once.
* One message too large fails the whole write it is in: sizes are looked at before, and where a topic allows less
  than we thought, the write is taken apart and each caller hears about his own.

One write is in flight for each broker, to all of its partitions that have something waiting: order is kept, and the next
one gathers while this one travels. A write each for partitions that are ready at different times would cost a
request each, and a request costs as much as ten records.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from shared.errors import FlywheelError, NoSuchTopic, Rejected, Transient
from shared.log import Headers, Message
from shared.log.kafka.errors import RETRY_AFTER_S, is_rejected, unknown
from shared.log.kafka.settings import KafkaSettings
from shared.log.partitioning import partition_of
from shared.tasks import keep
from shared.topics import MAX_MESSAGE_BYTES

STALL_S = 2.0  # no answer to a write, or no connection, for so long: the log is away
CALL_MAX_S = 10.0  # behind writes that are answered, only slowly
TICK_S = 0.1  # how often we look for a stall
DOUBT_S = 5.0  # so long after a write that was not answered, one call at a time tries whether the log is back
REQUEST_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5.0
CONNECT_PAUSE_S = 0.25
CLOSE_TIMEOUT_S = 5.0
BATCH_BYTES = 512 * 1024
WAITING_MAX_BYTES = 64 * 1024 * 1024
PARTITIONS_MAX_AGE_S = 60.0
# A batch's own header, and what a compressor adds to bytes that do not compress.
RECORD_MAX_BYTES = MAX_MESSAGE_BYTES - 1024
RECORD_OVERHEAD_BYTES = 40
HEADER_OVERHEAD_BYTES = 10
SMALL_MAX_BYTES = 64 * 1024
SMALL_OVERHEAD_BYTES = 1024  # what key and headers of ours take

_log = logging.getLogger("flywheel.kafka.producer")


def record_bytes(message: Message) -> int:
    """What this message takes in a batch, at most."""
    size = RECORD_OVERHEAD_BYTES + len(message.key or b"") + len(message.value)
    for name, value in message.headers:
        size += HEADER_OVERHEAD_BYTES + len(name) * 4 + len(value)
    return size


def refuse_oversize(messages: Sequence[Message]) -> int:
    """The bytes of all of them. Raises `Rejected` when one can never be stored."""
    total = 0
    for message in messages:
        # Only a large one is measured: of a small one the broker would say it, and the write be taken apart.
        size = len(message[2]) + SMALL_OVERHEAD_BYTES
        if size > SMALL_MAX_BYTES:
            size = record_bytes(message)
        if size > RECORD_MAX_BYTES:
            raise Rejected(f"a message of {size} bytes to {message.topic}: at most {RECORD_MAX_BYTES} fit")
        total += size
    return total


class _Call:
    """One `append`, until all of its messages have their answer."""

    __slots__ = ("answer", "left", "since")

    def __init__(self, answer: "asyncio.Future[None]", left: int, since: float) -> None:
        self.answer = answer
        self.left = left
        self.since = since

    def stored(self) -> None:
        self.left -= 1
        if not self.left and not self.answer.done():
            self.answer.set_result(None)

    def failed(self, error: FlywheelError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


_Entry = tuple[bytes | None, bytes, Headers, _Call]


class _Client:
    """One aiokafka producer, from its start to its retirement."""

    def __init__(self, producer: Any) -> None:
        self.producer = producer
        self.writes: Counter[int | None] = Counter()  # not answered yet, by the broker that they went to
        self.retired = False
        self.ending = False

    def leader(self, lane: "_Lane") -> int | None:
        """The broker that has this partition, as far as we know."""
        node: int | None = self.producer.client.cluster.leader_for_partition(TopicPartition(lane.topic, lane.partition))
        return node

    async def discard(self) -> None:
        """Whatever it still holds fails now: its own `stop` would first wait until everything has landed."""
        with contextlib.suppress(Exception):
            self.producer._message_accumulator.fail_all(KafkaError("retired"))
            if self.producer._sender.sender_task is not None:
                self.producer._sender.sender_task.cancel()
        for end in (self.producer.client.close, self.producer.stop):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await end()


class _Lane:
    """A partition: what waits for it, and the one write in flight."""

    __slots__ = ("client", "node", "partition", "retry", "sent_at", "topic", "waiting", "writing")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Entry] = deque()
        self.retry: deque[_Entry] = deque()  # goes before what waits, each alone
        self.writing: list[_Entry] = []
        self.client: _Client | None = None
        self.node: int | None = None
        self.sent_at = 0.0

    @property
    def oldest(self) -> float | None:
        first = self.retry or self.waiting
        return first[0][3].since if first else None


class KafkaProducer:
    """`shared.log.Producer`."""

    def __init__(self, settings: KafkaSettings, *, stall_s: float = STALL_S) -> None:
        self._options: dict[str, Any] = settings.aiokafka() | {
            "acks": "all",
            "enable_idempotence": True,
            # A batch holds what a few requests brought to one partition: there is little to gain by compressing it, and it
            # took a third of the time. The router's transactions, which are large, are compressed.
            "compression_type": None,
            "linger_ms": 0,  # gathering is done here
            "max_batch_size": BATCH_BYTES,
            "max_request_size": MAX_MESSAGE_BYTES + BATCH_BYTES,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": 20,
        }
        self._stall_s = stall_s
        self._client: _Client | None = None
        self._away_since: float | None = None  # without a connection, or without an answer since one was lost
        self._doubted_at: float | None = None
        self._trying: asyncio.Future[None] | None = None
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._ready: set[_Lane] = set()
        self._wake = asyncio.Event()
        self._partitions: dict[str, int] = {}
        self._partitions_at = 0.0
        self._waiting_bytes = 0
        self._keyless = itertools.count()
        self._ends: set[asyncio.Task[None]] = set()
        self._closed = False
        self._defect: BaseException | None = None
        self._needed = asyncio.Event()
        self._connected = asyncio.Event()
        self._alive = 0.0
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            keep(routine(), f"kafka-producer-{name}")
            for name, routine in (("connect", self._connect), ("write", self._write), ("watch", self._watch))
        ]
        for task in self._tasks:
            task.add_done_callback(self._broke)

    async def append(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        if self._closed:
            raise Transient("the producer is closed")
        if self._defect is not None:
            raise self._defect
        size = refuse_oversize(messages)
        if self._is_away():
            raise unknown("appending", "no broker answers")
        counts: dict[str, int] = {}
        for topic in {message.topic for message in messages}:
            counts[topic] = self._partitions.get(topic) or await self._find(topic)
        if self._waiting_bytes + size > WAITING_MAX_BYTES:
            raise Transient("Kafka, appending: too much is waiting already", retry_after=RETRY_AFTER_S)
        call = _Call(self._loop.create_future(), len(messages), self._alive)
        if self._away_since is not None and (self._trying is None or self._trying.done()):
            self._trying = call.answer
        for topic, key, value, headers in messages:
            partitions = counts[topic]
            number = partition_of(key, partitions) if key is not None else next(self._keyless) % partitions
            lane = self._lanes.get((topic, number))
            if lane is None:
                lane = self._lanes[topic, number] = _Lane(topic, number)
            lane.waiting.append((key, value, headers, call))
            if lane.client is None:
                self._ready.add(lane)
        self._wake.set()
        self._waiting_bytes += size
        try:
            await call.answer
        finally:
            self._waiting_bytes -= size

    async def close(self) -> None:
        """What is in flight gets its answer, within the deadline; then nothing is left running."""
        if self._closed:
            return
        self._closed = True
        lanes = self._lanes.values()
        entries = itertools.chain.from_iterable((*lane.writing, *lane.retry, *lane.waiting) for lane in lanes)
        answers = {call.answer for _, _, _, call in entries}
        if answers:
            await asyncio.wait(answers, timeout=self._stall_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            client, self._client = self._client, None
            await client.discard()
        for lane in self._lanes.values():
            self._fail(lane, unknown("appending", "the producer was closed"))
        if self._ends:
            await asyncio.wait(self._ends, timeout=2 * CLOSE_TIMEOUT_S)

    # Which partitions there are

    async def _find(self, topic: str) -> int:
        """How many partitions. Raises `Rejected` when there is no such topic."""
        asking = self._loop.create_task(self._ask(topic))
        deadline = self._alive + self._stall_s
        try:
            while not asking.done():
                if self._alive > deadline:
                    raise unknown("asking for the topics", "no broker answers")
                await asyncio.wait([asking], timeout=TICK_S)
        finally:
            asking.cancel()
        count = self._partitions[topic] = asking.result()
        return count

    async def _ask(self, topic: str) -> int:
        await self._connected.wait()
        assert self._client is not None
        try:
            cluster = await self._client.producer.client.fetch_all_metadata()
        except KafkaError as error:
            raise unknown("asking for the topics", error) from error
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise NoSuchTopic(f"there is no topic {topic}")
        return len(numbers)

    # Three routines: one keeps a client, one writes, one watches the time

    async def _connect(self) -> None:
        """A client whenever there is none. aiokafka's own start may hang for ever, so it has a deadline."""
        self._away_since = self._alive
        while not self._closed:  # the client may swallow our cancellation
            candidate = _Client(AIOKafkaProducer(**self._options))
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await candidate.producer.start()
            except (KafkaError, TimeoutError, OSError) as error:
                _log.warning("no connection to Kafka yet: %r", error)
                await candidate.discard()
                await asyncio.sleep(CONNECT_PAUSE_S)
                continue
            except BaseException:
                await candidate.discard()
                raise
            self._client = candidate
            if self._doubted_at is None:
                self._away_since = None
            self._connected.set()
            self._ready.update(lane for lane in self._lanes.values() if lane.waiting or lane.retry)
            self._wake.set()
            self._needed.clear()
            await self._needed.wait()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            lanes, self._ready = self._ready, set()
            client = self._client
            busy = frozenset(client.writes) if client is not None else frozenset[int | None]()
            for lane in lanes:
                client = self._client  # may go while we write; `_connect` has every lane written again
                if client is None or lane.client is not None:
                    continue
                node = client.leader(lane)
                if node in busy:
                    self._ready.add(lane)
                else:
                    await self._write_one(lane, client, node)

    async def _write_one(self, lane: _Lane, client: _Client, node: int | None) -> None:
        """As much of what waits as one write takes."""
        batch = client.producer.create_batch()
        taken: list[_Entry] = []
        source = lane.retry or lane.waiting
        while source:
            key, value, headers, call = source[0]
            if not call.answer.done():
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    break
                taken.append(source[0])
            source.popleft()
            if source is lane.retry and taken:
                break
        if not taken:
            return
        lane.writing, lane.client, lane.sent_at = taken, client, self._alive
        lane.node = node
        client.writes[node] += 1
        sending = client.producer.send_batch(batch, lane.topic, partition=lane.partition)
        try:
            if node is None:
                # Suspends only while the topic's metadata are unknown: of a client that is being ended, for ever.
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    sent = await sending
            else:
                sent = await sending
        except (KafkaError, AssertionError, TimeoutError) as error:
            # An assertion: the partition is not known (any more).
            self._answered(lane, client, error)
            return
        sent.add_done_callback(lambda done: self._answered(lane, client, _error_of(done)))

    def _answered(self, lane: _Lane, client: _Client, error: BaseException | None) -> None:
        if lane.client is not client:  # given up when its client had ended
            return
        taken, lane.writing, lane.client = lane.writing, [], None
        client.writes[lane.node] -= 1
        if not client.writes[lane.node]:
            del client.writes[lane.node]
            self._wake.set()  # whoever waited for this broker
        if error is None:
            if client is self._client:
                self._away_since = self._doubted_at = None
            for _, _, _, call in taken:
                call.stored()
        else:
            self._retire(client, error)
            self._partitions.pop(lane.topic, None)
            if not is_rejected(error):
                for _, _, _, call in taken:
                    call.failed(unknown("appending", error))
            elif len(taken) == 1:
                taken[0][3].failed(Rejected(f"{lane.topic} does not take this message: {error!r}"))
            else:
                lane.retry.extend(taken)
        if client.retired and not client.writes:
            self._discard(client)
        if lane.waiting or lane.retry:
            self._ready.add(lane)
            self._wake.set()

    async def _watch(self) -> None:
        """Time counts only while the event loop turns: an answer that waits in a busy process of ours is no stall."""
        before = self._loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            elapsed, before = self._loop.time() - before, self._loop.time()
            self._alive += min(elapsed, 2 * TICK_S)
            now = self._alive
            late = now - self._stall_s
            for lane in self._lanes.values():
                if lane.client is not None and lane.sent_at < late:
                    self._retire(lane.client, TimeoutError(f"no answer within {self._stall_s} s"))
                    self._discard(lane.client)
                    self._fail(lane, unknown("appending", "no answer in time"))
                oldest = lane.oldest
                if oldest is not None and oldest < (now - CALL_MAX_S if self._away_since is None else late):
                    self._fail(lane, unknown("appending", "no broker answers in time"))
            if self._client is not None and now - self._partitions_at > PARTITIONS_MAX_AGE_S:
                self._partitions_at = now
                cluster = self._client.producer.client.cluster
                known = ((topic, cluster.partitions_for_topic(topic)) for topic in self._partitions)
                self._partitions = {topic: len(numbers) for topic, numbers in known if numbers}

    # Endings

    def _is_away(self) -> bool:
        if self._away_since is None or self._alive - self._away_since <= self._stall_s:
            return False
        if self._client is None:
            return True
        is_doubted = self._doubted_at is not None and self._alive - self._doubted_at < DOUBT_S
        return is_doubted and self._trying is not None and not self._trying.done()

    def _retire(self, client: _Client, why: BaseException) -> None:
        """It gets nothing new. Writes of other partitions that it has in flight may still end well."""
        if client.retired:
            return
        client.retired = True
        _log.warning("a Kafka producer is replaced: %r", why)
        if self._client is client:
            self._client, self._doubted_at = None, self._alive
            if self._away_since is None:
                self._away_since = self._alive
            self._connected.clear()
            self._needed.set()

    def _discard(self, client: _Client) -> None:
        if client.ending:
            return
        client.ending = True
        task = self._loop.create_task(self._end(client), name="kafka-producer-discard")
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _end(self, client: _Client) -> None:
        """What it had in flight and never answered is given up: a partition that waited for it was seen to wait for good."""
        await client.discard()
        for lane in self._lanes.values():
            if lane.client is client:
                self._answered(lane, client, KafkaError("retired"))

    def _broke(self, task: "asyncio.Task[None]") -> None:
        """A routine ended by itself: a defect. The process ends of it, and until then every caller hears of it."""
        if not task.cancelled():
            self._defect = task.exception()

    @staticmethod
    def _fail(lane: _Lane, error: FlywheelError) -> None:
        """Everybody who waits for this partition; what is in flight there is forgotten when its client ends."""
        for entries in (lane.writing, lane.retry, lane.waiting):
            for _, _, _, call in entries:
                call.failed(error)
        lane.retry.clear()
        lane.waiting.clear()


def _error_of(done: "asyncio.Future[Any]") -> BaseException | None:
    return KafkaError("cancelled") if done.cancelled() else done.exception()
