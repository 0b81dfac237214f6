"""Wiring only."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.routing import APIRoute

from services.console import api, exports, pages
from services.console.check import check
from services.console.freshness import Freshness
from services.console.gauges import GAUGES
from services.console.imports import Imports
from services.console.measuring import Measuring
from services.console.pages import Page, Site
from services.console.queries import Queries
from services.console.render import Pages
from services.console.service import Api
from services.console.uploads import Uploads
from services.console.visit import Door
from shared import registry
from shared.config import Config
from shared.runtime import Runtime, Service
from shared.web.at_once import HotPath

if TYPE_CHECKING:
    from services.console.front_door import FrontDoor

CLOSER_URL, ROUTER_URL = "http://127.0.0.1:8083", "http://127.0.0.1:8082"
INGEST_URL = "http://127.0.0.1:8081"


class ConsoleService:
    name = "console"
    leads = False

    def __init__(self, runtime: Runtime, front_door: "FrontDoor | None") -> None:
        env, links, secret = runtime.settings.env, runtime.links, runtime.settings.secret
        self._apis = (
            Api("closer", env.get("CLOSER_URL") or CLOSER_URL, links, secret),
            Api("router", env.get("ROUTER_URL") or ROUTER_URL, links, secret),
            Api("ingest", env.get("INGEST_URL") or INGEST_URL, links, secret),
        )
        self._door = Door(runtime)
        queries = Queries(runtime.database)
        self._config: Config | None = None
        freshness = Freshness(queries, runtime.log, runtime.clock)
        self._measuring = GAUGES.source = Measuring(queries, freshness, runtime.clock, lambda: self._config)
        looks = Pages()
        written = exports.Exports(runtime.database)
        self._imports = Imports(Uploads(runtime.settings.data_dir), self._apis[2], self._door, written.known)
        site = Site(
            runtime,
            self._door,
            looks,
            queries,
            freshness,
            self._measuring,
            *self._apis,
            self._imports,
            written,
            config=lambda: self._config,
        )
        self.routes = APIRouter()
        self.routes.include_router(api.routes_for(queries, self._measuring, runtime, lambda: self._config))
        self.routes.include_router(exports.routes_for(runtime, written))
        found: Mapping[str, Page] = registry.load(pages, Page)
        routers = [page.routes_for(site) for page in found.values()]
        for router in routers:
            self.routes.include_router(router)
        looks.places = frozenset(
            route.path for router in routers for route in router.routes if isinstance(route, APIRoute)
        )
        self._front_door = front_door
        if front_door is not None:
            self.routes.include_router(front_door.routes)
        self.hot_paths: Mapping[str, HotPath] = {}
        self._runtime = runtime

    def check(self, config: Config) -> None:
        check(config)

    async def configure(self, config: Config) -> None:
        self._door.configure(check(config))
        self._config = config

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            measuring = group.create_task(self._measuring.run(), name="console-measures")
            await self._runtime.stopping.wait()
            measuring.cancel()

    async def drain(self) -> None:
        await self._imports.drain()
        for one in self._apis:
            await one.close()
        if self._front_door is not None:
            await self._front_door.close()

    def not_ready(self) -> list[str]:
        return []


async def build(runtime: Runtime) -> Service:
    """Inside the all-in-one process, where the closer's routes stand beside."""
    return ConsoleService(runtime, None)


async def build_alone(runtime: Runtime) -> Service:
    """In a process of its own: the front door, in CLOSER_URL's name too."""
    from services.console.front_door import FrontDoor  # brings an HTTP client, which nobody else here needs

    return ConsoleService(runtime, FrontDoor(runtime.settings.env.get("CLOSER_URL") or CLOSER_URL))
