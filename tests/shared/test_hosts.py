"""For whom we answer: row 6 of the promises, on a process as it is run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.console.app import build
from shared.runtime import Process, serve
from shared.settings import read_settings
from shared.web.hosts import MAX_REMEMBERED, Hosts, host_of, is_open
from tests.brokers import free_port

PATIENCE_S = 30.0


@asynccontextmanager
async def serving(database_url: str, data_dir: Path, **env: str) -> AsyncIterator[int]:
    """A console alone; its port."""
    settings = read_settings({"DATABASE_URL": database_url, "FLYWHEEL_SECRET": "s", **env}, data_dir=data_dir)
    started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    async def tell(process: Process) -> None:
        started.set_result(process)

    port = free_port()
    task = asyncio.create_task(serve(settings, [build], name="console", host="127.0.0.1", port=port, started=tell))
    async with asyncio.timeout(PATIENCE_S):
        either: set[asyncio.Future[Any]] = {task, started}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    yield port
    started.result().runtime.stopping.set()
    async with asyncio.timeout(PATIENCE_S):
        await task


async def ask(port: int, host: str, path: str = "/v1/measures", method: str = "GET") -> tuple[int, bytes]:
    """What curl does with `-H "Host: …"`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    async with asyncio.timeout(PATIENCE_S):
        reply = await reader.read()
    writer.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_row_6_a_strangers_name_is_refused_and_ours_are_answered(database_url: str, tmp_path: Path) -> None:
    env = {"PUBLIC_URL": "https://feedback.example.com", "FLYWHEEL_ALLOWED_HOSTS": "intranet, .corp.example"}
    async with serving(database_url, tmp_path, **env) as port:
        for host in ("evil", "evil:80", f"evil.example:{port}", "feedback.example.com.evil", "127.0.0.1.evil.example"):
            status, body = await ask(port, host)
            assert (status, b"/bad-framing" in body, b"FLYWHEEL_ALLOWED_HOSTS" in body) == (400, True, True), host
            assert (await ask(port, host, "/v1/nothing", "POST"))[0] == 400, host
        ours = ["127.0.0.1", f"127.0.0.1:{port}", "localhost:80", "[::1]:9999", "LOCALHOST", "feedback.example.com:443"]
        for host in [*ours, "console:8080", "10.244.1.7:8080", "intranet", "a.corp.example", "corp.example"]:
            assert (await ask(port, host))[0] == 401, f"{host} is let in, and asked who it is"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await ask(port, "flywheel-console.monitoring:8080", path))[0] == 200
            assert await ask(port, "anybody", path, "HEAD") == (200, b"")


ROWS = [
    ("localhost", True),
    ("localhost.", True),
    ("app.localhost:3000", True),
    ("host.docker.internal:8080", True),
    ("closer.prod.svc.cluster.local:8083", True),
    ("feedback.example.com", True),
    ("Feedback.Example.Com.:8080", True),
    ("[fe80::1%25eth0]:80", True),
    ("2130706433", False),
    ("127.1", False),
    ("notlocalhost", False),
    ("xlocalhost", False),
    ("internal", False),
    ("example.com", False),
    ("feedback.example.com:80:80", False),
    ("[feedback.example.com]", False),
    ("::1", False),
    ("", False),
    ("é", False),
]


@pytest.mark.parametrize(("value", "ours"), ROWS, ids=[row[0] for row in ROWS])
def test_a_name_is_ours_or_it_is_not(value: str, ours: bool) -> None:
    hosts = Hosts([host_of("https://feedback.example.com:8443/x"), ""])
    assert (value.encode() in hosts) is ours
    assert (value.encode() in hosts) is ours, "and stays so"


def test_any_name_where_it_is_asked_for() -> None:
    assert b"evil" in Hosts(["*"])


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        ("/healthz", True),
        ("/v1/webhooks/zendesk-eu", True),
        ("/v1/webhooks", False),
        ("/v1/webhooksx/a", False),
        ("/v1/feedback", False),
        ("/v1/cases", False),
    ],
)
def test_what_is_served_under_any_name(path: str, open_: bool) -> None:
    assert is_open(path) is open_


def test_no_flood_of_names_is_remembered() -> None:
    hosts = Hosts([".example.com"])
    assert all(f"{number}.example.com".encode() in hosts for number in range(2 * MAX_REMEMBERED))
    assert len(hosts._seen) == MAX_REMEMBERED


def test_the_name_in_an_address() -> None:
    assert host_of("http://127.0.0.1:8080") == "127.0.0.1"
    assert host_of("https://反馈.example/") == "xn--kors63n.example"
    assert host_of("") == host_of("http://[") == ""
