"""A broker that takes connections and answers nothing: whoever asks is told so in time, and nobody waits at the end."""

import asyncio
import contextlib
import subprocess
import sys
import time

import pytest

from shared.errors import Transient
from shared.log.kafka import KafkaSettings
from shared.log.kafka.admin import PING_TIMEOUT_S, THREADS, KafkaAdmin
from tests.deployment import REPOSITORY
from tests.mute import mute_server

PATIENCE_S = 60.0


async def test_a_ping_waits_for_nobody_elses_question() -> None:
    """They took all the threads, and a process that asked whether Kafka was there heard it after twelve seconds."""
    with mute_server() as address:
        admin = KafkaAdmin(KafkaSettings(address))
        others = [asyncio.create_task(admin.topics()) for _ in range(THREADS + 1)]
        await asyncio.sleep(0)  # they have begun
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(Transient):
                await admin.ping()
        assert time.monotonic() - began < 2 * PING_TIMEOUT_S + 3
        assert not any(other.done() for other in others), "nobody stood in the way: this proved nothing"
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        admin.close()


async def test_what_queues_behind_others_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.log.kafka.admin.ANSWER_TIMEOUT_S", 0.5)
    with mute_server() as address:
        admin = KafkaAdmin(KafkaSettings(address))
        async with asyncio.timeout(PATIENCE_S):
            found = await asyncio.gather(*(admin.topics() for _ in range(2 * THREADS)), return_exceptions=True)
        assert {type(one) for one in found} == {Transient}
        admin.close()


LEFT_ASKING = """
import asyncio, sys
from shared.log.kafka import KafkaSettings
from shared.log.kafka.admin import KafkaAdmin

async def main():
    admin = KafkaAdmin(KafkaSettings(sys.argv[1]))
    asking = [asyncio.create_task(admin.topics()) for _ in range(5)]
    await asyncio.wait(asking, timeout=0.5)
    admin.close()

asyncio.run(main())
print("over", flush=True)
"""


def test_the_interpreter_does_not_wait_for_what_nobody_answers() -> None:
    """The threads of the standard pool are waited for at the very end, when no deadline of ours stands any more."""
    with mute_server() as address:
        command = [sys.executable, "-c", LEFT_ASKING, address]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "over\n"
            began = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
            took = time.monotonic() - began
            process.kill()
    assert process.returncode == 0
    assert took < 8, "an unanswered question takes ten seconds"
