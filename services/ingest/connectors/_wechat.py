"""What 企业微信 (WeCom) and 公众号 (WeChat's official accounts) share: words signed by SHA-1 of them sorted, messages
sealed with AES, bodies in XML or JSON. Pure.

A secret in sources.yaml is `token:EncodingAESKey`, the two that WeChat's page has beside the address; the token alone
where nothing is sealed. Sealed is: 16 random bytes, the length in four bytes, the message, who it is for; padded as
PKCS#7 to 32 bytes; AES-256-CBC with the first half of the key for its beginning; base64.
"""

import hmac
import re
from collections.abc import Iterable
from hashlib import sha1
from typing import Any, NamedTuple
from xml.parsers import expat

from services.ingest.connectors import Reply, Unreadable, WebhookRequest, base64_bytes
from services.ingest.sources import Source

PADDED_TO = 32
_AES_KEY = re.compile(r"[A-Za-z0-9]{43}\Z")
_ELEMENTS_MAX = 1_000
_ECHO = re.compile(r"[\x21-\x7e]{1,500}\Z")
HEARD = Reply(200, b"success", "text/plain; charset=utf-8")
"""What both want to read; anything else they send again, and 公众号 tells the customer that it is out of order."""


class Keys(NamedTuple):
    token: str
    aes: bytes
    """Empty where nothing is sealed."""


class Opened(NamedTuple):
    message: bytes
    receiver: str
    """Whom it was sealed for: a corpid, an appid."""


def keys_of(source: Source) -> list[Keys]:
    return [_keys(secret) for secret in source.secrets]


def _keys(secret: str) -> Keys:
    token, _, key = secret.partition(":")
    return Keys(token, base64_bytes(key + "=") if _AES_KEY.match(key) else b"")


def secrets_issues(source: Source, *, must_be_sealed: bool) -> list[str]:
    if source.verify != "signature":
        return []
    form = "token:EncodingAESKey" if must_be_sealed else "the token, or token:EncodingAESKey"
    return [
        f"secret {number} must be {form}, the key with its 43 letters and digits"
        for number, secret in enumerate(source.secrets, 1)
        if not _keys(secret).aes and (must_be_sealed or ":" in secret)
    ]


def is_signed(given: str, *words: str) -> bool:
    """Of a body in JSON a word may hold half of a surrogate pair."""
    text = "".join(sorted(words)).encode("utf-8", "surrogatepass")
    expected = sha1(text).hexdigest()  # noqa: S324 - it is theirs
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def opened(aes: bytes, sealed: str) -> Opened | None:
    """None where this is not the key, or nothing was sealed."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = base64_bytes(sealed)
    if not aes or not data or len(data) % PADDED_TO:
        return None
    reader = Cipher(algorithms.AES(aes), modes.CBC(aes[:16])).decryptor()
    plain = reader.update(data) + reader.finalize()
    padding = plain[-1]
    if not 1 <= padding <= PADDED_TO or len(plain) < 16 + 4 + padding:
        return None
    content = plain[16:-padding]
    end = 4 + int.from_bytes(content[:4], "big")
    return Opened(content[4:end], content[end:].decode("utf-8", "replace")) if end <= len(content) else None


def fields_of(body: bytes) -> dict[str, Any]:
    """The fields of a message, in XML or, where it was chosen, in JSON. Raises `Unreadable`."""
    if body.lstrip()[:1] == b"{":
        return WebhookRequest("POST", "", {}, body).object
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError):
        raise Unreadable("the body is neither XML nor JSON") from None
    return reader.fields


def sealed_in(fields: dict[str, Any]) -> str:
    found = fields.get("Encrypt") or fields.get("encrypt")
    return found if isinstance(found, str) else ""


def echo(text: bytes) -> Reply | None:
    """Of a GET: what was asked to be said back. As plain text, for whoever makes a browser ask."""
    if not _ECHO.match(text.decode("latin-1")):
        return None
    return Reply(200, text, "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"})


def joined(words: Iterable[str | None]) -> str:
    return "/".join(word or "" for word in words)


class _Reader:
    """The text of the root's children; what is deeper is passed over."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self._path: list[str] = []
        self._texts: list[str] = []
        self._seen = 0

    def refuse(self, *_: Any) -> None:
        raise Unreadable("the XML has a document type")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._seen += 1
        if self._seen > _ELEMENTS_MAX:
            raise Unreadable("the XML has too many elements")
        self._path.append(name)
        if len(self._path) == 2:
            self._texts = []

    def text(self, data: str) -> None:
        if len(self._path) == 2:
            self._texts.append(data)

    def end(self, name: str) -> None:
        if len(self._path) == 2:
            self.fields.setdefault(name, "".join(self._texts).strip())
        self._path.pop()
