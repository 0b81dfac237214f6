"""The protocol on real sockets: every row of the framing table, and what a well-behaved client sees meanwhile.

Rows with deadlines run on short ones; one test asserts the real ones.
"""

import asyncio
import gc
import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace

import pytest
import uvicorn
import uvloop
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from shared.web.at_once import Asked, AtOnce
from shared.web.body import JSON, read_body
from shared.web.framing import Limits
from shared.web.problems import Problem, send_problem
from shared.web.protocol import MAX_PIPELINED, GuardedProtocol, server_config
from tests.connection import WAIT_S, Connection, Reply, connected

SHORT = Limits(idle_s=0.3, header_s=0.3, body_s=0.5, write_s=0.5, linger_s=0.3, sweep_s=0.05)
LONG = replace(SHORT, idle_s=60, header_s=60, body_s=60, write_s=60, linger_s=1)
MAX_BODY = 10 * 1024 * 1024


class Application:
    """Says what it was asked; can be told to wait, to stream for ever, or not to read."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.seen: list[Scope] = []
        self.disconnects = 0
        self._go = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def release(self) -> None:
        """Let those who wait go on. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._go.set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self._loop = asyncio.get_running_loop()
        self.seen.append(scope)
        try:
            body = b""
            if scope["path"] != "/unread":
                body = await read_body(scope, receive, max_bytes=MAX_BODY, content_types=None)
            if scope["path"] == "/wait":
                await self._go.wait()
            if scope["path"] == "/flood":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                gone = asyncio.ensure_future(receive())
                while not gone.done():
                    await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
                    await asyncio.sleep(0)
                raise ClientDisconnect
        except Problem as problem:
            await send_problem(scope, send, problem)
            return
        except ClientDisconnect:
            self.disconnects += 1
            return
        said = {"path": scope["path"], "method": scope["method"], "body": len(body), "version": scope["http_version"]}
        raw = json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": raw})


class Server:
    def __init__(self, port: int, app: Application, server: uvicorn.Server) -> None:
        self.port = port
        self.app = app
        self._server = server

    def stop(self) -> None:
        self._server.should_exit = True

    def is_stopping(self) -> bool:
        """Whether it has begun to end its connections."""
        return all(one._last for one in self._server.server_state.connections if isinstance(one, GuardedProtocol))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with connected(self.port) as connection:
            yield connection

    async def ask(self, data: bytes) -> Reply:
        async with self.connection() as connection:
            return await connection.asked(data)


@contextmanager
def serving(
    limits: Limits, app: Application | None = None, at_once: Mapping[str, AtOnce] | None = None
) -> Iterator[Server]:
    """A real server on a free port, in a thread of its own and on the loop that we ship."""
    app = app or Application()
    listener = socket.create_server(("127.0.0.1", 0))
    config = server_config(app, host="127.0.0.1", port=0, limits=limits, graceful_s=1, at_once=at_once)
    config.lifespan = "off"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        deadline = time.monotonic() + WAIT_S
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield Server(listener.getsockname()[1], app, server)
    finally:
        app.release()
        server.should_exit = True
        thread.join()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


def refusals(why: str) -> float:
    return REGISTRY.get_sample_value("flywheel_http_refused_total", {"why": why}) or 0.0


def declines(_: Asked) -> bool:
    return False


# Everything here holds as well where somebody else is asked first, and declines.
@pytest.fixture(scope="module", params=[{}, {"/": declines}], ids=["", "asked first"])
def strict_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(LONG, at_once=request.param) as server:
        yield server


@pytest.fixture(scope="module", params=[{}, {"/": declines}], ids=["", "asked first"])
def hasty_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(SHORT, at_once=request.param) as server:
        yield server


@pytest.fixture
def strict(strict_server: Server) -> Server:
    """Deadlines that never come: what is refused here is refused at once."""
    strict_server.app.forget()
    return strict_server


@pytest.fixture
def hasty(hasty_server: Server) -> Server:
    """Deadlines that come soon."""
    hasty_server.app.forget()
    return hasty_server


HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def post(headers: bytes, body: bytes = b"", path: bytes = b"/") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


# ── what is served ──


async def test_an_answer_before_the_end_of_its_question_says_that_it_is_the_last(strict: Server) -> None:
    """A client sends head and body each in a packet of its own, and may be refused before it has sent the second. It was not
    told, used the connection again, and was never answered."""
    async with strict.connection() as connection:
        await connection.send(post(b"Content-Length: 2\r\n", b"", b"/unread"))
        reply = await connection.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await connection.send(b"{}" + GET)
        assert await connection.closed() == b""
    async with strict.connection() as connection:
        for _ in range(2):
            await connection.send(post(b"Content-Length: 2\r\n", b"{}", b"/unread"))
            assert "connection" not in (await connection.reply()).headers, "all of it is here: it is kept"


async def test_ordinary_requests_share_a_connection(strict: Server) -> None:
    async with strict.connection() as connection:
        for n in (0, 1, 5000, 200_000):
            await connection.send(post(b"Content-Length: %d\r\n" % n, b"x" * n))
            reply = await connection.reply()
            assert (reply.status, json.loads(reply.body)["body"]) == (200, n)
            assert "server" not in reply.headers
        await connection.send(
            post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
        )
        assert json.loads((await connection.reply()).body)["body"] == 5
        assert all(name != b"x-trailer" for name, _ in strict.app.seen[-1]["headers"])
        await connection.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await connection.reply(head=True)).status == 200


async def test_a_request_may_come_byte_by_byte(strict: Server) -> None:
    async with strict.connection() as connection:
        for byte in post(b"Content-Length: 3\r\n", b"abc") * 2:
            await connection.send(bytes([byte]))
        for _ in range(2):
            assert json.loads((await connection.reply()).body)["body"] == 3


async def test_pipelined_requests_are_answered_in_order(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(10)))
        assert [json.loads((await connection.reply()).body)["path"] for _ in range(10)] == [f"/{n}" for n in range(10)]


async def test_a_body_and_the_beginning_of_the_next_header_in_one_piece(strict: Server) -> None:
    """The body's bytes are not counted as the header's, nor as framing of the next body."""
    body = b"x" * 60_000
    for split in (10, len(HOST) + 30, len(post(b"Content-Length: 3\r\n")) + 1):
        async with strict.connection() as connection:
            following = post(b"Content-Length: 3\r\n", b"abc")
            await connection.send(post(b"Content-Length: %d\r\n" % len(body), body) + following[:split])
            assert json.loads((await connection.reply()).body)["body"] == len(body)
            await connection.send(following[split:])
            assert json.loads((await connection.reply()).body)["body"] == 3


async def test_row_7_also_for_the_second_in_a_pipeline(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(GET + b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17_000 + b"\r\n\r\n")
        assert (await connection.reply()).status == 200
        rest = await connection.closed()
        assert rest == b"" or b" 431 " in rest
    assert len(strict.app.seen) == 1


async def test_too_long_a_pipeline_is_answered_as_far_as_it_is_taken(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(GET * 1000)
        for _ in range(MAX_PIPELINED + 1):
            assert (await connection.reply()).status == 200
        assert await connection.closed() == b""
    assert len(strict.app.seen) == MAX_PIPELINED + 1


async def test_an_upgrade_is_ignored_and_the_next_request_served(strict: Server) -> None:
    """Java's client and `curl --http2` offer h2c with every first request, bodies included."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    async with strict.connection() as connection:
        for request in (
            post(upgrade + b"Content-Length: 2\r\n", b"ab"),
            post(upgrade + b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"),
            b"GET / HTTP/1.1\r\n" + HOST + upgrade + b"\r\n",
        ):
            await connection.send(request + GET)
            first, second = await connection.reply(), await connection.reply()
            assert json.loads(first.body)["body"] == (2 if request.startswith(b"POST") else 0)
            assert second.status == 200
    assert [s["method"] for s in strict.app.seen] == ["POST", "GET", "POST", "GET", "GET", "GET"]
    async with strict.connection() as connection:
        for byte in post(upgrade + b"Content-Length: 2\r\n", b"ab"):
            await connection.send(bytes([byte]))
        assert json.loads((await connection.reply()).body)["body"] == 2
    reply = await strict.ask(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_row_13_http_1_0_is_served_and_closed(strict: Server) -> None:
    for host in (HOST, b""):
        reply = await strict.ask(b"GET /x HTTP/1.0\r\n" + host + b"\r\n")
        assert (reply.status, json.loads(reply.body)["version"]) == (200, "1.0")


# ── rows without a wait ──


@pytest.mark.parametrize(
    ("row", "sent", "status", "slug"),
    [
        ("4 negative", post(b"Content-Length: -1\r\n"), 400, "bad-framing"),
        ("4 two that differ", post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"), 400, "bad-framing"),
        ("4 two in one", post(b"Content-Length: 1, 2\r\n", b"ab"), 400, "bad-framing"),
        ("4 two alike", post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"a"), 400, "bad-framing"),
        ("4 plus", post(b"Content-Length: +1\r\n", b"a"), 400, "bad-framing"),
        ("4 hexadecimal", post(b"Content-Length: 0x1\r\n", b"a"), 400, "bad-framing"),
        ("4 too long", post(b"Content-Length: 99999999999999999999999\r\n", b"a"), 400, "bad-framing"),
        ("5 CL then TE", post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400, "bad-framing"),
        ("5 TE then CL", post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"), 400, "bad-framing"),
        ("5 TE not chunked", post(b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n", b"abc"), 400, "bad-framing"),
        ("5 TE chunked not last", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), 400, "bad-framing"),
        ("5 TE obfuscated", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400, "bad-framing"),
        ("5 TE with a space before the colon", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400, "bad-framing"),
        ("5 TE with HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-framing"),
        ("5 a bad chunk size", post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n"), 400, "bad-framing"),
        ("5 a chunk longer than it says", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nabc\r\n"), 400, "bad-framing"),
        ("6 two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-framing"),
        ("6 twice the same host", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad-framing"),
        ("6 an empty host", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, "bad-framing"),
        ("6 no host", b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "bad-framing"),
        ("6 no header at all", b"GET / HTTP/1.1\r\n\r\n", 400, "bad-framing"),
        ("6 a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad-framing"),
        ("6 a host with an at", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad-framing"),
        ("6 two hosts with HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-framing"),
        ("7 16 kB in one field", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17_000 + b"\r\n\r\n", 431, "headers-too-large"),
        ("7 16 kB in many", b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"a" * 200 + b"\r\n") * 90 + b"\r\n", 431, "headers-too-large"),
        ("7 101 fields", b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 100 + b"\r\n", 431, "headers-too-large"),
        ("7 16 MB, never ending", b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 24), 431, "headers-too-large"),
        ("7 16 MB of fields", b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * (1 << 21), 431, "headers-too-large"),
        ("7 a long address", b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "headers-too-large"),
        ("13 absolute form", b"GET http://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 asterisk form", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 encoded dots", b"GET /a/%2e%2e/b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 half encoded dots", b"GET /a/.%2E HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 dots", b"GET /a/../b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 a dot", b"GET /./b?x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 two slashes", b"GET //v1/feedback HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 an encoded slash", b"GET /v1%2Ffeedback HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 an encoded backslash", b"GET /v1%5cfeedback HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 an encoded NUL", b"GET /v1%00 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 a byte beyond ASCII", b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad-framing"),
        ("13 HTTP/0.9", b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 HTTP/2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400, "malformed"),
        ("13 HTTP/9.9", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400, "bad-framing"),
        ("14 TRACE", b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed"),
        ("14 CONNECT", b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed"),
        ("14 PROPFIND", b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed"),
        ("14 unknown", b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed"),
        ("14 lower case", b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed"),
        ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-framing"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad-framing"),
        ("a folded field", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400, "bad-framing"),
        ("a control character in a field", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400, "bad-framing"),
        ("a bare CR in a field", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400, "bad-framing"),
        ("a field without a name", b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", 400, "bad-framing"),
    ],
)  # fmt: skip
async def test_refused_at_once(strict: Server, row: str, sent: bytes, status: int, slug: str) -> None:
    reply = await strict.ask(sent)
    assert (reply.status, reply.slug) == (status, slug)
    assert reply.headers["connection"] == "close"
    if status == 405:
        assert "POST" in reply.headers["allow"]
    # A body may turn out bad after its application was started; it was never handed on whole.
    assert all(s["method"] == "POST" for s in strict.app.seen)


async def test_row_14_a_method_in_a_header_is_no_method(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(post(b"X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n"))
        assert json.loads((await connection.reply()).body)["method"] == "POST"


@pytest.mark.parametrize(
    "path", [b"/a%20b", b"/a?next=//evil&x=/../%2F%00", b"/.well-known/x", b"/a..b/c.", b"/%E6%94%AF"]
)
async def test_row_13_ordinary_addresses_pass(strict: Server, path: bytes) -> None:
    async with strict.connection() as connection:
        await connection.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await connection.reply()).status == 200


async def test_row_7_the_limits_themselves_are_allowed(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 99 + b"\r\n")
        assert (await connection.reply()).status == 200
        await connection.send(b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 16_300 + b"\r\n\r\n")
        assert (await connection.reply()).status == 200
        body = b"x" * 100_000  # a large body is no large header, however it arrives
        await connection.send(post(b"Content-Length: %d\r\n" % len(body), body))
        assert (await connection.reply()).status == 200


async def test_row_6_hosts_can_be_listed() -> None:
    with serving(replace(LONG, allowed_hosts=frozenset({b"flywheel.example"}))) as server:
        reply = await server.ask(b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n")
        assert (reply.status, reply.slug) == (400, "bad-framing")
        async with server.connection() as connection:
            await connection.send(b"GET / HTTP/1.1\r\nHost: Flywheel.Example\r\n\r\n")
            assert (await connection.reply()).status == 200


async def test_row_1_too_long_by_its_own_word(strict: Server) -> None:
    """The answer comes before the body, and arrives though the client is still sending."""
    reply = await strict.ask(post(b"Content-Length: %d\r\n" % (MAX_BODY + 1), b"x" * 300_000))
    assert (reply.status, reply.slug) == (413, "payload-too-large")


async def test_row_2_endless_chunks(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(post(b"Transfer-Encoding: chunked\r\n"))

        async def pour() -> None:
            # Its end never comes. Somewhat more than the limit: whoever pours on for ever is cut off, answer and all.
            chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            for _ in range(MAX_BODY * 3 // 2 // 0x10000):
                await connection.send(chunk)

        pouring = asyncio.create_task(pour())
        try:
            reply = await connection.reply()
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
    assert (reply.status, reply.slug) == (413, "payload-too-large")


async def test_row_2_endless_framing_without_a_body(strict: Server) -> None:
    for endless in (
        b"1;" + b"e" * 200_000,
        b"1\r\na\r\n0\r\nX: " + b"t" * 200_000,
        b"1\r\na\r\n0\r\n" + b"X: t\r\n" * 40_000,
    ):
        async with strict.connection() as connection:
            await connection.send(post(b"Transfer-Encoding: chunked\r\n"))
            await connection.send(endless)
            reply = await connection.reply()
            assert (reply.status, reply.slug) == (400, "bad-framing")
            assert await connection.closed() == b""


async def test_row_3_a_length_that_is_too_small(strict: Server) -> None:
    """What follows the body is another request, and not one that can be read."""
    async with strict.connection() as connection:
        await connection.send(post(b"Content-Length: 2\r\n", b"abcdef\r\n"))
        assert json.loads((await connection.reply()).body)["body"] == 2
        rest = await connection.closed()
        assert rest == b"" or b"400 Bad Request" in rest
    # A chunked one that the test before gave up may still be on its way to the application.
    chunked = (b"transfer-encoding", b"chunked")
    assert len([scope for scope in strict.app.seen if chunked not in scope["headers"]]) == 1


async def test_row_3_a_length_that_is_too_large_and_a_client_that_leaves(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(post(b"Content-Length: 100\r\n", b"half"))
        await until(lambda: len(strict.app.seen) == 1)
    await until(lambda: strict.app.disconnects == 1)


async def test_an_unwanted_body_does_not_reset_the_answer(strict: Server) -> None:
    body = b"x" * 2_000_000
    reply = await strict.ask(post(b"Content-Length: %d\r\n" % len(body), body, b"/unread"))
    assert reply.status == 200


async def test_a_bad_request_behind_a_good_one_does_not_spoil_its_answer(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(strict.app.seen) == 1)
        before = refusals("method-not-allowed")
        await connection.send(b"FROB / HTTP/1.1\r\n\r\n")
        await until(lambda: refusals("method-not-allowed") == before + 1)
        await connection.send(GET)
        strict.app.release()
        assert json.loads((await connection.reply()).body)["path"] == "/wait"
        assert await connection.closed() == b""
    assert len(strict.app.seen) == 1


async def test_a_bad_body_behind_a_good_request(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(strict.app.seen) == 1)
        before = refusals("bad-framing")
        await connection.send(post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n"))
        await until(lambda: refusals("bad-framing") == before + 1)
        strict.app.release()
        assert json.loads((await connection.reply()).body)["path"] == "/wait"
        assert await connection.closed() == b""
    assert len(strict.app.seen) == 1


async def test_more_requests_in_hand_than_allowed_are_told_503() -> None:
    with serving(replace(LONG, max_requests=1)) as server:
        async with server.connection() as one, server.connection() as two:
            await one.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(lambda: len(server.app.seen) == 1)
            reply = await two.asked(GET)
            assert (reply.status, reply.slug, reply.headers["retry-after"]) == (503, "unavailable", "1")
            server.app.release()
            assert (await one.reply()).status == 200
        async with server.connection() as three:
            await three.send(GET)
            assert (await three.reply()).status == 200


async def test_more_connections_than_allowed_end_an_idle_one() -> None:
    with serving(replace(LONG, max_connections=2)) as server:
        await crowd(server)


async def crowd(server: Server) -> None:
    async with server.connection() as busy:
        await busy.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(server.app.seen) == 1)
        async with server.connection() as idle, server.connection() as new:
            assert await idle.closed() == b""
            await new.send(GET)
            assert (await new.reply()).status == 200
            server.app.release()
            assert (await busy.reply()).status == 200


# ── rows with a wait ──


def test_rows_8_to_10_the_deadlines_as_shipped() -> None:
    """Each, with the sweep that notices it and the time for the answer to leave, ends within what is promised."""
    limits = Limits()
    assert limits.idle_s + limits.sweep_s <= 10
    assert limits.header_s + limits.linger_s + 2 * limits.sweep_s <= 10
    assert limits.body_s + limits.linger_s + 2 * limits.sweep_s <= 30
    assert limits.body_min_bytes_per_s >= 1024
    assert (limits.max_header_bytes, limits.max_headers) == (16 * 1024, 100)


async def test_the_deadlines_reach_the_server() -> None:
    config = server_config(Application(), host="127.0.0.1", port=0)
    assert isinstance(config.http, type)
    shipped = config.http.limits  # type: ignore[attr-defined]
    assert replace(shipped, max_connections=Limits().max_connections) == Limits()
    assert 0 < shipped.max_connections <= Limits().max_connections


async def test_row_8_a_header_that_trickles(hasty: Server) -> None:
    async with hasty.connection() as connection:

        async def trickle() -> None:
            await connection.send(b"GET / HTTP/1.1\r\n" + HOST)
            while True:
                await connection.send(b"X: 1\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        reply = await connection.reply()
        await connection.closed()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert (reply.status, reply.slug) == (408, "request-timeout")
    assert hasty.app.seen == []


async def test_row_8_a_header_that_stops(hasty: Server) -> None:
    reply = await hasty.ask(b"GET / HT")
    assert (reply.status, reply.slug) == (408, "request-timeout")


async def test_row_8_also_on_a_connection_that_was_good(hasty: Server) -> None:
    async with hasty.connection() as connection:
        await connection.send(GET)
        assert (await connection.reply()).status == 200
        assert (await connection.asked(b"GET")).status == 408


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_row_9_a_body_that_trickles(hasty: Server, framing: bytes) -> None:
    async with hasty.connection() as connection:

        async def trickle() -> None:
            await connection.send(post(framing))
            while True:
                await connection.send(b"1\r\nx\r\n" if b"chunked" in framing else b"x")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        reply = await connection.reply()
        await connection.closed()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert (reply.status, reply.slug) == (408, "request-timeout")
    await until(lambda: hasty.app.disconnects == 1)


async def test_row_9_a_body_that_comes_steadily_is_let_finish() -> None:
    with serving(replace(SHORT, body_min_bytes_per_s=1000)) as server:
        await come_steadily(server)


async def come_steadily(server: Server) -> None:
    async with server.connection() as connection:
        start = asyncio.get_running_loop().time()
        await connection.send(post(b"Content-Length: 2000\r\n"))
        for _ in range(20):
            await connection.send(b"x" * 100)
            await asyncio.sleep(0.05)
        assert json.loads((await connection.reply()).body)["body"] == 2000
        assert asyncio.get_running_loop().time() - start > SHORT.body_s


async def test_row_10_no_byte_at_all(hasty: Server) -> None:
    async with hasty.connection() as connection:
        assert await connection.closed() == b""


async def test_row_10_only_line_ends(hasty: Server) -> None:
    async with hasty.connection() as connection:

        async def line_ends() -> None:
            while True:
                await connection.send(b"\r\n")
                await asyncio.sleep(0.02)

        sending = asyncio.create_task(line_ends())
        assert await connection.closed() == b""
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_row_10_kept_alive_and_idle(hasty: Server) -> None:
    async with hasty.connection() as connection:
        await connection.send(GET)
        assert (await connection.reply()).status == 200
        assert await connection.closed() == b""


async def test_row_12_expect_100_then_silence(hasty: Server) -> None:
    async with hasty.connection() as connection:
        await connection.send(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
        async with asyncio.timeout(WAIT_S):
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        reply = await connection.reply()
        assert (reply.status, reply.slug) == (408, "request-timeout")
        assert await connection.closed() == b""


async def test_row_12_expect_100_and_a_body(strict: Server) -> None:
    async with strict.connection() as connection:
        await connection.send(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
        async with asyncio.timeout(WAIT_S):
            await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"abcde")
        assert json.loads((await connection.reply()).body)["body"] == 5


async def test_an_application_at_work_has_no_deadline(hasty: Server) -> None:
    async with hasty.connection() as connection:
        await connection.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        async with hasty.connection() as idle:
            assert await idle.closed() == b""  # so much time has passed
        await connection.send(b"GET /half")  # and the beginning of the next one does not end the answer to this one
        async with hasty.connection() as idle:
            assert await idle.closed() == b""
        hasty.app.release()
        assert json.loads((await connection.reply()).body)["path"] == "/wait"


async def test_an_answer_that_nobody_reads(hasty: Server) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", hasty.port))
        await loop.sock_sendall(client, b"GET /flood HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(hasty.app.seen) == 1)

        before = refusals("unread")
        await until(lambda: refusals("unread") == before + 1)  # and this client reads nothing meanwhile
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                while await loop.sock_recv(client, 1 << 20):
                    pass


async def test_row_11_slow_sockets_harm_nobody_else(hasty: Server) -> None:
    """500 of them, half silent, half in the middle of a header; healthy requests all get through, and they all end."""
    slow = [await asyncio.open_connection("127.0.0.1", hasty.port) for _ in range(500)]
    for _, writer in slow[::2]:
        writer.write(b"POST / HTTP/1.1\r\nX: ")
    async with hasty.connection() as connection:
        for _ in range(50):
            await connection.send(GET)
            assert (await connection.reply()).status == 200
    async with asyncio.timeout(WAIT_S):
        for reader, writer in slow:
            rest = await reader.read()
            assert rest == b"" or b" 408 " in rest
            writer.close()
    assert len(hasty.app.seen) == 50


# ── the shell as a whole ──


class ReadingApplication(Application):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, max_bytes=1 << 20, content_types=JSON)
        except Problem as problem:
            await send_problem(scope, send, problem)
            return
        said = str(len(body)).encode()
        headers = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": said})


async def test_rows_16_and_21_through_the_wire() -> None:
    """gzip and types, with the same reader that the services use."""

    with serving(LONG, ReadingApplication()) as server:
        bomb = gzip.compress(bytes(64 << 20))
        for sent, status in (
            (
                post(
                    b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n" % len(bomb),
                    bomb,
                ),
                413,
            ),
            (post(b"Content-Type: text/csv\r\nContent-Length: 2\r\n", b"{}"), 415),
            (post(b"Content-Type: application/json\r\nContent-Length: 2\r\n", b"{}"), 202),
        ):
            async with server.connection() as connection:
                await connection.send(sent)
                assert (await connection.reply()).status == status


async def test_healthy_requests_start_no_timer(strict: Server) -> None:
    """The promise that it costs nothing: a request that comes in one piece leaves only the idle deadline behind."""
    async with strict.connection() as connection:
        await connection.send(GET)
        await connection.reply()
        ours = connection.writer.get_extra_info("sockname")
        [protocol] = [o for o in gc.get_objects() if isinstance(o, GuardedProtocol) and o.client == ours]
        assert protocol.timeout_keep_alive_task is None
        assert protocol.deadline > time.monotonic()
