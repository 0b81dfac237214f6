"""PostHog: answers to its surveys are feedback, other events are what customers did.

The *HTTP Webhook* destination posts `{event, person}` as its template has it, or the event alone. `survey sent` is
feedback once it is completed (`$survey_completed`; before that it comes with each answer); what somebody had said
when they closed a survey comes with `survey dismissed`, and is heard. Answers stand under `$survey_response_<id>`, in
older events under `$survey_response` and `$survey_response_1` …, their questions in `$survey_questions`. Words are
the customer's, numbers and lists are told; what else a question is, `options: {fields: {"4f3c…": nps, "How likely are
you …?": nps}}` says, by its id or its words. See `_answers`.

Every other event is something done, by its own name; PostHog's own (`$pageview`, `$identify` …) are ignored, and so
is what somebody did who was not identified and has no e-mail address. The customer's id is `distinct_id`. PostHog
signs nothing; it sends the headers of the destination, so a source says `verify: header`. Names are from posthog-js
and PostHog's template.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import (
    id_of,
    impersonal,
    iso_time,
    object_in,
    objects_in,
    present,
    signs_nothing,
    text_of,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "posthog"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_RESPONSE = "$survey_response"
_INDEX = re.compile(r"[0-9]{1,3}\Z")
_SURVEY = "survey "


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = object_in(payload, "event") or payload
    name, person = text_of(event.get("event")), object_in(payload, "person")
    if not name:
        raise Unreadable("neither an event with its name, nor one beside a person")
    properties = object_in(event, "properties")
    if name.startswith(_SURVEY) and text_of(properties.get("$survey_id")):
        return _survey(name, event, properties, person, source)
    if name.startswith("$"):
        return Ignored(f"PostHog's own: {name}")
    return _did(name, event, properties, person)


def _survey(
    name: str,
    event: Mapping[str, Any],
    properties: Mapping[str, Any],
    person: Mapping[str, Any],
    source: Source,
) -> Sequence[Draft] | Ignored:
    if name == "survey sent" and properties.get("$survey_completed") is False:
        return Ignored("a survey that is not completed")
    if name == "survey shown":
        return Ignored("a survey that was shown")
    answers = Answers(source)
    for which, question, value in _given(properties):
        answers.take(value, [which, question], question)
    if not answers.text and not answers.scores:
        return Ignored(f"nothing was said: {name}")
    submission = id_of(properties.get("$survey_submission_id")) or id_of(event.get("uuid"))
    if not submission:
        raise Unreadable("a survey without an id of its answers")
    body = answers.body(
        _customer(event, properties, person),
        {"survey_id": text_of(properties.get("$survey_id")), "response_id": submission},
        language=properties.get("$survey_language"),
        title=text_of(properties.get("$survey_name")),
        occurred_at=iso_time(event.get("timestamp")),
        url=text_of(properties.get("$current_url")),
    )
    return [Draft(f"survey/{submission}/{answers.digest}", body)]


def _given(properties: Mapping[str, Any]) -> list[tuple[str, str | None, Any]]:
    """Each answer by the id of its question. By its place too, where an older library wrote it: that is no other."""
    asked = objects_in(properties, "$survey_questions")
    words = {id_of(one.get("id")): text_of(one.get("question")) for one in asked}
    by_id, by_place = [], []
    for name, value in properties.items():
        if not name.startswith(_RESPONSE):
            continue
        which = name.removeprefix(_RESPONSE).removeprefix("_")
        if not which or _INDEX.match(which):
            place = int(which or 0)
            question = text_of(asked[place].get("question")) if place < len(asked) else None
            by_place.append((which or "0", question, value))
        else:
            by_id.append((which, words.get(which), value))
    return by_id or by_place


def _did(
    name: str, event: Mapping[str, Any], properties: Mapping[str, Any], person: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    customer = _customer(event, properties, person)
    if not customer.get("email") and (properties.get("$is_identified") is False or not customer.get("id")):
        return Ignored("an event of nobody known")
    which = id_of(event.get("uuid"))
    if not which:
        raise Unreadable("an event without its uuid")
    body = {
        "customer": customer,
        "activity": name,
        "occurred_at": iso_time(event.get("timestamp")),
        # What begins with a dollar is about the browser, and PostHog's.
        "attributes": present(
            {"properties": impersonal({k: v for k, v in properties.items() if not k.startswith("$")})}
        ),
    }
    return [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]


def _customer(event: Mapping[str, Any], properties: Mapping[str, Any], person: Mapping[str, Any]) -> dict[str, Any]:
    known, groups = object_in(person, "properties"), object_in(properties, "$groups")
    return present(
        {
            "id": id_of(event.get("distinct_id")) or id_of(person.get("id")),
            "email": text_of(known.get("email")),
            "name": text_of(known.get("name")) or text_of(person.get("name")),
            "account_id": id_of(groups.get("company")) or id_of(groups.get("organization")),
        }
    )
