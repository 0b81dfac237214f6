"""Asks for figures. The page, the JSON, the CSV and the gauges all ask here, and so say the same.

The figures of the usual span are counted anew in the background while somebody looks at the gauges or at the page, at
most every `EVERY_S` and for at most a part of the time, so that counting a million is nobody's burden. Whoever looks for
the first time in a while begins it; nobody looking, nothing is counted.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.console.bases import By
from services.console.figures import Figure, figures
from services.console.freshness import Freshness
from services.console.hearing import LOOP, Source, entries_of, unheard
from services.console.queries import Queries
from services.console.spans import SPANS, USUAL, Span
from services.console.staleness import stale
from shared.clock import Clock
from shared.config import Config
from shared.errors import Transient
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE
from shared.web.problems import Problem

EVERY_S = 60.0
REST = 20
"""So many times as long as it took, nothing is counted in the background."""
FRESH_S = 900.0
"""Older than this, and than three turns, what was counted in the background is shown to nobody."""

_log = get_logger("console")


@dataclass(frozen=True, slots=True)
class Group:
    name: str | None
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Measured:
    span: Span
    by: By | None
    groups: tuple[Group, ...]
    """One without a name where nothing was asked to be cut."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was counted in the background: of all, of all in the span before, by team; and the sources."""

    whole: Measured
    before: Measured
    by_team: Measured
    named: tuple[Source, ...]
    """Those of sources.yaml."""
    others: tuple[Source, ...]
    counted_at_s: float
    took_s: float

    def fresh(self, now_s: float) -> bool:
        return now_s - self.counted_at_s < max(FRESH_S, 3 * REST * self.took_s)


class Measuring:
    def __init__(
        self, queries: Queries, freshness: Freshness, clock: Clock, config: Callable[[], Config | None]
    ) -> None:
        self._queries, self._freshness, self._clock, self._config = queries, freshness, clock, config
        self._latest: Snapshot | None = None
        self._asked = asyncio.Event()

    async def measured(self, workspace: str, span: Span, by: By | None) -> Measured:
        rows = await self._queries.measures(workspace, span.start, span.end, by)
        known, gave = await self._freshness.of(workspace, by)
        groups = (
            Group(row["group_name"], figures(row, stale(known, gave, by, row["group_name"], span.end))) for row in rows
        )
        return Measured(span, by, tuple(groups))

    async def sources(self, workspace: str) -> dict[str, Source]:
        """By name: those of sources.yaml in its order, then the others, the last heard first."""
        heard, now = await self._freshness.sources(workspace), self._clock.now()
        named = {name: heard.get(name) or unheard(name, now) for name in entries_of(self._config(), workspace)}
        return named | {name: one for name, one in heard.items() if name not in named}

    # ── in the background ──

    @property
    def latest(self) -> Snapshot | None:
        """What was counted last, if that is not long ago. Asking has it counted again."""
        self._asked.set()
        found = self._latest
        return found if found is not None and found.fresh(self._clock.monotonic()) else None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._asked.wait()
            began = self._clock.monotonic()
            try:
                await self.refresh()
            except (Transient, Problem) as error:
                _log.warning("measures.waiting", reason=str(error))
            await asyncio.sleep(max(EVERY_S, REST * (self._clock.monotonic() - began)))

    async def refresh(self) -> None:
        self._asked.clear()
        began, end = self._clock.monotonic(), self._clock.now()
        span = Span(end - SPANS[USUAL], end)
        whole = await self.measured(DEFAULT_WORKSPACE, span, None)
        before = await self.measured(DEFAULT_WORKSPACE, span.before, None)
        by_team = await self.measured(DEFAULT_WORKSPACE, span, "team")
        sources, entries = await self.sources(DEFAULT_WORKSPACE), entries_of(self._config(), DEFAULT_WORKSPACE)
        named = tuple(one for name, one in sources.items() if name in entries)
        others = tuple(one for name, one in sources.items() if name not in entries and name != LOOP)
        now = self._clock.monotonic()
        self._latest = Snapshot(whole, before, by_team, named, others, now, now - began)
