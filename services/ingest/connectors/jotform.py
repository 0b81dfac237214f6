"""Jotform: a submission of a form.

It posts a multipart form whose field `rawRequest` is JSON of the answers by the number and the name of their
questions (`q3_howWas`), or the same as JSON where somebody between wrote it so. Questions themselves are not sent; a
question is named in `options: {fields: {q5_howLikely: nps, "7": text}}` by its key, its number, or its name. Words
are the customer's, lists are choices, numbers are told; a name's parts and an e-mail address say who answers;
telephone numbers and addresses are left out. Hidden fields with the names of our own are taken as these. See
`_answers`.

A submission that its sender edits is a new utterance where what it says has changed. Jotform tells no time. It signs
nothing (zulip's integration and others read it so): see docs/connect/jotform.md.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, no_challenge, plain_reply
from services.ingest.connectors._answers import Answers, check_answers
from services.ingest.connectors._fields import id_of, signs_nothing, text_of
from services.ingest.sources import Source

NAME = "jotform"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_QUESTION = re.compile(r"q([0-9]{1,6})_([A-Za-z0-9_]{1,200})\Z")
_OURS = frozenset(
    {"customer_id", "user_id", "userid", "uid", "account_id", "company_id", "touchpoint", "lifecycle_stage"}
    | {"plan", "tier"}
)
_ADDRESS = frozenset({"addr_line1", "addr_line2", "city", "state", "postal", "country"})
_PHONE = frozenset({"area", "phone", "full", "country"})
_NAME_PARTS = ("prefix", "first", "middle", "last", "suffix")


def check(source: Source) -> Sequence[str]:
    return check_answers(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    sent = request.object if request.content_type == "application/json" else dict(request.form)
    which, raw = id_of(sent.get("submissionID")), _raw(sent)
    if not which:
        raise Unreadable("a submission without its id")
    answers, hidden = Answers(source), {}
    for key, value in raw.items():
        question = _QUESTION.match(key)
        if question is None:
            continue
        number, name = question.groups()
        if name.lower() in _OURS:
            hidden[name] = value
        else:
            answers.take(_plain(value), [key, number, name], _spaced(name), _role(name, value))
    if not answers.text and not answers.scores:
        return Ignored("a submission without answers")
    beside = answers.take_beside(hidden)
    body = answers.body(
        {},
        {"form_id": id_of(sent.get("formID")), "submission_id": which, "hidden": beside},
        title=text_of(sent.get("formTitle")),
    )
    return [Draft(f"submission/{which}/{answers.digest}", body)]


def _raw(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    raw = sent.get("rawRequest")
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raise Unreadable("rawRequest is not JSON") from None
    if not isinstance(raw, dict):
        raise Unreadable("a submission without its rawRequest")
    return raw


def _role(name: str, value: Any) -> str | None:
    if isinstance(value, dict):
        keys = frozenset(value)
        if keys & {"first", "last"}:
            return "name"
        if keys and (keys <= _ADDRESS or keys <= _PHONE):
            return "leave_out"
        return "answer"
    if name.lower() in {"phone", "phonenumber"}:
        return "leave_out"
    return "name" if name.lower() in {"name", "fullname", "yourname"} else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and frozenset(value) & {"first", "last"}:
        return " ".join(part for part in (text_of(value.get(name)) for name in _NAME_PARTS) if part)
    return value


def _spaced(name: str) -> str:
    """`howWasIt` is how Jotform names a question after its words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
