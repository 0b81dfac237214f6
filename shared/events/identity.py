"""Which delivery this is, what it said, and whose it is. Functions of the delivery alone.

Parts are joined with their lengths before them, so that ("a", "bc") and ("ab", "c") differ.
"""

import os
import uuid
from hashlib import sha1, sha256
from typing import Literal

Kind = Literal["ext", "key", "ce", "hook"]

# Our namespace for UUIDv5 (RFC 9562 §5.5): made once, never changed, or every id changes.
NAMESPACE = uuid.UUID("6f1d3a52-7c1e-5b0e-9a54-0d3f6b7c2e11")
_NAMESPACE_BYTES = NAMESPACE.bytes


# The variant bits of RFC 9562, by the hex digit that holds them.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def joined(*parts: str) -> str:
    return "".join([f"{len(part)}:{part}" for part in parts])


def delivery_id(kind: Kind, workspace: str, source: str, value: str) -> str:
    """UUIDv5 over (kind, workspace, source, value): the same delivery, the same id, wherever it arrives.

    `ext`: the sender's own id; `key`: its Idempotency-Key; `ce`: CloudEvents' (source, id); `hook`: what the
    connector says identifies a delivery.
    """
    name = f"{len(kind)}:{kind}{len(workspace)}:{workspace}{len(source)}:{source}{len(value)}:{value}"  # as `joined`
    return _uuid(sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest(), "5")


def fresh_id() -> str:
    """For a delivery that nothing identifies: each post is new."""
    return _uuid(os.urandom(16).hex(), "4")


def _uuid(digits: str, version: str) -> str:
    """A UUID from its hex digits: what the standard library makes, without its objects."""
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"


def body_hash(canonical: bytes) -> str:
    """What a delivery said: 128 bits of SHA-256, hex. Without received_at, which differs from try to try."""
    return sha256(canonical).hexdigest()[:32]


class Pseudonyms:
    """Names that stand for a customer on topics, where no e-mail address may stand. Keyed by FLYWHEEL_SECRET.

    HMAC-SHA-256 (RFC 2104) by its two hashes, whose key blocks are hashed once: `hmac` takes three times as long, and
    every event has one.
    """

    def __init__(self, secret: str) -> None:
        block = sha256(b"flywheel pseudonyms\0" + secret.encode()).digest().ljust(sha256().block_size, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def key(self, workspace: str, who: str) -> bytes:
        """The partition key: HMAC of the workspace and the customer (else the feedback's id); 32 hex digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{len(workspace)}:{workspace}{len(who)}:{who}".encode())
        outer.update(inner.digest())
        return outer.hexdigest()[:32].encode()


def customer_of(customer_id: str | None, email: str | None) -> str | None:
    """Who this is, for the partition key, the case key and `?customer=`: the id as sent, else the address in lower case."""
    if customer_id:
        return customer_id
    return email.strip().lower() if email else None
