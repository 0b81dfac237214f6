"""A call of a client that never comes back: a producer is left behind; of a consumer the process ends, for a supervisor to start
it again."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from shared.errors import Transient
from shared.log import Message, Record, TopicPartition
from shared.log.kafka import KafkaLog, KafkaSettings
from tests.deployment import REPOSITORY
from tests.mock_kafka import running

PATIENCE_S = 60.0

HANGING_POLL = """
import asyncio, contextlib, logging, sys, threading
from shared.errors import Transient
from shared.log.kafka import KafkaLog, KafkaSettings, transactional

transactional.HANG_S = 2.0

class Stuck(logging.Filter):
    '''The client says what it has to say from within its poll, in our thread: there it stays.'''
    def filter(self, record):
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == "_consume":
                print("stuck", flush=True)
                threading.Event().wait()
            frame = frame.f_back
        return True

class Quiet:
    async def assigned(self, positions):
        return positions
    async def revoked(self, partitions):
        pass

async def main():
    member = await KafkaLog(KafkaSettings(sys.argv[1])).transactional("g", ["in"], Quiet())
    while not member.assignment:
        with contextlib.suppress(Transient):
            await member.poll(1, 0.2)
    logging.getLogger("flywheel.kafka").addFilter(Stuck())
    print("polling", flush=True)
    while True:
        with contextlib.suppress(Transient):
            await member.poll(1, 0.2)

asyncio.run(main())
"""


def test_a_poll_that_never_comes_back_ends_the_process() -> None:
    with running() as kafka:
        kafka.create("in")
        command = [sys.executable, "-c", HANGING_POLL, kafka.bootstrap]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "polling\n"
                kafka.close()  # the client has something to say
                assert process.stdout.readline() == "stuck\n"
                assert process.wait(PATIENCE_S) == os.EX_SOFTWARE
            finally:
                process.kill()


class Calm:
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass


async def test_a_transaction_that_never_comes_back_is_left_behind_and_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """librdkafka's issue 5456: who is not told where the group's coordinator went waits for ever, whatever deadline was given.
    A router that had found its broker standing still stood for a minute, and ended."""
    monkeypatch.setattr("shared.log.kafka.transactional.OVERDUE_S", 1.0)
    monkeypatch.setattr("shared.log.kafka.transactional.CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr("shared.log.kafka.transactional.LOOK_S", 0.2)
    source = TopicPartition("in", 0)
    with running(brokers=2) as kafka:
        for topic in ("in", "out"):
            kafka.create(topic)
            kafka.lead(topic, 0, 1)
        kafka.coordinate("group", "g", 2)
        log = KafkaLog(KafkaSettings(kafka.bootstrap))
        producer = await log.producer()
        await producer.append([Message("in", b"k", b"said", [])])
        member = await log.transactional("g", ["in"], Calm())
        kafka.coordinate("transaction", member._transactional_id, 1)
        async with asyncio.timeout(PATIENCE_S):
            await _read_one(member)
            stuck = member._producer
            kafka.set_down(2)
            with pytest.raises(Transient, match="does not come back"):
                await member.transact([Message("out", b"k", b"said", [])], {source: 1})
            assert any(thread.name.startswith("kafka-writing") for thread in threading.enumerate()), "it still waits"
            kafka.set_up(2)
            assert (await _read_one(member)).offset == 0, "of what nobody knows the end of it is read again"
            assert member._producer is not stuck
            await member.transact([Message("out", b"k", b"said", [])], {source: 1})
        await producer.close()
        await log.close()


async def _read_one(member: Any) -> Record:
    while True:
        with contextlib.suppress(Transient):
            found: list[Record] = await member.poll(1, 0.2)
            if found:
                return found[0]
