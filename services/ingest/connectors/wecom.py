"""WeCom (企业微信): what people write to an app, and customers who come and go in 客户联系.

An app's messages arrive whole: text, and speech where it comes with its words, each an utterance named by its `MsgId`.
A recording, a picture or a file without words has a sign (🎤 📷 🎬 📄) for its text, and its `media_id`.
Of 客户联系, a customer who adds a colleague without being asked (`add_half_external_contact`) or who takes a colleague
off their list (`del_follow_user`) is `customer.activity`.

微信客服 tells only that there is something: `kf_msg_or_event` carries a token, and the words must be fetched with it from
`kf/sync_msg`, which a connector cannot. These are ignored, with that reason: nothing that customers write to 微信客服 is
heard this way. What cannot be fetched later than three days is lost, so let whatever fetches it post it to
`/v1/feedback`.

Secrets: `token:EncodingAESKey`. `options: {corp_id: ww1234…}` also looks whom a message was sealed for: the corpid, or
a suite's id. Signature: SHA-1 over the sorted token, `timestamp`, `nonce` and the sealed message, which is AES-256-CBC
(see `_wechat.py`); nothing else of the body is signed, and nothing else is read. A GET with `echostr` is answered by
what was sealed in it, where that is one word of letters and digits as WeCom seals it: a message is signed in the same
way, and who has seen one go by could ask for what it says. `answer` knows no clock, so how old such a question is is
not looked at: the same one is answered at any time, with the same word. Facts: developer.work.weixin.qq.com: 加解密方案说明, 回调配置, 接收消息与事件, 微信客服, 客户联系回调.
"""

import re
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
    Opened,
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

NAME = "wecom"
SIGNS = True

_ECHOED = re.compile(rb"[0-9A-Za-z]{1,64}\Z")

_TO_BE_FETCHED = {
    "kf_msg_or_event": "微信客服 tells that there are messages, not what they say: they must be fetched from kf/sync_msg",
    "msgaudit_notify": "会话存档 tells that there are messages, not what they say",
}
_CAME_AND_WENT = {"add_half_external_contact": "contact added", "del_follow_user": "contact removed"}
"""What customers do; who else adds and deletes contacts is a colleague."""

_MEDIA = {"image": "image", "voice": "audio", "video": "video", "file": "document"}


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "corp_id")
    if not isinstance(source.options.get("corp_id", ""), str):
        issues.append("options: corp_id must be a text, such as ww1234567890abcdef")
    return [*issues, *secrets_issues(source, must_be_sealed=True)]


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        sealed = sealed_in(fields_of(request.body))
    except Unreadable:
        sealed = ""
    fresh = within_tolerance(signed_time(request.query.get("timestamp", "")), now)
    if _opened(request, source, sealed) is None or not fresh:
        raise SignatureInvalid("the signature is not valid")


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    if request.method != "GET" or "echostr" not in request.query:
        return None
    found = _opened(request, source, request.query["echostr"])
    if found is None:
        raise SignatureInvalid("the signature is not valid")
    return echo(found.message) if _ECHOED.match(found.message) else None


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    fields = fields_of(request.body)
    if sealed := sealed_in(fields):
        found = next(filter(None, (opened(keys.aes, sealed) for keys in keys_of(source))), None)
        if found is None:
            raise Unreadable("none of the keys opens it")
        fields = fields_of(found.message)
    kind = text_of(fields.get("MsgType"))
    if kind == "event":
        return _event(fields)
    if kind is None:
        if info := text_of(fields.get("InfoType")):
            return Ignored(f"not feedback: {info}")
        raise Unreadable("a message that does not say what it is")
    text = text_of(fields.get("Content")) if kind == "text" else text_of(fields.get("Recognition"))
    text = text or media_sign(_MEDIA.get(kind))
    if not text:
        return Ignored(f"a message without words: {kind}")
    which, who = id_of(fields.get("MsgId")), id_of(fields.get("FromUserName"))
    if not which:
        raise Unreadable("a message without its MsgId")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": who}),
        "occurred_at": time_of(fields.get("CreateTime")),
        "attributes": present(
            {
                "message_id": which,
                "agent_id": id_of(fields.get("AgentID")),
                "corp_id": id_of(fields.get("ToUserName")),
                "spoken": True if kind == "voice" else None,
                "media_id": text_of(fields.get("MediaId")),
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def reply(outcome: Outcome) -> Reply:
    return HEARD


def _opened(request: WebhookRequest, source: Source, sealed: str) -> Opened | None:
    """What is sealed, where one of the secrets signed and sealed it, for us."""
    query, corp = request.query, source.options.get("corp_id")
    for keys in keys_of(source):
        words = (keys.token, query.get("timestamp", ""), query.get("nonce", ""), sealed)
        if is_signed(query.get("msg_signature", ""), *words) and sealed and keys.aes:
            found = opened(keys.aes, sealed)
            if found is not None and corp in (None, found.receiver):
                return found
    return None


def _event(fields: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    event, change = text_of(fields.get("Event")) or "", text_of(fields.get("ChangeType")) or ""
    if event in _TO_BE_FETCHED:
        return Ignored(_TO_BE_FETCHED[event])
    if event != "change_external_contact" or change not in _CAME_AND_WENT:
        return Ignored(f"not feedback: {event} {change}".rstrip())
    customer, colleague = id_of(fields.get("ExternalUserID")), id_of(fields.get("UserID"))
    when = id_of(fields.get("CreateTime"))
    if not customer or not when:
        raise Unreadable("a contact that is not named, or at no time")
    body = {
        "customer": {"id": customer},
        "activity": _CAME_AND_WENT[change],
        "occurred_at": time_of(when),
        "attributes": present(
            {
                "colleague": colleague,
                "state": text_of(fields.get("State")),
                "corp_id": id_of(fields.get("ToUserName")),
            }
        ),
    }
    return [Draft(f"event/{joined((change, customer, colleague, when))}", present(body), CUSTOMER_ACTIVITY)]
