"""Topics as the contract wants them, and where everybody stands (confluent-kafka's admin client).

Its calls block or answer by `concurrent.futures`, so all of them run in threads of ours. Each has a deadline of its own,
but not for the time that it queues behind others: so the waiting has one too.

Two of its calls end the whole process (librdkafka 2.16, each seen): `describe_cluster` when the answer names no broker, as a lone
one's does that has stood still, and `list_consumer_group_offsets` when the one that is asked no longer coordinates the
group (its issue 5040). So we ask whether the log is there by listing topics, and for positions by a consumer that joins nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from shared.errors import Misuse, Transient
from shared.log import TopicPartition, Unlike
from shared.log.kafka.errors import RETRY_AFTER_S, of_exception
from shared.log.kafka.settings import LOST_S, KafkaSettings
from shared.log.kafka.threads import Threads
from shared.topics import MAX_MESSAGE_BYTES, Topic

PING_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 15.0
"""For a call and what it queues behind."""
VISIBLE_TIMEOUT_S = 15.0
VISIBLE_PAUSE_S = 0.05
STABLE_TIMEOUT_S = 1.0
THREADS = 4
STALE_TRIES = 3
STALE_PAUSE_S = 0.2
OPERATORS_CHOICE = {"compression.type"}
STALE = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
)
UNSETTLED = (KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError._TIMED_OUT)
NOT_THERE = (
    KafkaError._NOENT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._PARTIAL)

T = TypeVar("T")


def topic_config(topic: Topic) -> dict[str, str]:
    """A topic's settings by the contract; the compression is the producer's (lz4)."""
    retention_ms = -1 if topic.retention is None else int(topic.retention.total_seconds() * 1000)
    return {
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(retention_ms),
        "unclean.leader.election.enable": "false",
        "compression.type": "producer",
        "cleanup.policy": "delete",
    }


class KafkaAdmin:
    def __init__(self, settings: KafkaSettings) -> None:
        self._options = settings.librdkafka() | {"socket.timeout.ms": 5_000}
        self._client = AdminClient(self._options)
        self._askers: dict[tuple[str, bool], Consumer] = {}
        self._unanswered_since: float | None = None
        self._threads = Threads(THREADS, "kafka-admin")
        self._ping_thread = Threads(1, "kafka-ping")

    async def _call(self, doing: str, call: Callable[[], T]) -> T:
        """Raises `KafkaException` as it comes."""
        return await self._answered(doing, self._threads, call, ANSWER_TIMEOUT_S)

    async def _answered(self, doing: str, threads: Threads, call: Callable[[], T], seconds: float) -> T:
        began = time.monotonic()
        try:
            found = await _in_time(doing, threads, call, seconds)
        except (KafkaException, Transient) as error:
            if isinstance(error, Transient) or error.args[0].code() in NO_ANSWER:
                self._note_no_answer(began)
            raise
        self._unanswered_since = None
        return found

    def _note_no_answer(self, began: float) -> None:
        """A client that knows no broker any more would be asked in vain for ever: after a while a new one is asked."""
        if self._unanswered_since is None:
            self._unanswered_since = began
        if time.monotonic() - self._unanswered_since >= LOST_S:
            self._unanswered_since = None
            old = [self._client, self._askers]
            self._client, self._askers = AdminClient(self._options), {}
            self._threads.submit(old.clear)  # their end may take a while, and is waited for by who lets them go last

    async def _run(self, doing: str, call: Callable[[], T]) -> T:
        try:
            return await self._call(doing, call)
        except KafkaException as error:
            raise of_exception(error, doing) from error

    async def ping(self) -> None:
        """In a thread of its own: the others may all be waiting for a broker that does not answer."""

        def call() -> None:
            self._client.list_topics(timeout=PING_TIMEOUT_S)

        doing = "asking whether it is there"
        try:
            await self._answered(doing, self._ping_thread, call, PING_TIMEOUT_S)
        except KafkaException as error:
            raise of_exception(error, doing) from error

    async def topics(self) -> dict[str, int]:
        found = await self._run("listing topics", lambda: self._client.list_topics(timeout=REQUEST_TIMEOUT_S))
        return {
            name: len(topic.partitions)
            for name, topic in found.topics.items()
            if topic.error is None and not name.startswith("__")
        }

    async def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        there = await self.topics()
        missing = {topic.name: topic for topic in topics if topic.name not in there}
        created = await self._run("creating topics", lambda: self._create(missing.values())) if missing else []
        await self._until_visible(missing)
        return created

    async def unlike(self, topics: Sequence[Topic]) -> list[Unlike]:
        there = await self.topics()
        existing = [topic for topic in topics if topic.name in there]
        if not existing:
            return []
        set_now = await self._run("asking for topics' settings", lambda: self._settings([t.name for t in existing]))
        found = []
        for topic in existing:
            wanted = {name: value for name, value in topic_config(topic).items() if name not in OPERATORS_CHOICE}
            found += [
                Unlike(topic.name, name, now, value)
                for name, value in wanted.items()
                if (now := set_now[topic.name].get(name, "")) != value
            ]
            if there[topic.name] != topic.partitions:
                found.append(
                    Unlike(topic.name, "partitions", str(there[topic.name]), str(topic.partitions), mendable=False)
                )
        return found

    def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._client.describe_configs(asked, request_timeout=REQUEST_TIMEOUT_S)
        return {
            resource.name: {name: entry.value for name, entry in answer.result(REQUEST_TIMEOUT_S).items()}
            for resource, answer in answers.items()
        }

    async def mend(self, unlike: Sequence[Unlike]) -> None:
        by_topic: dict[str, list[Unlike]] = {}
        for one in unlike:
            if one.mendable:
                by_topic.setdefault(one.topic, []).append(one)

        def call() -> None:
            wanted = [
                ConfigResource(
                    ResourceType.TOPIC,
                    topic,
                    incremental_configs=[
                        ConfigEntry(one.setting, one.wanted, incremental_operation=AlterConfigOpType.SET)
                        for one in some
                    ],
                )
                for topic, some in by_topic.items()
            ]
            for answer in self._client.incremental_alter_configs(wanted, request_timeout=REQUEST_TIMEOUT_S).values():
                answer.result(REQUEST_TIMEOUT_S)

        if by_topic:
            await self._run("setting topics", call)

    def _create(self, topics: Iterable[Topic]) -> list[str]:
        wanted = [
            NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, config=topic_config(topic))
            for topic in topics
        ]
        created = []
        answers = self._client.create_topics(wanted, operation_timeout=REQUEST_TIMEOUT_S)
        for name, answer in answers.items():
            try:
                answer.result(REQUEST_TIMEOUT_S)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.TOPIC_EXCEPTION:
                    raise Misuse(f"Kafka refuses the topic name {name!r}") from error
                if code != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was first
                    raise
            else:
                created.append(name)
        return created

    async def _until_visible(self, wanted: Iterable[str]) -> None:
        """A topic just created is not yet in every broker's metadata, and may have no leader."""
        left = set(wanted)
        deadline = asyncio.get_running_loop().time() + VISIBLE_TIMEOUT_S
        while left:
            found = await self._run("listing topics", lambda: self._client.list_topics(timeout=REQUEST_TIMEOUT_S))
            for name in list(left):
                topic = found.topics.get(name)
                if topic and topic.partitions and all(part.leader >= 0 for part in topic.partitions.values()):
                    left.discard(name)
            if left and asyncio.get_running_loop().time() > deadline:
                raise Transient(f"created, but not visible yet: {', '.join(sorted(left))}")
            if left:
                await asyncio.sleep(VISIBLE_PAUSE_S)

    async def delete_topics(self, names: Sequence[str]) -> None:
        """For tests and benchmarks, which clean up; nothing in the product deletes a topic."""

        def call() -> None:
            for answer in self._client.delete_topics(list(names)).values():
                with contextlib.suppress(KafkaException):
                    answer.result(REQUEST_TIMEOUT_S)

        await self._run("deleting topics", call)

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last committed record of each (control records count as records here)."""
        return await self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that is kept."""
        return await self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    async def _offsets(self, partitions: Iterable[TopicPartition], spec: Any) -> dict[TopicPartition, int]:
        wanted = {ConfluentPartition(tp.topic, tp.partition): spec for tp in partitions}
        if not wanted:
            return {}

        def call() -> dict[TopicPartition, int]:
            answers = self._client.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=REQUEST_TIMEOUT_S
            )
            found = {
                TopicPartition(tp.topic, tp.partition): answer.result(REQUEST_TIMEOUT_S).offset
                for tp, answer in answers.items()
            }
            # A negative offset, which no client takes for a position, was once met after a broker's restart; where it came
            # from was not seen, and this is the likeliest place.
            if min(found.values()) < 0:
                raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
            return found

        doing = "asking for offsets"
        absent: list[ConfluentPartition] = []
        for _ in range(STALE_TRIES):
            try:
                return await self._call(doing, call)
            except KafkaException as error:
                failure = error
            code = failure.args[0].code()
            if code not in STALE + NOT_THERE:
                break
            # The client would go on asking by what it knew of the leaders before; told of them anew, it does not. One that
            # has just lost a partition, or has yet to hear that it leads it, says that there is none.
            there = await self.topics()
            if code in NOT_THERE:
                absent = [tp for tp in wanted if tp.partition >= there.get(tp.topic, 0)]
            # The controller names a leader before that one knows of it.
            await asyncio.sleep(STALE_PAUSE_S)
        if code in NOT_THERE and absent:
            raise Misuse(f"there is no such partition: {', '.join(f'{tp.topic}/{tp.partition}' for tp in absent)}")
        raise of_exception(failure, doing) from failure

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's positions; a partition without one is not in the answer. One that a transaction is about to move is
        waited for, but not for long: a dead member's may stay open for seconds, then the old position is the answer."""
        wanted = [ConfluentPartition(tp.topic, tp.partition) for tp in partitions]
        if not wanted:
            return {}

        def call() -> dict[TopicPartition, int]:
            try:
                found = self._asker(group, stable=True).committed(wanted, STABLE_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in UNSETTLED:
                    raise
                found = None
            if found is None or any(tp.error is not None and tp.error.code() in UNSETTLED for tp in found):
                found = self._asker(group, stable=False).committed(wanted, REQUEST_TIMEOUT_S)
            for tp in found:
                if tp.error is not None:
                    raise KafkaException(tp.error)
            return {TopicPartition(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

        return await self._run("asking for a group's positions", call)

    def _asker(self, group: str, *, stable: bool) -> Consumer:
        """It knows the group's coordinator, and is no member."""
        askers = self._askers
        if (group, stable) not in askers:
            isolation = "read_committed" if stable else "read_uncommitted"
            config = self._options | {"group.id": group, "enable.auto.commit": False, "isolation.level": isolation}
            askers[group, stable] = Consumer(config)  # where two threads make one, the first is let go
        return askers[group, stable]

    def close(self) -> None:
        self._threads.submit(self._askers.clear)
        self._threads.shutdown()
        self._ping_thread.shutdown()


async def _in_time(doing: str, threads: Threads, call: Callable[[], T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(threads, call)
    except TimeoutError as error:  # ours, or the call's own
        raise Transient(f"Kafka, {doing}: no answer within {seconds:g} s", retry_after=RETRY_AFTER_S) from error
