"""The rows of a file that was looked at, judged as the door would judge them: ready to be sent, refused with a reason, or
neither. Each row is judged alone, and by what stood before it only as far as its id goes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from shared.errors import Rejected
from shared.events.acceptable import Invalid, accepted
from shared.events.feedback import METRIC_RANGES
from shared.files.cells import Cell, as_text, is_blank
from shared.files.columns import ID, Column, Ranges
from shared.files.dates import Dates
from shared.files.exported import restored
from shared.files.repeats import Repeats
from shared.files.rows import Heard, Row, Source, Xlsx
from shared.files.shape import Body, Native, Shape, Unfit, flattened, unwrapped
from shared.files.sniff import UNREADABLE
from shared.files.survey import Survey
from shared.files.tools import Taken
from shared.web import strict_json

BODY_MAX_BYTES = 1 << 20


class Fact(NamedTuple):
    """Something that was recognised, and by what."""

    what: str
    found: str
    why: str


class Ready(NamedTuple):
    """A row that would be taken."""

    number: int
    body: Body
    raw: bytes
    """The body as JSON."""
    cells: Sequence[Cell]
    members: Mapping[str, Any] | None


class Refused(NamedTuple):
    number: int
    reason: str
    identity: str
    """The id that we gave the row, where it has none of its own: it keeps it when it is mended."""
    cells: Sequence[Cell]
    members: Mapping[str, Any] | None


class Repeated(NamedTuple):
    """The same id and the same words stood in a row before it."""

    number: int


class Empty(NamedTuple):
    """Nothing was said in it."""

    number: int


Item = Ready | Refused | Repeated | Empty


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. Close it, or use it as a context."""

    path: Path
    survey: Survey
    kind: str
    """csv, xlsx or jsonl"""
    facts: tuple[Fact, ...]
    columns: tuple[Column, ...]
    """None where the lines are events as they stand."""
    notes: tuple[str, ...]
    source_name: str
    is_native: bool
    names: tuple[str, ...]
    """Of the columns, as a file of refusals repeats them."""
    _rows: Source
    _begins: int
    _lenient: bool
    _ours: bool
    """Its columns are those of an export or of a file of refusals of ours."""
    _restores: bool
    """Its texts were written by `exported.neutral`."""
    _tool: Taken | None = None
    """Whose columns they are."""
    _as: str | None = None
    """What a person said of that."""
    _dates: Dates = field(default_factory=Dates)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._rows.close()

    @property
    def sheets(self) -> tuple[str, ...]:
        """Of a workbook, those that a person sees there."""
        return tuple(s.name for s in self._rows.sheets if not s.is_hidden) if isinstance(self._rows, Xlsx) else ()

    @property
    def manner(self) -> dict[str, Any]:
        """How it was read, as a file of its refusals remembers it."""
        order = {"day first": "DMY", "month first": "MDY"}.get(self._dates.order)
        said = {
            "source": self.source_name,
            "as": self._as,
            "zone": str(self._dates.zone),
            "date_format": self._dates.pattern or order,
            "columns": {one.name: one.member for one in self.columns if not one.name.startswith("flywheel_")} or None,
        }
        return {name: value for name, value in said.items() if value}

    @property
    def identity(self) -> str:
        """What stands before a row's number where it has no id of its own."""
        sheet = f"s{self._rows.sheet.number}-" if isinstance(self._rows, Xlsx) else ""
        return f"file-{self.survey.sha256[:32]}-{sheet}"

    def reading(self, ranges: Ranges = METRIC_RANGES, heard: Heard = lambda _: None) -> Iterator[Item]:
        """Each row of data, judged as the door would judge it."""
        shape: Shape | Native
        if self.is_native:
            shape = Native(source=self.source_name, identity=self.identity)
        else:
            shape = Shape(
                self.columns,
                source=self.source_name,
                identity=self.identity,
                dates=self._dates,
                ours=self._ours,
                always=self._tool.form.body if self._tool else None,
            )
        seen = Repeats()
        for row in self._data(heard):
            yield self._judged(row, shape, seen, ranges)

    def _judged(self, row: Row, shape: Shape | Native, seen: Repeats, ranges: Ranges) -> Item:
        body: Body | None = None
        reason = row.wrong or self._misfit(row)
        if not reason:
            try:
                body = shape.body(self._told(row))
                if body is None:
                    return Empty(row.number)
                accepted(body, ranges)
                raw = _encoded(body)
                verdict = seen.note(f"{body['source']}\0{body['external_id']}".encode(), raw)
                if verdict == "new":
                    return Ready(row.number, body, raw, row.cells, row.members)
                if verdict == "same":
                    return Repeated(row.number)
                reason = f"external_id: {body['external_id']!r} stands in a row before, with something else in it"
            except Invalid as error:
                reason = self._unreadable(row) or self.reason(error.errors, body or {})
            except strict_json.Unacceptable as error:
                reason = self.reason([{"field": error.path, "message": str(error)}], body or {})
            except Rejected as error:
                reason = self._unreadable(row) or str(error)
        return Refused(row.number, reason, self._given(row), row.cells, row.members)

    def reason(self, errors: Sequence[Mapping[str, Any]], body: Body) -> str:
        """What is wrong with a body, by the names of the file's columns."""
        names = {column.member: column.name for column in reversed(self.columns)}
        told = []
        for error in errors:
            field = str(error["field"])
            if found := re.fullmatch(r"scores\.(\d+)(\..+)?", field):
                scores = body.get("scores") or []
                place = int(found[1])
                metric = scores[place].get("metric") if place < len(scores) and isinstance(scores[place], dict) else ""
                field = names.get(f"score.{metric}", field)
            told.append(f"{names.get(field, field)}: {error['message']}" if field else str(error["message"]))
        return "; ".join(told)

    def _data(self, heard: Heard) -> Iterator[Row]:
        with closing(self._rows.rows(heard)) as rows:  # type: ignore[type-var]
            for row in rows:
                if row.number < self._begins:
                    continue
                if self.kind == "jsonl":
                    row = unwrapped(row)
                    if row.members is not None and not self.is_native:
                        row = row._replace(members=flattened(row.members))
                elif self._restores and not row.wrong:
                    row = row._replace(cells=[restored(c) if isinstance(c, str) else c for c in row.cells])
                yield row

    def _told(self, row: Row) -> Row:
        """As the tool means it."""
        if self._tool is None:
            return row
        if row.members is not None:
            return row._replace(members=self._tool.object(row.members))
        return row._replace(cells=self._tool.cells(row.cells))

    def _misfit(self, row: Row) -> str:
        """Why its cells cannot be those of the columns."""
        if row.members is not None or self.kind != "csv":
            return ""
        count, wanted = len(row.cells), len(self.names)
        if count > wanted and any(row.cells[wanted:]):
            return f"it has {count} cells, and there are {wanted} columns: is a delimiter in a text without quotes?"
        if count < wanted and not self._lenient:
            return f"it has {count} cells, and there are {wanted} columns: is a line break in a text without quotes?"
        return ""

    def _unreadable(self, row: Row) -> str:
        """Which column has bytes that are none of the encoding's."""
        for name, cell in zip(self.names, row.cells, strict=False):
            if isinstance(cell, str) and UNREADABLE in cell:
                encoding = next(fact.found for fact in self.facts if fact.what == "encoding")
                return f"{name}: it holds bytes that are not {encoding}"
        return ""

    def _given(self, row: Row) -> str:
        """Nothing where the row has an id of its own, which may be what is to be mended."""
        cells = row.members if row.members is not None else dict(zip(self.names, row.cells, strict=False))
        own = {"external_id", "id"} if self.is_native else {c.name for c in self.columns if c.member == "external_id"}
        if any(not is_blank(cells.get(name)) for name in own - {ID}):
            return ""
        return as_text(cells.get(ID)) or f"{self.identity}{row.number}"


_encode = msgspec.json.Encoder().encode


def _encoded(body: Body) -> bytes:
    """As JSON that can be kept. Raises `Rejected` for what no topic and no database takes."""
    try:
        raw = _encode(body)
    except UnicodeEncodeError:
        raise Unfit("it holds half of a surrogate pair, which is no character") from None
    if len(raw) > BODY_MAX_BYTES:
        raise Unfit(f"has more than {BODY_MAX_BYTES:,} bytes")
    if b"\\u0000" in raw:
        strict_json.loads(raw)
    return raw
