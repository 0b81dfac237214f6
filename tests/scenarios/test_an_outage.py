"""A planned maintenance: many say the same, nobody is troubled by it until it is over, and nothing of it is lost then."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.deployment import Deployment
from tests.hook_server import HookServer
from tests.mailbox import Mailbox

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
CUSTOMERS = 40
TEAMS = """
default_team: support
teams:
  - name: product
    subscribe:
      - {channel: webhook, url: "${HOOK_URL}/product", secret: "${HOOK_SECRET}", events: [feedback.routed, case.changed]}
  - name: support
  - name: sales
"""
SLA = "policies: [{name: fast, acknowledge: 1m, resolve: 1h}]"
RULES = """
rules:
  - name: maintenance
    when: {all: [{text: {contains: login}}, {not: {urgency: [safety, legal]}}]}
    then: [{assign: product}, {tag: login}, {suppress: {from: FROM, until: UNTIL, because: planned maintenance}}]
    examples:
      - {text: login does not work, received_at: FROM, expect: {team: product, held: planned maintenance}}
      - {text: login does not work, received_at: UNTIL, expect: {team: product, held: false}}
  - {name: product, when: {all: []}, then: [{assign: product}]}
"""


@pytest.fixture
def up(tmp_path: Path, database_url: str) -> Iterator[tuple[Deployment, HookServer, Mailbox]]:
    folder = tmp_path / "config"
    now = datetime.now(UTC)
    window = {"FROM": (now - timedelta(hours=1)).isoformat(), "UNTIL": (now + timedelta(hours=1)).isoformat()}
    with HookServer() as hooks, Mailbox() as mailbox:
        ours = {"HOOK_URL": hooks.url, "HOOK_SECRET": SECRET, "CLOSER_WEBHOOK_ALLOW": "127.0.0.1"}
        env = {**ours, "SMTP_URL": mailbox.url, "FLYWHEEL_CONFIG": str(folder)}
        deployment = Deployment.apart(tmp_path, database_url, env)
        deployment.flywheel("init", str(folder), FLYWHEEL_CONFIG="")
        rules = RULES
        for name, moment in window.items():
            rules = rules.replace(name, moment)
        for name, text in (("teams", TEAMS), ("sla", SLA), ("routing", rules)):
            (folder / f"{name}.yaml").write_text(text)
        with deployment:
            yield deployment, hooks, mailbox


def test_nobody_is_troubled_until_it_is_over_and_then_all_of_it_is_there(
    up: tuple[Deployment, HookServer, Mailbox], database_url: str
) -> None:
    deployment, hooks, mailbox = up
    items = [said(f"login does not work, {n}", f"c-{n}") for n in range(CUSTOMERS)]
    items += [said("login does not work, I will sue you", "c-angry"), said("The invoice is wrong", "c-other")]
    answer = deployment.http("ingest").post("/v1/feedback/batch", json=items)
    assert answer.status_code == 202, answer.text
    *held, sues, other = answer.json()["ids"]
    deployment.until(lambda: len(cases(deployment)) == len(items))
    deployment.until(lambda: len(routed(hooks)) == 2)
    assert set(routed(hooks)) == {sues, other}, "what no rule holds back is told as ever"
    listed = cases(deployment, "--held")
    assert {one["first_feedback_id"] for one in listed} == set(held)
    assert {(one["state"], one["held_because"]) for one in listed} == {("open", "planned maintenance")}
    deployment.until(lambda: len(mailbox.all()) == len(items), seconds=60.0)  # each customer is answered

    # Somebody looks at one: it is theirs at once, and told to their team.
    looked_at = next(one for one in listed if one["first_feedback_id"] == held[0])
    shown = deployment.flywheel("case", looked_at["id"]).stdout
    assert f"held until {looked_at['held_until']}: planned maintenance" in shown
    deployment.flywheel("ack", looked_at["id"])
    deployment.until(lambda: held[0] in routed(hooks))
    assert len(cases(deployment, "--held")) == CUSTOMERS - 1

    # Promises are broken by now, and an hour goes by; then the closer is killed while it lets them go.
    waited = set(routed(hooks))
    later(database_url)
    deployment.procs["closer"].kill()
    deployment.procs["closer"].start()
    deployment.until(lambda: set(routed(hooks)) - waited)
    deployment.procs["closer"].kill()
    deployment.procs["closer"].start()
    deployment.wait_ready()
    # What was on its way when its sender was killed is sent again a lease later.
    deployment.until(lambda: set(routed(hooks)) == {*held, sues, other}, seconds=150.0)
    deployment.until(lambda: len(changed(hooks, "released")) == CUSTOMERS, seconds=150.0)
    assert set(changed(hooks, "released").values()) == {1}
    assert cases(deployment, "--held") == []
    steps = [tuple(row) for row in asyncio.run(fetch(database_url, STEPS))]
    assert steps == [("released", CUSTOMERS, CUSTOMERS)], "each once"
    assert Counter(mail["To"] for mail in mailbox.all()).most_common(1)[0][1] == 1, "and no customer twice"


STEPS = "SELECT what, count(*), count(DISTINCT case_id) FROM published.timeline WHERE what = 'released' GROUP BY what"


def said(text: str, customer: str) -> dict[str, Any]:
    return {"source": "app", "text": text, "customer": {"id": customer, "email": f"{customer}@example.com"}}


def cases(deployment: Deployment, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deployment.flywheel("cases", "--limit", "200", "--json", *options).stdout)[
        "items"
    ]
    return found


def bodies(hooks: HookServer, kind: str) -> dict[str, Any]:
    """By `webhook-id`: a copy is the same."""
    found = {one.headers["webhook-id"]: json.loads(one.body) for one in hooks.posted}
    return {identity: body["data"] for identity, body in found.items() if body["type"] == kind}


def routed(hooks: HookServer) -> list[str]:
    return [data["id"] for data in bodies(hooks, "feedback.routed").values()]


def changed(hooks: HookServer, what: str) -> Counter[str]:
    return Counter(data["case_id"] for data in bodies(hooks, "case.changed").values() if data["what"] == what)


def later(database_url: str) -> None:
    """The clock is the database's: in place of moving it on, what was to come in an hour is moved to now."""
    asyncio.run(
        fetch(
            database_url,
            "WITH told AS (UPDATE closer.delivery SET due_at = now(), waiting_since = now() WHERE due_at > now())"
            " UPDATE closer.case SET due_at = now(), data = jsonb_set(data, '{held,until}', to_jsonb(now()))"
            " WHERE data ? 'held' RETURNING 1",
        )
    )


async def fetch(database_url: str, statement: str) -> Any:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()
