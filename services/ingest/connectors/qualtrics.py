"""Qualtrics: responses, as its API or a workflow tells them.

An event subscription (`surveyengine.completedResponse`) names a response by its ids and holds no answer, so it is
ignored with that reason. What is heard is the response in the shape of the API's `/surveys/{id}/responses/{id}`,
`{responseId, values, labels}`, which a workflow of the survey posts (a *Web Service* task,
docs/connect/qualtrics.md), or whoever asks the API for it. Of `values`, those named `QID…` are answers: `QID2_TEXT`
is words; one beside which `QID1_NPS_GROUP` stands is NPS; of the others the label is told, and what they are
`options: {fields: {QID4: csat}}` says. Other values with the names of our own (`customer_id`, `touchpoint` …) are
taken as these; `externalDataReference` is the company's id of the customer.

Signature of an event subscription that has a shared key, from SAP's open gateway for it (qualtrics-event-gw, with a
test vector): the form's `HMAC` is the hex of HMAC-SHA512 over its `MSG`, and nothing else of the form is signed or
read. A workflow cannot sign: its source says `verify: header`.
"""

import json
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
from services.ingest.connectors._fields import id_of, iso_time, object_in, text_of
from services.ingest.sources import Source

NAME = "qualtrics"
SIGNS = True

answer = no_challenge
reply = plain_reply

_ANSWER = re.compile(r"QID[0-9]+[A-Za-z0-9_#]*\Z")
_LANGUAGES = {"ZH-S": "zh-Hans", "ZH-T": "zh-Hant"}
_OF_QUALTRICS = frozenset(
    {"startDate", "endDate", "status", "ipAddress", "progress", "duration", "finished", "recordedDate", "_recordId"}
    | {"locationLatitude", "locationLongitude", "recipientLastName", "recipientFirstName", "recipientEmail"}
    | {"externalDataReference", "distributionChannel", "userLanguage", "surveyId", "surveyName"}
)


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        form = dict(request.form)
    except Unreadable:
        form = {}
    message, given = form.get("MSG", ""), hex_bytes(form.get("HMAC", ""))
    signed = message.encode("utf-8", "surrogatepass")
    check_mac([secret.encode() for secret in source.secrets], signed, [given], algorithm="sha512")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = _payload(request, source)
    response = object_in(payload, "result") or payload
    which, values = id_of(response.get("responseId")), object_in(response, "values")
    if not values:
        if id_of(payload.get("ResponseID")):
            return Ignored("names a response and tells no answer: post what the API or a workflow says of it")
        raise Unreadable("neither a response with its values, nor an event of Qualtrics")
    which = which or id_of(values.get("_recordId"))
    if not which:
        raise Unreadable("a response without its id")
    if str(values.get("finished")).lower() in {"0", "false"}:
        return Ignored("a response that was not finished")
    labels, answers = object_in(response, "labels"), Answers(source)
    for name in values:
        if _ANSWER.match(name) and not name.endswith("_NPS_GROUP"):
            _take(answers, name, values, labels)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    beside = {name: value for name, value in values.items() if not _ANSWER.match(name) and name not in _OF_QUALTRICS}
    names = (text_of(values.get(f"recipient{part}Name")) for part in ("First", "Last"))
    language = text_of(values.get("userLanguage")) or ""
    body = answers.body(
        {
            "id": id_of(values.get("externalDataReference")),
            "email": text_of(values.get("recipientEmail")),
            "name": " ".join(filter(None, names)),
        },
        {
            "survey_id": id_of(response.get("surveyId")) or id_of(values.get("surveyId")),
            "response_id": which,
            "embedded": answers.take_beside(beside),
        },
        language=_LANGUAGES.get(language, language.lower()),
        title=text_of(response.get("surveyName")) or text_of(values.get("surveyName")),
        occurred_at=iso_time(values.get("recordedDate")) or iso_time(values.get("endDate")),
    )
    return [Draft(f"response/{which}/{answers.digest}", body)]


def _payload(request: WebhookRequest, source: Source) -> Mapping[str, Any]:
    """Where a signature is asked for, what it is over and nothing else: one body can be a form with somebody's old
    `MSG` in it and a JSON object at the same time."""
    if source.verify != "signature" and request.body.lstrip()[:1] in b"{[":
        return request.object
    form = dict(request.form)
    if "MSG" in form:
        return _message(form)
    if source.verify == "signature":
        raise Unreadable("a body without MSG, which alone is signed")
    return form


def _message(form: Mapping[str, str]) -> Mapping[str, Any]:
    """Without a shared key the same fields stand in the form itself, and there is no `MSG`."""
    try:
        message = json.loads(form["MSG"])
    except (ValueError, RecursionError):
        raise Unreadable("MSG is not JSON") from None
    if not isinstance(message, dict):
        raise Unreadable("MSG is not a JSON object")
    return message


def _take(answers: Answers, name: str, values: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
    role = "answer"
    if name.endswith("_TEXT"):
        role = "text"
    elif f"{name}_NPS_GROUP" in values:
        role = "nps"
    label = labels.get(name)
    told = values[name] if role != "answer" or label is None or answers.is_metric([name]) else label
    answers.take(told, [name], None, role, values[name])
