"""SatisMeter (Productboard): scores, the words beside them, and answers to further questions.

A question that measures says so (`metric`: nps, csat, ces), each over the range that it has with us; one whose answer
is out of that range is told and no score. A response without such questions, as they were sent before, has NPS in
`rating`. Long and short texts, and `feedback`, are words. A survey that somebody closed says nothing, unless they had
said something by then. Traits with the names of our own are taken as these; `userId` is the company's own id of the
customer.

SatisMeter signs nothing and lets nobody set a header, as its help pages tell it: see docs/connect/satismeter.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    number_of,
    object_in,
    objects_in,
    signs_nothing,
    text_of,
)
from services.ingest.sources import Source

NAME = "satismeter"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_RANGES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}
_TEXTS = frozenset({"long-text", "short-text"})


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    said, campaign = object_in(payload, "response"), object_in(payload, "campaign")
    which, event = id_of(said.get("id")), text_of(payload.get("event"))
    if not which:
        raise Unreadable("a response without its id")
    answers = Answers(source)
    typed: set[str] = set()
    for one in objects_in(said, "answers"):
        _take(answers, one)
        typed.add(text_of(one.get("value")) or "")
    comment = text_of(said.get("feedback"))
    if comment not in typed:
        answers.take(comment, ["feedback"], None, "text")
    rating = number_of(said.get("rating"))
    if rating is not None and not answers.scores:
        answers.take(rating, ["rating"], None, "nps" if said.get("category") else "answer")
    if not answers.text and not answers.scores:
        return Ignored(f"nothing was said: {event or 'no event'}")
    user = object_in(said, "user")
    traits = {**object_in(user, "traits"), **object_in(payload, "traits")}
    rest = {name: value for name, value in answers.take_beside(traits).items() if name != "createdAt"}
    company = id_of(object_in(user, "groups").get("group")) or id_of(object_in(user, "groups").get("id"))
    body = answers.body(
        {
            "id": id_of(user.get("userId")) or id_of(user.get("id")),
            "email": text_of(user.get("email")),
            "name": text_of(user.get("name")),
            "account_id": company,
        },
        {
            "response_id": which,
            "campaign_id": id_of(campaign.get("id")) or id_of(said.get("campaign")),
            "method": text_of(said.get("method")),
            "country": text_of(object_in(said, "location").get("country")),
            "traits": rest,
        },
        language=said.get("language"),
        title=text_of(campaign.get("name")),
        occurred_at=iso_time(said.get("created")),
        url=text_of(said.get("referrer")),
    )
    return [Draft(f"response/{which}/{answers.digest}", body)]


def _take(answers: Answers, one: Mapping[str, Any]) -> None:
    kind, metric, value = text_of(one.get("type")), text_of(one.get("metric")) or "", one.get("value")
    role = "text" if kind in _TEXTS else None if kind is None else "answer"
    number = number_of(value)
    if metric in _RANGES and number is not None:
        low, high = _RANGES[metric]
        role = metric if low <= number <= high else "answer"
    answers.take(value, [one.get("id"), one.get("name"), one.get("label")], one.get("label"), role)
