"""Deadlines of connections without a timer for each: one look at all of a server's, twice a second."""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState


class Sweeper:
    """Looks at the deadlines of a server's connections, as long as there are any."""

    def __init__(self, connections: "set[Any]", every_s: float) -> None:
        self._connections = connections
        self._every_s = every_s
        self._awake = False

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._awake:
            self._awake = True
            loop.call_later(self._every_s, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._connections):
            if connection.deadline <= now or connection.write_deadline <= now:
                connection.overdue(now)
        self._awake = False
        if self._connections:
            self.wake(loop)


_made: "WeakKeyDictionary[ServerState, Sweeper]" = WeakKeyDictionary()


def sweeper(state: ServerState, every_s: float) -> Sweeper:
    found = _made.get(state)
    if found is None:
        found = _made[state] = Sweeper(state.connections, every_s)
    return found
