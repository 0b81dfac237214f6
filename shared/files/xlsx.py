"""XLSX, a row at a time, in memory that does not grow with the file.

Why our own (docs/files.md has the figures): openpyxl's read-only mode keeps every shared string, calamine the whole
sheet, and a year of reviews is a million different strings. Here the sheet is parsed as it is unzipped, and the shared
strings lie in a temporary file, of which only the places are known.

What a person sees is what is read: a formula's last value, 1001 and not 1001.0, a date as a date, no hidden sheet, no
reading aid above a Japanese name; an error such as #N/A is nothing. A document that declares entities is refused.
"""

import contextlib
import os
import posixpath
import re
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple
from xml.parsers import expat

from shared.errors import Misuse
from shared.files.cells import Cell
from shared.files.dates import serial

CHUNK_BYTES = 1 << 16
PART_MAX_BYTES = 64 << 20
"""Of a part that is read whole: the list of sheets, the styles."""
STRINGS_MAX_BYTES = 4 << 30
KEPT_STRINGS = 4096
KEPT_STRING_BYTES = 200
"""What stands in many rows, such as a country, is short, and read from the file once."""
COLUMNS_MAX = 16_384
CELL_MAX_PARTS = 64
"""Of up to `CHUNK_BYTES` each: a cell holds 32,767 characters at most, and what goes on for ever is no cell."""

_LARGEST_EXACT = 1e15
_BUILT_IN_DATES = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
_DATE_CODE = re.compile(r"\"[^\"]*\"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|_.|\*.")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DAMAGED = "it is damaged: open it in a spreadsheet program and save it again"


class Sheet(NamedTuple):
    name: str
    number: int
    """Its place in the workbook, from 1, the hidden ones too."""
    part: str
    is_hidden: bool


class Workbook:
    """One file. Raises `Misuse` for what is no workbook that can be read."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, NotImplementedError) as error:
            raise Misuse(f"{path}: {_DAMAGED} ({error})") from None
        self.sheets: tuple[Sheet, ...] = ()
        self._strings: _Strings | None = None
        self._from_1904 = False
        with _readable(path):
            self._open(path)

    def _open(self, path: Path) -> None:
        names = set(self._zip.namelist())
        main = next(
            (target for kind, target in self._related("", "_rels/.rels").values() if kind == "officeDocument"), ""
        )
        if not main or main not in names:
            kind = "an OpenDocument file" if "content.xml" in names else "no Excel workbook"
            raise Misuse(f"{path}: it is {kind}: save it as .xlsx")
        if not main.endswith(".xml"):
            raise Misuse(f"{path}: it is a binary workbook (.xlsb): save it as .xlsx")
        folder, file = posixpath.split(main)
        related = self._related(folder, f"{folder}/_rels/{file}.rels")
        sheets: list[Sheet] = []
        for what, name, attributes in self._elements(main):
            if what != "start":
                continue
            if name == "workbookPr":
                self._from_1904 = attributes.get("date1904", "0") in {"1", "true"}
            elif name == "sheet":
                relation = next((v for k, v in attributes.items() if k.endswith(":id")), "")
                kind, target = related.get(relation, ("", ""))
                if kind == "worksheet" and target in names:  # no chart, no dialogue
                    hidden = attributes.get("state", "visible") != "visible"
                    sheets.append(Sheet(attributes.get("name", ""), len(sheets) + 1, target, hidden))
        if not sheets:
            raise Misuse(f"{path}: there is no sheet with cells in it")
        self.sheets = tuple(sheets)
        parts = {kind: target for kind, target in related.values() if target in names}
        self._dates = self._date_styles(parts["styles"]) if "styles" in parts else frozenset[str]()
        if "sharedStrings" in parts:
            self._strings = _Strings(self._zip.open(parts["sharedStrings"]))

    def rows(self, sheet: Sheet, read: Callable[[float], None] = lambda _: None) -> Iterator[tuple[int, list[Cell]]]:
        """Each row that has cells, with its number as a person sees it. `read` hears how much of the sheet is behind us."""
        size = max(1, self._zip.getinfo(sheet.part).file_size)
        done = 0
        with _readable(Path(self._zip.filename or sheet.name)), self._zip.open(sheet.part) as stream:
            parser = _Rows(self._strings, self._dates, self._from_1904)
            while chunk := stream.read(CHUNK_BYTES):
                done += len(chunk)
                yield from parser.feed(chunk)
                read(min(1.0, done / size))
            yield from parser.feed(b"", final=True)

    def close(self) -> None:
        if self._strings is not None:
            self._strings.close()
        self._zip.close()

    # ── the small parts ──

    def _related(self, folder: str, part: str) -> dict[str, tuple[str, str]]:
        """Id → (kind, part)."""
        found: dict[str, tuple[str, str]] = {}
        if part in self._zip.namelist():
            for what, name, attributes in self._elements(part):
                if what == "start" and name == "Relationship":
                    target = attributes.get("Target", "")
                    whole = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
                    found[attributes.get("Id", "")] = (attributes.get("Type", "").rpartition("/")[2], whole)
        return found

    def _date_styles(self, part: str) -> frozenset[str]:
        """The styles whose numbers are shown as dates."""
        codes: dict[str, str] = {}
        styles: list[str] = []
        inside = False
        for what, name, attributes in self._elements(part):
            if name == "cellXfs":
                inside = what == "start"
            elif what == "start" and name == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif what == "start" and name == "xf" and inside:
                styles.append(attributes.get("numFmtId", "0"))
        return frozenset(str(i) for i, style in enumerate(styles) if _is_date(style, codes.get(style)))

    def _elements(self, part: str) -> Iterator[tuple[str, str, dict[str, str]]]:
        if self._zip.getinfo(part).file_size > PART_MAX_BYTES:
            raise Misuse(f"{part} has more than {PART_MAX_BYTES >> 20} MiB: {_DAMAGED}")
        found: list[tuple[str, str, dict[str, str]]] = []
        parser = _parser()
        parser.StartElementHandler = lambda name, attributes: found.append(("start", _local(name), attributes))
        parser.EndElementHandler = lambda name: found.append(("end", _local(name), {}))
        parser.Parse(self._zip.read(part), True)
        return iter(found)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What zipfile, zlib and expat say of a damaged file becomes a sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise Misuse(f"{path}: {_DAMAGED} ({error})") from None
    except RuntimeError as error:  # zipfile's for what is encrypted
        raise Misuse(f"{path}: it is protected by a password: save it without one") from error


def _is_date(style: str, code: str | None) -> bool:
    """`code` where the file has its own for it."""
    if code is None:
        return style.isdigit() and int(style) in _BUILT_IN_DATES
    bare = _DATE_CODE.sub("", code.partition(";")[0])
    return bool(re.search("[ymdhs年月日時时]", bare, re.IGNORECASE)) and "general" not in bare.lower()


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = CHUNK_BYTES

    def refuse(*_: object) -> None:
        raise Misuse("it declares entities, which no spreadsheet program writes")

    parser.StartDoctypeDeclHandler = refuse
    return parser


def _unescaped(text: str) -> str:
    """`_x000D_` is how a control character is written there."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


# ── shared strings ──


class _Strings:
    """The workbook's strings, in a file without a name; here are only their places. Read as far as rows have asked:
    they stand in the order in which the sheets first need them, so the first rows of a large file come at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._file = tempfile.TemporaryFile(prefix="flywheel-strings-")  # noqa: SIM115  open as long as we are
        self._ends = array("Q", [0])
        self._kept: dict[int, str] = {}
        self._parts: list[str] = []
        self._waiting: list[bytes] = []
        self._inside = {"t": 0, "rPh": 0}
        self._is_whole = False
        self._parser = _parser()
        self._parser.StartElementHandler = self._start
        self._parser.CharacterDataHandler = self._data
        self._parser.EndElementHandler = self._end

    def __getitem__(self, index: int) -> str:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        while index >= len(self._ends) - 1 and not self._is_whole:
            self._read_on()
        if not 0 <= index < len(self._ends) - 1:
            return ""
        start, end = self._ends[index], self._ends[index + 1]
        text = os.pread(self._file.fileno(), end - start, start).decode("utf-8", "surrogatepass")
        if end - start <= KEPT_STRING_BYTES:
            if len(self._kept) >= KEPT_STRINGS:
                self._kept.clear()
            self._kept[index] = text
        return text

    def _read_on(self) -> None:
        chunk = self._stream.read(CHUNK_BYTES)
        self._is_whole = not chunk
        self._parser.Parse(chunk, self._is_whole)
        self._file.write(b"".join(self._waiting))
        self._file.flush()
        self._waiting.clear()
        if self._ends[-1] > STRINGS_MAX_BYTES:
            raise Misuse(f"its texts have more than {STRINGS_MAX_BYTES >> 30} GiB: split it")

    def _start(self, name: str, _: object) -> None:
        local = _local(name)
        if local in self._inside:
            self._inside[local] += 1

    def _data(self, text: str) -> None:
        if self._inside["t"] and not self._inside["rPh"] and len(self._parts) < CELL_MAX_PARTS:
            self._parts.append(text)

    def _end(self, name: str) -> None:
        local = _local(name)
        if local in self._inside:
            self._inside[local] -= 1
        elif local == "si":
            raw = _unescaped("".join(self._parts)).encode("utf-8", "surrogatepass")
            self._parts.clear()
            self._waiting.append(raw)
            self._ends.append(self._ends[-1] + len(raw))

    def close(self) -> None:
        self._stream.close()
        self._file.close()


# ── a sheet ──


class _Rows:
    """Chunks of a sheet's XML → its rows."""

    def __init__(self, strings: _Strings | None, dates: frozenset[str], from_1904: bool) -> None:
        self._strings = strings
        self._dates = dates
        self._from_1904 = from_1904
        self._found: list[tuple[int, list[Cell]]] = []
        self._row: list[Cell] = []
        self._number = 0
        self._index = -1
        self._type = self._style = ""
        self._parts: list[str] = []
        self._collects = False
        self._aside = 0
        self._columns: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._parser = _parser()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data

    def feed(self, chunk: bytes, final: bool = False) -> list[tuple[int, list[Cell]]]:
        self._parser.Parse(chunk, final)
        found, self._found = self._found, []
        return found

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = self._names.get(name) or self._names.setdefault(name, _local(name))
        if local == "c":
            reference = attributes.get("r")
            self._index = self._index + 1 if reference is None else self._column(reference)
            self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._parts.clear()
        elif local in {"v", "t"}:
            self._collects = not self._aside
        elif local == "row":
            self._number = int(attributes["r"]) if attributes.get("r", "").isdigit() else self._number + 1
            self._row, self._index = [], -1
        elif local == "rPh":
            self._aside += 1

    def _data(self, text: str) -> None:
        if self._collects and len(self._parts) < CELL_MAX_PARTS:
            self._parts.append(text)

    def _end(self, name: str) -> None:
        local = self._names.get(name) or _local(name)
        if local in {"v", "t"}:
            self._collects = False
        elif local == "c":
            self._put()
        elif local == "row":
            if self._row:
                self._found.append((self._number, self._row))
        elif local == "rPh":
            self._aside -= 1

    def _put(self) -> None:
        cell = self._cell("".join(self._parts)) if self._parts else None
        if cell is None or not 0 <= self._index < COLUMNS_MAX:
            return
        missing = self._index - len(self._row)
        if missing > 0:
            self._row.extend([None] * missing)
        if missing >= 0:
            self._row.append(cell)
        else:
            self._row[self._index] = cell

    def _cell(self, text: str) -> Cell:
        kind = self._type
        if kind == "s":
            return self._strings[int(text)] if self._strings is not None and text.strip().isdigit() else None
        if kind == "n":
            return self._numeric(text)
        if kind in {"inlineStr", "str"}:
            return _unescaped(text)
        if kind == "b":
            return text.strip() in {"1", "true"}
        if kind == "d":
            try:
                return datetime.fromisoformat(text.strip())
            except ValueError:
                return text
        return None  # an error, such as #N/A

    def _numeric(self, text: str) -> Cell:
        try:
            number = float(text)
            if self._style in self._dates:
                return serial(number, from_1904=self._from_1904)
        except (ValueError, OverflowError):
            return text
        return int(number) if number.is_integer() and abs(number) < _LARGEST_EXACT else number

    def _column(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        found = self._columns.get(letters)
        if found is None:
            found = 0
            for letter in letters.upper():
                found = found * 26 + ord(letter) - 64
            found -= 1
            if len(self._columns) < COLUMNS_MAX:
                self._columns[letters] = found
        return found
