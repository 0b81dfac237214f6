"""Sentry: what people write into its feedback widget, and into the dialog that it shows after a crash.

An alert rule for issues of the category *Feedback*, whose action is our integration, posts `event_alert` with the
words in `data.event.contexts.feedback`; an `issue` webhook of such an issue has them in its metadata. Sentry's issue
webhooks do not tell of feedback as of 2025 (getsentry/sentry#89436), so it takes the rule. Each feedback is an issue
of its own, which names it, whichever of the two brings it. Errors, metrics and comments are ignored: nobody said
them.

Who wrote it stands in `contact_email` and `name`, their id in the event's `user`. Signature, as Sentry's docs say:
the hex of HMAC-SHA256 over the body, keyed with the integration's client secret, in `Sentry-Hook-Signature`; the time
beside it is not signed. The names within `contexts.feedback` are from memory of Sentry's source.
"""

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
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    object_in,
    present,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "sentry"
SIGNS = True

answer = no_challenge
reply = plain_reply


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = hex_bytes(request.header("sentry-hook-signature"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [given])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    data = object_in(payload, "data")
    event, issue = object_in(data, "event"), object_in(data, "issue")
    if event and "feedback" in object_in(event, "contexts"):
        return _written(event, object_in(object_in(event, "contexts"), "feedback"), id_of(event.get("issue_id")))
    if text_of(issue.get("issueCategory")) == "feedback" or text_of(issue.get("type")) == "feedback":
        if payload.get("action") != "created":
            return Ignored("nothing new was said")
        return _written(issue, object_in(issue, "metadata"), id_of(issue.get("id")))
    if not payload:
        raise Unreadable("an empty webhook")
    return Ignored("not feedback: an error, or what became of one")


def _written(found: Mapping[str, Any], said: Mapping[str, Any], which: str | None) -> Sequence[Draft] | Ignored:
    text = text_of(said.get("message"))
    if not text:
        return Ignored("feedback without words")
    which = which or id_of(found.get("event_id"))
    if not which:
        raise Unreadable("feedback without the id of its issue")
    user, project = object_in(found, "user"), object_in(found, "project")
    body = {
        "text": text,
        "channel": "in_app",
        "solicited": False,
        "customer": present(
            {
                "id": id_of(user.get("id")) or text_of(user.get("username")),
                "email": text_of(said.get("contact_email")) or text_of(user.get("email")),
                "name": text_of(said.get("name")) or text_of(user.get("name")),
            }
        ),
        "occurred_at": iso_time(found.get("datetime"))
        or time_of(found.get("timestamp"))
        or iso_time(found.get("firstSeen")),
        "url": text_of(found.get("web_url")) or text_of(found.get("permalink")),
        "attributes": present(
            {
                "issue_id": which,
                "project": text_of(project.get("slug")) or id_of(found.get("project")),
                "page": text_of(said.get("url")),
                "source": text_of(said.get("source")),
                "associated_event_id": text_of(said.get("associated_event_id")),
                "replay_id": text_of(said.get("replay_id")),
                "release": text_of(found.get("release")),
                "environment": text_of(found.get("environment")),
            }
        ),
    }
    return [Draft(f"feedback/{which}", present(body))]
