"""Typeform: a response that somebody sent off is one delivery, named by its `token`.

What the customer wrote is the text; a form's own words (questions, labels of choices) are not theirs, and stand with
every answer in `attributes.answers`. Only a response with neither words nor scores has its answers for a text, so that a
form of choices is read too. What says who answered (e-mail, name, telephone) stands in `customer` or nowhere.

Scores: `nps` is NPS. A `rating` is stars where it has five steps, as it has unless somebody changed it. What an
`opinion_scale` measures Typeform does not know, however many steps it has; `options` say it:

    options:
      language: zh-CN
      fields: {effort: ces, "01GQZM": text, first_name: name, age: leave_out}

`fields` names questions by their `ref` or `id`, and what each answer is: `text`, `name`, `email`, `customer_id`,
`account_id`, `leave_out`, or a metric (a yes/no can be `hmd`). Hidden fields with the names of our own (`customer_id`,
`email`, `account_id`, `touchpoint` …) are taken as these; `language` is the form's, where a hidden one says no other.

Signature: `sha256=` and the base64 of HMAC-SHA256 over the body.
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
from services.ingest.connectors._answers import BESIDE, OF_FEEDBACK, WHO, asks_for_a_name, check_answers, shown
from services.ingest.connectors._fields import (
    id_of,
    impersonal,
    language_of,
    object_in,
    objects_in,
    present,
    text_of,
)
from services.ingest.sources import Source

NAME = "typeform"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_ROLE_OF_TYPE = {
    "email": "email",
    "phone_number": "leave_out",
    "nps": "nps",
}
_RATING_STEPS = 5
_LANGUAGES = ("language", "lang", "locale")


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("typeform-signature")
    signature = base64_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = text_of(payload.get("event_type")) or "form_response"
    if kind == "form_response_partial":
        return Ignored("a response that was not sent off")
    if kind != "form_response":
        return Ignored(f"not feedback: {kind}")
    response = object_in(payload, "form_response") or payload
    token = id_of(response.get("token"))
    if not token:
        raise Unreadable("a response without its token")
    definition = object_in(response, "definition")
    answers = _Answers(source, definition)
    for one in objects_in(response, "answers"):
        answers.take(one)
    text = answers.text()
    if not text and not answers.scores:
        return Ignored("a response without answers")
    hidden = {str(name).lower(): value for name, value in object_in(response, "hidden").items()}
    languages = [*(hidden.pop(name, None) for name in _LANGUAGES), source.options.get("language")]
    customer: dict[str, str] = {}
    for theirs, ours in BESIDE.items():
        if said := _said(hidden.pop(theirs, None)):
            customer.setdefault(ours, said)
    body = {
        "text": text,
        "title": text_of(definition.get("title")),
        "language": next(filter(None, map(language_of, languages)), None),
        "scores": answers.scores,
        "customer": customer | answers.customer,
        "channel": "survey",
        "solicited": True,
        **{name: _said(hidden.pop(name, None)) for name in OF_FEEDBACK},
        "occurred_at": text_of(response.get("submitted_at")),
        "url": text_of(response.get("response_url")),
        "attributes": present(
            {
                "form_id": id_of(response.get("form_id")),
                "answers": answers.told,
                "score": object_in(response, "calculated").get("score"),
                "variables": impersonal(
                    {str(one.get("key")): one.get(str(one.get("type"))) for one in objects_in(response, "variables")}
                ),
                "hidden": impersonal(present(hidden)),
            }
        ),
    }
    return [Draft(f"response/{token}", present(body))]


class _Answers:
    """What the answers of one response are, each by its question."""

    def __init__(self, source: Source, definition: Mapping[str, Any]) -> None:
        self._roles: Mapping[str, str] = source.options.get("fields", {})
        self._questions = {id_of(field.get("id")): field for field in _questions(definition)}
        self._words: list[str] = []
        self._names: list[str] = []
        self.scores: list[dict[str, Any]] = []
        self.customer: dict[str, str] = {}
        self.told: list[dict[str, Any]] = []

    def take(self, one: Mapping[str, Any]) -> None:
        field = object_in(one, "field")
        question = self._questions.get(id_of(field.get("id")), {})
        value = _value(one)
        role = self._role(one, field, question)
        if value is None or role == "leave_out":
            return
        if role in WHO:
            self._who(role, shown(value))
            return
        if role == "text":
            self._words.append(shown(value))
        elif role is None:
            self._words.extend(_other(one))
        elif isinstance(value, bool | int | float):
            self.scores.append({"metric": role, "value": int(value) if isinstance(value, bool) else value})
        title = text_of(question.get("title"))
        ref = text_of(field.get("ref")) or text_of(question.get("ref")) or id_of(field.get("id"))
        self.told.append(present({"question": title, "ref": ref, "answer": value}))

    def text(self) -> str | None:
        if self._words or self.scores:
            return "\n\n".join(self._words) or None
        return "\n".join(_line(one) for one in self.told) or None

    def _role(self, one: Mapping[str, Any], field: Mapping[str, Any], question: Mapping[str, Any]) -> str | None:
        """A role, a metric, or None: an answer that is told and is no more than that."""
        for name in (field.get("ref"), question.get("ref"), field.get("id")):
            if isinstance(name, str) and name in self._roles:
                return self._roles[name]
        kind = str(field.get("type") or question.get("type") or "")
        if kind == "short_text" and asks_for_a_name(question.get("title")):  # its block for contacts comes as these
            return "name"
        if kind == "rating":
            return "stars" if _has_five_steps(object_in(question, "properties"), one.get("number")) else None
        written = one.get("type") == "text" and kind != "dropdown"
        return _ROLE_OF_TYPE.get(kind) or ("text" if written else None)

    def _who(self, role: str, value: str) -> None:
        if role == "name":
            self._names.append(value)
            self.customer["name"] = " ".join(self._names)
        else:
            self.customer["id" if role == "customer_id" else role] = value


def _questions(definition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The questions, those in groups too."""
    found: list[Mapping[str, Any]] = []
    for field in objects_in(definition, "fields"):
        found += [field, *objects_in(object_in(field, "properties"), "fields")]
    return found


def _has_five_steps(properties: Mapping[str, Any], value: Any) -> bool:
    steps = properties.get("steps")
    return steps == _RATING_STEPS or (steps is None and value in range(1, _RATING_STEPS + 1))


def _value(one: Mapping[str, Any]) -> Any:
    """What was answered: words, a number, yes or no, or a list of labels. None where nothing was."""
    kind = str(one.get("type"))
    given = one.get(kind)
    if kind == "choice":
        choice = object_in(one, "choice")
        return text_of(choice.get("label")) or text_of(choice.get("other"))
    if kind == "choices":
        choices = object_in(one, "choices")
        labels = choices.get("labels")
        found = [text_of(label) for label in (labels if isinstance(labels, list) else [])]
        return [label for label in (*found, text_of(choices.get("other"))) if label] or None
    if kind == "payment":
        return text_of(object_in(one, "payment").get("amount"))
    if isinstance(given, bool | int | float):
        return given
    return text_of(given)


def _other(one: Mapping[str, Any]) -> list[str]:
    """What was written beside the choices that a form offers: it is the customer's own."""
    written = text_of(object_in(one, str(one.get("type"))).get("other"))
    return [written] if written else []


def _line(one: Mapping[str, Any]) -> str:
    said = shown(one["answer"])
    return f"{one['question']}: {said}" if "question" in one else said


def _said(value: Any) -> str | None:
    """Hidden fields come out of a link, numbers too."""
    return text_of(value) or id_of(value)
