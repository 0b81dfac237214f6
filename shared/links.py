"""Signed links: who holds one may do the one thing it was made for, and nothing else.

A token is URL-safe, carries its payload in the clear (so no secret goes in), the time it was signed, and
HMAC-SHA256 over both under a key derived from the secret *and the purpose*: a link of one purpose is worthless for
another. Every change, also of a letter's case or of the spare bits of the last character, makes it unreadable.
"""

import hashlib

from itsdangerous import BadData, TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from shared.clock import Clock, SystemClock
from shared.errors import Misuse

MAX_TOKEN_CHARS = 4096
SKEW_S = 60  # the process that signed may have had a clock a little ahead of ours


class _Signer(TimestampSigner):
    """itsdangerous, on our clock."""

    def __init__(self, secret: str, purpose: str, clock: Clock) -> None:
        super().__init__(secret, salt=f"flywheel link\0{purpose}", key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock.now().timestamp())


class Links:
    """Signs and reads them. The secret is FLYWHEEL_SECRET, the same in every process."""

    def __init__(self, secret: str, clock: Clock | None = None) -> None:
        if not secret:
            raise Misuse("FLYWHEEL_SECRET is empty: links signed with it could be made by anybody.")
        self._secret = secret
        self._clock = clock or SystemClock()

    def sign(self, purpose: str, payload: str) -> str:
        token = self._signer(purpose).sign(base64_encode(payload.encode())).decode("ascii")
        if len(token) > MAX_TOKEN_CHARS:
            raise Misuse(f"A link's payload must leave its token under {MAX_TOKEN_CHARS} characters.")
        return token

    def read(self, purpose: str, token: str, max_age_s: float | None) -> str | None:
        """The payload; None when the link was not made by us for this purpose, was changed, or is older than `max_age_s`
        (None: it does not age)."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        signer = self._signer(purpose)
        try:
            signed, signed_at = signer.unsign(token, return_timestamp=True)
            parts = token.split(".")
            # base64 leaves spare bits in a last character; only the one spelling that we wrote is ours.
            if len(parts) != 3 or any(base64_encode(base64_decode(part)).decode("ascii") != part for part in parts):
                return None
            payload = base64_decode(signed).decode()
        except (BadData, UnicodeDecodeError):
            return None
        age_s = signer.get_timestamp() - signed_at.timestamp()
        if age_s < -SKEW_S or (max_age_s is not None and age_s > max_age_s):
            return None
        return payload

    def _signer(self, purpose: str) -> _Signer:
        return _Signer(self._secret, purpose, self._clock)
