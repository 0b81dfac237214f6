"""Row 18 of the fault matrix: what comes twice. A tenth of all is posted again; some ids come again with other words; and
router and closer are sent back to the first record of all, as an operator does who wants everything read again.

The answer and the id are the same, other words under an id are recorded as a conflict, and nothing has a second effect.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.log import Log
from shared.log.kafka import KafkaLog
from shared.log.postgres import PostgresLog
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.conftest import Say
from tests.faults.settled import settled
from tests.mailbox import Mailbox

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
ACKNOWLEDGED = 10_000 if FULL else 150
CONFLICTS = 20
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)
RECEIVED = "feedback.received"
READ_AGAIN_S = 600.0 if FULL else 90.0


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.mark.parametrize("log", ["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
@pytest.mark.timeout(1800 if FULL else 240)
def test_row_18_delivered_twice_and_read_twice(
    tmp_path: Path, database_url: str, mailbox: Mailbox, log: str, request: pytest.FixtureRequest, say: Say
) -> None:
    kafka = str(request.getfixturevalue("own_kafka").bootstrap) if log == "kafka" else None
    env = {"SMTP_URL": mailbox.url} | ({"KAFKA_BOOTSTRAP_SERVERS": kafka} if kafka else {})
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    with Deployment.apart(tmp_path, database_url, env) as deployment:
        with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key) as drivers:
            drivers.wait_for(ACKNOWLEDGED)
        for external_id in random.Random(SEED).sample(sorted(ledger.ids), CONFLICTS):
            _other_words(deployment, ledger, external_id)
        asyncio.run(settled(database_url, ledger))
        asyncio.run(_until_read(database_url, kafka))
        counts = book.judge(database_url, ledger, kafka=kafka, mailbox=mailbox)
        decided = asyncio.run(_decided(database_url))
        assert decided == {"conflict": CONFLICTS, "duplicate": ledger.repeats}
        before = asyncio.run(_effects(database_url))
        for name in ("router", "closer"):
            deployment.procs[name].kill()
        asyncio.run(_back_to_the_start(database_url))
        if kafka:
            deployment.until(lambda: _group_at_the_start(kafka))
        for name in ("router", "closer"):
            deployment.procs[name].start()
        deployment.wait_ready()
        asyncio.run(_until_read(database_url, kafka))
        asyncio.run(settled(database_url, ledger))
        assert asyncio.run(_effects(database_url)) == before
        asyncio.run(_still_judged(database_url, ledger, mailbox))
    say(f"row 18, delivered and read twice, {log}", counts, conflicts=decided["conflict"], read_again=len(ledger.ids))


def _other_words(deployment: Deployment, ledger: book.Ledger, external_id: str) -> None:
    """Under the same id, by the same customer; the first is not in flight any more, so whoever posts is not refused."""
    (customer,) = [name for name, sent in ledger.order.items() if external_id in sent]
    who = {"id": customer, "email": f"{customer}@example.com"}
    body = {"source": "faults", "external_id": external_id, "text": "Other words.", "customer": who}
    with deployment.http("ingest") as http:
        answer = http.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text
    ledger.landed(external_id, answer.json()["id"])


async def _log(url: str, kafka: str | None) -> Log:
    return await (PostgresLog.open(url) if kafka is None else KafkaLog.open(kafka))


async def _until_read(url: str, kafka: str | None) -> None:
    """Until the router has read all that was received, and the closer all that came of it."""
    log, connection = await _log(url, kafka), await asyncpg.connect(url)
    try:
        async with asyncio.timeout(READ_AGAIN_S):
            while any((await log.lag("router", [RECEIVED])).values()):
                await asyncio.sleep(0.1)
            ends = await _ends(connection, kafka)
            while True:
                stored = {
                    (row["topic"], row["partition"]): row["position"]
                    for row in await connection.fetch("SELECT topic, partition, position FROM closer.position")
                }
                if all(stored.get(place, 0) >= end for place, end in ends.items()):
                    return
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
        await log.close()


async def _ends(connection: asyncpg.Connection, kafka: str | None) -> dict[tuple[str, int], int]:
    """What comes after the last record of each partition that the closer reads."""
    if kafka is None:
        rows = await connection.fetch(
            """SELECT t.name, r.partition, max(r."offset") + 1 FROM log.record r JOIN log.topic t ON t.id = r.topic_id
               WHERE t.name LIKE 'feedback.routed.%' OR t.name = 'feedback.decisions' GROUP BY 1, 2"""
        )
        return {(row[0], row[1]): row[2] for row in rows}
    places = [
        book.place_of(message)
        for prefix in ("feedback.routed.", "feedback.decisions")
        for message in book.on_kafka(kafka, prefix)
    ]
    return {(topic, partition): offset + 1 for topic, partition, offset in sorted(places)}


async def _back_to_the_start(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE closer.position SET position = 0")
        await connection.execute("UPDATE log.position SET position = NULL WHERE group_name = 'router'")
    finally:
        await connection.close()


def _group_at_the_start(kafka: str) -> bool:
    """As `kafka-consumer-groups --reset-offsets` does it; refused until the dead member is out of the group."""
    admin = AdminClient({"bootstrap.servers": kafka})
    numbers = admin.list_topics(RECEIVED, timeout=10).topics[RECEIVED].partitions
    wanted = ConsumerGroupTopicPartitions("router", [TopicPartition(RECEIVED, number, 0) for number in numbers])
    (answer,) = admin.alter_consumer_group_offsets([wanted]).values()
    try:
        return all(tp.error is None for tp in answer.result(10).topic_partitions)
    except KafkaException:
        return False


async def _decided(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT decision, count(*) FROM closer.decision GROUP BY 1")
        return {row[0]: int(row[1]) for row in rows}
    finally:
        await connection.close()


async def _effects(url: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [
            tuple(row)
            for row in await connection.fetch(
                "SELECT c.id, count(*) FROM published.cases c JOIN published.timeline t ON t.case_id = c.id"
                " WHERE t.what IN ('opened', 'joined') GROUP BY 1 ORDER BY 1"
            )
        ]
    finally:
        await connection.close()


async def _still_judged(url: str, ledger: book.Ledger, mailbox: Mailbox) -> None:
    """Its log holds every routed event twice now, as it was asked to; the effects are what they were."""
    connection = await asyncpg.connect(url)
    try:
        await book.judge_database(connection, ledger)
        await book.judge_mail(connection, mailbox)
    finally:
        await connection.close()
