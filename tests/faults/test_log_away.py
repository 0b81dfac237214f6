"""Rows 8, 9 and 10 of the fault matrix: two of three brokers lost, all of them away for a while, one that stands still.

Without a spool ingest says 503, at once and never ok; with one it takes what comes, and the log has it in order when it is
there again. Short here; `make faults` does it long.
"""

import asyncio
import functools
import os
import random
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.log.kafka.producer import STALL_S
from tests.brokers import Cluster
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.conftest import Say
from tests.faults.settled import settled

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
AWAY_S = 60 if FULL else 4
ACKNOWLEDGED = 2_000 if FULL else 150
PROBES = 50
PAUSES = 20 if FULL else 1
GROWS_MAX_MIB = 200
"""What a minute without a log may cost: `INGEST_IN_FLIGHT_MAX_MIB` of requests (64), as much in the log's client, and what
Python makes of both."""
RECOVERS_MAX_S = 30.0
SLACK_S = 1.5
"""Where somebody still answers, one call at a time waits for a stall to find out whether the log is back."""
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)


@pytest.mark.kafka
@pytest.mark.timeout(900 if FULL else 300)
def test_row_08_two_of_three_brokers_lost(tmp_path: Path, database_url: str, three_brokers: Cluster, say: Say) -> None:
    """Two have to have a record before it is acknowledged, so one alone takes none: first without a spool, then with."""
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    lost = random.Random(SEED).sample(three_brokers.brokers, 2)
    deployment = Deployment.apart(tmp_path, database_url, {"KAFKA_BOOTSTRAP_SERVERS": three_brokers.bootstrap})
    with deployment:
        with drivers_of(deployment, ledger) as drivers:
            drivers.wait_for(20)
            for broker in lost:
                broker.kill()
            refused, slowest = refusing(deployment, ledger, STALL_S + SLACK_S)
            for broker in lost:
                broker.start()
            drivers.wait_for(len(ledger.ids) + 20)
        sent_again(deployment, ledger)
        ingest = deployment.procs["ingest"]
        assert ingest.terminate() == 0, ingest.tail()
        ingest.env = {**ingest.env, "INGEST_SPOOL_DIR": str(tmp_path / "spool")}
        ingest.start()
        deployment.wait_ready()
        with drivers_of(deployment, ledger) as drivers:
            drivers.wait_for(len(ledger.ids) + 20)
            for broker in lost:
                broker.kill()
            drivers.wait_for(len(ledger.ids) + ACKNOWLEDGED)
            waited = spooled(deployment)
            assert waited >= ACKNOWLEDGED - 20
            for broker in lost:
                broker.start()
            drivers.wait_for(len(ledger.ids) + 50)
        deployment.until(lambda: spooled(deployment) == 0, httpx2.HTTPError)
        asyncio.run(settled(database_url, ledger))
        counts = book.judge(database_url, ledger, kafka=three_brokers.bootstrap)
    say(
        "row 8, two of three brokers lost",
        counts,
        ok_meanwhile=0,
        answered_503=refused,
        slowest_503_s=f"{slowest:.2f}",
        spooled=waited,
    )


@pytest.mark.kafka
@pytest.mark.timeout(900 if FULL else 300)
def test_row_09_every_broker_away_503_at_once_and_memory_does_not_grow(
    tmp_path: Path, database_url: str, own_kafka: Cluster, say: Say
) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    deployment = Deployment.apart(tmp_path, database_url, {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap})
    with deployment:
        with drivers_of(deployment, ledger) as drivers:
            drivers.wait_for(20)
            own_kafka.brokers[0].kill()
            before = rss_mib(deployment)
            refused, slowest = refusing(deployment, ledger, 2 if FULL else 5)
            grown = rss_mib(deployment) - before
            assert grown < GROWS_MAX_MIB
            own_kafka.brokers[0].start()
            began = time.monotonic()
            drivers.wait_for(len(ledger.ids) + 1)
            recovered = time.monotonic() - began
            drivers.wait_for(len(ledger.ids) + 20)
        sent_again(deployment, ledger)
        asyncio.run(settled(database_url, ledger))
        counts = book.judge(database_url, ledger, kafka=own_kafka.bootstrap)
    say(
        f"row 9, every broker away for {AWAY_S} s",
        counts,
        answered_503=refused,
        slowest_503_s=f"{slowest:.2f}",
        rss_grown_mib=f"{grown:.0f}",
        recovered_s=f"{recovered:.1f}",
    )
    assert not FULL or recovered < RECOVERS_MAX_S


@pytest.mark.kafka
@pytest.mark.timeout(1200 if FULL else 300)
def test_row_09_every_broker_away_with_a_spool_all_arrive_in_order_through_kill_9(
    tmp_path: Path, database_url: str, own_kafka: Cluster, say: Say
) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    deployment, broker = spooling(tmp_path, database_url, own_kafka), own_kafka.brokers[0]
    with deployment:
        with drivers_of(deployment, ledger) as drivers:
            drivers.wait_for(20)
            broker.kill()
            drivers.wait_for(len(ledger.ids) + ACKNOWLEDGED)
            waited = spooled(deployment)
            assert waited >= ACKNOWLEDGED - 20
            deployment.procs["ingest"].kill()
            deployment.procs["ingest"].start()
            drivers.wait_for(len(ledger.ids) + 50)
            broker.start()
            drivers.wait_for(len(ledger.ids) + 50)
        deployment.until(lambda: spooled(deployment) == 0, httpx2.HTTPError)
        asyncio.run(settled(database_url, ledger))
        counts = book.judge(database_url, ledger, kafka=own_kafka.bootstrap)
    say("row 9, every broker away, with a spool", counts, spooled=waited)


@pytest.mark.kafka
@pytest.mark.timeout(1800 if FULL else 300)
def test_row_10_a_broker_that_stands_still_and_goes_on(
    tmp_path: Path, database_url: str, own_kafka: Cluster, say: Say
) -> None:
    """As a long garbage collection does it: connections stay, nobody answers, and sessions end meanwhile."""
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    deployment, broker = spooling(tmp_path, database_url, own_kafka), own_kafka.brokers[0]
    waited = 0
    with deployment:
        for _ in range(PAUSES):
            with drivers_of(deployment, ledger) as drivers:
                drivers.wait_for(len(ledger.ids) + 20)
                broker.pause()
                drivers.wait_for(len(ledger.ids) + ACKNOWLEDGED)
                waited += spooled(deployment)
                deployment.procs["ingest"].kill()
                broker.resume()
                deployment.procs["ingest"].start()
                drivers.wait_for(len(ledger.ids) + 50)
            deployment.until(lambda: spooled(deployment) == 0, httpx2.HTTPError)
            asyncio.run(settled(database_url, ledger))
        counts = book.judge(database_url, ledger, kafka=own_kafka.bootstrap)
    say("row 10, broker paused", counts, pauses=PAUSES, spooled=waited)


def drivers_of(deployment: Deployment, ledger: book.Ledger) -> book.Drivers:
    return book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key)


def spooling(directory: Path, database_url: str, kafka: Cluster) -> Deployment:
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "INGEST_SPOOL_DIR": str(directory / "spool")}
    return Deployment.apart(directory, database_url, env)


def refusing(deployment: Deployment, ledger: book.Ledger, slowest_s: float) -> tuple[int, float]:
    """For as long as the log is away nothing is acknowledged, and whoever asks is told so at once: how many were, and how long
    the slowest waited for it."""
    refused, slowest = 0, 0.0
    with deployment.http("ingest") as http:
        deployment.until(lambda: http.post("/v1/feedback", json=probe(0)).status_code == 503)
        acknowledged, until = len(ledger.ids), time.monotonic() + AWAY_S
        while time.monotonic() < until:
            began = time.monotonic()
            answer = http.post("/v1/feedback", json=probe(refused % PROBES))
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            refused += 1
    assert len(ledger.ids) == acknowledged, "nothing is acknowledged that nobody has"
    assert slowest < slowest_s, "not when the request's own patience ends, and not after several waits"
    assert not FULL or refused > AWAY_S, "most are told at once: each that waits takes two seconds of it"
    return refused, slowest


def sent_again(deployment: Deployment, ledger: book.Ledger) -> None:
    """What was refused was unknown: the same ids again, until they are acknowledged."""
    with deployment.http("ingest") as http:
        for number in range(PROBES):
            body = probe(number)
            ledger.note(body["external_id"], "unknown")
            answer = deployment.until(functools.partial(_taken, http, body))
            ledger.note(body["external_id"], "ok")
            ledger.landed(body["external_id"], answer.json()["id"])


def _taken(http: httpx2.Client, body: dict[str, Any]) -> httpx2.Response | None:
    answer = http.post("/v1/feedback", json=body)
    return answer if answer.status_code == 202 else None


def probe(number: int) -> dict[str, Any]:
    """Large, so that whoever keeps what he refuses is found out."""
    name = f"probe-{number}"
    return {"source": "faults", "external_id": name, "text": "x" * 20_000, "customer": {"id": name}}


def rss_mib(deployment: Deployment) -> float:
    running = deployment.procs["ingest"].running
    assert running is not None
    (line,) = [one for one in Path(f"/proc/{running.pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def spooled(deployment: Deployment) -> int:
    text = httpx2.get(f"{deployment.urls['ingest']}/metrics", timeout=5).text
    (line,) = [one for one in text.splitlines() if one.startswith("ingest_spool_records ")]
    return int(float(line.split()[1]))
