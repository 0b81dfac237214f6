"""How people come in: one-time links, the sessions that they begin, and what belongs to a person beside.

A session begins with a link: `flywheel up` prints one, `flywheel login` makes one. Links and sessions are 256 random bits,
of which the database knows the SHA-256 only, as it does of keys.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.database import Database
from shared.people import Person, Role

LINK_LASTS = timedelta(hours=24)
SESSION_LASTS = timedelta(days=14)


class Session(NamedTuple):
    workspace: str
    person: str
    role: Role | None
    """Given with the link; None: what teams.yaml says."""


class Sessions:
    """Log-in links and the sessions that they begin."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def link(self, workspace: str, person: str, role: Role | None, lasts: timedelta = LINK_LASTS) -> str:
        """A token that begins one session."""
        token, now = secrets.token_urlsafe(32), self._clock.now()
        async with self._database.transaction() as connection:
            await _execute(
                connection,
                "INSERT INTO shared.login (digest, workspace, person, role, created_at, expires_at)"
                " VALUES (:digest, :workspace, :person, :role, :now, :until)",
                digest=_digest(token),
                workspace=workspace,
                person=person,
                role=role,
                now=now,
                until=now + lasts,
            )
            await _execute(connection, "DELETE FROM shared.login WHERE expires_at < :then", then=now - SESSION_LASTS)
        return token

    async def begin(self, link: str) -> tuple[str, Session] | None:
        """(the session's token, whose it is); None: no such link, or it was used, or is too old."""
        token, now = secrets.token_urlsafe(32), self._clock.now()
        async with self._database.transaction() as connection:
            used = await _execute(
                connection,
                "UPDATE shared.login SET used_at = :now WHERE digest = :digest AND used_at IS NULL AND expires_at > :now"
                " RETURNING workspace, person, role",
                digest=_digest(link),
                now=now,
            )
            row = used.first()
            if row is None:
                return None
            await _execute(
                connection,
                "INSERT INTO shared.session (digest, workspace, person, role, created_at, expires_at)"
                " VALUES (:digest, :workspace, :person, :role, :now, :until)",
                digest=_digest(token),
                workspace=row.workspace,
                person=row.person,
                role=row.role,
                now=now,
                until=now + SESSION_LASTS,
            )
            await _execute(connection, "DELETE FROM shared.session WHERE expires_at < :now", now=now)
        return token, Session(row.workspace, row.person, row.role)

    async def find(self, token: str) -> Session | None:
        async with self._database.transaction() as connection:
            found = await _execute(
                connection,
                "SELECT workspace, person, role FROM shared.session"
                " WHERE digest = :digest AND ended_at IS NULL AND expires_at > :now",
                digest=_digest(token),
                now=self._clock.now(),
            )
            row = found.first()
        return Session(row.workspace, row.person, row.role) if row is not None else None

    async def end(self, token: str) -> None:
        async with self._database.transaction() as connection:
            await _execute(
                connection,
                "UPDATE shared.session SET ended_at = :now WHERE digest = :digest AND ended_at IS NULL",
                digest=_digest(token),
                now=self._clock.now(),
            )


# ── what people did, beside what stands on the cases' own timelines ──


_RECORD = """
INSERT INTO shared.audit (workspace, at, person, role, action, object, detail)
VALUES (:workspace, :at, :person, :role, :action, :object, :detail)
"""


Action = Literal[
    "signed-in",
    "signed-out",
    "import.uploaded",
    "import.started",
    "import.stopped",
    "import.finished",
    "import.removed",
    "exported",
    "dead-letter.downloaded",
    "dead-letter.redriven",
    "dead-letter.not-redriven",
    "customer.erased",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""All that the trail holds. Each has its words, and can be filtered by (`services/console/pages/audit.py`)."""


class Audit:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(self, workspace: str, person: Person, action: Action, what: str = "", detail: str = "") -> None:
        """`what`: the id of what it was done to."""
        await self.record_all(workspace, person, action, [(what, detail)])

    async def record_all(self, workspace: str, person: Person, action: Action, done: Sequence[tuple[str, str]]) -> None:
        """The same to several things: (what, detail) of each."""
        who = {"workspace": workspace, "at": self._clock.now(), "person": person.email, "role": person.role}
        rows = [{**who, "action": action, "object": what, "detail": detail} for what, detail in done]
        async with self._database.transaction() as connection:
            await connection.execute(text(_RECORD), rows)


class SavedView(NamedTuple):
    name: str
    query: str


class SavedViews:
    """A person's own filters of the queue, by name."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of(self, workspace: str, person: str) -> list[SavedView]:
        async with self._database.transaction() as connection:
            rows = await _execute(
                connection,
                "SELECT name, query FROM shared.saved_view WHERE workspace = :workspace AND person = :person"
                " ORDER BY created_at, name",
                workspace=workspace,
                person=person,
            )
            return [SavedView(row.name, row.query) for row in rows]

    async def save(self, workspace: str, person: str, view: SavedView) -> None:
        async with self._database.transaction() as connection:
            await _execute(
                connection,
                "INSERT INTO shared.saved_view (workspace, person, name, query, created_at)"
                " VALUES (:workspace, :person, :name, :query, :now)"
                " ON CONFLICT (workspace, person, name) DO UPDATE SET query = excluded.query",
                workspace=workspace,
                person=person,
                name=view.name,
                query=view.query,
                now=self._clock.now(),
            )

    async def drop(self, workspace: str, person: str, name: str) -> None:
        async with self._database.transaction() as connection:
            await _execute(
                connection,
                "DELETE FROM shared.saved_view WHERE workspace = :workspace AND person = :person AND name = :name",
                workspace=workspace,
                person=person,
                name=name,
            )


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


async def _execute(connection: AsyncConnection, statement: str, **values: Any) -> Any:
    return await connection.execute(text(statement), values)
