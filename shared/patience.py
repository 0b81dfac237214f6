"""A start that waits: for what is away, for a while, and not in silence. A deployment starts in any order."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from shared.errors import Transient
from shared.telemetry import get_logger

START_PATIENCE_S = 120.0
START_SAY_S = 10.0

T = TypeVar("T")

_log = get_logger("runtime")


@contextlib.contextmanager
def where(setting: str, named: str | None) -> Iterator[None]:
    """Whoever is told that something is away is told where it was looked for."""
    try:
        yield
    except Transient as error:
        raise Transient(f"{error} ({setting} names {named})" if named else str(error)) from error


def server_of(url: str) -> str:
    """Without the password."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query)).get("host") or parts.netloc.rpartition("@")[2]
    return given or "this machine"


async def unless_stopped(start: Coroutine[Any, Any, T], stopping: asyncio.Event) -> T | None:
    """What came of it; None when we were asked to stop before: then whoever called us still cleans up behind us."""
    starting, stop = asyncio.create_task(start), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            return starting.result()
    finally:
        for task in (starting, stop):
            task.cancel()
        await asyncio.gather(starting, stop, return_exceptions=True)
    return None


class Patience:
    """What we wait for is said at once, when it becomes another, and every START_SAY_S."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell = tell
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()
        self._said_at = -math.inf
        self._said = ""

    def wait(self, error: Transient) -> None:
        """Raises `Transient`, with what to do, when we have waited for long enough."""
        waited, reason = self._clock() - self._since, str(error)
        if waited >= START_PATIENCE_S:
            mend = "is it running, and is that where it is? `flywheel doctor` looks at everything that is needed"
            raise Transient(f"{reason}; waited {START_PATIENCE_S:.0f} s: {mend}") from error
        if reason == self._said and self._clock() - self._said_at < START_SAY_S:
            return
        _log.warning("start.waiting", reason=reason, waited_s=round(waited))
        if self._tell is not None:
            how_long = f"since {waited:.0f} s" if waited >= 1 else f"for up to {START_PATIENCE_S:.0f} s"
            self._tell(f"Waiting, {how_long} (Ctrl-C gives up): {reason}")
        self._said, self._said_at = reason, self._clock()
