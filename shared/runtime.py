"""What makes a process run: the parts every service shares, one task group, and an orderly end.

A service is built from a `Runtime` and says what it serves, what it does for ever, and whether it is ready. The
all-in-one process holds four of them, `python -m services.X` one; nothing else differs. On SIGTERM or Ctrl-C:
no new connection, requests in hand finish, services drain, then tasks stop and connections close. A task that
dies of anything but `Transient` (which it handles itself) takes the process with it: a supervisor starts it
again, and a half-dead one serves nobody. The same holds for whatever runs beside them (`shared.tasks`).
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from shared import tasks
from shared.auth import Authenticator, Keys
from shared.clock import Clock, DatabaseClock
from shared.config import RULES, STARTER, Config, ConfigError, config_of, read_dir, version_of
from shared.config.proof import Judge, ask, prove
from shared.config.store import ConfigStore, rules_hash
from shared.config.teams import Teams, teams_of
from shared.database import Database
from shared.database.migrate import upgrade
from shared.errors import FlywheelError, Misuse, Transient
from shared.events.identity import Pseudonyms
from shared.links import Links
from shared.log import Log
from shared.log.choose import open_log
from shared.patience import Patience, server_of, unless_stopped, where
from shared.settings import Settings
from shared.telemetry import get_logger
from shared.topics import all_topics
from shared.web import reference
from shared.web.at_once import HotPath
from shared.web.hosts import Hosts, host_of
from shared.web.problems import RequestId, install
from shared.web.protocol import server_config
from shared.web.server import Front, Server

SERVICES = ("INGEST", "ROUTER", "CLOSER", "CONSOLE")
"""The prefixes of the environment; `…_URL` names another process of the same deployment."""
CONFIG_POLL_S = 1.0
CLOCK_SYNC_S = 10.0
START_RETRY_S = 1.0
DRAIN_REQUESTS_S = 4
DRAIN_SERVICES_S = 4.0
EXIT_S = 9.5
"""From the signal to the end, whatever hangs. Nothing that was acknowledged is only in this process."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Python looks for cycles after every 700 new containers, and a request in hand is dozens of them: looked at so often,
what is merely alive costs more than the work. Reference counting frees what we make; cycles are rare here."""


_log = get_logger("runtime")
_ready = Gauge("flywheel_ready", "1 when the service can do its work.", ["service"])


class Service(Protocol):
    """One of the four, as the runtime sees it."""

    name: str
    routes: APIRouter
    hot_paths: Mapping[str, HotPath]
    """POSTs served before any framework, by path."""
    leads: bool
    """Whether its process puts the changes of its folder in force. One does, so that no two folders take turns."""

    def check(self, config: Config) -> None:
        """Raises `ConfigError` if this service could not work by it. Pure, and called in a thread: it may take long."""

    async def configure(self, config: Config) -> None:
        """Work by it from now on; it was checked. Called before `run`, and at each change."""

    async def run(self) -> None:
        """Until cancelled. Handles `Transient` itself."""

    async def drain(self) -> None:
        """Finish what is in hand; take nothing new."""

    def not_ready(self) -> list[str]:
        """Why this service cannot do its work now; empty when it can."""


@dataclass(slots=True)
class Runtime:
    """What a service is built from."""

    settings: Settings
    clock: Clock
    database: Database
    log: Log
    authenticator: Authenticator
    keys: Keys
    links: Links
    pseudonyms: Pseudonyms
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is asked to stop: long answers (SSE) end themselves."""


Build = Callable[[Runtime], Awaitable[Service]]


@contextlib.asynccontextmanager
async def open_runtime(settings: Settings, name: str, stopping: asyncio.Event | None = None) -> Any:
    """Everything a service needs, opened in order, closed in reverse. Raises `Misuse` or `Transient`."""
    if settings.database_url is None:
        raise Misuse("DATABASE_URL is not set: give postgresql://…, or use `flywheel up`, which brings its own")
    with where("DATABASE_URL", server_of(settings.database_url)):
        await upgrade(settings.database_url)
    async with contextlib.AsyncExitStack() as stack:
        database = Database(settings.database_url, application_name=f"flywheel-{name}")
        stack.push_async_callback(database.close)
        clock = DatabaseClock(database.now)
        await clock.sync()
        with where("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers):
            log = await open_log(settings)
        stack.push_async_callback(log.close)
        links = Links(settings.secret)
        authenticator = Authenticator(database, links)
        await authenticator.start()
        stack.push_async_callback(authenticator.close)
        yield Runtime(
            settings=settings,
            clock=clock,
            database=database,
            log=log,
            authenticator=authenticator,
            keys=Keys(database, clock),
            links=links,
            pseudonyms=Pseudonyms(settings.secret),
            stopping=stopping or asyncio.Event(),
        )


class Process:
    """Several services on one port."""

    def __init__(self, runtime: Runtime, services: Sequence[Service]) -> None:
        self.runtime = runtime
        self.services = services
        self.config: Config | None = None
        self.tell: Callable[[str], None] = lambda _: None
        """Where somebody is watching: what became of a changed configuration, in a sentence."""
        self._store = ConfigStore(runtime.database)
        self._offered: str | None = None
        self._proved: Config | None = None
        self._refused: str | None = None
        """A version in force that we cannot work by."""
        self._unreadable = ""

    # ── configuration ──

    async def offer(self) -> None:
        """Put our folder's configuration in force if it has changed since we last looked, and every service, here or
        elsewhere, could work by it. Raises `ConfigError`."""
        leads = any(service.leads for service in self.services)
        if not leads and await self._store.version_in_force() is not None:
            return
        files = await asyncio.to_thread(read_dir, self.runtime.settings.config_dir or STARTER)
        offered = version_of(files)
        if offered == self._offered:
            return
        self._offered = offered
        try:
            in_force = await self._store.in_force()
            taken_back: Collection[str] = ()
            if in_force is not None and rules_hash(files) in in_force.taken_back:
                taken_back = in_force.taken_back
                files = {**files, RULES: (await self._store.load(in_force.version)).files[RULES]}
                _log.warning("config.rules_taken_back", folder=offered, in_force=in_force.version)
                self.tell(f"The rules in the folder were taken back: those in force stay, until {RULES} is changed.")
            is_in_force = in_force is not None and in_force.version == version_of(files)
            config, teams = await asyncio.to_thread(self._read, files, is_in_force)
            await self.runtime.log.ensure_topics(all_topics(teams.names))
            if not is_in_force:
                self._proved = config
                await self._store.put_in_force(config, taken_back=taken_back)
                _log.info("config.in_force", version=config.version)
        except Transient:
            self._offered = None  # nothing is wrong with it, and it is offered again
            raise

    def _read(self, files: Mapping[str, str], in_force: bool) -> tuple[Config, Teams]:
        """In a thread. What is in force was proved before; whether we can work by it, `follow` asks."""
        config = config_of(files, self.runtime.settings.env)
        if not in_force:
            prove(config, self._judges())
        return config, teams_of(config)

    async def follow(self) -> None:
        """Work by the version in force, if it is another than ours: all services of the process, or none. Raises
        `ConfigError`, once for a version."""
        version = await self._store.version_in_force()
        if version is None or version == self._refused or (self.config is not None and version == self.config.version):
            return
        config, self._proved = self._proved, None
        if config is None or config.version != version:  # else our services were asked when it was proved
            config = await self._store.load(version, self.runtime.settings.env)
            try:
                await asyncio.to_thread(ask, config, self._judges())
            except ConfigError:
                self._refused = version
                raise
        for service in self.services:
            await service.configure(config)
        if self.config is not None:
            self.tell(f"Configuration {config.version} is in force.")
        self.config = config

    def _judges(self) -> Mapping[str, Judge]:
        """Called in a thread."""
        return {service.name: service.check for service in self.services}

    async def _keep_configured(self) -> None:
        while True:
            await asyncio.sleep(CONFIG_POLL_S)
            try:
                await self.offer()
                await self.follow()
                self._unreadable = ""
            except ConfigError as error:
                if str(error) != self._unreadable:
                    self._unreadable = str(error)
                    _log.error("config.refused", reason=str(error))
                    self.tell(f"The configuration is refused, and the one before stays in force:\n{error}")
            except Transient as error:
                _log.warning("config.waiting", reason=str(error))

    async def _keep_time(self) -> None:
        clock = self.runtime.clock
        while isinstance(clock, DatabaseClock):
            await asyncio.sleep(CLOCK_SYNC_S)
            with contextlib.suppress(Transient):  # the monotonic clock carries on
                await clock.sync()

    # ── the web ──

    def application(self, hosts: Hosts | None = None) -> Front:
        """`hosts`: for whom it answers; None: for any."""
        app = FastAPI(
            title="Feedback Flywheel",
            version="0.1.0",
            docs_url=None,
            redoc_url=None,
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        app.state.runtime = self.runtime
        install(app)
        for service in self.services:
            app.include_router(service.routes)
        looked_at = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics}
        for path, answer in looked_at.items():
            app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)

        @app.get("/docs", include_in_schema=False)
        async def described() -> HTMLResponse:
            headers = {"Content-Security-Policy": reference.policy(), "X-Content-Type-Options": "nosniff"}
            return HTMLResponse(await asyncio.to_thread(reference.page, app.openapi()), headers=headers)

        hot = {path: served for service in self.services for path, served in service.hot_paths.items()}
        return Front(hot, RequestId(app), hosts)

    def _hosts(self, bound: str) -> Hosts:
        settings, env = self.runtime.settings, self.runtime.settings.env
        names = [bound, socket.gethostname(), *(service.name for service in self.services)]
        urls = [settings.public_url, *(env.get(f"{who}_URL", "") for who in ("FLYWHEEL", *SERVICES))]
        return Hosts([*names, *map(host_of, urls), *env.get("FLYWHEEL_ALLOWED_HOSTS", "").split(",")])

    async def _health(self) -> dict[str, str]:
        return {"status": "ok"}

    def _not_ready(self) -> dict[str, list[str]]:
        """Why, by who is not; empty when all are."""
        reasons = {service.name: service.not_ready() for service in self.services}
        if self.config is None:
            reasons["config"] = ["no configuration is in force yet"]
        if self.runtime.stopping.is_set():
            reasons["process"] = ["stopping"]
        bad = {name: why for name, why in reasons.items() if why}
        for service in self.services:
            _ready.labels(service.name).set(0 if bad.keys() & {service.name, "config", "process"} else 1)
        return bad

    async def _readiness(self) -> JSONResponse:
        bad = self._not_ready()
        status = {"status": "ready"} if not bad else {"status": "not ready", "reasons": bad}
        return JSONResponse(status, status_code=503 if bad else 200)

    async def _metrics(self) -> Response:
        self._not_ready()  # nobody need have asked /readyz
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    # ── the life of the process ──

    async def run(self, host: str, port: int, started: Callable[[], Awaitable[None]] | None = None) -> None:
        """Serve until `runtime.stopping` is set. `started` runs beside, once the port answers."""
        front = self.application(self._hosts(host))
        server = Server(server_config(front, host=host, port=port, graceful_s=DRAIN_REQUESTS_S, at_once=front.at_once))
        async with asyncio.TaskGroup() as group:
            forever = [
                group.create_task(tasks.watch(), name="watch"),
                group.create_task(self._keep_configured(), name="config"),
                group.create_task(self._keep_time(), name="clock"),
                *(group.create_task(self._serve(service), name=service.name) for service in self.services),
            ]
            serving = group.create_task(server.serve(), name="web")
            if started is not None:
                group.create_task(self._announce(server, started))
            stop = asyncio.create_task(self.runtime.stopping.wait())
            await asyncio.wait({stop, serving}, return_when=asyncio.FIRST_COMPLETED)
            self.runtime.stopping.set()
            server.should_exit = True
            await serving
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SERVICES_S):
                    await asyncio.gather(*(service.drain() for service in self.services))
            for task in forever:
                task.cancel()

    async def _serve(self, service: Service) -> None:
        await service.run()
        if not self.runtime.stopping.is_set():
            raise RuntimeError(f"{service.name} has ended by itself")

    async def _announce(self, server: uvicorn.Server, started: Callable[[], Awaitable[None]]) -> None:
        while not server.started:
            if self.runtime.stopping.is_set():
                return
            await asyncio.sleep(0.01)
        await started()


async def serve(
    settings: Settings,
    builds: Sequence[Build],
    *,
    name: str,
    host: str,
    port: int,
    started: Callable[[Process], Awaitable[None]] | None = None,
    tell: Callable[[str], None] | None = None,
    and_exits: bool = False,
) -> None:
    """One process from its settings to its end. Raises `Misuse` (what a person must mend), or `Transient` when what it
    depends on stays away for too long. `tell` hears what the start waits for. `and_exits`: nothing comes after this, so
    what still keeps the interpreter then (a thread of asyncio's that waits for somebody) has the same deadline."""
    stopping = asyncio.Event()
    with _signals(stopping):
        found = await unless_stopped(_assembled(settings, builds, name, stopping, tell), stopping)
        if found is None:
            return
        process, opened = found
        async with opened:
            spare_the_collector()
            with _deadline(stopping, and_exits):
                await process.run(host, port, None if started is None else lambda: started(process))
                await opened.aclose()


def spare_the_collector() -> None:
    """Once everything is built: what is alive by now lives as long as the process, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask us to stop, from the first moment to the last."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _deadline(stopping: asyncio.Event, and_exits: bool) -> Iterator[None]:
    """Once we are asked to stop, we end: what still waits for somebody who does not answer is left to its fate."""

    def give_up() -> None:
        _log.error("exit.forced", seconds=EXIT_S)
        os._exit(1)

    async def watch() -> None:
        await stopping.wait()
        last_resort.start()

    last_resort = threading.Timer(EXIT_S, give_up)
    last_resort.daemon = True
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        if not and_exits:  # else it ends with the interpreter, which is not over yet when the loop is
            last_resort.cancel()


async def _assembled(
    settings: Settings,
    builds: Sequence[Build],
    name: str,
    stopping: asyncio.Event,
    tell: Callable[[str], None] | None,
) -> tuple[Process, contextlib.AsyncExitStack]:
    """Everything opened, built and configured. A deployment starts in any order: what is away is waited for."""
    patience = Patience(tell)
    while True:
        try:
            async with contextlib.AsyncExitStack() as attempt:
                runtime = await attempt.enter_async_context(open_runtime(settings, name, stopping))
                process = Process(runtime, [await build(runtime) for build in builds])
                await process.offer()
                await process.follow()
                return process, attempt.pop_all()
        except Transient as error:
            patience.wait(error)
            await asyncio.sleep(START_RETRY_S)


def run_one(name: str, build: Build, default_port: int, *, log_may_be_away: bool = False) -> int:
    """`python -m services.X`: that service alone, on its own port. The exit code. `log_may_be_away`: it starts all the same."""
    import sys

    import uvloop

    from shared.settings import read_settings
    from shared.telemetry import configure_logging

    configure_logging()
    env = os.environ
    prefix = name.upper()
    try:
        port = int(env.get(f"{prefix}_PORT") or default_port)
        host = env.get(f"{prefix}_HOST") or "127.0.0.1"
        settings = replace(read_settings(), log_may_be_away=log_may_be_away)
        uvloop.run(serve(settings, [build], name=name, host=host, port=port, and_exits=True))
    except (FlywheelError, OSError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, Misuse | ConfigError | ValueError) else 1
    except ExceptionGroup:
        _log.exception("process.failed")
        return 1
    return 0
