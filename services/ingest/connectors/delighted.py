"""Delighted: scores, the words beside them, and answers to further questions.

`survey_response.created` comes with the score, `survey_response.updated` with the words that were written since. What
is said anew is a new utterance; what is sent again, or changed by us only (tags, notes), is the same. An
`unsubscribe` is something that a customer did.

NPS, CSAT (1 to 5), five stars (`stars`), and CES of seven steps (`ces7`) are scores of ours; thumbs are the yes/no
"were you happy?". What other kinds of survey measure, `options: {metrics: {smileys: csat}}` says; else their score
stands in `attributes.score`. Which kinds there are is from memory of its product: its docs show `nps`.

The customer's id is `customer_id` or `user_id` of the properties that the company sent along, else Delighted's own.
Signature, as its docs say: `sha256=` and the hex of HMAC-SHA256 over the body, keyed with the private API key.
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
from services.ingest.connectors._fields import id_of, number_of, object_in, objects_in, present, text_of, time_of
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "delighted"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_METRICS = {"nps": "nps", "csat": "csat", "ces7": "ces", "stars": "stars", "thumbs": "hmd"}
_METRIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def check(source: Source) -> Sequence[str]:
    issues, metrics = check_answers(source, "metrics"), source.options.get("metrics", {})
    if not isinstance(metrics, dict) or not all(isinstance(m, str) and _METRIC.match(m) for m in metrics.values()):
        issues.append("options: metrics must name what kinds of survey measure, such as {smileys: csat}")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-delighted-webhook-signature")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind, said = text_of(payload.get("event_type")), object_in(payload, "event_data")
    if kind in {"survey_response.created", "survey_response.updated"}:
        return _response(said, source)
    if kind == "unsubscribe.created":
        return _unsubscribed(payload, said)
    if kind is None:
        raise Unreadable("an event without its type")
    return Ignored(f"not feedback: {kind}")


def _response(said: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    which, score, kind = id_of(said.get("id")), number_of(said.get("score")), text_of(said.get("survey_type")) or "nps"
    if not which:
        raise Unreadable("a response without its id")
    answers = Answers(source)
    comment = said.get("comment")
    answers.take(comment, ["comment"], None, "text")
    for one in objects_in(said, "additional_answers"):
        _take(answers, one)
    metric = {**_METRICS, **source.options.get("metrics", {})}.get(kind)
    if metric and score is not None:
        answers.scores.insert(0, {"metric": metric, "value": score})
    if not answers.text and not answers.scores and score is None:
        return Ignored("a response without score and words")
    person = object_in(said, "person")
    properties = answers.take_beside(object_in(said, "person_properties"))
    body = answers.body(
        {"id": id_of(person.get("id")), "email": text_of(person.get("email")), "name": text_of(person.get("name"))},
        {"response_id": which, "survey_type": kind, "properties": properties, "person_id": id_of(person.get("id"))}
        | ({} if metric else {"score": score}),
        occurred_at=time_of(said.get("updated_at")) or time_of(said.get("created_at")),
        url=text_of(said.get("permalink")),
    )
    if not answers.text and not answers.scores:
        # A score of a kind that nobody named is all that was said.
        body["text"] = f"{kind}: {score}"
    return [Draft(f"response/{which}/{score}/{answers.digest}", body)]


def _take(answers: Answers, one: Mapping[str, Any]) -> None:
    question, value = object_in(one, "question"), object_in(one, "value")
    names = [question.get("id"), question.get("text")]
    answers.take(value.get("free_response"), names, question.get("text"), "text")
    answers.take(value.get("scale"), names, question.get("text"), "answer")
    answers.take(object_in(value, "select_one").get("text"), names, question.get("text"), "answer")
    chosen = [option.get("text") for option in objects_in(value, "select_many")]
    answers.take(chosen, names, question.get("text"), "answer")


def _unsubscribed(payload: Mapping[str, Any], said: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """Its shape is from memory: who it is stands beside the time, or in `person`."""
    who = object_in(said, "person") or said
    customer = present({"id": id_of(said.get("person_id")) or id_of(who.get("id")), "email": text_of(who.get("email"))})
    which = id_of(payload.get("event_id"))
    if not customer or not which:
        raise Unreadable("an unsubscription without its id, or of nobody")
    body = {
        "customer": customer | present({"name": text_of(who.get("name"))}),
        "activity": "unsubscribed from surveys",
        "occurred_at": time_of(said.get("unsubscribed_at")),
    }
    return [Draft(f"unsubscribe/{which}", present(body), CUSTOMER_ACTIVITY)]
