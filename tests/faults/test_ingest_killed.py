"""Row 1 of the fault matrix: kill -9 of ingest, of one of two and of both, at random moments under load.

What was in flight, one piece a client at most, is unknown to whoever sent it; sent again as it was, it lands once.
"""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.conftest import Say
from tests.faults.settled import settled

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
KILLS = 100 if FULL else 3
"""On each of the two logs."""
APART_S = 2.0 if FULL else 0.5
CLIENTS = 8
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)


@pytest.mark.parametrize("log", ["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
@pytest.mark.timeout(2400 if FULL else 240)
def test_row_01_kill_9_of_one_ingest_and_of_all(
    tmp_path: Path, database_url: str, log: str, request: pytest.FixtureRequest, say: Say
) -> None:
    kafka = str(request.getfixturevalue("own_kafka").bootstrap) if log == "kafka" else None
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka} if kafka else {}
    dice, ledger, kills = random.Random(SEED), book.Ledger(tmp_path / "ledger.jsonl"), 0
    with Deployment.apart(tmp_path, database_url, env) as deployment:
        pair = [deployment.procs["ingest"], deployment.twin("ingest")]
        deployment.wait_ready()
        doors = [deployment.urls[one.name] for one in pair]
        with book.Drivers(ledger, lambda: dice.choice(doors), lambda: deployment.api_key, threads=CLIENTS) as drivers:
            while kills < KILLS:
                drivers.wait_for(len(ledger.ids) + 20)
                time.sleep(dice.uniform(0, APART_S))
                victims = pair if kills % 3 == 1 else [dice.choice(pair)]
                for victim in victims:
                    victim.signal(signal.SIGKILL)
                for victim in victims:
                    victim.kill()
                    victim.start()
                kills += len(victims)
                deployment.wait_ready()
            drivers.wait_for(len(ledger.ids) + 20)
        asyncio.run(settled(database_url, ledger))
        say(f"row 1, ingest killed, {log}", book.judge(database_url, ledger, kafka=kafka), kills=kills)
    assert ledger.outcomes["unknown"] <= CLIENTS * kills, ledger.outcomes
