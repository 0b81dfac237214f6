"""A team reads its topic with Kafka's own console consumer: each event once, whatever became of the router meanwhile."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from confluent_kafka import Producer

from tests import console_consumer
from tests.brokers import Cluster
from tests.deployment import Deployment

TOPIC = "feedback.routed.support"
ROUNDS, ITEMS = 3, 100


@pytest.fixture
def deployment(tmp_path: Path, database_url: str, own_kafka: Cluster) -> Iterator[Deployment]:
    with Deployment.apart(tmp_path, database_url, {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}) as made:
        yield made


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_each_event_once_by_kafkas_own_console_consumer(
    deployment: Deployment, own_kafka: Cluster, database_url: str
) -> None:
    ingest, router = deployment.http("ingest"), deployment.procs["router"]
    ids: list[str] = []
    for number in range(ROUNDS):
        items = [
            {"source": "web", "external_id": f"{number}/{i}", "text": "Where is it?", "customer": {"id": f"c-{i % 20}"}}
            for i in range(ITEMS)
        ]
        for _ in range(2):  # every delivery comes twice
            answer = ingest.post("/v1/feedback/batch", json=items)
            assert (answer.status_code, answer.json()["rejected"]) == (202, [])
        ids += answer.json()["ids"]
        router.kill()  # wherever it is: what it had written of a transaction is never committed
        router.start()
    deployment.wait_ready()
    deployment.until(lambda: asyncio.run(_effects(database_url)) == len(ids), seconds=60)
    _give_up_a_transaction(own_kafka.bootstrap)

    seen = Counter(
        json.loads(value)["id"] for value in console_consumer.read(own_kafka.bootstrap, TOPIC, "read_committed")
    )
    assert seen == Counter(ids)
    everything = console_consumer.read(own_kafka.bootstrap, TOPIC, "read_uncommitted")
    assert b'{"id":"never-committed"}' in everything, "there was something to be kept from"


async def _effects(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM published.feedback"))
    finally:
        await connection.close()


def _give_up_a_transaction(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "a-router-that-gives-up"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(TOPIC, b'{"id":"never-committed"}')
    producer.flush(30)
    producer.abort_transaction(30)
