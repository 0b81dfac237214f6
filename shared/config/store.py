"""The version in force: a content hash in Postgres, so that every process uses the same one.

A process that may lead (it holds the router, whose check is the deepest) offers its folder's files whenever they
change: checked whole, then the topics of every team made, then put in force. Every process follows what is in force.
Each time that a version comes into force is kept, with who did it and why, as far as that is said.

Rules that were taken back stay so although they still stand in the folder: their hash is kept beside the version in force, and
a folder with that routing.yaml goes on with the rules in force until somebody writes others.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from shared.config import NO_VARIABLES, RULES, Config, config_of
from shared.database import Database
from shared.database.tables import config_history, config_in_force, config_version
from shared.topics import DEFAULT_WORKSPACE


class InForce(NamedTuple):
    version: str
    taken_back: frozenset[str]
    """`rules_hash` of rules that are not to come back from a folder that has not changed."""


class Turn(NamedTuple):
    """A version came into force."""

    version: str
    since: datetime
    author: str | None
    reason: str | None
    rolled_back_to: str | None
    """The version whose rules it took up again."""


def rules_hash(files: Mapping[str, str]) -> str:
    return sha256(files[RULES].encode()).hexdigest()[:12]


class ConfigStore:
    def __init__(self, database: Database, workspace: str = DEFAULT_WORKSPACE) -> None:
        self._database = database
        self._workspace = workspace

    async def version_in_force(self) -> str | None:
        found = await self.in_force()
        return found.version if found is not None else None

    async def in_force(self) -> InForce | None:
        async with self._database.transaction() as connection:
            query = select(config_in_force.c.version, config_in_force.c.taken_back).where(
                config_in_force.c.workspace == self._workspace
            )
            row = (await connection.execute(query)).one_or_none()
            return InForce(row.version, frozenset(row.taken_back)) if row is not None else None

    async def files(self, version: str) -> Mapping[str, str] | None:
        """As they were written; None where there never was such a version."""
        async with self._database.transaction() as connection:
            query = select(config_version.c.files).where(config_version.c.version == version)
            found: Mapping[str, str] | None = (await connection.execute(query)).scalar_one_or_none()
            return found

    async def load(self, version: str, env: Mapping[str, str] = NO_VARIABLES) -> Config:
        files = await self.files(version)
        assert files is not None, "a version in force is kept"
        return await asyncio.to_thread(config_of, files, env)

    async def put_in_force(
        self,
        config: Config,
        *,
        author: str | None = None,
        reason: str | None = None,
        rolled_back_to: str | None = None,
        taken_back: Collection[str] = (),
    ) -> None:
        """Where nobody is named, by whom `change:` of routing.yaml names."""
        said = change_of(config)
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(config_version)
                .values(version=config.version, files=dict(config.files), created_at=func.clock_timestamp())
                .on_conflict_do_nothing()
            )
            values: dict[str, Any] = {"version": config.version, "since": func.clock_timestamp()}
            at = {**values, "taken_back": sorted(taken_back)}
            row = insert(config_in_force).values(workspace=self._workspace, **at)
            await connection.execute(row.on_conflict_do_update(index_elements=["workspace"], set_=at))
            await connection.execute(
                insert(config_history).values(
                    workspace=self._workspace,
                    author=author or said.by,
                    reason=reason or said.why,
                    rolled_back_to=rolled_back_to,
                    **values,
                )
            )

    async def history(self, limit: int) -> list[Turn]:
        """The newest first."""
        columns = (getattr(config_history.c, name) for name in Turn._fields)
        query = select(*columns).where(config_history.c.workspace == self._workspace)
        async with self._database.transaction() as connection:
            rows = await connection.execute(query.order_by(config_history.c.id.desc()).limit(limit))
            return [Turn(*row) for row in rows]


class Change(NamedTuple):
    """What whoever wrote the rules says of it."""

    by: str | None
    why: str | None


def change_of(config: Config) -> Change:
    """`change: {by: …, why: …}` of routing.yaml, which the router has read and vouches for."""
    data = config.written[RULES].data
    said = data.get("change") if isinstance(data, dict) else None
    return Change(said.get("by"), said.get("why")) if isinstance(said, dict) else Change(None, None)
