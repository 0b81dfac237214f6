"""Cases as JSON: pages of them, and one with its timeline; and what was sent to customers. Read from the published views,
like everybody else."""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, get_args

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.closer.records import MERGES_FOLLOWED, is_uuid
from shared.database import Database
from shared.events.case import State, legal_verbs
from shared.events.envelope import rfc3339
from shared.events.notification import NotificationStatus
from shared.links import Links
from shared.search import question
from shared.web.problems import Problem, malformed, not_found

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_Q_CHARS = 200
CURSOR = "cases-cursor"
STATES: frozenset[str] = frozenset(get_args(State))
NOTIFICATIONS_CURSOR = "notifications-cursor"
STATUSES = get_args(NotificationStatus)

_COLUMNS = (
    "id, customer, team, theme, state, assignee, rota, priority, tier, language, policy, opened_at, updated_at,"
    " acknowledged_at, resolved_at, told_at, confirmed_at, assumed_at, reopened_count, answer, untold, merged_into,"
    " linked_to, history, breached, due_at, first_feedback_id, version, account_id, held_until, held_because"
)


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The filters of a list; a cursor is good for these only."""

    team: str | None = None
    states: tuple[str, ...] = ()
    assignee: str | None = None
    customer: str | None = None
    breached: bool | None = None
    held: bool | None = None
    q: str | None = None

    @classmethod
    def read(
        cls,
        team: str | None,
        state: str | None,
        assignee: str | None,
        customer: str | None,
        breached: str | None,
        held: str | None,
        q: str | None,
    ) -> "Wanted":
        """Raises 400."""
        states = tuple(sorted(set(state.split(",")))) if state else ()
        if any(one not in STATES for one in states):
            raise malformed(f"state: the states are {', '.join(sorted(STATES))}")
        if q is not None and len(q) > MAX_Q_CHARS:
            raise malformed(f"q: at most {MAX_Q_CHARS} characters")
        return cls(
            team, states, assignee, customer, _yes_or_no("breached", breached), _yes_or_no("held", held), q or None
        )

    @property
    def digest(self) -> str:
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]


def _yes_or_no(name: str, given: str | None) -> bool | None:
    if given not in (None, "true", "false"):
        raise malformed(f"{name}: true or false")
    return None if given is None else given == "true"


def read_limit(limit: str | None) -> int:
    if limit is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,6}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise malformed(f"limit: a number from 1 to {MAX_LIMIT}")
    return int(limit)


_Q = """
id IN (SELECT case_id FROM published.search WHERE workspace = :workspace AND words @@ CAST(:q AS tsquery))
"""


async def page(
    database: Database, links: Links, workspace: str, wanted: Wanted, cursor: str | None, limit: int
) -> dict[str, Any]:
    where, values = ["workspace = :workspace"], dict[str, Any](workspace=workspace, limit=limit + 1)
    for column, value in (("team", wanted.team), ("assignee", wanted.assignee), ("customer", wanted.customer)):
        if value is not None:
            where.append(f"{column} = :{column}")
            values[column] = value
    if wanted.states:
        where.append("state = ANY(:states)")
        values["states"] = list(wanted.states)
    if wanted.breached is not None:
        where.append("breached" if wanted.breached else "NOT breached")
    if wanted.held is not None:
        where.append(f"held_because IS {'NOT' if wanted.held else ''} NULL")
    if wanted.q is not None:
        where.append(_Q)
        values["q"] = question(wanted.q) or ""
    if cursor is not None:
        where.append("id < CAST(:after AS uuid)")
        values["after"] = _after(links, cursor, wanted)
    statement = f"SELECT {_COLUMNS} FROM published.cases WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT :limit"  # noqa: S608
    async with database.transaction() as connection:
        rows = (await connection.execute(text(statement), values)).mappings().all()
    items = [plain(row) for row in rows[:limit]]
    more = len(rows) > limit
    next_cursor = links.sign(CURSOR, f"{wanted.digest}/{items[-1]['id']}") if more else None
    return {"items": items, "next_cursor": next_cursor}


def _after(links: Links, cursor: str, wanted: Wanted) -> str:
    payload = links.read(CURSOR, cursor, None)
    digest, _, after = (payload or "").partition("/")
    if digest != wanted.digest or not is_uuid(after):
        raise foreign_cursor()
    return after


async def whole(database: Database, workspace: str, case_id: str) -> dict[str, Any]:
    """Raises 404."""
    if not is_uuid(case_id):
        raise not_found("no case has this id")
    values: dict[str, Any] = {"workspace": workspace, "id": case_id}
    async with database.transaction() as connection:

        async def rows(statement: str) -> list[dict[str, Any]]:
            return [plain(row) for row in (await connection.execute(text(statement), values)).mappings()]

        found = await rows(f"SELECT {_COLUMNS} FROM published.cases WHERE id = :id AND workspace = :workspace")  # noqa: S608
        if not found:
            raise not_found("no case has this id")
        case = found[0]
        case["clocks"] = await rows(
            "SELECT target, generation, business_due, wall_due, met_at, business_met, wall_met, business_breached_at,"
            " wall_breached_at, warned_at, open FROM published.clocks WHERE case_id = :id AND workspace = :workspace"
            " ORDER BY generation, target"
        )
        case["timeline"] = await rows(
            "SELECT sequence, at, what, state, actor, reason, data, words FROM published.timeline"
            " WHERE case_id = :id AND workspace = :workspace ORDER BY sequence"
        )
        case["notifications"] = await rows(
            "SELECT id, kind, channel, language, status, reason, created_at, sent_at, attempts"
            " FROM published.notifications WHERE case_id = :id AND workspace = :workspace ORDER BY created_at, kind"
        )
        values["said"] = await _said(connection, workspace, case)
        case["feedback"] = await rows(
            "SELECT id, received_at, source, title, text, language, scores, kind, priority, tags"
            " FROM published.feedback WHERE workspace = :workspace AND id = ANY(CAST(:said AS uuid[])) ORDER BY received_at"
        )
    case["verbs"] = list(legal_verbs(case["state"]))
    return case


async def _said(connection: AsyncConnection, workspace: str, case: Mapping[str, Any]) -> list[str]:
    """The feedback of the case and of all that were merged into it, as their timelines name it."""
    said: list[str] = []
    timeline, seen = [one["data"] for one in case["timeline"]], {str(case["id"])}
    for _ in range(MERGES_FOLLOWED + 1):
        fresh = [data["feedback_id"] for data in timeline if "feedback_id" in data]
        said += fresh
        # Which case it came from, or else the case that the feedback belongs to.
        values = {
            "workspace": workspace,
            "fresh": fresh,
            "named": [data["from"] for data in timeline if "feedback_id" in data and "from" in data],
            "seen": list(seen),
        }
        merged = [str(row["id"]) for row in (await connection.execute(text(_MERGED), values)).mappings()]
        if not merged:
            break
        seen.update(merged)
        values = {"workspace": workspace, "merged": merged}
        timeline = [row["data"] for row in (await connection.execute(text(_TIMELINES), values)).mappings()]
    return said


_MERGED = """
SELECT id FROM published.cases
WHERE workspace = :workspace AND merged_into = ANY(CAST(:seen AS uuid[])) AND NOT id = ANY(CAST(:seen AS uuid[]))
  AND id IN (
    SELECT unnest(CAST(:named AS uuid[])) UNION
    SELECT case_id FROM published.feedback WHERE workspace = :workspace AND id = ANY(CAST(:fresh AS uuid[])))
"""
_TIMELINES = """
SELECT data FROM published.timeline WHERE workspace = :workspace AND case_id = ANY(CAST(:merged AS uuid[]))
ORDER BY case_id, sequence
"""


# ── what was sent to customers ──


def read_status(status: str | None) -> str | None:
    """Raises 400."""
    if status is not None and status not in STATUSES:
        raise malformed(f"status: one of {', '.join(STATUSES)}")
    return status


async def notifications(
    database: Database, links: Links, workspace: str, status: str | None, cursor: str | None, limit: int
) -> dict[str, Any]:
    """In the order of their primary key, the newest cases first, so that a page costs a page however many there are."""
    where, values = ["workspace = :workspace"], dict[str, Any](workspace=workspace, limit=limit + 1)
    if status is not None:
        # One of ours, and written out: an index for one status is of no use to a parameter.
        where.append(f"status = '{STATUSES[STATUSES.index(status)]}'")
    if cursor is not None:
        where.append("(case_id, kind, generation) < (CAST(:case_id AS uuid), :kind, CAST(:generation AS integer))")
        values |= _after_notification(links, cursor, status)
    statement = (
        "SELECT id, case_id, kind, generation, channel, status, reason, created_at, attempts"  # noqa: S608
        f" FROM published.notifications WHERE {' AND '.join(where)}"
        " ORDER BY case_id DESC, kind DESC, generation DESC LIMIT :limit"
    )
    async with database.transaction() as connection:
        rows = (await connection.execute(text(statement), values)).mappings().all()
    items = [plain(row) for row in rows[:limit]]
    last = items[-1] if len(rows) > limit else None
    key = f"{status or ''}/{last['case_id']}/{last['kind']}/{last['generation']}" if last is not None else None
    return {"items": items, "next_cursor": links.sign(NOTIFICATIONS_CURSOR, key) if key is not None else None}


def _after_notification(links: Links, cursor: str, status: str | None) -> dict[str, Any]:
    parts = (links.read(NOTIFICATIONS_CURSOR, cursor, None) or "").split("/")
    if len(parts) != 4 or parts[0] != (status or ""):
        raise foreign_cursor()
    return {"case_id": parts[1], "kind": parts[2], "generation": int(parts[3])}


def foreign_cursor() -> Problem:
    return malformed("cursor: take it from `next_cursor` of the page before, with the same filters")


def plain(row: Any) -> dict[str, Any]:
    """As JSON: times as we write them, ids as text."""
    return {
        name: rfc3339(value) if isinstance(value, datetime) else str(value) if type(value).__name__ == "UUID" else value
        for name, value in row.items()
    }
