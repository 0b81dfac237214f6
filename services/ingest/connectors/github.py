"""GitHub: issues, discussions and comments on them; an issue that is closed is work that was shipped or declined.

What an event is, is read from its body, which is signed, and not from `X-GitHub-Event`, which is not. The issue, the
discussion and each comment are an utterance, named by GitHub's own number of it; `X-GitHub-Delivery` names a sending.
Bots, edits, comments on pull requests and what maintainers answer are ignored; who opened an issue speaks as its
reporter, whoever they are. Titles are what was said where nothing else was.

Closed as completed is `work.shipped`, as not planned `work.declined`, unless it was a bot that swept it away; closed as
a duplicate is neither. `work_id` is GitHub's own name for it, `acme/app#12`; what is said on an issue carries it in
`attributes.work_id`, so that who asked can be told. Each closing is a delivery: an issue may be reopened, and shipped.

`options: {feedback: false}` for the repositories where the company keeps its own work: only closing counts. Signature:
`X-Hub-Signature-256`, `sha256=` and the hex of HMAC-SHA256 over the body; the older SHA-1 is never looked at.
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
from services.ingest.connectors._fields import id_of, object_in, objects_in, present, text_of, unknown_options
from services.ingest.sources import Source
from shared.events.envelope import WORK_DECLINED, WORK_SHIPPED

NAME = "github"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_MAINTAINERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
_EDIT = "an edit: what was first said stands"


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "feedback")
    if not isinstance(source.options.get("feedback", True), bool):
        issues.append("options: feedback must be true or false")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-hub-signature-256")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = _payload(request)
    if "zen" in payload and "hook_id" in payload:
        return Ignored("a ping")
    action = text_of(payload.get("action")) or ""
    issue, discussion = object_in(payload, "issue"), object_in(payload, "discussion")
    comment = object_in(payload, "comment")
    if issue and not comment and action == "closed":
        return _closed(payload, issue)
    if source.options.get("feedback", True) is False:
        return Ignored("not feedback: options say that these are our own")
    if comment and (issue or discussion):
        return _commented(action, payload, comment, issue, discussion)
    if discussion:
        return _started(action, payload, discussion)
    if issue:
        return _opened(action, payload, issue)
    event = request.header("x-github-event") or "an event without an issue or a discussion"
    return Ignored(f"not feedback: {event} {action}".rstrip())


def _payload(request: WebhookRequest) -> Mapping[str, Any]:
    """JSON, or JSON as the one field of a form: GitHub lets people choose, and proposes the form."""
    if request.content_type != "application/x-www-form-urlencoded":
        return request.object
    field = dict(request.form).get("payload", "")
    return WebhookRequest(request.method, request.url, request.headers, field.encode()).object


# ── what people say ──────────────────────────────────────────────────────────────────────────────


def _opened(action: str, payload: Mapping[str, Any], issue: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    if action == "edited":
        return Ignored(_EDIT)
    if action != "opened":
        return Ignored(f"not feedback: an issue was {action}")
    if _is_bot(issue):
        return Ignored("a bot's issue")
    return _draft("issue", issue, payload, issue)


def _started(action: str, payload: Mapping[str, Any], discussion: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    if action == "edited":
        return Ignored(_EDIT)
    if action != "created":
        return Ignored(f"not feedback: a discussion was {action}")
    if _is_bot(discussion):
        return Ignored("a bot's discussion")
    if object_in(discussion, "category").get("slug") == "announcements":
        return Ignored("an announcement: its words are ours")
    return _draft("discussion", discussion, payload, discussion)


def _commented(
    action: str,
    payload: Mapping[str, Any],
    comment: Mapping[str, Any],
    issue: Mapping[str, Any],
    discussion: Mapping[str, Any],
) -> Sequence[Draft] | Ignored:
    subject = issue or discussion
    if action == "edited":
        return Ignored(_EDIT)
    if action != "created":
        return Ignored(f"not feedback: a comment was {action}")
    if "pull_request" in issue:
        return Ignored("a comment on a pull request")
    if _is_bot(comment):
        return Ignored("a bot's comment")
    if text_of(comment.get("author_association")) in _MAINTAINERS and _login(comment) != _login(subject):
        return Ignored("a maintainer's comment")
    return _draft("issue-comment" if issue else "discussion-comment", comment, payload, subject)


def _draft(
    kind: str, said: Mapping[str, Any], payload: Mapping[str, Any], subject: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    """An utterance on an issue or a discussion, which may be that itself."""
    title = text_of(subject.get("title"))
    text = _visible(said.get("body")) or (title if said is subject else None)
    if not text:
        return Ignored("nothing was said")
    which = id_of(said.get("id"))
    if not which:
        raise Unreadable("an utterance without an id")
    is_issue = kind.startswith("issue")
    attributes = _where(payload, subject, "issue" if is_issue else "discussion") | {
        "work_id": _work_id(payload, subject) if is_issue else None,
        "category": text_of(object_in(subject, "category").get("slug")),
        "author_association": text_of(said.get("author_association")),
        "in_reply_to": id_of(said.get("parent_id")),
    }
    body = {
        "text": text,
        "title": title,
        "channel": "community",
        "solicited": False,
        "customer": present({"id": _author(said), "name": _login(said)}),
        "url": text_of(said.get("html_url")),
        "occurred_at": text_of(said.get("created_at")),
        "attributes": present(attributes),
    }
    return [Draft(f"{kind}/{which}", present(body))]


def _author(said: Mapping[str, Any]) -> str | None:
    """By GitHub's number of them: people change their names."""
    return id_of(object_in(said, "user").get("id")) or _login(said)


def _login(said: Mapping[str, Any]) -> str | None:
    return text_of(object_in(said, "user").get("login"))


def _is_bot(said: Mapping[str, Any]) -> bool:
    return _is_machine(object_in(said, "user"))


def _is_machine(user: Mapping[str, Any]) -> bool:
    return user.get("type") == "Bot" or str(user.get("login") or "").endswith("[bot]")


def _visible(markdown: Any) -> str | None:
    """Without the comments that templates are full of: their reader does not see them, and nobody said them."""
    text, shown, at = text_of(markdown) or "", [], 0
    while (begin := text.find("<!--", at)) >= 0 and (end := text.find("-->", begin)) >= 0:
        shown.append(text[at:begin])
        at = end + len("-->")
    return text_of("".join([*shown, text[at:]]).replace("\r\n", "\n"))


# ── finished work ────────────────────────────────────────────────────────────────────────────────


def _closed(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """Before there were reasons, and where none is given, closed is done."""
    reason = text_of(issue.get("state_reason"))
    if reason == "duplicate":
        return Ignored("closed as a duplicate: the work is another issue's")
    declined = reason == "not_planned"
    if declined and _is_machine(object_in(payload, "sender")):
        return Ignored("a bot closed it as not planned: nobody declined it")
    work_id, which = _work_id(payload, issue), id_of(issue.get("id"))
    if not work_id or not which:
        raise Unreadable("a closed issue without its repository, number and id")
    when = text_of(issue.get("closed_at")) or text_of(issue.get("updated_at"))
    attributes = _where(payload, issue, "issue") | {
        "state_reason": reason,
        "milestone": text_of(object_in(issue, "milestone").get("title")),
    }
    body = {
        "work_id": work_id,
        "title": text_of(issue.get("title")),
        "url": text_of(issue.get("html_url")),
        "occurred_at": when,
        "attributes": present(attributes),
    }
    kind = WORK_DECLINED if declined else WORK_SHIPPED
    return [Draft(f"closed/{which}/{when or ''}", present(body), kind)]


def _where(payload: Mapping[str, Any], subject: Mapping[str, Any], kind: str) -> dict[str, Any]:
    labels = [text_of(label.get("name")) for label in objects_in(subject, "labels")]
    return {
        "repository": text_of(object_in(payload, "repository").get("full_name")),
        kind: subject.get("number"),
        "labels": [label for label in labels if label],
    }


def _work_id(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> str | None:
    repository, number = text_of(object_in(payload, "repository").get("full_name")), id_of(issue.get("number"))
    return f"{repository}#{number}" if repository and number else None
