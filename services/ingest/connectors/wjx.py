"""Wenjuanxing (问卷星): answers to a survey, pushed as they are sent off (数据推送).

A push holds answers by number (`q1`, `q2_1` …) and neither the questions nor what the numbers of choices mean. So what
is written in words is taken for the text; what the rest means, `options` say:

    options:
      language: zh-CN
      fields: {q1: "nps:-1", q2: csat, q3: text, q5: name, sojumpparm: customer_id}

`fields` names answers, and each is `text`, `name`, `email`, `customer_id`, `account_id`, `leave_out`, or a metric;
`nps:-1` takes one off, where the push numbers the choices of a 0-to-10 question from one. An e-mail address stands in
`customer`, a mobile number nowhere. Only answers with neither words nor scores have all of them for a text. Every
answer stands in `attributes.answers`. Times are Beijing's.

Signature: `sign` in the body is hex of SHA-1 over `activity`, `index` and the push key (推送密钥), **and of nothing else**:
whoever sees one push may post other answers, for the same answer sheet, which is the same delivery, or for one whose
two numbers look the same written together (5657 717 for 56577 17). It signs no time. Facts: 问卷星's open documents,
答卷api推送 (showdoc.com.cn/wjxopenapi); what files, matrices and orders look like it does not say.
"""

import hmac
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha1
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._fields import (
    id_of,
    impersonal,
    iso_time,
    language_of,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "wjx"
SIGNS = True

answer = no_challenge
reply = plain_reply

_BEIJING = timezone(timedelta(hours=8))
_QUESTION = re.compile(r"q\d{1,4}(_\d{1,4})*\Z", re.IGNORECASE)
_ROLE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?::([+-]\d{1,2}))?\Z")
_ROLES = frozenset({"text", "name", "email", "customer_id", "account_id", "leave_out"})
_NUMBER = re.compile(r"-?\d{1,6}(\.\d{1,3})?\Z")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}\.[^@\s.]{2,}\Z")
_MOBILE = re.compile(r"(\+?86)?1[3-9]\d{9}\Z")
_OF_THE_PUSH = frozenset({"activity", "index", "joinid", "name", "submittime", "sign"})
_PERSONAL = frozenset({"headimgurl"})


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "language", "fields")
    language, fields = source.options.get("language"), source.options.get("fields", {})
    if language is not None and language_of(language) is None:
        issues.append("options: language must be a language as BCP 47 writes it, such as zh-CN")
    if not isinstance(fields, dict):
        return [*issues, "options: fields must name what answers are, such as {q1: nps}"]
    for name, role in fields.items():
        if not (isinstance(role, str) and _ROLE.match(role)):
            issues.append(f"options: fields: {name} must be one of {', '.join(sorted(_ROLES))}, or a metric")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        payload: Mapping[str, Any] = request.object
    except Unreadable:
        payload = {}
    activity, index = id_of(payload.get("activity")), id_of(payload.get("index"))
    given = (text_of(payload.get("sign")) or "").lower().encode("utf-8", "surrogatepass")
    good = False
    for secret in source.secrets:
        signed = f"{activity}{index}{secret}".encode("utf-8", "surrogatepass")
        good |= hmac.compare_digest(sha1(signed).hexdigest().encode(), given)  # noqa: S324 - it is theirs
    if not (good and activity and index):
        raise SignatureInvalid("the signature is not valid")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    activity = id_of(payload.get("activity"))
    which = id_of(payload.get("index")) or id_of(payload.get("joinid"))
    if not activity or not which:
        raise Unreadable("a push without activity and index")
    answers = _Answers(source.options.get("fields", {}))
    for name, value in payload.items():
        answers.take(name, value)
    text = answers.text()
    if not text and not answers.scores:
        return Ignored("an answer sheet without answers")
    body = {
        "text": text,
        "title": text_of(payload.get("name")),
        "language": language_of(source.options.get("language")),
        "scores": answers.scores,
        "customer": answers.guessed | answers.customer,
        "channel": "survey",
        "solicited": True,
        "occurred_at": iso_time(payload.get("submittime"), _BEIJING),
        "attributes": present(
            {
                "survey_id": activity,
                "index": id_of(payload.get("index")),
                "join_id": id_of(payload.get("joinid")),
                "answers": answers.told,
                **impersonal(answers.rest),
            }
        ),
    }
    return [Draft(f"response/{activity}/{which}", present(body))]


class _Answers:
    """What the answers of one sheet are, each by its number."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self._roles = {name.lower(): role for name, role in roles.items() if isinstance(name, str)}
        self._words: list[str] = []
        self.scores: list[dict[str, Any]] = []
        self.customer: dict[str, str] = {}
        self.guessed: dict[str, str] = {}
        self.told: list[dict[str, str]] = []
        self.rest: dict[str, Any] = {}

    def take(self, name: str, value: Any) -> None:
        said, role = text_of(value) or id_of(value), self._roles.get(name.lower())
        is_question = _QUESTION.match(name) is not None
        if not said or role == "leave_out" or (role is None and not is_question and name.lower() in _PERSONAL):
            return
        if role is None and is_question:
            if _EMAIL.match(said):
                self.guessed.setdefault("email", said)
                return
            elif _MOBILE.match(said):
                return
        if role in {"name", "email", "customer_id", "account_id"}:
            self.customer["id" if role == "customer_id" else role] = said
            return
        if not is_question and role is None:
            if name not in _OF_THE_PUSH:
                self.rest[name] = said
            return
        if role == "text" or (role is None and _is_words(said)):
            self._words.append(said)
        elif role is not None:
            self._score(role, said)
        self.told.append({"question": name, "answer": said})

    def text(self) -> str | None:
        if self._words or self.scores:
            return "\n\n".join(self._words) or None
        return "\n".join(f"{one['question']}: {one['answer']}" for one in self.told) or None

    def _score(self, role: str, said: str) -> None:
        metric, number = _ROLE.match(role), _NUMBER.match(said)
        if metric and number:
            value = float(said) + int(metric[2] or 0)
            self.scores.append({"metric": metric[1], "value": int(value) if value.is_integer() else value})


def _is_words(said: str) -> bool:
    """Letters of any script, or pictures; neither numbers and what parts them, nor the address of a file."""
    says = any(char.isalpha() or unicodedata.category(char) == "So" for char in said)
    return says and not said.startswith(("http://", "https://"))
