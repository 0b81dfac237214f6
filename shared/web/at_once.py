"""Requests that are answered without a task of their own.

The busiest path of a service may have a handler that decides at once: the request is whole, nothing has to be waited
for but one callback, and the answer is one write. It saves the scope, the cycle, the task and a dozen coroutines, which
cost more than the work. It takes only what is plainly good, and may look at several together before it decides
(`Together`). Everything else it declines, and the path's ASGI application, which knows every case and every refusal,
gets the same request as if nothing had been.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from starlette.types import ASGIApp

from shared.web.cycle import fixed_head


class Asked(Protocol):
    """A request that arrived whole, alone on its connection, each header field once."""

    @property
    def target(self) -> bytes:
        """As it was sent: the path, and the query if there is one."""

    @property
    def fields(self) -> Mapping[bytes, bytes]: ...
    @property
    def body(self) -> bytes: ...

    def answer(self, head: bytes, body: bytes) -> None:
        """`head` from `answer_head`. To be called once, now or later; nobody may be there any more."""

    def decline(self) -> None:
        """Instead of `answer`: the path's application gets it, as if it had not been taken."""

    def hand_over(self, app: ASGIApp) -> None:
        """Instead of `answer`: let that application do it."""


AtOnce = Callable[[Asked], bool]
"""True: it is answered, or will be. False: not taken. Raises nothing."""


class HotPath(NamedTuple):
    """A POST that is served before any framework. Where its path ends in `/`, of all that is one segment below it."""

    app: ASGIApp
    """It renders its own problems."""
    at_once: AtOnce | None = None


V = TypeVar("V")


def served(by_path: Mapping[str, V], path: str) -> V | None:
    """Whose it is, of paths as in `HotPath`."""
    found = by_path.get(path)
    if found is None:
        above, _, below = path.rpartition("/")
        found = by_path.get(f"{above}/") if below else None
    return found


class Taken(Protocol):
    """One that was asked, and whatever became of it so far."""

    @property
    def asked(self) -> Asked: ...


T = TypeVar("T", bound=Taken)
TAKEN_TOGETHER = 32
"""At most: the rest of what came in a turn of the event loop is taken after them."""


class Together(Generic[T]):
    """What comes in one turn of the event loop, a step at a time over all of it: the step's code and its tables are at hand
    for the second. Each from its first step to its last, they took half as long again."""

    def __init__(self, *steps: Callable[[T], bool]) -> None:
        """A step says whether it is as plain as the next one needs; otherwise, or if it raises, the path's application gets
        it, which answers and logs."""
        self._steps: Sequence[Callable[[T], bool]] = steps
        self._loop = asyncio.get_running_loop()
        self._asked: list[T] = []

    def add(self, taken: T) -> None:
        self._asked.append(taken)
        if len(self._asked) == 1:
            self._loop.call_soon(self._take)
        elif len(self._asked) >= TAKEN_TOGETHER:
            self._take()

    def _take(self) -> None:
        in_hand, self._asked = self._asked, []
        for step in self._steps:
            going_on = []
            for taken in in_hand:
                try:
                    is_plain = step(taken)
                except Exception:  # noqa: BLE001 - the application's to answer and to log; the others go on
                    is_plain = False
                if is_plain:
                    going_on.append(taken)
                else:
                    taken.asked.decline()
            in_hand = going_on


def answer_head(status: int, length: int, content_type: bytes = b"application/json") -> bytes:
    return fixed_head(status, ((b"content-type", content_type), (b"content-length", b"%d" % length)))
