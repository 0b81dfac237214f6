"""Every service in one process, on one port: `flywheel up`.

What is missing is brought along: a Postgres from its wheel, the log on it, an admin key, sample feedback. The
services are the same as in a deployment and meet on the same log; only the process is shared.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shared.config import ConfigError
from shared.database.embedded import EmbeddedPostgres, in_use_by
from shared.errors import FlywheelError, Misuse
from shared.settings import Settings, read_settings
from shared.telemetry import configure_logging, get_logger

if TYPE_CHECKING:
    from shared.runtime import Build, Process

ADMIN_KEY_NAME = "flywheel up"


def up(*, host: str, port: int, sample: bool) -> int:
    """Run until Ctrl-C or SIGTERM; the exit code."""
    import uvloop

    try:
        settings = read_settings()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        port = _port(host, port, settings.data_dir)
        url = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104
        if "PUBLIC_URL" not in settings.env:
            settings = read_settings(public_url=url)
        with _logging(settings.data_dir), _database(settings) as settings:
            try:
                uvloop.run(_serve(settings, host, port, url, sample))
            except ExceptionGroup:
                get_logger("all").exception("process.failed")
                raise
    except (FlywheelError, OSError) as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 2 if isinstance(error, Misuse | ConfigError) else 1
    except ExceptionGroup as group:
        # A part has failed in a way that it does not handle, so all of us ends, and a supervisor may start us again.
        cause: BaseException = group
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        print(f"flywheel: {type(cause).__name__}: {cause} (the log has the whole)", file=sys.stderr)
        return 1
    print("\nStopped. The next start goes on from here.", flush=True)
    return 0


def _port(host: str, port: int, data_dir: Path) -> int:
    """That port, or a free one for 0, before anything else is started. Raises `Misuse`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"cannot listen on {host} port {port} ({error.strerror})"
            holder = in_use_by(data_dir)
            if holder is not None:
                raise Misuse(
                    f"{what}, and {data_dir} is in use: another flywheel ({holder}) runs. Stop that one, or give this one"
                    " a port and a place of its own by --port (0: any free one) and --data-dir"
                ) from None
            raise Misuse(f"{what}: stop what does, or choose another by --port (0: any free one) and --host") from None
        return int(probe.getsockname()[1])


def _services() -> "Sequence[Build]":
    from services.closer.app import build as closer
    from services.console.app import build as console
    from services.ingest.app import build as ingest
    from services.router.app import build as router

    return ingest, router, closer, console


def _load_services() -> None:
    """While the server starts, which takes about as long."""
    with contextlib.suppress(Exception):  # whoever asks for them next is told what is wrong
        _services()


async def _serve(settings: Settings, host: str, port: int, url: str, sample: bool) -> None:
    from shared.people import OPERATOR
    from shared.runtime import serve
    from shared.sessions import Sessions

    # The services that the console asks are here.
    settings = replace(settings, env={**settings.env, "CLOSER_URL": url, "ROUTER_URL": url, "INGEST_URL": url})

    async def started(process: "Process") -> None:
        assert settings.database_url is not None
        running = settings.data_dir / "running.json"
        running.write_text(json.dumps({"url": url, "pid": os.getpid(), "database_url": settings.database_url}))
        running.chmod(0o600)
        key, made = await _admin_key(process, settings.data_dir)
        link = await Sessions(process.runtime.database, process.runtime.clock).link("default", OPERATOR, "admin")
        await _announce(process, settings, url, key, made, f"{url}/login?token={link}", sample)
        process.tell = partial(print, flush=True)

    try:
        tell = partial(print, flush=True)
        await serve(settings, _services(), name="all", host=host, port=port, started=started, tell=tell)
    finally:
        (settings.data_dir / "running.json").unlink(missing_ok=True)


async def _announce(
    process: "Process", settings: Settings, url: str, key: str, made: bool, login: str, sample: bool
) -> None:
    """What a person sees: the loop of one event, where things are, and how to go on."""
    stopping = asyncio.create_task(process.runtime.stopping.wait())
    tour = asyncio.create_task(_tour(settings, url, key, sample))
    await asyncio.wait({stopping, tour}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, tour):
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    if process.runtime.stopping.is_set():
        return
    if tour.done() and (trouble := tour.exception()):
        print(f"  (the sample was not shown whole: {trouble})")
    print(f"\nConsole   {login}")
    print("          (works once, for a day; `flywheel login` makes another)")
    print(f"Ready at  {url}")
    print(f"API key   {key}" if made else f"API key   in {settings.data_dir / 'api-key'}")
    print(f"Mail      {'by ' + settings.smtp_url.split('@')[-1] if settings.smtp_url else settings.data_dir / 'mail'}")
    print(f"Log       {settings.data_dir / 'flywheel.log'}")
    print('\nTry       flywheel send --text "希望增加深色模式"     then    flywheel trace ID')
    print("Ctrl-C stops; nothing is lost.", flush=True)


async def _tour(settings: Settings, url: str, key: str, sample: bool) -> None:
    marker = settings.data_dir / "sample-loaded"
    if not sample or marker.exists():
        return
    from services.tour import load_sample, show_the_loop

    feedback_id = await load_sample(url, key)
    await show_the_loop(url, key, feedback_id, settings.data_dir / "mail" if not settings.smtp_url else None)
    marker.touch()


async def _admin_key(process: "Process", data_dir: Path) -> tuple[str, bool]:
    """The key of the first start, made once; whether it was made now."""
    path = data_dir / "api-key"
    if path.exists():
        key = path.read_text().strip()
        with contextlib.suppress(FlywheelError):
            await process.runtime.authenticator.principal(f"Bearer {key}")
            return key, False
    _, key = await process.runtime.keys.create("default", ADMIN_KEY_NAME, ["admin"])
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(key + "\n")
    return key, True


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Settings]:
    """The database given, or one of our own for as long as we run."""
    if settings.database_url:
        yield settings
        return
    loading = threading.Thread(target=_load_services, daemon=True)
    loading.start()
    postgres = EmbeddedPostgres.start(settings.data_dir)
    try:
        loading.join()
        yield settings.with_database(postgres.url)
    finally:
        postgres.stop()


@contextlib.contextmanager
def _logging(data_dir: Path) -> Iterator[None]:
    """Log lines go to a file, so that the terminal stays readable."""
    with (data_dir / "flywheel.log").open("a", encoding="utf-8") as file:
        configure_logging(file)
        yield
        configure_logging()
