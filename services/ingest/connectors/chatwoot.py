"""Chatwoot: what contacts write, what they fill in, and how they rate a conversation.

A message of a contact is an utterance, and so is each answer to a form or to the satisfaction survey, which come as
`message_updated` of the message that asked: a changed answer, or words added to it, is another. News of a conversation
(`conversation_created` …) holds nothing that its messages do not tell by themselves. Private notes and what agents,
bots and campaigns say are ignored. The survey is 1 to 5, which is CSAT.

A conversation that gets another team is `work.moved`: `conversation_updated`, with `team_id` among its `changed_attributes`
and the team in `meta`. What else became of a conversation is ignored.

The customer's id is the one that the company gave them (`identifier`), else Chatwoot's own, which stands in
`attributes.contact_id`. `options: {url: https://app.chatwoot.com}` lets messages link back.

Signature: `sha256=` and the hex of HMAC-SHA256 over `timestamp.body`. Older versions sign nothing: then `verify: none`,
with a name for the source that nobody guesses. Facts: Chatwoot's open source (`lib/webhooks/trigger.rb`,
`app/listeners/webhook_listener.rb`, `app/listeners/base_listener.rb`,
`app/presenters/conversations/event_data_presenter.rb`, `app/models/message.rb`), its API's description of a webhook's secret, its user
guide.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
    within_tolerance,
)
from services.ingest.connectors._fields import (
    digest_of,
    id_of,
    iso_time,
    media_signs,
    moved,
    object_in,
    objects_in,
    present,
    signed_time,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "chatwoot"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_INCOMING = frozenset({"incoming", "0"})
_NOT_SAID = {"outgoing": "an agent's message", "activity": "what happened to a conversation", "template": "a template"}
_CHANNELS = {
    "Email": "email",
    "FacebookPage": "social",
    "Instagram": "social",
    "TwitterProfile": "social",
    "Tiktok": "social",
}
"""By the kind of inbox; all others are chat."""
_FORMS = frozenset({"form", "input_select", "input_text", "input_textarea"})

_MEDIA = ("image", "audio", "video", "file")
"""Else a place, a contact, a story that somebody shared."""


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "url")
    url = source.options.get("url")
    if url is not None and not (isinstance(url, str) and url.startswith(("https://", "http://"))):
        issues.append("options: url must be the address of Chatwoot, such as https://app.chatwoot.com")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    timestamp, given = request.header("x-chatwoot-timestamp"), request.header("x-chatwoot-signature")
    check_mac(
        [secret.encode() for secret in source.secrets],
        f"{timestamp}.".encode("utf-8", "surrogateescape") + request.body,
        [hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""],
        fresh=within_tolerance(signed_time(timestamp), now),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = text_of(payload.get("event"))
    if event is None:
        raise Unreadable("a webhook that names no event")
    if event == "conversation_updated":
        return _regrouped(payload, source)
    if event not in {"message_created", "message_updated"}:
        return Ignored(f"not feedback: {event}")
    if payload.get("private") is True:
        return Ignored("a private note")
    filled_in = object_in(payload, "content_attributes").get("submitted_values")
    if event == "message_updated":
        return _answered(payload, filled_in, source)
    kind = str(payload.get("message_type"))
    if kind not in _INCOMING:
        return Ignored(_NOT_SAID.get(kind) or f"not a contact's message: {kind}"[:100])
    kinds = [one.get("file_type") for one in objects_in(payload, "attachments")]
    text = text_of(payload.get("content")) or media_signs(kind for kind in kinds if kind in _MEDIA)
    if not text:
        return Ignored("a message without words")
    which, body = _message(payload, source)
    return [Draft(f"message/{which}", body | {"text": text})]


def _answered(payload: Mapping[str, Any], filled_in: Any, source: Source) -> Sequence[Draft] | Ignored:
    kind = text_of(payload.get("content_type"))
    survey = object_in(filled_in, "csat_survey_response") if isinstance(filled_in, dict) else {}
    if survey:
        return _rated(payload, survey, source)
    if kind == "input_csat":
        return Ignored("a rating that was asked for and not given")
    if kind not in _FORMS or not filled_in:
        return Ignored("a changed message: what was first said stands")
    lines = [_line(one) for one in objects_in({"all": filled_in}, "all")]
    text = "\n".join(filter(None, lines))
    if not text:
        return Ignored("a form without words")
    which, body = _message(payload, source)
    body |= {"text": text, "channel": "survey", "solicited": True, "title": text_of(payload.get("content"))}
    return [Draft(f"message/{which}/answers/{digest_of(text)}", present(body))]


def _rated(payload: Mapping[str, Any], survey: Mapping[str, Any], source: Source) -> Sequence[Draft]:
    value, words = survey.get("rating"), text_of(survey.get("feedback_message"))
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise Unreadable("a rating that is not 1 to 5")
    which, body = _message(payload, source)
    body |= {"channel": "survey", "solicited": True, "scores": [{"metric": "csat", "value": value}], "text": words}
    return [Draft(f"rating/{which}/{value}/{digest_of(words or '')}", present(body))]


def _regrouped(payload: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    changed = {name: object_in(one, name) for one in objects_in(payload, "changed_attributes") for name in one}
    if "team_id" not in changed:
        return Ignored("not feedback: conversation_updated")
    team_id, team = id_of(changed["team_id"].get("current_value")), object_in(object_in(payload, "meta"), "team")
    if not team_id:
        return Ignored("a conversation that has no team any more")
    # The conversation is read again when the webhook is made, and may have been saved once more: the change has its own time.
    changed_at = iso_time(changed.get("updated_at", {}).get("current_value"))
    number, at = id_of(payload.get("id")), changed_at or time_of(payload.get("updated_at"))
    if not number:
        raise Unreadable("a conversation without an id")
    name = text_of(team.get("name")) if id_of(team.get("id")) == team_id else None
    return moved(
        f"{team_id}/{at}" if at else None, number, team=name, team_id=team_id, at=at, url=_link(payload, number, source)
    )


def _link(payload: Mapping[str, Any], number: str | None, source: Source) -> str | None:
    base, account = source.options.get("url"), id_of(object_in(payload, "account").get("id"))
    return f"{base.rstrip('/')}/app/accounts/{account}/conversations/{number}" if base and account and number else None


def _message(payload: Mapping[str, Any], source: Source) -> tuple[str, dict[str, Any]]:
    """Its id, and what every utterance in this conversation says about itself."""
    which = id_of(payload.get("id"))
    if not which:
        raise Unreadable("a message without an id")
    conversation, account = object_in(payload, "conversation"), id_of(object_in(payload, "account").get("id"))
    customer, contact = _customer(payload, conversation)
    number = id_of(conversation.get("id")) or id_of(conversation.get("display_id"))
    inbox = text_of(conversation.get("channel")) or ""
    email = object_in(object_in(payload, "content_attributes"), "email")
    body = {
        "title": text_of(email.get("subject"))
        or text_of(object_in(conversation, "additional_attributes").get("mail_subject")),
        "channel": _CHANNELS.get(inbox.removeprefix("Channel::"), "chat"),
        "solicited": False,
        "customer": customer,
        "occurred_at": _when(payload.get("created_at")),
        "url": _link(payload, number, source),
    }
    attributes = {
        "conversation_id": number,
        "message_id": which,
        "contact_id": contact,
        "inbox": text_of(object_in(payload, "inbox").get("name")),
        "account_id": account,
    }
    return which, present(body) | {"attributes": present(attributes)}


def _customer(payload: Mapping[str, Any], conversation: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Who the conversation is with: a form's sender is whoever asked."""
    sender = object_in(payload, "sender")
    people = [object_in(object_in(conversation, "meta"), "sender"), object_in(payload, "contact")]
    if sender.get("type") in (None, "contact") and str(payload.get("message_type")) in _INCOMING:
        people.insert(0, sender)
    contact = next(filter(None, (id_of(person.get("id")) for person in people)), None)
    known = [person for person in people if id_of(person.get("id")) == contact]
    given = {
        name: next(filter(None, (text_of(person.get(name)) for person in known)), None)
        for name in ("identifier", "email", "name")
    }
    return present({"id": given["identifier"] or contact, "email": given["email"], "name": given["name"]}), contact


def _line(one: Mapping[str, Any]) -> str | None:
    """A field of a form has a name and a value; a choice has a title, which was read, and a value, which was not."""
    name, value = text_of(one.get("name")), text_of(one.get("value"))
    return f"{name}: {value}" if name and value else text_of(one.get("title")) or value


def _when(value: Any) -> str | None:
    text = value.removesuffix(" UTC") if isinstance(value, str) else ""
    return iso_time(text, UTC) or time_of(value)
