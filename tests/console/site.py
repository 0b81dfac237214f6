"""The console as people meet it: all four services behind one real port, and a browser's cookies."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from services.closer.app import build as build_closer
from services.console.app import build as build_console
from services.console.queries import Queries
from services.ingest.app import build as build_ingest
from services.router.app import build as build_router
from shared.auth import Authenticator, Keys
from shared.config import STARTER, Config, config_of, read_dir
from shared.events.identity import Pseudonyms
from shared.links import Links
from shared.people import OPERATOR, Role
from shared.runtime import Process, Runtime
from shared.sessions import Sessions
from shared.settings import read_settings
from tests.brokers import free_port
from tests.closer.world import SECRET, World

PEOPLE = """
default_team: support
teams:
  - name: product
    members: [{email: wang@example.cn, name: 王芳, languages: [zh]}]
  - name: support
    hours: {zone: Europe/Berlin, days: {mon-fri: ["08:00-20:00"]}}
    members: [{email: li@example.com, name: Li}, {email: max@example.com, role: lead}]
  - {name: sales}
people: [{email: vera@example.com, role: viewer}, {email: ada@example.com, role: admin}]
"""
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def with_people(teams: str = PEOPLE) -> Config:
    return config_of({**read_dir(STARTER), "teams.yaml": teams})


@dataclass
class Visitor:
    """Somebody's browser."""

    http: httpx2.AsyncClient
    csrf: str = ""

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        answer = await self.http.get(path, params=params or None)
        self._learn(answer)
        return answer

    async def post(self, path: str, form: Mapping[str, Any] | None = None, **headers: str) -> httpx2.Response:
        """A form of ours: with the token of the last page that was seen."""
        return await self.http.post(path, data={"csrf": self.csrf, **(form or {})}, headers=headers)

    def _learn(self, answer: httpx2.Response) -> None:
        found = _CSRF.search(answer.text)
        if found:
            self.csrf = found[1]


@dataclass
class Console:
    world: World
    runtime: Runtime
    url: str
    service: Any
    services: list[Any]
    """Router, closer and console, which is `service`."""
    _stack: contextlib.AsyncExitStack

    @property
    def queries(self) -> Queries:
        return Queries(self.world.database)

    async def nobody(self, **headers: str) -> Visitor:
        client = httpx2.AsyncClient(base_url=self.url, follow_redirects=False, headers=headers)
        return Visitor(await self._stack.enter_async_context(client))

    async def sign_in(self, person: str = OPERATOR, role: Role | None = None, **headers: str) -> Visitor:
        """By a link of their own; the operator may everything."""
        link = await Sessions(self.world.database, self.world.clock).link(
            "default", person, role or ("admin" if person == OPERATOR else None)
        )
        visitor = await self.nobody(**headers)
        answer = await visitor.get("/login", token=link)
        assert answer.status_code == 303, answer.text
        await visitor.get("/cases")
        return visitor


@contextlib.asynccontextmanager
async def console(url: str, data_dir: Path, config: Config | None = None) -> AsyncIterator[Console]:
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(World.open(url, config or with_people()))
        port = free_port()
        here = f"http://127.0.0.1:{port}"
        env = {
            "DATABASE_URL": url,
            "FLYWHEEL_SECRET": SECRET,
            "PUBLIC_URL": here,
            "CLOSER_URL": here,
            "ROUTER_URL": here,
            "INGEST_URL": here,
        }
        links = Links(SECRET)
        runtime = Runtime(
            settings=read_settings(env, data_dir=data_dir),
            clock=world.clock,
            database=world.database,
            log=world.log,
            authenticator=Authenticator(world.database, links),
            keys=Keys(world.database, world.clock),
            links=links,
            pseudonyms=Pseudonyms(SECRET),
        )
        stack.push_async_callback(runtime.authenticator.close)
        builds = (build_ingest, build_router, build_closer, build_console)
        services: list[Any] = [await build(runtime) for build in builds]
        for service in services:
            await service.configure(world.config)
        app = Process(runtime, services).application()
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            async with contextlib.AsyncExitStack() as browsers:
                yield Console(world, runtime, here, services[3], services, browsers)
        finally:
            server.should_exit = True
            await serving
            closer, front = services[2], services[3]
            await front.drain()
            await closer._producer.close()
            await closer._transactions.close()
