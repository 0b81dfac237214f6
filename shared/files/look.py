"""A file looked at: what it is, which column means what, and its rows as feedback.

`look` reads as much as it must to know (the bytes once, for the hash; the first rows; the whole of a date column that
only its end settles), and says what it found before anything is done with it. `Look.reading` then goes through the rows.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from shared.errors import Misuse
from shared.events.feedback import METRIC_RANGES
from shared.files.cells import Cell, as_text, column_letters, is_blank
from shared.files.columns import LINE, MAP, ROW, Guess, Ranges, guess, mapping_of, placed
from shared.files.dates import Dates, Order, date_format, order_of
from shared.files.exported import is_export, restored
from shared.files.reading import Fact, Look
from shared.files.refused import MARK
from shared.files.rows import Csv, Jsonl, Xlsx
from shared.files.shape import flattened, is_native, unwrapped
from shared.files.sniff import (
    Encoding,
    Header,
    decoded,
    delimiter_named,
    dialect_of,
    encoding_named,
    encoding_of,
    header_of,
)
from shared.files.survey import Survey, survey
from shared.files.tools import Taken, form_of, taken, with_second_header

FIRST_ROWS = 1_000
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@dataclass(frozen=True, slots=True)
class Options:
    """What a person says instead of having it guessed."""

    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    header: bool | None = None
    mapping: tuple[str, ...] = ()
    source: str | None = None
    zone: str | None = None
    """UTC where nobody says."""
    date_format: str | None = None
    places: tuple[tuple[int, str], ...] = ()
    """As `mapping`, by the column's place: (0, "text"). One that there is not is passed over."""
    tool: str | None = None
    """Whose export it is; `none`: nobody's. By its columns where nobody says."""


class Unsettled(Misuse):
    """It can be read, and a person must say something first; `found` is what was found so far."""

    def __init__(self, message: str, found: Look) -> None:
        super().__init__(message)
        self.found = found


def default_source(path: Path) -> str:
    """The file's name: two files may use the same ids for different things. One of refusals is the file it came from."""
    return MARK.sub("", path.name.rpartition(".")[0] or path.name)[:255] or "import"


def look(path: Path, options: Options | None = None, ranges: Ranges = METRIC_RANGES, name: str | None = None) -> Look:
    """`name`: what the file is called, where `path` is a copy of it. Raises `Misuse` for what cannot be imported."""
    options = options or Options()
    if options.zone is not None and options.zone not in available_timezones():
        raise Misuse(f"--zone: {options.zone!r} is not a time zone (IANA names, such as Asia/Shanghai)")
    called = Path(name) if name else path
    try:
        with path.open("rb") as file:
            surveyed = survey(file)
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    if not surveyed.size:
        raise Misuse(f"{called}: it is empty")
    source = options.source or default_source(called)
    kind = _kind(called, surveyed)
    try:
        if kind == "xlsx":
            return _xlsx(path, surveyed, options, ranges, source)
        return (_jsonl if kind == "jsonl" else _csv)(path, surveyed, options, ranges, source)
    except Unsettled as error:
        raise Unsettled(f"{called}: {error}", error.found) from None
    except Misuse as error:
        said = str(error)
        raise Misuse(said if said.startswith(("--", str(path))) else f"{called}: {said}") from None


def _kind(path: Path, surveyed: Survey) -> str:
    head = surveyed.head
    if head.startswith(b"PK"):
        return "xlsx"
    if head.startswith(_OLD_OFFICE):
        raise Misuse(f"{path}: it is an old workbook (.xls) or one with a password: save it as .xlsx, without one")
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        raise Misuse(f"{path}: it is compressed: unpack it first")
    if head.startswith(b"%PDF"):
        raise Misuse(f"{path}: it is a PDF: import takes .csv, .tsv, .jsonl and .xlsx")
    if path.suffix.lower() in {".jsonl", ".ndjson", ".json"}:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise Misuse(f"{path}: it is one JSON array: write one object a line (jq -c '.[]' does)")
        return "jsonl"
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"} and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return "jsonl"
    return "csv"


# ── each kind ──


def _csv(path: Path, surveyed: Survey, options: Options, ranges: Ranges, source: str) -> Look:
    encoding = _encoding(surveyed, options)
    text = decoded(surveyed.head, encoding.codec)
    is_whole = surveyed.size <= len(surveyed.head)
    if not is_whole:
        text, end, _ = text.rpartition("\n") if "\n" in text else text.rpartition("\r")
        if not end:
            raise Misuse("its first line has no end: it is no table")
    dialect = dialect_of(text, delimiter_named(options.delimiter) if options.delimiter else None)
    rows = Csv(path, encoding.codec, dialect)
    facts = [
        Fact("encoding", encoding.label, encoding.why),
        Fact("delimiter", dialect.label, dialect.why),
    ]
    return _table("csv", path, surveyed, options, ranges, source, rows, facts)


def _xlsx(path: Path, surveyed: Survey, options: Options, ranges: Ranges, source: str) -> Look:
    if not zipfile.is_zipfile(path):
        raise Misuse("it is damaged: open it in a spreadsheet program and save it again")
    rows = Xlsx(path, options.sheet)
    try:
        visible = [sheet.name for sheet in rows.sheets if not sheet.is_hidden and sheet != rows.sheet]
        why = "--sheet" if options.sheet else "the first" if visible else "the only one"
        if visible and not options.sheet:
            why += f"; --sheet names another: {', '.join(visible[:5])}"
        return _table("xlsx", path, surveyed, options, ranges, source, rows, [Fact("sheet", rows.sheet.name, why)])
    except Misuse:
        rows.close()
        raise


def _table(
    kind: str,
    path: Path,
    surveyed: Survey,
    options: Options,
    ranges: Ranges,
    source: str,
    rows: Csv | Xlsx,
    facts: list[Fact],
) -> Look:
    with closing(rows.rows()) as some:  # type: ignore[type-var]
        first = [row for row in islice(some, FIRST_ROWS) if not row.wrong]
    if not first:
        raise Misuse("there are no rows in it")
    header = header_of([row.cells for row in first], options.header)
    if header.row is None and options.header is None and form_of([as_text(cell) for cell in first[0].cells]):
        header = Header(0, 1, "the first row holds names that are known")
    data = first[header.begins :]
    width = max((len(row.cells) for row in first[max(0, header.begins - 1) :]), default=0)
    if header.row is None:
        names = [column_letters(index) for index in range(width)]
        facts.append(Fact("columns", f"{width}, called A to {names[-1]}", header.why))
    else:
        names = _unique(first[header.row].cells)
        two = form_of(names, options.tool)
        if two is not None and two[1].has_two_headers and data:
            both = with_second_header(first[header.row].cells, data[0].cells, two[1])
            names, data = (_unique(both), data[1:]) if both else (names, data)
        facts.append(Fact("header", f"row {first[header.row].number}", header.why))
    if not data and header.row is not None:
        raise Misuse("there is nothing below its header (--no-header where the first row is data)")
    names = names if kind == "csv" else _unique([*names, *[""] * (width - len(names))]) if width > len(names) else names
    short = sum(len(row.cells) < len(names) for row in data)
    ours = ROW in names or is_export(frozenset(names))
    restores = ours and (kind == "csv" or ROW in names)
    cells = [[restored(c) if restores and isinstance(c, str) else c for c in row.cells] for row in data]
    said = _said(next((name[len(MAP) :] for name in names if name.startswith(MAP)), None))
    options, source = _as_before(options, source, said)
    tool = _taken(options, names, cells)
    found = _guessed(tool, names, cells, _given(options, names, ranges), ranges, said.get("columns"))
    facts += _tool_fact(tool, options)
    made = Look(
        path=path,
        survey=surveyed,
        kind=kind,
        facts=tuple(facts),
        columns=found.columns,
        notes=found.notes,
        source_name=source,
        is_native=False,
        names=tuple(names),
        _rows=rows,
        _begins=data[0].number if data else 1,
        _lenient=short > 0.01 * len(data),
        _ours=ours,
        _restores=restores,
        _tool=tool,
        _as=options.tool,
    )
    return _settled(made, options, cells)


def _jsonl(path: Path, surveyed: Survey, options: Options, ranges: Ranges, source: str) -> Look:
    encoding = _encoding(surveyed, options)
    if encoding.codec == "cp1252" and not options.encoding:  # one bad byte: JSON is UTF-8 where nothing else speaks
        encoding = Encoding("utf-8", "JSON is")
    rows = Jsonl(path, encoding.codec)
    with closing(rows.rows()) as some:  # type: ignore[type-var]
        raw = list(islice(some, FIRST_ROWS))
    said = _said(next((row.members[MAP] for row in raw if row.members and MAP in row.members), None))
    options, source = _as_before(options, source, said)
    read = [unwrapped(row) for row in raw]
    first = [row.members for row in read if row.members is not None]
    if not first:
        raise Misuse(f"there is no line of it that is a JSON object ({read[0].wrong if read else 'it is empty'})")
    told = options.mapping or options.places or options.tool
    native = not told and sum(map(is_native, first)) > 0.5 * len(first)
    flat = [flattened(members) for members in first]
    names = [] if native else [n for n in dict.fromkeys(name for members in flat for name in members) if n != LINE]
    table = [[members.get(name) for name in names] for members in flat]
    given = _given(options, names, ranges)
    tool = _taken(options, names, table) if not native else None
    found = _guessed(tool, names, table, given, ranges, said.get("columns")) if not native else None
    facts = [
        Fact("encoding", encoding.label, encoding.why),
        Fact("lines", "events as they stand" if native else "objects with members of their own", "their members"),
        *_tool_fact(tool, options),
    ]
    made = Look(
        path=path,
        survey=surveyed,
        kind="jsonl",
        facts=tuple(facts),
        columns=found.columns if found else (),
        notes=found.notes if found else (),
        source_name=source,
        is_native=native,
        names=tuple(names),
        _rows=rows,
        _begins=1,
        _lenient=True,
        _ours=False,
        _restores=False,
        _tool=tool,
        _as=options.tool,
    )
    return made if native else _settled(made, options, table)


def _taken(options: Options, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Taken | None:
    form = form_of(names, options.tool)
    return taken(*form, names, rows) if form is not None else None


def _guessed(
    tool: Taken | None,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    given: Sequence[tuple[str, str]],
    ranges: Ranges,
    before: Mapping[str, str | None] | None,
) -> Guess:
    if tool is None:
        return guess(names, rows, given, ranges, before)
    found = guess(names, rows, given, ranges, before, tool.members, tool.derived)
    return Guess(found.columns, (*tool.notes, *found.notes))


def _tool_fact(tool: Taken | None, options: Options) -> list[Fact]:
    if tool is None:
        return []
    return [Fact("tool", tool.title, "--as" if options.tool else "its columns; --as none reads it as any other file")]


def _encoding(surveyed: Survey, options: Options) -> Encoding:
    if options.encoding:
        return encoding_named(options.encoding)
    return encoding_of(surveyed.head, surveyed.telling, surveyed.is_utf8)


def _given(options: Options, names: Sequence[str], ranges: Ranges) -> list[tuple[str, str]]:
    return mapping_of(options.mapping, names, ranges) + placed(options.places, names, ranges)


def _said(text: Any) -> dict[str, Any]:
    """How the file was read that these rows were refused of; nothing where somebody has spoilt that."""
    try:
        said = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _as_before(options: Options, source: str, said: Mapping[str, Any]) -> tuple[Options, str]:
    """What a person does not say now is what was said then."""
    zone = said.get("zone") if said.get("zone") in available_timezones() else None
    return replace(
        options,
        zone=options.zone or zone,
        tool=options.tool or said.get("as"),
        date_format=options.date_format or said.get("date_format"),
    ), options.source or str(said.get("source") or source)


def _unique(cells: Sequence[Cell]) -> list[str]:
    """Names for the columns: one without a name has its letter, and what stands twice is numbered."""
    names: list[str] = []
    times: Counter[str] = Counter()
    for index, cell in enumerate(cells):
        name = " ".join(as_text(cell).split()) or f"column {column_letters(index)}"
        times[name] += 1
        names.append(name if times[name] == 1 else f"{name} ({times[name]})")
    while len(names) > 1 and is_blank(cells[len(names) - 1]):
        names.pop()  # a delimiter at the end of the header
    return names


# ── what only the whole file says ──


def _settled(made: Look, options: Options, first: Sequence[Sequence[Any]]) -> Look:
    """With its dates' order known, by a person, the first rows, or all of them. Raises `Misuse` where nothing tells."""
    members = {column.member for column in made.columns}
    if "text" not in members and not any((member or "").startswith("score") for member in members):
        listed = ", ".join(repr(name) for name in made.names)
        raise Unsettled(
            "no column looks like what was said, nor like a score: name it, for example by"
            f' --map "text=COLUMN"; the columns are {listed}',
            made,
        )
    order, pattern = date_format(options.date_format)
    zone = options.zone or "UTC"
    index = next((i for i, column in enumerate(made.columns) if column.member == "occurred_at"), None)
    facts = list(made.facts)
    if index is not None:
        why = "--date-format"
        if order is None:
            order, why = order_of(row[index] for row in first if index < len(row)), "the first rows"
            if order in ("unsettled", "clear", "day first", "month first") and len(first) >= FIRST_ROWS - 1:
                order, why = order_of(_column(made, index)), "the whole column"
        if order == "unsettled":
            name = made.columns[index].name
            raise Unsettled(
                f"“{name}”: dates such as {_example(first, index)} may be day/month or month/day, and no row tells:"
                " say which by --date-format DMY or MDY",
                made,
            )
        facts.append(_date_fact(order, pattern, why))
        facts.append(Fact("zone", zone, "of times without one; --zone"))
    dates = Dates(ZoneInfo(zone), order or "clear", pattern)
    facts.append(Fact("source", made.source_name, "--source" if options.source else "the file's name; --source"))
    return replace(made, facts=tuple(facts), _dates=dates)


def _date_fact(order: Order, pattern: str | None, why: str) -> Fact:
    if pattern:
        return Fact("dates", pattern, why)
    said = {"clear": "clear by themselves", "contradictory": "some day first, some month first: the others are refused"}
    return Fact("dates", said.get(order, order), why)


def _column(made: Look, index: int) -> Iterator[Any]:
    name = made.columns[index].name
    for row in made._data(lambda _: None):
        if row.members is not None:
            yield row.members.get(name)
        elif index < len(row.cells):
            yield row.cells[index]


def _example(rows: Sequence[Sequence[Any]], index: int) -> str:
    cells = (as_text(row[index]) for row in rows if index < len(row))
    return next((cell for cell in cells if order_of([cell]) == "unsettled"), "03/04/2025")
