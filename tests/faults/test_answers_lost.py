"""Row 23 of the fault matrix: it was done, and the answer is lost: ingest's to whoever posted, the database's to all of us.

Whoever has heard nothing does it again, with the same id or by the stored position, and it is done once. Single answers,
chosen by what was asked, are lost in `tests/faults/test_cut_connections.py`; here it is any of them, under load.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.brokers import free_port
from tests.deployment import READY_S, Deployment
from tests.faults import ledger as book
from tests.faults.conftest import Say
from tests.faults.settled import settled
from tests.forwarding import Losing, by_port, socket_of
from tests.mailbox import Mailbox

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
LOST = 500 if FULL else 15
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)
OF_ACKNOWLEDGEMENTS, OF_THE_DATABASE = 0.1, 0.02
"""The database says hundreds of things for each event, and a connection lost is made anew."""
CLIENTS = 8
COMMITTED = b"Z\x00\x00\x00\x05I"
"""Postgres is ready for the next query and in no transaction: what was asked is committed, by COMMIT or by itself."""


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.mark.timeout(900 if FULL else 240)
def test_row_23_ingests_answer_is_lost_after_the_log_has_it(tmp_path: Path, database_url: str, say: Say) -> None:
    ledger, port = book.Ledger(tmp_path / "ledger.jsonl"), free_port()
    with Deployment.apart(tmp_path, database_url) as deployment:
        place = urlsplit(deployment.urls["ingest"])
        door = (str(place.hostname), place.port or 0)
        with Losing(door, port, lambda data: data.startswith(b"HTTP/1.1 202"), random.Random(SEED)) as road:
            road.share = OF_ACKNOWLEDGEMENTS
            drivers = book.Drivers(
                ledger, lambda: f"http://127.0.0.1:{port}", lambda: deployment.api_key, threads=CLIENTS
            )
            with drivers:
                deployment.until(lambda: road.lost >= LOST, seconds=600 if FULL else READY_S)
        asyncio.run(settled(database_url, ledger))
        counts = book.judge(database_url, ledger)
    say("row 23, ingest's answers lost", counts, answers_lost=road.lost)
    # A tenth is posted again though it was acknowledged, and of those it does not matter what is heard.
    assert 0 < ledger.outcomes["unknown"] <= road.lost


@pytest.mark.timeout(900 if FULL else 240)
def test_row_23_the_databases_answer_is_lost_after_it_has_committed(
    tmp_path: Path, database_url: str, mailbox: Mailbox, say: Say
) -> None:
    """Ingest's append, the router's transaction, the closer's effects and its sender's claims and receipts."""
    ledger, port = book.Ledger(tmp_path / "ledger.jsonl"), free_port()
    with Losing(socket_of(database_url), port, lambda data: data.endswith(COMMITTED), random.Random(SEED)) as road:
        env = {"SMTP_URL": mailbox.url}
        with Deployment.apart(tmp_path, by_port(database_url, port), env) as deployment:
            pids = {name: proc.pid for name, proc in deployment.procs.items()}
            with book.Drivers(
                ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key, threads=CLIENTS
            ) as drivers:
                road.share = OF_THE_DATABASE
                drivers.wait_for(50)
                deployment.until(lambda: road.lost >= LOST, seconds=600 if FULL else READY_S)
                road.share = 0.0
                drivers.wait_for(len(ledger.ids) + 20)
            asyncio.run(settled(database_url, ledger))
            counts = book.judge(database_url, ledger, mailbox=mailbox)
            assert {name: proc.pid for name, proc in deployment.procs.items() if proc.alive} == pids
    say("row 23, the database's answers lost", counts, answers_lost=road.lost)
