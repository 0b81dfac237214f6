"""Refiner: a survey that somebody completed in a product.

The webhook tells the whole contact, and under `response.data` the answers by the names of their questions, without
the questions: words are the customer's, numbers are told, and what a question is, `options: {fields: {nps_q1: nps,
churn_reason: answer}}` says. Answers that somebody gave before they went away come too where the webhook is set up to
send them, and are heard; each change of what was said is a new utterance. Seeing and dismissing a survey says
nothing.

The customer's id is `remote_id`, the company's own, and so is the account's. Refiner signs nothing that could be
found in its docs or in others' code: see docs/connect/refiner.md. The shape is as the tests of rudder-transformer
have it.
"""

from collections.abc import Sequence

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import id_of, iso_time, object_in, signs_nothing, text_of
from services.ingest.sources import Source

NAME = "refiner"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event, response = text_of(payload.get("triggered_event")), object_in(payload, "response")
    if event is None and not response:
        raise Unreadable("a webhook without its event")
    answers = Answers(source)
    for name, value in object_in(response, "data").items():
        answers.take(value, [name], name.replace("_", " "))
    if not answers.text and not answers.scores:
        return Ignored(f"nothing was said: {event or 'no event'}")
    which = id_of(response.get("uuid"))
    if not which:
        raise Unreadable("a response without its id")
    form, account = object_in(payload, "form"), object_in(payload, "account")
    body = answers.body(
        {
            "id": id_of(payload.get("remote_id")) or id_of(payload.get("uuid")),
            "email": text_of(payload.get("email")),
            "name": text_of(payload.get("display_name")),
            "account_id": id_of(account.get("remote_id")),
        },
        {"response_id": which, "form_id": id_of(form.get("uuid")), "contact_id": id_of(payload.get("uuid"))},
        title=text_of(form.get("name")),
        occurred_at=iso_time(response.get("received_at")) or iso_time(response.get("completed_at")),
    )
    return [Draft(f"response/{which}/{answers.digest}", body)]
