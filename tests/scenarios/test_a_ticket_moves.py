"""An agent moves a ticket in Zendesk, whose signed webhook says so: its case is with that team here, and the router has an example
more. On embedded parts, and with the services apart on Kafka."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.brokers import one_broker
from tests.deployment import Deployment

SECRET = "a secret of the tests for zendesk"
SOURCES = f"""
sources:
  - {{name: zendesk-eu, connector: zendesk, secrets: ["{SECRET}"]}}
"""
TEAMS = """
default_team: support
teams:
  - {name: product}
  - {name: support}
  - {name: sales, known_as: ["zendesk-eu:360001234567"]}
"""
WORDS = "The hedgehog stall at the fair was closed."


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def deployment(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("moves")
    env = {"FLYWHEEL_CONFIG": str(directory / "config"), "ROUTER_LEARN_AFTER_S": "3600"}
    with ExitStack() as stack:
        if request.param == "embedded":
            made = Deployment.all_in_one(directory, env, "--no-sample")
        else:
            broker = stack.enter_context(contextmanager(one_broker)())
            env["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
            made = Deployment.apart(directory, stack.enter_context(new_database()), env)
        made.flywheel("init", str(directory / "config"))
        (directory / "config" / "sources.yaml").write_text(SOURCES)
        (directory / "config" / "teams.yaml").write_text(TEAMS)
        yield stack.enter_context(made)


def test_a_ticket_that_is_moved_takes_its_case_along_and_teaches(deployment: Deployment) -> None:
    closer, router = deployment.http("closer"), deployment.http("router")
    opened = _posts(deployment, "ticket.created", {}, {"description": WORDS})
    (case,) = deployment.until(lambda: closer.get("/v1/cases").json()["items"])
    assert (case["team"], case["first_feedback_id"]) == ("support", opened["id"])

    moved = _posts(deployment, "ticket.group_assignment_changed", {"previous": "44", "current": "360001234567"}, {})
    deployment.until(lambda: closer.get(f"/v1/cases/{case['id']}").json()["team"] == "sales")
    whole = closer.get(f"/v1/cases/{case['id']}").json()
    steps = [step for step in whole["timeline"] if step["what"] == "reassigned"]
    assert [(step["actor"], step["reason"]) for step in steps] == [("zendesk-eu", "moved in zendesk-eu")]

    deployment.until(lambda: router.get("/v1/learning").json()["corrections"]["kept"] == 1)
    assert moved["id"] != opened["id"]

    # To where nobody is known: the case stays, and says so.
    _posts(deployment, "ticket.group_assignment_changed", {"previous": "360001234567", "current": "99"}, {})
    noted = "moved in zendesk-eu to '99', which is nobody here"
    deployment.until(lambda: noted in closer.get(f"/v1/cases/{case['id']}").text)
    assert closer.get(f"/v1/cases/{case['id']}").json()["team"] == "sales"
    assert "closer_news_total" in closer.get("/metrics").text


def _posts(deployment: Deployment, kind: str, event: dict[str, Any], detail: dict[str, Any]) -> dict[str, Any]:
    """As Zendesk signs it."""
    now = datetime.now(UTC).isoformat()
    ticket = {"id": "9105", "requester_id": "7001", "submitter_id": "7001", "is_public": True, "subject": "The fair"}
    body = json.dumps(
        {
            "type": f"zen:event-type:{kind}",
            "id": f"{kind}/{event.get('current')}",
            "time": now,
            "detail": {**ticket, **detail},
            "event": event,
        }
    )
    mac = hmac.digest(SECRET.encode(), f"{now}{body}".encode(), hashlib.sha256)
    headers = {
        "Content-Type": "application/json",
        "X-Zendesk-Webhook-Signature-Timestamp": now,
        "X-Zendesk-Webhook-Signature": base64.b64encode(mac).decode(),
    }
    answer = deployment.http("ingest").post("/v1/webhooks/zendesk-eu", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["outcome"] == "accepted", found
    return found
