"""Microsoft Teams: what people write to an outgoing webhook, by naming it in a channel: `@Flywheel The export is slow`.

A message is an utterance, named by its conversation and its own id. The name by which the webhook was called says
nothing and is left out; other names stay. `options: {staff: [8:orgid:…, 29:…]}` names people, by Teams' id or the
directory's (`aadObjectId`), whose words are not a customer's.

Signature: `Authorization: HMAC ` and the base64 of HMAC-SHA256 over the body; the key is the security token, decoded
from base64. It signs no time. Teams shows what we answer as a message, and waits five seconds for it: a check mark, or
why nothing was taken. Facts: Microsoft's samples (OfficeDev, outgoing-webhook) and its documents on outgoing webhooks.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime

from services.ingest.connectors import (
    Draft,
    Ignored,
    Outcome,
    Reply,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    no_challenge,
)
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    media_signs,
    object_in,
    objects_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source

NAME = "teams"
SIGNS = True

answer = no_challenge

_PREFIX = "HMAC "
_CALLED = re.compile(r"(?:\s|&nbsp;|<p>|<div>)*<at[^<>]*>[^<>]*</at>[\s,:，：]*", re.IGNORECASE)
_BY_STAFF = "a colleague's message"


def check(source: Source) -> Sequence[str]:
    issues, staff = unknown_options(source, "staff"), source.options.get("staff", [])
    if not (isinstance(staff, list) and all(isinstance(one, str) for one in staff)):
        issues.append("options: staff must be a list of ids of people")
    if source.verify == "signature":
        issues += [
            f"secret {number} must be the security token as Teams shows it, in base64"
            for number, secret in enumerate(source.secrets, 1)
            if not base64_bytes(secret)
        ]
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("authorization")
    signature = base64_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    # What is no base64 would be an empty key, with which anybody can sign.
    keys = [key for key in map(base64_bytes, source.secrets) if key]
    check_mac(keys, request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = text_of(payload.get("type"))
    if kind is None:
        raise Unreadable("an activity that does not say what it is")
    if kind != "message":
        return Ignored(f"not feedback: {kind}")
    sender = object_in(payload, "from")
    who, directory = id_of(sender.get("id")), id_of(sender.get("aadObjectId"))
    if {who, directory} & set(source.options.get("staff", [])):
        return Ignored(_BY_STAFF)
    html = payload.get("text")
    text = plain_text(_CALLED.sub("", html, count=1) if isinstance(html, str) and _CALLED.match(html) else html)
    files = [one for one in objects_in(payload, "attachments") if "contentUrl" in one]
    text = text or media_signs(one.get("contentType") for one in files)
    if not text:
        return Ignored("a message without words")
    conversation, which = id_of(object_in(payload, "conversation").get("id")), id_of(payload.get("id"))
    if not conversation or not which:
        raise Unreadable("a message without its conversation and id")
    place = object_in(payload, "channelData")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": directory or who, "name": text_of(sender.get("name"))}),
        "occurred_at": iso_time(payload.get("timestamp")),
        "attributes": present(
            {
                "conversation_id": conversation,
                "message_id": which,
                "team": text_of(object_in(place, "team").get("name")) or id_of(place.get("teamsTeamId")),
                "channel": text_of(object_in(place, "channel").get("name")) or id_of(place.get("teamsChannelId")),
                "tenant_id": id_of(object_in(place, "tenant").get("id")),
                "files": len(files) or None,
            }
        ),
    }
    return [Draft(f"message/{conversation}/{which}", present(body))]


def reply(outcome: Outcome) -> Reply:
    text = "✅" if outcome.what == "accepted" else outcome.reason
    return Reply(200, json.dumps({"type": "message", "text": text}).encode())
