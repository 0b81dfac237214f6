"""The schema, brought to the newest version: one history for all services in `deploy/migrations`.

Every process asks for it as it starts; an advisory lock lets one of them do the work. A role without the
right to change the schema is fine as long as somebody ran `flywheel db migrate` before. Alembic is loaded only when
there is something to do: that takes longer than to see that there is nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.database import is_transient, sqlalchemy_url
from shared.errors import Misuse, Transient

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ADVISORY_LOCK = 0x464C5957  # "FLYW"
T = TypeVar("T")


def head() -> str:
    """The newest version that this code knows. A file of `versions` begins with its own version, and they are in order."""
    return max(file.name.partition("_")[0] for file in (DEPLOY / "migrations" / "versions").glob("*.py"))


async def upgrade(url: str) -> tuple[str | None, str]:
    """(version before, version now). Raises `Transient` when the database is away, `Misuse` when it is newer than we are."""
    return await _asked(url, _upgrade)


async def require(url: str) -> None:
    """That the schema is the one that this code knows; nothing is changed. Raises `Transient` and `Misuse`."""
    found = await _asked(url, _current)
    if found != head():
        at = f"at version {found}" if found is not None else "empty"
        raise Misuse(
            f"the database is {at}, and this release works with version {head()}: reading changes nothing there."
            " `flywheel db migrate` brings an older one up to date; for a newer one, install the newer release"
        )


async def _asked(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"timeout": 5})
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    except Exception as error:
        if is_transient(error):
            raise Transient(f"the database cannot be reached: {error}") from error
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    wanted = head()
    before = _current(connection)
    if before == wanted:
        return before, wanted
    connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
    connection.commit()
    try:
        before = _current(connection)
        _run_migrations(connection, before)
        connection.commit()
        return before, wanted
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
        connection.commit()


def _current(connection: Connection) -> str | None:
    """What Alembic's own table says; None in a database that has none yet."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _run_migrations(connection: Connection, before: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(DEPLOY / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise Misuse(
            f"the database is at version {before}, which this release does not know: install the newer release"
        )
    command.upgrade(config, "head")
