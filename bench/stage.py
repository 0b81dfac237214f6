"""What a run stands on: one Postgres from the wheel with the settings that users get, databases of its own for
whoever asks, a Kafka for each part that needs one, and the configuration with the 200 rules.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from bench.events import routing_yaml
from shared.auth import Keys
from shared.clock import SystemClock
from shared.config import STARTER
from shared.database import Database
from shared.database.embedded import EmbeddedPostgres
from shared.database.migrate import upgrade
from tests.brokers import THOROUGH, Cluster

SECRET = "bench: the same on every process"


class Stage:
    source = "hooks"
    webhook_secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="flywheel-bench-"))
        self._numbers = itertools.count(1)
        self._started: contextlib.ExitStack = contextlib.ExitStack()
        self._server: EmbeddedPostgres | None = None
        self._template: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._started.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ── Postgres ──

    def server(self) -> EmbeddedPostgres:
        if self._server is None:
            self._server = EmbeddedPostgres.start(self.directory / "postgres")
            self._started.callback(self._server.stop)
        return self._server

    def database(self, template: str | None = None) -> str:
        """The address of a fresh database with our schema, or of a copy of that one."""
        if template is None:
            template = self._template
        if template is None:
            template = self._template = self._url("migrated")
            self.sql("CREATE DATABASE migrated")
            asyncio.run(upgrade(template))
        name = f"bench_{next(self._numbers)}"
        # What was written before is on disk before somebody is measured.
        self.sql(f"CREATE DATABASE {name} TEMPLATE {_name(template)} STRATEGY file_copy", "CHECKPOINT")
        return self._url(name)

    def drop(self, url: str) -> None:
        self.sql(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def sql(self, *statements: str) -> None:
        """In the server's own database, each by itself."""

        async def run() -> None:
            connection = await asyncpg.connect(self.server().url)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def ask(self, url: str, query: str, *arguments: Any) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(url)
            try:
                return await connection.fetchval(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(run())

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.server().socket_dir}"

    # ── Kafka ──

    @contextlib.contextmanager
    def kafka(self, java: Sequence[str] = THOROUGH) -> Iterator[str]:
        """A broker of this part's own, so that nothing of another part lies on it; its bootstrap address."""
        with Cluster(java=java) as cluster:
            yield cluster.bootstrap

    # ── our services ──

    def config(self) -> Path:
        """The starter's teams and clocks, and the 200 rules."""
        folder = self.directory / "config"
        if not folder.exists():
            shutil.copytree(STARTER, folder)
            (folder / "routing.yaml").write_text(routing_yaml(), encoding="utf-8")
            source = {"name": self.source, "connector": "standard", "secrets": [self.webhook_secret]}
            (folder / "sources.yaml").write_text(json.dumps({"sources": [source]}), encoding="utf-8")
        return folder

    def env(self, database_url: str, bootstrap: str | None = None, **more: str) -> dict[str, str]:
        """For `python -m services.X` on that database, and on Kafka where one is given."""
        data = self.directory / "data" / _name(database_url)
        data.mkdir(parents=True, exist_ok=True)
        env = {
            "DATABASE_URL": database_url,
            "FLYWHEEL_SECRET": SECRET,
            "FLYWHEEL_DATA_DIR": str(data),
            "FLYWHEEL_CONFIG": str(self.config()),
            "PUBLIC_URL": "http://127.0.0.1:8080",
        }
        if bootstrap:
            env["KAFKA_BOOTSTRAP_SERVERS"] = bootstrap
        return env | more

    def key(self, database_url: str) -> str:
        async def make() -> str:
            database = Database(database_url)
            try:
                return (await Keys(database, SystemClock()).create("default", "bench", ["admin"])).key
            finally:
                await database.close()

        return asyncio.run(make())

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"


def _name(url: str) -> str:
    return url.split("@/")[1].split("?", maxsplit=1)[0]
