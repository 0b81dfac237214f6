"""Which ids a file has brought, and with which content: 16 bytes each, however long they are.

A set of a million Python integers takes a hundred megabytes; two arrays and open addressing take a third of it. Two of a
million ids are taken for one with a probability of one in thirty million.
"""

from array import array
from hashlib import blake2b
from typing import Literal

Verdict = Literal["new", "same", "other"]
"""`same`: it stood there already, word for word; `other`: under the same id, and says something else."""

_FIRST = 1 << 12
_FULL = 0.6


class Repeats:
    def __init__(self) -> None:
        self._size = _FIRST
        self._ids = array("Q", bytes(8 * _FIRST))
        self._contents = array("Q", bytes(8 * _FIRST))
        self._count = 0

    def note(self, identity: bytes, content: bytes) -> Verdict:
        """Remembers the first of its id."""
        key, told = _digest(identity), _digest(content)
        place = self._place(key)
        if self._ids[place]:
            return "same" if self._contents[place] == told else "other"
        self._ids[place], self._contents[place] = key, told
        self._count += 1
        if self._count > self._size * _FULL:
            self._grow()
        return "new"

    def _place(self, key: int) -> int:
        mask, ids = self._size - 1, self._ids
        place = key & mask
        while ids[place] and ids[place] != key:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        ids, contents = self._ids, self._contents
        self._size *= 2
        self._ids, self._contents = array("Q", bytes(8 * self._size)), array("Q", bytes(8 * self._size))
        for key, told in zip(ids, contents, strict=True):
            if key:
                place = self._place(key)
                self._ids[place], self._contents[place] = key, told


def _digest(raw: bytes) -> int:
    """Never 0, which is an empty place."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little") or 1
