"""What an export holds, as data: each column once, with its name, where it comes from, and what an import takes it for.

The columns of feedback are called by the members of `POST /v1/feedback`, so that an export is a file that can be
imported again; what the router decided is decided anew there. Pure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shared.events.feedback import METRIC_RANGES


class Out(NamedTuple):
    """A column. `path`: from a row to its value, member by member."""

    name: str
    path: tuple[str, ...]
    member: str | None = None
    """What an import takes it for; None: nothing, it is ours to say."""


def _said(name: str) -> Out:
    return Out(name, ("body", *name.split(".")), name)


def _ours(name: str, *path: str) -> Out:
    return Out(name, path or (name,))


FEEDBACK: tuple[Out, ...] = (
    Out("id", ("id",), "external_id"),  # who had no id of their own are known by ours
    _ours("received_at"),
    Out("occurred_at", ("occurred_at",), "occurred_at"),
    *map(_said, ("source", "external_id", "channel", "title", "text", "language")),
    *(Out(f"score.{metric}", ("score", metric), f"score.{metric}") for metric in METRIC_RANGES),
    Out("scores", ("other_scores",), "scores"),
    *map(
        _said,
        (
            "customer.id",
            "customer.email",
            "customer.name",
            "customer.locale",
            "customer.account_id",
            "customer.role",
            "customer.tier",
            "customer.preferred_channel",
            "solicited",
            "touchpoint",
            "lifecycle_stage",
            "url",
            "attributes",
        ),
    ),
    *map(_ours, ("team", "tags", "kind", "sentiment_label", "sentiment_score", "priority")),
    _ours("detected_language", "language"),
    *map(_ours, ("confidence", "decided_by", "rule", "ruleset_version", "history", "case_id")),
)
"""`scores` holds what has no column of its own."""

CASES: tuple[Out, ...] = tuple(
    map(
        _ours,
        (
            "id",
            "state",
            "team",
            "assignee",
            "priority",
            "theme",
            "tier",
            "language",
            "customer",
            "title",
            "text",
            "answer",
            "opened_at",
            "due_at",
            "breached",
            "acknowledged_at",
            "resolved_at",
            "told_at",
            "first_told_at",
            "confirmed_at",
            "assumed_at",
            "updated_at",
            "reopened_count",
            "untold",
            "merged_into",
            "linked_to",
            "policy",
            "history",
            "first_feedback_id",
            "version",
        ),
    )
)
"""`title` and `text`: what the customer said first."""

COLUMNS: Mapping[str, tuple[Out, ...]] = {"feedback": FEEDBACK, "cases": CASES}
BY_NAME: Mapping[str, Out] = {column.name: column for column in FEEDBACK}
_SIGNS = frozenset(column.name for column in FEEDBACK if column.member is None)


def is_export(names: frozenset[str]) -> bool:
    """Whether a file with these columns is an export of feedback: nobody else calls so many of them so."""
    return len(_SIGNS & names) >= len(_SIGNS) - 2 and "id" in names


def cell(column: Out, row: Mapping[str, Any]) -> Any:
    """A row's value for a table: text, a number, a time, yes or no, or nothing. Lists of words are joined, other
    structures are JSON."""
    value: Any = row
    if column.path[0] == "score":
        value = _score(row, column.path[1])
    elif column.path == ("other_scores",):
        value = _other_scores(row)
    else:
        for member in column.path:
            value = value.get(member) if isinstance(value, Mapping) else None
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    if isinstance(value, Mapping | list):
        return msgspec.json.encode(value).decode() if value else None
    if value is None or isinstance(value, str | bool | int | float | datetime):
        return value
    return str(value)


def _score(row: Mapping[str, Any], metric: str) -> Any:
    """The first of that metric."""
    return next((score["value"] for score in row["body"].get("scores") or () if score["metric"] == metric), None)


def _other_scores(row: Mapping[str, Any]) -> list[Any]:
    shown: set[str] = set()
    rest = []
    for score in row["body"].get("scores") or ():
        if score["metric"] in METRIC_RANGES and score["metric"] not in shown:
            shown.add(score["metric"])
        else:
            rest.append(score)
    return rest


# ── cells that a spreadsheet program would obey ──

_OBEYED = re.compile("'*[=+\\-@\t\r＝＋－＠]")


def neutral(text: str) -> str:
    """With an apostrophe before what would be a formula: a stranger wrote it."""
    return "'" + text if _OBEYED.match(text) else text


def restored(text: str) -> str:
    """What `neutral` was given."""
    return text[1:] if text[:1] == "'" and _OBEYED.match(text, 1) else text
