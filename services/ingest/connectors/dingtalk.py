"""DingTalk (钉钉): what people write to a company's robot, in a group by naming it or to it alone.

A message is an utterance, named by its `msgId`: text, rich text, and speech, which comes with its words; a
picture, a video or a file has a sign (📷 🎬 📄) for its text, and its `media_id`. Who writes is
a member of the company (`senderStaffId`) or somebody else; `options: {staff: [manager01, ding…]}` names people and
companies (`senderStaffId`, `senderCorpId`) whose words are not a customer's.

Signature: the header `sign` is base64 of HMAC-SHA256 over `timestamp`, a line feed and the app secret, keyed with the
app secret. **It signs nothing of the body**: whoever sees one request may post another for five minutes (DingTalk
itself says an hour); its own HTTPS is what keeps the words. The robot answers with a check mark where something was
taken, else with nothing. Facts: open.dingtalk.com, 接收消息的消息协议; what rich text and speech look like, and `empty`, from
memory.
"""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Outcome,
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    no_challenge,
    within_tolerance,
)
from services.ingest.connectors._fields import (
    id_of,
    media_sign,
    media_signs,
    object_in,
    objects_in,
    present,
    signed_time,
    text_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "dingtalk"
SIGNS = True

answer = no_challenge

_MEDIA = {"picture": "image", "audio": "audio", "video": "video", "file": "document"}


def check(source: Source) -> Sequence[str]:
    issues, staff = unknown_options(source, "staff"), source.options.get("staff", [])
    if not (isinstance(staff, list) and all(isinstance(one, str) for one in staff)):
        issues.append("options: staff must be a list of ids of people and companies")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    timestamp, given, good = (
        request.header("timestamp"),
        request.header("sign").encode("utf-8", "surrogateescape"),
        False,
    )
    for secret in source.secrets:
        signed = f"{timestamp}\n{secret}".encode("utf-8", "surrogateescape")
        expected = base64.b64encode(hmac.digest(secret.encode(), signed, "sha256"))
        good |= hmac.compare_digest(expected, given)
    if not (good and within_tolerance(signed_time(timestamp), now)):
        raise SignatureInvalid("the signature is not valid")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = text_of(payload.get("msgtype"))
    if kind is None:
        raise Unreadable("a message that does not say what it is")
    colleague, company = id_of(payload.get("senderStaffId")), id_of(payload.get("senderCorpId"))
    if {colleague, company} & set(source.options.get("staff", [])):
        return Ignored("a colleague's message")
    text = _words(kind, payload)
    if not text:
        return Ignored(f"a message without words: {kind}"[:100])
    which = id_of(payload.get("msgId"))
    if not which:
        raise Unreadable("a message without its msgId")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": False,
        "customer": present(
            {"id": colleague or id_of(payload.get("senderId")), "name": text_of(payload.get("senderNick"))}
        ),
        "occurred_at": time_of_ms(payload.get("createAt")),
        "attributes": present(
            {
                "message_id": which,
                "conversation_id": id_of(payload.get("conversationId")),
                "conversation": text_of(payload.get("conversationTitle")),
                "corp_id": company,
                "is_member": True if colleague else None,
                "spoken": True if kind == "audio" else None,
                "media_id": text_of(object_in(payload, "content").get("downloadCode")),
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def reply(outcome: Outcome) -> Reply:
    taken = {"msgtype": "text", "text": {"content": "✅"}}
    return Reply(200, json.dumps(taken if outcome.what == "accepted" else {"msgtype": "empty"}).encode())


def _words(kind: str, payload: Mapping[str, Any]) -> str | None:
    content = object_in(payload, "content")
    if kind == "richText":
        pieces = objects_in(content, "richText")
        said = "".join(piece["text"] for piece in pieces if isinstance(piece.get("text"), str))
        return text_of(said) or media_signs("image" for piece in pieces if piece.get("type") == "picture")
    if kind in _MEDIA:
        return text_of(content.get("recognition")) or media_sign(_MEDIA[kind])
    return text_of(object_in(payload, "text").get("content"))
