"""Wiring only."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter

from services.closer import api, channels, page
from services.closer.answers import Answers
from services.closer.channels import Channel, OpenChannel, Plugin
from services.closer.deliver import Deliverer
from services.closer.handler import Handler
from services.closer.policy import Policies, check
from services.closer.settings import CloserSettings, read_closer_settings
from services.closer.store import Snapshots, Unit
from services.closer.timers import Gauges, Timers
from services.closer.transactions import Transactions
from shared import registry
from shared.config import Config
from shared.config.teams import read_teams
from shared.database.outbox import Relay
from shared.log import Producer
from shared.runtime import Runtime, Service
from shared.web.at_once import HotPath


class CloserService:
    """Implements `shared.runtime.Service`."""

    name = "closer"
    leads = False

    def __init__(
        self,
        runtime: Runtime,
        settings: CloserSettings,
        transactions: Transactions,
        ways: Mapping[str, Channel],
        producer: Producer,
    ) -> None:
        self._runtime = runtime
        self._policies: Policies | None = None
        self._teams: frozenset[str] = frozenset()
        self._ways = ways
        self._producer = producer
        snapshots = Snapshots()
        unit = Unit(transactions, runtime.clock, snapshots)
        self._transactions = transactions
        self._handler = Handler(
            transactions=transactions,
            log=runtime.log,
            log_name="kafka" if runtime.settings.kafka_bootstrap_servers else "embedded",
            clock=runtime.clock,
            pseudonyms=runtime.pseudonyms,
            snapshots=snapshots,
            batch_records=settings.batch_records,
        )
        self._timers = Timers(unit)
        self._gauges = Gauges(transactions)
        self._deliverer = Deliverer(unit, ways, runtime.links, runtime.settings.public_url, settings)
        self._relay = Relay(runtime.database, producer)
        self.routes = APIRouter()
        self.routes.include_router(
            api.routes_for(unit, runtime.database, runtime.links, self._in_force, lambda: self._teams)
        )
        self.routes.include_router(page.routes_for(Answers(unit, runtime.links, runtime.pseudonyms)))
        self.hot_paths: Mapping[str, HotPath] = {}

    def _in_force(self) -> Policies:
        assert self._policies is not None, "configured before anything is served"
        return self._policies

    def check(self, config: Config) -> None:
        check(config)

    async def configure(self, config: Config) -> None:
        self._policies = check(config)
        self._teams = frozenset(read_teams(config.document("teams.yaml")).names)
        self._handler.configure(self._policies)
        await self._handler.resubscribe()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._handler.run(), name="closer-handler")
                group.create_task(self._timers.run(), name="closer-timers")
                group.create_task(self._deliverer.run(), name="closer-deliver")
                group.create_task(self._relay.run(), name="closer-relay")
                group.create_task(self._gauges.run(), name="closer-gauges")
        finally:
            for way in self._ways.values():
                await way.close()
            await self._producer.close()
            await self._transactions.close()

    async def drain(self) -> None:
        """The batch in hand and the mails on their way come to their end; what they wrote is published by the relay, here
        or at the next start."""
        await asyncio.gather(self._handler.drain(), self._timers.drain(), self._deliverer.drain())

    def not_ready(self) -> list[str]:
        reasons = []
        if self._policies is None:
            reasons.append("no configuration is in force yet")
        if self._handler.waiting is not None:
            reasons.append(self._handler.waiting)
        return reasons


async def build(runtime: Runtime) -> Service:
    settings = read_closer_settings(runtime.settings)
    plugins = registry.load(channels, Plugin)
    openers: dict[str, OpenChannel] = {name: plugin.open_channel for name, plugin in plugins.items()}
    ways = {name: open_channel(runtime.settings, settings) for name, open_channel in openers.items()}
    assert runtime.settings.database_url is not None, "the runtime does not open without one"
    transactions = await Transactions.open(runtime.settings.database_url)
    return CloserService(runtime, settings, transactions, ways, await runtime.log.producer())
