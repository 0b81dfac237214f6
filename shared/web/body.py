"""A request's body, all of it or a refusal: bytes are counted as they come, before and after gunzip.

A body is refused before it is read where its headers already say too much, and no further than the limit where they
say nothing or lie. Whoever sends slower than `MIN_BYTES_PER_S` after `TIMEOUT_S` is told 408. Half of a body is never
handed on: a client that goes away raises `ClientDisconnect`, which needs no answer.
"""

import asyncio
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from shared.web.problems import Problem, malformed, unavailable

TIMEOUT_S = 30.0
MIN_BYTES_PER_S = 16 * 1024
"""Every so many bytes buy another second: a big import over a slow line is no attack, one byte a second is."""

READING_MAX_BYTES = 256 * 1024 * 1024
"""Of all bodies that are being read in this process: who sends them may be nobody we know."""
IN_A_THREAD_BYTES = 1024 * 1024
"""Where gzip may hold more than that, it is inflated beside the event loop: a thousand times its size may be in it."""

JSON = ("application/json", "+json")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BodyFields(Protocol):
    """The header fields that say what a body is, where somebody has looked them up already."""

    @property
    def content_type(self) -> bytes | None: ...
    @property
    def content_encoding(self) -> bytes | None: ...
    @property
    def content_length(self) -> bytes | None: ...


def joined_fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name; what stands more than once is one field with commas (RFC 9110 §5.2)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + b"," + value if name in found else value
    return found


async def read_body(
    scope: Scope,
    receive: Receive,
    *,
    max_bytes: int,
    max_encoded_bytes: int | None = None,
    gzip_allowed: bool = True,
    content_types: tuple[str, ...] | None,
    timeout_s: float = TIMEOUT_S,
    fields: "BodyFields | None" = None,
) -> bytes:
    """The body, decoded. Raises `Problem` (400, 408, 413, 415) or `ClientDisconnect`.

    `content_types`: media types, or `+json` for any with that suffix; None takes whatever comes (a signature will say
    whether it is good). `max_encoded_bytes` is the limit before gunzip; `max_bytes` unless given.
    """
    if fields is None:
        found = joined_fields(scope["headers"])
        content_type, content_encoding = found.get(b"content-type"), found.get(b"content-encoding")
        content_length = found.get(b"content-length")
    else:
        content_type, content_encoding = fields.content_type, fields.content_encoding
        content_length = fields.content_length
    if content_types is not None and not accepted(content_type or b"", content_types):
        raise wrong_type(content_types)
    zipped = content_encoding is not None and _is_gzip(content_encoding, gzip_allowed)
    limit = (max_encoded_bytes or max_bytes) if zipped else max_bytes
    if content_length is not None and _length(content_length) > limit:
        raise too_large(limit)

    message = await receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise too_large(limit)
    if not zipped and not message.get("more_body", False):
        return body
    sink = _Gunzip(max_bytes) if zipped else _Plain()
    with _Room() as room:
        await _feed(sink, body, room)
        if message.get("more_body", False):
            await _read_rest(receive, sink, room, len(body), limit, timeout_s)
        return sink.finish()


class _Room:
    """What one body takes of `READING_MAX_BYTES`, until it is whole or given up."""

    taken_by_all = 0

    def __init__(self) -> None:
        self._taken = 0

    def __enter__(self) -> "_Room":
        return self

    def take(self, size: int) -> None:
        """Raises `Problem` 503: nothing of it was done."""
        if _Room.taken_by_all + size > READING_MAX_BYTES:
            raise unavailable()
        self._taken += size
        _Room.taken_by_all += size

    def __exit__(self, *_: object) -> None:
        _Room.taken_by_all -= self._taken


async def _feed(sink: "_Plain | _Gunzip", chunk: bytes, room: _Room) -> None:
    room.take(sink.feed(chunk) if sink.is_quick else await asyncio.to_thread(sink.feed, chunk))


async def _read_rest(
    receive: Receive, sink: "_Plain | _Gunzip", room: _Room, received: int, limit: int, timeout_s: float
) -> None:
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + timeout_s) as deadline:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                received += len(chunk)
                if received > limit:
                    raise too_large(limit)
                await _feed(sink, chunk, room)
                if not message.get("more_body", False):
                    return
                deadline.reschedule(start + timeout_s + received / MIN_BYTES_PER_S)
    except TimeoutError:
        raise timed_out() from None


class _Plain:
    is_quick = True

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> int:
        """How many bytes are kept of it."""
        self._chunks.append(chunk)
        return len(chunk)

    def finish(self) -> bytes:
        return b"".join(self._chunks)


class _Gunzip:
    """One gzip member, whole, and nothing behind it; never more than `max_bytes` of it in memory."""

    def __init__(self, max_bytes: int) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._chunks: list[bytes] = []
        self._max_bytes = max_bytes
        self._left = max_bytes
        self.is_quick = max_bytes <= IN_A_THREAD_BYTES

    def feed(self, chunk: bytes) -> int:
        if self._inflate.eof:
            if chunk:
                raise _bad_gzip("bytes follow its end")
            return 0
        try:
            decoded = self._inflate.decompress(chunk, self._left + 1)
        except zlib.error:
            raise _bad_gzip("it is damaged") from None
        self._left -= len(decoded)
        if self._left < 0:
            raise too_large(self._max_bytes)
        if self._inflate.unused_data:
            raise _bad_gzip("bytes follow its end")
        self._chunks.append(decoded)
        return len(decoded)

    def finish(self) -> bytes:
        if not self._inflate.eof:
            raise _bad_gzip("it is cut short")
        return b"".join(self._chunks)


def media_type(scope: Scope) -> str:
    """The request's media type without parameters, in lower case; `` when there is none."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bytes(value).split(b";", 1)[0].strip().lower().decode("latin-1")
    return ""


@lru_cache(maxsize=512)
def accepted(content_type: bytes, content_types: tuple[str, ...]) -> bool:
    """Whether a `Content-Type` names one of these, in UTF-8."""
    essence, *parameters = content_type.decode("latin-1").lower().split(";")
    essence = essence.strip()
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8"}:
            return False
    return any(
        essence.endswith(wanted) and "," not in essence if wanted.startswith("+") else essence == wanted
        for wanted in content_types
    )


def _is_gzip(content_encoding: bytes, gzip_allowed: bool) -> bool:
    encoding = content_encoding.strip().lower()
    if encoding in {b"", b"identity"}:
        return False
    if encoding == b"gzip" and gzip_allowed:
        return True
    raise Problem(
        415,
        "unsupported-media-type",
        "This content encoding is not accepted here.",
        "Send it once gzipped, or as it is." if gzip_allowed else "Send it as it is.",
        headers={"Accept-Encoding": "gzip" if gzip_allowed else "identity", "Connection": "close"},
    )


def _length(value: bytes) -> int:
    # The protocol refuses what is no number; other servers may not.
    if not value.isdigit() or len(value) > 18:
        raise malformed("Content-Length is not a number.")
    return int(value)


def wrong_type(content_types: tuple[str, ...]) -> Problem:
    wanted = ", ".join(f"application/*{t}" if t.startswith("+") else t for t in content_types)
    return Problem(
        415,
        "unsupported-media-type",
        "This media type is not accepted here.",
        f"Send {wanted} in UTF-8.",
        headers={"Accept": wanted, "Connection": "close"},
    )


def too_large(limit: int) -> Problem:
    return Problem(
        413,
        "payload-too-large",
        "The body is too large.",
        f"At most {limit:,} bytes are accepted here.",
        headers={"Connection": "close"},
    )


def timed_out() -> Problem:
    return Problem(408, "request-timeout", "The request took too long to arrive.", headers={"Connection": "close"})


def _bad_gzip(why: str) -> Problem:
    return malformed(f"The body is not one whole gzip member: {why}.")
