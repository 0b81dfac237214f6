"""Productboard: notes, and features that were completed, as its API tells them.

A webhook of Productboard names what was changed by its id and a link, and holds no words, so it is ignored with that
reason. What is heard is a note in the shape of its API (`/notes/{id}`: v1's `title` and `content`, v2's `fields`),
which whoever asks the API for it posts here as it came, one or a page of them (docs/connect/productboard.md); what
comes twice is one delivery, a note whose words were changed is another. Of a conversation only the parts that were
not a colleague's are heard. A feature whose status is a completed one (`status.completed`) is `work.shipped`;
`options: {declined: ["Won't do"]}` names statuses that are `work.declined`.

Productboard signs nothing; it sends the `Authorization` that was asked for when its webhook was made. Before it takes
an address it asks with `?validationToken=…`, and wants that back as text (pipedream's component does so). The shape
of a note in v2 is from Productboard's own reference, which could be read in parts only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Reply, Unreadable, WebhookRequest, plain_reply
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    iso_time,
    object_in,
    objects_in,
    present,
    signs_nothing,
    text_of,
    unknown_options,
    words_in,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source
from shared.events.envelope import WORK_DECLINED, WORK_SHIPPED

NAME = "productboard"
SIGNS = False

reply = plain_reply
verify = signs_nothing

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,500}\Z")
_FEATURES = frozenset({"feature", "subfeature"})
_STAFF = frozenset({"agent", "member", "admin", "teammate", "internal"})


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "declined")
    if words_in(source.options.get("declined", [])) is None:
        issues.append('options: declined must be a list of statuses, such as ["Won\'t do"]')
    return issues


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    token = request.query.get("validationToken", "")
    return Reply(200, token.encode(), "text/plain") if _TOKEN.match(token) else None


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    if isinstance(payload.get("data"), list):
        return each_of(objects_in(payload, "data"), lambda one: _one(one, source))
    return _one(object_in(payload, "data") or payload, source)


def _one(one: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    event = text_of(one.get("eventType"))
    if event is not None:
        return Ignored(f"names what was changed and tells no words: {event}")
    # v2 has under `fields` what v1 has beside the id.
    kind, whole = text_of(one.get("type")), {**object_in(one, "fields"), **one}
    is_note = (kind or "").endswith("Note")
    if not is_note and (kind in _FEATURES or ("status" in whole and "content" not in whole)):
        return _feature(whole, source)
    if is_note or "content" in whole:
        return _note(whole)
    raise Unreadable("neither a note, nor a feature, nor a webhook of Productboard")


def _note(note: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    which = id_of(note.get("id"))
    if not which:
        raise Unreadable("a note without its id")
    title, content = text_of(note.get("title")) or text_of(note.get("name")), note.get("content")
    text = _of_customers(content) if isinstance(content, list) else plain_text(content)
    if not text and (isinstance(content, list) or not title):
        return Ignored("a note without a customer's words")
    user, company, origin = (object_in(note, name) for name in ("user", "company", "source"))
    tags = note.get("tags")
    body = {
        "text": text or title,
        "title": title,
        "solicited": False,
        "customer": present(
            {
                "id": id_of(user.get("externalId")) or id_of(user.get("external_id")) or id_of(user.get("id")),
                "email": text_of(user.get("email")) or text_of(note.get("customer_email")),
                "name": text_of(user.get("name")),
                "account_id": id_of(company.get("id")),
            }
        ),
        "occurred_at": iso_time(note.get("createdAt")),
        "url": text_of(note.get("displayUrl")) or text_of(object_in(note, "links").get("html")),
        "attributes": present(
            {
                "note_id": which,
                "origin": text_of(origin.get("origin")),
                "record_id": id_of(origin.get("record_id")) or id_of(origin.get("recordId")),
                "tags": [tag for tag in map(_name, tags if isinstance(tags, list) else []) if tag],
            }
        ),
    }
    return [Draft(f"note/{which}/{digest_of(text or title or '')}", present(body))]


def _of_customers(parts: Sequence[Any]) -> str | None:
    said = [
        plain_text(part.get("content"))
        for part in parts
        if isinstance(part, dict) and str(part.get("authorType")).lower() not in _STAFF
    ]
    return "\n\n".join(words for words in said if words) or None


def _feature(feature: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    which, status = id_of(feature.get("id")), object_in(feature, "status")
    if not which:
        raise Unreadable("a feature without its id")
    name = text_of(status.get("name")) or ""
    declined = name.lower() in (words_in(source.options.get("declined", [])) or ())
    if not declined and status.get("completed") is not True:
        return Ignored(f"neither shipped nor declined: {name or 'no status'}")
    body = {
        "work_id": which,
        "title": text_of(feature.get("name")),
        "url": text_of(object_in(feature, "links").get("html")),
        "occurred_at": iso_time(feature.get("updatedAt")),
        "attributes": present({"status": name}),
    }
    # The status names it, and not the time: a feature is changed for many reasons after it is done.
    status_id = id_of(status.get("id")) or digest_of(name)
    return [Draft(f"feature/{which}/{status_id}", present(body), WORK_DECLINED if declined else WORK_SHIPPED)]


def _name(tag: Any) -> str | None:
    return text_of(tag.get("name")) if isinstance(tag, dict) else text_of(tag)
