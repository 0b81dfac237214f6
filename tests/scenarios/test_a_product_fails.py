"""One faulty product lowers CSAT: within moments the team has one message, everyone affected is on it, and it passes."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from standardwebhooks.webhooks import Webhook

from tests.deployment import Deployment
from tests.hook_server import HookServer, Posted

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TEAMS = """
default_team: support
teams:
  - name: product
    subscribe:
      - {channel: webhook, url: "${HOOK_URL}/product", secret: "${HOOK_SECRET}", events: [signal.raised, signal.resolved]}
  - name: support
  - name: sales
"""
SIGNALS = """
rules: []
signals:
  - {name: product-disappoints, by: attributes.product, falls: {metric: csat, by: 0.5}, at_least: 10, within: 4h, team: product}
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[Deployment, HookServer]]:
    folder = tmp_path / "config"
    with HookServer() as hooks:
        env = {"HOOK_URL": hooks.url, "HOOK_SECRET": SECRET, "CLOSER_WEBHOOK_ALLOW": "127.0.0.1"}
        deployment = Deployment.all_in_one(tmp_path, {**env, "FLYWHEEL_CONFIG": str(folder)}, "--no-sample")
        deployment.flywheel("init", str(folder), FLYWHEEL_CONFIG="")
        (folder / "teams.yaml").write_text(TEAMS)
        (folder / "routing.yaml").write_text(SIGNALS)
        with deployment:
            yield deployment, hooks


def test_one_faulty_product_is_one_message_with_everyone_on_it_and_it_passes(
    up: tuple[Deployment, HookServer],
) -> None:
    deployment, hooks = up
    rated(deployment, {"kettle": [5, 4] * 15, "toaster": [4, 5] * 15})
    counted(deployment, 60)
    later(deployment, "1 day")
    ids = rated(deployment, {"kettle": [4, 5] * 6, "toaster": [1, 2] * 6})
    (raised,) = deployment.until(lambda: told(hooks, "signal.raised"))
    said = raised["data"]
    assert (said["name"], said["group"], said["team"], said["metric"]) == (
        "product-disappoints", "toaster", "product", "csat",
    )  # fmt: skip
    assert said["expected"] == 4.5
    assert set(said["feedback_ids"]) <= set(ids["toaster"])

    # Who comes while it is up is on it, and nobody is told anew.
    late = rated(deployment, {"toaster": [1]})["toaster"]
    http = deployment.http("console")

    def evidence() -> list[str]:
        found = http.get(f"/v1/signals/{said['signal_id']}/feedback").json()["items"]
        return [one["feedback_id"] for one in found if one["case_id"]]

    assert set(deployment.until(lambda: len(evidence()) == 13 and evidence())) == {*ids["toaster"], *late}
    listed = json.loads(deployment.flywheel("signals", "--json").stdout)["items"]
    assert [(one["id"], one["group"], one["customers"]) for one in listed] == [(said["signal_id"], "toaster", 13)]
    assert "toaster" in deployment.flywheel("signals", said["signal_id"]).stdout

    later(deployment, "5 hours")
    deployment.until(lambda: told(hooks, "signal.resolved"))
    assert [one["type"] for one in map(verified, hooks.posted)] == ["signal.raised", "signal.resolved"]
    assert http.get("/v1/signals", params={"state": "up"}).json()["items"] == []


def rated(deployment: Deployment, products: dict[str, list[int]]) -> dict[str, list[str]]:
    """Scores and words of as many customers; the ids by product."""
    found = {}
    for product, scores in products.items():
        body = [
            {
                "source": "survey",
                "text": "How it works for me",
                "scores": [{"metric": "csat", "value": score}],
                "attributes": {"product": product},
                "customer": {"id": f"{product}-{score}-{number}-{len(scores)}"},
            }
            for number, score in enumerate(scores)
        ]
        answer = deployment.http("ingest").post("/v1/feedback/batch", json=body)
        assert answer.status_code == 202, answer.text
        found[product] = answer.json()["ids"]
    return found


def told(hooks: HookServer, kind: str) -> list[dict[str, Any]]:
    return [one for one in map(verified, hooks.posted) if one["type"] == kind]


def verified(posted: Posted) -> dict[str, Any]:
    found: dict[str, Any] = Webhook(SECRET).verify(posted.body, dict(posted.headers))
    return found


def counted(deployment: Deployment, hits: int) -> None:
    deployment.until(lambda: asyncio.run(_in(deployment, "SELECT sum(came)::int FROM closer.counted")) == hits)


def later(deployment: Deployment, span: str) -> None:
    """The clock is the database's: in place of moving it on, what was said is moved back."""
    for table, column in (("hit", "at"), ("counted", "minute"), ("feedback", "received_at")):
        statement = f"UPDATE closer.{table} SET {column} = {column} - CAST('{span}' AS interval) RETURNING 1"
        asyncio.run(_in(deployment, statement))


async def _in(deployment: Deployment, statement: str) -> Any:
    connection = await asyncpg.connect(json.loads((deployment.data_dir / "running.json").read_text())["database_url"])
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
