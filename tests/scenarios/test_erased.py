"""A customer is heard, answered, mailed, and erased; what is sent again brings nothing of them back. Through separate processes,
on the embedded log and on Kafka."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests.brokers import one_broker
from tests.canary import tables_with
from tests.deployment import Deployment
from tests.mailbox import Mailbox, plain

NAME, ADDRESS = "Zyxwv", "zyxwv@example.com"
SAID = {
    "source": "shop",
    "external_id": "order-7",
    "text": f"I was charged twice, says {NAME}.",
    "customer": {"id": "c-77", "email": ADDRESS, "name": NAME},
}


class Ground(NamedTuple):
    deployment: Deployment
    box: Mailbox
    database_url: str


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def ground(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Ground]:
    with ExitStack() as stack:
        box = stack.enter_context(Mailbox())
        env = {"SMTP_URL": box.url}
        if request.param == "kafka":
            env["KAFKA_BOOTSTRAP_SERVERS"] = stack.enter_context(contextmanager(one_broker)()).bootstrap
        url = stack.enter_context(new_database())
        made = Deployment.apart(tmp_path_factory.mktemp("erased"), url, env)
        yield Ground(stack.enter_context(made), box, url)


def test_who_is_erased_is_gone_and_what_is_sent_again_does_not_bring_them_back(ground: Ground) -> None:
    deployment, box, url = ground
    ingest, router, closer, console = (deployment.http(name) for name in ("ingest", "router", "closer", "console"))

    def sent(**changes: Any) -> str:
        answer = ingest.post("/v1/feedback", json={**SAID, **changes})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def trace(identity: str) -> Any:
        answer = console.get(f"/v1/feedback/{identity}/trace")
        return answer.json() if answer.status_code == 200 else None

    def examples() -> int:
        return int(router.get("/v1/learning").json()["corrections"]["kept"])

    first = sent()
    case = deployment.until(lambda: (trace(first) or {}).get("case"))["id"]
    box.wait_for(ADDRESS, 1)
    assert closer.post(f"/v1/cases/{case}/reassign", json={"team": "sales"}).status_code == 200
    deployment.until(lambda: examples() == 1)
    answer = {"answer": f"Dear {NAME}, we paid it back."}
    assert closer.post(f"/v1/cases/{case}/resolve", json=answer).status_code == 200
    mail = plain(box.wait_for(ADDRESS, 2)[1])
    link = next(word for word in mail.split() if "/loop/" in word).strip("<>()")
    path = link.partition("/loop/")[2].partition("?")[0]
    assert console.get(f"/loop/{path}").status_code == 200
    assert asyncio.run(_tables(url)) != {}

    rehearsed = json.loads(deployment.flywheel("erase", "c-77", "--dry-run", "--json").stdout)
    done = json.loads(deployment.flywheel("erase", "c-77", "--json").stdout)
    assert done["removed"] == rehearsed["removed"]
    assert (done["removed"]["feedback"], done["removed"]["cases"]) == (1, 1)
    assert set(done["topics"]) >= {"feedback.received", "feedback.routed.sales", "feedback.dead-letter"}
    deployment.until(lambda: examples() == 0)
    deployment.until(lambda: asyncio.run(_tables(url)) == {}, seconds=10)
    assert console.get(f"/loop/{path}").status_code == 404
    assert console.get("/v1/customers/c-77").status_code == 404

    # The provider tries again; a tool that has it still sends it under another id; and then the same person says something new,
    # which comes behind the others, for a customer's events keep their order.
    assert sent() == first
    late = sent(external_id="order-7-again", occurred_at="2026-01-05T10:00:00Z")
    new = sent(external_id="order-8", text="Good morning.", customer={"id": "c-77"})
    found = deployment.until(lambda: (trace(new) or {}).get("case"))
    assert (found["state"], found["id"] != case) == ("open", True)
    assert [step["what"] for step in trace(late)["steps"]] == ["erased"]
    whole = trace(first)
    assert (whole["case"]["state"], whole["feedback"]["text"]) == ("notified", None)
    assert whole["steps"][-1]["what"] in ("erased", "duplicate")
    deployment.until(lambda: asyncio.run(_tables(url)) == {}, seconds=10)
    assert len(box.to(ADDRESS)) == 2

    said = deployment.flywheel("erase", "c-77").stdout
    assert "1  pieces of feedback" in said
    assert "nothing: it was erased before" in deployment.flywheel("erase", "c-77").stdout


async def _tables(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        return await tables_with(connection, [NAME.lower()])
    finally:
        await connection.close()
