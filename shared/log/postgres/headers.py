"""Headers as they are stored: MessagePack, so that a name or a value may be anything.

A map, because that is what is read a few times faster, and of which a few can be taken without making the others; a
list of pairs where a name comes twice, which only a list can say.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from shared.log import Columns, Headers

_encode = msgspec.msgpack.Encoder().encode
_decode_map = msgspec.msgpack.Decoder(dict[str, bytes]).decode
_decode_pairs = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def pack(headers: Headers) -> bytes:
    named = dict(headers)
    return _encode(named if len(named) == len(headers) else headers)


def unpack(packed: bytes) -> Headers:
    try:
        return list(_decode_map(packed).items())
    except msgspec.ValidationError:
        return _decode_pairs(packed)


def columns(rows: Sequence[tuple[int, int, bytes]], names: tuple[str, ...]) -> Columns:
    """Rows of (offset, time, headers)."""
    offsets = [row[0] for row in rows]
    times_ms = [row[1] for row in rows]
    some = _decoder(names)
    try:
        found = [some(row[2]) for row in rows]
    except msgspec.ValidationError:
        every = [dict(unpack(row[2])) for row in rows]
        return Columns(offsets, times_ms, [[headers.get(name) for headers in every] for name in names])
    fields = [attrgetter(_field(number)) for number in range(len(names))]
    return Columns(offsets, times_ms, [list(map(field, found)) for field in fields])


@lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Passes over every other header without making anything of it."""
    fields = [
        (_field(number), bytes | None, msgspec.field(default=None, name=name)) for number, name in enumerate(names)
    ]
    return msgspec.msgpack.Decoder(msgspec.defstruct("Some", fields, gc=False)).decode


def _field(number: int) -> str:
    return f"header_{number}"
