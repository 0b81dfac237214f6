"""A real ingest server on a real socket, a real Postgres and the real embedded log, in the test's own event loop."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from services.ingest.app import Ingest, build
from shared.clock import Clock
from shared.config import FILES, STARTER
from shared.log import Log, Producer, Record, TopicPartition
from shared.runtime import Process, Runtime, open_runtime
from shared.settings import read_settings
from shared.topics import DEAD_LETTER, DEFAULT_WORKSPACE, RECEIVED
from tests.brokers import free_port

STANDARD_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
STANDARD_NEXT_SECRET = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
ZENDESK_SECRET = "a-signing-secret-of-zendesk"
HEADER_SECRET = "a-word-that-both-know"
SOURCES = f"""
sources:
  - {{name: partner, connector: standard, secrets: ["{STANDARD_NEXT_SECRET}", "{STANDARD_SECRET}"]}}
  - {{name: other-partner, connector: standard, secrets: ["whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="]}}
  - {{name: zendesk-eu, connector: zendesk, secrets: ["${{ZENDESK_SECRET}}"], options: {{subdomain: acme}}}}
  - {{name: by-header, connector: zendesk, verify: header, header: X-Our-Word, secrets: ["{HEADER_SECRET}"]}}
  - {{name: by-header-in-letters, connector: zendesk, verify: header, header: X-Our-Word, secrets: ["schön"]}}
  - {{name: by-basic, connector: zendesk, verify: basic, secrets: ["zen:desk"]}}
  - {{name: open, connector: standard, verify: none}}
metrics:
  effort10: {{min: 1, max: 10}}
"""


@dataclass
class Server:
    """One ingest process, as far as its clients can tell."""

    runtime: Runtime
    service: Ingest
    url: str
    port: int
    key: str
    http: httpx2.AsyncClient

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def post(
        self, path: str, body: Any = None, *, raw: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        content = raw if raw is not None else json.dumps(body, ensure_ascii=False).encode()
        sent = httpx2.Headers({"Content-Type": "application/json", **self.auth})
        sent.update(headers or {})
        return await self.http.post(path, content=content, headers=sent)

    async def send(self, body: Any, **headers: str) -> httpx2.Response:
        """One piece of feedback; `Idempotency_Key=…` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post("/v1/feedback", body, headers=named)

    async def received(self, topic: str = RECEIVED) -> list[Record]:
        """Everything that the log has for this topic, each partition's in order."""
        reader = await self.runtime.log.reader()
        try:
            records: list[Record] = []
            for partition in range(await reader.partitions(topic)):
                place = TopicPartition(topic, partition)
                first, end = await reader.bounds(place)
                async for some in reader.scan(place, first, end):
                    records.extend(some)
            return records
        finally:
            await reader.close()

    async def dead_letters(self) -> list[Record]:
        return await self.received(DEAD_LETTER)

    async def new_key(self, *scopes: str) -> str:
        return (await self.runtime.keys.create(DEFAULT_WORKSPACE, "a test", scopes)).key

    async def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes, until the server closes or has answered once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            return head + await reader.readexactly(length)
        finally:
            writer.close()


class AskedInOneTurn:
    """A request as the protocol hands it over, which keeps what became of it."""

    def __init__(self, target: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        self.target = target
        self.fields = fields
        self._body = body
        self.became: list[str] = []

    @property
    def body(self) -> bytes:
        if not self._body:
            raise RuntimeError("a defect, on purpose")
        return self._body

    def answer(self, head: bytes, body: bytes) -> None:
        self.became.append(json.loads(body)["id"])

    def decline(self) -> None:
        self.became.append("declined")

    def hand_over(self, app: Any) -> None:
        self.became.append("handed over")


class WrappedLog:
    """The real log, with one producer put in the place of its own."""

    def __init__(self, log: Log, producer: Producer) -> None:
        self._log = log
        self._producer = producer

    async def producer(self) -> Producer:
        return self._producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Gate:
    """A producer of the real log behind a gate that a test closes and opens, to look at what is in flight."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._open = asyncio.Event()
        self._open.set()
        self.reached = asyncio.Event()
        self.calls: list[int] = []

    def shut(self) -> None:
        self._open.clear()
        self.reached.clear()

    def open(self) -> None:
        self._open.set()

    async def append(self, messages: Sequence[Any]) -> None:
        self.calls.append(len(messages))
        self.reached.set()
        await self._open.wait()
        await self._producer.append(messages)

    async def close(self) -> None:
        await self._producer.close()


@dataclass
class Start:
    """Starts servers on one database; all of them are stopped when the test ends."""

    database_url: str
    directory: Path
    stack: AsyncExitStack

    async def __call__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        sources: str = SOURCES,
        gated: bool = False,
        connectors: Mapping[str, Any] | None = None,
    ) -> Server:
        config = self.directory / f"config-{free_port()}"
        config.mkdir()
        for name in FILES:
            (config / name).write_text(sources if name == "sources.yaml" else (STARTER / name).read_text())
        settings = read_settings(
            {
                "DATABASE_URL": self.database_url,
                "FLYWHEEL_SECRET": "a secret of the tests",
                "FLYWHEEL_CONFIG": str(config),
                "ZENDESK_SECRET": ZENDESK_SECRET,
                "PUBLIC_URL": "https://feedback.example.com",
                **(env or {}),
            }
        )
        runtime: Runtime = await self.stack.enter_async_context(open_runtime(settings, "test"))
        if clock is not None:
            runtime = dataclasses.replace(runtime, clock=clock)
        if gated:
            gate = Gate(await runtime.log.producer())
            runtime = dataclasses.replace(runtime, log=WrappedLog(runtime.log, gate))
        service = await build(runtime)
        if connectors is not None:
            assert isinstance(service._connectors, dict)
            service._connectors.update(connectors)
        process = Process(runtime, [service])
        await process.offer()
        await process.follow()
        port = free_port()
        started = asyncio.Event()

        async def announce() -> None:
            started.set()

        serving = asyncio.create_task(process.run("127.0.0.1", port, announce))

        async def stop() -> None:
            runtime.stopping.set()
            await serving

        self.stack.push_async_callback(stop)
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            waiting.cancel()
            serving.result()
        url = f"http://127.0.0.1:{port}"
        http = await self.stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=30))
        key = (await runtime.keys.create(DEFAULT_WORKSPACE, "tests", ["feedback:write"])).key
        return Server(runtime, service, url, port, key, http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()


@pytest.fixture
async def start(database_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        yield Start(database_url, tmp_path, stack)


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


def feedback(**changes: Any) -> dict[str, Any]:
    """A good piece of feedback; None takes a member out."""
    body = {
        "source": "app-store",
        "text": "The map is blank after the update. 更新后地图是空白的。",
        "scores": [{"metric": "stars", "value": 2}],
        "customer": {"id": "c-1", "email": "Li@Example.com"},
        "channel": "review",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


Asserting = Callable[..., Awaitable[None]]


def problem(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The document of a refusal, proved to be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{slug}", document
    assert document["status"] == status
    return document


def fields(document: Mapping[str, Any]) -> list[str]:
    return [error["field"] for error in document["errors"]]
