"""What tests stand on: a real Postgres, a database of their own each, and the corpus where there is one.

One embedded server runs for the whole session, with the settings that users get (fsync on). The migrations run
once, into a template; every test that asks for `database_url` gets a copy of it, dropped afterwards by force, so a
test that leaves connections open harms no other.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shared.database import migrate
from shared.database.embedded import EmbeddedPostgres
from tests.brokers import kafka_bootstrap, own_kafka  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[1]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One server for the session. Whoever restarts or kills a server starts one of his own."""
    directory = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres.start(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with every migration applied."""
    _run(postgres_server, "CREATE DATABASE migrated")
    asyncio.run(migrate.upgrade(_url(postgres_server, "migrated")))
    return "migrated"


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A fresh database with our schema."""
    yield from _fresh_database(postgres_server, migrated_template)


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh database with nothing in it."""
    yield from _fresh_database(postgres_server, "template0")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real feedback and real webhooks, which are no part of the project: FLYWHEEL_CORPUS, or beside the checkout."""
    place = Path(os.environ.get("FLYWHEEL_CORPUS") or REPOSITORY.parent / "shared" / "corpus")
    if not (place / "text").is_dir():
        pytest.skip(f"there is no corpus at {place}: set FLYWHEEL_CORPUS to run on real input")
    return place


def _fresh_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url(server, name)
    _run(server, f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: EmbeddedPostgres, database: str) -> str:
    return f"postgresql://postgres@/{database}?host={server.socket_dir}"


def _run(server: EmbeddedPostgres, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(server.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
