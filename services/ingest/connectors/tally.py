"""Tally: a response to a form is one delivery, named by its `responseId`.

What the customer typed is the text; what they chose stands beside its question in `attributes.answers`. A rating
and a linear scale say neither how far they go nor what they measure, so `options: {fields: {question_abc: nps,
question_def: stars}}` does, by the question's `key` or its label. Hidden fields with the names of our own
(`customer_id`, `email`, `touchpoint` …) are taken as these, and a short question for a name says who answers.
Telephone numbers, files and signatures are left out. See `_answers`.

Signature, as its help pages say: base64 of HMAC-SHA256 over the body, in `Tally-Signature`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._answers import Answers, asks_for_a_name, check_answers
from services.ingest.connectors._fields import id_of, iso_time, object_in, objects_in, text_of
from services.ingest.sources import Source

NAME = "tally"
SIGNS = True

answer = no_challenge
reply = plain_reply

_ROLES = {
    "TEXTAREA": "text",
    "INPUT_TEXT": "text",
    "INPUT_EMAIL": "email",
    "INPUT_PHONE_NUMBER": "leave_out",
    "FILE_UPLOAD": "leave_out",
    "SIGNATURE": "leave_out",
}
"""By the type of a field; all others are answers, told and no more."""


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = base64_bytes(request.header("tally-signature"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [given])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind, data = text_of(payload.get("eventType")), object_in(payload, "data")
    if kind not in {None, "FORM_RESPONSE"}:
        return Ignored(f"not feedback: {kind}")
    which = id_of(data.get("responseId")) or id_of(data.get("submissionId"))
    if not which:
        raise Unreadable("a response without its id")
    answers = Answers(source)
    hidden: dict[str, Any] = {}
    for field in objects_in(data, "fields"):
        if text_of(field.get("type")) in {"HIDDEN_FIELDS", "CALCULATED_FIELDS"}:
            hidden[str(field.get("label"))] = field.get("value")
        else:
            _take(answers, field)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    beside = answers.take_beside(hidden)
    body = answers.body(
        {},
        {"form_id": id_of(data.get("formId")), "respondent_id": id_of(data.get("respondentId")), "hidden": beside},
        title=text_of(data.get("formName")),
        occurred_at=iso_time(data.get("createdAt")) or iso_time(payload.get("createdAt")),
    )
    return [Draft(f"response/{which}", body)]


def _take(answers: Answers, field: Mapping[str, Any]) -> None:
    kind, label, value = text_of(field.get("type")) or "", field.get("label"), field.get("value")
    if kind == "CHECKBOXES" and isinstance(value, bool):
        # Each box comes again as a field of its own, beside the list of those that are ticked.
        return
    role = _ROLES.get(kind, "answer")
    if kind == "INPUT_TEXT" and asks_for_a_name(label):
        role = "name"
    answers.take(_labels(field, value), [field.get("key"), label], label, role)


def _labels(field: Mapping[str, Any], value: Any) -> Any:
    """Choices come by their ids, with the labels beside them; a matrix by the ids of rows and columns."""
    named = {
        which: one.get("text")
        for one in (*objects_in(field, "options"), *objects_in(field, "rows"), *objects_in(field, "columns"))
        if (which := id_of(one.get("id")))
    }
    if isinstance(value, dict):
        return {str(named.get(row) or row): _named(named, chosen) for row, chosen in value.items()}
    return _named(named, value)


def _named(named: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, list):
        return [named.get(one, one) if isinstance(one, str) else one for one in value]
    return named.get(value, value) if isinstance(value, str) else value
