"""What would become of a webhook: the source's connector over it, and nothing stored. ●

The same steps as `webhooks` takes once it believes who sent it, with what comes out of them instead of what is done.
Whether it would be believed is a question of its own: who tries has a payload at hand, and seldom its signature.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from services.ingest.connectors import (
    Connector,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    verify,
)
from services.ingest.normalize import Builder
from services.ingest.sources import Source, Sources
from services.ingest.understanding import sayable, understood
from shared.errors import Rejected
from shared.events.identity import Pseudonyms

_UNFILLED = "${"


@dataclass(frozen=True, slots=True)
class Event:
    """A draft as it would be published."""

    delivery: str
    """What the connector says names it."""
    type: str
    id: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tried:
    outcome: Literal["accepted", "ignored", "quarantined", "answered"]
    """As the answer to a webhook says it; answered: a challenge or a ping."""
    reason: str = ""
    """Why ignored or quarantined; with accepted, why something of it would be kept aside besides."""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the look at the signature would say."""

    holds: bool | None
    """None where that cannot be told."""
    why: str


def tried(connector: Connector, request: WebhookRequest, source: Source, sources: Sources, now: datetime) -> Tried:
    try:
        for signed in (False, True):
            reply = connector.answer(request, source, signed)
            if reply is not None:
                return Tried(
                    "answered", f"a challenge or a ping: {reply.status} {reply.body[:200].decode(errors='replace')}"
                )
        found = connector.parse(request, source)
    except Unreadable as error:
        return Tried("quarantined", sayable(str(error)))
    except SignatureInvalid as error:
        return Tried("quarantined", f"a challenge that would be refused: {error}")
    read = understood(
        found,
        source,
        ranges=sources.ranges,
        pii=source.pii or sources.pii,
        builder=Builder(source.workspace, Pseudonyms("a trial")),  # the key and the headers are nobody's business here
        received_at=now,
        traceparent="",
    )
    if read.ignored is not None:
        return Tried("ignored", read.ignored)
    events = tuple(
        Event(draft.delivery, draft.type, event.id, json.loads(event.message.value))
        for draft, event in zip(read.drafts, read.events, strict=True)
    )
    return Tried("accepted" if events else "quarantined", sayable(read.bad), events)


def proof(connector: Connector, request: WebhookRequest, source: Source, now: datetime) -> Proof:
    """Whether it would be believed."""
    if source.verify == "none":
        return Proof(None, "verify: none: anybody who knows the address may post")
    if any(_UNFILLED in secret for secret in source.secrets):
        return Proof(None, "not looked at: a variable of secrets is not set here")
    try:
        verify(connector, request, source.at(now), now)
    except Rejected:
        return Proof(
            False, f"by verify: {source.verify}, it would be refused (401): another secret, header, body or time"
        )
    return Proof(True, f"by verify: {source.verify}, it would be believed")
