"""Wiring only."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.console.api import routes_for
from services.console.queries import Queries
from shared.config import Config
from shared.runtime import Runtime, Service
from shared.web.at_once import HotPath

if TYPE_CHECKING:
    from services.console.front_door import FrontDoor


class ConsoleService:
    name = "console"
    leads = False

    def __init__(self, runtime: Runtime, front_door: "FrontDoor | None") -> None:
        self.routes = APIRouter()
        self.routes.include_router(routes_for(Queries(runtime.database), runtime))
        self._front_door = front_door
        if front_door is not None:
            self.routes.include_router(front_door.routes)
        self.hot_paths: Mapping[str, HotPath] = {}
        self._runtime = runtime

    def check(self, config: Config) -> None:
        """The console works by no file of its own yet."""

    async def configure(self, config: Config) -> None:
        """Nothing to take up."""

    async def run(self) -> None:
        await self._runtime.stopping.wait()

    async def drain(self) -> None:
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

    closer = os.environ.get("CLOSER_URL") or "http://127.0.0.1:8083"
    return ConsoleService(runtime, FrontDoor(closer))
