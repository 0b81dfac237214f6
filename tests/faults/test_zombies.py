"""A process that stands still for longer than its session, and then goes on as if nothing had happened.

Router and closer have a twin each. One of both is stopped (SIGSTOP) in the midst of its work, for longer than the group
waits; the twins take over and go on; then the stopped ones wake up, with batches in hand that are not theirs any more.
Nothing that they still believe may show: one routed event, one effect, no second mail. Short here; FLYWHEEL_FAULTS=full
stops them often.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.brokers import Cluster
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.settled import settled
from tests.mailbox import Mailbox

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
ROUNDS = 12 if FULL else 1
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)
LEASE_S, SESSION_S = 3.0, 7.0
TAKEN_OVER_S = 60.0


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.mark.timeout(600 if FULL else 240)
def test_on_the_embedded_log(tmp_path: Path, database_url: str, mailbox: Mailbox) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    with Deployment.apart(tmp_path, database_url, {"SMTP_URL": mailbox.url}) as deployment:
        _stopped(deployment, database_url, ledger, LEASE_S)
        asyncio.run(settled(database_url, ledger))
        unknown = asyncio.run(_verdict(database_url, ledger, mailbox, on_postgres=True))
    print(f"{ROUNDS} rounds on the embedded log: {ledger}; mails of unknown fate: {unknown}, each listed")


@pytest.mark.kafka
@pytest.mark.timeout(900 if FULL else 240)
def test_on_kafka(tmp_path: Path, database_url: str, own_kafka: Cluster, mailbox: Mailbox) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    env = {"SMTP_URL": mailbox.url, "KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}
    with Deployment.apart(tmp_path, database_url, env) as deployment:
        _stopped(deployment, database_url, ledger, SESSION_S)
        asyncio.run(settled(database_url, ledger))
        mine = set(ledger.ids.values())
        book.judge_log(ledger, [r for r in book.routed_on_kafka(own_kafka.bootstrap) if r[0] in mine])
        unknown = asyncio.run(_verdict(database_url, ledger, mailbox, on_postgres=False))
    print(f"{ROUNDS} rounds on Kafka: {ledger}; mails of unknown fate: {unknown}, each listed")


def _stopped(deployment: Deployment, url: str, ledger: book.Ledger, session_s: float) -> None:
    dice = random.Random(SEED)
    pairs = [(deployment.procs[name], deployment.twin(name)) for name in ("router", "closer")]
    deployment.wait_ready()
    with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key, threads=3) as drivers:
        for round_ in range(ROUNDS):
            for which in (0, 1) if not FULL else (round_ % 2,):
                drivers.wait_for(len(ledger.ids) + 40)
                time.sleep(dice.uniform(0, 0.5))
                victims = [pair[which] for pair in pairs]
                for victim in victims:
                    victim.signal(signal.SIGSTOP)
                stopped_at = time.monotonic()
                asyncio.run(_goes_on(url, ledger))
                time.sleep(max(0.0, stopped_at + session_s + 1.5 - time.monotonic()))
                for victim in victims:
                    victim.signal(signal.SIGCONT)
                drivers.wait_for(len(ledger.ids) + 40)
                for proc in (proc for pair in pairs for proc in pair):
                    if not proc.alive:  # a fenced one may end; a supervisor starts it again
                        print(f"{proc.name} ended with {proc.running.returncode if proc.running else None}")
                        proc.start()
        drivers.wait_for(len(ledger.ids) + 20)


async def _goes_on(url: str, ledger: book.Ledger) -> None:
    """Until everything that was acknowledged when the process stopped has had its effect, by whoever is left."""
    connection = await asyncpg.connect(url)
    acknowledged = list(ledger.ids.values())
    deadline = time.monotonic() + TAKEN_OVER_S
    try:
        while True:
            seen = await connection.fetchval(
                "SELECT count(*) FROM published.feedback WHERE id = ANY($1::uuid[])", acknowledged
            )
            if seen == len(acknowledged):
                return
            assert time.monotonic() < deadline, f"{seen} of {len(acknowledged)}: nobody took over"
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _verdict(url: str, ledger: book.Ledger, mailbox: Mailbox, *, on_postgres: bool) -> int:
    connection = await asyncpg.connect(url)
    try:
        if on_postgres:
            book.judge_log(ledger, await book.routed_on_postgres(connection))
        await book.judge_database(connection, ledger)
        return await book.judge_mail(connection, mailbox)
    finally:
        await connection.close()
