"""Requests answered without a task: on real sockets, beside those that have one, in whatever order they come."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web.at_once import Asked, answer_head
from tests.connection import Connection
from tests.shared.test_protocol import HOST, LONG, Application, Server, post, serving, until


class Handler:
    """Does with each request what its `X-How` says; keeps those that are to wait."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.waiting: list[Asked] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, asked: Asked) -> bool:
        self.loop = asyncio.get_running_loop()
        self.asked.append(asked)
        how = asked.fields.get(b"x-how", b"answer")
        if how == b"answer":
            self.answer(asked)
        elif how == b"wait":
            self.waiting.append(asked)
        return how != b"decline"

    @staticmethod
    def answer(asked: Asked) -> None:
        body = json.dumps({"at_once": len(asked.body)}).encode()
        asked.answer(answer_head(202, len(body)), body)

    def go_on(self, app: ASGIApp | None = None) -> None:
        """Those that wait are answered, or handed to that application. From any thread."""
        assert self.loop is not None
        for asked in self.waiting:
            if app is None:
                self.loop.call_soon_threadsafe(self.answer, asked)
            else:
                self.loop.call_soon_threadsafe(asked.hand_over, app)
        self.waiting = []


class Place:
    def __init__(self, server: Server, handler: Handler) -> None:
        self.server = server
        self.handler = handler
        self.connection = server.connection


@contextmanager
def serving_at_once() -> Iterator[Place]:
    handler = Handler()
    with serving(LONG, Application(), {"/": handler}) as server:
        yield Place(server, handler)


@pytest.fixture
def place() -> Iterator[Place]:
    with serving_at_once() as found:
        yield found


def whole(how: bytes, body: bytes = b"abc") -> bytes:
    return post(b"X-How: %b\r\nContent-Length: %d\r\n" % (how, len(body)), body)


async def said(connection: Connection) -> dict[str, object]:
    reply = await connection.reply()
    found: dict[str, object] = json.loads(reply.body)
    return found


async def test_it_answers_and_the_connection_goes_on(place: Place) -> None:
    async with place.connection() as connection:
        for size in (0, 3, 20_000):
            await connection.send(whole(b"answer", b"x" * size))
            reply = await connection.reply()
            assert (reply.status, json.loads(reply.body)) == (202, {"at_once": size})
            assert "date" in reply.headers
            assert "connection" not in reply.headers
    assert place.server.app.seen == []


async def test_what_it_declines_the_application_gets_whole(place: Place) -> None:
    async with place.connection() as connection:
        for _ in range(2):
            await connection.send(whole(b"decline", b"abcde"))
            assert (await said(connection))["body"] == 5
        await connection.send(whole(b"answer"))
        assert await said(connection) == {"at_once": 3}
    assert [dict(scope["headers"])[b"x-how"] for scope in place.server.app.seen] == [b"decline"] * 2


@pytest.mark.parametrize(
    "sent",
    [
        whole(b"answer")[:-1],
        post(b"Connection: close\r\nContent-Length: 3\r\n", b"abc"),
        post(b"X: 1\r\nX: 2\r\nContent-Length: 3\r\n", b"abc"),
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
        post(b"Content-Length: 3\r\n", b"abc", path=b"/?a=1"),
        post(b"Content-Length: 3\r\n", b"abc", path=b"/other/one"),
        post(b"Expect: 100-continue\r\nContent-Length: 3\r\n", b"abc"),
    ],
    ids=["in pieces", "the last", "a field twice", "another method", "a query", "another path", "asks first"],
)
async def test_what_is_not_plain_goes_to_the_application(place: Place, sent: bytes) -> None:
    async with place.connection() as connection:
        await connection.send(sent)
        if sent.endswith(b"ab"):
            await until(lambda: len(place.server.app.seen) == 1)
            await connection.send(b"c")
        if b"Expect" in sent:
            assert (await connection.reply()).status == 100
        assert (await said(connection))["body"] == 3
    assert place.handler.asked == []


async def test_those_that_come_meanwhile_wait_for_their_turn(place: Place) -> None:
    for hand_over in (False, True):
        async with place.connection() as connection:
            others = b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(3))
            await connection.send(whole(b"wait", b"first") + others + post(b"Content-Length: 4\r\n", b"last")[:-2])
            await until(lambda: len(place.handler.waiting) == 1)
            place.handler.go_on(place.server.app if hand_over else None)
            first = await said(connection)
            assert first.get("at_once", first.get("body")) == 5
            assert [(await said(connection))["path"] for _ in range(3)] == ["/0", "/1", "/2"]
            await connection.send(b"st")
            assert (await said(connection))["body"] == 4


async def test_what_is_refused_in_the_middle_was_asked_of_nobody(place: Place) -> None:
    async with place.connection() as connection:
        reply = await connection.asked(post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\nZ\r\n"))
        assert (reply.status, reply.slug) == (400, "bad-framing")
    assert place.handler.asked == []


async def test_a_defect_after_it_was_handed_over_is_an_answer_too(place: Place) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("on purpose")

    async with place.connection() as connection:
        await connection.send(whole(b"wait"))
        await until(lambda: len(place.handler.waiting) == 1)
        place.handler.go_on(breaks)
        assert (await connection.reply()).status == 500


async def test_a_client_that_went_away_is_missed_by_nobody(place: Place) -> None:
    async with place.connection() as connection:
        await connection.send(whole(b"wait"))
        await until(lambda: len(place.handler.waiting) == 1)
    place.handler.go_on()
    async with place.connection() as connection:
        await connection.send(whole(b"answer"))
        assert await said(connection) == {"at_once": 3}


async def test_a_stop_waits_for_the_answer_which_is_the_last() -> None:
    with serving_at_once() as place:
        async with place.connection() as connection:
            await connection.send(whole(b"wait"))
            await until(lambda: len(place.handler.waiting) == 1)
            place.server.stop()
            await until(place.server.is_stopping)
            place.handler.go_on()
            reply = await connection.reply()
            assert (reply.status, reply.headers["connection"]) == (202, "close")
            assert await connection.closed() == b""
