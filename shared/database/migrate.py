"""The schema, brought to the newest version: one history for all services in `deploy/migrations`.

Every process asks for it as it starts; an advisory lock lets one of them do the work. A role without the
right to change the schema is fine as long as somebody ran `flywheel db migrate` before.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.database import is_transient, sqlalchemy_url
from shared.errors import Misuse, Transient

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ADVISORY_LOCK = 0x464C5957  # "FLYW"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(DEPLOY / "migrations"))
    return config


def head() -> str:
    """The newest version that this code knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


async def upgrade(url: str) -> tuple[str | None, str]:
    """(version before, version now). Raises `Transient` when the database is away, `Misuse` when it is newer than we are."""
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"timeout": 5})
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_upgrade)
    except Exception as error:
        if is_transient(error):
            raise Transient(f"the database cannot be reached: {error}") from error
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    wanted = head()
    before = MigrationContext.configure(connection).get_current_revision()
    if before == wanted:
        return before, wanted
    connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
    connection.commit()
    try:
        before = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
        if before is not None and before not in known:
            raise Misuse(
                f"the database is at version {before}, which this release does not know: install the newer release"
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        return before, wanted
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
        connection.commit()
