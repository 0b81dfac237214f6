"""Other rules run beside those in force: what they would move is seen before they move it, they are put in force by one command,
and taken back by another. Separate processes, on the embedded log and on Kafka."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import one_broker
from tests.deployment import Deployment
from tests.editing import edit

RULE = "  - {name: zebras, when: {text: {contains: zebra}}, then: [{assign: sales}, {tag: [zebra]}]}\n"


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def deployment(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("shadow")
    folder = directory / "config"
    with ExitStack() as stack:
        env = {"FLYWHEEL_CONFIG": str(folder)}
        if request.param == "kafka":
            env["KAFKA_BOOTSTRAP_SERVERS"] = stack.enter_context(contextmanager(one_broker)()).bootstrap
        made = Deployment.apart(directory, stack.enter_context(new_database()), env)
        made.flywheel("init", str(folder))
        yield stack.enter_context(made)


def rules(deployment: Deployment, *arguments: str) -> Any:
    return json.loads(deployment.flywheel("rules", *arguments, "--json").stdout)


def send(deployment: Deployment, text: str) -> str:
    body = {"source": "zoo", "text": text, "customer": {"id": f"c-{uuid.uuid4()}"}}
    return str(deployment.http("ingest").post("/v1/feedback", json=body).json()["id"])


def team(deployment: Deployment, text: str) -> str:
    """Where such a text goes, as the router decides it now: sent, and followed to its end."""
    sent, console = send(deployment, text), deployment.http("console")

    def found() -> Any:
        answer = console.get(f"/v1/feedback/{sent}/trace")
        return answer.json()["routing"] if answer.status_code == 200 else None

    return str(deployment.until(found)["team"])


@pytest.mark.timeout(400)  # two routers begun and ended, and a dozen verbs
def test_what_would_move_is_seen_before_it_moves(deployment: Deployment, tmp_path: Path) -> None:
    router = deployment.http("router")
    other = with_zebras(deployment, tmp_path)
    assert compared(deployment)["shadow"] is None
    assert "no rules run as a shadow" in deployment.flywheel("rules", "shadow").stdout
    live = router.get("/v1/rules").json()["version"]

    # The same rules: nothing ever differs.
    deployment.flywheel("rules", "shadow", deployment.env["FLYWHEEL_CONFIG"])
    wait_until_taken_up(deployment)
    assert team(deployment, "the zebra eats my grass") == "support"
    found = until_compared(deployment, 1)
    assert (found["live"], found["differ"]) == (live, 0)

    # Others; a second router joins in.
    deployment.twin("router")
    deployment.wait_ready()
    started = rules(deployment, "shadow", str(other), "--reason", "zebras are sold", "--author", "li")
    assert (started["author"], started["reason"], started["beside"]) == ("li", "zebras are sold", live)
    wait_until_taken_up(deployment, "router", "router-twin")
    ids = [send(deployment, f"zebra number {number}") for number in range(20)]
    ids += [send(deployment, f"nothing of that kind {number}") for number in range(10)]
    found = until_compared(deployment, 30)
    assert (found["differ"], found["moved"], found["otherwise"], found["share"]) == (20, 20, 0, 0.6667)
    assert found["by_team"] == [{"from": "support", "to": "sales", "count": 20}]
    assert {"from": "(no rule)", "to": "zebras", "count": 20} in found["by_rule"]
    assert {one["id"] for one in found["samples"]} <= set(ids[:20])
    assert router.get("/v1/rules").json()["version"] == live
    told = deployment.flywheel("rules", "shadow", "--samples", "2").stdout
    assert "by li: zebras are sold" in told
    assert "team: support → sales" in told
    assert "“zebra number" in told

    # What was found outlives the processes.
    for name in ("router", "router-twin"):
        deployment.procs[name].terminate()
    del deployment.procs["router-twin"], deployment.urls["router-twin"]
    deployment.procs["router"].start()
    deployment.wait_ready()
    wait_until_taken_up(deployment, times=2)
    assert team(deployment, "one more zebra") == "support"
    assert until_compared(deployment, 31)["differ"] == 21


def test_one_with_a_mistake_is_refused_and_the_one_that_runs_goes_on(deployment: Deployment, tmp_path: Path) -> None:
    other = with_zebras(deployment, tmp_path)
    live = deployment.http("router").get("/v1/rules").json()["version"]
    deployment.flywheel("rules", "shadow", str(other))
    runs = compared(deployment)["shadow"]["rules"]
    edit(tmp_path, "new.yaml", "{assign: sales}, {tag: [zebra]}", "{assign: zoo}")
    refused = deployment.flywheel("rules", "shadow", str(other), check=False)
    assert refused.returncode == 2
    assert re.search(rf"{re.escape(str(other))}:\d+:\d+: .*no team \"zoo\"", refused.stderr)
    found = compared(deployment)
    assert (found["shadow"]["rules"], found["shadow"]["ended"]) == (runs, None)
    assert deployment.http("router").get("/v1/rules").json()["version"] == live


def test_it_is_adopted_by_one_command_and_taken_back_by_another(deployment: Deployment, tmp_path: Path) -> None:
    router = deployment.http("router")
    live = router.get("/v1/rules").json()["version"]
    deployment.flywheel("rules", "shadow", str(with_zebras(deployment, tmp_path)), "--reason", "zebras are sold")
    wait_until_taken_up(deployment)
    assert team(deployment, "a zebra too early") == "support"
    until_compared(deployment, 1)
    adopted = rules(deployment, "shadow", "--adopt")
    assert adopted["from"] == live
    deployment.until(lambda: router.get("/v1/rules").json()["version"] == adopted["version"])
    assert team(deployment, "a zebra at last") == "sales"
    newest = rules(deployment, "history")[0]
    assert (newest["version"], newest["reason"], newest["rules"]["added"]) == (adopted["version"], "zebras are sold", 1)
    ended = compared(deployment)
    assert (ended["shadow"]["ended"], ended["live"], ended["moved"]) == ("adopted", live, 1)
    assert "no rules run as a shadow" in deployment.flywheel("rules", "shadow", "--adopt", check=False).stderr

    # The folder still holds the rules before: they do not come back by themselves, but by one command.
    deployment.procs["router"].terminate()
    deployment.procs["router"].start()
    deployment.wait_ready()
    assert router.get("/v1/rules").json()["version"] == adopted["version"]
    assert rules(deployment, "rollback")["version"] == live
    deployment.until(lambda: router.get("/v1/rules").json()["version"] == live)
    assert team(deployment, "and again a zebra") == "support"


def test_a_shadow_is_stopped(deployment: Deployment) -> None:
    folder = deployment.env["FLYWHEEL_CONFIG"]
    deployment.flywheel("rules", "shadow", folder)
    deployment.until(lambda: "router_shadow_rules 0.0" not in deployment.http("router").get("/metrics").text)
    assert rules(deployment, "shadow", "--stop") == {"ended": "stopped"}
    deployment.until(lambda: "router_shadow_rules 0.0" in deployment.http("router").get("/metrics").text)
    assert compared(deployment)["shadow"]["ended"] == "stopped"
    assert deployment.flywheel("rules", "shadow", "--stop", check=False).returncode == 2


def with_zebras(deployment: Deployment, folder: Path) -> Path:
    """With a line of its own, so that its name is its own too: a log tells it from another test's."""
    file = folder / "new.yaml"
    text = (Path(deployment.env["FLYWHEEL_CONFIG"]) / "routing.yaml").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    edit(folder, "new.yaml", "\nrules:\n", f"\nrules:  # {uuid.uuid4()}\n{RULE}")
    return file


def compared(deployment: Deployment) -> Any:
    return deployment.http("router").get("/v1/rules/shadow").json()


def until_compared(deployment: Deployment, count: int) -> Any:
    return deployment.until(lambda: found if (found := compared(deployment))["compared"] >= count else None)


def wait_until_taken_up(deployment: Deployment, *names: str, times: int = 1) -> None:
    """By its own word: what it decides from then on is compared. `times`: how often it has said so by then."""
    wanted = compared(deployment)["shadow"]["rules"]

    def taken_up(name: str) -> bool:
        lines = deployment.procs[name].log.read_text(encoding="utf-8").splitlines()
        return sum("shadow.taken_up" in line and wanted in line for line in lines) >= times

    for name in names or ("router",):
        deployment.until(partial(taken_up, name))
