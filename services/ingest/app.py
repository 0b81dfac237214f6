"""Wiring: what the ingest service is made of."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from prometheus_client import Gauge

from services.ingest import connectors as connectors_package
from services.ingest import form_pages, quarantine
from services.ingest.api import Api, hot_paths, routes
from services.ingest.connectors import Connector
from services.ingest.door import Door, InForce, log
from services.ingest.normalize import Builder
from services.ingest.publish import Publisher
from services.ingest.settings import IngestSettings, read_ingest_settings
from services.ingest.sources import FILE, Sources, read_sources
from services.ingest.spool import Spool
from services.ingest.spooling import Spooling
from services.ingest.webhooks import Webhooks
from shared import registry
from shared.config import Config
from shared.errors import Transient
from shared.log import Producer
from shared.runtime import Runtime

PING_EVERY_S = 1.0

_reachable = Gauge("ingest_log_reachable", "1 when the log answered when it was last asked.")


class Ingest:
    """The service, as the runtime sees it."""

    name = "ingest"
    leads = False

    def __init__(
        self, runtime: Runtime, settings: IngestSettings, connectors: Mapping[str, Connector], producer: Producer
    ) -> None:
        self._runtime = runtime
        self._connectors = connectors
        self._producer = producer
        self._spool: Spool | None = None
        if settings.spool_dir is not None:
            self._spool = Spool(settings.spool_dir, settings.spool_max_bytes)
            self._producer = producer = Spooling(producer, self._spool)
        self._in_force = InForce()
        self._log_away: str | None = None
        self._builders: dict[str, Builder] = {}
        self._publisher = Publisher(
            producer, ack_timeout_s=settings.ack_timeout_s, max_bytes=settings.in_flight_max_bytes
        )
        common: dict[str, Any] = {
            "in_force": self._in_force,
            "publisher": self._publisher,
            "builder": self._builder,
            "clock": runtime.clock,
        }
        door = Door(runtime.authenticator, runtime.clock, settings.rate_per_key)
        api = Api(door=door, **common)
        webhooks = Webhooks(
            connectors=connectors,
            public_url=runtime.settings.public_url,
            rate_per_source=settings.rate_per_source,
            **common,
        )
        self.routes: APIRouter = routes(api, webhooks.__call__)
        self.routes.include_router(quarantine.routes_for(webhooks, self._publisher, runtime.log))
        self.routes.include_router(form_pages.routes_for(**common, links=runtime.links))
        self.hot_paths = hot_paths(api, webhooks)

    def check(self, config: Config) -> None:
        self._read(config)

    async def configure(self, config: Config) -> None:
        self._in_force.take(config.version, self._read(config))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publisher.watch(), name="ingest-watch")
            group.create_task(self._ping(), name="ingest-ping")
            if isinstance(self._producer, Spooling):
                group.create_task(self._producer.drain(), name="ingest-spool-drain")

    async def drain(self) -> None:
        await self._publisher.drain()
        await self._producer.close()

    def not_ready(self) -> list[str]:
        reasons = []
        if not self._in_force.version:
            reasons.append("no configuration yet")
        if self._log_away is not None and (self._spool is None or self._spool.is_full):
            reasons.append(f"the log cannot be reached: {self._log_away}")
        return reasons

    def _read(self, config: Config) -> Sources:
        return read_sources(config.document(FILE), self._connectors)

    def _builder(self, workspace: str) -> Builder:
        builder = self._builders.get(workspace)
        if builder is None:
            builder = self._builders[workspace] = Builder(workspace, self._runtime.pseudonyms)
        return builder

    async def _ping(self) -> None:
        while True:
            try:
                await self._runtime.log.ping()
                self._log_away = None
            except Transient as error:
                if self._log_away is None:
                    log.warning("log.away", reason=str(error))
                self._log_away = str(error)
            _reachable.set(0 if self._log_away else 1)
            await asyncio.sleep(PING_EVERY_S)


async def build(runtime: Runtime) -> Ingest:
    """Raises `Misuse` for a setting or a connector that cannot be used."""
    settings = read_ingest_settings(runtime.settings.env)
    connectors = registry.load(connectors_package, Connector)
    return Ingest(runtime, settings, connectors, await runtime.log.producer())
