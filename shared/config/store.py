"""The version in force: a content hash in Postgres, so that every process uses the same one.

A process that may lead (it holds the router, whose check is the deepest) offers its folder's files whenever they
change: checked whole, then the topics of every team made, then put in force. Every process follows what is in force.
"""

import asyncio
from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from shared.config import NO_VARIABLES, Config, config_of
from shared.database import Database
from shared.database.tables import config_in_force, config_version
from shared.topics import DEFAULT_WORKSPACE


class ConfigStore:
    def __init__(self, database: Database, workspace: str = DEFAULT_WORKSPACE) -> None:
        self._database = database
        self._workspace = workspace

    async def version_in_force(self) -> str | None:
        async with self._database.transaction() as connection:
            query = select(config_in_force.c.version).where(config_in_force.c.workspace == self._workspace)
            found: str | None = (await connection.execute(query)).scalar_one_or_none()
            return found

    async def load(self, version: str, env: Mapping[str, str] = NO_VARIABLES) -> Config:
        async with self._database.transaction() as connection:
            query = select(config_version.c.files).where(config_version.c.version == version)
            files: Mapping[str, str] = (await connection.execute(query)).scalar_one()
        return await asyncio.to_thread(config_of, files, env)

    async def put_in_force(self, config: Config) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(config_version)
                .values(version=config.version, files=dict(config.files), created_at=func.clock_timestamp())
                .on_conflict_do_nothing()
            )
            row = insert(config_in_force).values(
                workspace=self._workspace, version=config.version, since=func.clock_timestamp()
            )
            await connection.execute(
                row.on_conflict_do_update(
                    index_elements=["workspace"], set_={"version": config.version, "since": func.clock_timestamp()}
                )
            )
