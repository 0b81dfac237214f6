"""A file as rows, however it is written: CSV and its like, XLSX, JSONL. Read from its start as often as is asked.

A row has the number that a person sees: a spreadsheet's, where the header is row 1 and blank rows count; a JSONL file's
line. What cannot be read at all is a row too, and says why; it costs nobody else.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from shared.errors import Misuse
from shared.files.cells import Cell, is_blank
from shared.files.sniff import MARKED, Dialect
from shared.files.xlsx import Sheet, Workbook
from shared.web import strict_json

LINE_MAX_CHARS = 1 << 20
Heard = Callable[[float], None]
"""Told from time to time how much of the file is behind us, 0 to 1."""


class Row(NamedTuple):
    number: int
    cells: Sequence[Cell]
    members: Mapping[str, Any] | None = None
    """Of a JSONL file's object, in place of cells."""
    wrong: str = ""
    """Why it could not be read; then `cells` is what there was of it."""


class Source(Protocol):
    def rows(self, heard: Heard = ...) -> Iterator[Row]: ...
    def close(self) -> None: ...


def _deaf(_: float) -> None:
    return


class _Counted(io.BufferedReader):
    """A file that knows how much of it was read, for a text layer above it does not say."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path), 1 << 16)
        self.size = max(1, path.stat().st_size)

    @property
    def share(self) -> float:
        return min(1.0, self.tell() / self.size)


class Csv:
    def __init__(self, path: Path, codec: str, dialect: Dialect) -> None:
        self._path = path
        self._codec = codec
        self._dialect = dialect

    def rows(self, heard: Heard = _deaf) -> Iterator[Row]:
        with _Counted(self._path) as file:
            lines = _Remembered(_text(file, self._codec))
            if self._dialect.says_so:
                next(lines, None)
            reader = csv.reader(lines, delimiter=self._dialect.delimiter)
            number = 0
            while True:
                number += 1
                lines.forget()
                try:
                    cells = next(reader)
                except StopIteration:
                    break
                except csv.Error:
                    last = number + max(1, len(lines.kept)) - 1
                    lost = f"rows {number} to {last}" if last > number else f"row {number}"
                    why = f"{lost} could not be read: a quotation mark is not closed, or a cell is too long"
                    yield Row(number, ["".join(lines.kept)], wrong=why)
                    number = last
                    continue
                if number % 1000 == 0:
                    heard(file.share)
                if any(cells):
                    if number == 1:
                        cells[0] = cells[0].removeprefix("\ufeff")
                    yield Row(number, cells)
        heard(1.0)

    def close(self) -> None:
        """Nothing is open between two readings."""


class _Remembered:
    """Lines, and those of them that the row in hand was made of."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.kept: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.kept.append(line)
        return line

    def forget(self) -> None:
        self.kept.clear()


class Xlsx:
    def __init__(self, path: Path, sheet: str | None = None) -> None:
        """`sheet`: its name or its number; the first that is not hidden. Raises `Misuse`."""
        self._workbook = Workbook(path)
        try:
            self.sheets = self._workbook.sheets
            self.sheet = _picked(self.sheets, sheet)
        except Misuse:
            self.close()
            raise

    def rows(self, heard: Heard = _deaf) -> Iterator[Row]:
        for number, cells in self._workbook.rows(self.sheet, heard):
            if not all(map(is_blank, cells)):
                yield Row(number, cells)
        heard(1.0)

    def close(self) -> None:
        self._workbook.close()


def _picked(sheets: Sequence[Sheet], wanted: str | None) -> Sheet:
    visible = [sheet for sheet in sheets if not sheet.is_hidden]
    if wanted is None:
        return (visible or sheets)[0]
    for sheet in sheets:
        if sheet.name == wanted or sheet.name.casefold() == wanted.casefold() or str(sheet.number) == wanted:
            return sheet
    raise Misuse(f"--sheet: there is no sheet {wanted!r}; the sheets are {', '.join(sheet.name for sheet in sheets)}")


class Jsonl:
    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._codec = codec

    def rows(self, heard: Heard = _deaf) -> Iterator[Row]:
        with _Counted(self._path) as file:
            for number, line in enumerate(_json_lines(file, self._codec), 1):
                if number % 1000 == 0:
                    heard(file.share)
                if line.isspace() or not line:
                    continue
                yield _object(number, line)
        heard(1.0)

    def close(self) -> None:
        """Nothing is open between two readings."""


def _json_lines(file: _Counted, codec: str) -> Iterator[bytes]:
    """Without the byte order mark. A line ends where JSONL says so, and nowhere else."""
    if codec in {"utf-8", "utf-8-sig"}:
        first = True
        while line := file.readline(LINE_MAX_CHARS + 1):
            if len(line) > LINE_MAX_CHARS:
                while not line.endswith(b"\n") and (rest := file.readline(LINE_MAX_CHARS)):
                    line = line[:LINE_MAX_CHARS] + rest[-1:]
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line
            first = False
        return
    for line_ in _text(file, codec, newline="\n"):
        yield line_.removeprefix("\ufeff").encode("utf-8", "surrogatepass")


def _object(number: int, line: bytes) -> Row:
    if len(line) > LINE_MAX_CHARS:
        return Row(number, [], wrong=f"it has more than {LINE_MAX_CHARS:,} bytes")
    try:
        value = strict_json.loads(line.strip())
    except strict_json.Malformed as error:
        said = str(error).replace("The body", "the line").replace("line 1, ", "")
        return Row(number, [_shown(line)], wrong=said)
    except strict_json.Unacceptable as error:
        return Row(number, [_shown(line)], wrong=f"{error.path}: {error}" if error.path else str(error))
    if not isinstance(value, dict):
        return Row(number, [_shown(line)], wrong="the line is no object")
    return Row(number, [], value)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _text(file: BinaryIO, codec: str, newline: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding=codec, errors=MARKED, newline=newline)
