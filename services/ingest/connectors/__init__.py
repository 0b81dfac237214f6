"""Connectors: one file per upstream tool, which says how that tool signs, asks and speaks. All pure.

To add one, write `connectors/<tool>.py` with the names of `Connector`, and `tests/contracts/payloads/<tool>/*.json`
in the published shape: `{"headers": …, "payload": …, "expected": …}`. That is all; the folder is scanned at start-up.

A webhook goes through a connector in this order. `answer(…, signed=False)`: does this ask for something before
anybody can have signed (a GET with a challenge, a HEAD)? `verify`: is it from whom it says, over the raw bytes?
`answer(…, signed=True)`: a signed ping or challenge. `parse`: what did customers say or do? `reply`: the answer in the
provider's own way. So a connector never sees our log, our ids or our clock, and decides nothing but these five things.

What `parse` gives back is what *deliveries* there are: a new comment on a ticket is new feedback, the same comment
sent again is not. `Draft.delivery` names that (a comment's id, not the ticket's, and not the time of sending).
Bodies of drafts may be sloppy: what does not fit our model is left out or cut by the caller, never refused.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
from python_multipart.multipart import MultipartParser, parse_options_header

from services.ingest.sources import Source
from shared.errors import Rejected
from shared.events.envelope import FEEDBACK_RECEIVED

TOLERANCE_S = 300
"""How far a signed timestamp may be from our clock."""
SIGNATURES_MAX = 10
FORM_FIELDS_MAX = 10_000
_HEX = re.compile(r"([0-9a-f]{2})*\Z")


class SignatureInvalid(Rejected):
    """This was not sent by whom it says, or not now."""


class Unreadable(Rejected):
    """Correctly signed, but this connector cannot tell what it says. The text is for operators: no verbatims."""


class WebhookRequest(msgspec.Struct, frozen=True, dict=True):
    """What came in, as it came."""

    method: str
    url: str
    """As the sender addressed it: our public address, the path and the query."""
    headers: Mapping[str, str]
    """Names in lower case; values that came twice are joined by a comma."""
    body: bytes

    def header(self, name: str) -> str:
        """Empty when it did not come."""
        return self.headers.get(name, "")

    @property
    def content_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()

    @cached_property
    def query(self) -> dict[str, str]:
        """Empty when there are more fields than anybody means: strangers ask with a GET, too."""
        try:
            return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
        except ValueError:
            return {}

    @cached_property
    def json(self) -> Any:
        """The body as JSON, as forgiving as may be: it is signed, and there is nobody to correct it."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        try:
            return json.loads(self.body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise Unreadable("the body is not JSON") from None

    @cached_property
    def object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        if not isinstance(self.json, dict):
            raise Unreadable("the body is not a JSON object")
        return self.json

    @cached_property
    def raw_form(self) -> list[tuple[str, bytes]]:
        """The fields of a multipart form, in order, before anybody has said what their bytes mean. Files are passed
        over."""
        if self.content_type != "multipart/form-data":
            raise Unreadable("the body is not a multipart form")
        return _multipart(self.header("content-type"), self.body)

    @cached_property
    def form(self) -> list[tuple[str, str]]:
        """The fields of a form, urlencoded or multipart, in order. Files are passed over."""
        try:
            if self.content_type == "multipart/form-data":
                return [(name, value.decode()) for name, value in self.raw_form]
            return parse_qsl(
                self.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX
            )
        except ValueError:
            raise Unreadable("the body is not a form") from None


class Draft(msgspec.Struct, frozen=True):
    """One delivery: what identifies it within its source, and its content as the native API would take it, without
    `source`, which the caller sets. A draft of another type has the body of that type's event."""

    delivery: str
    body: Mapping[str, Any]
    type: str = FEEDBACK_RECEIVED


class Ignored(msgspec.Struct, frozen=True):
    """Read, and not feedback: an agent's words, a status change, a ping."""

    reason: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of a webhook."""

    what: Literal["accepted", "ignored", "quarantined"]
    ids: tuple[str, ...] = ()
    reason: str = ""


class Reply(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Connector(Protocol):
    """A module of this package has these names."""

    NAME: str
    """As in `connector:` of sources.yaml."""
    SIGNS: bool
    """Whether the provider signs. If not, `verify` is never called, and a source must choose header, basic or none."""

    SECRET_HEADERS: frozenset[str] = frozenset()
    """Headers, in lower case, that carry a secret as it is: no dead letter keeps them. None where it is left out."""

    def check(self, source: Source) -> Sequence[str]:
        """What is wrong with this source's secrets and options, in a sentence each. `nothing_to_check` if nothing can."""

    def verify(self, request: WebhookRequest, source: Source, now: datetime) -> None:
        """The provider's signature over the raw bytes, with any of the source's secrets. Raises `SignatureInvalid`,
        which says the same of every way to fail. What is secret is compared in constant time; what the sender knows
        anyway, a time that is past or a body that is no form, may be found sooner."""

    def answer(self, request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
        """The reply to a challenge or a ping, None when it is neither. Called before `verify` with `signed` False, for
        GET and HEAD only then: an unsigned request gets no more than its own challenge back. May raise
        `SignatureInvalid` where the challenge carries a secret. `no_challenge` if the provider asks nothing."""

    def parse(self, request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
        """The deliveries in it. Raises `Unreadable`."""

    def reply(self, outcome: Outcome) -> Reply:
        """The provider's own success. `plain_reply` where any 2xx is one."""


# ── what most connectors need ────────────────────────────────────────────────────────────────────


def secret_headers(connector: Connector) -> frozenset[str]:
    """A module inherits nothing from a protocol, its defaults neither."""
    named: frozenset[str] = getattr(connector, "SECRET_HEADERS", Connector.SECRET_HEADERS)
    return frozenset(name.lower() for name in named)


def nothing_to_check(source: Source) -> Sequence[str]:
    return ()


def no_challenge(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    return None


def plain_reply(outcome: Outcome) -> Reply:
    """200 and the outcome as JSON."""
    said: dict[str, Any] = {"outcome": outcome.what}
    if outcome.ids:
        said |= {"id": outcome.ids[0], "ids": outcome.ids}
    if outcome.reason:
        said["reason"] = outcome.reason
    return Reply(200, msgspec.json.encode(said))


def check_mac(
    keys: Iterable[bytes], message: bytes, given: Sequence[bytes], *, algorithm: str = "sha256", fresh: bool = True
) -> None:
    """One of `given` (raw digests) is the HMAC of `message` under one of `keys`, and `fresh` holds. Raises
    `SignatureInvalid`. The MAC is computed and compared with every candidate, also where `fresh` is false: how long it
    takes tells how much came, and nothing of what it should have been."""
    candidates = [value for value in given[:SIGNATURES_MAX] if value] or [b"\0"]
    good = False
    for key in keys:
        expected = hmac.digest(key, message, algorithm)
        for candidate in candidates:
            good |= hmac.compare_digest(expected, candidate)
    if not (good and fresh and len(given) <= SIGNATURES_MAX):
        raise SignatureInvalid("the signature is not valid")


def base64_bytes(text: str) -> bytes:
    """Strictly read; empty when it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def hex_bytes(text: str) -> bytes:
    """Strictly read, in small letters as all providers write it; empty when it is not hex."""
    return bytes.fromhex(text) if _HEX.match(text) else b""


def within_tolerance(stamp: datetime | None, now: datetime, tolerance_s: float = TOLERANCE_S) -> bool:
    return stamp is not None and abs((now - stamp).total_seconds()) <= tolerance_s


def verify(connector: Connector, request: WebhookRequest, source: Source, now: datetime) -> None:
    """By the way that the source has chosen. Raises `SignatureInvalid`."""
    match source.verify:
        case "signature":
            connector.verify(request, source, now)
        case "header":
            given = request.header(source.header or "")
            # A header has bytes; whoever sends letters beyond ASCII means one of two kinds of them.
            _check_secret(source.secrets, given.encode("latin-1", "replace"), given.encode("utf-8", "replace"))
        case "basic":
            scheme, _, credentials = request.header("authorization").partition(" ")
            pair = base64_bytes(credentials.strip()) if scheme.lower() == "basic" else b""
            _check_secret(source.secrets, pair)
        case "none":
            return


def _check_secret(secrets: Iterable[str], *given: bytes) -> None:
    good = False
    for secret in secrets:
        for value in given:
            good |= hmac.compare_digest(secret.encode(), value)
    if not good:
        raise SignatureInvalid("the secret is not valid")


def _multipart(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Unreadable("the form has no boundary")
    reader = _FormReader()
    try:
        parser = MultipartParser(boundary, cast(Any, reader.callbacks()))
        parser.write(body)
        parser.finalize()
        return [(name.decode(), value) for name, value in reader.fields]
    except (ValueError, OverflowError):
        raise Unreadable("the body is not a form") from None


class _FormReader:
    """Collects what python-multipart calls out."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self._name = self._value = self._data = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._name = self._value = self._data = b""
        self._headers = {}
        if len(self.fields) >= FORM_FIELDS_MAX:
            raise ValueError("too many fields")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition", b""))[1]
        if b"filename" not in options and b"name" in options:
            self.fields.append((options[b"name"], self._data))
