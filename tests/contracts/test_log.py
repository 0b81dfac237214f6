"""What the log promises (`shared/log/__init__.py`), held against both implementations."""

import asyncio
import contextlib
import itertools
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest

from shared.errors import Misuse, NoSuchTopic, Rejected
from shared.log import Consumer, Headers, Listener, Log, Message, Record, TopicPartition, TransactionalConsumer
from shared.log.partitioning import partition_of
from shared.topics import MAX_MESSAGE_BYTES, Topic
from tests.contracts.log_process import Child, Job, Stop, copied, open_log, positions_after

PARTITIONS = 6
PATIENCE_S = 30.0
HEADERS_ROOM = 4096
"""Below the limit stands what goes with the value: key, headers, the batch's own header."""


@dataclass(frozen=True)
class Target:
    """Which log, where, and how long it takes to give a silent member up."""

    kind: str
    url: str
    silence_s: float


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "postgres":
        return Target("postgres", request.getfixturevalue("database_url"), 3.0)
    return Target("kafka", request.getfixturevalue("kafka_bootstrap"), 10.0)


class Bench:
    """Opens logs, members, topics and children of one test, and closes what is left."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._closing = contextlib.AsyncExitStack()
        self._run = uuid4().hex[:8]
        self.plain = False  # whether its members are such as cannot transact

    async def log(self) -> Log:
        log = await open_log(self.target.kind, self.target.url)
        self._closing.push_async_callback(log.close)
        return log

    def name(self, what: str) -> str:
        return f"t{self._run}.{what}"

    async def topic(self, log: Log, what: str, partitions: int = PARTITIONS) -> str:
        name = self.name(what)
        await log.ensure_topics([Topic(name, timedelta(days=7), partitions)])
        return name

    async def member(
        self, log: Log, topics: Sequence[str], listener: Listener, group: str = "g"
    ) -> TransactionalConsumer:
        opening = cast("Any", log.consumer) if self.plain else log.transactional
        member: TransactionalConsumer = await opening(self.name(group), topics, listener)
        self._closing.push_async_callback(member.close)
        return member

    async def child(self, source: str, sink: str, stop: Stop = "", group: str = "g") -> Child:
        child = await Child.start(
            Job(self.target.kind, self.target.url, self.name(group), source, sink, batch=10, stop=stop)
        )
        self._closing.push_async_callback(child.kill)
        return child

    async def close(self) -> None:
        await self._closing.aclose()


@pytest.fixture
async def bench(target: Target) -> AsyncIterator[Bench]:
    bench = Bench(target)
    yield bench
    await bench.close()


@pytest.fixture(params=["transactional", "plain"])
def kind_of_member(request: pytest.FixtureRequest, bench: Bench) -> None:
    bench.plain = request.param == "plain"


of_both_kinds = pytest.mark.usefixtures("kind_of_member")
"""For what a group promises whether or not its members transact; on Kafka these are two clients."""


class Recorder(Listener):
    """A listener that writes down what it is told."""

    def __init__(self, starts: Mapping[TopicPartition, int] | None = None) -> None:
        self.told: list[tuple[str, dict[TopicPartition, int]]] = []
        self._starts = starts or {}

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        self.told.append(("assigned", dict(positions)))
        return {**positions, **self._starts}

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.told.append(("revoked", dict.fromkeys(partitions, -1)))

    def times_assigned(self) -> Counter[TopicPartition]:
        return Counter(tp for what, tps in self.told if what == "assigned" for tp in tps)


def numbered(topic: str, count: int, keys: int = 20, start: int = 0) -> list[Message]:
    """Messages whose value is their number, spread over keys."""
    return [
        Message(topic, b"key-%d" % (n % keys), b"%d" % n, [("ce_id", b"%d" % n)]) for n in range(start, start + count)
    ]


def values(records: Sequence[Record]) -> list[bytes]:
    return [record.value for record in records]


def assert_in_order_per_key(records: Sequence[Record]) -> None:
    """Each key in one partition, its numbers ascending, offsets strictly increasing in each partition."""
    partitions: dict[bytes | None, set[int]] = defaultdict(set)
    last: dict[bytes | None, int] = {}
    offsets: dict[int, int] = {}
    for record in records:
        partitions[record.key].add(record.partition)
        number = int(record.value)
        assert number > last.get(record.key, -1)
        last[record.key] = number
        assert record.offset > offsets.get(record.partition, -1)
        offsets[record.partition] = record.offset
    assert all(len(found) == 1 for found in partitions.values())


async def poll_until(consumer: Consumer, count: int, max_records: int = 500) -> list[Record]:
    """Poll until so many records came."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await consumer.poll(max_records, 0.5)
    return records


async def poll_while(consumers: Sequence[Consumer], condition: Callable[[], bool]) -> list[Record]:
    """All of them poll, as they would in processes of their own, until the condition no longer holds."""
    records: list[Record] = []

    async def keep(consumer: Consumer) -> None:
        while condition():
            records.extend(await consumer.poll(100, 0.1))

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*[keep(consumer) for consumer in consumers])
    return records


async def everything(log: Log, topic: str, at_least: int = 0) -> list[Record]:
    """What a committed reader sees now; `at_least` so many, which have been committed: Kafka acknowledges a commit a
    moment before its records become visible."""
    reader = await log.reader()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            records: list[Record] = []
            for partition in range(await reader.partitions(topic)):
                tp = TopicPartition(topic, partition)
                first, end = await reader.bounds(tp)
                async for some in reader.scan(tp, first, end):
                    records += some
            if len(records) >= at_least:
                break
    await reader.close()
    return records


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():
            await asyncio.sleep(0.02)


# ── topics and appending ──


async def test_a_topic_is_made_once_however_many_ask(bench: Bench) -> None:
    logs = [await bench.log() for _ in range(3)]
    wanted = [Topic(bench.name(f"made-{n}"), timedelta(days=1), 2) for n in range(4)]
    made = await asyncio.gather(*[log.ensure_topics(wanted) for log in logs])
    assert sorted(itertools.chain(*made)) == sorted(topic.name for topic in wanted)
    assert (await logs[0].topics()).items() >= {topic.name: 2 for topic in wanted}.items()
    assert await logs[0].ensure_topics(wanted) == []


async def test_a_topic_that_is_not_as_it_should_be_is_told_and_mended_when_asked(bench: Bench) -> None:
    log = await bench.log()
    names = [bench.name(what) for what in ("kept", "for-good", "wide")]
    await log.ensure_topics([Topic(names[0], timedelta(days=1), 2), Topic(names[1], timedelta(days=1), 2)])
    await log.ensure_topics([Topic(names[2], timedelta(days=7), 3)])
    wanted = [Topic(names[0], timedelta(days=7), 2), Topic(names[1], None, 2), Topic(names[2], timedelta(days=7), 2)]
    assert await log.ensure_topics(wanted) == []
    found = await log.unlike([*wanted, Topic(bench.name("missing"), None, 2)])
    assert [(one.topic, one.mendable) for one in found] == [(names[0], True), (names[1], True), (names[2], False)]
    assert all(one.setting.startswith("retention") and one.found != one.wanted for one in found[:2])
    await log.mend(found)

    async def mended() -> bool:
        return [one.topic for one in await log.unlike(wanted)] == [names[2]]

    await eventually(mended)
    assert (await log.topics())[names[2]] == 3


async def test_it_answers_a_ping(bench: Bench) -> None:
    await (await bench.log()).ping()


async def test_records_come_back_as_they_were_sent(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    sent = [
        Message(topic, b"k", "希望增加深色模式 🙂".encode(), [("ce_id", b"1"), ("ce_id", b"twice"), ("empty", b"")]),
        Message(topic, None, b"\x00\xff\xfe", []),
        Message(topic, b"", b"", [("ce_type", "日本".encode())]),
    ]
    await (await log.producer()).append(sent)
    found = await everything(log, topic)
    assert {(r.key, r.value, tuple(r.headers)) for r in found} == {(m.key, m.value, tuple(m.headers)) for m in sent}
    assert all(r.timestamp_ms > 1_600_000_000_000 for r in found)


async def test_one_key_keeps_its_partition_and_its_order(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    producer = await log.producer()
    messages = numbered(topic, 300)
    for start in range(0, 300, 30):
        await producer.append(messages[start : start + 30])
    member = await bench.member(log, [topic], Recorder())
    records = await poll_until(member, 300)
    assert len(records) == 300
    assert_in_order_per_key(records)
    # Both logs and Kafka's own clients agree on where a key belongs.
    assert all(r.key is not None and r.partition == partition_of(r.key, PARTITIONS) for r in records)


async def test_without_keys_records_spread_over_the_partitions(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in", partitions=2)
    producer = await log.producer()

    async def spread() -> bool:
        await producer.append([Message(topic, None, b"%d" % n, []) for n in range(20)])
        return {record.partition for record in await everything(log, topic)} == {0, 1}

    await eventually(spread)


async def test_nothing_appears_behind_a_passed_position_under_32_writers(bench: Bench) -> None:
    """A reader that never stops sees every record once, in order, while 32 write through 8 connections at once."""
    logs = [await bench.log() for _ in range(8)]
    topic = await bench.topic(logs[0], "in")
    producers = [await log.producer() for log in logs]
    rounds = 40

    async def write(writer: int) -> None:
        for n in range(rounds):
            messages = [Message(topic, os.urandom(4), b"%d-%d-%d" % (writer, n, i), []) for i in range(1 + n % 3)]
            await producers[writer % 8].append(messages)

    total = 32 * sum(1 + n % 3 for n in range(rounds))
    seen: list[Record] = []

    async def read() -> None:
        reader = await logs[0].reader()
        async with contextlib.aclosing(reader.follow(topic, {})) as batches:  # type: ignore[type-var]
            async for batch in batches:
                seen.extend(batch)
                if len(seen) >= total:
                    break
        await reader.close()

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(read(), *[write(writer) for writer in range(32)])
    assert len(set(values(seen))) == total == len(seen)
    last: dict[int, int] = {}
    for record in seen:
        assert record.offset > last.get(record.partition, -1)
        last[record.partition] = record.offset
    assert sorted(values(seen)) == sorted(values(await everything(logs[0], topic)))


async def test_what_is_refused_for_one_caller_fails_no_other(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    producer = await log.producer()
    outcomes = await asyncio.gather(
        producer.append(numbered(topic, 5)),
        producer.append([Message(topic, b"big", os.urandom(MAX_MESSAGE_BYTES + 1), [])]),
        producer.append([Message(bench.name("nowhere"), b"k", b"v", [])]),
        producer.append(numbered(topic, 5, start=5)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Rejected, NoSuchTopic, type(None)]
    assert sorted(int(r.value) for r in await everything(log, topic)) == list(range(10))


async def test_a_record_at_the_size_limit_survives_and_its_dead_letter_too(bench: Bench) -> None:
    log = await bench.log()
    source, dead = await bench.topic(log, "in", 1), await bench.topic(log, "dead", 1)
    body = os.urandom(MAX_MESSAGE_BYTES - HEADERS_ROOM)
    await (await log.producer()).append([Message(source, b"k", body, [("ce_id", b"1")])])
    member = await bench.member(log, [source], Recorder())
    records = await poll_until(member, 1)
    letter = Message(dead, b"k", records[0].value, [*records[0].headers, ("reason", b"unreadable")])
    await member.transact([letter], positions_after(records))
    found = await everything(log, dead, 1)
    assert [(r.value == body, r.headers) for r in found] == [(True, [("ce_id", b"1"), ("reason", b"unreadable")])]


# ── groups ──


@of_both_kinds
async def test_a_member_resumes_where_the_group_committed(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    await (await log.producer()).append(numbered(topic, 100))
    first = await bench.member(log, [topic], Recorder())
    done = await poll_until(first, 1, max_records=30)
    assert 0 < len(done) <= 30
    await first.commit(positions_after(done))
    await poll_until(first, 1, max_records=30)  # read, but never committed: it comes again
    await first.close()
    group_lag = await log.lag(bench.name("g"), [topic])
    assert sum(group_lag.values()) == 100 - len(done)
    listener = Recorder()
    second = await bench.member(log, [topic], listener)
    rest = await poll_until(second, 100 - len(done))
    assert Counter(values(done)) + Counter(values(rest)) == Counter(m.value for m in numbered(topic, 100))
    assert {tp: at for what, tps in listener.told if what == "assigned" for tp, at in tps.items()}.items() >= (
        positions_after(done).items()
    )
    assert sum((await second.lag()).values()) == 0


@of_both_kinds
async def test_records_come_only_after_the_listener_has_taken_the_partition(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    await (await log.producer()).append(numbered(topic, 60))
    ready = asyncio.Event()
    inside = asyncio.Event()

    class Slow(Recorder):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            inside.set()
            await ready.wait()
            return await super().assigned(positions)

    listener = Slow()
    member = await bench.member(log, [topic], listener)
    polling = asyncio.create_task(poll_until(member, 60))
    await asyncio.wait_for(inside.wait(), PATIENCE_S)
    assert not listener.told
    ready.set()
    records = await polling
    assert {TopicPartition(r.topic, r.partition) for r in records} <= set(listener.times_assigned())
    assert set(listener.times_assigned()) == member.assignment


@of_both_kinds
async def test_a_listener_that_fails_makes_poll_fail_and_is_asked_again(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    await (await log.producer()).append(numbered(topic, 10))

    class Failing(Recorder):
        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            if not self.told:
                self.told.append(("failed", {}))
                raise LookupError("not now")
            return await super().assigned(positions)

    member = await bench.member(log, [topic], Failing())
    with pytest.raises(LookupError):
        await poll_until(member, 1)
    assert len(await poll_until(member, 10)) == 10


@of_both_kinds
async def test_the_listener_may_send_the_member_elsewhere(bench: Bench) -> None:
    """For positions that are stored with the effect."""
    log = await bench.log()
    topic = await bench.topic(log, "in", 1)
    await (await log.producer()).append(numbered(topic, 10))
    tp = TopicPartition(topic, 0)
    member = await bench.member(log, [topic], Recorder({tp: 7}))
    assert values(await poll_until(member, 3)) == [b"7", b"8", b"9"]
    member.seek({tp: 2, TopicPartition(topic, 5): 0})
    assert values(await poll_until(member, 8)) == [b"%d" % n for n in range(2, 10)]


async def test_replay_from_a_time(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in", 1)
    tp = TopicPartition(topic, 0)
    producer = await log.producer()
    await producer.append(numbered(topic, 50))
    before = (await everything(log, topic))[-1].timestamp_ms

    async def later() -> bool:
        """Appended until the log's clock has moved on."""
        await producer.append(numbered(topic, 1, start=1000))
        return (await everything(log, topic))[-1].timestamp_ms > before

    await eventually(later)
    await producer.append(numbered(topic, 50, start=2000))
    records = await everything(log, topic)
    reader = await log.reader()
    for moment in {record.timestamp_ms for record in records}:
        expected = next(r.offset for r in records if r.timestamp_ms >= moment)
        assert await reader.offset_at(tp, moment) == expected
    assert await reader.offset_at(tp, 0) == 0
    # Nothing is that young: the end, where the next one will be. (Kafka itself answers -1 there.)
    assert await reader.offset_at(tp, records[-1].timestamp_ms + 1_000_000) == (await reader.bounds(tp))[1]

    moment = next(r.timestamp_ms for r in records if r.timestamp_ms > before)
    member = await bench.member(log, [topic], Recorder())
    await poll_until(member, len(records))
    member.seek({tp: await reader.offset_at(tp, moment)})
    replayed = await poll_until(member, 50)
    assert values(replayed) == [r.value for r in records if r.timestamp_ms >= moment]


@of_both_kinds
async def test_a_member_joins_and_the_others_keep_what_stays_theirs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bench.target.kind == "postgres":  # a machine that stands still for three seconds is not what is tested here
        monkeypatch.setattr("shared.log.postgres.group.LEASE_S", 15.0)
    log = await bench.log()
    topic = await bench.topic(log, "in")
    await (await log.producer()).append(numbered(topic, 200))
    one, two = Recorder(), Recorder()
    first = await bench.member(log, [topic], one)
    done = await poll_until(first, 200)
    await first.commit(positions_after(done))
    second = await bench.member(await bench.log(), [topic], two)
    came = await poll_while(
        [first, second], lambda: (len(first.assignment), len(second.assignment)) != (PARTITIONS // 2, PARTITIONS // 2)
    )
    assert not came, "the group had committed all of it"
    assert not first.assignment & second.assignment
    went = {tp for what, tps in one.told if what == "revoked" for tp in tps}
    if bench.plain and bench.target.kind == "kafka":  # its plain client gives all back, and gets some of it again
        assert went >= second.assignment
    else:
        assert went == second.assignment
        assert all(one.times_assigned()[tp] == 1 for tp in first.assignment)
    await second.close()
    came = await poll_while([first], lambda: len(first.assignment) < PARTITIONS)
    assert not came


@of_both_kinds
async def test_a_partition_is_given_up_by_one_before_the_other_has_it(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    holders: dict[TopicPartition, str] = {}

    class Holder(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
            for tp in positions:
                assert holders.setdefault(tp, self.name) == self.name, f"{tp} is still held"
            return await super().assigned(positions)

        async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
            for tp in partitions:
                if holders.get(tp) == self.name:
                    del holders[tp]

    members: list[Consumer] = []
    for name, share in (("one", PARTITIONS), ("two", PARTITIONS // 2), ("three", PARTITIONS // 3)):
        members.append(await bench.member(await bench.log(), [topic], Holder(name)))
        await poll_while(members, lambda share=share: any(len(m.assignment) != share for m in members))  # type: ignore[misc]
    assert Counter(holders.values()) == {"one": 2, "two": 2, "three": 2}


@of_both_kinds
async def test_a_group_may_change_its_topics_one_member_at_a_time(bench: Bench) -> None:
    """A new team: one process knows its topic earlier than the other."""
    log = await bench.log()
    old, new = await bench.topic(log, "old", 2), await bench.topic(log, "new", 2)
    first = await bench.member(log, [old], Recorder())
    second = await bench.member(await bench.log(), [old], Recorder())
    await poll_while([first, second], lambda: (len(first.assignment), len(second.assignment)) != (1, 1))
    await second.subscribe([old, new])
    await poll_while([first, second], lambda: sum(tp.topic == new for tp in second.assignment) < 2)
    assert {tp.topic for tp in first.assignment} <= {old}
    await first.subscribe([old, new])
    await poll_while([first, second], lambda: (len(first.assignment), len(second.assignment)) != (2, 2))
    assert not first.assignment & second.assignment
    # Who has which is the log's choice; that the first may now have all of them shows when it is alone.
    await second.close()
    await poll_while([first], lambda: len(first.assignment) != 4)


@of_both_kinds
async def test_a_paused_member_gets_nothing_keeps_its_partitions_and_loses_nothing(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in")
    producer = await log.producer()
    listener = Recorder()
    member = await bench.member(log, [topic], listener)
    await producer.append(numbered(topic, 50))
    records = await poll_until(member, 10, max_records=10)
    member.pause()
    clock = asyncio.get_running_loop().time
    until = clock() + bench.target.silence_s * 1.2
    await producer.append(numbered(topic, 50, start=50))
    while clock() < until:
        assert await member.poll(100, 0.2) == []
    member.resume()
    records += await poll_until(member, 100 - len(records))
    assert sorted(int(r.value) for r in records) == list(range(100))
    assert_in_order_per_key(records)
    assert set(listener.times_assigned().values()) == {1}


# ── transactions ──


async def test_outputs_and_positions_appear_together(bench: Bench) -> None:
    log = await bench.log()
    source, sink = await bench.topic(log, "in"), await bench.topic(log, "out")
    await (await log.producer()).append(numbered(source, 100))
    member = await bench.member(log, [source], Recorder())
    done = 0
    while done < 100:
        records = await member.poll(40, 5)
        await member.transact(copied(records, sink), positions_after(records))
        done += len(records)
        assert len(await everything(log, sink, done)) == done
        assert sum((await log.lag(bench.name("g"), [source])).values()) == 100 - done
    assert_in_order_per_key(await everything(log, sink, 100))


async def test_a_failed_dead_letter_write_moves_no_position(bench: Bench) -> None:
    """An output the log refuses takes the whole transaction with it; the record comes again, nothing is skipped."""
    log = await bench.log()
    source, sink, dead = await bench.topic(log, "in", 2), await bench.topic(log, "out"), await bench.topic(log, "dead")
    await (await log.producer()).append(numbered(source, 20))
    listener = Recorder()
    member = await bench.member(log, [source], listener)
    too_large = Message(dead, b"k", os.urandom(MAX_MESSAGE_BYTES + 1), [])
    for _ in range(2):
        records = await poll_until(member, 20)
        with pytest.raises(Rejected):
            await member.transact([*copied(records, sink), too_large], positions_after(records))
    assert sum((await log.lag(bench.name("g"), [source])).values()) == 20
    again = await poll_until(member, 20)
    assert sorted(values(again)) == sorted(m.value for m in numbered(source, 20))
    assert listener.told[-1] == ("assigned", {TopicPartition(source, 0): 0, TopicPartition(source, 1): 0})
    await member.transact(copied(again, sink), positions_after(again))
    assert sorted(values(await everything(log, sink, 20))) == sorted(values(again))
    assert await everything(log, dead) == []


async def test_an_aborted_output_is_never_seen_by_a_reader_that_was_there(bench: Bench) -> None:
    log = await bench.log()
    source, sink = await bench.topic(log, "in", 1), await bench.topic(log, "out", 1)
    await (await log.producer()).append(numbered(source, 10))
    seen: list[bytes] = []

    async def watch() -> None:
        reader = await log.reader()
        async with contextlib.aclosing(reader.follow(sink, {0: 0})) as batches:  # type: ignore[type-var]
            async for batch in batches:
                seen.extend(values(batch))
                if seen[-1:] == [b"end"]:
                    break

    watching = asyncio.create_task(watch())
    member = await bench.member(log, [source], Recorder())
    for attempt in range(3):
        records = await poll_until(member, 10)
        outputs = [Message(sink, r.key, b"%d of %s" % (attempt, r.value), []) for r in records]
        if attempt < 2:
            with pytest.raises(Rejected):
                await member.transact(
                    [*outputs, Message(sink, b"k", os.urandom(MAX_MESSAGE_BYTES + 1), [])], positions_after(records)
                )
        else:
            await member.transact([*outputs, Message(sink, b"key-0", b"end", [])], positions_after(records))
    await asyncio.wait_for(watching, PATIENCE_S)
    assert seen == [b"2 of %d" % n for n in range(10)] + [b"end"]


@pytest.mark.parametrize("stop", ["before transact", "before commit"])
async def test_a_zombie_is_fenced_and_nothing_of_it_is_ever_seen(bench: Bench, stop: Stop) -> None:
    """A process is stopped with a batch in hand (or sent, all but the commit), its twin takes over, it wakes up."""
    log = await bench.log()
    source, sink = await bench.topic(log, "in", 2), await bench.topic(log, "out", 2)
    await (await log.producer()).append(numbered(source, 100))
    zombie = await bench.child(source, sink, stop)
    await zombie.stopped()
    twin = await bench.member(log, [source], Recorder())
    done = 0
    async with asyncio.timeout(PATIENCE_S):
        while done < 100:
            records = await twin.poll(25, 0.5)
            if records:
                await twin.transact(copied(records, sink), positions_after(records))
                done += len(records)
    zombie.go_on()
    told = await zombie.until("fenced", "failed", "committed")
    assert told["event"] == "fenced" or (stop == "before commit" and told["event"] == "failed"), told
    await poll_while([twin], lambda: len(twin.assignment) == 2)  # it has come back as a member: alive, and harmless
    assert sorted(int(r.value) for r in await everything(log, sink, 100)) == list(range(100))


async def test_two_processes_share_and_one_is_killed(bench: Bench) -> None:
    """Nothing lost, nothing twice, nothing out of order."""
    log = await bench.log()
    source, sink = await bench.topic(log, "in"), await bench.topic(log, "out")
    producer = await log.producer()
    total = 3000
    messages = numbered(source, total, keys=50)
    children = [await bench.child(source, sink) for _ in range(2)]
    for child in children:
        await child.until("joined")
    feeding = asyncio.create_task(_feed(producer.append, messages))
    await asyncio.gather(*[child.until("committed", total=20) for child in children])
    dying, heir = random.sample(children, 2)
    await dying.kill()
    await feeding

    async def all_done() -> bool:
        return sum((await log.lag(bench.name("g"), [source])).values()) == 0

    await eventually(all_done)
    await heir.kill()
    found = await everything(log, sink, total)
    assert Counter(int(r.value) for r in found) == Counter(range(total))
    assert_in_order_per_key(found)
    assert not [said for child in children for said in child.heard if said["event"] == "failed"]


async def _feed(append: Callable[[Sequence[Message]], Awaitable[None]], messages: Sequence[Message]) -> None:
    for start in range(0, len(messages), 100):
        await append(messages[start : start + 100])


# ── reading without a group ──


async def test_a_scan_ends_where_it_should_and_steps_over_gaps(bench: Bench) -> None:
    log = await bench.log()
    source, sink = await bench.topic(log, "in", 1), await bench.topic(log, "out", 1)
    tp = TopicPartition(sink, 0)
    await (await log.producer()).append(numbered(source, 30))
    member = await bench.member(log, [source], Recorder())
    done = 0
    while done < 30:  # each transaction leaves a control record on Kafka: an offset that holds nothing
        records = await member.poll(10, 5)
        await member.transact(copied(records, sink), positions_after(records))
        done += len(records)
    await everything(log, sink, 30)
    reader = await log.reader()
    first, end = await reader.bounds(tp)
    assert first == 0
    found = [record async for some in reader.scan(tp, 0, end) for record in some]
    assert [int(r.value) for r in found] == list(range(30))
    middle = found[12].offset
    assert [r async for some in reader.scan(tp, middle, end + 1000) for r in some] == found[12:]
    assert [r async for some in reader.scan(tp, 0, middle) for r in some] == found[:12]
    assert [r async for some in reader.scan(tp, end, end + 10) for r in some] == []
    assert [r async for some in reader.scan(tp, middle, middle) for r in some] == []


async def test_headers_alone_are_those_of_the_same_records(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in", 1)
    tp = TopicPartition(topic, 0)
    headers: list[Headers] = [
        [("a", b"1"), ("b", b""), ("c", b"\xff")],
        [],
        [("c", b"3"), ("a", b"first"), ("a", b"last")],  # a name may come twice
        [("A", b"another name"), ("é", "ü".encode()), ("a", b"x" * 5000)],
    ]
    await (await log.producer()).append([Message(topic, b"k", b"value", of) for of in headers * 150])
    reader = await log.reader()
    records = [record async for some in reader.scan(tp, 0, 600) for record in some]
    assert [record.headers for record in records] == headers * 150
    for start, stop, names in ((0, 10_000, ("a", "c", "é")), (301, 302, ("b",)), (7, 300, ()), (600, 700, ("a",))):
        within = [r for r in records if start <= r.offset < stop]
        parts = [part async for part in reader.scan_headers(tp, start, stop, names)]
        assert all(part.offsets and len(part.headers) == len(names) for part in parts)
        assert [offset for part in parts for offset in part.offsets] == [r.offset for r in within]
        assert [time for part in parts for time in part.times_ms] == [r.timestamp_ms for r in within]
        for number, name in enumerate(names):
            assert [v for part in parts for v in part.headers[number]] == [dict(r.headers).get(name) for r in within]


async def test_follow_begins_where_told_breathes_and_goes_on(bench: Bench) -> None:
    log = await bench.log()
    topic = await bench.topic(log, "in", 2)
    producer = await log.producer()
    await producer.append(numbered(topic, 40))
    existing = await everything(log, topic)
    start = {0: [r.offset for r in existing if r.partition == 0][3]}
    expected = [r for r in existing if r.partition == 1 or r.offset >= start[0]]
    reader = await log.reader()
    seen: list[Record] = []
    breaths = 0
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(reader.follow(topic, start)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            seen += batch
            if not batch:
                breaths += 1
                if breaths == 1:
                    assert sorted(seen) == sorted(expected)
                    await producer.append(numbered(topic, 10, start=40))
            if len(seen) == len(expected) + 10:
                break
    assert_in_order_per_key(seen)
    assert breaths >= 1


async def test_a_topic_that_is_not_there(bench: Bench) -> None:
    log = await bench.log()
    reader = await log.reader()
    assert await reader.partitions(bench.name("nowhere")) == 0
    with pytest.raises(Misuse):
        await reader.bounds(TopicPartition(bench.name("nowhere"), 0))
