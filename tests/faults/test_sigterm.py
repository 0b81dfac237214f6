"""SIGTERM under load, as every deployment of a new version sends it.

Whoever was let in is answered: with 202, or with a 503 that says "send it again". The process ends with
exit code 0, so by itself and within its 9.5 seconds (after which it is ended, with 1), and the next one goes on where it
was. Each request has a connection of its own, so that a
client that was refused at the door is told from one that was thrown out after it had been let in.
"""

import asyncio
import errno
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from tests.brokers import Cluster
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.settled import settled

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
TERMS = 20 if FULL else 2
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)
GIVE_UP_S = 60.0
CLIENTS = 12


@dataclass
class Clients:
    """They post, each piece until it is acknowledged, over a fresh connection each time."""

    ledger: book.Ledger
    deployment: Deployment
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        for seq in range(1_000_000):
            if self.stop.is_set():
                return
            external_id = f"{number}-{seq}"
            self.ledger.order[f"term-{number}"].append(external_id)
            body = {"source": "faults", "external_id": external_id, "text": "Where is my order?"}
            body["customer"] = {"id": f"term-{number}"}  # type: ignore[assignment]
            deadline = time.monotonic() + GIVE_UP_S
            while not self._post(external_id, json.dumps(body).encode()):
                if time.monotonic() > deadline:
                    self.broken.append(f"{external_id} was never acknowledged")
                    return
                time.sleep(0.02)

    def _post(self, external_id: str, body: bytes) -> bool:
        place = urlsplit(self.deployment.urls["ingest"])
        head = (
            f"POST /v1/feedback HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {self.deployment.api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        try:
            with socket.create_connection((str(place.hostname), place.port or 0), timeout=15) as connection:
                connection.sendall(head.encode() + body)
                while piece := connection.recv(65536):
                    answer += piece
        except ConnectionRefusedError:
            self.outcomes["refused at the door"] += 1
            return False
        except OSError as error:
            self._broke(external_id, errno.errorcode.get(error.errno or 0, type(error).__name__), answer)
            return False
        status = answer[9:12].decode()
        if status == "202":
            self.outcomes["ok"] += 1
            self.ledger.note(external_id, "ok")
            self.ledger.landed(external_id, json.loads(answer.partition(b"\r\n\r\n")[2])["id"])
            return True
        if status == "503":
            self.outcomes["unknown, send again"] += 1
            self.ledger.note(external_id, "unknown")
            return False
        self._broke(external_id, status or "closed without a word", answer)
        return False

    def _broke(self, external_id: str, how: str, answer: bytes) -> None:
        self.outcomes[how] += 1
        self.ledger.note(external_id, "unknown")
        self.broken.append(f"{external_id}: {how} after {len(answer)} bytes")


@pytest.mark.timeout(600 if FULL else 240)
def test_on_the_embedded_log(tmp_path: Path, database_url: str) -> None:
    with Deployment.all_in_one(tmp_path, {"DATABASE_URL": database_url}, "--no-sample") as deployment:
        clients = _terminated(tmp_path, deployment, "all")
        asyncio.run(settled(database_url, clients.ledger))
        asyncio.run(_verdict(database_url, clients.ledger))


@pytest.mark.kafka
@pytest.mark.timeout(600 if FULL else 240)
def test_on_kafka(tmp_path: Path, database_url: str, own_kafka: Cluster) -> None:
    with Deployment.apart(tmp_path, database_url, {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}) as deployment:
        clients = _terminated(tmp_path, deployment, "ingest", "router", "closer")
        asyncio.run(settled(database_url, clients.ledger))
        mine = set(clients.ledger.ids.values())
        book.judge_log(clients.ledger, [r for r in book.routed_on_kafka(own_kafka.bootstrap) if r[0] in mine])
        asyncio.run(_effects(database_url, clients.ledger))


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_while_kafka_stands_still(tmp_path: Path, database_url: str, own_kafka: Cluster) -> None:
    """Every call that waits for it is left to its fate, in whatever thread: the interpreter waits for none of them."""
    with Deployment.apart(tmp_path, database_url, {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}) as deployment:
        own_kafka.brokers[0].pause()
        try:
            ready = f"{deployment.urls['ingest']}/readyz"
            deployment.until(lambda: httpx2.get(ready, timeout=5).status_code == 503, httpx2.HTTPError)
            for proc in deployment.procs.values():
                proc.signal(signal.SIGTERM)
            for name, proc in deployment.procs.items():
                code = proc.ended()
                by_force = "exit.forced" in proc.tail()
                assert code == (1 if by_force else 0), f"{name} ended with {code}\n{proc.tail()}"
        finally:
            own_kafka.brokers[0].resume()


def _terminated(directory: Path, deployment: Deployment, *names: str) -> Clients:
    dice = random.Random(SEED)
    clients = Clients(book.Ledger(directory / "ledger.jsonl"), deployment)
    threads = [threading.Thread(target=clients.run, args=(number,), daemon=True) for number in range(CLIENTS)]
    slowest = 0.0
    for thread in threads:
        thread.start()
    try:
        for _ in range(TERMS):
            goal = len(clients.ledger.ids) + 50
            deployment.until(lambda goal=goal: len(clients.ledger.ids) >= goal)  # type: ignore[misc]
            time.sleep(dice.uniform(0, 0.3))
            for name in names:
                proc = deployment.procs[name]
                before = time.monotonic()
                code = proc.terminate()
                took = time.monotonic() - before
                slowest = max(slowest, took)
                assert code == 0, f"{name} ended with {code} after {took:.1f} s\n{proc.tail()}"
                proc.start()
            deployment.wait_ready()
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join(GIVE_UP_S + 20)
    assert not any(thread.is_alive() for thread in threads), "a client hangs"
    print(f"{TERMS} terms: {dict(clients.outcomes)}; the slowest stop took {slowest:.1f} s")
    assert not clients.broken, clients.broken[:5]
    return clients


async def _verdict(url: str, ledger: book.Ledger) -> None:
    connection = await asyncpg.connect(url)
    try:
        book.judge_log(ledger, await book.routed_on_postgres(connection))
    finally:
        await connection.close()
    await _effects(url, ledger)


async def _effects(url: str, ledger: book.Ledger) -> None:
    connection = await asyncpg.connect(url)
    try:
        await book.judge_database(connection, ledger)
    finally:
        await connection.close()
