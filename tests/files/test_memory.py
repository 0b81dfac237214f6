"""Memory does not grow with the file: what three times the rows cost is a few bytes a row, and not the rows."""

import tracemalloc
from pathlib import Path

import pytest

from shared.files.look import look
from shared.files.reading import Ready
from tests.files.workbooks import workbook

FEW, MANY = 5_000, 20_000
BYTES_A_ROW = 200
"""The ids' hashes, and of a workbook the places of its strings. The text of a row alone is twice as long."""
TEXT = "很好用，就是更新之后偶尔会闪退，希望尽快修复。" * 5


def as_csv(path: Path, rows: int) -> Path:
    path.write_text("编号,评论内容\n" + "".join(f"{n},{TEXT}{n}\n" for n in range(rows)), encoding="gb18030")
    return path


def as_xlsx(path: Path, rows: int) -> Path:
    strings = "<si><t>编号</t></si><si><t>评论内容</t></si>" + "".join(
        f"<si><t>{TEXT}{n}</t></si>" for n in range(rows)
    )
    cells = "".join(f'<row r="{n + 2}"><c><v>{n}</v></c><c t="s"><v>{n + 2}</v></c></row>' for n in range(rows))
    head = '<row r="1"><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row>'
    return workbook(path, {"S": head + cells}, strings=strings)


def peak(path: Path, rows: int) -> int:
    tracemalloc.start()
    try:
        with look(path) as found:
            assert sum(isinstance(item, Ready) for item in found.reading()) == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_three_times_the_rows_take_no_more_memory(tmp_path: Path, kind: str) -> None:
    make = as_csv if kind == "csv" else as_xlsx
    few = peak(make(tmp_path / f"few.{kind}", FEW), FEW)
    many = peak(make(tmp_path / f"many.{kind}", MANY), MANY)
    assert many - few < BYTES_A_ROW * (MANY - FEW)
