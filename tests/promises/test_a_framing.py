"""A. Framing and size, before anything is parsed. The protocol's own table, with its deadlines, is
`tests/shared/test_protocol.py`; here it is met in front of what it guards."""

import json
import re

from tests.promises.site import Site
from tests.promises.table import AUTH, HOST, JSON, KEY, Row, asked, body, framed, get, post, refused, rows

MIB = 1024 * 1024
GOOD = body()
CHUNKED = b"Transfer-Encoding: chunked\r\n" + JSON
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
BATCH = b"/v1/feedback/batch"


def asking(host: bytes, path: bytes = b"/v1/measures") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + host + AUTH + b"\r\n"


TABLE = [
    Row(1, "content-length over the limit", framed(b"Content-Length: %d\r\n" % (MIB + 1) + JSON, b"{"), 413, "payload-too-large", closed=True),
    Row(1, "content-length over a batch's limit", framed(b"Content-Length: %d\r\n" % (16 * MIB + 1) + JSON, b"[", BATCH), 413, "payload-too-large", closed=True),
    Row(2, "endless chunks", framed(CHUNKED, CHUNK * 17), 413, "payload-too-large", closed=True),
    Row(3, "a content-length that is too small", framed(b"Content-Length: 10\r\n" + JSON, GOOD), 400, "malformed", closed=True),
    Row(4, "a negative content-length", framed(b"Content-Length: -1\r\n" + JSON, GOOD), 400, "bad-framing", closed=True),
    Row(4, "two content-lengths that differ", framed(b"Content-Length: 3\r\nContent-Length: 4\r\n" + JSON, GOOD), 400, "bad-framing", closed=True),
    Row(5, "content-length and transfer-encoding", framed(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n"), 400, "bad-framing", closed=True),
    Row(5, "a second request smuggled behind the chunks", framed(b"Content-Length: 4\r\n" + CHUNKED, b"0\r\n\r\n" + post(GOOD)), 400, "bad-framing", closed=True),
    Row(6, "two hosts", asking(b"Host: localhost\r\nHost: evil\r\n"), 400, "bad-framing", closed=True),
    Row(6, "an empty host", asking(b"Host: \r\n"), 400, "bad-framing", closed=True),
    Row(6, "no host", asking(b""), 400, "bad-framing", closed=True),
    Row(6, "a host that is not ours", asking(b"Host: evil.example\r\n"), 400, "bad-framing"),
    Row(6, "a host that is not ours in front of feedback", post(GOOD).replace(HOST, b"Host: evil.example\r\n"), 400, "bad-framing"),
    Row(7, "more than 16 kB of header", get(b"/v1/measures", AUTH + b"X: " + b"a" * 17_000 + b"\r\n"), 431, "headers-too-large", closed=True),
    Row(7, "more than 100 fields", get(b"/v1/measures", AUTH + b"X: 1\r\n" * 101), 431, "headers-too-large", closed=True),
    Row(7, "16 MB of fields", b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * (1 << 21), 431, "headers-too-large", closed=True),
    Row(13, "an absolute address", get(b"http://localhost/v1/measures"), 400, "malformed", closed=True),
    Row(13, "encoded dots", get(b"/v1/cases/%2e%2e/measures"), 400, "malformed", closed=True),
    Row(13, "two slashes", get(b"//v1/measures"), 400, "malformed", closed=True),
    Row(13, "an encoded slash", get(b"/v1%2Fmeasures"), 400, "malformed", closed=True),
    Row(13, "an encoded NUL", get(b"/v1/cases/%00"), 400, "malformed", closed=True),
    Row(13, "another spelling of a path of ours", get(b"/V1/measures"), 404, "not-found"),
    Row(13, "a slash behind a path of ours", get(b"/v1/measures/"), 404, "not-found"),
    Row(14, "TRACE", b"TRACE /v1/feedback HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed", closed=True),
    Row(14, "an unknown method", b"FROB /v1/feedback HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method-not-allowed", closed=True),
    Row(14, "a method that this path has not", b"PUT /v1/feedback HTTP/1.1\r\n" + HOST + AUTH + b"Content-Length: 0\r\n\r\n", 405, "method-not-allowed"),
    Row(14, "a method in a header", get(b"/v1/feedback", AUTH + b"X-HTTP-Method-Override: POST\r\n"), 405, "method-not-allowed"),
]  # fmt: skip


@rows(TABLE)
async def test_refused(site: Site, row: Row) -> None:
    with site.memory(at_most_mib=32):
        await refused(site, row)


async def test_13_http_1_0_is_served_and_closed(site: Site) -> None:
    head = b"POST /v1/feedback HTTP/1.0\r\n" + AUTH + JSON + b"Content-Length: %d\r\n\r\n" % len(GOOD)
    assert (await asked(site, head + GOOD, closed=True)).status == 202


async def test_14_a_method_in_a_header_is_no_method(site: Site) -> None:
    headers = JSON + b"X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\n_method: PATCH\r\n"
    assert (await asked(site, post(GOOD, headers))).status == 202


async def test_15_a_file_asked_for_in_thousands_of_ranges_is_sent_once(site: Site) -> None:
    page = site.http.get("/login").text
    (style,) = set(re.findall(r'href="(/static/[^"]+\.css)"', page))
    whole = await asked(site, get(style.encode(), b""))
    assert whole.status == 200
    ranges = b"Range: bytes=" + b",".join([b"0-"] * 4_000) + b"\r\n"
    reply = await asked(site, get(style.encode(), ranges))
    assert (reply.status, reply.body) == (200, whole.body)


async def test_3_what_follows_a_short_body_is_never_the_next_persons_request(site: Site) -> None:
    """The bytes behind it are a request of their own, refused as one that has no key of the first."""
    inner = b"POST /v1/feedback HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    async with site.connected() as connection:
        await connection.send(framed(b"Content-Length: 2\r\n" + JSON, b"{}" + inner).replace(KEY, site.key.encode()))
        first, second = await connection.reply(), await connection.reply()
    assert (first.status, first.slug) == (422, "invalid-feedback")
    assert (second.status, second.slug) == (401, "unauthorized")
    assert json.loads(second.body)["request_id"] != json.loads(first.body)["request_id"]
