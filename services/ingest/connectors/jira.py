"""Jira: an issue that is resolved is work that was shipped or declined; customers of a service desk are heard.

A resolution that is set is `work.shipped`, unless its name says that it was declined (*Won't Do*, *Won't Fix*,
*Declined*, *Rejected*) or says neither (*Duplicate*, *Cannot Reproduce*, *Incomplete*, *Invalid* …). Names are what
an administrator made them: `options: {declined: ["不做"], neither: ["重复"]}` name others. `work_id` is the issue's key,
`ACME-12`. Each resolving is a delivery: an issue may be reopened, and resolved anew.

Jira Cloud tells of each account whether it is a customer's (`accountType: customer`). Requests that one of them
reported, and their comments, are feedback, and carry `attributes.work_id`; all other words are colleagues', and
ignored, as are comments on Jira Server and Data Center, which do not tell.

Signature: `X-Hub-Signature`, `sha256=` and the hex of HMAC-SHA256 over the body, as Atlassian's docs say for webhooks
that an administrator gave a secret; checked against their published example. Data Center has the same where it has
secrets.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    objects_in,
    present,
    text_of,
    time_of_ms,
    unknown_options,
    words_in,
)
from services.ingest.sources import Source
from shared.events.envelope import WORK_DECLINED, WORK_SHIPPED

NAME = "jira"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_DECLINED = frozenset({"won't do", "won't fix", "wont do", "wont fix", "declined", "rejected"})
_NEITHER = frozenset(
    {"duplicate", "cannot reproduce", "incomplete", "invalid", "known error", "canceled", "cancelled", "not a bug"}
)
_NODES_MAX = 10_000


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "declined", "neither")
    for name in ("declined", "neither"):
        if words_in(source.options.get(name, [])) is None:
            issues.append(f"options: {name} must be a list of resolutions, by their names")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-hub-signature")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event, issue = text_of(payload.get("webhookEvent")), object_in(payload, "issue")
    comment = object_in(payload, "comment")
    if event is None:
        raise Unreadable("a webhook without its event")
    items = objects_in(object_in(payload, "changelog"), "items")
    resolved = event == "jira:issue_updated" and any(item.get("field") == "resolution" for item in items)
    if not resolved and comment and event in {"comment_created", "jira:issue_updated"}:
        return _commented(payload, comment, issue)
    if event == "jira:issue_created":
        return _reported(issue)
    if event == "jira:issue_updated":
        return _updated(payload, issue, source)
    return Ignored(f"not feedback: {event}")


# ── finished work ────────────────────────────────────────────────────────────────────────────────


def _updated(payload: Mapping[str, Any], issue: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    items = objects_in(object_in(payload, "changelog"), "items")
    change = next((item for item in items if item.get("field") == "resolution"), None)
    if change is None:
        return Ignored("an update that resolves nothing")
    fields = object_in(issue, "fields")
    resolution = text_of(change.get("toString")) or text_of(object_in(fields, "resolution").get("name"))
    if not (resolution and change.get("to")):
        return Ignored("reopened")
    name = resolution.lower().replace("\u2019", "'")
    declined = name in {*_DECLINED, *(words_in(source.options.get("declined", [])) or ())}
    if not declined and name in {*_NEITHER, *(words_in(source.options.get("neither", [])) or ())}:
        return Ignored(f"neither shipped nor declined: {resolution}")
    key, which = text_of(issue.get("key")), id_of(issue.get("id"))
    if not key or not which:
        raise Unreadable("a resolved issue without its key and id")
    when = iso_time(fields.get("resolutiondate")) or time_of_ms(payload.get("timestamp"))
    body = {
        "work_id": key,
        "title": text_of(fields.get("summary")),
        "url": _link(issue, key),
        "occurred_at": when,
        "attributes": _where(fields) | {"resolution": resolution},
    }
    return [Draft(f"resolved/{which}/{when or ''}", present(body), WORK_DECLINED if declined else WORK_SHIPPED)]


# ── what customers say ───────────────────────────────────────────────────────────────────────────


def _reported(issue: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    fields = object_in(issue, "fields")
    reporter = object_in(fields, "reporter")
    if not _is_customer(reporter):
        return Ignored("a colleague's issue")
    text = _words(fields.get("description")) or text_of(fields.get("summary"))
    return _draft("issue", issue.get("id"), text, reporter, fields.get("created"), issue)


def _commented(
    payload: Mapping[str, Any], comment: Mapping[str, Any], issue: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    author = object_in(comment, "author")
    if comment.get("jsdPublic") is False:
        return Ignored("an internal comment")
    if not _is_customer(author):
        return Ignored("a colleague's comment")
    if payload.get("issue_event_type_name") in ("issue_comment_edited", "issue_comment_deleted"):
        return Ignored("an edit: what was first said stands")
    return _draft("comment", comment.get("id"), _words(comment.get("body")), author, comment.get("created"), issue)


def _draft(
    kind: str, number: Any, text: str | None, who: Mapping[str, Any], when: Any, issue: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    if not text:
        return Ignored("nothing was said")
    which, key, fields = id_of(number), text_of(issue.get("key")), object_in(issue, "fields")
    if not which:
        raise Unreadable("an issue or a comment without its id")
    body = {
        "text": text,
        "title": text_of(fields.get("summary")),
        "channel": "ticket",
        "solicited": False,
        "customer": present(
            {
                "id": id_of(who.get("accountId")),
                "email": text_of(who.get("emailAddress")),
                "name": text_of(who.get("displayName")),
            }
        ),
        "occurred_at": iso_time(when),
        "url": _link(issue, key),
        "attributes": _where(fields) | present({"work_id": key}),
    }
    return [Draft(f"{kind}/{which}", present(body))]


def _is_customer(who: Mapping[str, Any]) -> bool:
    return text_of(who.get("accountType")) == "customer"


def _words(value: Any) -> str | None:
    """Wiki text, or Atlassian's document format, of which the words are what stands in its `text` nodes."""
    if not isinstance(value, dict):
        return text_of(value)
    return text_of("".join(_pieces(value)))


def _pieces(document: Mapping[str, Any]) -> Iterator[str]:
    stack: list[Any] = [document]
    for _ in range(_NODES_MAX):
        if not stack:
            return
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            if isinstance(node.get("text"), str):
                yield node["text"]
            if node.get("type") in ("paragraph", "heading", "listItem", "hardBreak", "codeBlock"):
                stack.append("\n")
            content = node.get("content")
            stack.extend(reversed(content) if isinstance(content, list) else ())


def _where(fields: Mapping[str, Any]) -> dict[str, Any]:
    labels = fields.get("labels")
    return present(
        {
            "project": text_of(object_in(fields, "project").get("key")),
            "issue_type": text_of(object_in(fields, "issuetype").get("name")),
            "priority": text_of(object_in(fields, "priority").get("name")),
            "labels": [label for label in (labels if isinstance(labels, list) else []) if isinstance(label, str)],
            "fix_versions": [name for one in objects_in(fields, "fixVersions") if (name := text_of(one.get("name")))],
        }
    )


def _link(issue: Mapping[str, Any], key: str | None) -> str | None:
    base, found, _ = (text_of(issue.get("self")) or "").partition("/rest/api/")
    return f"{base}/browse/{key}" if found and key and base.startswith(("https://", "http://")) else None
