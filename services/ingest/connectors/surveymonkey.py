"""SurveyMonkey: responses, as its API tells them.

A webhook of SurveyMonkey (`response_completed` …) names a response by its ids and holds no answer, so it is ignored
with that reason. What is heard is the response itself, in the shape of the API's
`/surveys/{id}/responses/{id}/details` or of `…/responses/bulk`, which whoever asks the API for it posts here as it
came: a line in a crontab, Zapier, n8n (docs/connect/surveymonkey.md). What comes again is the same delivery; a
response whose answers were edited is another.

With `simple=true` the API tells questions and labels too; without it, answers are words and ids of choices. Scores
are what `options: {fields: {"319352786": nps}}` says of questions, by their ids; `custom_variables` with the names of
our own (`customer_id`, `email`, `touchpoint` …) are taken as these. See `_answers` for the options.

Signature, as its API's docs have it: base64 of HMAC-SHA1 over the body, keyed with `client_id&client_secret`, which
is the source's secret written just so. Before it saves an address, SurveyMonkey looks at it with a HEAD.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Reply,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    plain_reply,
)
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import each_of, id_of, iso_time, number_of, object_in, objects_in, text_of
from services.ingest.sources import Source

NAME = "surveymonkey"
SIGNS = True

reply = plain_reply


def check(source: Source) -> Sequence[str]:
    issues = check_answers(source)
    if source.verify == "signature" and not all("&" in secret for secret in source.secrets):
        issues.append("each of secrets is client_id&client_secret of the app, joined by an ampersand")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = base64_bytes(request.header("sm-signature"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [given], algorithm="sha1")


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    return Reply(200) if request.method == "HEAD" else None


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = text_of(payload.get("event_type"))
    if event is not None and "pages" not in payload:
        if event in {"response_completed", "response_updated"}:
            return Ignored("names a response and tells no answer: post what the API says of it")
        return Ignored(f"not feedback: {event}")
    if isinstance(payload.get("data"), list):
        return each_of(objects_in(payload, "data"), lambda response: _response(response, source))
    return _response(payload, source)


def _response(response: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    which = id_of(response.get("id"))
    if not which or not isinstance(response.get("pages"), list):
        raise Unreadable("neither a response with its id and pages, nor a webhook of SurveyMonkey")
    status, mode = text_of(response.get("response_status")), text_of(response.get("collection_mode"))
    if status not in {None, "completed"}:
        return Ignored(f"a response that is {status}")
    if mode in {"preview", "survey_preview"}:
        return Ignored("a preview")
    answers = Answers(source)
    for page in objects_in(response, "pages"):
        for question in objects_in(page, "questions"):
            _take(answers, question)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    contact = object_in(object_in(response, "metadata"), "contact")
    name = " ".join(filter(None, (_told(response, contact, "first_name"), _told(response, contact, "last_name"))))
    recipient = id_of(response.get("recipient_id"))
    body = answers.body(
        {"id": recipient if recipient != "0" else None, "email": _told(response, contact, "email"), "name": name},
        {
            "survey_id": id_of(response.get("survey_id")),
            "collector_id": id_of(response.get("collector_id")),
            "custom_value": text_of(response.get("custom_value")),
            "custom_variables": answers.take_beside(object_in(response, "custom_variables")),
        },
        occurred_at=iso_time(response.get("date_modified")) or iso_time(response.get("date_created")),
        url=text_of(response.get("analyze_url")),
    )
    return [Draft(f"response/{which}/{answers.digest}", body)]


def _take(answers: Answers, question: Mapping[str, Any]) -> None:
    """All that somebody chose in one question is one answer; what they typed is words."""
    names, heading = [question.get("id"), question.get("variable_id")], question.get("heading")
    chosen: list[str] = []
    weights: list[Any] = []
    for one in objects_in(question, "answers"):
        typed = text_of(one.get("text"))
        if typed and not one.get("choice_id"):
            answers.take(typed, names, heading)
            continue
        label = text_of(one.get("simple_text")) or id_of(one.get("choice_id"))
        if label:
            chosen.append(label)
            weights.append(object_in(one, "choice_metadata").get("weight"))
    if len(chosen) == 1:
        # A rating's label may be words; its weight is the number.
        weight = weights[0] if answers.is_metric(names) and number_of(weights[0]) is not None else chosen[0]
        answers.take(weight, names, heading, "answer", chosen)
    elif chosen:
        answers.take(chosen, names, heading, "answer")


def _told(response: Mapping[str, Any], contact: Mapping[str, Any], name: str) -> str | None:
    direct = response.get("email_address" if name == "email" else name)
    return text_of(direct) or text_of(object_in(contact, name).get("value"))
