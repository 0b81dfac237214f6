"""The log on a real Kafka: aiokafka where one client appends for many callers or reads for a database, confluent-kafka
where a transaction must hold and where speed or exact offsets matter.

Why two clients: aiokafka 0.14 loses records inside a transaction that says it succeeded, has no fencing by the group,
and leaves an aborted transaction open, so the router's work is confluent-kafka's. Each module opens with what its
client does badly and the rule that holds here. Retention, sizes and times are the topic's: `admin.topic_config`.
"""

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import TypeVar

from shared.log import Listener, TopicPartition, Unlike
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.consumer import KafkaConsumer
from shared.log.kafka.producer import KafkaProducer
from shared.log.kafka.reader import KafkaReader
from shared.log.kafka.settings import KafkaSettings
from shared.log.kafka.transactional import KafkaTransactionalConsumer
from shared.topics import Topic

__all__ = ["KafkaLog", "KafkaSettings"]

_Opened = KafkaProducer | KafkaConsumer | KafkaTransactionalConsumer | KafkaReader
T = TypeVar("T", bound=_Opened)


class KafkaLog:
    """`shared.log.Log`. `close` also closes what was opened here and is still open."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = KafkaAdmin(settings)
        self._opened: weakref.WeakSet[_Opened] = weakref.WeakSet()

    @classmethod
    async def open(
        cls, bootstrap: str, env: Mapping[str, str] | None = None, *, may_be_away: bool = False
    ) -> "KafkaLog":
        """Raises `Transient` when no broker answers, if that matters already, `Misuse` when the settings cannot be."""
        log = cls(KafkaSettings.from_env(bootstrap, env or {}))
        try:
            if not may_be_away:
                await log.ping()
        except BaseException:
            await log.close()
            raise
        return log

    async def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        return await self._admin.ensure_topics(topics)

    async def unlike(self, topics: Sequence[Topic]) -> list[Unlike]:
        return await self._admin.unlike(topics)

    async def mend(self, unlike: Sequence[Unlike]) -> None:
        await self._admin.mend(unlike)

    async def topics(self) -> dict[str, int]:
        return await self._admin.topics()

    async def producer(self) -> KafkaProducer:
        """At once; it connects by itself, now and whenever the brokers were away."""
        return self._keep(KafkaProducer(self._settings))

    async def consumer(self, group: str, topics: Sequence[str], listener: Listener) -> KafkaConsumer:
        """At once; it joins the group at the first `poll`."""
        return self._keep(KafkaConsumer(self._settings, self._admin, group, topics, listener))

    async def transactional(self, group: str, topics: Sequence[str], listener: Listener) -> KafkaTransactionalConsumer:
        """At once; it joins the group at the first `poll`."""
        return self._keep(KafkaTransactionalConsumer(self._settings, self._admin, group, topics, listener))

    async def reader(self) -> KafkaReader:
        return self._keep(KafkaReader(self._settings, self._admin))

    async def lag(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """As Kafka's own tools count it: control records behind the last position count as one each."""
        counts = await self._admin.topics()
        partitions = [TopicPartition(topic, n) for topic in topics for n in range(counts.get(topic, 0))]
        committed = await self._admin.committed(group, partitions)
        starts = await self._admin.starts(tp for tp in partitions if tp not in committed)
        ends = await self._admin.ends(partitions)
        return {tp: max(0, ends[tp] - committed.get(tp, starts.get(tp, 0))) for tp in partitions}

    async def ping(self) -> None:
        await self._admin.ping()

    async def close(self) -> None:
        endings = await asyncio.gather(*(part.close() for part in self._opened), return_exceptions=True)
        self._admin.close()
        for ending in endings:
            if isinstance(ending, BaseException):
                raise ending

    def _keep(self, part: T) -> T:
        self._opened.add(part)
        return part
