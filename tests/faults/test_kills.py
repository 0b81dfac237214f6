"""kill -9, at random moments, while feedback is posted with retries of the same id.

Short here (3 kills); `make faults` does it long (20 and more). Whatever is killed and whenever: every acknowledged id
ends in exactly one routed event and one effect, in the customer's order, and nobody is mailed twice.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.settled import settled
from tests.mailbox import Mailbox

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
KILLS = 20 if FULL else 3
ROUNDS = 5 if FULL else 1
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.mark.timeout(600 if FULL else 240)
def test_kill_9_of_the_one_process(tmp_path: Path, mailbox: Mailbox) -> None:
    dice = random.Random(SEED)
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    deployment = Deployment.all_in_one(tmp_path, {"SMTP_URL": mailbox.url}, "--no-sample")
    with deployment:
        process = deployment.procs["all"]
        with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key) as drivers:
            for _ in range(KILLS):
                drivers.wait_for(len(ledger.ids) + 20)
                time.sleep(dice.uniform(0, 0.5))
                process.kill()
                process.start()
                deployment.wait_ready()
            drivers.wait_for(len(ledger.ids) + 20)
        url = _embedded_url(deployment)
        asyncio.run(settled(url, ledger))
        unknown = asyncio.run(_verdict_on_postgres(url, ledger, mailbox))
    print(f"{KILLS} kills of the one process: {ledger}; mails of unknown fate: {unknown}, each listed")


@pytest.mark.kafka
@pytest.mark.timeout(1200 if FULL else 300)
def test_kill_9_of_each_in_turn_on_kafka(
    tmp_path: Path, database_url: str, own_kafka: object, mailbox: Mailbox
) -> None:
    dice = random.Random(SEED)
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    broker = own_kafka.brokers[0]  # type: ignore[attr-defined]
    env = {"SMTP_URL": mailbox.url, "KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}  # type: ignore[attr-defined]
    deployment = Deployment.apart(tmp_path, database_url, env)
    with deployment:
        with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key) as drivers:
            for _ in range(ROUNDS):
                for victim in ("ingest", "router", "closer", "broker"):
                    drivers.wait_for(len(ledger.ids) + 20)
                    time.sleep(dice.uniform(0, 0.5))
                    if victim == "broker":
                        broker.kill()
                        time.sleep(dice.uniform(0, 2))
                        broker.start()
                    else:
                        deployment.procs[victim].kill()
                        deployment.procs[victim].start()
            drivers.wait_for(len(ledger.ids) + 20)
        deployment.wait_ready()
        asyncio.run(settled(database_url, ledger))
        book.judge_log(ledger, book.routed_on_kafka(own_kafka.bootstrap))  # type: ignore[attr-defined]
        unknown = asyncio.run(_verdict(database_url, ledger, mailbox))
    print(f"{ROUNDS} rounds on Kafka: {ledger}; mails of unknown fate: {unknown}, each listed")


def _embedded_url(deployment: Deployment) -> str:
    import json

    return str(json.loads((deployment.data_dir / "running.json").read_text())["database_url"])


async def _verdict_on_postgres(url: str, ledger: book.Ledger, mailbox: Mailbox) -> int:
    connection = await asyncpg.connect(url)
    try:
        book.judge_log(ledger, await book.routed_on_postgres(connection))
    finally:
        await connection.close()
    return await _verdict(url, ledger, mailbox)


async def _verdict(url: str, ledger: book.Ledger, mailbox: Mailbox) -> int:
    connection = await asyncpg.connect(url)
    try:
        await book.judge_database(connection, ledger)
        return await book.judge_mail(connection, mailbox)
    finally:
        await connection.close()
