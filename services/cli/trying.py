"""`flywheel sources try`: what a source would make of a payload."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli import client, operate, show
from services.ingest import connectors as package
from services.ingest.connectors import Connector, WebhookRequest
from services.ingest.sources import FILE, Source, Sources, read_sources
from services.ingest.trial import Proof, Tried, proof, tried
from services.ingest.webhooks import MAX_BYTES
from shared import registry
from shared.clock import SystemClock
from shared.config import ConfigError
from shared.errors import Misuse

_BOUNDARY = re.compile(rb"--([^\s]{1,70})\r?\n")
_FIELD = re.compile(rb"[A-Za-z0-9%+._~\[\]-]{1,200}=")


def attempt(name: str, file: Path | None, headers: Sequence[str], query: str) -> tuple[Tried, Proof]:
    """Raises `Misuse`, `ConfigError`."""
    sources, connectors = _sources()
    source = sources.by_name().get(name)
    if source is None:
        there = ", ".join(sorted(sources.by_name())) or "none"
        raise Misuse(
            f"{operate.where()} has no source {name!r}; there is: {there} (--config DIR says which configuration)"
        )
    body = _read(file)
    request = _request(source, body, headers, query)
    connector, now = connectors[source.connector], SystemClock().now()
    looked = proof(connector, request, source, now) if headers else Proof(None, "not looked at: no --header was given")
    return tried(connector, request, source, sources, now), looked


def _sources() -> tuple[Sources, dict[str, Connector]]:
    """A variable that is not set here holds nobody up: what it is for may be set where the service runs."""
    connectors: dict[str, Connector] = registry.load(package, Connector)
    document = client.local_config().partly(FILE)
    try:
        return read_sources(document, connectors), connectors
    except ConfigError as error:
        if not all(issue.unsure for issue in error.issues):
            raise
        for issue in error.issues:
            show.warn(f"{issue} (a variable there is not set here)")
    return document.read(Sources), connectors


def _read(file: Path | None) -> bytes:
    if file is not None and str(file) != "-":
        try:
            body = file.read_bytes()
        except OSError as error:
            raise Misuse(f"{file}: {error.strerror}") from None
    else:
        if sys.stdin.isatty():
            show.warn("reading the payload from here; Ctrl-D ends it")
        body = sys.stdin.buffer.read()
    if len(body) > MAX_BYTES:
        raise Misuse(f"more than {MAX_BYTES:,} bytes: a webhook of that size is answered 413")
    return body


def _request(source: Source, body: bytes, given: Sequence[str], query: str) -> WebhookRequest:
    headers: dict[str, str] = {}
    for header in given:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise Misuse(f"--header takes 'Name: value', not {header!r}")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    headers.setdefault("content-type", _kind(body))
    public = (os.environ.get("PUBLIC_URL") or client.base_url("ingest")).rstrip("/")
    url = f"{public}/v1/webhooks/{source.name}" + (f"?{query.removeprefix('?')}" if query else "")
    return WebhookRequest("POST", url, headers, body)


def _kind(body: bytes) -> str:
    """As who posts it would say it: of what people have at hand, all is one of three."""
    parts = _BOUNDARY.match(body)
    if parts:
        return f"multipart/form-data; boundary={parts[1].decode('latin-1')}"
    return "application/x-www-form-urlencoded" if _FIELD.match(body) else "application/json"


def as_data(found: Tried, looked: Proof) -> dict[str, Any]:
    events = [{"id": one.id, "type": one.type, "delivery": one.delivery, "value": one.value} for one in found.events]
    return {
        "outcome": found.outcome,
        "reason": found.reason,
        "events": events,
        "signature": {"holds": looked.holds, "why": looked.why},
    }


def tell(found: Tried, looked: Proof) -> None:
    for event in found.events:
        show.say(f"{event.type}  {event.id}  (delivery {event.delivery})")
        show.as_json(event.value)
    reason = f": {found.reason}" if found.reason and not found.events else ""
    show.say(f"{found.outcome}{reason}")
    if found.reason and found.events:
        show.say(f"some of it would be kept aside: {found.reason}")
    show.say(f"signature: {looked.why}")


def failed(found: Tried) -> bool:
    """Whether something of it could not be read."""
    return found.outcome == "quarantined" or bool(found.events and found.reason)
