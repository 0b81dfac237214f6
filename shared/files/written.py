"""Rows as a file: CSV that a spreadsheet program opens right, JSONL, XLSX. A chunk of rows at a time, in bounded memory.

CSV is UTF-8 with a byte order mark and CRLF, and no cell of it is a formula. XLSX has its cells typed, so that none can
be; a sheet holds a million rows, and what is more stands on the next. JSONL is exact.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import xlsxwriter

from shared.events.envelope import rfc3339
from shared.files.exported import Out, cell, neutral

Format = Literal["csv", "jsonl", "xlsx"]
FORMATS: tuple[str, ...] = get_args(Format)
MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
SHEET_MAX_ROWS = 1_048_576
CELL_MAX_CHARS = 32_767
"""Of XLSX; what is longer (attributes may be) is cut there, and whole in JSONL."""

Row = Mapping[str, Any]
_encode = msgspec.json.Encoder().encode


def csv_head(columns: Sequence[Out]) -> bytes:
    return "\ufeff".encode() + _csv([[column.name for column in columns]])


def csv_rows(columns: Sequence[Out], rows: Sequence[Row]) -> bytes:
    return _csv([[_csv_cell(cell(column, row)) for column in columns] for row in rows])


def _csv(lines: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(lines)
    return buffer.getvalue().encode()


def _csv_cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case datetime():
            return rfc3339(value.astimezone(UTC))
        case _:
            return neutral(str(value))


def jsonl_rows(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(_encode(document) + b"\n" for document in documents)


class XlsxFile:
    """A workbook in the making: rows go to the disk as they come."""

    def __init__(self, path: Path, name: str, columns: Sequence[Out], max_rows: int = SHEET_MAX_ROWS) -> None:
        self._book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_urls": False})
        self._bold = self._book.add_format({"bold": True})
        self._date = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        # As a spreadsheet program marks a text that begins like a formula: edited, it stays a text.
        self._quoted = self._book.add_format({"quote_prefix": True})
        self._name = name
        self._columns = columns
        self._max_rows = max_rows
        self._sheets = 0
        self._begin()

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if self._row == self._max_rows:
                self._begin()
            for index, column in enumerate(self._columns):
                value = cell(column, row)
                if value is not None:
                    self._write(index, value)
            self._row += 1

    def close(self) -> None:
        self._book.close()

    def _begin(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet(self._name if self._sheets == 1 else f"{self._name} {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        for index, column in enumerate(self._columns):
            self._sheet.write_string(0, index, column.name, self._bold)
        self._row = 1

    def _write(self, index: int, value: Any) -> None:
        match value:
            case bool():
                self._sheet.write_boolean(self._row, index, value)
            case int() | float():
                self._sheet.write_number(self._row, index, value)
            case datetime() if value.year >= 1900:  # before it, no spreadsheet has a day
                self._sheet.write_datetime(self._row, index, value.astimezone(UTC).replace(tzinfo=None), self._date)
            case _:
                text = (rfc3339(value) if isinstance(value, datetime) else str(value))[:CELL_MAX_CHARS]
                self._sheet.write_string(self._row, index, text, self._quoted if neutral(text) != text else None)
