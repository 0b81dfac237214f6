"""The life of a process: a start that waits, and says so; an end that is asked for, and one that nobody asked for."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from services.closer.app import build as closer
from services.console.app import build
from services.ingest.app import build as ingest
from services.router.app import build as router
from shared import patience, tasks
from shared.errors import Transient
from shared.log import postgres as postgres_log
from shared.runtime import Process, Runtime, Service, serve
from shared.settings import Settings, read_settings
from tests.brokers import free_port
from tests.forwarding import Forwarding, forwarding

WAIT_S = 30.0
PASSING = {"Event.wait", "fetch", "LifespanOn.main", "_deadline.<locals>.watch"}
"""Waiting dies of nothing, a read has somebody who waits for it, and uvicorn looks after its own."""
EVERY_SERVICE = [ingest, router, closer, build]


def settings_of(data_dir: Path, database_url: str, **env: str) -> Settings:
    return read_settings({"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s", **env}, data_dir=data_dir)


class Start:
    """A console alone, being started."""

    def __init__(self, settings: Settings, *builds: Any) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self.port = free_port()
        self.task = asyncio.create_task(
            serve(
                settings,
                list(builds) or [build],
                name="console",
                host="127.0.0.1",
                port=self.port,
                started=self._tell,
                tell=self.said.put_nowait,
            )
        )

    async def _tell(self, process: Process) -> None:
        self.started.set_result(process)

    async def up(self) -> Process:
        either: set[asyncio.Future[Any]] = {self.task, self.started}
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()
        return self.started.result()

    async def heard(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return await self.said.get()


async def test_a_start_says_what_it_waits_for_and_goes_on_when_it_comes(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    away = Forwarding(database_url, port)
    start = Start(settings_of(tmp_path, away.url))
    said = await start.heard()
    assert said.startswith("Waiting")
    assert f"DATABASE_URL names 127.0.0.1:{port}" in said
    assert "hidden" not in said
    async with forwarding(database_url, port):
        process = await start.up()
        process.runtime.stopping.set()
        async with asyncio.timeout(WAIT_S):
            await start.task
    assert start.said.empty(), "and says it once"


async def test_it_is_said_again_and_ends_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "START_SAY_S", 0.0)
    monkeypatch.setattr(patience, "START_PATIENCE_S", 1.0)
    start = Start(settings_of(tmp_path, "postgresql://u:hidden@127.0.0.1:1/x"))
    with pytest.raises(Transient, match=r"DATABASE_URL names 127\.0\.0\.1:1.*flywheel doctor") as caught:
        async with asyncio.timeout(WAIT_S):
            await start.task
    assert "hidden" not in str(caught.value)
    assert start.said.qsize() >= 1


async def test_kafka_that_is_away_is_named(database_url: str, tmp_path: Path) -> None:
    start = Start(settings_of(tmp_path, database_url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"))
    assert "KAFKA_BOOTSTRAP_SERVERS names 127.0.0.1:1" in await start.heard()
    start.task.cancel()
    await asyncio.gather(start.task, return_exceptions=True)


SERVERS: list[tuple[str, str]] = [
    ("postgresql://u:p@db.example:5433/x", "db.example:5433"),
    ("postgresql://db/x", "db"),
    ("postgresql://u:p@/x?host=/run/pg", "/run/pg"),
    ("postgresql:///x", "this machine"),
]


@pytest.mark.parametrize(("url", "server"), SERVERS)
def test_an_address_is_told_without_its_password(url: str, server: str) -> None:
    assert patience.server_of(url) == server


# ── an end that nobody asked for ──


async def test_a_background_task_that_dies_takes_the_process_with_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention that has stopped is found when the disk is full: the process ends instead, and says why."""
    monkeypatch.setattr(postgres_log, "TRIM_EVERY_S", 0.05)
    start = Start(settings_of(tmp_path, database_url))
    await start.up()
    before = _count("log-trim")
    await _sql(database_url, "ALTER TABLE log.topic RENAME TO gone")
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(ExceptionGroup) as caught:
            await start.task
    assert "flywheel db migrate" in str(_cause(caught.value)), "what it died of"
    assert _count("log-trim") == before + 1


async def test_a_service_that_ends_by_itself_takes_the_process_with_it(database_url: str, tmp_path: Path) -> None:
    async def build_one_that_stops(runtime: Runtime) -> Service:
        service = await build(runtime)

        async def run() -> None:
            return

        service.run = run  # type: ignore[method-assign]
        return service

    start = Start(settings_of(tmp_path, database_url), build_one_that_stops)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(ExceptionGroup) as caught:
            await start.task
    assert "console has ended by itself" in str(_cause(caught.value))


async def test_whatever_runs_for_ever_is_held_by_the_process(database_url: str, tmp_path: Path) -> None:
    """A new task that is begun with `asyncio.create_task`, and could die unnoticed, is found here."""
    before = asyncio.all_tasks()
    start = Start(settings_of(tmp_path, database_url), *EVERY_SERVICE)
    process = await start.up()
    held = {"watch", "config", "clock", "web", *(service.name for service in process.services)}
    held |= {"closer-handler", "closer-timers", "closer-deliver", "closer-relay", "closer-gauges"}  # one TaskGroup
    held |= {"ingest-watch", "ingest-ping"}
    begun = {"log-listen", "log-trim", "log-member", "auth-listen"}

    def astray() -> set[str]:
        """What nobody holds; and what has not begun yet, for a group is joined after the start."""
        others = {
            _name(task)
            for task in asyncio.all_tasks() - before - tasks.kept() - {start.task}
            if task.get_name() not in held and _name(task) not in PASSING
        }
        return others | (begun - {task.get_name() for task in tasks.kept()})

    deadline = asyncio.get_running_loop().time() + WAIT_S
    while (left := astray()) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
    assert left == set()
    process.runtime.stopping.set()
    async with asyncio.timeout(WAIT_S):
        await start.task
    assert not tasks.kept()


def _name(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))


def _count(task: str) -> float:
    return REGISTRY.get_sample_value("flywheel_background_tasks_died_total", {"task": task}) or 0.0


def _cause(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
