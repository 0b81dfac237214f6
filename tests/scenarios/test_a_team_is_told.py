"""Teams that have neither Kafka nor a terminal hear of their feedback: by webhook, Slack and mail, four processes as users run
them. Only the closer has the subscriptions' secrets; people come in by the front door."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from tests.deployment import Deployment
from tests.hook_server import HookServer, Posted, Reply
from tests.mailbox import Mailbox, plain
from tests.slack_server import CHANNEL, SIGNING_SECRET, TOKEN, SlackServer, pressed

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TEAMS = f"""
default_team: support
teams:
  - name: support
    members: [{{email: li@example.com, slack: U0LI}}]
    subscribe:
      - {{channel: webhook, url: "${{HOOK_URL}}/support", secret: "${{HOOK_SECRET}}", events: [feedback.routed, case.changed]}}
      - {{channel: slack, token: "${{SLACK_BOT_TOKEN}}", signing_secret: "${{SLACK_SIGNING_SECRET}}", to: {CHANNEL}}}
      - {{channel: email, every: daily, to: members}}
  - name: product
  - name: sales
"""


@dataclass
class Told:
    deployment: Deployment
    hooks: HookServer
    slack: SlackServer
    mailbox: Mailbox

    def say(self, text: str, customer: str) -> str:
        body = {"source": "app", "text": text, "customer": {"id": customer, "email": f"{customer}@example.com"}}
        answer = self.deployment.http("ingest").post("/v1/feedback", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def routed(self) -> list[Posted]:
        return [one for one in self.hooks.posted if json.loads(one.body)["type"] == "feedback.routed"]


@pytest.fixture
def told(tmp_path: Path, database_url: str) -> Iterator[Told]:
    folder = tmp_path / "config"
    with HookServer() as hooks, SlackServer() as slack, Mailbox() as mailbox:
        deployment = Deployment.apart(tmp_path, database_url, {"FLYWHEEL_CONFIG": str(folder)})
        made = deployment.flywheel("init", str(folder), FLYWHEEL_CONFIG="")
        assert made.returncode == 0, made.stderr
        (folder / "teams.yaml").write_text(TEAMS)
        closer = deployment.procs["closer"]
        closer.env = {
            **closer.env,
            "HOOK_URL": hooks.url,
            "HOOK_SECRET": SECRET,
            "SLACK_BOT_TOKEN": TOKEN,
            "SLACK_SIGNING_SECRET": SIGNING_SECRET,
            "SLACK_API_URL": slack.url,
            "CLOSER_WEBHOOK_ALLOW": "127.0.0.1",
            "SMTP_URL": mailbox.url,
        }
        with deployment:
            yield Told(deployment, hooks, slack, mailbox)


def test_a_team_hears_by_webhook_and_slack_and_acts_where_it_hears(told: Told) -> None:
    deployment, slack = told.deployment, told.slack
    feedback_id = told.say("I was charged twice <!channel>", "c-1")
    (posted,) = deployment.until(told.routed)
    said = Webhook(SECRET).verify(posted.body, dict(posted.headers))
    assert (said["data"]["id"], said["data"]["routing"]["team"]) == (feedback_id, "support")
    (card,) = deployment.until(lambda: slack.cards)
    assert "&lt;!channel&gt;" in card.shown

    # The button comes in by the front door, as from Slack.
    body, headers = pressed(card, "assign", "U0LI", time.time())
    answer = httpx2.post(f"{deployment.urls['console']}/v1/cases/callbacks/slack", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    deployment.until(lambda: "*Assigned to*\nli@example.com" in card.shown)
    forged = httpx2.post(f"{deployment.urls['console']}/v1/cases/callbacks/slack", content=body + b"x", headers=headers)
    assert forged.status_code == 401
    assert len(slack.cards) == 1

    listed = json.loads(deployment.flywheel("deliveries", "--json").stdout)["items"]
    assert {(one["channel"], one["event"]) for one in listed} == {
        ("webhook", "feedback.routed"),
        ("webhook", "case.changed"),
        ("slack", "case"),
    }
    through_the_door = deployment.http("console").get("/v1/deliveries", params={"team": "support"}).json()["items"]
    assert {one["id"] for one in through_the_door} >= {one["id"] for one in listed}

    quoted, closer = "> I was charged twice <!channel>", deployment.http("closer")

    def in_the_digest() -> bool:  # after a minute, in which it could still be on its way
        return quoted in closer.get("/v1/deliveries/digests", params={"team": "support"}).text

    deployment.until(in_the_digest, seconds=150.0)
    assert quoted in deployment.flywheel("deliveries", "digest", "support").stdout
    sent = json.loads(deployment.flywheel("deliveries", "digest", "support", "--send", "--json").stdout)
    assert sent == {"owed": 1}
    (mail,) = told.mailbox.wait_for("li@example.com", 1)
    assert quoted in plain(mail)
    assert "nothing to say" in deployment.flywheel("deliveries", "digest", "support", "--send").stdout
    for proc in deployment.procs.values():
        log = proc.log.read_text()
        assert all(secret not in log for secret in (SECRET, TOKEN, SIGNING_SECRET)), proc.name


def test_nothing_is_lost_by_a_kill_and_what_is_given_up_is_sent_again_by_one_verb(told: Told) -> None:
    deployment, hooks = told.deployment, told.hooks
    hooks.answer = lambda _: Reply(503)
    ids = {told.say(f"I was charged twice, number {n}", f"c-{n}") for n in range(8)}
    deployment.until(lambda: hooks.posted)
    deployment.procs["closer"].kill()
    hooks.answer = lambda _: Reply()
    deployment.procs["closer"].start()
    deployment.wait_ready()

    def all_told() -> bool:
        good: list[dict[str, Any]] = json.loads(
            deployment.flywheel("deliveries", "--status", "sent", "--limit", "200", "--json").stdout
        )["items"]
        return {one["feedback_id"] for one in good if one["event"] == "feedback.routed"} == ids

    deployment.until(all_told, seconds=150.0)
    by_feedback: dict[str, set[str]] = {}
    for one in told.routed():
        by_feedback.setdefault(json.loads(one.body)["data"]["id"], set()).add(one.headers["webhook-id"])
    assert by_feedback.keys() == ids
    assert all(len(message_ids) == 1 for message_ids in by_feedback.values()), "every copy carries one id"

    hooks.answer = lambda _: Reply(410)
    gone = told.say("I was charged twice again", "c-99")

    def failed() -> list[dict[str, Any]]:
        page = json.loads(deployment.flywheel("deliveries", "--status", "failed", "--json").stdout)
        return [one for one in page["items"] if one["feedback_id"] == gone]

    deployment.until(failed)
    hooks.answer = lambda _: Reply()
    assert "answered 410: nobody is there" in deployment.flywheel("deliveries", "--status", "failed").stdout
    findings = json.loads(deployment.flywheel("doctor", "--json", check=False).stdout)["findings"]
    assert next(one["status"] for one in findings if one["check"] == "given up") == "warning"
    assert "to be sent again" in deployment.flywheel("deliveries", "redrive").stdout
    deployment.until(lambda: not failed())
    assert gone in {json.loads(one.body)["data"]["id"] for one in told.routed()}
