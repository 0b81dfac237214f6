"""A body is read whole, within its limits, or refused; no more of it is taken than the limit."""

import asyncio
import contextlib
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from shared.web import body as body_module
from shared.web.body import JSON, TIMEOUT_S, media_type, read_body
from shared.web.problems import Problem

LIMIT = 1000


class Client:
    """The ASGI side of a client: hands out these chunks and remembers how many were taken."""

    def __init__(
        self, chunks: Iterable[bytes], *, ends: bool = True, goes_away: bool = False, pause_s: float = 0.0
    ) -> None:
        self._chunks = iter(chunks)
        self._next = next(self._chunks, None)
        self._ends = ends
        self._goes_away = goes_away
        self._pause_s = pause_s
        self.taken = 0

    async def receive(self) -> Message:
        if self._next is None:
            if self._goes_away:
                return {"type": "http.disconnect"}
            if not self._ends:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.taken and self._pause_s:
            await asyncio.sleep(self._pause_s)
        chunk, self._next = self._next, next(self._chunks, None)
        self.taken += 1
        last = self._next is None and self._ends and not self._goes_away
        return {"type": "http.request", "body": chunk, "more_body": not last}


def scope(**headers: str | bytes) -> Scope:
    pairs = [(k.replace("_", "-").encode(), v.encode() if isinstance(v, str) else v) for k, v in headers.items()]
    return {"type": "http", "headers": pairs}


async def read(client: Client, the_scope: Scope, **options: object) -> bytes:
    settings: dict[str, object] = {"max_bytes": LIMIT, "content_types": None, **options}
    return await read_body(the_scope, client.receive, **settings)  # type: ignore[arg-type]


async def refused(client: Client, the_scope: Scope, **options: object) -> Problem:
    with pytest.raises(Problem) as found:
        await read(client, the_scope, **options)
    return found.value


def chunked(data: bytes, rng: random.Random, most: int = 50) -> list[bytes]:
    pieces = []
    while data:
        size = rng.randint(0, most)
        pieces.append(data[:size])
        data = data[size:]
    return pieces or [b""]


@given(st.binary(max_size=LIMIT), st.randoms(use_true_random=False), st.booleans())
def test_whatever_the_pieces_the_body_is_the_same(data: bytes, rng: random.Random, zipped: bool) -> None:
    sent = gzip.compress(data) if zipped else data
    the_scope = scope(content_encoding="GZip ") if zipped else scope()
    found = asyncio.run(read(Client(chunked(sent, rng)), the_scope, max_encoded_bytes=2 * LIMIT))
    assert found == data


async def test_exactly_the_limit_is_allowed() -> None:
    assert await read(Client([b"x" * LIMIT]), scope(content_length=str(LIMIT))) == b"x" * LIMIT
    assert await read(Client([b"x" * 400, b"x" * 600]), scope()) == b"x" * LIMIT


async def test_row_1_a_content_length_over_the_limit_is_refused_before_reading() -> None:
    client = Client([b"x"])
    problem = await refused(client, scope(content_length=str(LIMIT + 1)))
    assert (problem.status, problem.slug) == (413, "payload-too-large")
    assert problem.headers["Connection"] == "close"
    assert client.taken == 0


async def test_row_2_an_endless_body_is_read_to_the_limit_and_no_further() -> None:
    client = Client(b"x" * 100 for _ in range(10**9))
    assert (await refused(client, scope(transfer_encoding="chunked"))).slug == "payload-too-large"
    assert client.taken == LIMIT // 100 + 1


async def test_row_2_one_large_piece() -> None:
    assert (await refused(Client([b"x" * (LIMIT + 1)]), scope())).status == 413


async def test_row_9_a_body_that_trickles() -> None:
    client = Client((b"x" for _ in range(10**9)), pause_s=0.01)
    problem = await refused(client, scope(), timeout_s=0.1)
    assert (problem.status, problem.slug) == (408, "request-timeout")
    assert client.taken < LIMIT


async def test_row_9_a_body_that_stops() -> None:
    assert (await refused(Client([b"x"], ends=False), scope(), timeout_s=0.05)).status == 408


def test_row_9_the_default_is_30_s_at_most() -> None:
    assert TIMEOUT_S <= 30


async def test_a_steady_sender_buys_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "MIN_BYTES_PER_S", 100)
    client = Client([b"x" * 20] * 20, pause_s=0.02)
    assert len(await read(client, scope(), timeout_s=0.05)) == 400


async def test_all_bodies_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has sent a part of much keeps others out, who are told to come again, until it goes."""
    monkeypatch.setattr(body_module, "READING_MAX_BYTES", 1500)
    holding = Client([b"x" * 600, b"x" * 300], ends=False)
    held = asyncio.create_task(read(holding, scope()))
    while holding.taken < 2:
        await asyncio.sleep(0)
    for sent in ([b"x" * 400, b"x" * 400], [gzip.compress(b"x" * 900)]):
        headers = {"content_encoding": "gzip"} if len(sent) == 1 else {}
        problem = await refused(Client(sent), scope(**headers))
        assert (problem.status, problem.headers["Retry-After"]) == (503, "1")
    assert await read(Client([b"x" * 900]), scope()) == b"x" * 900, "what comes in one piece waits for nobody"
    held.cancel()
    await asyncio.wait([held])
    assert await read(Client([b"x" * 400, b"x" * 400]), scope()) == b"x" * 800
    assert body_module._Room.taken_by_all == 0


@pytest.mark.parametrize("chunks", [[b"x" * 600] * 2, [b"x", b"y"]])
async def test_the_room_of_a_body_is_given_back_whatever_becomes_of_it(chunks: list[bytes]) -> None:
    for client in (Client(chunks), Client(chunks, goes_away=True)):
        with contextlib.suppress(Problem, ClientDisconnect):
            await read(client, scope())
    assert body_module._Room.taken_by_all == 0


async def test_a_client_that_goes_away_hands_on_nothing() -> None:
    for client in (Client([], goes_away=True), Client([b"{", b"}"], goes_away=True)):
        with pytest.raises(ClientDisconnect):
            await read(client, scope())


BOMB = zlib.compressobj(9, wbits=31)
BOMB_BYTES = b"".join([BOMB.compress(bytes(1 << 20)) for _ in range(128)]) + BOMB.flush()


@pytest.mark.parametrize("piece", [1 << 20, 4096])
async def test_row_16_a_gzip_bomb_costs_no_more_than_the_limit(piece: int) -> None:
    limit = 1 << 20
    assert len(BOMB_BYTES) < limit
    pieces = [BOMB_BYTES[i : i + piece] for i in range(0, len(BOMB_BYTES), piece)]
    tracemalloc.start()
    try:
        problem = await refused(Client(pieces), scope(content_encoding="gzip"), max_bytes=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem.slug == "payload-too-large"
    assert peak < 5 * limit


async def test_the_encoded_limit_is_its_own() -> None:
    noise = random.Random(1).randbytes(900)
    zipped = gzip.compress(noise)
    assert await read(Client([zipped]), scope(content_encoding="gzip")) == noise
    problem = await refused(Client([zipped]), scope(content_encoding="gzip"), max_encoded_bytes=500)
    assert problem.slug == "payload-too-large"


ONE = gzip.compress(b'{"text":"' + random.Random(2).randbytes(100).hex().encode() + b'"}', mtime=0)


@pytest.mark.parametrize("piece", [1, 7, 10**6])
@pytest.mark.parametrize(
    ("row", "sent"),
    [
        ("19 truncated", ONE[:-1]),
        ("19 truncated in the middle", ONE[: len(ONE) // 2]),
        ("19 only a header", ONE[:10]),
        ("19 nothing", b""),
        ("19 trailing garbage", ONE + b"x"),
        ("19 trailing zeros", ONE + b"\0" * 8),
        ("19 two members", ONE + ONE),
        ("19 a wrong checksum", ONE[:-8] + bytes([ONE[-8] ^ 1]) + ONE[-7:]),
        ("19 a wrong length", ONE[:-1] + bytes([ONE[-1] ^ 1])),
        ("19 no gzip at all", b'{"a":1}'),
        ("19 zlib, no gzip", zlib.compress(b"{}")),
    ],
)
async def test_row_19_gzip_that_is_not_one_whole_member(row: str, sent: bytes, piece: int) -> None:
    pieces = [sent[i : i + piece] for i in range(0, len(sent), piece)]
    problem = await refused(Client(pieces), scope(content_encoding="gzip"))
    assert (problem.status, problem.slug) == (400, "malformed")


@pytest.mark.parametrize(
    ("row", "encoding"),
    [
        ("17 zstd", "zstd"),
        ("18 nested", "gzip, gzip"),
        ("18 nested the other way", "gzip,identity"),
        ("20 br", "br"),
        ("20 deflate", "deflate"),
        ("20 x-gzip", "x-gzip"),
        ("20 nonsense", "\xff".encode("latin-1")),
    ],
)
async def test_rows_17_to_20_other_encodings(row: str, encoding: str | bytes) -> None:
    client = Client([ONE])
    problem = await refused(client, scope(content_encoding=encoding))
    assert (problem.status, problem.slug) == (415, "unsupported-media-type")
    assert problem.headers["Accept-Encoding"] == "gzip"
    assert client.taken == 0


async def test_row_18_nested_over_two_fields() -> None:
    two = {"type": "http", "headers": [(b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")]}
    assert (await refused(Client([gzip.compress(ONE)]), two)).status == 415


async def test_gzip_can_be_refused() -> None:
    problem = await refused(Client([ONE]), scope(content_encoding="gzip"), gzip_allowed=False)
    assert (problem.status, problem.headers["Accept-Encoding"]) == (415, "identity")
    assert await read(Client([b"{}"]), scope(content_encoding="identity"), gzip_allowed=False) == b"{}"


TYPES = ("application/json", "application/x-ndjson", "+json")


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json;charset=utf-8", True),
        ('application/json ; charset="UTF-8"', True),
        ("application/json; charset=utf8; profile=x", True),
        ("application/x-ndjson", True),
        ("application/cloudevents+json", True),
        ("", False),
        ("text/plain", False),
        ("application/jsonp", False),
        ("application/json, text/html", False),
        ("text/html, application/a+json", False),
        ("application/xml", False),
        ("application/json; charset=utf-16", False),
        ("application/json; charset=latin1", False),
        ("application/json; charset", False),
        (b"application/json\xff", False),
    ],
)
async def test_rows_21_and_22_content_types(content_type: str | bytes, accepted: bool) -> None:
    client = Client([b"{}"])
    if accepted:
        assert await read(client, scope(content_type=content_type), content_types=TYPES) == b"{}"
    else:
        problem = await refused(client, scope(content_type=content_type), content_types=TYPES)
        assert (problem.status, problem.slug) == (415, "unsupported-media-type")
        assert problem.headers["Accept"] == "application/json, application/x-ndjson, application/*+json"
        assert client.taken == 0


async def test_row_21_no_content_type_and_two() -> None:
    assert (await refused(Client([b"{}"]), scope(), content_types=JSON)).status == 415
    two = {"type": "http", "headers": [(b"content-type", b"application/json"), (b"content-type", b"text/html")]}
    assert (await refused(Client([b"{}"]), two, content_types=JSON)).status == 415


@pytest.mark.parametrize("length", ["-1", "+1", "1e3", "0x10", "", "9" * 30, "１"])
async def test_row_4_a_length_that_is_no_number(length: str) -> None:
    assert (await refused(Client([b"{}"]), scope(content_length=length))).status in {400, 413}


def test_the_media_type_alone() -> None:
    assert media_type(scope(content_type="Application/X-NDJSON; charset=utf-8")) == "application/x-ndjson"
    assert media_type(scope()) == ""
