"""Formbricks: a response that was finished is one delivery.

Formbricks sends answers by the ids of their questions, without the questions: words are the customer's, lists are
choices, numbers are told, and what else a question is, `options: {fields: {iht7n48iwkoc1jc8ubnzrqi7: nps}}` says (the
id stands under *Advanced settings* of the question). Attributes of the contact and hidden fields with the names of
our own (`customer_id`, `userId`, `email` …) are taken as these, `variables` stand in `attributes`. See `_answers`.

`responseCreated` and `responseUpdated` tell of answers on their way, and are ignored. Signature: Standard Webhooks,
with the `whsec_` secret that Formbricks shows, as its docs say; versions before that signed nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply, standard
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import id_of, impersonal, iso_time, object_in, text_of
from services.ingest.sources import Source

NAME = "formbricks"
SIGNS = True

answer = no_challenge
reply = plain_reply
verify = standard.verify

_CLICKS = frozenset({"clicked", "dismissed", "accepted", "booked", "skipped"})
"""What Formbricks writes for a button, a consent, an appointment: its words, nobody's answer."""


def check(source: Source) -> Sequence[str]:
    return [*standard.check(source), *check_answers(source)]


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event, response = text_of(payload.get("event")), object_in(payload, "data")
    if event in {"responseCreated", "responseUpdated"}:
        return Ignored("a response that is not finished")
    if event is None:
        raise Unreadable("a webhook without its event")
    if event != "responseFinished":
        return Ignored(f"not feedback: {event}")
    which = id_of(response.get("id"))
    if not which:
        raise Unreadable("a response without its id")
    survey, contact, meta = (object_in(response, name) for name in ("survey", "contact", "meta"))
    answers = Answers(source)
    given = object_in(response, "data")
    hidden = {name: given[name] for name in given if name.lower() in _HIDDEN}
    for name, value in given.items():
        if name not in hidden:
            answers.take(value, [name], None, "answer" if isinstance(value, str) and value in _CLICKS else None)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    beside = answers.take_beside(hidden) | answers.take_beside(object_in(response, "contactAttributes"))
    language = text_of(response.get("language"))
    body = answers.body(
        {"id": id_of(contact.get("userId")) or id_of(contact.get("id"))},
        {
            "survey_id": id_of(response.get("surveyId")),
            "response_id": which,
            "variables": impersonal(object_in(response, "variables")),
            "contact": beside,
            "country": text_of(meta.get("country")),
            "tags": _names(response.get("tags")),
        },
        language=None if language == "default" else language,
        title=text_of(survey.get("title")),
        occurred_at=iso_time(response.get("updatedAt")) or iso_time(response.get("createdAt")),
        url=text_of(meta.get("url")),
    )
    return [Draft(f"response/{which}", body)]


_HIDDEN = frozenset(
    {"customer_id", "user_id", "userid", "account_id", "company_id", "touchpoint", "lifecycle_stage", "plan", "tier"}
)
"""Hidden fields come among the answers, by their own names."""


def _names(tags: Any) -> list[str]:
    found = [tag.get("name") if isinstance(tag, Mapping) else tag for tag in (tags if isinstance(tags, list) else [])]
    return [name for name in map(text_of, found) if name]
