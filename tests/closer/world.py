"""What the closer's tests stand on: a real database, the real embedded log, its own parts, and a clock turned by hand."""

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.closer.check import check
from services.closer.handler import Handler
from services.closer.store import Snapshots, Unit
from services.closer.timers import Timers
from services.closer.transactions import Transactions
from shared.clock import ManualClock
from shared.config import STARTER, Config, config_of, read_dir
from shared.database import Database
from shared.events.envelope import FEEDBACK_DECIDED, FEEDBACK_ROUTED, Envelope
from shared.events.feedback import FeedbackRouted
from shared.events.identity import Pseudonyms, body_hash, customer_of
from shared.log import Log, Message, Producer
from shared.log.postgres import PostgresLog
from shared.topics import DECISIONS, all_topics, routed

# A Monday morning within every team's hours.
START = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
TEAMS = ("product", "support", "sales")
SECRET = "a secret for tests, and for nothing else"
PATIENCE_S = 20.0


def feedback(**changes: Any) -> dict[str, Any]:
    """A routed value; `routing` members may be given by name (`team="sales"`)."""
    routing = {
        "role": "owner",
        "team": "support",
        "watchers": [],
        "tags": ["refund"],
        "theme": "refund",
        "kind": "complaint",
        "sentiment": {"label": "negative", "score": -0.5},
        "priority": "normal",
        "language": "en",
        "confidence": 0.9,
        "decided_by": "rule",
        "rule": "refunds",
        "ruleset_version": "abc123",
        "follow_up": True,
        "reasons": [{"code": "rule.matched", "text": "Rule 'refunds' matched: refund."}],
    }
    value: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "received_at": "2026-11-23T09:29:58.000Z",
        "source": "app-store",
        "text": "Where is my refund?",
        "customer": {"id": "c-1", "email": "ann@example.com", "name": "Ann"},
    }
    for name, change in changes.items():
        (routing if name in routing or name == "history" else value)[name] = change
    value["routing"] = routing
    return {name: member for name, member in value.items() if member is not None}


def message(value: Mapping[str, Any], *, topic: str | None = None, bodyhash: str | None = None) -> Message:
    """As the router writes it. The customer's key, so that their records meet in one partition."""
    FeedbackRouted.model_validate(value)  # what these tests write is what the contract says
    customer = value.get("customer") or {}
    who = customer_of(customer.get("id"), customer.get("email")) or value["id"]
    said = {name: member for name, member in value.items() if name not in ("id", "received_at", "routing")}
    envelope = Envelope(
        id=value["id"],
        type=FEEDBACK_ROUTED,
        source=value["source"],
        time=value["received_at"],
        workspace=value["workspace"],
        bodyhash=bodyhash or body_hash(json.dumps(said, sort_keys=True).encode()),
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    key = Pseudonyms(SECRET).key(value["workspace"], who)
    data = json.dumps(value, ensure_ascii=False).encode()
    return Message(topic or routed(value["routing"]["team"]), key, data, list(envelope.headers()))


def decision(value: Mapping[str, Any]) -> Message:
    envelope = Envelope(value["id"], FEEDBACK_DECIDED, "router", value["decided_at"], value["workspace"])
    return Message(DECISIONS, b"k", json.dumps(value).encode(), list(envelope.headers()))


@dataclass
class World:
    database: Database
    transactions: Transactions
    log: Log
    producer: Producer
    clock: ManualClock
    config: Config
    snapshots: Snapshots = field(default_factory=Snapshots)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, config: Config | None = None) -> AsyncIterator["World"]:
        async with contextlib.AsyncExitStack() as stack:
            database = Database(url)
            stack.push_async_callback(database.close)
            transactions = await Transactions.open(url)
            stack.push_async_callback(transactions.close)
            log = await PostgresLog.open(url)
            stack.push_async_callback(log.close)
            await log.ensure_topics(all_topics(TEAMS))
            producer = await log.producer()
            stack.push_async_callback(producer.close)
            yield cls(database, transactions, log, producer, ManualClock(START), config or config_of(read_dir(STARTER)))

    # ── parts under test ──

    def handler(self, **changes: Any) -> Handler:
        settings: dict[str, Any] = {
            "transactions": self.transactions,
            "log": self.log,
            "log_name": "embedded",
            "clock": self.clock,
            "pseudonyms": Pseudonyms(SECRET),
            "snapshots": self.snapshots,
        }
        handler = Handler(**settings | changes)
        handler.configure(check(self.config))
        return handler

    @property
    def unit(self) -> Unit:
        made = Unit(self.transactions, self.clock, self.snapshots)
        made.subscribers = check(self.config).subscribers
        return made

    @property
    def timers(self) -> Timers:
        return Timers(self.unit)

    @contextlib.asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Handler]:
        """A handler at work."""
        handler = self.handler(**changes)
        task = asyncio.create_task(handler.run())
        try:
            yield handler
        finally:
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # ── driving ──

    async def send(self, *messages: Message) -> None:
        await self.producer.append(messages)

    async def take(self, *values: Mapping[str, Any]) -> None:
        """These through a running handler, and waited for."""
        await self.send(*(message(value) for value in values))
        async with self.running():
            await self.caught_up()

    async def caught_up(self) -> None:
        """Until the stored positions are at the end of every topic that is the closer's."""

        async def check() -> bool:
            behind = await self.value(
                "SELECT coalesce(sum(p.next_offset - coalesce(c.position, 0)), 0) FROM log.topic t"
                " JOIN log.partition p ON p.topic_id = t.id"
                " LEFT JOIN closer.position c ON c.topic = t.name AND c.partition = p.partition"
                " WHERE t.name LIKE 'feedback.routed.%' OR t.name IN ('feedback.decisions', 'feedback.redrive')"
            )
            return bool(behind == 0)

        await eventually(check, "the handler to catch up")

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        async with self.database.engine.begin() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            return [dict(row) for row in await driver.fetch(query, *values)]

    async def value(self, query: str, *values: Any) -> Any:
        rows = await self.rows(query, *values)
        return next(iter(rows[0].values())) if rows else None

    async def one(self, query: str, *values: Any) -> dict[str, Any]:
        rows = await self.rows(query, *values)
        assert len(rows) == 1, rows
        return rows[0]

    async def case(self, feedback_id: str) -> dict[str, Any]:
        return await self.one(
            "SELECT c.* FROM published.cases c JOIN published.feedback f ON f.case_id = c.id WHERE f.id = $1",
            feedback_id,
        )

    async def timeline(self, case_id: Any) -> list[str]:
        rows = await self.rows("SELECT what FROM published.timeline WHERE case_id = $1 ORDER BY sequence", case_id)
        return [row["what"] for row in rows]

    async def outbox(self, topic: str = "feedback.cases") -> list[dict[str, Any]]:
        rows = await self.rows("SELECT value FROM shared.outbox WHERE topic = $1 ORDER BY id", topic)
        return [json.loads(row["value"]) for row in rows]

    async def records(self, topic: str) -> list[Any]:
        reader = await self.log.reader()
        try:
            found = []
            from shared.log import TopicPartition

            for partition in range(await reader.partitions(topic)):
                tp = TopicPartition(topic, partition)
                first, last = await reader.bounds(tp)
                async for records in reader.scan(tp, first, last):
                    found += records
            return found
        finally:
            await reader.close()


async def eventually(check: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_S) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await check():
        assert loop.time() < deadline, f"waited {seconds:.0f} s for {what}"
        await asyncio.sleep(0.02)


def config_with(tmp_path: Path, **files: str) -> Config:
    """The starter configuration with some files replaced (`sla="…"` for sla.yaml)."""
    texts = read_dir(STARTER)
    for name, text in files.items():
        texts[f"{name}.yaml"] = text
    return config_of(texts)


__all__ = ["START", "World", "config_with", "decision", "eventually", "feedback", "message", "os"]
