"""Wiring only."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter

from services.closer import (
    accounts,
    api,
    callbacks,
    channels,
    corrections,
    deliveries,
    digest_api,
    erasures,
    initiative_api,
    page,
    presence,
    reowning,
    signal_lists,
)
from services.closer.activity import Sweeper
from services.closer.answers import Answers
from services.closer.channels import Channel, OpenChannel, Plugin
from services.closer.check import InForce, check
from services.closer.deliver import Deliverer
from services.closer.digests import Digests
from services.closer.erasing import Eraser
from services.closer.gone import Gone
from services.closer.handler import Handler
from services.closer.news import News
from services.closer.search import Indexer
from services.closer.settings import CloserSettings, read_closer_settings
from services.closer.signaller import Signaller
from services.closer.store import Snapshots, Unit
from services.closer.subscribers import plugins
from services.closer.tally import Tally
from services.closer.tell import Teller
from services.closer.timers import Gauges, Timers
from services.closer.transactions import Transactions
from shared import registry
from shared.config import Config
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
        self._found: InForce | None = None
        self._ways = ways
        self._producer = producer
        snapshots = Snapshots()
        unit = Unit(transactions, runtime.clock, snapshots)
        self._transactions = transactions
        self._unit = unit
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
        self._teller = Teller(unit, lambda channel: plugins()[channel].open_way(runtime.settings, settings))
        self._digests = Digests(unit)
        self._relay = Relay(runtime.database, producer)
        self._indexer = Indexer(transactions)
        self._tally = Tally(transactions)
        self._sweeper = Sweeper(transactions, runtime.clock)
        self._gone = Gone(unit, self._in_force)
        self._news = News(unit, self._in_force)
        self._signaller = Signaller(transactions, runtime.clock)
        self.routes = APIRouter()
        in_force = self._in_force
        # Before the verbs: `callbacks` is no case's id.
        desk = api.Desk(unit, lambda: in_force().policies, lambda: in_force().teams)
        self.routes.include_router(callbacks.routes_for(unit, desk, lambda: in_force().subscribers, self._teller.way))
        self.routes.include_router(
            api.routes_for(unit, runtime.database, runtime.links, lambda: in_force().policies, lambda: in_force().teams)
        )
        self.routes.include_router(corrections.routes_for(unit, lambda: in_force().teams))
        self.routes.include_router(reowning.routes_for(unit, lambda: in_force().teams))
        self.routes.include_router(presence.routes_for(transactions, runtime.clock))
        self.routes.include_router(deliveries.routes_for(unit, runtime.database, runtime.links))
        self.routes.include_router(digest_api.routes_for(unit, self._digests, runtime.settings.public_url))
        self.routes.include_router(initiative_api.routes_for(unit, runtime.database, runtime.links))
        self.routes.include_router(signal_lists.routes_for(runtime.database, runtime.links))
        self.routes.include_router(accounts.routes_for(transactions, runtime.database, runtime.links, runtime.clock))
        eraser = Eraser(unit, runtime.pseudonyms, ways)
        self.routes.include_router(erasures.routes_for(eraser, lambda: in_force().teams))
        self.routes.include_router(page.routes_for(Answers(unit, runtime.links, runtime.pseudonyms)))
        self.hot_paths: Mapping[str, HotPath] = {}

    def _in_force(self) -> InForce:
        assert self._found is not None, "configured before anything is served"
        return self._found

    def check(self, config: Config) -> None:
        check(config)

    async def configure(self, config: Config) -> None:
        found = check(config)
        # Whoever tells is ready before anything is owed.
        await self._teller.configure(found.subscribers)
        self._unit.subscribers = found.subscribers
        self._handler.configure(found)
        self._signaller.configure(found.signals, found.subscribers)
        self._found = found
        self._gone.wake()
        await self._handler.resubscribe()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._handler.run(), name="closer-handler")
                group.create_task(self._timers.run(), name="closer-timers")
                group.create_task(self._deliverer.run(), name="closer-deliver")
                group.create_task(self._teller.run(), name="closer-tell")
                group.create_task(self._digests.run(), name="closer-digests")
                group.create_task(self._relay.run(), name="closer-relay")
                group.create_task(self._gauges.run(), name="closer-gauges")
                group.create_task(self._indexer.run(), name="closer-search")
                group.create_task(self._tally.run(), name="closer-tally")
                group.create_task(self._sweeper.run(), name="closer-activity")
                group.create_task(self._gone.run(), name="closer-gone")
                group.create_task(self._news.run(), name="closer-news")
                group.create_task(self._signaller.run(), name="closer-signals")
        finally:
            for way in self._ways.values():
                await way.close()
            await self._teller.close()
            await self._producer.close()
            await self._transactions.close()

    async def drain(self) -> None:
        """The batch in hand and what is on its way come to their end; what they wrote is published by the relay, here or at
        the next start."""
        await asyncio.gather(
            self._handler.drain(),
            self._timers.drain(),
            self._digests.drain(),
            self._deliverer.drain(),
            self._teller.drain(),
        )

    def not_ready(self) -> list[str]:
        reasons = []
        if self._found is None:
            reasons.append("no configuration is in force yet")
        if self._handler.waiting is not None:
            reasons.append(self._handler.waiting)
        return reasons


async def build(runtime: Runtime) -> Service:
    settings = read_closer_settings(runtime.settings)
    plugins()  # those that are broken stop the start
    found = registry.load(channels, Plugin)
    openers: dict[str, OpenChannel] = {name: plugin.open_channel for name, plugin in found.items()}
    ways = {name: open_channel(runtime.settings, settings) for name, open_channel in openers.items()}
    assert runtime.settings.database_url is not None, "the runtime does not open without one"
    transactions = await Transactions.open(runtime.settings.database_url)
    return CloserService(runtime, settings, transactions, ways, await runtime.log.producer())
