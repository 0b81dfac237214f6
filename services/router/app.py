"""Wiring only."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter

from services.router import metrics
from services.router.api import routes_for
from services.router.corrections import Corrections
from services.router.erasures import Erasures
from services.router.handler import Handler
from services.router.kept import KeptModels
from services.router.learnt import Versions, adopt, place
from services.router.model.judge import Judge
from services.router.route import LEXICONS
from services.router.rules import load
from services.router.ruleset import Ruleset
from services.router.settings import read_router_settings
from services.router.shadow_kept import KeptShadows
from services.router.shadowing import Shadowing
from services.router.teacher import Teacher
from shared.config import Config
from shared.errors import Rejected, Transient
from shared.runtime import Runtime, Service
from shared.telemetry import get_logger
from shared.web.at_once import HotPath

LOOK_S = 2.0
"""For a model that has come into force."""

_log = get_logger("router")


class RouterService:
    """Implements `shared.runtime.Service`."""

    name = "router"
    leads = True

    def __init__(self, runtime: Runtime) -> None:
        settings = read_router_settings(runtime.settings.env)
        shadows = KeptShadows(runtime.database)
        self._shadowing = Shadowing(shadows, runtime.clock, settings, self._in_force)
        self._handler = Handler(runtime.log, runtime.clock, settings, self._shadowing)
        self._clock = runtime.clock
        self._kept = KeptModels(runtime.database)
        self._folder = Versions(place(runtime.settings.data_dir))
        self._corrections = Corrections(runtime.log, self._kept)
        self._erasures = Erasures(runtime.log, self._kept)
        self._teacher = Teacher(self._kept, runtime.clock, settings, lambda: self._config)
        self._judge: Judge | None = None
        self._tried: str | None = None
        """The model that was last looked at, taken up or not."""
        self._config: Config | None = None
        self._checked: Ruleset | None = None
        """What the last check compiled: a thousand rules take seconds, so `configure` takes up this one."""
        self.routes: APIRouter = routes_for(runtime, self._in_force, self._kept, shadows)
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
        if self._config is None:
            await self._adopt()
        await self._learn()
        compiled = self._compiled(config)
        self._handler.ruleset = compiled if self._judge is None else replace(compiled, judge=self._judge)
        self._config = config
        metrics.ruleset_rules.set(len(self._handler.ruleset.rules))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._watch(), name="router-model"),
                group.create_task(self._corrections.run(), name="router-corrections"),
                group.create_task(self._erasures.run(), name="router-erasures"),
                group.create_task(self._teacher.run(), name="router-teacher"),
                group.create_task(self._shadowing.run(), name="router-shadow"),
            ]
            await self._handler.run()
            for task in beside:
                task.cancel()
        await self._shadowing.close()

    async def _watch(self) -> None:
        """Takes up the model that comes into force, without a restart."""
        while True:
            if await self._learn() and self._handler.ruleset is not None:
                self._handler.ruleset = replace(self._handler.ruleset, judge=self._judge)
            await asyncio.sleep(LOOK_S)

    async def _adopt(self) -> None:
        """What was learnt here while no service ran, once."""
        try:
            await adopt(self._folder, self._kept, self._clock.now())
        except Rejected as error:
            _log.error("model.unreadable", reason=str(error))
        except Transient as error:  # at the next start
            _log.warning("model.waiting", reason=str(error))

    async def _learn(self) -> bool:
        """Whether another model judges now. One that cannot be read stops nobody's feedback: the one before goes on."""
        try:
            wanted = await self._kept.in_force()
            if wanted == self._tried:
                return False
            judge = await self._kept.model(wanted) if wanted is not None else None
            self._tried, self._judge = wanted, judge
        except Transient as error:
            _log.warning("model.waiting", reason=str(error))
            return False
        except Rejected as error:
            self._tried = wanted
            _log.error("model.unreadable", reason=str(error))
            return False
        _log.info("model.in_force", version=wanted or LEXICONS)
        return True

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
    return RouterService(runtime)
