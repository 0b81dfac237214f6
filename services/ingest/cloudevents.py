"""CloudEvents 1.0 over HTTP, read: structured, binary and batched (HTTP Protocol Binding, JSON Event Format). Pure.

`(source, id)` names the delivery, as the specification says. `time` is when it occurred, where the data say nothing
else. Extensions are read past, but for `traceparent` (Distributed Tracing extension).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from services.ingest import self_service
from services.ingest.normalize import Content, event_content
from services.ingest.sources import Ranges
from shared.events.acceptable import Invalid
from shared.events.characters import is_visible
from shared.events.envelope import INCOMING_TYPES
from shared.events.feedback import as_written
from shared.events.identity import delivery_id
from shared.web import strict_json
from shared.web.problems import FieldError

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
BINARY = "application/json"
TYPES = INCOMING_TYPES | self_service.TYPES.keys()
ATTRIBUTE_MAX_CHARS = 1_000
SOURCE_MAX_CHARS = 255

_NAME = re.compile(r"[a-z0-9]{1,40}\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_HEADER_PREFIX = b"ce-"
_NO_TIME: FieldError = {"field": "time", "message": "must be a time with its zone (RFC 3339)"}
_REQUIRED = ("id", "source", "type")


class CloudEvent(NamedTuple):
    """One event as it came: its context attributes and its data."""

    attributes: Mapping[str, Any]
    data: Any

    @property
    def traceparent(self) -> str | None:
        value = self.attributes.get("traceparent")
        return value if isinstance(value, str) else None

    def delivery(self, workspace: str) -> str:
        return delivery_id("ce", workspace, self.attributes["source"], self.attributes["id"])

    def content(self, ranges: Ranges) -> Content:
        """Raises `Invalid`; a field of the data is named `data.…`."""
        kind = self.attributes["type"]
        if kind not in TYPES:
            known = ", ".join(sorted(TYPES))
            raise Invalid([{"field": "type", "message": f"is not a type that is taken here ({known})"}])
        data, time = self.data, self.attributes.get("time")
        timed = isinstance(data, dict) and data.get("occurred_at") is None and time is not None
        if timed:
            data = {**data, "occurred_at": time}
        try:
            return event_content(kind, data, self.attributes["source"], ranges)
        except Invalid as invalid:
            raise Invalid([_named(error, timed) for error in invalid.errors]) from None


def _named(error: FieldError, timed: bool) -> FieldError:
    if timed and error["field"] == "occurred_at":
        return _NO_TIME
    return {"field": f"data.{error['field']}" if error["field"] else "data", "message": error["message"]}


def structured(value: Any) -> CloudEvent:
    """One event in JSON. Raises `Invalid`."""
    if not isinstance(value, dict):
        raise Invalid([{"field": "", "message": "must be an object"}])
    attributes = {name: item for name, item in value.items() if name not in {"data", "data_base64"}}
    _check(attributes)
    if value.get("data_base64") is not None:
        if "data" in value:
            raise Invalid([{"field": "data_base64", "message": "must not stand beside data"}])
        return CloudEvent(attributes, _from_base64(value["data_base64"]))
    return CloudEvent(attributes, value.get("data"))


def binary(headers: Iterable[tuple[bytes, bytes]], data: Any) -> CloudEvent:
    """Attributes from `ce-` headers, percent-encoded UTF-8; the body is the data. Raises `Invalid`."""
    attributes: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in headers:
        if not name.startswith(_HEADER_PREFIX):
            if name == b"traceparent":
                attributes.setdefault("traceparent", value.decode("latin-1"))
            continue
        attribute = name[len(_HEADER_PREFIX) :].decode("latin-1")
        if attribute in attributes and attribute != "traceparent":
            errors.append({"field": f"ce-{attribute}", "message": "stands twice"})
        try:
            attributes[attribute] = unquote_to_bytes(_unquoted(value)).decode("utf-8")
        except UnicodeDecodeError:
            errors.append({"field": f"ce-{attribute}", "message": "is not percent-encoded UTF-8"})
    if errors:
        raise Invalid(errors)
    _check(attributes)
    return CloudEvent(attributes, data)


def _unquoted(value: bytes) -> bytes:
    """Some senders quote a header's value as others do a parameter's (HTTP Protocol Binding §3.1.3.2)."""
    if len(value) < 2 or not (value.startswith(b'"') and value.endswith(b'"')):
        return value
    return _ESCAPED.sub(rb"\1", value[1:-1])


def is_binary(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"ce-specversion" for name, _ in headers)


def _check(attributes: Mapping[str, Any]) -> None:
    """What the specification asks of every event."""
    errors: list[FieldError] = []
    if attributes.get("specversion") != "1.0":
        errors.append({"field": "specversion", "message": "must be 1.0"})
    for name in _REQUIRED:
        errors.extend(_wrong_with(name, attributes.get(name)))
    if not _is_time(attributes.get("time")):
        errors.append(_NO_TIME)
    content_type = attributes.get("datacontenttype")
    if content_type is not None and not _is_json(content_type):
        errors.append({"field": "datacontenttype", "message": "must be JSON"})
    errors.extend(
        {"field": strict_json.shown(name), "message": "is no attribute: lower-case letters and digits, no object"}
        for name, value in attributes.items()
        if not _NAME.match(name) or isinstance(value, dict | list | float)
    )
    if errors:
        raise Invalid(errors)


def _wrong_with(name: str, value: Any) -> Sequence[FieldError]:
    most = SOURCE_MAX_CHARS if name == "source" else ATTRIBUTE_MAX_CHARS
    if value is None:
        return [{"field": name, "message": "is required"}]
    if not isinstance(value, str) or not is_visible(value) or len(value) > most or _CONTROL.search(value):
        return [{"field": name, "message": f"must be 1 to {most} characters, without controls"}]
    return ()


def _is_time(value: Any) -> bool:
    """Also where the data have a time of their own, and this one is not needed."""
    if value is None:
        return True
    try:
        return isinstance(as_written(value), str)
    except ValueError:
        return False


def _is_json(content_type: Any) -> bool:
    if not isinstance(content_type, str):
        return False
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json") or essence == "text/json"


def _from_base64(text: Any) -> Any:
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        return strict_json.loads(raw)
    except (binascii.Error, ValueError, strict_json.Malformed):
        raise Invalid([{"field": "data_base64", "message": "must be JSON in base64"}]) from None
    except strict_json.Unacceptable as error:
        field = f"data.{error.path}" if error.path else "data"
        raise Invalid([{"field": field, "message": str(error)}]) from None
