"""The life of a process: a start that waits, and says so; a configuration that is taken up whole or refused whole; an end
that is asked for, and one that nobody asked for."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import REGISTRY

from services.closer.app import build as closer
from services.console.app import build
from services.ingest.app import build as ingest
from services.router.app import build as router
from shared import patience, tasks
from shared.config import FILES, STARTER, ConfigError
from shared.config.store import ConfigStore
from shared.database import Database
from shared.errors import Transient
from shared.log import postgres as postgres_log
from shared.log.kafka import KafkaSettings
from shared.log.kafka.producer import KafkaProducer
from shared.runtime import Process, Runtime, Service, serve
from shared.settings import Settings, read_settings
from tests.brokers import free_port
from tests.deployment import Deployment
from tests.editing import edit
from tests.forwarding import Forwarding, forwarding

WAIT_S = 30.0
MANY_RULES = 600
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
    assert [start.said.get_nowait() for _ in range(start.said.qsize())] == [], "it says it once"


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


# ── a configuration, whichever services run here ──

BAD: list[tuple[str, str, str, str]] = [
    ("sla.yaml", "acknowledge: 8h", "acknowledge: soonish", "sla.yaml:15:21: .*'soonish' is not a duration"),
    ("sources.yaml", "sources: []", "sources: [{name: z, connector: zendek, verify: none}]", "sources.yaml:23:21: .*no con"),
    ("sources.yaml", "sources: []", "sources: [{name: z, connector: standard, secrets: [x]}]", "sources.yaml:23:11: .*whsec"),
    ("routing.yaml", "then: [{assign: product}, {tag: [feature-request]}, {prioritise: normal}]", "then: [{assign: produkt}]", 'routing.yaml:.*"product"'),
    ("teams.yaml", "default_team: support", "default_team: nobody", "teams.yaml:.*not among the teams"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    for name in FILES:
        (made / name).write_bytes((STARTER / name).read_bytes())
    return made


async def in_force(database_url: str) -> str | None:
    database = Database(database_url)
    try:
        return await ConfigStore(database).version_in_force()
    finally:
        await database.close()


@pytest.mark.parametrize("service", EVERY_SERVICE, ids=["ingest", "router", "closer", "console"])
async def test_the_first_to_start_puts_nothing_in_force_that_another_would_refuse(
    database_url: str, folder: Path, tmp_path: Path, service: Any
) -> None:
    settings = read_settings(
        {"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s"}, data_dir=tmp_path, config_dir=folder
    )
    for file, before, after, says in BAD:
        edit(folder, file, before, after)
        with pytest.raises(ConfigError, match=says):
            await Start(settings, service).up()
        edit(folder, file, after, before)
    assert await in_force(database_url) is None


async def test_run_apart_what_one_would_refuse_goes_into_force_for_none(
    database_url: str, folder: Path, tmp_path: Path
) -> None:
    settings = read_settings(
        {"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s"}, data_dir=tmp_path, config_dir=folder
    )
    starts = [Start(settings, service) for service in EVERY_SERVICE]
    processes = [await start.up() for start in starts]
    leading = processes[1]
    old = await in_force(database_url)
    for file, before, after, says in BAD:
        said: asyncio.Queue[str] = asyncio.Queue()
        leading.tell = said.put_nowait
        edit(folder, file, before, after)
        async with asyncio.timeout(WAIT_S):
            refusal = await said.get()
        assert "the one before stays in force" in refusal
        assert re.search(says, refusal), refusal
        assert await in_force(database_url) == old
        assert {process.config and process.config.version for process in processes} == {old}
        edit(folder, file, after, before)
    edit(folder, "sla.yaml", "acknowledge: 8h", "acknowledge: 5h")
    async with asyncio.timeout(WAIT_S):
        while {process.config and process.config.version for process in processes} == {old}:
            await asyncio.sleep(0.05)
    for process, start in zip(processes, starts, strict=True):
        process.runtime.stopping.set()
        async with asyncio.timeout(WAIT_S):
            await start.task


async def test_what_only_another_process_can_fill_in_is_left_to_that_one(
    database_url: str, folder: Path, tmp_path: Path
) -> None:
    """The closer's variable is not set for the router: neither refuses for it, and the closer says what it holds."""
    edit(folder, "sla.yaml", "acknowledge: 8h", 'acknowledge: "${SOON}"')

    def settings(**env: str) -> Settings:
        known = {"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s", **env}
        return read_settings(known, data_dir=tmp_path, config_dir=folder)

    leading = Start(settings(), router)
    process = await leading.up()
    assert await in_force(database_url) is not None
    for env, says in (({}, "SOON is not set"), ({"SOON": "soonish"}, "not a duration")):
        with pytest.raises(ConfigError, match=f"sla.yaml:15:.*{says}"):
            await Start(settings(**env), closer).up()
    following = Start(settings(SOON="5h"), closer)
    (await following.up()).runtime.stopping.set()
    process.runtime.stopping.set()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(leading.task, following.task)


async def test_a_large_configuration_is_taken_up_beside_the_work_and_compiled_once(
    database_url: str, folder: Path, tmp_path: Path
) -> None:
    settings = read_settings(
        {"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s"}, data_dir=tmp_path, config_dir=folder
    )
    start = Start(settings, router)
    process = await start.up()
    rule = "  - {name: r%d, when: {text: {contains: word%d}}, then: [{assign: product}], examples: [{text: word%d}]}\n"
    before = process.config
    began, longest = time.process_time(), 0.0
    (folder / "routing.yaml").write_text("rules:\n" + "".join(rule % (n, n, n) for n in range(MANY_RULES)))
    async with asyncio.timeout(WAIT_S):
        while process.config is before:
            turn = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - turn)
    took = time.process_time() - began
    assert longest < took / 5, f"one turn of the loop worked {longest:.2f} s of {took:.2f} s"
    (service,) = process.services
    assert process.config is not None
    ruleset = service._in_force()[0]  # type: ignore[attr-defined]
    service.check(process.config)
    await service.configure(process.config)
    assert service._in_force()[0] is ruleset  # type: ignore[attr-defined]
    process.runtime.stopping.set()
    async with asyncio.timeout(WAIT_S):
        await start.task


# ── an end that was asked for ──

HELD_UP = """
import asyncio, sys, threading
from services.console.app import build as console
from shared.runtime import run_one

async def build(runtime):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    return await console(runtime)

sys.exit(run_one("console", build, 0))
"""


def test_a_thread_that_never_ends_keeps_no_process(database_url: str, tmp_path: Path) -> None:
    """The interpreter waits for it when the event loop has ended: the last resort must still stand by then."""
    deployment = Deployment.apart(tmp_path, database_url)
    proc = deployment.procs["console"]
    proc.command = [sys.executable, "-c", HELD_UP]
    proc.start()
    try:
        ready = f"{deployment.urls['console']}/readyz"
        deployment.until(lambda: httpx2.get(ready, timeout=5).status_code, httpx2.HTTPError)
        assert proc.terminate() == 1
        assert "exit.forced" in proc.tail()
    finally:
        proc.kill()


# ── an end that nobody asked for ──


async def test_a_background_task_that_dies_takes_the_process_with_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention that has stopped is found when the disk is full: the process ends instead, and says why. Ingest, for what else
    asks the log for its topics waits where there are none."""
    monkeypatch.setattr(postgres_log, "TRIM_EVERY_S", 0.05)
    start = Start(settings_of(tmp_path, database_url), ingest)
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


async def test_a_kafka_producer_that_works_no_more_takes_the_process_with_it() -> None:
    """It answered every append with its defect, and the process stayed up."""
    before = _count("kafka-producer-connect")
    producer = KafkaProducer(KafkaSettings("127.0.0.1:this is no port"))
    assert {"kafka-producer-write", "kafka-producer-watch"} <= {task.get_name() for task in tasks.kept()}
    with pytest.raises(ValueError):
        async with asyncio.timeout(WAIT_S):
            await tasks.watch()
    assert _count("kafka-producer-connect") == before + 1
    await producer.close()
    assert not tasks.kept()


async def test_whatever_runs_for_ever_is_held_by_the_process(database_url: str, tmp_path: Path) -> None:
    """A new task that is begun with `asyncio.create_task`, and could die unnoticed, is found here."""
    before = asyncio.all_tasks()
    start = Start(settings_of(tmp_path, database_url), *EVERY_SERVICE)
    process = await start.up()
    held = {"watch", "config", "clock", "web", *(service.name for service in process.services)}
    # One TaskGroup.
    held |= {
        f"closer-{name}"
        for name in (
            "handler",
            "timers",
            "deliver",
            "tell",
            "relay",
            "gauges",
            "search",
            "tally",
            "activity",
            "signals",
            "digests",
            "gone",
            "news",
        )
    }
    held |= {"ingest-watch", "ingest-ping"}
    begun = {"log-listen", "log-trim", "log-member", "auth-listen"}
    held |= {f"router-{name}" for name in ("model", "corrections", "erasures", "teacher", "shadow")}
    held |= {"console-measures"}

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
