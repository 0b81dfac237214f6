"""WeChat official accounts (微信公众号), and mini programs' customer messages, which are pushed the same way.

What followers write is an utterance, named by its `MsgId`; so is what they say, where speech comes with its words
(`Recognition`), and what they choose in a menu that was sent to them. A recording or a picture without words has a sign
(🎤 📷 🎬) for its text, and its `media_id`. Following and leaving, scanning, and choosing in
the account's menu are `customer.activity`; a location is nobody's business.

Secrets: `token:EncodingAESKey` for the *safe* mode (安全模式), and for the *compatible* one, of which only the sealed half
is read: signed is SHA-1 over the sorted token, `timestamp`, `nonce` and the sealed message (see `_wechat.py`). The
token alone is for *plain* mode (明文模式), which signs `timestamp` and `nonce` and nothing of the body: whoever sees one
request may post another for five minutes. Choose the safe one. `options: {app_id: wx1234…}` also looks whom a message
was sealed for.

The customer is the openid: WeChat tells no name. A GET with `echostr` is answered with it; whatever comes is answered
`success`, else WeChat tells the customer that the account is out of order. Facts: developers.weixin.qq.com: 接入指南,
接收普通消息, 接收事件推送, 消息加解密说明.
"""

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
    within_tolerance,
)
from services.ingest.connectors._fields import (
    id_of,
    media_sign,
    present,
    signed_time,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.connectors._wechat import (
    HEARD,
    echo,
    fields_of,
    is_signed,
    joined,
    keys_of,
    opened,
    sealed_in,
    secrets_issues,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "wechat_mp"
SIGNS = True

_DID = {
    "subscribe": "subscribed",
    "unsubscribe": "unsubscribed",
    "scan": "scan",
    "click": "menu click",
    "view": "menu view",
    "view_miniprogram": "menu view",
    "user_enter_tempsession": "chat opened",
}
_NOT_SHOWN = frozenset({"【收到不支持的消息类型，暂无法显示】", "[Unsupported Message]"})
"""What WeChat writes where it cannot hand on what was sent."""

_MEDIA = {"image": "image", "voice": "audio", "video": "video", "shortvideo": "video"}


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "app_id")
    if not isinstance(source.options.get("app_id", ""), str):
        issues.append("options: app_id must be a text, such as wx1234567890abcdef")
    return [*issues, *secrets_issues(source, must_be_sealed=False)]


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        sealed = sealed_in(fields_of(request.body))
    except Unreadable:
        sealed = ""
    query, app, good = request.query, source.options.get("app_id"), False
    times = (query.get("timestamp", ""), query.get("nonce", ""))
    for keys in keys_of(source):
        if not keys.aes:
            good |= is_signed(query.get("signature", ""), keys.token, *times)
        elif is_signed(query.get("msg_signature", ""), keys.token, *times, sealed) and sealed:
            found = opened(keys.aes, sealed)
            good |= found is not None and app in (None, found.receiver)
    if not good or not within_tolerance(signed_time(times[0]), now):
        raise SignatureInvalid("the signature is not valid")


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    query = request.query
    if request.method != "GET" or "echostr" not in query:
        return None
    times = (query.get("timestamp", ""), query.get("nonce", ""))
    if not any(is_signed(query.get("signature", ""), keys.token, *times) for keys in keys_of(source)):
        raise SignatureInvalid("the signature is not valid")
    return echo(query["echostr"].encode("utf-8", "surrogateescape"))


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    fields = fields_of(request.body)
    if (sealed := sealed_in(fields)) and any(keys.aes for keys in keys_of(source)):
        found = next(filter(None, (opened(keys.aes, sealed) for keys in keys_of(source))), None)
        if found is None:
            raise Unreadable("none of the keys opens it")
        fields = fields_of(found.message)
    kind, who = text_of(fields.get("MsgType")), id_of(fields.get("FromUserName"))
    if kind is None:
        raise Unreadable("a message that does not say what it is" if not sealed else "a sealed message, and no key")
    if kind == "event":
        return _did(fields, who)
    text = text_of(fields.get("Content")) if kind == "text" else text_of(fields.get("Recognition"))
    text = text or media_sign(_MEDIA.get(kind))
    if not text or text in _NOT_SHOWN:
        return Ignored(f"a message without words: {kind}")
    which = id_of(fields.get("MsgId")) or id_of(fields.get("MsgID"))
    if not which:
        raise Unreadable("a message without its MsgId")
    chosen = id_of(fields.get("bizmsgmenuid"))
    body = {
        "text": text,
        "channel": "chat",
        "solicited": chosen is not None,
        "customer": present({"id": who}),
        "occurred_at": time_of(fields.get("CreateTime")),
        "attributes": present(
            {
                "message_id": which,
                "account": id_of(fields.get("ToUserName")),
                "menu_item": chosen,
                "spoken": True if kind == "voice" else None,
                "media_id": text_of(fields.get("MediaId")),
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def reply(outcome: Outcome) -> Reply:
    return HEARD


def _did(fields: Mapping[str, Any], who: str | None) -> Sequence[Draft] | Ignored:
    event = text_of(fields.get("Event")) or ""
    activity, when = _DID.get(event.lower()), id_of(fields.get("CreateTime"))
    if activity is None:
        return Ignored(f"not feedback: {event}")
    if not who or not when:
        raise Unreadable("an event of nobody, or at no time")
    key = text_of(fields.get("EventKey"))
    body = {
        "customer": {"id": who},
        "activity": activity,
        "occurred_at": time_of(when),
        "attributes": present({"event": event, "event_key": key, "account": id_of(fields.get("ToUserName"))}),
    }
    return [Draft(f"event/{joined((event.lower(), who, when, key))}", present(body), CUSTOMER_ACTIVITY)]
