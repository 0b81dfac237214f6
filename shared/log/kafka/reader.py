"""Reading without a group: rebuilding, tailing, replaying (confluent-kafka, `assign()`ed, committed records only).

Each `scan` and `follow` has a client and a thread of its own, which reads ahead while the caller works. A partition
may end in control records, which have offsets but are never delivered: a scan ends at `stop` or where the broker says
that the partition ends, never by waiting for an offset.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition

from shared.errors import Misuse, Transient
from shared.log import Record, TopicPartition
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.errors import of_exception, of_librdkafka, passes
from shared.log.kafka.records import record_of
from shared.log.kafka.settings import KafkaSettings

REQUEST_TIMEOUT_S = 10.0
SCAN_RECORDS = 10_000
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
        self._threads = ThreadPoolExecutor(1, "kafka-reader")

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
            found = self._asker.offsets_for_times(wanted, REQUEST_TIMEOUT_S)[0]
            if found.error is not None:
                raise KafkaException(found.error)
            return int(found.offset)

        try:
            offset = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except KafkaException as error:
            raise of_exception(error, "asking for an offset by time") from error
        # Nothing that late: −1, which means the end and not the start. Retention may have passed by meanwhile.
        return end if offset < 0 else max(first, min(offset, end))

    async def scan(
        self, tp: TopicPartition, start: int, stop: int, *, values: bool = True
    ) -> AsyncIterator[list[Record]]:
        # From behind the end the client would go back to the first record, as its reset policy says.
        first, end = await self.bounds(tp)
        start, stop = max(start, first), min(stop, end)
        if start >= stop:
            return
        feed = _Feed(self._config, [ConfluentPartition(tp.topic, tp.partition, start)])
        try:
            idle_since = asyncio.get_running_loop().time()
            while True:
                records, ended = await feed.next(SCAN_RECORDS, SCAN_WAIT_S)
                now = asyncio.get_running_loop().time()
                if records:
                    idle_since = now
                    ended = ended or records[-1].offset >= stop - 1
                    while records and records[-1].offset >= stop:
                        records.pop()
                    if records:
                        yield records
                if ended:
                    return
                if now - idle_since > SCAN_STALL_S:
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
        loop = asyncio.get_running_loop()
        try:
            breath = loop.time()
            while True:
                records, _ = await feed.next(SCAN_RECORDS, BREATHE_S)
                if records or loop.time() - breath >= FOLLOW_WAIT_S:
                    breath = loop.time()
                    yield records
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
        self._threads.shutdown(wait=False)


class _Feed:
    """One client on assigned partitions, in its own thread, one list ahead of its caller."""

    def __init__(self, config: dict[str, Any], partitions: list[ConfluentPartition]) -> None:
        self._config = config
        self._partitions = partitions
        self._open = {tp.partition for tp in partitions}
        self._consumer: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, "kafka-feed")
        self._ahead: asyncio.Future[tuple[list[Record], bool]] | None = None

    async def next(self, most: int, wait_s: float) -> tuple[list[Record], bool]:
        """Records, and whether every partition has been seen to its end."""
        loop = asyncio.get_running_loop()
        if self._ahead is None:
            self._ahead = loop.run_in_executor(self._thread, self._read, most, wait_s)
        answer = await asyncio.shield(self._ahead)
        self._ahead = None if answer[1] else loop.run_in_executor(self._thread, self._read, most, wait_s)
        return answer

    def _read(self, most: int, wait_s: float) -> tuple[list[Record], bool]:
        consumer = self._consumer
        if consumer is None:
            consumer = self._consumer = Consumer(self._config)
            consumer.assign(self._partitions)
        # The first one is waited for; then whatever is there already, without a wait for the list to fill.
        messages = consumer.consume(1, wait_s)
        if messages:
            messages += consumer.consume(most, 0)
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(record_of(message))
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                self._open.discard(message.partition())
            elif error.fatal() or not passes(error):
                raise of_librdkafka(error, "reading")
        return records, not self._open

    async def close(self) -> None:
        def end() -> None:
            if self._consumer is not None:
                self._consumer.close()

        if self._ahead is not None and not self._ahead.cancel() and not self._ahead.cancelled():
            self._ahead.exception()  # nobody asks any more
        with contextlib.suppress(KafkaException):
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, end))
        self._thread.shutdown(wait=False)
