"""One pass over a file's bytes: what identifies it, and what its encoding will be told by.

Once, because the pass is needed anyway (a row without an id of its own is known by the file's hash), and whole, because
a file may be plain ASCII for a thousand rows before the first letter that says how it was written.
"""

import codecs
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 18
TELLING_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Survey:
    sha256: str
    """Of the bytes, hex."""
    size: int
    head: bytes
    telling: bytes
    """Whole lines behind the head that are not ASCII, as many as are looked at."""
    is_utf8: bool
    """All of it."""


def survey(file: BinaryIO) -> Survey:
    """Reads the file from its start to its end."""
    file.seek(0)
    digest, size, head, telling = sha256(), 0, b"", b""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if is_utf8 and not (chunk.isascii() and utf8.getstate()[0] == b""):
            try:
                utf8.decode(chunk)
            except UnicodeDecodeError:
                is_utf8 = False
        if not head:
            head = chunk[:HEAD_BYTES]
            chunk = chunk[HEAD_BYTES:]
        if len(telling) < TELLING_BYTES and not chunk.isascii():
            lines = (line for line in chunk.split(b"\n")[1:-1] if not line.isascii())
            telling += b"\n".join(lines)[: TELLING_BYTES - len(telling)]
    try:
        utf8.decode(b"", final=True)
    except UnicodeDecodeError:
        is_utf8 = False
    return Survey(digest.hexdigest(), size, head, telling, is_utf8)
