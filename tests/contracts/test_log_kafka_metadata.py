"""A broker that has not heard of a topic yet, or no longer leads a partition, says "unknown topic" of what is there; one that is
alone of three says that it cannot store.

That passes by itself: nobody's record is at fault, and no process need end.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from shared.errors import Misuse, Transient
from shared.log import Message, TopicPartition
from shared.log.kafka import KafkaLog, KafkaSettings
from shared.log.kafka.admin import STALE_TRIES
from shared.log.kafka.producer import STALL_S
from tests import brokerless_kafka
from tests.mock_kafka import (
    LIST_OFFSETS,
    NOT_COORDINATOR,
    NOT_ENOUGH_REPLICAS,
    OFFSET_FETCH,
    PRODUCE,
    UNKNOWN_TOPIC_OR_PART,
    MockKafka,
    running,
)

PATIENCE_S = 60.0
SLACK_S = 1.5
PLACE = TopicPartition("in", 0)


class Quiet:
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None: ...


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with running() as made:
        made.create("in")
        yield made


async def test_a_partition_that_is_unknown_for_a_moment_is_asked_for_again(kafka: MockKafka) -> None:
    log = KafkaLog(KafkaSettings(kafka.bootstrap))
    kafka.err(LIST_OFFSETS, UNKNOWN_TOPIC_OR_PART, 1)
    assert await log._admin.ends([PLACE]) == {PLACE: 0}
    kafka.err(LIST_OFFSETS, UNKNOWN_TOPIC_OR_PART, STALE_TRIES)
    with pytest.raises(Transient):  # for longer, but it is there
        await log._admin.ends([PLACE])
    with pytest.raises(Misuse, match="nowhere/0"):
        await log._admin.ends([PLACE, TopicPartition("nowhere", 0)])
    await log.close()


async def test_a_broker_that_knows_no_offset_for_a_moment_is_asked_again(
    kafka: MockKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says -1, and no client takes that for a position."""
    log = KafkaLog(KafkaSettings(kafka.bootstrap))
    client: Any = log._admin._client
    asked, ask = 0, client.list_offsets

    def not_yet(wanted: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        answers = ask(wanted, **options)
        for answer in answers.values() if asked <= unknown_for else ():
            answer.result().offset = -1
        return answers

    monkeypatch.setattr(client, "list_offsets", not_yet)
    unknown_for = STALE_TRIES - 1
    assert await log._admin.starts([PLACE]) == {PLACE: 0}
    assert asked == STALE_TRIES
    asked, unknown_for = 0, STALE_TRIES
    with pytest.raises(Transient):
        await log._admin.starts([PLACE])
    await log.close()


async def test_whether_a_log_is_there_that_names_no_broker() -> None:
    """librdkafka's `describe_cluster` ends the whole process then: so ended a router in the 7th of 20 pauses of its broker."""
    with brokerless_kafka.running() as kafka:
        log = KafkaLog(KafkaSettings(kafka.bootstrap))
        await log.ping()
        kafka.is_there = False
        with pytest.raises(Transient):
            await log.ping()
        await log.close()


async def test_where_a_broker_can_store_nothing_one_call_waits_and_the_others_are_told_at_once(
    kafka: MockKafka,
) -> None:
    """They connected, and each waited for an answer in its turn: up to four seconds, which was twice what is promised."""
    log = KafkaLog(KafkaSettings(kafka.bootstrap))
    producer = await log.producer()
    clock = asyncio.get_running_loop().time

    async def refused() -> float:
        began = clock()
        with pytest.raises(Transient):
            await producer.append([Message("in", b"k", b"v", [])])
        return clock() - began

    await producer.append([Message("in", b"k", b"v", [])])
    kafka.err(PRODUCE, NOT_ENOUGH_REPLICAS, 10_000)
    await refused()
    await refused()
    took = sorted(await asyncio.gather(*(refused() for _ in range(20))))
    assert took[-1] < STALL_S + SLACK_S
    assert took[-2] < STALL_S / 2
    kafka.err_no_more(PRODUCE)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(Transient):
                await producer.append([Message("in", b"k", b"v", [])])
                break
            await asyncio.sleep(0.1)
    await asyncio.gather(*(producer.append([Message("in", b"k", b"v", [])]) for _ in range(20)))
    await producer.close()
    await log.close()


async def test_who_no_longer_coordinates_a_group_is_asked_for_its_positions(kafka: MockKafka) -> None:
    """librdkafka's admin client ends the whole process then (its issue 5040)."""
    log = KafkaLog(KafkaSettings(kafka.bootstrap))
    kafka.err(OFFSET_FETCH, NOT_COORDINATOR, 1)
    with pytest.raises(Transient, match="Not coordinator"):
        await log._admin.committed("g", [PLACE])
    assert await log._admin.committed("g", [PLACE]) == {}
    await log.close()


async def test_a_topic_that_is_unknown_to_a_broker_for_a_moment_is_waited_for(kafka: MockKafka) -> None:
    """It ended the router: refused for ever is what a *writer* is told of a topic that is not there."""
    log = KafkaLog(KafkaSettings(kafka.bootstrap))
    member = await log.transactional("g", ["in"], Quiet())
    kafka.hide("in")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Transient):
            while True:
                await member.poll(10, 0.2)
        kafka.show("in")
        while not member.assignment:
            with contextlib.suppress(Transient):
                await member.poll(10, 0.2)
    await member.close()
    await log.close()
