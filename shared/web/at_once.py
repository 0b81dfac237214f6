"""Requests that are answered without a task of their own.

The busiest path of a service may have a handler that decides at once: the request is whole, nothing has to be waited
for but one callback, and the answer is one write. It saves the scope, the cycle, the task and a dozen coroutines, which
cost more than the work. It takes only what is plainly good, and may look at several together before it decides. Everything else it declines, and the path's ASGI
application, which knows every case and every refusal, gets the same request as if nothing had been.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from starlette.types import ASGIApp

from shared.web.cycle import fixed_head


class Asked(Protocol):
    """A request that arrived whole, alone on its connection, each header field once."""

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


def answer_head(status: int, length: int, content_type: bytes = b"application/json") -> bytes:
    return fixed_head(status, ((b"content-type", content_type), (b"content-length", b"%d" % length)))
