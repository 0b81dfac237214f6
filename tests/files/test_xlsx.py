"""What a person sees in a spreadsheet is what is read."""

import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from shared.errors import Misuse
from shared.files.xlsx import CHUNK_BYTES, Workbook
from tests.files.workbooks import MAIN, workbook


def read(path: Path, sheet: int = 0) -> list[tuple[int, list[Any]]]:
    book = Workbook(path)
    try:
        return list(book.rows(book.sheets[sheet]))
    finally:
        book.close()


def test_each_kind_of_cell(tmp_path: Path) -> None:
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>in &lt;line&gt;</t></is></c>'
        '<c r="C1" t="b"><v>1</v></c><c r="D1" t="e"><v>#N/A</v></c><c r="E1" t="str"><f>A1&amp;1</f><v>formula</v></c></row>'
        '<row r="2"><c r="A2"><v>1001</v></c><c r="B2"><v>1001.0</v></c><c r="C2"><v>0.5</v></c><c r="D2"><v>1E3</v></c>'
        '<c r="E2"><f>1+1</f><v>2</v></c><c r="F2"><f>1+1</f></c></row>'
        '<row r="3"><c r="A3" s="1"><v>45720</v></c><c r="B3" s="2"><v>45720.424305555556</v></c><c r="C3" s="3"><v>7</v></c>'
        '<c r="D3" s="4"><v>7.5</v></c><c r="E3" s="5"><v>45720.5</v></c><c r="F3" t="d"><v>2025-03-04T10:11:00</v></c></row>'
        '<row r="7"><c r="C7" t="s"><v>1</v></c><c r="AB7"><v>28</v></c></row>'
        '<row r="8"><c r="A8" t="s"><v>2</v></c><c r="B8" t="s"><v>3</v></c><c r="C8" t="s"><v>99</v></c></row>'
        '<row r="9"/><row><c><v>1</v></c><c><v>2</v></c></row>'
    )
    strings = (
        "<si><t>shared</t></si><si><r><t>rich</t></r><r><rPr><b/></rPr><t xml:space='preserve"
        "'> text</t></r></si><si><t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh></si><si><t>two_x000A_lines _x005F_</t></si>"
    )
    found = read(workbook(tmp_path / "a.xlsx", {"S": rows}, strings=strings))
    assert found[0] == (1, ["shared", "in <line>", True, None, "formula"])
    assert found[1] == (2, [1001, 1001, 0.5, 1000, 2])
    assert found[2] == (
        3,
        [datetime(2025, 3, 4), datetime(2025, 3, 4, 10, 11), 7, 7.5, datetime(2025, 3, 4, 12), datetime(2025, 3, 4, 10, 11)],
    )  # fmt: skip
    number, cells = found[3]
    assert (number, cells[2], cells[27], len(cells)) == (7, "rich text", 28, 28)
    assert found[4] == (8, ["東京", "two\nlines _", ""])
    assert found[5] == (10, [1, 2])
    assert len(found) == 6


def test_days_since_1904(tmp_path: Path) -> None:
    rows = '<row r="1"><c r="A1" s="1"><v>44258</v></c></row>'
    assert read(workbook(tmp_path / "a.xlsx", {"S": rows}, from_1904=True)) == [(1, [datetime(2025, 3, 4)])]


def test_names_with_a_prefix(tmp_path: Path) -> None:
    sheet = f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row r="1"><x:c r="A1" t="inlineStr"><x:is><x:t>a</x:t></x:is></x:c></x:row></x:sheetData></x:worksheet>'
    path = workbook(tmp_path / "a.xlsx", {"S": ""}, replaced={"xl/worksheets/sheet1.xml": sheet})
    assert read(path) == [(1, ["a"])]


def test_what_another_program_wrote_is_read_as_it_was_meant(tmp_path: Path) -> None:
    """Many rows, so that chunks end in the midst of everything."""
    path = tmp_path / "a.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet, date = book.add_worksheet("反馈"), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
    wanted: list[tuple[int, list[Any]]] = []
    for row in range(3000):
        cells = [
            row,
            f"评论 {row} & <b>“好”</b>\n😀",
            datetime(2025, 3, 4, row % 24, row % 60),
            row % 2 == 0,
            row + 0.25,
        ]
        sheet.write_number(row, 0, row)
        sheet.write_string(row, 1, str(cells[1]))
        sheet.write_datetime(row, 2, cells[2], date)
        sheet.write_boolean(row, 3, cells[3])
        sheet.write_number(row, 4, row + 0.25)
        wanted.append((row + 1, cells))
    book.close()
    with zipfile.ZipFile(path) as made:
        assert made.getinfo("xl/sharedStrings.xml").file_size > 2 * CHUNK_BYTES
    assert read(path) == wanted
    opened = Workbook(path)
    first = next(iter(opened.rows(opened.sheets[0])))
    assert first == wanted[0]
    assert opened._strings is not None
    assert len(opened._strings._ends) < 3000, "the first row asks for the first strings only"
    assert list(opened.rows(opened.sheets[0])) == wanted, "and it can be read again"
    opened.close()


def test_sheets_are_listed_with_those_that_are_hidden(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"One": "", "Two": "", "三": ""}, hidden=("One",))
    book = Workbook(path)
    assert [(s.name, s.number, s.is_hidden) for s in book.sheets] == [
        ("One", 1, True),
        ("Two", 2, False),
        ("三", 3, False),
    ]
    book.close()


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><sst><si><t>&b;</t></si></sst>'


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        at = file.getinfo("xl/worksheets/sheet1.xml").header_offset + 80
    raw[at : at + 20] = b"\xff" * 20
    path.write_bytes(raw)


ROW = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
BROKEN: list[tuple[str, dict[str, Any], Any, str]] = [
    ("entities", {"replaced": {"xl/sharedStrings.xml": BOMB}}, None, "declares entities"),
    ("cut", {}, _cut, "damaged"),
    ("a flipped byte", {}, _flip, "damaged"),
    ("no XML", {"replaced": {"xl/worksheets/sheet1.xml": "<worksheet><sheetData><row>"}}, None, "damaged"),
    ("no workbook", {"replaced": {"_rels/.rels": "<Relationships/>"}}, None, "no Excel workbook"),
    ("no sheet", {"replaced": {"xl/workbook.xml": "<workbook/>"}}, None, "no sheet"),
    ("binary", {"replaced": {"_rels/.rels": '<Relationships><Relationship Id="r" Type="x/officeDocument" Target="xl/workbook.bin"/></Relationships>', "xl/workbook.bin": ""}}, None, ".xlsb"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "harm", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_cannot_be_read_says_so(tmp_path: Path, made: dict[str, Any], harm: Any, says: str) -> None:
    path = workbook(tmp_path / "a.xlsx", {"S": ROW * 50}, **{"strings": "<si><t>x</t></si>", **made})
    if harm:
        harm(path)
    with pytest.raises(Misuse, match=says):
        read(path)
