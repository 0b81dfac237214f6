"""What tests stand on: a real Postgres, a database of their own each, and the corpus where there is one.

One embedded server runs for the whole session, with the settings that users get (fsync on). The migrations run
once, into a template; every test that asks for `database_url` gets a copy of it, dropped afterwards by force, so a
test that leaves connections open harms no other.
"""

import asyncio
import itertools
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import asyncpg
import pytest
import structlog

from shared.database import migrate
from shared.database.embedded import EmbeddedPostgres
from tests.brokers import kafka_bootstrap, own_kafka, three_brokers  # noqa: F401
from tests.browser import browser  # noqa: F401

# A painted traceback with every local in it takes fifteen seconds for a web request, and says less.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# What a shell starts in the background ignores Ctrl-C, and so would everything that tests start and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# xdist gives its workers the width of a terminal that nobody has; what tests start would print for that.
os.environ.pop("COLUMNS", None)

REPOSITORY = Path(__file__).resolve().parents[1]
FAULT_ROW = "fault-row"
"""The property of a test in which it says what it counted; see `tests/faults/conftest.py`."""

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that ran within a test has pointed all logs to that test's output, which is closed when it is over."""
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**structured)
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the faults' tests counted, a line each. Here, because of several workers only their controller has the reports."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    said = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == FAULT_ROW]
    if said:
        terminalreporter.section("faults")
    for line in sorted(set(map(str, said))):
        terminalreporter.line(line)


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


@pytest.fixture(scope="session")
def new_database(
    postgres_server: EmbeddedPostgres, migrated_template: str
) -> Callable[[], AbstractContextManager[str]]:
    """Makes fresh databases with our schema, for fixtures that live longer than a test."""
    return lambda: contextmanager(_fresh_database)(postgres_server, migrated_template)


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
