"""Survicate: answers to surveys on sites, in products, by e-mail.

A webhook is sent when a survey was completed (`surveyCompleted`), or with each answer (`questionAnswered`); choose
the first where you can, for one response is then one feedback. An answer to a question for NPS is a score (its choice
is `promoter`, `passive` or `detractor`, and its id the number); what other questions measure, `options: {fields:
{"12123": csat}}` says by their ids, and a score is then what the choice's words begin with. Typed answers and
comments are words, the fields of a contact form say who answers. Attributes of the respondent with the names of our
own are taken as these.

`deliveryTries` counts, and names nothing. Signature, as its docs say: the hex of HMAC-SHA256 over the body, in
`Hmac`; `Token` is a secret sent as it is, and is not looked at. The shape of `surveyCompleted` is read from its list
of answers, which could not be verified to the last name.
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
from services.ingest.connectors._fields import id_of, iso_time, object_in, objects_in, text_of
from services.ingest.sources import Source

NAME = "survicate"
SIGNS = True
SECRET_HEADERS = frozenset({"token"})

answer = no_challenge
reply = plain_reply

_NPS = frozenset({"promoter", "passive", "detractor"})
_LEADING_NUMBER = re.compile(r"\s*([0-9]{1,2})\b")
_FIELDS = {"email": "email", "firstName": "name", "lastName": "name", "comment": "text"}
_NOT_ANSWERS = frozenset({"question", "type", "id", "timestamp", "survey", "respondent", "url", "responseUuid"})


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    check_mac([secret.encode() for secret in source.secrets], request.body, [hex_bytes(request.header("hmac"))])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = object_in(payload, "event")
    completed, answered = object_in(event, "surveyCompleted"), object_in(event, "questionAnswered")
    if completed:
        return _heard(payload, completed, objects_in(completed, "answers"), source)
    if answered:
        return _heard(payload, answered, [answered], source)
    if event:
        return Ignored(f"not feedback: {next(iter(event))}")
    raise Unreadable("a webhook without its event")


def _heard(
    payload: Mapping[str, Any], said: Mapping[str, Any], given: Sequence[Mapping[str, Any]], source: Source
) -> Sequence[Draft] | Ignored:
    answers = Answers(source)
    for one in given:
        _take(answers, one)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    response = id_of(said.get("responseUuid")) or id_of(payload.get("messageId"))
    if not response:
        raise Unreadable("a response without an id")
    survey, respondent = object_in(said, "survey"), object_in(said, "respondent")
    who = id_of(respondent.get("uuid")) or id_of(respondent.get("id"))
    body = answers.body(
        {"id": who},
        {
            "survey_id": id_of(survey.get("id")),
            "response_id": id_of(said.get("responseUuid")),
            "respondent_id": who,
            "respondent": answers.take_beside(_attributes(respondent)),
        },
        title=text_of(survey.get("name")),
        occurred_at=iso_time(said.get("timestamp")),
        url=text_of(said.get("url")),
    )
    question = id_of(object_in(said, "question").get("id"))
    return [Draft(f"response/{response}/{question or 'whole'}/{answers.digest}", body)]


def _take(answers: Answers, one: Mapping[str, Any]) -> None:
    question = object_in(one, "question")
    names, asked = [question.get("id")], question.get("body") or question.get("introduction")
    for kind, value in one.items():
        if kind in _NOT_ANSWERS:
            continue
        if kind == "fields" and isinstance(value, dict):
            for name, typed in value.items():
                answers.take(typed, [name], None, _FIELDS.get(name, "leave_out"))
            continue
        for choice in value if isinstance(value, list) else [value]:
            _choose(answers, choice, names, asked)


def _choose(answers: Answers, choice: Any, names: list[Any], asked: Any) -> None:
    if not isinstance(choice, dict):
        answers.take(choice, names, asked)
        return
    label = choice.get("body")
    if isinstance(label, str) and label in _NPS:
        answers.take(choice.get("id"), names, asked, "nps")
    elif isinstance(label, str) and answers.is_metric(names):
        number = _LEADING_NUMBER.match(label)
        answers.take(number[1] if number else label, names, asked, "answer", label)
    else:
        answers.take(label, names, asked, "answer")
    answers.take(choice.get("comment"), [], asked, "text")


def _attributes(respondent: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object; an empty list where there are none."""
    return object_in(respondent, "attributes")
