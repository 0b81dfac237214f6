"""One request and its answer: uvicorn's cycle, with the answer in one write.

uvicorn writes the head of an answer when the application sends it, and the body when that comes: two system calls, two
packets, and two awakenings of the client for what is nearly always ready at once. Here a head with a length waits for
the first of its body, which ASGI's applications send next. A head without one, of a stream, goes at once as before.

Heads repeat, but for the date: their bytes are kept. Every name and value is checked as uvicorn checks them, once.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

MAX_KEPT_HEADS = 256


class _Head(NamedTuple):
    lines: bytes
    length: int
    """What Content-Length says."""
    close: bool


@lru_cache(maxsize=MAX_KEPT_HEADS)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> _Head | None:
    """None where the answer has no one length, or nothing of it may follow: that is uvicorn's to say."""
    length: int | None = None
    close = False
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            return None
        name = name.lower()
        if name == b"transfer-encoding" or (name == b"content-length" and length is not None):
            return None
        if name == b"content-length":
            length = int(value)
        elif name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
            close = True
        lines += [name, b": ", value, b"\r\n"]
    return None if length is None else _Head(b"".join(lines), length, close)


def fixed_head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The lines of a head that never changes, without the empty one. Raises `ValueError` for one that is not right."""
    head = _head(status, headers)
    if head is None:
        raise ValueError("a head has one Content-Length, and fields without control characters")
    return head.lines


def _last(message: Any) -> Any:
    """An answer that does not wait for the rest of its question is the last one: what is still under way is dropped, and with
    it would be a next question of who was not told."""
    headers = message.get("headers", ())
    if any(name.lower() == b"connection" for name, _ in headers):
        return message
    return {**message, "headers": [*headers, (b"connection", b"close")]}


class Cycle(RequestResponseCycle):
    """What `GuardedProtocol` runs its applications in."""

    _held = b""

    async def send(self, message: Any) -> None:
        if self.response_complete or self.flow.write_paused or self.disconnected:
            self._release()
            await super().send(message)
        elif message["type"] == "http.response.start" and not self.response_started:
            if self.more_body:
                message = _last(message)
            if not self._hold(message["status"], message.get("headers", ())):
                await super().send(message)
        elif self._held and message["type"] == "http.response.body" and not message.get("more_body", False):
            self._finish(message.get("body", b""))
        else:
            self._release()
            await super().send(message)

    def _hold(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        head = _head(status, tuple(headers))
        if head is None or self.scope["method"] == "HEAD":
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = head.length
        lines = [head.lines]
        for name, value in self.default_headers:
            lines += [name, b": ", value, b"\r\n"]
        if head.close:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._held = b"".join(lines)
        return True

    def _release(self) -> None:
        """The head alone: its body comes in pieces, or never."""
        if self._held:
            held, self._held = self._held, b""
            self.transport.write(held)

    def _finish(self, body: bytes) -> None:
        if len(body) != self.expected_content_length:
            self._release()
            raise RuntimeError(f"Response content of {len(body)} bytes, Content-Length {self.expected_content_length}")
        held, self._held = self._held, b""
        self.transport.write(held + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    async def receive(self) -> Any:
        # A body that is here already is handed over without a turn of the event loop, or a look at the time.
        if self.more_body or self.waiting_for_100_continue or self.disconnected or not self.body:
            return await super().receive()
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        return {"type": "http.request", "body": body, "more_body": False}
