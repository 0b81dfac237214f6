"""Reading without a group: rebuilding, tailing, replaying (confluent-kafka, `assign()`ed, committed records only).

Each `scan`, `scan_headers` and `follow` has a client of its own, which fetches ahead while the caller works. A partition
may end in control records, which have offsets but are never delivered: a scan ends at `stop` or where the broker says
that the partition ends, never by waiting for an offset.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ConfluentPartition

from shared.errors import Misuse, Transient
from shared.log import Columns, Record, TopicPartition
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.errors import of_exception, of_librdkafka, passes
from shared.log.kafka.records import TAKE_RECORDS, columns_of, record_of
from shared.log.kafka.settings import LOST_S, KafkaSettings, knows_a_broker
from shared.log.kafka.threads import Threads

REQUEST_TIMEOUT_S = 10.0
SCAN_WAIT_S = 0.02
# Nothing at all for so long, not even the end of the partition: the log is away.
SCAN_STALL_S = 15.0
FOLLOW_WAIT_S = 1.0
BREATHE_S = 0.05


class KafkaReader:
    """`shared.log.Reader`."""

    def __init__(self, settings: KafkaSettings, admin: KafkaAdmin) -> None:
        self._admin = admin
        self._config = settings.librdkafka() | {
            "group.id": "flywheel-reader",  # the client wants one; nothing is committed and no group is joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 32 * 1024,
        }
        self._asker: Consumer | None = None
        self._closed = False
        self._threads = Threads(1, "kafka-reader")

    async def partitions(self, topic: str) -> int:
        return (await self._admin.topics()).get(topic, 0)

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        starts, ends = await asyncio.gather(self._admin.starts([tp]), self._admin.ends([tp]))
        return starts[tp], ends[tp]

    async def offset_at(self, tp: TopicPartition, timestamp_ms: int) -> int:
        first, end = await self.bounds(tp)

        def ask() -> int:
            if self._asker is None:
                self._asker = Consumer(self._config)
            wanted = [ConfluentPartition(tp.topic, tp.partition, max(0, timestamp_ms))]
            try:
                found = self._asker.offsets_for_times(wanted, REQUEST_TIMEOUT_S)[0]
            except KafkaException:
                asker, self._asker = self._asker, None  # it may know no broker any more
                asker.close()
                raise
            if found.error is not None:
                raise KafkaException(found.error)
            return int(found.offset)

        try:
            offset = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except KafkaException as error:
            raise of_exception(error, "asking for an offset by time") from error
        # Nothing that late: −1, which means the end and not the start. Retention may have passed by meanwhile.
        return end if offset < 0 else max(first, min(offset, end))

    async def scan(self, tp: TopicPartition, start: int, stop: int) -> AsyncIterator[list[Record]]:
        async with aclosing(self._scan(tp, start, stop)) as lists:
            async for messages in lists:
                yield [record_of(message) for message in messages]

    async def scan_headers(
        self, tp: TopicPartition, start: int, stop: int, names: Sequence[str]
    ) -> AsyncIterator[Columns]:
        async with aclosing(self._scan(tp, start, stop)) as lists:
            async for messages in lists:
                yield columns_of(messages, names)

    async def _scan(self, tp: TopicPartition, start: int, stop: int) -> AsyncGenerator[list[Message], None]:
        # From behind the end the client would go back to the first record, as its reset policy says.
        first, end = await self.bounds(tp)
        start, stop = max(start, first), min(stop, end)
        if start >= stop:
            return
        clock = asyncio.get_running_loop().time
        feed = _Feed(self._config, [ConfluentPartition(tp.topic, tp.partition, start)])
        try:
            idle_since = clock()
            while True:
                messages, ended = await feed.next(SCAN_WAIT_S)
                if messages:
                    idle_since = clock()
                    if (messages[-1].offset() or 0) >= stop - 1:
                        messages = [message for message in messages if (message.offset() or 0) < stop]
                        ended = True
                    if messages:
                        yield messages
                if ended:
                    return
                if clock() - idle_since > SCAN_STALL_S:
                    raise Transient(f"nothing more of {tp.topic}/{tp.partition} comes")
        finally:
            await feed.close()

    async def follow(self, topic: str, start: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        count = await self.partitions(topic)
        if not count:
            raise Misuse(f"there is no topic {topic}")
        feed = _Feed(
            self._config,
            [ConfluentPartition(topic, number, start.get(number, OFFSET_BEGINNING)) for number in range(count)],
        )
        clock = asyncio.get_running_loop().time
        try:
            breath = heard = clock()
            while True:
                messages, _ = await feed.next(BREATHE_S)
                if messages:
                    heard = clock()
                elif clock() - heard > LOST_S:
                    heard = clock()
                    await feed.look_around()
                if messages or clock() - breath >= FOLLOW_WAIT_S:
                    breath = clock()
                    yield [record_of(message) for message in messages]
        finally:
            await feed.close()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True

        def end() -> None:
            if self._asker is not None:
                self._asker.close()

        await asyncio.get_running_loop().run_in_executor(self._threads, end)
        self._threads.shutdown()


class _Feed:
    """One client on assigned partitions. It fetches ahead in threads of its own; a thread of ours is only needed where a
    call may wait. What is there already is taken on the event loop, a few messages at a time: two threads of Python that
    hand each other every few messages are slower than one (measured: 9 s of CPU for a million records instead of 5).
    """

    def __init__(self, config: dict[str, Any], partitions: list[ConfluentPartition]) -> None:
        self._config = config
        self._partitions = partitions
        self._open = {tp.partition for tp in partitions}
        self._consumer: Consumer | None = None
        self._thread = Threads(1, "kafka-feed")

    async def next(self, wait_s: float) -> tuple[list[Message], bool]:
        """The next messages, and whether every partition has been seen to its end."""
        found: list[Message] = []
        if self._consumer is not None:
            await asyncio.sleep(0)  # the others of this process have their turn
            found = self._consumer.consume(TAKE_RECORDS, 0)
        if not found:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._wait, wait_s)
        messages = [message for message in found if message.error() is None]
        if len(messages) < len(found):
            self._look_at(found)
        return messages, not self._open

    async def look_around(self) -> None:
        """Raises `Transient` when the client knows no broker: then nothing would ever come."""
        consumer = self._consumer
        if consumer is not None:
            loop = asyncio.get_running_loop()
            if not await loop.run_in_executor(self._thread, knows_a_broker, consumer):
                raise Transient("Kafka, following: no broker answers")

    def _wait(self, wait_s: float) -> list[Message]:
        """For the first one: `consume(n, t)` would wait all of t unless n came."""
        if self._consumer is None:
            consumer = Consumer(self._config)
            consumer.assign(self._partitions)
            self._consumer = consumer
        return self._consumer.consume(1, wait_s)

    def _look_at(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                self._open.discard(message.partition())
            elif error.fatal() or not passes(error):
                raise of_librdkafka(error, "reading")

    async def close(self) -> None:
        def end() -> None:
            if self._consumer is not None:
                self._consumer.close()

        with contextlib.suppress(KafkaException):
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, end))
        self._thread.shutdown()
