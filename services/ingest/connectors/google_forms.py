"""Google Forms: a response, posted by a script of the form's own (docs/connect/google_forms.md gives it).

Google sends no webhook of a response; Apps Script runs a function when a form is submitted, and that posts
`{responseId, formId, formTitle, lastSubmittedTime, respondentEmail, items: [{id, title, type, response, low,
high}]}`. The response of the Forms API (`answers` by the ids of questions) is read too, for whoever asks the API
instead.

Paragraphs and short answers are words, a short one that asks for a name says who answers. A rating of five is stars;
a scale of 0 to 10 is NPS where its title speaks of recommending. What any other scale measures Google does not know;
`options: {fields: {"1522466107": csat}}` says it, by the question's id or its title.

A response that its sender edits is a new utterance where what it says has changed. The script signs as Standard
Webhooks have it, with a `whsec_` secret that both know.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply, standard
from services.ingest.connectors._answers import Answers, asks_for_a_name, check_answers
from services.ingest.connectors._fields import id_of, iso_time, object_in, objects_in, text_of
from services.ingest.sources import Source

NAME = "google_forms"
SIGNS = True

answer = no_challenge
reply = plain_reply
verify = standard.verify

_RECOMMENDS = re.compile(r"recommend|推荐|推薦|empfehl|recomend|おすすめ|お勧め", re.IGNORECASE)
_STARS = 5


def check(source: Source) -> Sequence[str]:
    return [*standard.check(source), *check_answers(source)]


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    which = id_of(payload.get("responseId"))
    if not which:
        raise Unreadable("a response without its id")
    answers = Answers(source)
    for item in objects_in(payload, "items"):
        title = text_of(item.get("title"))
        answers.take(item.get("response"), [item.get("id"), title], title, _role(item, title))
    for key, one in object_in(payload, "answers").items():
        _take(answers, key, one)
    if not answers.text and not answers.scores:
        return Ignored("a response without answers")
    body = answers.body(
        {"email": text_of(payload.get("respondentEmail"))},
        {"form_id": id_of(payload.get("formId")), "response_id": which},
        title=text_of(payload.get("formTitle")),
        occurred_at=iso_time(payload.get("lastSubmittedTime")) or iso_time(payload.get("createTime")),
    )
    return [Draft(f"response/{which}/{answers.digest}", body)]


def _role(item: Mapping[str, Any], title: str | None) -> str | None:
    kind, low, high = text_of(item.get("type")) or "", item.get("low"), item.get("high")
    if kind in {"TEXT", "PARAGRAPH_TEXT"}:
        return "name" if kind == "TEXT" and asks_for_a_name(title) else None
    if kind == "RATING":
        return "stars" if high == _STARS else "answer"
    if kind == "SCALE":
        return "nps" if (low, high) == (0, 10) and _RECOMMENDS.search(title or "") else "answer"
    return "leave_out" if kind == "FILE_UPLOAD" else "answer"


def _take(answers: Answers, key: str, one: Any) -> None:
    """The API tells neither questions nor their kinds: several answers were chosen, a lone one may be typed."""
    answer_ = one if isinstance(one, dict) else {}
    said = [
        text
        for given in objects_in(object_in(answer_, "textAnswers"), "answers")
        if (text := text_of(given.get("value")))
    ]
    names = [answer_.get("questionId"), key]
    answers.take(said[0] if len(said) == 1 else said, names)
