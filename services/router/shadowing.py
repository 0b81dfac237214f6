"""Takes up the rules that run as a shadow, asks them about what was decided, and writes what was found.

They are asked once a batch is committed, so they hold back no event of it, and for no longer than a share of what the batch
took: what is left then is counted as skipped. The next batch waits for that long at most. Nothing that goes wrong here is
the router's: a shadow that cannot be asked is refused, one that fails is counted, and the rules in force go on.
"""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.router import metrics
from services.router.judge import Outcome
from services.router.ruleset import Ruleset
from services.router.settings import RouterSettings
from services.router.shadow import FAILED, OTHERWISE, SKIPPED, Shadow, Tally, beside
from services.router.shadow_kept import KeptShadows, Running
from shared.clock import Clock
from shared.config import Config, ConfigError
from shared.errors import Transient
from shared.telemetry import get_logger

EVERY_S = 2.0
LEAST_S = 0.01
"""Of a batch that was done at once, a shadow may ask about a few records all the same."""
BREATH_S = 0.02
"""After so much work the other tasks of the process have their turn, as in `handler`."""

InForce = Callable[[], tuple[Ruleset, Config]]
_log = get_logger("router")


class _Batch(NamedTuple):
    """What is being written, until it is known to be there."""

    shadow: int
    live: str
    tally: Tally
    number: int


class Shadowing:
    """One for each process."""

    def __init__(self, kept: KeptShadows, clock: Clock, settings: RouterSettings, in_force: InForce) -> None:
        """`in_force` raises `Transient` until there is a configuration."""
        self._kept = kept
        self._clock = clock
        self._share = settings.shadow_share
        self._in_force = in_force
        self._shadow: Shadow | None = None
        self._tried: tuple[int, str] | None = None
        """The shadow and the version in force that were last looked at, taken up or refused."""
        self._found: dict[tuple[int, str], Tally] = {}
        self._writing: list[_Batch] = []
        self._writer = uuid.uuid4()
        self._number = 0

    # ── asking ──

    def beside(self, ruleset: Ruleset) -> Shadow | None:
        """What is to be asked about what these rules decide."""
        shadow = self._shadow
        if shadow is None or shadow.live != ruleset.version or not self._share:
            return None
        return shadow.judged_by(ruleset.judge)

    async def compare(self, shadow: Shadow, outcomes: Sequence[Outcome], took_s: float) -> None:
        """`outcomes`: of feedback. `took_s`: how long the batch took without us."""
        tally = Tally()
        monotonic = self._clock.monotonic
        began = monotonic()
        until, breath_at = began + max(LEAST_S, self._share * took_s), began + BREATH_S
        for number, outcome in enumerate(outcomes):
            if (now := monotonic()) >= until:
                tally.counts[SKIPPED, "", ""] += len(outcomes) - number
                break
            if now >= breath_at:
                await asyncio.sleep(0)
                breath_at = monotonic() + BREATH_S
            if outcome.decided is None:
                tally.counts[FAILED, "", ""] += 1
            else:
                shadow.compare(outcome.decided, tally)
        metrics.shadow_seconds.observe(monotonic() - began)
        _count(tally)
        self._found.setdefault((shadow.id, shadow.live), Tally()).add(tally)

    # ── taking up and writing ──

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(EVERY_S * (0.8 + 0.4 * random.random()))

    async def turn(self) -> None:
        try:
            await self._look()
            await self._write()
        except Transient as error:
            _log.warning("shadow.waiting", reason=str(error))

    async def close(self) -> None:
        """What was found and not written yet, in one try."""
        try:
            await self._write()
        except Transient as error:
            _log.warning("shadow.lost", reason=str(error))

    async def _look(self) -> None:
        ruleset, config = self._in_force()
        running = await self._kept.running()
        if running is None:
            self._shadow = self._tried = None
            metrics.shadow_rules.set(0)
            return
        if self._tried == (running.id, ruleset.version):
            return
        self._shadow = None
        why = await self._take_up(running, ruleset, config)
        await self._kept.refuse(running.id, why)
        self._tried = (running.id, ruleset.version)
        metrics.shadow_rules.set(len(self._shadow.ruleset.rules) if self._shadow is not None else 0)

    async def _take_up(self, running: Running, ruleset: Ruleset, config: Config) -> str | None:
        """Why not. It was proved when it was started, but what is in force may have changed since: a team that is gone."""
        try:
            # A thousand rules take seconds, in which feedback is to be routed.
            self._shadow = await asyncio.to_thread(beside, running.id, running.rules, config, ruleset)
        except ConfigError as error:
            _log.error("shadow.refused", rules=running.hash, reason=str(error))
            return str(error)
        except Exception as error:  # noqa: BLE001 - a defect of a shadow is no reason to route nothing
            _log.exception("shadow.failed", rules=running.hash)
            return f"an unexpected {type(error).__name__}"
        _log.info("shadow.taken_up", rules=running.hash, beside=ruleset.version)
        return None

    async def _write(self) -> None:
        """Nothing is added to a batch once it was tried: it may be there already. What comes meanwhile is summed up, however
        long the database is away."""
        if not self._writing:
            for (shadow, live), tally in self._found.items():
                self._number += 1
                self._writing.append(_Batch(shadow, live, tally, self._number))
            self._found.clear()
        while self._writing:
            batch = self._writing[0]
            now = self._clock.now()
            try:
                await self._kept.add(batch.shadow, batch.live, batch.tally, self._writer, batch.number, now)
            except Transient:
                raise
            except Exception:  # noqa: BLE001 - what cannot be written is lost, and nothing else
                _log.exception("shadow.lost", records=batch.tally.compared)
            self._writing.pop(0)


def _count(tally: Tally) -> None:
    otherwise, failed, skipped = (tally.counts[what, "", ""] for what in (OTHERWISE, FAILED, SKIPPED))
    moved = tally.differ - otherwise
    found = {
        "same": tally.compared - tally.differ,
        "moved": moved,
        "otherwise": otherwise,
        "failed": failed,
        "skipped": skipped,
    }
    for outcome, count in found.items():
        metrics.shadow_records.labels(outcome).inc(count)
