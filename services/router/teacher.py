"""Learns from what people correct, and takes what it learnt into use where it is better than what judges now.

Every so many corrections, or after a while where they are few, one process of all learns (`KeptModels.claim`): from the rows
of the model in force and from everything that people corrected, as they said it last. A candidate that is no better is not
kept; what it was measured by is (`learn status`).
"""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from services.router import metrics
from services.router.candidate import elsewhere
from services.router.kept import CORRECTIONS, KeptModels, Known
from services.router.settings import RouterSettings
from shared.clock import Clock
from shared.config import Config
from shared.errors import Misuse, Rejected, Transient
from shared.telemetry import get_logger

LOOK_S = 2.0
LEASE = timedelta(minutes=10)
"""Well above what a hundred thousand examples take."""

_log = get_logger("router")


class Teacher:
    def __init__(
        self, kept: KeptModels, clock: Clock, settings: RouterSettings, config: Callable[[], Config | None]
    ) -> None:
        self._kept = kept
        self._clock = clock
        self._enough = settings.learn_every
        self._patience = timedelta(seconds=settings.learn_after_s)
        self._config = config

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S * (0.8 + 0.4 * random.random()))
            try:
                await self.look()
            except Transient as error:
                _log.warning("teacher.waiting", reason=str(error))

    async def look(self) -> bool:
        """Whether something was learnt from, whatever came of it."""
        config = self._config()
        if config is None:
            return False
        upto = await self._kept.claim(self._clock.now(), LEASE, self._enough, self._patience)
        if upto is None:
            return False
        found = await self._try(config)
        await self._kept.tried(upto, self._clock.now(), found)
        metrics.trials.labels("taken" if found["in_force"] else "left").inc()
        _log.info("model.tried", **found)
        return True

    async def _try(self, config: Config) -> dict[str, Any]:
        before = await self._kept.in_force()
        mine = await self._kept.rows(before) if before is not None else None
        every = _both(mine, await self._kept.taught())
        told: dict[str, Any] = {"before": before, "rows": len(every.rows), "in_force": False}
        try:
            model, comparison = await elsewhere(
                config.files, config.env, every.rows, mine.rows if mine is not None else None
            )
        except Rejected as error:
            return told | {"why": str(error)}
        except OSError as error:  # not for ever: the next correction tries again
            return told | {"why": str(error)}
        told |= {
            "version": model.version,
            "held_back": comparison.held_back,
            "macro_f1": dict(comparison.new),
            "macro_f1_before": dict(comparison.old),
        }
        if not comparison.better:
            return told | {
                "why": "no better on what was held back" if comparison.new else "too few are held back to tell"
            }
        if await self._kept.in_force() != before:
            return told | {"why": "another model came into force meanwhile"}
        now = self._clock.now()
        await self._kept.keep(model, every.ids, now, CORRECTIONS)
        try:
            await self._kept.promote(
                model.version, now, f"better than {before or 'the lexicons'} on what was held back"
            )
        except Misuse as error:
            return told | {"why": str(error)}
        return told | {"in_force": True}


def _both(mine: Known | None, taught: Known) -> Known:
    """Each once."""
    if mine is None:
        return taught
    known = set(mine.ids)
    fresh = [(identity, row) for identity, row in zip(*taught, strict=True) if identity not in known]
    return Known([*mine.ids, *(one for one, _ in fresh)], [*mine.rows, *(row for _, row in fresh)])
