"""B. Encodings and compression. How a body is read piece by piece is `tests/shared/test_body.py`'s."""

import gzip
import zlib

import pytest

from tests.promises.site import Site
from tests.promises.table import JSON, Row, asked, body, named, post, refused, rows

MIB = 1024 * 1024
GOOD = body()
GZIP = JSON + b"Content-Encoding: gzip\r\n"
BATCH = b"/v1/feedback/batch"
ZIPPED = gzip.compress(GOOD)


def bomb(mib: int) -> bytes:
    """So much of nothing, in a thousandth of its size."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(b" " * MIB) for _ in range(mib)), packer.flush()])


# 16 kB that a reader of zstd would make 512 MB of: a frame, and blocks that each repeat one byte 128 kB long.
ZSTD = b"\x28\xb5\x2f\xfd\x00\x58" + (b"\x02\x00\x10" + b" ") * 4_096
UNSUPPORTED = "unsupported-media-type"


def of_type(content_type: bytes) -> bytes:
    return b"Content-Type: " + content_type + b"\r\n"


TABLE = [
    Row(16, "a bomb of gzip for one", post(bomb(128), GZIP), 413, "payload-too-large"),
    Row(16, "a bomb of gzip for many", post(bomb(128), GZIP, BATCH), 413, "payload-too-large"),
    Row(17, "a bomb of zstd", post(ZSTD, JSON + b"Content-Encoding: zstd\r\n", BATCH), 415, UNSUPPORTED),
    Row(18, "gzip in gzip", post(gzip.compress(ZIPPED), JSON + b"Content-Encoding: gzip, gzip\r\n"), 415, UNSUPPORTED),
    Row(18, "gzip in gzip over two fields", post(gzip.compress(ZIPPED), GZIP + b"Content-Encoding: gzip\r\n"), 415, UNSUPPORTED),
    Row(18, "gzip in gzip that says so once", post(gzip.compress(ZIPPED), GZIP), 400, "malformed"),
    Row(19, "gzip cut short", post(ZIPPED[:-9], GZIP), 400, "malformed"),
    Row(19, "gzip and garbage behind it", post(ZIPPED + b"x", GZIP), 400, "malformed"),
    Row(19, "gzip of two members", post(gzip.compress(b"[") + gzip.compress(b"]"), GZIP, BATCH), 400, "malformed"),
    Row(19, "no gzip at all", post(GOOD, GZIP), 400, "malformed"),
    Row(20, "br, which is not offered", post(GOOD, JSON + b"Content-Encoding: br\r\n"), 415, UNSUPPORTED),
    Row(20, "deflate, which is not offered", post(zlib.compress(GOOD), JSON + b"Content-Encoding: deflate\r\n"), 415, UNSUPPORTED),
    Row(21, "no content type", post(GOOD, b""), 415, UNSUPPORTED),
    Row(21, "text", post(GOOD, of_type(b"text/plain")), 415, UNSUPPORTED),
    Row(21, "a form", post(b"source=s&text=t", of_type(b"application/x-www-form-urlencoded")), 415, UNSUPPORTED),
    Row(21, "a table for a batch", post(b"source,text\r\ns,t\r\n", of_type(b"text/csv"), BATCH), 415, UNSUPPORTED),
    Row(22, "a charset that is not ours", post(GOOD.decode().encode("utf-16"), of_type(b"application/json; charset=utf-16")), 415, UNSUPPORTED),
    Row(22, "UTF-16 that does not say so", post(GOOD.decode().encode("utf-16")), 400, "malformed"),
    Row(22, "UTF-32 without a mark", post(GOOD.decode().encode("utf-32-le")), 400, "malformed"),
    Row(22, "a byte order mark", post(b"\xef\xbb\xbf" + GOOD), 400, "malformed"),
    Row(23, "a byte that is no UTF-8", post(b'{"source":"s","text":"\xff"}'), 400, "malformed"),
    Row(23, "an overlong form", post(b'{"source":"s","text":"\xc0\xaf"}'), 400, "malformed"),
    Row(23, "a surrogate in UTF-8", post(b'{"source":"s","text":"\xed\xa0\x80"}'), 400, "malformed"),
]  # fmt: skip


@rows(TABLE)
async def test_refused(site: Site, row: Row) -> None:
    """Sixteen MiB may be unpacked for a batch before it is found to be too much, and no more."""
    with site.memory(at_most_mib=64):
        reply = await refused(site, row)
    if row.status == 415:
        assert {"accept", "accept-encoding"} & set(reply.headers), "it says what would be taken"


TAKEN = [
    ("gzip", post(ZIPPED, GZIP)),
    ("a charset that is ours", post(GOOD, of_type(b'application/json; charset="UTF-8"'))),
]


@pytest.mark.parametrize("sent", [sent for _, sent in TAKEN], ids=[named(21, words) for words, _ in TAKEN])
async def test_taken(site: Site, sent: bytes) -> None:
    assert (await asked(site, sent)).status == 202
