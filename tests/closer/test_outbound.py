"""What leaves for an address that a configuration names: where it goes, and that nothing that answers can hold it up."""

import asyncio
import contextlib
import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from services.closer.addresses import NOTHING, Allowed
from services.closer.outbound import AGENT, NotAllowed, Outbound, guarded, resolve
from shared.errors import Rejected, Transient
from tests.brokers import free_port
from tests.hook_server import HookServer, Reply

LOCAL = Allowed.read("127.0.0.1")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def post(http: Outbound, url: str, *, within_s: float = 5.0, max_bytes: int = 1024) -> tuple[int, bytes]:
    try:
        answer = await http.post(url, b"{}", {"x-test": "1"}, within_s=within_s, max_bytes=max_bytes)
    finally:
        await http.close()
    return answer.status, answer.body


def leads_to(*addresses: str) -> Callable[[str, int], Coroutine[Any, Any, list[str]]]:
    """A name server of the test's own: one answer after the other, then the last for ever."""
    answers = list(addresses)

    async def ask(host: str, port: int) -> list[str]:
        return (answers.pop(0) if len(answers) > 1 else answers[0]).split()

    return ask


@contextlib.asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that says what it likes."""

    talks: list[asyncio.Task[None]] = []

    async def talked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(
        lambda reader, writer: talks.append(asyncio.create_task(talked(reader, writer))), "127.0.0.1", 0
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


# ── where it goes ──


async def test_it_goes_to_the_address_that_was_looked_at_under_the_name_that_was_asked_for() -> None:
    with HookServer() as hooks:
        http = guarded(LOCAL, resolve=leads_to("127.0.0.1"))
        assert await post(http, f"http://hooks.example.com:{hooks.port}/a?b=c") == (200, b"")
        (posted,) = hooks.posted
    assert posted.path == "/a?b=c"
    assert posted.headers["host"] == f"hooks.example.com:{hooks.port}"
    assert posted.headers["user-agent"] == AGENT
    assert posted.headers["x-test"] == "1"


@pytest.mark.parametrize("leads", ["127.0.0.1", "8.8.8.8 127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_within_is_not_connected_to(leads: str) -> None:
    with HookServer() as hooks:
        http = guarded(NOTHING, resolve=leads_to(leads))
        with pytest.raises(NotAllowed, match="no public address"):
            await post(http, f"http://hooks.example.com:{hooks.port}/")
        assert hooks.posted == []


async def test_a_name_whose_address_changes_between_the_look_and_the_connection_gains_nothing() -> None:
    """Rebinding: public when it is looked at, this machine whenever it is asked again. It is asked once for a request."""
    with HookServer() as within:
        http = guarded(Allowed.read("127.0.0.2"), resolve=leads_to("127.0.0.2", "127.0.0.1"))
        url = f"http://hooks.example.com:{within.port}/"
        with pytest.raises(Transient, match="no answer"):  # nobody listens where it led at first
            await http.post(url, b"{}", {}, within_s=5, max_bytes=10)
        with pytest.raises(NotAllowed):  # and where it leads now may not be asked
            await http.post(url, b"{}", {}, within_s=5, max_bytes=10)
        await http.close()
        assert within.posted == []


async def test_this_machines_own_names_lead_within() -> None:
    assert set(await resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
    with HookServer() as hooks:
        with pytest.raises(NotAllowed):
            await post(guarded(NOTHING), f"http://localhost:{hooks.port}/")
        assert hooks.posted == []
        assert await post(guarded(Allowed.read("localhost")), f"http://localhost:{hooks.port}/") == (200, b"")


async def test_an_address_of_version_6_is_reached_as_one() -> None:
    with HookServer() as hooks, pytest.raises(Transient):
        await post(guarded(Allowed.read("::1")), f"http://[::1]:{hooks.port}/", within_s=2)
    with pytest.raises(NotAllowed, match="::1"):
        await post(guarded(NOTHING), "http://[::1]:80/")


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "http://127.0.0.1:{port}/within"]
)
async def test_a_redirect_is_an_answer_and_is_not_followed(location: str) -> None:
    with HookServer() as hooks:
        to = location.format(port=hooks.port)
        hooks.answers = [Reply(302, headers={"Location": to})]
        assert (await post(guarded(LOCAL), f"{hooks.url}/hook"))[0] == 302
        assert [one.path for one in hooks.posted] == ["/hook"]


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with HookServer() as hooks, HookServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await post(guarded(LOCAL), hooks.url) == (200, b"")
        with pytest.raises(NotAllowed):
            await post(guarded(NOTHING), hooks.url)
        assert proxy.posted == []


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with HookServer() as hooks:
        http = guarded(Allowed.read("127.0.0.0/8"), resolve=leads_to("127.0.0.3 127.0.0.1"))
        assert await post(http, f"http://hooks.example.com:{hooks.port}/") == (200, b"")


# ── TLS ──


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `hooks.example.com`, by itself; key and certificate in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.example.com"
    command += f" -addext subjectAltName=DNS:hooks.example.com -keyout {folder}/key.pem -out {folder}/cert.pem"
    subprocess.run(command.split(), check=True, capture_output=True)
    made.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return made


@contextlib.asynccontextmanager
async def over_tls(certificate: Path, names: list[str]) -> AsyncIterator[int]:
    """A server with that certificate; the names that it is asked for by TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tls_is_held_to_the_name_and_not_to_the_address(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    names: list[str] = []
    async with over_tls(certificate, names) as port:
        http = guarded(LOCAL, resolve=leads_to("127.0.0.1"), verify=trusting)
        for _ in range(2):
            answer = await http.post(f"https://hooks.example.com:{port}/", b"{}", {}, within_s=5, max_bytes=10)
            assert answer.status == 200
        assert names == ["hooks.example.com"], "the second went by the first one's connection"
        # The same address under another name is another connection, and that name is not the certificate's.
        with pytest.raises(Transient):
            await http.post(f"https://other.example.com:{port}/", b"{}", {}, within_s=5, max_bytes=10)
        await http.close()
        with pytest.raises(Transient):
            await post(guarded(LOCAL, resolve=leads_to("127.0.0.1")), f"https://hooks.example.com:{port}/")


# ── what answers cannot hold us up ──


async def test_an_answer_without_end_is_cut() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with talking(pour) as url:
        assert await post(guarded(LOCAL), url, max_bytes=5000) == (200, b"x" * 5000)


async def test_what_is_packed_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with HookServer() as hooks:
        hooks.answers = [Reply(200, bomb, {"Content-Encoding": "gzip"})]
        status, body = await post(guarded(LOCAL), hooks.url, max_bytes=100_000)
    assert (status, body) == (200, bomb)


async def test_who_answers_by_drops_has_answered_by_its_first_line() -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with talking(drop) as url:
        assert (await post(guarded(LOCAL), url, within_s=0.4))[0] == 200


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def head_by_drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def informed_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def heads_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        writer.write(b"x-%d: y\r\n" % number)
        await writer.drain()


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()


@pytest.mark.parametrize("talk", [silence, head_by_drops, informed_for_ever, heads_without_end, no_http])
async def test_who_does_not_answer_properly_has_not_answered(talk: Talk) -> None:
    async with talking(talk) as url:
        with pytest.raises(Transient, match="no answer"):
            await post(guarded(LOCAL), url, within_s=0.5)


async def test_nobody_there_and_no_such_name_are_tried_again_later() -> None:
    with pytest.raises(Transient, match="no answer"):
        await post(guarded(LOCAL), f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(Transient, match="no answer"):
        await post(guarded(LOCAL), "https://no-such-name.invalid/")


async def test_what_is_no_address_is_not_tried_again() -> None:
    with pytest.raises(Rejected):
        await post(guarded(LOCAL), "https://xn--a.example/" + "\x00")


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("999999999", 86_400.0), ("soon", None), ("-1", None), ("1e9", None)]
)
async def test_how_long_to_wait_is_believed_within_reason(value: str, seconds: float | None) -> None:
    with HookServer() as hooks:
        hooks.answers = [Reply(429, headers={"Retry-After": value})]
        http = guarded(LOCAL)
        answer = await http.post(hooks.url, b"{}", {}, within_s=5, max_bytes=10)
        await http.close()
    assert (answer.status, answer.retry_after_s) == (429, seconds)
