"""`flywheel up` as a stranger meets it: its port, its keys, its memory, its database and its log."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from shared.auth import CreatedKey, Keys
from shared.clock import SystemClock
from shared.config import FILES, STARTER
from shared.database import Database
from tests.connection import Connection, connected
from tests.deployment import Deployment

WEBHOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SOURCES = """
sources:
  - {name: partner, connector: standard, secrets: ["${PARTNER_SECRET}"]}
  - {name: open, connector: standard, verify: none, breaker: off}
"""
"""Nearly all that a fuzzer sends cannot be read: a breaker would answer its 503 to what is to be looked at."""
ACCEPTED = re.compile(r'^ingest_events_total\{outcome="accepted".*\} (\S+)$', re.MULTILINE)


def deployed(directory: Path) -> Deployment:
    """Not yet started."""
    config = directory / "config"
    config.mkdir()
    for name in FILES:
        (config / name).write_text(SOURCES if name == "sources.yaml" else (STARTER / name).read_text("utf-8"))
    env = {"FLYWHEEL_CONFIG": str(config), "PARTNER_SECRET": WEBHOOK_SECRET, "FLYWHEEL_SECRET": "a-secret-of-the-tests"}
    return Deployment.all_in_one(directory, env, "--no-sample")


class Site:
    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.http = deployment.http("ingest")
        self.nobody = httpx2.Client(base_url=self.url, timeout=30)
        """Shows no key of its own."""
        self.key = asyncio.run(self.new_key("feedback:write")).key

    @property
    def url(self) -> str:
        return self.deployment.urls["ingest"]

    @property
    def port(self) -> int:
        port = httpx2.URL(self.url).port
        assert port is not None
        return port

    @property
    def pid(self) -> int:
        return self.deployment.procs["all"].pid

    @property
    def database_url(self) -> str:
        return str(json.loads((self.deployment.data_dir / "running.json").read_text())["database_url"])

    @property
    def alive(self) -> bool:
        return self.deployment.procs["all"].alive

    async def new_key(self, *scopes: str, workspace: str = "default") -> CreatedKey:
        database = Database(self.database_url)
        try:
            return await Keys(database, SystemClock()).create(workspace, "a test", scopes)
        finally:
            await database.close()

    async def revoke(self, key_id: str) -> None:
        database = Database(self.database_url)
        try:
            assert await Keys(database, SystemClock()).revoke("default", key_id)
        finally:
            await database.close()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        async with connected(self.port) as connection:
            yield connection

    def accepted(self) -> float:
        """How many events were taken since the start."""
        return sum(map(float, ACCEPTED.findall(self.http.get("/metrics").text)))

    def openapi(self) -> dict[str, Any]:
        document: dict[str, Any] = self.http.get("/openapi.json").json()
        return document

    def traced(self, delivery: str) -> dict[str, Any]:
        """Its trace, once it has a case."""

        def look() -> Any:
            trace = self.http.get(f"/v1/feedback/{delivery}/trace").json()
            return trace if trace.get("case") else None

        found: dict[str, Any] = self.deployment.until(look)
        return found

    def log(self, name: str = "*.log") -> str:
        """Everything that the process and its database have written, but for what it says to whom it starts."""
        return "\n".join(path.read_text("utf-8") for path in sorted(self.deployment.data_dir.glob(name)))

    async def received(self, delivery: str) -> list[dict[str, Any]]:
        """What stands on `feedback.received` of this delivery, each copy of it."""
        rows = await self.sql(
            "SELECT r.value FROM log.record r JOIN log.topic t ON t.id = r.topic_id"
            " WHERE t.name = 'feedback.received' AND position($1 IN r.value) > 0",
            delivery.encode(),
        )
        return [json.loads(row["value"]) for row in rows]

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    @contextmanager
    def memory(self, at_most_mib: int) -> Iterator[None]:
        """The process's own peak grows by no more meanwhile. Only Linux tells; elsewhere this says nothing."""
        status = Path(f"/proc/{self.pid}/status")
        if not status.exists():
            yield
            return
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak counts from here
        before = _kib(status, "VmRSS")
        yield
        assert _kib(status, "VmHWM") - before <= at_most_mib * 1024


def _kib(status: Path, name: str) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
