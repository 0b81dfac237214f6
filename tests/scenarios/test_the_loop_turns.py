"""One event from its post to the customer's yes, as users run it: one process on embedded parts, four processes on
Postgres, four processes on Kafka and Postgres. Real mail goes to a real SMTP server.

Each deployment starts once for all of these tests, so every test has customers of its own."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from subprocess import CalledProcessError
from typing import Any

import pytest

from shared.events.dead_letter import DeadLetter
from shared.log import TopicPartition
from shared.log.choose import open_log
from shared.settings import read_settings
from shared.topics import routed
from tests.brokers import one_broker
from tests.closer.world import feedback, message
from tests.deployment import Deployment
from tests.mailbox import Mailbox, plain


@pytest.fixture(
    scope="module", params=["one process", "four on postgres", pytest.param("four on kafka", marks=pytest.mark.kafka)]
)
def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[tuple[Deployment, Mailbox]]:
    directory = tmp_path_factory.mktemp("deployment")
    with ExitStack() as stack:
        mailbox = stack.enter_context(Mailbox())
        env = {"SMTP_URL": mailbox.url}
        if request.param == "one process":
            made = Deployment.all_in_one(directory, env, "--no-sample")
        else:
            if request.param == "four on kafka":
                broker = stack.enter_context(contextmanager(one_broker)())
                env["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
            made = Deployment.apart(directory, stack.enter_context(new_database()), env)
        yield stack.enter_context(made), mailbox


@pytest.fixture
def deployment(running: tuple[Deployment, Mailbox]) -> Deployment:
    return running[0]


@pytest.fixture
def mailbox(running: tuple[Deployment, Mailbox]) -> Mailbox:
    return running[1]


def test_from_the_post_to_the_customers_yes(deployment: Deployment, mailbox: Mailbox) -> None:
    ingest, console = deployment.http("ingest"), deployment.http("console")
    closer = deployment.http("closer")
    body = {
        "source": "app-store",
        "external_id": "rev-1",
        "text": "希望增加深色模式,晚上看屏幕太刺眼了",
        "customer": {"id": "c-1", "email": "wang@example.cn", "name": "王芳"},
    }
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    received = ingest.post("/v1/feedback", json=body, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    assert received.status_code == 202, received.text
    feedback_id = received.json()["id"]

    trace = _traced(deployment, console, feedback_id, lambda t: t["case"] is not None)
    assert trace["routing"]["team"] == "product"
    assert trace["routing"]["decided_by"] == "rule"
    assert any("希望增加" in reason["text"] for reason in trace["routing"]["reasons"])
    case = trace["case"]["id"]

    heard = mailbox.wait_for("wang@example.cn", 1)[0]
    assert trace_id in (heard["traceparent"] or "")
    assert re.search("[一-鿿]", heard["Subject"])

    for verb, data in (
        ("acknowledge", {}),
        ("assign", {"to": "li@example.com"}),
        ("resolve", {"answer": "深色模式已上线:设置 → 外观。", "language": "zh"}),
    ):
        answer = closer.post(f"/v1/cases/{case}/{verb}", json=data)
        assert answer.status_code == 200, answer.text
    answered = mailbox.wait_for("wang@example.cn", 2)[1]
    text = plain(answered)
    assert "深色模式已上线" in text
    link = re.search(r"https?://\S+?(/loop/[\w.~-]+)", text)
    assert link, text

    page = console.get(link[1])
    assert page.status_code == 200
    assert "希望增加深色模式" in page.text
    before = _traced(deployment, console, feedback_id, lambda t: t["case"]["state"] == "notified")
    assert before["case"]["state"] == "notified", "a GET changes nothing"
    thanks = console.post(link[1], data={"solved": "yes", "words": "太好了"})
    assert thanks.status_code == 200
    done = _traced(deployment, console, feedback_id, lambda t: t["case"]["state"] == "confirmed")

    assert [n["status"] for n in done["notifications"]] == ["sent", "sent"]
    assert [step["at"] for step in done["steps"]] == sorted(step["at"] for step in done["steps"])
    assert {step["service"] for step in done["steps"]} == {"ingest", "router", "closer"}
    items = console.get("/v1/measures", params={"by": "language"}).json()["items"]
    measured = next(item["measures"] for item in items if item["group"].startswith("zh"))
    assert measured["closed_loop_rate"]["value"] == 1.0
    assert measured["confirmed_rate"]["numerator"] == 1


def test_a_no_reopens_and_a_repeat_changes_nothing(deployment: Deployment, mailbox: Mailbox) -> None:
    ingest, console, closer = (deployment.http(name) for name in ("ingest", "console", "closer"))
    body = {
        "source": "web",
        "external_id": "w-1",
        "text": "The export is broken.",
        "customer": {"email": "Bea@Example.com"},
    }
    ids = {ingest.post("/v1/feedback", json=body).json()["id"] for _ in range(5)}
    assert len(ids) == 1
    feedback_id = ids.pop()
    trace = _traced(deployment, console, feedback_id, lambda t: t["case"] is not None)
    case = trace["case"]["id"]
    assert closer.post(f"/v1/cases/{case}/resolve", json={"answer": "Fixed in 2.1."}).status_code == 200
    answered = mailbox.wait_for("bea@example.com", 2)[1]
    link = re.search(r"https?://\S+?(/loop/[\w.~-]+)", plain(answered))
    assert link
    assert console.post(link[1], data={"solved": "no", "words": "Still broken for me"}).status_code == 200
    reopened = _traced(deployment, console, feedback_id, lambda t: t["case"]["state"] == "reopened")
    assert any("Still broken for me" in step["why"] for step in reopened["steps"])
    cases = closer.get("/v1/cases", params={"customer": "bea@example.com"}).json()["items"]
    assert [c["id"] for c in cases] == [case]
    assert len(mailbox.to("bea@example.com")) == 2


def test_the_verbs_speak_to_the_running_service(deployment: Deployment) -> None:
    sent = json.loads(
        deployment.flywheel("send", "--text", "Where is my invoice?", "--customer", "c-9", "--json").stdout
    )
    console = deployment.http("console")
    trace = _traced(deployment, console, sent["id"], lambda t: t["case"] is not None)
    case = trace["case"]["id"]
    assert json.loads(deployment.flywheel("trace", sent["id"], "--json").stdout)["case"]["id"] == case
    listed = json.loads(deployment.flywheel("cases", "--customer", "c-9", "--json").stdout)
    assert [row["id"] for row in listed["items"]] == [case]
    assert json.loads(deployment.flywheel("ack", case, "--json").stdout)["state"] == "acknowledged"
    assert (
        json.loads(deployment.flywheel("assign", case, "--to", "li@example.com", "--json").stdout)["state"]
        == "in_progress"
    )
    refused = deployment.flywheel("reopen", case, check=False)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "resolve" in refused.stderr
    assert (
        json.loads(deployment.flywheel("resolve", case, "--answer", "Sent again.", "--json").stdout)["state"]
        == "resolved"
    )
    doctor = deployment.flywheel("doctor", check=False)
    assert "FAIL" not in doctor.stdout, doctor.stdout
    explained = json.loads(deployment.flywheel("rules", "explain", "--text", "希望增加导出", "--json").stdout)
    assert explained["team"] == "product"
    due = json.loads(
        deployment.flywheel("sla", "explain", "--team", "support", "--at", "2026-11-23T09:00:00Z", "--json").stdout
    )
    assert due["acknowledge"]["wall"] == "2026-11-23T17:00:00.000Z"
    assert isinstance(json.loads(deployment.flywheel("dlq", "list", "--json").stdout)["items"], list)


def test_what_the_closer_could_not_take_is_sent_again_to_it_alone(deployment: Deployment) -> None:
    value = feedback(customer={"id": "c-77"})
    routed_event = message(value)
    letter = DeadLetter(
        id="feedback.routed.support/0/0",
        service="closer",
        reason="not-handled",
        detail="DataError",
        attempts=1,
        original_topic=routed_event.topic,
        key=routed_event.key,
        value=routed_event.value,
        headers=routed_event.headers,
    )
    before = asyncio.run(_appended(deployment, letter))
    for _ in range(2):
        # A busy broker may leave it unknown whether it was sent: then an operator says it again, too.
        said = deployment.until(lambda: deployment.flywheel("dlq", "redrive", letter.id).stdout, CalledProcessError)
        assert said == f"sent {letter.id}\n"
    trace = _traced(deployment, deployment.http("console"), value["id"], lambda t: t["case"] is not None)
    assert trace["case"]["state"] == "open"
    assert asyncio.run(_appended(deployment)) == before, "a subscriber sees nothing of it"
    assert [
        row["id"] for row in json.loads(deployment.flywheel("cases", "--customer", "c-77", "--json").stdout)["items"]
    ] == [trace["case"]["id"]]


async def _appended(deployment: Deployment, *letters: DeadLetter) -> int:
    """Put these among the dead letters; how many records the support team's topic has."""
    settings = read_settings(deployment.env, data_dir=deployment.data_dir)
    if "all" in deployment.procs and not settings.kafka_bootstrap_servers:
        settings = settings.with_database(
            json.loads((deployment.data_dir / "running.json").read_text())["database_url"]
        )
    log = await open_log(settings)
    producer, reader = await log.producer(), await log.reader()
    try:
        for letter in letters:
            await producer.append(letter.messages())
        topic = routed("support")
        places = [TopicPartition(topic, partition) for partition in range(await reader.partitions(topic))]
        bounds = [await reader.bounds(place) for place in places]
        return sum(end - start for start, end in bounds)
    finally:
        await producer.close()
        await reader.close()
        await log.close()


def _traced(deployment: Deployment, console: Any, feedback_id: str, good: Any) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer = console.get(f"/v1/feedback/{feedback_id}/trace")
        if answer.status_code == 200:
            trace: dict[str, Any] = answer.json()
            return trace if good(trace) else None
        assert answer.status_code == 404, answer.text
        return None

    found: dict[str, Any] = deployment.until(look, seconds=20)
    return found
