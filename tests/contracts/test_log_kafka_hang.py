"""A call of the client that never comes back: the process ends, for a supervisor to start it again."""

import os
import subprocess
import sys

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
