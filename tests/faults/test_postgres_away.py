"""The database goes away under load, and comes back: killed, restarted, every connection cut.

Our processes stay, wait it out, and go on. What was acknowledged is routed once and has its effect once, and an
outage is nobody's fault: nothing ends as a dead letter. Short here; FLYWHEEL_FAULTS=full does it long.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest

from shared.database.embedded import EmbeddedPostgres
from tests.brokers import Cluster
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.settled import settled
from tests.mailbox import Mailbox

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
ROUNDS = 12 if FULL else 1
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)


class Server:
    """A Postgres of the test's own, to be hurt; its address stays the same."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = EmbeddedPostgres.start(directory)
        self.url = self._running.url
        self._still: list[int] = []

    def kill(self) -> None:
        """kill -9 of the postmaster; its children follow by themselves."""
        os.kill(self._running.pid, signal.SIGKILL)
        self._running.stop()

    def stop(self) -> None:
        self._running.stop()

    def start(self) -> None:
        self._running = EmbeddedPostgres.start(self._directory)
        assert self._running.url == self.url

    def stand_still(self) -> None:
        """Connections stay, and nobody answers: a disk that hangs, a machine that is swapped out."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._running.pid)], capture_output=True, text=True, check=True
        )
        self._still = [self._running.pid, *map(int, found.stdout.split())]
        for pid in self._still:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in self._still:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def cut(self) -> int:
        """Every connection of ours ends at once, as an operator's pg_terminate_backend ends it."""
        connection = await asyncpg.connect(self.url)
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
            )
        finally:
            await connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    yield made
    made.stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.mark.timeout(900 if FULL else 240)
def test_on_the_embedded_log(tmp_path: Path, server: Server, mailbox: Mailbox) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    env = {"SMTP_URL": mailbox.url, "DATABASE_URL": server.url}
    with Deployment.all_in_one(tmp_path / "one", env, "--no-sample") as deployment:
        _hurt(server, deployment, ledger)
        asyncio.run(settled(server.url, ledger))
        unknown = asyncio.run(_verdict(server.url, ledger, mailbox, on_postgres=True))
    print(f"{ROUNDS} rounds on the embedded log: {ledger}; mails of unknown fate: {unknown}, each listed")


@pytest.mark.kafka
@pytest.mark.timeout(900 if FULL else 240)
def test_on_kafka(tmp_path: Path, server: Server, own_kafka: Cluster, mailbox: Mailbox) -> None:
    """Only keys, configuration and the closer's effects need the database here."""
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    env = {"SMTP_URL": mailbox.url, "KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}
    with Deployment.apart(tmp_path / "apart", server.url, env) as deployment:
        _hurt(server, deployment, ledger)
        asyncio.run(settled(server.url, ledger))
        unknown = asyncio.run(_verdict(server.url, ledger, mailbox, on_postgres=False))
        mine = set(ledger.ids.values())
        book.judge_log(ledger, [r for r in book.routed_on_kafka(own_kafka.bootstrap) if r[0] in mine])
    print(f"{ROUNDS} rounds on Kafka: {ledger}; mails of unknown fate: {unknown}, each listed")


def _hurt(server: Server, deployment: Deployment, ledger: book.Ledger) -> None:
    dice = random.Random(SEED)
    pids = {name: proc.pid for name, proc in deployment.procs.items()}
    with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key) as drivers:
        for _ in range(ROUNDS):
            for fault in ("cut", "kill", "stop", "cut"):
                drivers.wait_for(len(ledger.ids) + 20)
                time.sleep(dice.uniform(0, 0.5))
                if fault == "cut":
                    for _ in range(5):
                        asyncio.run(server.cut())
                        time.sleep(dice.uniform(0, 0.1))
                else:
                    server.kill() if fault == "kill" else server.stop()
                    time.sleep(dice.uniform(0, 3))
                    server.start()
                for name, proc in deployment.procs.items():
                    assert proc.alive, f"{name} did not survive: {fault}\n{proc.tail()}"
        drivers.wait_for(len(ledger.ids) + 20)
    deployment.wait_ready()
    assert {name: proc.pid for name, proc in deployment.procs.items()} == pids


async def _verdict(url: str, ledger: book.Ledger, mailbox: Mailbox, *, on_postgres: bool) -> int:
    connection = await asyncpg.connect(url)
    try:
        if on_postgres:
            book.judge_log(ledger, await book.routed_on_postgres(connection))
            letters = await connection.fetchval(
                "SELECT count(*) FROM log.record r JOIN log.topic t ON t.id = r.topic_id WHERE t.name = 'feedback.dead-letter'"
            )
            assert letters == 0
        await book.judge_database(connection, ledger)
        return await book.judge_mail(connection, mailbox)
    finally:
        await connection.close()


@pytest.mark.timeout(240)
def test_sigterm_while_the_database_stands_still(tmp_path: Path, server: Server) -> None:
    """What hangs is not waited for: nothing that was acknowledged is only in this process."""
    with Deployment.apart(tmp_path / "apart", server.url) as deployment:
        server.stand_still()
        try:
            deployment.until(
                lambda: httpx2.get(f"{deployment.urls['ingest']}/readyz", timeout=5).status_code == 503,
                httpx2.HTTPError,
            )
            for proc in deployment.procs.values():
                proc.signal(signal.SIGTERM)
            for name, proc in deployment.procs.items():
                code = proc.ended()
                by_force = "exit.forced" in proc.tail()
                assert code == (1 if by_force else 0), f"{name} ended with {code}\n{proc.tail()}"
        finally:
            server.go_on()
