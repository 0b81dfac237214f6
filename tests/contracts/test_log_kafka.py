"""What the Kafka clients were seen to do badly, each as a test of our layer over them, on a real broker.

Where a client's own script showed the harm (a record lost in a commit, a zombie that writes, an abort that becomes
visible), the same input goes through our log here, and a committed reader is the judge.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from shared.errors import Fenced, Misuse, Rejected, Transient
from shared.log import Message, Record, TopicPartition
from shared.log.kafka import KafkaLog, KafkaSettings
from shared.log.kafka.consumer import REVOKE_WAIT_S, KafkaConsumer, consumer_options
from shared.log.kafka.producer import RECORD_MAX_BYTES, KafkaProducer, record_bytes
from shared.log.kafka.settings import group_reader, group_writer
from shared.log.kafka.transactional import KafkaTransactionalConsumer
from shared.log.partitioning import partition_of
from shared.topics import MAX_MESSAGE_BYTES, Topic

pytestmark = pytest.mark.kafka

PATIENCE_S = 30.0


class Seen:
    """A listener that remembers."""

    def __init__(self, elsewhere: Mapping[TopicPartition, int] | None = None) -> None:
        self.assignments: list[dict[TopicPartition, int]] = []
        self.revocations: list[list[TopicPartition]] = []
        self.elsewhere = elsewhere or {}

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        self.assignments.append(dict(positions))
        return {tp: self.elsewhere.get(tp, offset) for tp, offset in positions.items()}

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.revocations.append(list(partitions))


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(kafka_bootstrap)
    yield log
    await log.close()


@pytest.fixture
async def producer(log: KafkaLog) -> AsyncIterator[KafkaProducer]:
    producer = await log.producer()
    yield producer
    await producer.close()


async def new_topic(log: KafkaLog, partitions: int = 1) -> str:
    name = f"t-{uuid4().hex[:10]}"
    await log.ensure_topics([Topic(name, timedelta(days=1), partitions)])
    return name


def narrow_topic(bootstrap: str, limit: int = 1000) -> str:
    """A topic that takes less than we think: not one of ours."""
    name = f"narrow-{uuid4().hex[:10]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = NewTopic(name, num_partitions=1, replication_factor=1, config={"max.message.bytes": str(limit)})
    admin.create_topics([wanted])[name].result(10)
    return name


def plain(topic: str, *values: bytes, key: bytes | None = b"k") -> list[Message]:
    return [Message(topic, key, value, []) for value in values]


async def everything(log: KafkaLog, topic: str, at_least: int = 0) -> list[Record]:
    """What a committed reader sees now; `at_least` so many, which have been committed: the broker acknowledges a commit
    a moment before its records become visible."""
    reader = await log.reader()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found: list[Record] = []
            for number in range(await reader.partitions(topic)):
                async for records in reader.scan(TopicPartition(topic, number), 0, 2**62):
                    found += records
            if len(found) >= at_least:
                break
    await reader.close()
    return found


async def values(log: KafkaLog, topic: str, at_least: int = 0) -> list[bytes]:
    return [record.value for record in await everything(log, topic, at_least)]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"still waiting: {what}"
        await asyncio.sleep(0.02)


async def take(consumer: KafkaConsumer | KafkaTransactionalConsumer, count: int, most: int = 1000) -> list[Record]:
    found: list[Record] = []
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while len(found) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of {count} records came"
        found += await consumer.poll(most, 0.5)
    return found


def after(records: Sequence[Record]) -> dict[TopicPartition, int]:
    return {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}


def copied(records: Sequence[Record], target: str) -> list[Message]:
    return [Message(target, r.key, r.value, r.headers) for r in records]


# Settings that are wrong by default


def test_no_client_keeps_a_default_that_loses_records() -> None:
    settings = KafkaSettings("127.0.0.1:1")
    plainly = consumer_options(settings, "g")
    assert plainly["enable_auto_commit"] is False
    assert plainly["auto_offset_reset"] == "earliest"
    assert plainly["isolation_level"] == "read_committed"
    assert not [name for name in plainly if "deserializer" in name]
    assert REVOKE_WAIT_S * 1000 + 2_000 < plainly["rebalance_timeout_ms"] < plainly["request_timeout_ms"] <= 10_000
    assert plainly["max_poll_interval_ms"] >= 900_000  # a map is read anew between two polls
    reading = group_reader(settings, "g")
    assert reading["enable.auto.commit"] is False
    assert reading["enable.auto.offset.store"] is False
    assert reading["auto.offset.reset"] == "earliest"
    assert reading["isolation.level"] == "read_committed"
    assert reading["partition.assignment.strategy"] == "cooperative-sticky"
    assert reading["fetch.queue.backoff.ms"] <= 10
    assert reading["max.poll.interval.ms"] >= 900_000
    assert "session.timeout.ms" not in group_reader(KafkaSettings("b", group_protocol="consumer"), "g")
    writing = group_writer(settings, "id")
    assert writing["partitioner"] == "murmur2_random"
    assert 5_000 <= writing["transaction.timeout.ms"] <= 10_000


async def test_the_producer_asks_for_all_acknowledgements_and_is_idempotent(producer: KafkaProducer) -> None:
    await until(lambda: producer._client is not None, "a connection")
    assert producer._client is not None
    client = producer._client.producer
    assert client._sender._acks == -1
    assert client._txn_manager is not None
    assert client._key_serializer is None
    assert client._value_serializer is None


def test_security_settings_reach_both_clients() -> None:
    env = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": "ingest",
        "KAFKA_SASL_PASSWORD": "s3cret",
    }
    settings = KafkaSettings.from_env("broker:9092", env)
    assert "s3cret" not in repr(settings)
    one, other = settings.aiokafka(), settings.librdkafka()
    assert one["security_protocol"] == other["security.protocol"] == "SASL_PLAINTEXT"
    assert one["sasl_mechanism"] == other["sasl.mechanism"] == "SCRAM-SHA-256"
    assert one["sasl_plain_username"] == other["sasl.username"] == "ingest"
    assert one["sasl_plain_password"] == other["sasl.password"] == "s3cret"
    assert "ssl_context" in KafkaSettings("b", security_protocol="SSL").aiokafka()
    assert "sasl.username" not in KafkaSettings("b").librdkafka()


@pytest.mark.parametrize(
    "env",
    [
        {"KAFKA_SECURITY_PROTOCOL": "TLS"},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        {"KAFKA_SASL_MECHANISM": "MD5"},
        {"KAFKA_GROUP_PROTOCOL": "eager"},
    ],
)
def test_settings_that_cannot_be_are_refused_with_their_name(env: dict[str, str]) -> None:
    with pytest.raises(Misuse, match="KAFKA_"):
        KafkaSettings.from_env("broker:9092", env)


# Appending


async def test_one_message_too_large_for_its_topic_is_refused_alone(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    topic = narrow_topic(kafka_bootstrap)
    sizes = [100, 200, 5000, 300, 400]
    messages = [Message(topic, b"k", os.urandom(size), []) for size in sizes]
    answers = await asyncio.gather(*(producer.append([message]) for message in messages), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), type(None), Rejected, type(None), type(None)]
    assert [len(value) for value in await values(log, topic)] == [100, 200, 300, 400]


async def test_a_message_at_our_limit_is_stored_and_one_above_it_refused_before_anything_is_sent(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    topic = await new_topic(log)
    empty = record_bytes(Message(topic, b"k", b"", [("ce_id", b"1")]))
    largest = Message(topic, b"k", os.urandom(RECORD_MAX_BYTES - empty), [("ce_id", b"1")])
    await producer.append([largest])
    with pytest.raises(Rejected):
        await producer.append([*plain(topic, b"small"), largest._replace(value=largest.value + b"x")])
    assert await values(log, topic) == [largest.value]


async def test_appending_to_a_topic_that_is_not_there_is_refused(producer: KafkaProducer) -> None:
    with pytest.raises(Rejected, match="no topic"):
        await producer.append(plain("nobody-made-this", b"x"))


async def test_a_producer_that_lost_its_sequence_is_replaced(log: KafkaLog, producer: KafkaProducer) -> None:
    topic = await new_topic(log)
    await producer.append(plain(topic, b"before"))
    assert producer._client is not None
    broken = producer._client
    # As after a write that the client dropped when it had timed out: a hole that the broker refuses for ever.
    broken.producer._txn_manager.increment_sequence_number((topic, 0), 5)
    with contextlib.suppress(Transient):
        await producer.append(plain(topic, b"unknown"))
    await producer.append(plain(topic, b"after"))
    assert producer._client is not broken
    found = await values(log, topic)
    assert found[0] == b"before"
    assert found[-1] == b"after"


async def test_both_clients_put_a_key_into_the_same_partition(log: KafkaLog, producer: KafkaProducer) -> None:
    source, target = await new_topic(log, 6), await new_topic(log, 6)
    keys = [os.urandom(1 + n % 40) for n in range(200)]
    await producer.append([Message(source, key, key, []) for key in keys])
    consumer = await log.transactional(f"g-{source}", [source], Seen())
    records = await take(consumer, len(keys))
    await consumer.transact(copied(records, target), after(records))
    await consumer.close()
    for topic in (source, target):
        placed = {record.value: record.partition for record in await everything(log, topic, len(keys))}
        assert placed == {key: partition_of(key, 6) for key in keys}


# Transactions


async def test_an_output_that_the_broker_refuses_fails_the_transaction_and_moves_no_position(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    source, narrow, target = await new_topic(log), narrow_topic(kafka_bootstrap), await new_topic(log)
    await producer.append(plain(source, b"1", b"2"))
    seen = Seen()
    consumer = await log.transactional(f"g-{source}", [source], seen)
    records = await take(consumer, 2)
    outputs = [*plain(target, b"aborted"), *plain(narrow, os.urandom(5000))]
    with pytest.raises(Rejected):
        await consumer.transact(outputs, after(records))
    place = TopicPartition(source, 0)
    assert await log.lag(f"g-{source}", [source]) == {place: 2}
    # Back at the committed position, and the listener was told so.
    again = await take(consumer, 2)
    assert [r.offset for r in again] == [r.offset for r in records]
    assert seen.assignments == [{place: 0}, {place: 0}]
    # An abort must stay one, also when the next transaction of the same producer commits.
    await consumer.transact(plain(target, b"committed"), after(again))
    assert await values(log, target, 1) == [b"committed"]
    assert await values(log, narrow) == []
    assert await consumer.lag() == {place: 0}
    await consumer.close()


async def test_an_output_refused_while_the_others_are_still_being_written_is_named_as_the_reason(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    """The client's call that is under way says "erroneous state" then, which would be tried again for ever."""
    source, narrow, target = await new_topic(log), narrow_topic(kafka_bootstrap), await new_topic(log)
    await producer.append(plain(source, b"1"))
    consumer = await log.transactional(f"g-{source}", [source], Seen())
    records = await take(consumer, 1)
    outputs = [*plain(narrow, os.urandom(5000)), *plain(target, *([b"aborted"] * 100_000))]
    with pytest.raises(Rejected, match=narrow):
        await consumer.transact(outputs, after(records))
    await consumer.close()


@pytest.mark.timeout(120)
async def test_a_zombie_whose_client_knows_that_it_was_expelled_writes_nothing(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    """Its client has no member id any more, and a commit without one could pass for one that no group asked for.
    (A zombie that does not know yet, or stopped just before its commit: `test_log.py`.)"""
    source, target = await new_topic(log), await new_topic(log)
    group = f"g-{source}"
    await producer.append(plain(source, *(b"%d" % n for n in range(10))))
    zombie = await start_member(kafka_bootstrap, group, source, target, "before-transact")
    assert zombie.stdout is not None
    assert await asyncio.wait_for(zombie.stdout.readline(), PATIENCE_S) == b"stopping\n"
    # The twin takes over once the group has given the stopped one up.
    twin = await log.transactional(group, [source], Seen())
    records = await take(twin, 10)
    await twin.transact(copied(records, target), after(records))
    zombie.send_signal(signal.SIGCONT)
    outcome = await asyncio.wait_for(zombie.stdout.readline(), PATIENCE_S)
    await zombie.wait()
    assert outcome.startswith(b"Fenced the group has expelled")
    await producer.append(plain(source, b"last"))
    records = await take(twin, 1)
    await twin.transact(copied(records, target), after(records))
    await twin.close()
    assert await values(log, target, 11) == [*(b"%d" % n for n in range(10)), b"last"]


@pytest.mark.timeout(120)
async def test_what_a_killed_router_left_open_hides_others_no_longer_than_its_timeout(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    source, target = await new_topic(log), await new_topic(log)
    await producer.append(plain(source, b"1"))
    router = await start_member(kafka_bootstrap, f"g-{source}", source, target, "before-commit", timeout_ms=2000)
    assert router.stdout is not None
    assert await asyncio.wait_for(router.stdout.readline(), PATIENCE_S) == b"stopping\n"
    router.kill()
    await router.wait()
    await producer.append(plain(target, b"behind"))
    # 2 s, and the broker's own round, which is seconds on a busy machine; librdkafka's default would be 60.
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (seen := await values(log, target)) != [b"behind"]:
        assert asyncio.get_running_loop().time() < deadline, f"seen: {seen}"
        await asyncio.sleep(0.1)


async def start_member(
    bootstrap: str, group: str, source: str, target: str, where: str, timeout_ms: int = 4000
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contracts.kafka_member",
        *(bootstrap, group, source, target, where, str(timeout_ms)),
        stdout=asyncio.subprocess.PIPE,
    )


async def test_positions_of_a_partition_that_is_not_ours_are_fenced(log: KafkaLog, producer: KafkaProducer) -> None:
    source, target = await new_topic(log), await new_topic(log)
    await producer.append(plain(source, b"1"))
    consumer = await log.transactional(f"g-{source}", [source], Seen())
    records = await take(consumer, 1)
    with pytest.raises(Fenced):
        await consumer.transact(copied(records, target), {TopicPartition(source, 7): 1})
    assert await values(log, target) == []
    assert len(await take(consumer, 1)) == 1
    await consumer.close()


async def test_a_poll_that_was_given_up_loses_nothing(log: KafkaLog, producer: KafkaProducer) -> None:
    source = await new_topic(log)
    consumer = await log.transactional(f"g-{source}", [source], Seen())
    await until_assigned(consumer)
    given_up = asyncio.create_task(consumer.poll(100, 20))
    await asyncio.sleep(0)
    await producer.append(plain(source, b"1"))
    given_up.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        assert [r.value for r in await given_up] == [b"1"]
        return
    assert [r.value for r in await take(consumer, 1)] == [b"1"]
    await consumer.close()


async def until_assigned(consumer: KafkaConsumer | KafkaTransactionalConsumer) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not consumer.assignment:
        assert asyncio.get_running_loop().time() < deadline, "no partition was assigned"
        await consumer.poll(1, 0.1)


async def test_the_newer_group_protocol_works_with_transactions(kafka_bootstrap: str, log: KafkaLog) -> None:
    newer = await KafkaLog.open(kafka_bootstrap, {"KAFKA_GROUP_PROTOCOL": "consumer"})
    source, target = await new_topic(log, 2), await new_topic(log)
    writer = await log.producer()
    await writer.append([Message(source, b"%d" % n, b"%d" % n, []) for n in range(50)])
    one = await newer.transactional(f"g-{source}", [source], Seen())
    records = await take(one, 50)
    await one.transact(copied(records, target), after(records))
    other = await newer.transactional(f"g-{source}", [source], Seen())
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not (len(one.assignment) == len(other.assignment) == 1):
        assert asyncio.get_running_loop().time() < deadline, "the two did not share"
        await asyncio.gather(one.poll(1, 0.1), other.poll(1, 0.1))
    await writer.append([Message(source, b"%d" % n, b"%d" % n, []) for n in range(50, 100)])
    async with asyncio.timeout(PATIENCE_S):
        while any((await newer.lag(f"g-{source}", [source])).values()):
            for member in (one, other):
                if records := await member.poll(100, 0.2):
                    await member.transact(copied(records, target), after(records))
    assert sorted(map(int, await values(log, target, 100))) == list(range(100))
    for part in (one, other, writer, newer):
        await part.close()


# The plain consumer


async def test_no_record_comes_before_the_listener_has_answered_and_then_from_where_it_said(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    source = await new_topic(log)
    await producer.append(plain(source, *(b"%d" % n for n in range(10))))
    answer = asyncio.Event()

    class Slow(Seen):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            await answer.wait()
            return await super().assigned(positions)

    for open_consumer in (log.consumer, log.transactional):
        answer.clear()
        slow = Slow({TopicPartition(source, 0): 7})
        consumer = await open_consumer(f"g-{uuid4()}", [source], slow)
        polling = asyncio.create_task(take(consumer, 3))
        done, _ = await asyncio.wait([polling], timeout=2.0)
        assert not done
        answer.set()
        assert [r.value for r in await polling] == [b"7", b"8", b"9"]
        await consumer.close()


async def test_what_a_listener_raises_reaches_the_caller(log: KafkaLog) -> None:
    source = await new_topic(log)

    class Failing(Seen):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            raise LookupError("no positions for these")

    for open_consumer in (log.consumer, log.transactional):
        consumer = await open_consumer(f"g-{uuid4()}", [source], Failing())
        with pytest.raises(LookupError):
            await until_assigned(consumer)
        await consumer.close()


@pytest.mark.parametrize("task", ["_coordinator._coordination_task", "_fetcher._fetch_task"])
async def test_a_consumer_whose_background_task_ended_is_replaced(
    log: KafkaLog, producer: KafkaProducer, task: str
) -> None:
    source = await new_topic(log)
    await producer.append(plain(source, b"1"))
    consumer = await log.consumer(f"g-{source}", [source], Seen())
    records = await take(consumer, 1)
    await consumer.commit(after(records))
    broken = consumer._client
    owner, name = task.split(".")
    getattr(getattr(broken, owner), name).cancel()
    await producer.append(plain(source, b"2"))
    assert [r.value for r in await take(consumer, 1)] == [b"2"]
    assert consumer._client is not broken
    await consumer.close()


async def test_a_partition_that_does_not_move_though_there_is_more_of_it_has_the_client_replaced(
    log: KafkaLog, producer: KafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await new_topic(log)
    await producer.append(plain(source, b"1"))
    consumer = await log.consumer(f"g-{source}", [source], Seen())
    records = await take(consumer, 1)
    await consumer.commit(after(records))
    broken = consumer._client
    state = broken._subscription.subscription.assignment.state_value(AioPartition(source, 0))
    await until(lambda: state.lso == 1, "the client has heard where the partition ends")
    # Alive, and never fetching again: as a client was seen to be after its broker's restart.
    broken._fetcher._get_actions_per_node = lambda assignment: ([], {}, 0.1, False, [])
    consumer.seek({TopicPartition(source, 0): 0})
    monkeypatch.setattr("shared.log.kafka.consumer.STUCK_S", 0.5)
    await producer.append(plain(source, b"2"))
    assert [r.value for r in await take(consumer, 1)] == [b"2"]
    assert consumer._client is not broken
    await consumer.close()


async def test_a_transactional_member_that_reads_no_more_though_there_is_more_gets_another_client(
    log: KafkaLog, producer: KafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await new_topic(log)
    await producer.append(plain(source, b"1"))
    member = await log.transactional(f"g-{source}", [source], Seen())
    await member.transact([], after(await take(member, 1)))
    monkeypatch.setattr("shared.log.kafka.transactional.LOST_S", 0.5)
    broken = member._consumer
    assert broken is not None
    # It goes on beating, and fetches nothing.
    await member._read(lambda: broken.pause([ConfluentPartition(source, 0)]))
    await producer.append(plain(source, b"2"))
    assert [r.value for r in await take(member, 1)] == [b"2"]
    assert member._consumer is not broken
    settled = member._consumer
    with contextlib.suppress(TimeoutError):  # for longer than two looks take: there is nothing more
        async with asyncio.timeout(2.0):
            await take(member, 1)
    assert member._consumer is settled
    await member.close()


async def test_a_partition_whose_turn_has_not_come_is_not_taken_for_stuck(
    log: KafkaLog, producer: KafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await new_topic(log, 3)
    await producer.append([Message(source, b"%d" % n, b"%d" % n, []) for n in range(300)])
    monkeypatch.setattr("shared.log.kafka.consumer.STUCK_S", 0.0)
    seen = Seen()
    consumer = await log.consumer(f"g-{source}", [source], seen)
    records = await take(consumer, 300, most=1)  # the last partition stands still until the others are through
    assert sorted(int(r.value) for r in records) == list(range(300))
    assert seen.revocations == []
    await consumer.close()


async def test_a_record_larger_than_what_is_fetched_of_a_partition_comes_all_the_same(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    source = await new_topic(log)
    large = os.urandom(MAX_MESSAGE_BYTES - 4096)
    for value in (b"before", large, b"after"):
        await producer.append(plain(source, value))
    consumer = await log.consumer(f"g-{source}", [source], Seen())
    assert [r.value for r in await take(consumer, 3)] == [b"before", large, b"after"]
    await consumer.close()


async def polled_for(seconds: float, *consumers: KafkaConsumer) -> list[Record]:
    """What comes meanwhile. Each in a task of its own, as in processes of their own."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds

    async def keep(consumer: KafkaConsumer) -> list[Record]:
        found = []
        while clock() < deadline:
            found += await consumer.poll(100, 0.2)
        return found

    return [record for found in await asyncio.gather(*map(keep, consumers)) for record in found]


SHORT_S = 2.0


async def short_lived(log: KafkaLog, group: str, topic: str) -> KafkaConsumer:
    """One whose client leaves the group as soon as it was idle for `SHORT_S`."""
    consumer = await log.consumer(group, [topic], Seen())
    consumer._options["max_poll_interval_ms"] = int(SHORT_S * 1000)
    return consumer


async def test_a_member_paused_for_longer_than_a_poll_may_take_goes_on_when_resumed(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    source = await new_topic(log)
    consumer = await short_lived(log, f"g-{source}", source)
    await until_assigned(consumer)
    consumer.pause()
    await producer.append(plain(source, b"1"))
    assert await polled_for(2 * SHORT_S, consumer) == []
    consumer.resume()
    assert [r.value for r in await take(consumer, 1)] == [b"1"]
    await consumer.close()


async def test_a_member_without_partitions_is_there_when_one_is_free_however_long_that_took(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    source = await new_topic(log)
    members = [await short_lived(log, f"g-{source}", source) for _ in range(2)]
    while sum(len(member.assignment) for member in members) != 1:
        await polled_for(0.5, *members)
    await polled_for(2 * SHORT_S, *members)
    owner, spare = sorted(members, key=lambda member: not member.assignment)
    assert not spare.assignment
    await owner.close()
    await producer.append(plain(source, b"1"))
    assert [r.value for r in await take(spare, 1)] == [b"1"]
    await spare.close()


async def test_a_poll_ends_in_time_while_the_group_shares_out_anew(log: KafkaLog, producer: KafkaProducer) -> None:
    """The client waits for the group without end, and the group for us: each rebalance stood still for five seconds if
    a record came just then."""
    source = await new_topic(log)
    consumer = await log.consumer(f"g-{source}", [source], Seen())
    await until_assigned(consumer)
    client = consumer._client
    client._subscription.begin_reassignment()
    async with asyncio.timeout(PATIENCE_S):
        assert await consumer.poll(1, 0.5) == []
    client._coordinator.request_rejoin()
    await producer.append(plain(source, b"1"))
    assert [r.value for r in await take(consumer, 1)] == [b"1"]
    await consumer.close()


async def test_a_partition_taken_and_given_back_while_it_was_being_opened_is_told_in_that_order(
    log: KafkaLog, producer: KafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told that it was revoked when it was open already, its owner would drop all that came of it."""
    source = await new_topic(log)
    place = TopicPartition(source, 0)
    await producer.append(plain(source, b"1"))
    monkeypatch.setattr("shared.log.kafka.consumer.REVOKE_WAIT_S", 0.1)
    inside, go_on = asyncio.Event(), asyncio.Event()
    told = []

    class Slow(Seen):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            inside.set()
            await go_on.wait()
            told.append("assigned")
            return await super().assigned(positions)

        async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
            told.append("revoked")

    consumer = await log.consumer(f"g-{source}", [source], Slow())
    taking = asyncio.create_task(take(consumer, 1))
    await asyncio.wait_for(inside.wait(), PATIENCE_S)
    consumer._client._coordinator.request_rejoin()  # as when another member comes
    await until(lambda: place in consumer._gone and place in consumer._fresh, "the partition is taken and given back")
    go_on.set()
    assert [r.value for r in await taking] == [b"1"]
    assert told == ["assigned", "revoked", "assigned"]
    await consumer.close()


async def test_a_consumer_may_be_steered_right_after_it_was_given_other_topics(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    """The client has no partition then, and fails whoever names one."""
    source, other = await new_topic(log), await new_topic(log)
    places = {TopicPartition(topic, 0): 0 for topic in (source, other)}
    for topic in (source, other):
        await producer.append(plain(topic, b"1"))
    consumer = await log.consumer(f"g-{source}", [source], Seen())
    await take(consumer, 1)
    await consumer.subscribe([source, other])
    consumer.pause()
    consumer.seek(places)
    consumer.resume()
    assert await consumer.lag() == {}
    with pytest.raises(Fenced):
        await consumer.commit(dict.fromkeys(places, 1))
    assert {(r.topic, r.offset) for r in await take(consumer, 2)} == {(source, 0), (other, 0)}
    await consumer.close()


async def test_a_consumer_may_be_given_other_topics_while_its_partitions_are_being_opened(
    log: KafkaLog, producer: KafkaProducer
) -> None:
    source, other = await new_topic(log), await new_topic(log)
    await producer.append(plain(other, b"1"))
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Seen):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            inside.set()
            await go_on.wait()
            return await super().assigned(positions)

    consumer = await log.consumer(f"g-{source}", [source], Slow())
    taking = asyncio.create_task(take(consumer, 1))
    await asyncio.wait_for(inside.wait(), PATIENCE_S)
    await consumer.subscribe([other])
    go_on.set()
    assert [r.value for r in await taking] == [b"1"]
    await consumer.close()


async def test_bytes_that_nobody_can_read_are_delivered_as_they_are(log: KafkaLog, producer: KafkaProducer) -> None:
    source = await new_topic(log)
    poison = [b"\xff\xfe{", b"", b"\x00", b"NaN"]
    await producer.append(plain(source, *poison))
    for open_consumer in (log.consumer, log.transactional):
        consumer = await open_consumer(f"g-{uuid4()}", [source], Seen())
        assert [r.value for r in await take(consumer, 4)] == poison
        await consumer.close()


# Where a partition begins and ends


async def test_control_records_at_the_end_keep_nobody_waiting(log: KafkaLog, producer: KafkaProducer) -> None:
    source, target = await new_topic(log), await new_topic(log)
    await producer.append(plain(source, b"1", b"2"))
    router = await log.transactional(f"g-{source}", [source], Seen())
    for _ in range(2):
        records = await take(router, 1, most=1)
        await router.transact(copied(records, target), after(records))
    await router.close()
    await everything(log, target, 2)
    reader = await log.reader()
    first, end = await reader.bounds(TopicPartition(target, 0))
    found = [r async for records in reader.scan(TopicPartition(target, 0), first, end) for r in records]
    assert [(r.offset, r.value) for r in found] == [(0, b"1"), (2, b"2")]
    assert end == 4
    # Behind the end, and between the last record and the end: nothing, and at once.
    for start in (3, 4, 99):
        assert [r async for r in reader.scan(TopicPartition(target, 0), start, 2**40)] == []
    await reader.close()
    for open_consumer in (log.consumer, log.transactional):
        consumer = await open_consumer(f"g-{uuid4()}", [target], Seen())
        await take(consumer, 2)
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while await consumer.lag() != {TopicPartition(target, 0): 0}:
            assert asyncio.get_running_loop().time() < deadline, "control records count as lag for ever"
            await consumer.poll(1, 0.1)
        await consumer.close()


async def test_a_time_that_has_not_come_is_the_end_and_one_long_gone_the_first_record_kept(
    kafka_bootstrap: str, log: KafkaLog, producer: KafkaProducer
) -> None:
    topic = await new_topic(log)
    place = TopicPartition(topic, 0)
    for value in (b"1", b"2", b"3", b"4"):
        await producer.append(plain(topic, value))
    records = await everything(log, topic)
    reader = await log.reader()
    assert await reader.offset_at(place, records[-1].timestamp_ms + 3_600_000) == 4
    assert await reader.offset_at(place, records[2].timestamp_ms) <= 2
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for done in admin.delete_records([ConfluentPartition(topic, 0, 2)]).values():
        done.result(10)
    assert await reader.offset_at(place, 0) == 2
    assert await reader.bounds(place) == (2, 4)
    assert [r.value async for records in reader.scan(place, 0, 4) for r in records] == [b"3", b"4"]
    await reader.close()


async def test_topics_are_made_as_the_contract_says_and_a_race_is_no_error(kafka_bootstrap: str, log: KafkaLog) -> None:
    name = f"t-{uuid4().hex[:10]}"
    made = await asyncio.gather(*(log.ensure_topics([Topic(name, timedelta(days=7))]) for _ in range(4)))
    assert sorted(map(len, made)) == [0, 0, 0, 1]
    assert (await log.topics())[name] == 6
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    resource = ConfigResource("topic", name)
    config = {k: v.value for k, v in admin.describe_configs([resource])[resource].result(10).items()}
    assert config["max.message.bytes"] == str(4 * 1024 * 1024)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert config["unclean.leader.election.enable"] == "false"
