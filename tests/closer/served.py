"""The closer as its clients meet it: the whole service, built as in production, behind its routes."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from services.closer.app import build
from shared.auth import Authenticator, Keys
from shared.events.identity import Pseudonyms
from shared.links import Links
from shared.runtime import Process, Runtime
from shared.settings import read_settings
from tests.closer.world import SECRET, World


@dataclass
class Served:
    world: World
    runtime: Runtime
    http: httpx2.AsyncClient
    key: str
    service: Any

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.http.get(path, params=params, headers=self.headers())

    async def post(self, path: str, body: Any = None, *, if_match: str | None = None) -> httpx2.Response:
        headers = self.headers() | ({"If-Match": if_match} if if_match else {})
        return await self.http.post(path, json=body, headers=headers)

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {key or self.key}"}

    async def new_key(self, *scopes: str, workspace: str = "default", name: str = "li") -> str:
        return (await self.runtime.keys.create(workspace, name, scopes)).key


@contextlib.asynccontextmanager
async def served(world: World, url: str, data_dir: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Served]:
    ours = {"DATABASE_URL": url, "FLYWHEEL_SECRET": SECRET, "PUBLIC_URL": "https://feedback.example.com"}
    settings = read_settings({**ours, **(env or {})}, data_dir=data_dir)
    runtime = Runtime(
        settings=settings,
        clock=world.clock,
        database=world.database,
        log=world.log,
        authenticator=Authenticator(world.database),
        keys=Keys(world.database, world.clock),
        links=Links(SECRET),
        pseudonyms=Pseudonyms(SECRET),
    )
    service = await build(runtime)
    await service.configure(world.config)
    transport = httpx2.ASGITransport(app=Process(runtime, [service]).application())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        made = Served(world, runtime, http, "", service)
        made.key = await made.new_key("cases:read", "cases:write")
        try:
            yield made
        finally:
            await runtime.authenticator.close()
            await made.service._teller.close()
            await made.service._producer.close()
            await made.service._transactions.close()
