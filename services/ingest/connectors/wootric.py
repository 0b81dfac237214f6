"""Wootric (InMoment): scores and the words beside them.

It posts a form with brackets in the names of its fields (`response[score]=9`), or the same as JSON where somebody
between wrote it so. `created` comes with the score, `updated` when the customer changed it or added words: what is
said anew is a new utterance. A survey that was declined says nothing.

`survey_mode` says what was measured: NPS, CSAT (1 to 5) or CES (1 to 7); without it, NPS, as before there were
others. The customer's id is `external_id`, the company's own, else Wootric's. Properties with the names of our own
are taken as these. Signature, as its docs say: `sha1=` and the hex of HMAC-SHA1 over the body, in
`X-Wootric-Signature`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import id_of, number_of, object_in, ruby_time, text_of
from services.ingest.sources import Source

NAME = "wootric"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha1="
_METRICS = {"NPS": "nps", "CSAT": "csat", "CES": "ces"}
_NAME = re.compile(r"([^\[\]]+)(?:\[([^\[\]]+)\])?(?:\[([^\[\]]+)\])?\Z")


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-wootric-signature")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature], algorithm="sha1")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = _payload(request)
    event, said = text_of(payload.get("event_name")), object_in(payload, "response")
    if object_in(payload, "decline"):
        return Ignored("a survey that was declined")
    if event not in {"created", "updated", None}:
        return Ignored(f"not feedback: {event}")
    which, score = id_of(said.get("id")), number_of(said.get("score"))
    if not which:
        raise Unreadable("neither a response with its id, nor a declined survey")
    answers = Answers(source)
    answers.take(said.get("text"), ["text"], None, "text")
    mode = (text_of(payload.get("survey_mode")) or "NPS").upper()
    if mode in _METRICS and score is not None:
        answers.scores.append({"metric": _METRICS[mode], "value": score})
    if not answers.text and not answers.scores:
        return Ignored("a response without score and words")
    properties = answers.take_beside(object_in(said, "end_user_properties"))
    body = answers.body(
        {"id": id_of(said.get("external_id")) or id_of(said.get("end_user_id")), "email": text_of(said.get("email"))},
        {
            "response_id": which,
            "end_user_id": id_of(said.get("end_user_id")),
            "survey_mode": mode,
            "properties": properties,
            "excluded_from_calculations": str(said.get("excluded_from_calculations")).lower() == "true" or None,
        }
        | ({} if mode in _METRICS else {"score": score}),
        occurred_at=ruby_time(said.get("updated_at")) or ruby_time(said.get("created_at")),
        url=text_of(said.get("origin_url")),
    )
    return [Draft(f"response/{which}/{score}/{answers.digest}", body)]


def _payload(request: WebhookRequest) -> Mapping[str, Any]:
    if request.body.lstrip()[:1] == b"{":
        return request.object
    nested: dict[str, Any] = {}
    for name, value in request.form:
        parts = _NAME.match(name)
        *path, last = [part for part in parts.groups() if part] if parts else [name]
        place = nested
        for part in path:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else place
        place[last] = value
    return nested
