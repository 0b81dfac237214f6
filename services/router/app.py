"""Wiring only."""

import gc
from collections.abc import Mapping

from fastapi import APIRouter

from services.router import metrics
from services.router.api import routes_for
from services.router.handler import Handler
from services.router.rules import load
from services.router.ruleset import Ruleset
from services.router.settings import read_router_settings
from shared.config import Config
from shared.errors import Transient
from shared.runtime import Runtime, Service
from shared.web.at_once import HotPath


class RouterService:
    """Implements `shared.runtime.Service`."""

    name = "router"
    leads = True

    def __init__(self, runtime: Runtime) -> None:
        settings = read_router_settings(runtime.settings.env)
        self._handler = Handler(runtime.log, runtime.clock, settings)
        self._config: Config | None = None
        self._checked: Ruleset | None = None
        """What the last check compiled: a thousand rules take seconds, so `configure` takes up this one."""
        self.routes: APIRouter = routes_for(runtime, self._in_force)
        self.hot_paths: Mapping[str, HotPath] = {}

    def _in_force(self) -> tuple[Ruleset, Config]:
        if self._handler.ruleset is None or self._config is None:
            raise Transient("no configuration is in force yet")
        return self._handler.ruleset, self._config

    def check(self, config: Config) -> None:
        self._compiled(config)

    def _compiled(self, config: Config) -> Ruleset:
        known = self._checked
        if known is None or known.version != config.version:
            known = self._checked = load(config)
        return known

    async def configure(self, config: Config) -> None:
        self._handler.ruleset = self._compiled(config)
        self._config = config
        metrics.ruleset_rules.set(len(self._handler.ruleset.rules))

    async def run(self) -> None:
        await self._handler.run()

    async def drain(self) -> None:
        await self._handler.drain()

    def not_ready(self) -> list[str]:
        reasons = []
        if self._handler.ruleset is None:
            reasons.append("no configuration is in force yet")
        if self._handler.away is not None:
            reasons.append(self._handler.away)
        return reasons


async def build(runtime: Runtime) -> Service:
    # A batch is a hundred thousand small objects without cycles, gone a moment later: looking through them every 700
    # allocations, and through everything that was loaded at the start, took a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return RouterService(runtime)
