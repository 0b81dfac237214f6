"""What a process does for ever beside its services: listening, trimming, beating. None of it ends unnoticed.

A task that nobody awaits dies in silence: its work is no longer done, and nothing says so. So each is begun by `keep`,
and the process stands and falls with all of them (`watch`): a supervisor starts it again, and a half-dead one serves
nobody. Whoever begins a task ends it by cancelling it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import Counter

from shared.telemetry import get_logger

T = TypeVar("T")

_died = Counter("flywheel_background_tasks_died_total", "Tasks that ended in an error nobody handles.", ["task"])
_log = get_logger("tasks")


class _Kept:
    """Of one event loop."""

    def __init__(self) -> None:
        self.alive: set[asyncio.Task[Any]] = set()
        self.died: asyncio.Queue[BaseException] = asyncio.Queue()


_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept]" = WeakKeyDictionary()


def keep(work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
    """Begin it. `name` is one of few: it is a metric's label."""
    loop = asyncio.get_running_loop()
    kept = _kept(loop)
    task = loop.create_task(work, name=name)
    kept.alive.add(task)
    task.add_done_callback(lambda ended: _ended(kept, ended))
    return task


def kept() -> "frozenset[asyncio.Task[Any]]":
    """Those of this loop that run."""
    return frozenset(_kept(asyncio.get_running_loop()).alive)


async def watch() -> NoReturn:
    """Raises what the first of them died of."""
    raise await _kept(asyncio.get_running_loop()).died.get()


def _kept(loop: asyncio.AbstractEventLoop) -> _Kept:
    found = _loops.get(loop)
    if found is None:
        found = _loops[loop] = _Kept()
    return found


def _ended(kept: _Kept, task: "asyncio.Task[Any]") -> None:
    kept.alive.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _died.labels(task.get_name()).inc()
        _log.error("task.died", task=task.get_name(), exc_info=error)
        kept.died.put_nowait(error)
