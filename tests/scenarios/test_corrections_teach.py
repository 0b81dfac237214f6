"""Somebody gives cases to the team that they were for, and the next like them goes there by itself: over the real API, the
real log, and a model that is learnt while feedback is routed. On embedded parts, and on Kafka."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.brokers import one_broker
from tests.deployment import Deployment

ENOUGH = 30
TEACH = {"ROUTER_LEARN_EVERY": str(ENOUGH)}


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def deployment(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("taught")
    with ExitStack() as stack:
        if request.param == "embedded":
            made = Deployment.all_in_one(directory, TEACH, "--no-sample")
        else:
            broker = stack.enter_context(contextmanager(one_broker)())
            env = {**TEACH, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}
            made = Deployment.apart(directory, stack.enter_context(new_database()), env)
        yield stack.enter_context(made)


def test_cases_that_are_given_to_another_team_teach_the_router(deployment: Deployment) -> None:
    ingest, router, closer, console = (deployment.http(name) for name in ("ingest", "router", "closer", "console"))
    question = {"text": "hedgehogs at our fair"}

    def asked() -> dict[str, Any]:
        found: dict[str, Any] = router.post("/v1/rules/explain", json=question).json()
        return found

    assert (asked()["team"], asked()["decided_by"]) == ("support", "default")
    bodies = [
        {"source": "fair", "external_id": str(day), "text": text, "customer": {"id": f"c-{day}"}}
        for day in range(ENOUGH)
        for text in [f"{'The hedgehog stall at the fair' if day % 2 else 'Beavers gnaw the mast'}, day {day}?"]
    ]
    ids = ingest.post("/v1/feedback/batch", json=bodies).json()["ids"]
    for day, identity in enumerate(ids):
        case = deployment.until(partial(_case, console, identity))
        team = "sales" if day % 2 else "product"
        answer = closer.post(f"/v1/cases/{case}/reassign", json={"team": team})
        assert answer.status_code == 200, answer.text

    deployment.until(lambda: asked()["team"] == "sales")
    found = asked()
    status = router.get("/v1/learning").json()
    assert found["decided_by"] == "model"
    reason = next(reason for reason in found["reasons"] if reason["code"] == "model.team")
    assert reason["model"] == status["in_force"]
    assert set(reason["words"]) & {"hedgehogs", "fair"}
    (model,) = status["models"]
    assert (model["version"], model["made_of"], model["rows"], model["corrections"]) == (
        status["in_force"],
        "corrections",
        ENOUGH,
        ENOUGH,
    )
    trial = status["last_trial"]
    assert trial["in_force"] is True
    assert trial["macro_f1"]["team"] > trial["macro_f1_before"]["team"]

    # What comes in from now on, not only what is asked about.
    sent = ingest.post("/v1/feedback", json={"source": "fair", **question, "customer": {"id": "c-new"}}).json()["id"]
    routing = deployment.until(lambda: _trace(console, sent)).get("routing")
    assert (routing["team"], routing["decided_by"]) == ("sales", "model")

    # The past is decided again with what was learnt, as it would be now.
    past = json.loads(deployment.flywheel("rules", "backtest", "--since", "1h", "--json").stdout)
    assert (past["model"], past["feedback"]) == (status["in_force"], ENOUGH + 1)

    said = deployment.flywheel("learn", "status").stdout
    assert f"{ENOUGH} of them corrections  in force" in said
    assert "was taken into use" in said


def _trace(console: Any, identity: str) -> Any:
    answer = console.get(f"/v1/feedback/{identity}/trace")
    return answer.json() if answer.status_code == 200 else None


def _case(console: Any, identity: str) -> Any:
    found = _trace(console, identity)
    return found["case"] and found["case"]["id"] if found else None
