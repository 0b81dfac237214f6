"""An issue is closed in GitHub, whose signed webhook says so: who waited for it reads the answer that was prepared, once, whatever is
killed and however often GitHub says it. The services apart, on Postgres and on Kafka."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from email import message_from_bytes, policy
from typing import Any

import pytest

from tests.brokers import one_broker
from tests.deployment import Deployment

SECRET = "a secret of the tests for github"
SOURCES = f"""
sources:
  - {{name: github, connector: github, secrets: ["{SECRET}"]}}
"""
ANSWER = "The export takes a minute now."
WAITING = ("ann@example.com", "bo@example.com")
REPORTER = {"login": "li-wang", "id": 7001, "type": "User"}


@pytest.fixture(scope="module", params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def deployment(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("ships")
    env = {"FLYWHEEL_CONFIG": str(directory / "config")}
    with ExitStack() as stack:
        if request.param == "kafka":
            broker = stack.enter_context(contextmanager(one_broker)())
            env["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
        made = Deployment.apart(directory, stack.enter_context(new_database()), env)
        made.flywheel("init", str(directory / "config"))
        (directory / "config" / "sources.yaml").write_text(SOURCES)
        yield stack.enter_context(made)


def test_a_closed_issue_closes_the_loop_of_everybody_who_waited_for_it(deployment: Deployment) -> None:
    ingest, closer, console = (deployment.http(name) for name in ("ingest", "closer", "console"))
    for address in WAITING:
        body = {"source": "mail", "text": "Exporting takes an hour, please fix it.", "customer": {"email": address}}
        assert ingest.post("/v1/feedback", json=body).status_code == 202
    waiting = deployment.until(lambda: _of(closer, *WAITING))
    # Through the console's address, which is the front door.
    work = [{"source": "github", "work_id": "acme/app#12"}]
    begun = console.post("/v1/initiatives", json={"title": "A fast export", "work": work, "cases": waiting}).json()
    prepared = console.patch(f"/v1/initiatives/{begun['id']}", json={"answer": ANSWER, "language": "en"})
    assert (prepared.status_code, prepared.json()["waiting"]) == (200, 2)

    opened = _posts(deployment, "opened", body="Since 2.3 the export takes an hour.")
    reported = deployment.until(lambda: _case_of(console, opened))
    first = _posts(deployment, "closed", closed_at="2026-04-09T10:00:00Z")
    deployment.procs["closer"].kill()
    deployment.procs["closer"].start()
    deployment.wait_ready()
    assert _posts(deployment, "closed", closed_at="2026-04-09T10:00:00Z") == first, "a redelivery"
    deployment.until(lambda: _states(closer, waiting) == {"notified"})
    deployment.until(lambda: "work.answered" in _steps(console, first))

    # Reopened there, and closed again.
    again = _posts(deployment, "closed", closed_at="2026-04-10T10:00:00Z")
    deployment.until(lambda: "work.told" in _steps(console, again))
    deployment.until(lambda: _whats(closer, reported).count("work.shipped") == 2)
    assert _states(closer, [reported]) == {"open"}, "who reported it is answered by a person"
    found = closer.get(f"/v1/initiatives/{begun['id']}").json()
    assert [step["what"] for step in found["steps"]][-3:] == ["work.shipped", "shipped", "work.shipped"]
    assert sorted(_answered(deployment)) == sorted(WAITING)


def _of(closer: Any, *addresses: str) -> list[str] | None:
    cases = [case["id"] for case in closer.get("/v1/cases").json()["items"] if case["customer"] in addresses]
    return cases if len(cases) == len(addresses) else None


def _states(closer: Any, cases: list[str]) -> set[str]:
    return {closer.get(f"/v1/cases/{case}").json()["state"] for case in cases}


def _whats(closer: Any, case: str) -> list[str]:
    return [step["what"] for step in closer.get(f"/v1/cases/{case}").json()["timeline"]]


def _case_of(console: Any, feedback: str) -> str | None:
    trace = console.get(f"/v1/feedback/{feedback}/trace").json()
    return trace["case"]["id"] if trace.get("case") else None


def _steps(console: Any, event: str) -> list[str]:
    trace = console.get(f"/v1/feedback/{event}/trace").json()
    return [step["what"] for step in trace.get("steps", ())]


def _answered(deployment: Deployment) -> list[str]:
    """To whom the answer went, as often as it did."""
    found = []
    for path in (deployment.data_dir / "mail").glob("*.eml"):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        text = mail.get_body(("plain",))
        assert text is not None
        if ANSWER in text.get_content():
            found.append(str(mail["To"]))
    return found


def _posts(deployment: Deployment, action: str, **issue: str) -> str:
    """As GitHub signs it; the event's id."""
    payload = {
        "action": action,
        "repository": {"id": 991, "name": "app", "full_name": "acme/app"},
        "sender": {"login": "sam", "id": 55, "type": "User"},
        "issue": {
            "id": 44450,
            "number": 12,
            "title": "Export",
            "user": REPORTER,
            "author_association": "NONE",
            **issue,
        },
    }
    body = json.dumps(payload).encode()
    mac = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "issues", "X-Hub-Signature-256": f"sha256={mac}"}
    answer = deployment.http("ingest").post("/v1/webhooks/github", content=body, headers=headers)
    assert answer.status_code // 100 == 2, answer.text
    found: dict[str, Any] = answer.json()
    assert found["outcome"] == "accepted", found
    return str(found["id"])
