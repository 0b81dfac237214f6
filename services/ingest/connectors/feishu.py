"""Feishu and Lark (飞书): messages to an app's bot, reactions as votes, help-desk tickets and ratings, feedback on apps.

Events come as version 2 (`schema`, `header`, `event`) or 1 (`uuid`, `event`). A message (text, or a post) is an
utterance, named by its `message_id`; replies carry `root_id`. A reaction is a vote, a `customer.activity`; taking it
back is another. Of the help desk (服务台) the guest's messages and their rating are heard, and the agents' are not: 满意 and
不满意 are the yes/no "were you happy?", 一般 is neither and is kept as what was said. What people send by *feedback* on an
app (`application.feedback.created_v6`) is theirs word for word. `options: {staff: [ou_…, tenant]}` names people and
companies (`tenant_key`) whose words are not a customer's: without it colleagues are heard too.

Secrets: the app's `VerificationToken:EncryptKey`; the token alone where no Encrypt Key is set. With the key, events are
sealed (AES-256-CBC, the key's SHA-256, the first block to begin with) and signed: `X-Lark-Signature` is hex of SHA-256
over timestamp, nonce, key and body. Without it an event only carries the token. The `url_verification` that Feishu
begins with need not be signed; it is answered where its token is right. Facts: the official SDK (oapi-sdk-python,
`event/dispatcher_handler.py` and its models) and open.feishu.cn; whether a retry gets a new timestamp it does not say.
"""

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from services.ingest.connectors import (
    Draft,
    Ignored,
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    plain_reply,
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
    time_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "feishu"
SIGNS = True

reply = plain_reply

_BLOCK = 16
_CHALLENGE_MAX_CHARS = 500
_AT = re.compile(r"</?at[^<>]*>")
_MEDIA = {"image": "image", "img": "image", "audio": "audio", "media": "video", "file": "document"}
_UP = frozenset({"THUMBSUP", "JIAYI", "HEART", "LOVE", "APPLAUSE", "OK", "YES", "DONE", "FIREWORKS"})
_DOWN = frozenset({"THUMBSDOWN", "MINUSONE", "NO", "ANGRY", "HEARTBROKEN", "CROSSMARK"})
_RATINGS = {1: ("不满意", 0), 2: ("一般", None), 3: ("满意", 1)}
_KINDS = {1: "fault", 2: "suggestion"}
_WHERE = {1: "mini program", 2: "web app", 3: "bot", 4: "web SDK"}


class _Keys(NamedTuple):
    token: str
    encrypt: str


def check(source: Source) -> Sequence[str]:
    issues, staff = unknown_options(source, "staff"), source.options.get("staff", [])
    if not (isinstance(staff, list) and all(isinstance(one, str) for one in staff)):
        issues.append("options: staff must be a list of ids of people and companies")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    timestamp, nonce = request.header("x-lark-request-timestamp"), request.header("x-lark-request-nonce")
    given = request.header("x-lark-signature").encode("utf-8", "surrogateescape")
    fresh = within_tolerance(signed_time(timestamp), now)
    good = False
    for keys in _keys(source):
        if keys.encrypt:
            signed = f"{timestamp}{nonce}{keys.encrypt}".encode("utf-8", "surrogateescape") + request.body
            good |= hmac.compare_digest(sha256(signed).hexdigest().encode(), given) and fresh
        else:
            good |= _has_token(_plain(request), [keys])
    if not good:
        raise SignatureInvalid("the signature is not valid")


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    if request.method != "POST":
        return None
    try:
        payload = _payload(request, source)
    except Unreadable:
        return None
    challenge = payload.get("challenge")
    if payload.get("type") != "url_verification" or not isinstance(challenge, str):
        return None
    if len(challenge) > _CHALLENGE_MAX_CHARS or not (signed or _has_token(payload, _keys(source))):
        return None
    return Reply(200, json.dumps({"challenge": challenge}).encode())


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = _payload(request, source)
    header, event = object_in(payload, "header"), object_in(payload, "event")
    kind = text_of(header.get("event_type")) or text_of(event.get("type")) or text_of(payload.get("type"))
    match kind:
        case None:
            raise Unreadable("an event that does not say what it is")
        case "im.message.receive_v1":
            return _message(event, source)
        case "message":
            return _older_message(payload, event, source)
        case "im.message.reaction.created_v1" | "im.message.reaction.deleted_v1":
            return _vote(header, event, source, withdrawn=kind == "im.message.reaction.deleted_v1")
        case "helpdesk.ticket_message.created_v1":
            return _ticket_message(header, event)
        case "helpdesk.ticket.updated_v1":
            return _rated(object_in(event, "object"))
        case "application.application.feedback.created_v6":
            return _app_feedback(header, event)
        case _:
            return Ignored(f"not feedback: {kind}")


# ── what was sealed, and by whom ─────────────────────────────────────────────────────────────────


def _keys(source: Source) -> list[_Keys]:
    pairs = [secret.partition(":") for secret in source.secrets]
    return [_Keys(token, encrypt) for token, _, encrypt in pairs]


def _plain(request: WebhookRequest) -> Mapping[str, Any]:
    try:
        return request.object
    except Unreadable:
        return {}


def _payload(request: WebhookRequest, source: Source) -> Mapping[str, Any]:
    """Raises `Unreadable`."""
    payload = request.object
    sealed = payload.get("encrypt")
    if not isinstance(sealed, str):
        return payload
    for keys in _keys(source):
        found = _opened(keys.encrypt, sealed) if keys.encrypt else None
        if found is not None:
            return found
    raise Unreadable("none of the keys opens it")


def _opened(encrypt_key: str, sealed: str) -> Mapping[str, Any] | None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = base64_bytes(sealed)
    if len(data) < 2 * _BLOCK or len(data) % _BLOCK:
        return None
    key = sha256(encrypt_key.encode()).digest()
    reader = Cipher(algorithms.AES(key), modes.CBC(data[:_BLOCK])).decryptor()
    plain = reader.update(data[_BLOCK:]) + reader.finalize()
    padding = plain[-1]
    if not 1 <= padding <= _BLOCK:
        return None
    try:
        return WebhookRequest("POST", "", {}, plain[:-padding]).object
    except Unreadable:
        return None


def _has_token(payload: Mapping[str, Any], keys: Sequence[_Keys]) -> bool:
    given = text_of(object_in(payload, "header").get("token")) or text_of(payload.get("token")) or ""
    found = False
    for one in keys:
        found |= hmac.compare_digest(one.token.encode(), given.encode("utf-8", "surrogatepass"))
    return found and bool(given)


# ── messages and votes ───────────────────────────────────────────────────────────────────────────


def _message(event: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    sender, message = object_in(event, "sender"), object_in(event, "message")
    if sender.get("sender_type") not in (None, "user"):
        return Ignored("a bot's message")
    if _is_staff(source, sender.get("tenant_key"), object_in(sender, "sender_id")):
        return Ignored("a colleague's message")
    kind = text_of(message.get("message_type"))
    content = _json(message.get("content"))
    title, text = _words(kind, content, objects_in(message, "mentions"))
    if not (text or title):
        return Ignored(f"a message without words: {kind}"[:100])
    which = id_of(message.get("message_id"))
    if not which:
        raise Unreadable("a message without its message_id")
    body = {
        "text": text or title,
        "title": title,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": _who(object_in(sender, "sender_id"))}),
        "occurred_at": time_of_ms(message.get("create_time")),
        "attributes": present(
            {
                "message_id": which,
                "media_id": text_of(content.get("file_key")) or text_of(content.get("image_key")),
                "root_id": id_of(message.get("root_id")),
                "chat_id": id_of(message.get("chat_id")),
                "chat_type": text_of(message.get("chat_type")),
                "tenant_key": id_of(sender.get("tenant_key")),
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def _older_message(payload: Mapping[str, Any], event: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    if _is_staff(source, event.get("tenant_key"), event):
        return Ignored("a colleague's message")
    said = text_of(event.get("text_without_at_bot")) or text_of(event.get("text")) or ""
    title, text = text_of(event.get("title")), text_of(_AT.sub("", said)) or _sign(event.get("msg_type"))
    if not (text or title):
        return Ignored(f"a message without words: {text_of(event.get('msg_type'))}"[:100])
    which = id_of(event.get("open_message_id"))
    if not which:
        raise Unreadable("a message without its open_message_id")
    body = {
        "text": text or title,
        "title": title,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": _who(event)}),
        "occurred_at": time_of(payload.get("ts")),
        "attributes": present(
            {
                "message_id": which,
                "root_id": id_of(event.get("root_id")),
                "chat_id": id_of(event.get("open_chat_id")),
                "chat_type": text_of(event.get("chat_type")),
                "tenant_key": id_of(event.get("tenant_key")),
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def _words(
    kind: str | None, content: Mapping[str, Any], mentions: Sequence[Mapping[str, Any]]
) -> tuple[str | None, str | None]:
    """Title and text. Who is named stands in the text as a number, and by name beside it."""
    if kind == "post":
        return _post(content)
    text = text_of(content.get("text")) if kind == "text" else _sign(kind)
    for mention in sorted(mentions, key=lambda one: -len(str(one.get("key")))):
        key, name = text_of(mention.get("key")), text_of(mention.get("name"))
        if not (text and key and name):
            continue
        if mention.get("mentioned_type") == "bot" and text.startswith(key):
            text = text[len(key) :].strip()
        text = text.replace(key, f"@{name}")
    return None, text_of(text)


def _post(content: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Paragraphs of pieces; by language where it was sent so."""
    if not isinstance(content.get("content"), list):
        content = next((inner for inner in content.values() if isinstance(inner, dict)), {})
    paragraphs = content.get("content")
    lines, kinds = [], []
    for paragraph in paragraphs if isinstance(paragraphs, list) else []:
        pieces = [piece for piece in paragraph if isinstance(piece, dict)] if isinstance(paragraph, list) else []
        lines.append("".join(filter(None, map(_piece, pieces))))
        kinds += [kind for piece in pieces if (kind := _MEDIA.get(str(piece.get("tag"))))]
    return text_of(content.get("title")), text_of("\n".join(lines)) or media_signs(kinds)


def _sign(kind: Any) -> str | None:
    return media_sign(_MEDIA.get(kind)) if isinstance(kind, str) else None


def _piece(piece: Mapping[str, Any]) -> str | None:
    if piece.get("tag") == "at":
        name = text_of(piece.get("user_name"))
        return f"@{name}" if name else None
    text = piece.get("text")
    return text if isinstance(text, str) else None


def _vote(
    header: Mapping[str, Any], event: Mapping[str, Any], source: Source, *, withdrawn: bool
) -> Sequence[Draft] | Ignored:
    ids = object_in(event, "user_id")
    who, message = _who(ids), id_of(event.get("message_id"))
    reaction = text_of(object_in(event, "reaction_type").get("emoji_type"))
    if event.get("operator_type") == "app":
        return Ignored("a bot's reaction")
    if not (who and message and reaction):
        return Ignored("a reaction to what is no message, or of nobody")
    if _is_staff(source, header.get("tenant_key"), ids):
        return Ignored("a colleague's reaction")
    which = id_of(header.get("event_id"))
    if not which:
        raise Unreadable("a reaction without an event's id")
    vote = "up" if reaction.upper() in _UP else "down" if reaction.upper() in _DOWN else None
    body = {
        "customer": {"id": who},
        "activity": "vote withdrawn" if withdrawn else "vote",
        "occurred_at": time_of_ms(event.get("action_time")),
        "attributes": present({"reaction": reaction, "vote": vote, "message_id": message}),
    }
    return [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]


# ── the help desk, and feedback on an app ────────────────────────────────────────────────────────


def _ticket_message(header: Mapping[str, Any], event: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    ticket = object_in(event, "ticket")
    guest, sender = _guest(ticket), _who(object_in(event, "sender_id"))
    if not sender or sender != guest.get("id"):
        return Ignored("not the guest's message")
    content = object_in(event, "content")
    _, post = _post(_json(content.get("content")))
    text = text_of(event.get("text")) or post or text_of(content.get("content")) or _sign(event.get("msg_type"))
    if not text:
        return Ignored("a message without words")
    which = id_of(event.get("ticket_message_id")) or id_of(event.get("message_id"))
    if not which:
        raise Unreadable("a ticket's message without its id")
    body = {
        "text": text,
        "channel": "ticket",
        "solicited": False,
        "customer": guest,
        "occurred_at": time_of_ms(header.get("create_time")),
        "attributes": present(
            {
                "ticket_id": id_of(ticket.get("ticket_id")),
                "helpdesk_id": id_of(ticket.get("helpdesk_id")),
                "message_id": id_of(event.get("message_id")),
            }
        ),
    }
    return [Draft(f"ticket-message/{which}", present(body))]


def _rated(ticket: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """The ticket comes whole with each change of it, so only what stays the same is told of its rating."""
    score, which = ticket.get("score"), id_of(ticket.get("ticket_id"))
    if isinstance(score, bool) or score not in (1, 2, 3):
        return Ignored("a ticket's change, and no rating of it")
    if not which:
        raise Unreadable("a rated ticket without its ticket_id")
    label, happy = _RATINGS[int(score)]
    body = {
        "text": label if happy is None else None,
        "scores": [] if happy is None else [{"metric": "hmd", "value": happy}],
        "channel": "survey",
        "solicited": True,
        "customer": _guest(ticket),
        "attributes": present({"ticket_id": which, "helpdesk_id": id_of(ticket.get("helpdesk_id")), "rating": label}),
    }
    return [Draft(f"rating/{which}/{int(score)}", present(body))]


def _guest(ticket: Mapping[str, Any]) -> dict[str, Any]:
    guest = object_in(ticket, "guest")
    who = _who(object_in(guest, "id")) or id_of(guest.get("id"))
    return present({"id": who, "email": text_of(guest.get("email")), "name": text_of(guest.get("name"))})


def _app_feedback(header: Mapping[str, Any], event: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    text = text_of(event.get("description"))
    if not text:
        return Ignored("feedback on an app without words")
    which = id_of(event.get("feedback_id")) or id_of(header.get("event_id"))
    if not which:
        raise Unreadable("feedback on an app without its id")
    contact = text_of(event.get("contact"))
    kind, place = event.get("feedback_type"), event.get("source")
    body = {
        "text": text,
        "channel": "in_app",
        "solicited": False,
        "customer": present(
            {"id": _who(object_in(event, "user_id")), "email": contact if contact and "@" in contact else None}
        ),
        "occurred_at": time_of_ms(header.get("create_time")),
        "attributes": present(
            {
                "app_id": id_of(event.get("app_id")),
                "kind": _KINDS.get(kind) if isinstance(kind, int) else None,
                "where": _WHERE.get(place) if isinstance(place, int) else None,
                "page": text_of(event.get("feedback_path")),
                "tenant": text_of(event.get("tenant_name")),
            }
        ),
    }
    return [Draft(f"feedback/{which}", present(body))]


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _who(ids: Mapping[str, Any]) -> str | None:
    """open_id is always there; the others ask for permissions."""
    return id_of(ids.get("open_id")) or id_of(ids.get("union_id")) or id_of(ids.get("user_id"))


def _is_staff(source: Source, tenant: Any, ids: Mapping[str, Any]) -> bool:
    staff = source.options.get("staff", [])
    return any(id_of(one) in staff for one in (tenant, *(ids.get(name) for name in ("open_id", "union_id", "user_id"))))


def _json(value: Any) -> Mapping[str, Any]:
    """Content comes as JSON within JSON."""
    if not isinstance(value, str):
        return {}
    try:
        return WebhookRequest("POST", "", {}, value.encode("utf-8", "replace")).object
    except Unreadable:
        return {}
