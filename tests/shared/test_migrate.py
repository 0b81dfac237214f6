"""The schema: from nothing, by several at once, and nothing where there is nothing to do."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from shared.database import migrate
from shared.errors import Misuse, Transient


async def test_four_processes_that_start_at_once_on_an_empty_database_migrate_it_once(empty_database_url: str) -> None:
    found = await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(4)))
    assert [now for _, now in found] == [migrate.head()] * 4
    assert sorted(before or "" for before, _ in found) == ["", *[migrate.head()] * 3]
    assert await migrate.upgrade(empty_database_url) == (migrate.head(), migrate.head())


async def test_a_database_that_is_newer_than_this_release_is_left_alone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(Misuse, match="at version 9999, which this release does not know: install the newer"):
            await migrate.upgrade(database_url)
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    finally:
        await connection.close()


async def test_whoever_only_reads_changes_nothing(empty_database_url: str, database_url: str) -> None:
    with pytest.raises(
        Misuse, match=r"the database is empty, and this release works with version .*`flywheel db migrate`"
    ):
        await migrate.require(empty_database_url)
    await migrate.require(database_url)
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'") == 0
    finally:
        await connection.close()
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
        with pytest.raises(Misuse, match="at version 0001"):
            await migrate.require(database_url)
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0001"
    finally:
        await connection.close()


async def test_a_database_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="cannot be reached"):
        await migrate.upgrade(f"postgresql://postgres@/flywheel?host={tmp_path}")


def test_the_newest_version_is_the_one_that_alembic_finds() -> None:
    """`head` goes by the names of the files, which is quicker than to load Alembic and them."""
    config = Config()
    config.set_main_option("script_location", str(migrate.DEPLOY / "migrations"))
    history = ScriptDirectory.from_config(config)
    assert history.get_heads() == [migrate.head()]
    assert all(Path(script.path).name.startswith(f"{script.revision}_") for script in history.walk_revisions())


def test_a_start_loads_nothing_that_only_a_first_start_or_another_verb_needs() -> None:
    """Each of these takes from a tenth of a second to one, of the five that a second start may take."""
    program = (
        "import sys; from services.cli import verbs; from services import all; all._services(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"services.closer.app", "services.router.app", "services.console.app"} <= set(loaded)
    assert not {"alembic", "mako", "httpx2", "holidays"} & set(loaded)
