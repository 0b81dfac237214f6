"""Topics and what lies on them, on either log: made, counted, filled, read back by a committed reader."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from shared.log import Log, Message, Reader, Record, TopicPartition
from shared.log.choose import open_log
from shared.settings import Settings, read_settings
from shared.topics import DEFAULT_PARTITIONS, Topic

APPEND = 2000
APPENDS_AT_ONCE = 4
TIMEOUT_S = 15.0


def settings_of(env: Mapping[str, str]) -> Settings:
    return read_settings({"FLYWHEEL_SECRET": "bench", **env})


@asynccontextmanager
async def opened(env: Mapping[str, str]) -> AsyncIterator[Log]:
    log = await open_log(settings_of(env))
    try:
        yield log
    finally:
        await log.close()


async def create(env: Mapping[str, str], names: Iterable[str], partitions: int = DEFAULT_PARTITIONS) -> None:
    """With the settings that our own topics have, so that nobody is measured on others."""
    async with opened(env) as log:
        await log.ensure_topics([Topic(name, None, partitions) for name in names])


async def fill(env: Mapping[str, str], messages: Sequence[Message]) -> None:
    async with opened(env) as log:
        producer = await log.producer()
        batches = [messages[i : i + APPEND] for i in range(0, len(messages), APPEND)]
        try:
            for i in range(0, len(batches), APPENDS_AT_ONCE):
                await asyncio.gather(*(producer.append(batch) for batch in batches[i : i + APPENDS_AT_ONCE]))
        finally:
            await producer.close()


def clear(bootstrap: str) -> None:
    """Every topic of a Kafka of our own goes, with the groups that read them: a service that starts on a fresh database
    would otherwise first take up what was measured before."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    groups = [group.group_id for group in admin.list_consumer_groups().result(TIMEOUT_S).valid]
    if groups:
        for deleted in admin.delete_consumer_groups(groups).values():
            deleted.result(TIMEOUT_S)
    topics = [name for name in admin.list_topics(timeout=TIMEOUT_S).topics if not name.startswith("__")]
    if topics:
        for deleted in admin.delete_topics(topics).values():
            deleted.result(TIMEOUT_S)


async def stored_records(env: Mapping[str, str], topics: Sequence[str]) -> int:
    """How many committed records lie there, read one by one (an offset may be a control record's)."""
    return len((await read_back(env, topics)).timestamps)


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a committed reader saw: the ids, and when each was appended, in order of time."""

    ids: list[str]
    timestamps: list[int]

    @property
    def distinct(self) -> int:
        return len(set(self.ids))

    def rate(self, skip: float = 0.1) -> float:
        """Records a second from the moment that a tenth of them was there: no start-up, no first connection."""
        stamps = self.timestamps
        first = stamps[int(len(stamps) * skip)]
        after = sum(1 for stamp in stamps if stamp > first)
        return after / ((stamps[-1] - first) / 1000) if stamps[-1] > first else float("nan")


Bounds = dict[TopicPartition, int]


async def ends(env: Mapping[str, str], topics: Sequence[str]) -> Bounds:
    """Where each partition ends now."""
    async with opened(env) as log:
        reader = await log.reader()
        try:
            return {tp: (await reader.bounds(tp))[1] for tp in await _partitions(reader, topics)}
        finally:
            await reader.close()


async def read_back(env: Mapping[str, str], topics: Sequence[str], since: Bounds | None = None) -> ReadBack:
    ids: list[str] = []
    timestamps: list[int] = []
    async for records in scan(env, topics, since):
        for record in records:
            ids.append(next((value.decode() for name, value in record.headers if name == "ce_id"), ""))
            timestamps.append(record.timestamp_ms)
    timestamps.sort()
    return ReadBack(ids, timestamps)


async def scan(
    env: Mapping[str, str], topics: Sequence[str], since: Bounds | None = None
) -> AsyncIterator[list[Record]]:
    async with opened(env) as log:
        reader = await log.reader()
        try:
            for tp in await _partitions(reader, topics):
                first, end = await reader.bounds(tp)
                async for records in reader.scan(tp, max(first, (since or {}).get(tp, first)), end):
                    yield records
        finally:
            await reader.close()


async def _partitions(reader: Reader, topics: Sequence[str]) -> list[TopicPartition]:
    return [TopicPartition(topic, n) for topic in topics for n in range(await reader.partitions(topic))]
