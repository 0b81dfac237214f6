"""Linear: customers' requests, and issues that were completed or canceled.

A customer request (`CustomerNeed`) is what a customer of the company said, whoever entered it: its words are feedback
of that customer, and name the issue in `attributes.work_id`; a request whose words were changed is a new utterance.
Linear's customers are companies, so they stand in `customer.account_id`, by the company's own id of them where Linear
knows one.

An issue whose state becomes a completed one is `work.shipped`, a canceled one `work.declined`, unless it is called a
duplicate. `work_id` is the issue's own name, `ENG-12`. Each is a delivery: an issue may be reopened, and completed.
An issue that gets another team is `work.moved`, under each of the names that it had before (`previousIdentifiers`), since
that is what its requests say; the team is known by its name and its key.

Signature, from Linear's SDK (packages/sdk/src/webhooks): the hex of HMAC-SHA256 over the body, in `Linear-Signature`;
the time of sending stands in the body, `webhookTimestamp`, and must be near. Shapes are from the SDK's generated
types.
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
    moved,
    object_in,
    objects_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import WORK_DECLINED, WORK_SHIPPED

NAME = "linear"
SIGNS = True

answer = no_challenge
reply = plain_reply

_MILLISECONDS_MAX = 253_402_300_800_000
_KINDS = {"completed": WORK_SHIPPED, "canceled": WORK_DECLINED}
_ENDED = {"completed": "completedAt", "canceled": "canceledAt"}


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        stamp = request.object.get("webhookTimestamp")
    except Unreadable:
        stamp = None
    sent = None
    if isinstance(stamp, int | float) and not isinstance(stamp, bool) and 0 < stamp < _MILLISECONDS_MAX:
        sent = datetime.fromtimestamp(stamp / 1000, UTC)
    check_mac(
        [secret.encode() for secret in source.secrets],
        request.body,
        [hex_bytes(request.header("linear-signature"))],
        fresh=within_tolerance(sent, now),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind, action, data = text_of(payload.get("type")), text_of(payload.get("action")), object_in(payload, "data")
    if kind is None:
        raise Unreadable("a webhook without its type")
    if kind == "CustomerNeed" and action in {"create", "update"}:
        return _asked(payload, data, changed=action == "update")
    if kind == "Issue" and action in {"create", "update"}:
        return _moved(payload, data)
    return Ignored(f"not feedback: {kind} {action or ''}".rstrip())


def _asked(payload: Mapping[str, Any], need: Mapping[str, Any], *, changed: bool) -> Sequence[Draft] | Ignored:
    if changed and "body" not in object_in(payload, "updatedFrom"):
        return Ignored("a request whose words were not changed")
    text = text_of(need.get("body"))
    if not text:
        return Ignored("a request without words")
    which = id_of(need.get("id"))
    if not which:
        raise Unreadable("a request without its id")
    customer, issue = object_in(need, "customer"), object_in(need, "issue")
    theirs = customer.get("externalIds")
    own = next(filter(None, map(id_of, theirs if isinstance(theirs, list) else [])), None)
    body = {
        "text": text,
        "title": text_of(issue.get("title")),
        "solicited": False,
        "customer": present(
            {
                "account_id": own or id_of(customer.get("id")) or id_of(need.get("customerId")),
                "name": text_of(customer.get("name")),
            }
        ),
        "occurred_at": iso_time(need.get("updatedAt" if changed else "createdAt")),
        "url": text_of(object_in(need, "attachment").get("url")) or text_of(issue.get("url")),
        "attributes": present(
            {
                "work_id": text_of(issue.get("identifier")),
                "need_id": which,
                "priority": need.get("priority"),
                "project": text_of(object_in(need, "project").get("name")),
            }
        ),
    }
    return [Draft(f"need/{which}/{digest_of(text)}", present(body))]


def _moved(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    state = object_in(issue, "state")
    kind, name = text_of(state.get("type")), text_of(state.get("name")) or ""
    if "teamId" in object_in(payload, "updatedFrom") and kind not in _KINDS:
        return _regrouped(payload, issue)
    if payload.get("action") == "update" and "stateId" not in object_in(payload, "updatedFrom"):
        return Ignored("an update that leaves the state as it was")
    if kind not in _KINDS:
        return Ignored(f"neither completed nor canceled: {name or kind}")
    if kind == "canceled" and "duplicate" in name.lower():
        return Ignored("canceled as a duplicate: the work is another issue's")
    names, which = _identifiers(issue), id_of(issue.get("id"))
    if not names or not which:
        raise Unreadable("an issue without its identifier and id")
    when = iso_time(issue.get(_ENDED[kind])) or iso_time(issue.get("updatedAt"))
    body = {
        "title": text_of(issue.get("title")),
        "url": text_of(payload.get("url")) or text_of(issue.get("url")),
        "occurred_at": when,
        "attributes": present(
            {
                "state": name,
                "team": text_of(object_in(issue, "team").get("key")),
                "project": text_of(object_in(issue, "project").get("name")),
                "labels": [label for one in objects_in(issue, "labels") if (label := text_of(one.get("name")))],
            }
        ),
    }
    delivery, known = f"{kind}/{which}/{when or ''}", present(body)
    return [
        Draft(f"{delivery}/{name}" if before else delivery, {"work_id": name} | known, _KINDS[kind])
        for before, name in enumerate(names)
    ]


def _regrouped(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> Sequence[Draft]:
    """A team has states of its own: with the team the state is another as a rule, and neither completed nor canceled here."""
    team, at = object_in(issue, "team"), iso_time(issue.get("updatedAt"))
    name, key, works = text_of(team.get("name")), text_of(team.get("key")), _identifiers(issue)
    if not (name or key) or not works:
        raise Unreadable("an issue without its team and identifier")
    url = text_of(payload.get("url")) or text_of(issue.get("url"))
    return [one for work in works for one in moved(f"{key}/{at}", work, team=name, team_id=key, at=at, url=url)]


def _identifiers(issue: Mapping[str, Any]) -> list[str]:
    """What it is called, and what it was called in the teams that had it before: whoever waits for it may know it by those."""
    before = issue.get("previousIdentifiers")
    names = [_identifier(issue), *map(text_of, before if isinstance(before, list) else [])]
    return list(dict.fromkeys(name for name in names if name))


def _identifier(issue: Mapping[str, Any]) -> str | None:
    """`ENG-12`; older webhooks tell its two halves."""
    team, number = text_of(object_in(issue, "team").get("key")), id_of(issue.get("number"))
    return text_of(issue.get("identifier")) or (f"{team}-{number}" if team and number else None)
