"""Asks what is silent and what is behind (`hearing.py`, `staleness.py` say what that means), and keeps the answer for `KEPT_S`.

How far behind the router and the closer are, the log knows, whichever log it is: the first record that waits has been
waiting since it was written. Only the log is asked for that, and nothing of it is moved. When it is away, nobody can tell,
and that is what is said. Of a source only that is judged what is counted by then: a consumer that lags makes nobody silent.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from services.console.bases import By
from services.console.hearing import Source, sources_of
from services.console.queries import Queries, Rows
from services.console.staleness import Consumer, Known, Lag, behind, doubts, known_until
from services.console.volume import whole_hours
from shared.clock import Clock
from shared.errors import Transient
from shared.log import Log, Reader, Record, TopicPartition
from shared.telemetry import get_logger
from shared.topics import RECEIVED, ROUTED_PREFIX, named

KEPT_S = 60.0
LOOK_S = 5.0
"""A log that has not answered by then is away."""

_log = get_logger("console")


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    now: datetime
    sources: Mapping[str, Source]
    known: Known
    gave: dict[By | None, Rows] = field(default_factory=dict)


class Freshness:
    def __init__(self, queries: Queries, log: Log, clock: Clock) -> None:
        self._queries, self._log, self._clock = queries, log, clock
        self._looks: dict[str, _Look] = {}
        self._looking = asyncio.Lock()
        self._nothing: dict[tuple[Consumer, TopicPartition], tuple[int, int]] = {}
        """Stretches of partitions that wait and hold no record: transactions' ends have offsets too (Kafka)."""

    async def of(self, workspace: str, by: By | None) -> tuple[Known, Rows]:
        """What is not as usual or behind, and what such sources used to give, by group."""
        async with self._looking:
            look = await self._latest(workspace)
            if by not in look.gave:
                names = [one.source for one in look.known.doubts]
                look.gave[by] = await self._queries.gave(workspace, names, by, look.now) if names else []
            return look.known, look.gave[by]

    async def sources(self, workspace: str) -> Mapping[str, Source]:
        """All that were ever heard of, by name, the last heard first."""
        async with self._looking:
            return (await self._latest(workspace)).sources

    async def _latest(self, workspace: str) -> _Look:
        look = self._looks.get(workspace)
        if look is None or self._clock.monotonic() - look.at_s >= KEPT_S:
            look = self._looks[workspace] = await self._look(workspace)
        return look

    async def _look(self, workspace: str) -> _Look:
        now, at_s = self._clock.now(), self._clock.monotonic()
        lags = behind(await self._lags(workspace), now)
        counted = known_until(lags, now)
        heard, end = await self._queries.heard(workspace, now), whole_hours(counted or now)
        hours = await self._queries.hours(workspace, end) if counted is not None else []
        sources = sources_of(heard, hours, counted or now, end)
        return _Look(at_s, now, sources, Known(doubts(sources.values()), lags))

    # ── the log ──

    async def _lags(self, workspace: str) -> list[Lag]:
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._ask_the_log(workspace)
        except (Transient, TimeoutError) as error:
            _log.warning("freshness.log_away", reason=str(error) or f"no answer within {LOOK_S:.0f} s")
            return [Lag("router"), Lag("closer")]

    async def _ask_the_log(self, workspace: str) -> list[Lag]:
        received, prefix = named(workspace, RECEIVED), named(workspace, ROUTED_PREFIX)
        topics = await self._log.topics()
        routed = sorted(topic for topic in topics if topic.startswith(prefix))
        reader = await self._log.reader()
        try:
            waits = await self._waits("router", [received] if received in topics else [], reader)
            found = [Lag("router", None, min(waits.values()))] if waits else []
            for topic, since in (await self._waits("closer", routed, reader)).items():
                found.append(Lag("closer", topic.removeprefix(prefix), since))
        finally:
            await reader.close()
        return found

    async def _waits(self, consumer: Consumer, topics: Iterable[str], reader: Reader) -> Mapping[str, datetime]:
        """Topic → since when the first record waits that the consumer has not taken; without those where none does."""
        found: dict[str, datetime] = {}
        for tp, waiting in (await self._log.lag(consumer, list(topics))).items():
            since = await self._first(consumer, tp, waiting, reader) if waiting else None
            if since is not None:
                found[tp.topic] = min(since, found.get(tp.topic, since))
        return found

    async def _first(self, consumer: Consumer, tp: TopicPartition, waiting: int, reader: Reader) -> datetime | None:
        _, end = await reader.bounds(tp)
        start = end - waiting
        if self._nothing.get((consumer, tp)) == (start, end):
            return None
        scanned = cast("AsyncGenerator[list[Record]]", reader.scan(tp, start, end))
        async with aclosing(scanned) as batches:
            async for records in batches:
                return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=records[0].timestamp_ms)
        self._nothing[consumer, tp] = (start, end)
        return None
