"""A team's topic as server-sent events, for teams without Kafka: committed records only, resumable anywhere.

The event's id is a position over all partitions, opaque to the client: whoever sends it back as `Last-Event-ID` goes
on exactly behind that event, on any process; the first block bears the position at which the stream begins. It is signed with the topic's name, so a changed or borrowed one is
refused instead of being read from the wrong place. The client's pace is ours: the next records are read when the
last ones were taken.
"""

import base64
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from hashlib import sha256

import msgspec

from shared.errors import Rejected
from shared.log import Reader, TopicPartition

HEARTBEAT_S = 10.0
RETRY_MS = 2_000
MAX_CURSOR_CHARS = 8_192
_TAG_BYTES = 12

_offsets = msgspec.msgpack.Decoder(list[int])


class BadCursor(Rejected):
    """This is no position of that topic."""


class Cursors:
    """Positions as opaque text."""

    def __init__(self, secret: str) -> None:
        self._key = sha256(b"flywheel sse cursors\0" + secret.encode()).digest()

    def text(self, topic: str, positions: Mapping[int, int]) -> str:
        """`positions`: the next offset to read of every partition, from 0 without a gap."""
        body = msgspec.msgpack.encode([positions[partition] for partition in range(len(positions))])
        return base64.urlsafe_b64encode(self._tag(topic, body) + body).rstrip(b"=").decode()

    def positions(self, topic: str, text: str) -> dict[int, int]:
        """Raises `BadCursor`."""
        try:
            if len(text) > MAX_CURSOR_CHARS:
                raise ValueError
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            body = raw[_TAG_BYTES:]
            if not hmac.compare_digest(raw[:_TAG_BYTES], self._tag(topic, body)):
                raise ValueError
            return dict(enumerate(_offsets.decode(body)))
        except (ValueError, msgspec.MsgspecError):
            raise BadCursor("Last-Event-ID is no position of this team's topic: leave it out to begin anew") from None

    def _tag(self, topic: str, body: bytes) -> bytes:
        return hmac.digest(self._key, topic.encode() + b"\0" + body, "sha256")[:_TAG_BYTES]


async def start(reader: Reader, topic: str, partitions: int, where: str) -> dict[int, int]:
    """The positions at the `beginning` or the `end`."""
    bounds = [await reader.bounds(TopicPartition(topic, partition)) for partition in range(partitions)]
    return {number: end if where == "end" else first for number, (first, end) in enumerate(bounds)}


async def events(
    reader: Reader, topic: str, positions: dict[int, int], cursors: Cursors
) -> AsyncIterator[bytes | None]:
    """The topic from there on, each event as it goes over the wire; None about every second when nothing comes."""
    async with aclosing(reader.follow(topic, positions)) as batches:  # type: ignore[type-var]
        async for records in batches:
            if not records:
                yield None
            for record in records:
                positions[record.partition] = record.offset + 1
                kind = dict(record.headers).get("ce_type", b"message")
                yield frame(cursors.text(topic, positions), kind, record.value)


def opening(topic: str, cursor: str) -> bytes:
    """The first block, sent at once: an id without data, which a client keeps. Who followed from the end and was cut off
    before anything came thus resumes where it began, and not at an end that has moved on meanwhile."""
    return f"retry: {RETRY_MS}\nid: {cursor}\n: {topic}\n\n".encode()


def frame(cursor: str, kind: bytes, value: bytes) -> bytes:
    """JSON of ours has no line end in it; another writer's may, and each line needs its own `data:`."""
    if b"\n" in value or b"\r" in value:
        value = b"\ndata: ".join(value.splitlines())
    kind = kind.replace(b"\n", b"").replace(b"\r", b"")
    return b"".join((b"id: ", cursor.encode(), b"\nevent: ", kind, b"\ndata: ", value, b"\n\n"))
