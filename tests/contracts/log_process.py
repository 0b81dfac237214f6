"""Members of a group in a process of their own, to be stopped and killed: `python -m tests.contracts.log_process JSON`.

Each line on stdout is one JSON object that says what has just happened. The process copies records from one topic
to another in transactions, until it is killed or its stdin ends.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from shared.errors import Fenced
from shared.log import Listener, Log, Message, Record, TopicPartition

REPOSITORY = Path(__file__).resolve().parents[2]
LINE_TIMEOUT_S = 40.0

Stop = Literal["", "before transact", "before commit"]


@dataclass(frozen=True)
class Job:
    kind: str
    url: str
    group: str
    source: str
    sink: str
    batch: int = 10
    stop: Stop = ""


async def open_log(kind: str, url: str) -> Log:
    """Imported late: each half of the suite runs without the other's client."""
    if kind == "postgres":
        from shared.log.postgres import PostgresLog

        return await PostgresLog.open(url)
    from shared.log.kafka import KafkaLog

    return await KafkaLog.open(url, {})


def positions_after(records: Sequence[Record]) -> dict[TopicPartition, int]:
    return {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}


def copied(records: Sequence[Record], sink: str) -> list[Message]:
    return [Message(sink, r.key, r.value, r.headers) for r in records]


# ── in the child ──


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def stop_here() -> None:
    """Sent to this thread: of one that is sent to the process another thread takes notice, and this one would go on for a
    moment, in which a commit went out."""
    say(event="stopping")
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    say(event="continued")


class Telling(Listener):
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        say(event="assigned", partitions=sorted(tp.partition for tp in positions))
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        say(event="revoked", partitions=sorted(tp.partition for tp in partitions))


def stop_before_commit(kind: str) -> None:
    """Make the client stop once, when all is sent and only the commit is missing."""
    stops = iter([stop_here])
    if kind == "kafka":
        import confluent_kafka

        plain: Any = confluent_kafka.Producer

        class Stopping(plain):  # type: ignore[misc]
            def commit_transaction(self, *arguments: Any) -> Any:
                next(stops, bool)()
                return super().commit_transaction(*arguments)

        confluent_kafka.Producer = Stopping  # type: ignore[misc]
        return

    from shared.log.postgres.connection import Connections

    straight = Connections.value

    async def value(self: Connections, statement: str, *arguments: object) -> Any:
        if "log.transact" not in statement:
            return await straight(self, statement, *arguments)

        async def inside(connection: Any) -> None:
            async with connection.transaction():
                await connection.fetchval(statement, *arguments)
                next(stops, bool)()

        return await self.run(inside)

    Connections.value = value  # type: ignore[method-assign]


async def pipe(job: Job) -> None:
    if job.stop == "before commit":
        stop_before_commit(job.kind)
    log = await open_log(job.kind, job.url)
    member = await log.transactional(job.group, [job.source], Telling())
    say(event="joined")
    total = 0
    stops = 1 if job.stop == "before transact" else 0
    while True:
        records = await member.poll(job.batch, 1.0)
        if not records:
            continue
        if stops:
            stops = 0
            stop_here()
        try:
            await member.transact(copied(records, job.sink), positions_after(records))
        except Fenced:
            say(event="fenced")
        except Exception as error:
            say(event="failed", error=f"{type(error).__name__}: {error}")
        else:
            total += len(records)
            say(event="committed", total=total)


# ── in the test ──


class Child:
    """The same process seen from the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, job: Job) -> Self:
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.contracts.log_process", json.dumps(asdict(job))),
                cwd=REPOSITORY,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def until(self, *events: str, total: int = 0) -> dict[str, Any]:
        """Read on until it says one of these (with so many records committed)."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LINE_TIMEOUT_S):
            while True:
                line = await self._process.stdout.readline()
                assert line, f"the child ended; it had said {self.heard[-5:]}"
                said: dict[str, Any] = json.loads(line)
                self.heard.append(said)
                if said["event"] in events and said.get("total", total) >= total:
                    return said

    async def stopped(self) -> None:
        await self.until("stopping")
        async with asyncio.timeout(5):
            while os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
                await asyncio.sleep(0.005)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9, also when it is stopped; nothing of its own runs any more when this returns."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


if __name__ == "__main__":
    asyncio.run(pipe(Job(**json.loads(sys.argv[1]))))
