"""The router's routes over a real socket: a team's stream with resume, the rules, one decision explained."""

import asyncio
import json
import os
import signal
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import insert

from services.cli.client import blocks
from services.router import sse
from services.router.api import MAX_EXPLAINED
from services.router.app import build
from services.router.sse import BadCursor, Cursors, frame
from shared.auth import Keys
from shared.config import ConfigError, config_of, read_dir
from shared.database.tables import workspace
from shared.events.envelope import rfc3339
from shared.log import Message
from shared.runtime import Process, serve
from shared.settings import Settings, read_settings
from shared.topics import RECEIVED
from tests.brokers import free_port
from tests.deployment import FLYWHEEL, REPOSITORY
from tests.router.rulesets import TEAMS
from tests.router.test_handler import message, new_id

PATIENCE_S = 30.0
RULES = """
rules:
  - {name: refund, when: {text: {contains: refund}}, then: [{assign: product}, {watch: sales}]}
"""


@dataclass
class Served:
    """A router process, as `python -m services.router` makes one."""

    process: Process
    url: str
    key: str
    config: Path

    def client(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S)

    async def post(self, *messages: Message) -> None:
        producer = await self.process.runtime.log.producer()
        await producer.append(messages)


@pytest.fixture
async def settings(database_url: str, tmp_path: Path) -> Settings:
    config = tmp_path / "config"
    config.mkdir()
    for name, text in {
        "routing.yaml": RULES,
        "teams.yaml": TEAMS,
        "sources.yaml": "sources: []",
        "sla.yaml": "policies: [{name: default, acknowledge: 8h}]",
    }.items():
        (config / name).write_text(text)
    return read_settings({"FLYWHEEL_SECRET": "s"}, data_dir=tmp_path, config_dir=config).with_database(database_url)


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Served]:
    async with serving(settings, free_port()) as router:
        yield router


@asynccontextmanager
async def serving(settings: Settings, port: int) -> AsyncIterator[Served]:
    started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    async def tell(process: Process) -> None:
        started.set_result(process)

    task = asyncio.create_task(serve(settings, [build], name="router", host="127.0.0.1", port=port, started=tell))
    either: set[asyncio.Future[Any]] = {task, started}
    done, _ = await asyncio.wait(either, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if task in done:
        task.result()
    process = await started
    created = await Keys(process.runtime.database, process.runtime.clock).create("default", "test", ["feedback:read"])
    assert settings.config_dir is not None
    yield Served(process, f"http://127.0.0.1:{port}", created.key, settings.config_dir)
    process.runtime.stopping.set()
    async with asyncio.timeout(PATIENCE_S):
        await task


@asynccontextmanager
async def streaming(
    client: httpx2.AsyncClient, team: str, *, start: str = "beginning", last: str | None = None
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    headers = {"Last-Event-ID": last} if last else {}
    async with client.stream("GET", f"/v1/teams/{team}/feedback", params={"from": start}, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, str]]:
    async for event in _blocks(response):
        if "data" in event:
            yield event


async def _blocks(response: httpx2.Response) -> AsyncIterator[dict[str, str]]:
    event: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            yield event
            event = {}
        elif not line.startswith(":"):
            name, _, content = line.partition(": ")
            event[name] = content


async def take(events: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    found = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")


def ids(events: list[dict[str, str]]) -> list[str]:
    return [json.loads(event["data"])["id"] for event in events]


async def test_a_team_follows_its_feedback_and_resumes_behind_the_last_event(served: Served) -> None:
    names = [new_id() for _ in range(12)]
    await served.post(*(message(name, key=f"customer-{number}") for number, name in enumerate(names[:8])))
    async with served.client() as client:
        async with streaming(client, "support") as events:
            first = await take(events, 5)
        async with streaming(client, "support", last=first[-1]["id"], start="end") as events:
            rest = await take(events, 3)
            await served.post(*(message(name, key=f"customer-{number}") for number, name in enumerate(names[8:])))
            rest += await take(events, 4)
    assert sorted(ids(first + rest)) == sorted(names)
    assert {event["event"] for event in first} == {"feedback.routed"}
    value = json.loads(first[0]["data"])
    assert value["routing"]["team"] == "support"


async def test_from_the_end_only_what_comes_now(served: Served) -> None:
    before, after = new_id(), new_id()
    await served.post(message(before))
    async with served.client() as client:
        async with streaming(client, "support") as events:
            await take(events, 1)
        async with streaming(client, "support", start="end") as events:
            await served.post(message(after))
            assert ids(await take(events, 1)) == [after]


async def test_what_came_while_a_silent_follower_was_cut_off_is_not_lost(served: Served) -> None:
    """From the end, and nothing came before the cut: the first block already says where the follower stands."""
    async with served.client() as client:
        url = "/v1/teams/support/feedback"
        async with client.stream("GET", url, params={"from": "end"}) as response:
            async with asyncio.timeout(PATIENCE_S):
                opening = await anext(_blocks(response))
        assert "data" not in opening
        missed = new_id()
        await served.post(message(missed))
        async with streaming(client, "support") as events:
            await take(events, 1)  # it is routed
        async with streaming(client, "support", start="end", last=opening["id"]) as events:
            assert ids(await take(events, 1)) == [missed]


async def test_tail_goes_on_where_it_was_when_the_service_comes_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "RETRY_MS", 100)
    port = free_port()
    async with serving(settings, port) as router:
        tail = await _tail(router)
        try:
            before = new_id()
            await router.post(message(before))
            assert await _tailed(tail) == before
        except BaseException:
            tail.kill()
            raise
    try:
        assert b"waiting for the service" in await _line(tail.stderr)
        for _ in range(2):
            async with serving(settings, port) as router:
                after = new_id()
                await router.post(message(after))
                assert await _tailed(tail) == after, "neither what it had already nor less"
            assert b"waiting for the service" in await _line(tail.stderr)
        tail.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert await tail.communicate() == (b"", b"")
        assert tail.returncode == 0
    finally:
        if tail.returncode is None:
            tail.kill()
            await tail.wait()


async def test_tail_gives_up_when_its_key_is_taken_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RETRY_MS", 100)
    port = free_port()
    async with serving(settings, port) as router:
        tail = await _tail(router)
        await router.post(message(new_id()))
        assert await _tailed(tail)
        keys = Keys(router.process.runtime.database, router.process.runtime.clock)
        for key in await keys.list("default"):
            await keys.revoke("default", key.id)
    try:
        assert b"waiting for the service" in await _line(tail.stderr)
        async with serving(settings, port):
            async with asyncio.timeout(PATIENCE_S):
                _, said = await tail.communicate()
        assert tail.returncode == 1
        assert b"(401)" in said
    finally:
        if tail.returncode is None:
            tail.kill()
            await tail.wait()


async def _line(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    async with asyncio.timeout(PATIENCE_S):
        return await stream.readline()


async def _tail(router: Served) -> asyncio.subprocess.Process:
    """`flywheel tail` of the support team's topic, from its beginning."""
    env = {**os.environ, "FLYWHEEL_URL": router.url, "FLYWHEEL_API_KEY": router.key}
    command = [*FLYWHEEL, "tail", "support", "--from-beginning", "--json"]
    return await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, env=env, stdout=PIPE, stderr=PIPE)


async def _tailed(tail: asyncio.subprocess.Process) -> str:
    return str(json.loads(await _line(tail.stdout))["id"])


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_stream_is_read_in_whatever_pieces_it_comes(size: int) -> None:
    said = "one\u2028two\x85three\x0bfour"
    stream = f"retry: 5\nid: a\n: x\n\nid: b\r\nevent: e\r\ndata: {said}\r\ndata:{{}}\r\n\r\n: still here\n\nid: c\ndata: cut"
    found = [event for event in blocks(stream[at : at + size] for at in range(0, len(stream), size)) if event]
    assert found == [{"retry": "5", "id": "a"}, {"id": "b", "event": "e", "data": f"{said}\n{{}}"}]


async def test_a_watching_team_gets_its_copy(served: Served) -> None:
    name = new_id()
    await served.post(message(name, "a refund"))
    async with served.client() as client:
        for team, role in (("product", "owner"), ("sales", "watcher")):
            async with streaming(client, team) as events:
                (event,) = await take(events, 1)
            assert json.loads(event["data"])["routing"]["role"] == role


async def test_the_stream_ends_when_the_process_stops(served: Served) -> None:
    async with served.client() as client, streaming(client, "support", start="end") as events:
        served.process.runtime.stopping.set()
        async with asyncio.timeout(PATIENCE_S):
            assert [event async for event in events] == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/teams/nobody/feedback", {}, 404),
        ("/v1/teams/dead-letter/feedback", {}, 404),
        ("/v1/teams/support/feedback?from=middle", {}, 422),
        ("/v1/teams/support/feedback", {"Last-Event-ID": "AAAA"}, 400),
        ("/v1/teams/support/feedback", {"Last-Event-ID": "x" * 20_000}, 431),
        ("/v1/teams/support/feedback", {"Authorization": "Bearer nonsense"}, 401),
        ("/v1/rules", {"Authorization": "Bearer nonsense"}, 401),
        ("/schemas/nothing.json", {}, 404),
    ],
)
async def test_what_is_refused(served: Served, path: str, headers: dict[str, str], status: int) -> None:
    async with served.client() as client:
        response = await client.get(path, headers=headers)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"


async def test_another_workspaces_key_sees_nothing(served: Served) -> None:
    runtime = served.process.runtime
    async with runtime.database.transaction() as connection:
        await connection.execute(insert(workspace).values(name="acme"))
    created = await Keys(runtime.database, runtime.clock).create("acme", "test", ["feedback:read"])
    async with served.client() as client:
        response = await client.get("/v1/teams/support/feedback", headers={"Authorization": f"Bearer {created.key}"})
        assert response.status_code == 404


async def test_a_decision_is_explained_and_nothing_stored(served: Served) -> None:
    async with served.client() as client:
        for body in ({"text": "a refund"}, {"feedback": {"text": "a refund", "source": "x"}}):
            response = await client.post("/v1/rules/explain", json=body)
            assert response.status_code == 200
            found: dict[str, Any] = response.json()
            assert (found["team"], found["rule"], found["decided_by"]) == ("product", "refund", "rule")
            wanted = {"tags", "kind", "sentiment", "priority", "language", "confidence", "reasons"}
            assert wanted <= set(found)
        assert (await client.post("/v1/rules/explain", json={"text": 5})).status_code == 422
        assert (await client.post("/v1/rules/explain", json={"feedback": 5})).status_code == 400
        several = [{"text": "a refund"}, {"feedback": {"text": "hello"}}]
        decisions = (await client.post("/v1/rules/explain", json=several)).json()
        assert [decision["team"] for decision in decisions] == ["product", "support"]
        for wrong in ([], [{"text": "x"}] * (MAX_EXPLAINED + 1), ["x"], [{"text": "x"}, {"text": 5}]):
            assert (await client.post("/v1/rules/explain", json=wrong)).status_code == 422
    lag = await served.process.runtime.log.lag("nobody", [RECEIVED])
    assert sum(lag.values()) == 0


async def test_the_rules_in_force_and_a_change_of_them(served: Served) -> None:
    async with served.client() as client:
        first = (await client.get("/v1/rules")).json()
        assert [rule["name"] for rule in first["rules"]] == ["refund"]
        assert first["default_team"] == "support"
        (served.config / "routing.yaml").write_text(RULES.replace("refund", "return"))
        async with asyncio.timeout(PATIENCE_S):
            while (second := (await client.get("/v1/rules")).json())["version"] == first["version"]:
                await asyncio.sleep(0.05)
        assert [rule["name"] for rule in second["rules"]] == ["return"]
        (served.config / "routing.yaml").write_text(RULES.replace("product", "nobody"))
        with pytest.raises(ConfigError, match="nobody"):
            served.process.services[0].check(config_of(read_dir(served.config)))
        response = await client.post("/v1/rules/explain", json={"text": "a return"})
        assert response.json()["ruleset_version"] == second["version"]


async def test_what_is_tried_out_is_received_now_and_says_that_it_would_be_held(served: Served) -> None:
    now, hour = served.process.runtime.clock.now(), timedelta(hours=1)
    window = f"suppress: {{from: {rfc3339(now - hour)}, until: {rfc3339(now + hour)}, because: maintenance}}"
    (served.config / "routing.yaml").write_text(RULES.replace("{watch: sales}", f"{{{window}}}"))
    async with served.client() as client, asyncio.timeout(PATIENCE_S):
        decision: dict[str, Any] = {}
        while "held.until" not in str(decision.get("reasons")):
            decision = (await client.post("/v1/rules/explain", json={"text": "a refund"})).json()
            await asyncio.sleep(0.05)
        before = {"text": "a refund", "received_at": rfc3339(now - 2 * hour)}
        answer = await client.post("/v1/rules/explain", json=before)
    assert "held.until" not in str(answer.json()["reasons"])


async def test_the_topics_are_described(served: Served) -> None:
    async with httpx2.AsyncClient(base_url=served.url) as client:
        document = (await client.get("/asyncapi.json")).json()
        assert document["asyncapi"] == "3.1.0"
        assert "feedback_routed_support" in document["channels"]
        schema = (await client.get("/schemas/feedback.routed.json")).json()
        assert "routing" in schema["properties"]


async def test_ready_and_counted(served: Served) -> None:
    await served.post(message(str(uuid.uuid4())))
    async with served.client() as client:
        async with asyncio.timeout(PATIENCE_S):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        async with streaming(client, "support") as events:
            await take(events, 1)
        text = (await client.get("/metrics")).text
    assert 'router_records_total{outcome="routed"}' in text
    assert "router_batch_seconds_count" in text


@pytest.mark.parametrize("positions", [{0: 0}, {0: 5, 1: 2**40, 2: 0}])
def test_cursors_come_back_as_they_went(positions: dict[int, int]) -> None:
    cursors = Cursors("secret")
    text = cursors.text("feedback.routed.a", positions)
    assert cursors.positions("feedback.routed.a", text) == positions
    for wrong in (text[:-1], text + "A", text.swapcase(), "", "é", "A" * 100):
        with pytest.raises(BadCursor):
            cursors.positions("feedback.routed.a", wrong)
    with pytest.raises(BadCursor):
        cursors.positions("feedback.routed.b", text)
    with pytest.raises(BadCursor):
        Cursors("another").positions("feedback.routed.a", text)


def test_a_value_of_several_lines_is_one_event() -> None:
    assert frame("c", b"feedback.routed", b'{"a":\r\n1}') == b'id: c\nevent: feedback.routed\ndata: {"a":\ndata: 1}\n\n'
    assert frame("c", b"x\nid: forged", b"{}").count(b"\nid:") == 0
