"""Nine thousand real texts in six languages through the front door, on either log: none refused that is valid, each
routed exactly once with a reason, and all that are owed an answer have a case."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.deployment import Deployment
from tests.faults.ledger import routed_on_kafka, routed_on_postgres

BATCH = 500
SETTLE_S = 120.0


@pytest.fixture(params=["one process", pytest.param("four on kafka", marks=pytest.mark.kafka)])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    if request.param == "one process":
        made = Deployment.all_in_one(tmp_path, None, "--no-sample")
    else:
        kafka = request.getfixturevalue("own_kafka").bootstrap
        made = Deployment.apart(tmp_path, request.getfixturevalue("database_url"), {"KAFKA_BOOTSTRAP_SERVERS": kafka})
    with made:
        yield made


@pytest.mark.timeout(300)
def test_every_real_text_is_taken_routed_once_and_answered_for(deployment: Deployment, corpus: Path) -> None:
    lines = (corpus / "text" / "routing.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    bodies = [_body(number, json.loads(line)) for number, line in enumerate(lines)]
    ids: set[str] = set()
    with deployment.http("ingest") as ingest:
        for start in range(0, len(bodies), BATCH):
            content = "\n".join(json.dumps(body, ensure_ascii=False) for body in bodies[start : start + BATCH]).encode()
            answer = ingest.post(
                "/v1/feedback/batch", content=content, headers={"Content-Type": "application/x-ndjson"}
            )
            assert answer.status_code == 202, answer.text
            assert answer.json()["rejected"] == []
            ids.update(answer.json()["ids"])
    assert len(ids) == len(bodies)
    asyncio.run(_verdict(deployment, ids))


def _body(number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": f"corpus-{row['set']}",
        "external_id": f"row-{number}",
        "text": row["text"],
        "customer": {"id": f"customer-{number}"},
    }


async def _verdict(deployment: Deployment, ids: set[str]) -> None:
    bootstrap = deployment.env.get("KAFKA_BOOTSTRAP_SERVERS")
    url = deployment.env.get("DATABASE_URL")
    if url is None:
        url = json.loads((deployment.data_dir / "running.json").read_text())["database_url"]
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(SETTLE_S):
            while await connection.fetchval("SELECT count(*) FROM published.feedback") < len(ids):
                await asyncio.sleep(0.2)
        routed = routed_on_kafka(bootstrap) if bootstrap else await routed_on_postgres(connection)
        times = Counter(feedback_id for feedback_id, *_ in routed)
        assert set(times) == ids
        assert set(times.values()) == {1}
        seen = await connection.fetch(
            "SELECT id::text, team, reasons, follow_up, case_id, decided_by FROM published.feedback"
        )
        assert {row["id"] for row in seen} == ids
        assert all(row["team"] and json.loads(row["reasons"]) for row in seen)
        without = [row["id"] for row in seen if row["follow_up"] and row["case_id"] is None]
        assert not without, f"{len(without)} are owed an answer and have no case"
        print(
            f"\n{len(ids)} taken, {len(routed)} routed, "
            f"teams {dict(Counter(row['team'] for row in seen))}, by {dict(Counter(row['decided_by'] for row in seen))}, "
            f"{sum(row['case_id'] is not None for row in seen)} with a case"
        )
    finally:
        await connection.close()
