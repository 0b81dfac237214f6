"""A broker that has not heard of a topic yet, or no longer leads a partition, says "unknown topic" of what is there.

That passes by itself: nobody's record is at fault, and no process need end.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pytest

from shared.errors import Misuse, Transient
from shared.log import TopicPartition
from shared.log.kafka import KafkaLog, KafkaSettings
from shared.log.kafka.admin import STALE_TRIES
from tests.mock_kafka import LIST_OFFSETS, UNKNOWN_TOPIC_OR_PART, MockKafka, running

PATIENCE_S = 60.0
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
