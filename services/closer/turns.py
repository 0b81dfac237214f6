"""Work that is looked for again and again: a turn after the other. What is transient is waited out."""

import asyncio
import contextlib
from abc import ABC, abstractmethod

from shared.errors import Transient
from shared.telemetry import get_logger

BACKOFF_S = 1.0

_log = get_logger("closer")


class Turns(ABC):
    """Several processes may run one each."""

    name: str
    """What a log line calls it that says why it waits."""

    def __init__(self) -> None:
        self._draining = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @abstractmethod
    async def turn(self) -> float:
        """A batch, in a transaction of its own; how many seconds the next may wait. Raises `Transient`."""

    def wake(self) -> None:
        """The next turn waits no longer."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled, or drained."""
        self._idle.clear()
        try:
            while not self._draining:
                self._wake.clear()
                try:
                    wait_s = await self.turn()
                except Transient as error:
                    _log.warning(f"{self.name}.waiting", reason=str(error))
                    wait_s = BACKOFF_S
                if not self._draining:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), wait_s)
        finally:
            self._idle.set()

    async def drain(self) -> None:
        """Until the turn that is under way is over; no other begins."""
        self._draining = True
        self._wake.set()
        await self._idle.wait()
