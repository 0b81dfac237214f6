"""Which ids a partition has had within the window: what makes "one delivery, one routed event" true.

A record is a repeat when the same (id, redrive) was *last* seen earlier in its partition, no longer ago than the
window by the log's own times. That is a function of the input log alone, so the map is only a memory of it: lost with
the partition, rebuilt by reading the window back (`handler`). Compared is the last occurrence, not the first, because
a chain of repeats can reach back further than any window.

What a batch brings is kept apart until its transaction has committed: `keep` or `forget`. So after a failed one the
map is what it was, and only what others wrote since has to be read.

Ids go into dicts of packed integers, one dict for each half of a window; the oldest is let go whole. Times may step
back at a change of leader, so a little more than the window is kept (`SLACK_MS`); verdicts go by the times themselves.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from shared.events.envelope import INCOMING_TYPES
from shared.log import Columns
from shared.topics import DEFAULT_WORKSPACE, RECEIVED

SLACK_MS = 10 * 60 * 1000
_HASH_BITS = 48
_OFFSET_BITS = 44
_HASH_MASK = (1 << _HASH_BITS) - 1
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_TIME_SHIFT = _HASH_BITS + _OFFSET_BITS
_HASHED_ID = 1 << 128
_REDRIVE_SHIFT = 130
_INCOMING = frozenset(name.encode() for name in INCOMING_TYPES)
_DIGITS = b"0123456789abcdef"
_BODY_CHARS = 12

HEADERS = ("ce_id", "ce_bodyhash", "redrive", "ce_type", "ce_workspace", "ce_source")
"""What `identify` looks at."""

Identity = tuple[int, int]
"""What the headers say of a delivery, packed: which it is, and what it said."""


class Earlier(NamedTuple):
    """The last occurrence of the same delivery."""

    offset: int
    same_body: bool


def identify(headers: Mapping[str, bytes | None], workspace: bytes) -> Identity | None:
    """None when these are not the headers of an event of that workspace. Such a record is dead-lettered by whoever meets
    it, and counts as no occurrence for whoever reads it back: both ask here."""
    raw = headers.get("ce_id")
    if (
        not raw
        or headers.get("ce_type") not in _INCOMING
        or headers.get("ce_workspace") != workspace
        or headers.get("ce_source") is None
    ):
        return None
    digits = raw.replace(b"-", b"")
    if len(raw) == 36 and len(digits) == 32 and raw[8:24:5] == b"----" and not digits.translate(None, _DIGITS):
        key = int(digits, 16)
    elif raw.isascii():
        key = _HASHED_ID | int.from_bytes(blake2b(raw, digest_size=16).digest(), "big")
    else:
        return None
    if (redrive := headers.get("redrive")) is not None:
        if not redrive.isdigit() or len(redrive) > 9:
            return None
        key |= int(redrive) << _REDRIVE_SHIFT
    body = headers.get("ce_bodyhash")
    return key, (_body(body) if body else 0)


@lru_cache(maxsize=1024)
def workspace_of(topic: str) -> tuple[str, bytes]:
    """Whose `feedback.received` this is; as a header has it, too."""
    workspace = DEFAULT_WORKSPACE if topic == RECEIVED else topic.removesuffix("." + RECEIVED)
    return workspace, workspace.encode()


def _all_plain(headers: list[list[bytes | None]], workspace: bytes) -> tuple[list[int], list[int]] | None:
    """What `identify` says of all of them, if all are as our own ingest writes them; else None, and it has to be asked.
    A few passes over everything instead of one by one: a third of the time."""
    ids, bodies, redrives, types, workspaces, sources = headers
    if (
        not set(types) <= _INCOMING
        or set(workspaces) != {workspace}
        or None in sources
        or redrives.count(None) != len(redrives)
    ):
        return None
    keys = _uuids(ids)
    if keys is None:
        return None
    try:
        return keys, [int(raw[:_BODY_CHARS], 16) & _HASH_MASK if raw else 0 for raw in bodies]
    except ValueError:
        return None


def _uuids(ids: list[bytes | None]) -> list[int] | None:
    """The keys of ids that are all UUIDs in their usual form, else None."""
    count = len(ids)
    if {len(raw) if raw is not None else 0 for raw in ids} != {36}:
        return None
    joined = b"".join(ids)  # type: ignore[arg-type]
    digits = joined.replace(b"-", b"")
    if (
        len(digits) != 32 * count
        or any(joined[place::36].count(b"-") != count for place in (8, 13, 18, 23))
        or digits.translate(None, _DIGITS)
    ):
        return None
    halves = iter(struct.unpack(f">{2 * count}Q", bytes.fromhex(digits.decode())))
    return [high << 64 | low for high, low in zip(halves, halves, strict=True)]


def _body(raw: bytes) -> int:
    try:
        return int(raw[:_BODY_CHARS], 16) & _HASH_MASK  # a stranger's may have a sign
    except ValueError:
        return int.from_bytes(blake2b(raw, digest_size=6).digest(), "big")


class SeenIds:
    """One partition's. `position`: everything before that offset is in."""

    def __init__(self, window_ms: int, position: int) -> None:
        self.position = position
        self._window_ms = window_ms
        self._generations: list[dict[int, int]] = [{}]
        """The newest first; an id seen again goes into the newest, where it is found first."""
        self._begun_ms: list[int] = []
        """When each generation began: the greatest time then seen."""
        self._batch: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    def earlier(self, identity: Identity, offset: int, timestamp_ms: int) -> Earlier | None:
        """The last occurrence within the window; this one is noted as the last from now on."""
        key, body = identity
        found = self._batch.get(key)
        if found is None:
            for generation in self._generations:
                if (found := generation.get(key)) is not None:
                    break
        self._batch[key] = timestamp_ms << _TIME_SHIFT | offset << _HASH_BITS | body
        if found is None or timestamp_ms - (found >> _TIME_SHIFT) > self._window_ms:
            return None
        return Earlier(found >> _HASH_BITS & _OFFSET_MASK, found & _HASH_MASK == body)

    def keep(self, position: int) -> None:
        """The batch up to `position` is committed."""
        if self._batch:
            self._turn(next(reversed(self._batch.values())) >> _TIME_SHIFT)
            self._generations[0].update(self._batch)
            self._batch = {}
        self.position = position

    def forget(self) -> None:
        """The batch was not committed."""
        self._batch = {}

    def add(self, found: Columns, workspace: bytes) -> None:
        """Records read back, in order, with their `HEADERS`."""
        offsets, times_ms, headers = found
        newest = self._generations[0]
        plain = _all_plain(headers, workspace)
        if plain is not None:
            keys, bodies = plain
            last = [
                timestamp_ms << _TIME_SHIFT | offset << _HASH_BITS | body
                for timestamp_ms, offset, body in zip(times_ms, offsets, bodies, strict=True)
            ]
            newest.update(zip(keys, last, strict=True))
        else:
            for timestamp_ms, offset, *values in zip(times_ms, offsets, *headers, strict=True):
                identity = identify(dict(zip(HEADERS, values, strict=True)), workspace)
                if identity is not None:
                    newest[identity[0]] = timestamp_ms << _TIME_SHIFT | offset << _HASH_BITS | identity[1]
        if times_ms:
            self._turn(times_ms[-1])

    def _turn(self, now_ms: int) -> None:
        """Begin a new generation after half a window; let go of those that ended before the window."""
        if not self._begun_ms:
            self._begun_ms = [now_ms]
        if now_ms - self._begun_ms[0] <= self._window_ms // 2:
            return
        self._generations.insert(0, {})
        self._begun_ms.insert(0, now_ms)
        # A generation ended when the next one began.
        while len(self._begun_ms) > 1 and now_ms - self._begun_ms[-2] > self._window_ms + SLACK_MS:
            self._generations.pop()
            self._begun_ms.pop()
