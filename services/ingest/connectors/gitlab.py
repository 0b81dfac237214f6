"""GitLab: issues and what is written on them; an issue that is closed is work that was shipped or declined.

An issue and each note on one is an utterance, named by GitLab's own number of it. Notes on merge requests, commits
and snippets, internal and system notes, edits, and bots (`project_7_bot`) are ignored. GitLab does not tell who is a
member, so `options: {staff: [ada, grace]}` names those whose words are no customer's; who opened an issue speaks as
its reporter.

Closing is `work.shipped`; closed with a label that `options: {declined: [wontfix]}` names (as it stands: `wontfix`,
`won't fix`, `declined`) is `work.declined`; moved away, or closed as a duplicate, is neither. `work_id` is GitLab's
own name for it, `acme/app#12`; what is said on an issue carries it in `attributes.work_id`. Each closing is a
delivery: an issue may be reopened, and shipped. `options: {feedback: false}` for projects where the company keeps its
own work: only closing counts.

Signature: with a signing token (`whsec_…`, GitLab 19) Standard Webhooks. Before that there is `X-Gitlab-Token`, a
secret sent as it is: for it a source says `verify: header`, `header: X-Gitlab-Token`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply, standard
from services.ingest.connectors._fields import (
    id_of,
    object_in,
    objects_in,
    present,
    ruby_time,
    text_of,
    unknown_options,
    words_in,
)
from services.ingest.sources import Source
from shared.events.envelope import WORK_DECLINED, WORK_SHIPPED

NAME = "gitlab"
SIGNS = True
SECRET_HEADERS = frozenset({"x-gitlab-token"})

answer = no_challenge
reply = plain_reply
verify = standard.verify

_BOT = re.compile(r"((project|group)_[0-9]+_bot|ghost\Z|alert-bot|migration-bot|security-bot)")
_DECLINED = ("wontfix", "won't fix", "declined")
_DUPLICATE = "duplicate"


def check(source: Source) -> Sequence[str]:
    issues = [
        f"{issue}, a signing token of GitLab; for a secret token say verify: header and header: X-Gitlab-Token"
        for issue in standard.check(source)
    ]
    issues += unknown_options(source, "feedback", "staff", "declined")
    if not isinstance(source.options.get("feedback", True), bool):
        issues.append("options: feedback must be true or false")
    for name, what in (("staff", "user names"), ("declined", "labels")):
        if words_in(source.options.get(name, [])) is None:
            issues.append(f"options: {name} must be a list of {what}")
    return issues


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = text_of(payload.get("object_kind")) or text_of(payload.get("event_name"))
    said = object_in(payload, "object_attributes")
    if kind is None:
        raise Unreadable("an event without its kind")
    if kind in {"issue", "work_item"} and text_of(said.get("action")) == "close":
        return _closed(payload, said, source)
    if source.options.get("feedback", True) is False:
        return Ignored("not feedback: options say that these are our own")
    if kind in {"issue", "work_item"}:
        return _opened(payload, said, source)
    if kind == "note":
        return _noted(payload, said, source)
    return Ignored(f"not feedback: {kind}")


# ── what people say ──────────────────────────────────────────────────────────────────────────────


def _opened(payload: Mapping[str, Any], issue: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    action = text_of(issue.get("action")) or "nothing known"
    if action != "open":
        return Ignored("an edit: what was first said stands" if action == "update" else f"not feedback: {action}")
    if _is_ours(payload, source):
        return Ignored("a colleague's or a bot's issue")
    title = text_of(issue.get("title"))
    return _draft("issue", issue, text_of(issue.get("description")) or title, title, payload, issue)


def _noted(payload: Mapping[str, Any], note: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    on, issue = text_of(note.get("noteable_type")), object_in(payload, "issue")
    if on != "Issue":
        return Ignored(f"a note on what is no issue: {on}")
    if note.get("system") is True or note.get("internal") is True or note.get("confidential") is True:
        return Ignored("an internal note, or the system's")
    if text_of(note.get("action")) not in {None, "create"}:
        return Ignored("an edit: what was first said stands")
    reporter = id_of(note.get("author_id")) is not None and id_of(note.get("author_id")) == id_of(
        issue.get("author_id")
    )
    if _is_ours(payload, source) and not reporter:
        return Ignored("a colleague's or a bot's note")
    return _draft("note", note, text_of(note.get("note")), text_of(issue.get("title")), payload, issue)


def _draft(
    kind: str,
    said: Mapping[str, Any],
    text: str | None,
    title: str | None,
    payload: Mapping[str, Any],
    issue: Mapping[str, Any],
) -> Sequence[Draft] | Ignored:
    if not text:
        return Ignored("nothing was said")
    which = id_of(said.get("id"))
    if not which:
        raise Unreadable("an issue or a note without its id")
    user = object_in(payload, "user")
    email = text_of(user.get("email"))
    body = {
        "text": text,
        "title": title,
        "channel": "community",
        "solicited": False,
        "customer": present(
            {
                "id": id_of(user.get("id")) or id_of(said.get("author_id")) or text_of(user.get("username")),
                "name": text_of(user.get("name")) or text_of(user.get("username")),
                # GitLab writes [REDACTED] for those who show none.
                "email": email if email and "@" in email else None,
            }
        ),
        "occurred_at": ruby_time(said.get("created_at")),
        "url": text_of(said.get("url")),
        "attributes": present({**_where(payload, issue), "work_id": _work_id(payload, issue)}),
    }
    return [Draft(f"{kind}/{which}", present(body))]


def _is_ours(payload: Mapping[str, Any], source: Source) -> bool:
    name = (text_of(object_in(payload, "user").get("username")) or "").lower()
    return _BOT.match(name) is not None or name in (words_in(source.options.get("staff", [])) or ())


# ── finished work ────────────────────────────────────────────────────────────────────────────────


def _closed(payload: Mapping[str, Any], issue: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    labels = {label.lower() for label in _labels(payload, issue)}
    if id_of(issue.get("duplicated_to_id")) or id_of(issue.get("moved_to_id")) or _DUPLICATE in labels:
        return Ignored("closed as a duplicate, or moved: the work is another issue's")
    work_id, which = _work_id(payload, issue), id_of(issue.get("id"))
    if not work_id or not which:
        raise Unreadable("a closed issue without its project, number and id")
    declined = not labels.isdisjoint(words_in(source.options.get("declined", _DECLINED)) or ())
    when = ruby_time(issue.get("closed_at")) or ruby_time(issue.get("updated_at"))
    body = {
        "work_id": work_id,
        "title": text_of(issue.get("title")),
        "url": text_of(issue.get("url")),
        "occurred_at": when,
        "attributes": present(_where(payload, issue)),
    }
    return [Draft(f"closed/{which}/{when or ''}", present(body), WORK_DECLINED if declined else WORK_SHIPPED)]


def _where(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "project": text_of(object_in(payload, "project").get("path_with_namespace")),
        "issue": issue.get("iid"),
        "labels": _labels(payload, issue),
    }


def _labels(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> list[str]:
    labels = [text_of(label.get("title")) for label in objects_in(issue, "labels") or objects_in(payload, "labels")]
    return [label for label in labels if label]


def _work_id(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> str | None:
    project, number = text_of(object_in(payload, "project").get("path_with_namespace")), id_of(issue.get("iid"))
    return f"{project}#{number}" if project and number else None
