"""A row of the list: what is sent, byte by byte, and how it is refused."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.connection import Reply
from tests.promises.site import Site

KEY = b"fw_" + b"K" * 43
"""Stands in a row for a key that there is only once the process runs; as long as one."""
HOST = b"Host: localhost\r\n"
AUTH = b"Authorization: Bearer " + KEY + b"\r\n"
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """`field`: what the refusal must name. `closed`: whether the connection must end with the answer."""

    number: int
    words: str
    sent: bytes
    status: int
    slug: str
    field: str | None = None
    closed: bool = False


def rows(table: Sequence[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[named(row.number, row.words) for row in table])


def named(number: int, words: str) -> str:
    """`1-content-length-over-the-limit`."""
    return f"{number}-{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}"


def post(body: bytes, headers: bytes = JSON, path: bytes = b"/v1/feedback") -> bytes:
    return framed(b"Content-Length: %d\r\n" % len(body) + headers, body, path)


def framed(headers: bytes, body: bytes = b"", path: bytes = b"/v1/feedback") -> bytes:
    """A POST that says of its length only what `headers` say."""
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + AUTH + headers + b"\r\n" + body


def get(path: bytes, headers: bytes = AUTH) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def feedback(**changes: Any) -> dict[str, Any]:
    return {"source": "promises", "text": "The map is blank. 地图是空白的。", **changes}


def body(value: Any = None, **changes: Any) -> bytes:
    return json.dumps(feedback(**changes) if value is None else value, separators=(",", ":")).encode()


async def asked(site: Site, sent: bytes, *, closed: bool = False) -> Reply:
    """Sends while it listens: a refusal may come before all of it is sent, and may end the connection."""
    async with site.connected() as connection:
        sending = asyncio.create_task(connection.send(sent.replace(KEY, site.key.encode())))
        try:
            reply = await connection.reply()
            if closed:
                await connection.closed()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return reply


async def refused(site: Site, row: Row) -> Reply:
    """It is refused as the row says, nothing of it was taken, and nothing of ours is shown."""
    before = site.accepted()
    reply = await asked(site, row.sent, closed=row.closed)
    assert (reply.status, reply.slug) == (row.status, row.slug), reply.body
    document: Mapping[str, Any] = json.loads(reply.body)
    if row.field is not None:
        assert row.field in [error["field"] for error in document.get("errors", ())]
    assert "server" not in reply.headers
    assert site.accepted() == before
    return reply
