"""The rows that were not taken, in a file that can be mended and imported again.

The same columns as the file they came from, and behind them the row's number, why it was refused, and, where it has no
id of its own, the id that it keeps; how that file was read stands in the last cell of the header. CSV is UTF-8 with a
byte order mark, so that a spreadsheet program opens it right.
"""

import csv
import io
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from shared.files.cells import as_text
from shared.files.columns import ID, LINE, MAP, REASON, ROW
from shared.files.exported import neutral
from shared.files.reading import Look, Refused
from shared.files.sniff import UNREADABLE

MARK = re.compile(r"\.refused(\.\d+)?$")
"""What a file of refusals is called by, behind the name of the one it came from."""
ADDED = (ROW, ID, REASON)

_encode = msgspec.json.Encoder().encode


def place_for(path: Path, kind: str) -> Path:
    """Beside the file; never over one that is there, which somebody may be mending."""
    ending = ".jsonl" if kind == "jsonl" else ".csv"
    stem = MARK.sub("", path.name.rpartition(".")[0] or path.name)
    number = 1
    while True:
        found = path.with_name(f"{stem}.refused{'' if number == 1 else f'.{number}'}{ending}")
        if not found.exists():
            return found
        number += 1


class Refusals:
    """One file, made when the first row is refused."""

    def __init__(self, path: Path, look: Look, size: int = 0) -> None:
        """`size`: how much of it counts, where it is gone on with; what a killed process wrote behind that goes."""
        self.path = path
        self.size = size
        self._hash = sha256()
        if size and path.exists():
            with path.open("rb") as file:
                self._hash.update(file.read(size))
        self._jsonl = look.kind == "jsonl"
        self._width = len(look.names)
        self._manner = look.manner
        # The columns that we add stand once, at the end, in a file of refusals of a file of refusals too.
        self._kept = [i for i, name in enumerate(look.names) if name not in ADDED and not name.startswith(MAP)]
        self._names = [look.names[index] for index in self._kept]

    def add(self, refused: Sequence[Refused]) -> None:
        """Durably: what is counted as refused can be found there."""
        if not refused:
            return
        written = b"".join(map(self._line, refused))
        if not self.size and not self._jsonl:
            written = (
                "\ufeff".encode() + self._row([*self._names, *ADDED, MAP + _encode(self._manner).decode()]) + written
            )
        with self.path.open("r+b" if self.size else "wb") as file:
            file.truncate(self.size)
            file.seek(self.size)
            file.write(written)
        self.size += len(written)
        self._hash.update(written)

    @property
    def digest(self) -> str:
        """Of what counts; another where the file is gone, or somebody has changed it."""
        return self._hash.hexdigest()

    def _line(self, one: Refused) -> bytes:
        if self._jsonl:
            return _json_line(one, self._manner)
        cells = [one.cells[index] if index < len(one.cells) else None for index in self._kept]
        more = one.cells[self._width :]  # more than there are columns
        return self._row([*map(_text, cells), str(one.number), one.identity, _clean(one.reason), *map(_text, more)])

    def _row(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow([neutral(cell) for cell in cells])
        return line.getvalue().encode()


def _json_line(one: Refused, manner: dict[str, Any]) -> bytes:
    said: dict[str, Any] = {k: v for k, v in (one.members or {}).items() if k not in ADDED}
    if one.members is None:
        said[LINE] = _clean(str(one.cells[0])) if one.cells else ""
    added = {ROW: one.number, ID: one.identity or None, REASON: one.reason, MAP: manner}
    return _encode(said | {name: value for name, value in added.items() if value is not None}) + b"\n"


def _text(cell: Any) -> str:
    return _clean(as_text(cell))


def _clean(text: str) -> str:
    """Fit to be written: bytes that were nothing become the sign for that."""
    return text.replace(UNREADABLE, "\ufffd").encode("utf-8", "replace").decode()
