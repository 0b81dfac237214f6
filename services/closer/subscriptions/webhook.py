"""A POST for each event, signed as Standard Webhooks says (https://www.standardwebhooks.com).

`{"type": "feedback.routed", "timestamp": …, "data": …}`, the data as on the topic. `webhook-id` is the same at every try,
so a receiver that keeps the ids it has seen acts once. Any 2xx within `ANSWER_S` is taken for received; what is
answered besides is not looked at. No redirect is followed. 410 says that nobody is there any more.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field

from services.closer.addresses import ALLOW, Allowed, url_issue
from services.closer.settings import CloserSettings
from services.closer.subscriptions import (
    SECRET,
    Event,
    EventType,
    Subscription,
    Telling,
    Told,
    never_signed,
    no_button,
    several,
)
from services.closer.subscriptions import Entry as AnyEntry
from shared.config.teams import Member
from shared.errors import Rejected, Transient
from shared.events.envelope import rfc3339
from shared.settings import Settings

TELLS: Literal["events", "cases"] = "events"
signed, pressed = never_signed, no_button

ANSWER_S = 15.0
ANSWER_MAX_BYTES = 64 * 1024
SECRET_BYTES = range(24, 65)
"""As the specification asks."""
_PREFIX = "whsec_"
_HINT = (
    'must be whsec_ and 24 to 64 bytes in base64; a new one: python -c "import base64, os; '
    "print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""
)


def _secret(text: str) -> str:
    if len(key_of(text)) not in SECRET_BYTES:
        raise ValueError(_HINT)
    return text


class Entry(AnyEntry):
    """`{channel: webhook, url: "https://…", secret: "${…}", events: [feedback.routed, case.changed]}`"""

    url: str
    secret: Annotated[
        tuple[Annotated[str, AfterValidator(_secret)], ...], BeforeValidator(several), Field(min_length=1), SECRET
    ]
    """One, or a list while it is changed: each signs, so that the receiver may know either."""
    events: Annotated[tuple[EventType, ...], Field(min_length=1)] = (
        "feedback.routed",
        "signal.raised",
        "signal.resolved",
    )


def key_of(secret: str) -> bytes:
    """Empty when it is none."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        return b""


def check(entry: Entry, members: Sequence[Member], env: Mapping[str, str] | None) -> Sequence[tuple[str, str]]:
    issue = url_issue(entry.url, None if env is None else Allowed.read(env.get(ALLOW, "")))
    if issue is None and env is not None and _server(entry.url) == _server(env.get("PUBLIC_URL", "")):
        issue = "is our own address (PUBLIC_URL): what is told there would come back to be told"
    return [] if issue is None else [("url", issue)]


def _server(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def destination(entry: Entry) -> tuple[str, str]:
    """The path may be a secret of its own, as many tools have it: people are shown the host."""
    return entry.url, entry.name or urlsplit(entry.url).netloc


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    message = f"{message_id}.{timestamp}.".encode() + body
    macs = (hmac.digest(key_of(secret), message, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def body_of(event: Event) -> bytes:
    """What is posted."""
    return msgspec.json.encode({"type": event.type, "timestamp": rfc3339(event.at), "data": msgspec.Raw(event.value)})


def open_way(settings: Settings, closer: CloserSettings) -> "Webhooks":
    return Webhooks(closer.webhook_allow)


class Webhooks:
    at_once = 4
    pause_s = 0.0

    def __init__(self, allowed: Allowed) -> None:
        from services.closer.outbound import guarded  # brings an HTTP client, which nobody else here needs

        self._http = guarded(allowed)

    async def send(self, subscription: Subscription, telling: Telling, now: datetime) -> Told:
        entry: Entry = subscription.entry
        assert isinstance(telling.content, Event)
        body, message_id, timestamp = body_of(telling.content), f"msg_{telling.id}", int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(entry.secret, message_id, timestamp, body),
            "traceparent": telling.traceparent,
        }
        answer = await self._http.post(entry.url, body, headers, within_s=ANSWER_S, max_bytes=ANSWER_MAX_BYTES)
        if answer.status // 100 == 2:
            return Told()
        if answer.status == 410:
            raise Rejected("answered 410: nobody is there any more; take the subscription out of teams.yaml")
        redirected = "; redirects are not followed: give the address that it leads to"
        said = f"answered {answer.status}{redirected if answer.status // 100 == 3 else ''}"
        raise Transient(said, retry_after=answer.retry_after_s)

    async def close(self) -> None:
        await self._http.close()
