"""What an export writes is read back as it was, and no cell of it is a formula."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.feedback import METRIC_RANGES, Feedback
from shared.files.columns import MEMBERS
from shared.files.exported import CASES, FEEDBACK, cell, is_export, neutral, restored
from shared.files.look import Options, look
from shared.files.reading import Look, Ready
from shared.files.written import XlsxFile, csv_head, csv_rows
from shared.files.xlsx import Workbook

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
BODY: dict[str, Any] = {
    "source": "app-store",
    "external_id": "=1+2",
    "text": '=cmd|"/c calc"!A1\r\n“引号”, 逗号',
    "title": "'=quoted",
    "language": "zh-CN",
    "channel": "review",
    "scores": [{"metric": "nps", "value": 9}, {"metric": "nps", "value": 3}, {"metric": "stars", "value": 4.5}],
    "customer": {"id": "-7", "email": "wang@example.cn", "name": "@王", "locale": "zh-CN", "account_id": "acme", "role": "buyer", "tier": "gold", "preferred_channel": "email"},
    "solicited": False,
    "touchpoint": "checkout",
    "lifecycle_stage": "onboarding",
    "occurred_at": "2025-03-04T10:11:12.345Z",
    "url": "https://example.com/a?b=1",
    "attributes": {"版本": "4.2", "nested": {"a": [1, None, True]}, "n": 7},
}  # fmt: skip


def row(body: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
    """As the console reads it."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "received_at": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        "occurred_at": datetime.fromisoformat(body["occurred_at"]) if "occurred_at" in body else None,
        "body": body,
        "team": "product",
        "tags": ["a", "b"],
        "kind": "bug",
        "sentiment_label": "negative",
        "sentiment_score": -0.5,
        "priority": "high",
        "language": "zh",
        "confidence": 0.9,
        "decided_by": "rule",
        "rule": "r",
        "ruleset_version": "v",
        "history": False,
        "case_id": None,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        path.write_bytes(csv_head(FEEDBACK) + csv_rows(FEEDBACK, rows))
    else:
        file = XlsxFile(path, "feedback", FEEDBACK)
        file.add(rows)
        file.close()
    return path


def read(path: Path) -> tuple[Look, list[dict[str, Any]]]:
    with look(path) as found:
        return found, [item.body for item in found.reading() if isinstance(item, Ready)]


def sorted_scores(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"scores": sorted(body.get("scores", []), key=lambda score: (score["metric"], -score["value"]))}


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_an_export_of_feedback_is_what_was_sent_when_it_is_imported_again(tmp_path: Path, ending: str) -> None:
    no_id = {"source": "hook", "text": "no id of its own"}
    _, found = read(write(tmp_path / f"feedback-default-1.{ending}", [row(BODY), row(no_id, 2)]))
    assert [sorted_scores(body) for body in found] == [
        sorted_scores(BODY),
        sorted_scores(no_id | {"external_id": "00000000-0000-4000-8000-000000000002"}),
    ]


@given(text=texts, title=texts, name=texts)
def test_any_text_comes_back_from_csv_as_it_was(text: str, title: str, name: str) -> None:
    body = {"source": "s", "external_id": "1", "text": "a" + text, "title": title, "customer": {"name": name}}
    written = csv_rows(FEEDBACK, [row(body)]).decode()
    (cells,) = csv.reader(io.StringIO(written, newline=""))
    back = dict(zip((column.name for column in FEEDBACK), map(restored, cells), strict=True))
    assert (back["text"], back["title"], back["customer.name"]) == ("a" + text, title, name)


@given(texts)
def test_no_cell_is_a_formula_and_nothing_is_lost(text: str) -> None:
    assert neutral(text)[:1] not in set("=+-@\t\r＝＋－＠")
    assert restored(neutral(text)) == text


def test_csv_opens_right_in_a_spreadsheet_program(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.csv", [row(BODY)]).read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfid,")
    lines = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert raw.endswith(b"\r\n")
    told = dict(zip(lines[0], lines[1], strict=True))
    assert told["text"].startswith("'=cmd")
    assert told["title"] == "''=quoted"
    assert told["sentiment_score"] == "-0.5", "numbers stay numbers"
    assert told["received_at"] == "2026-01-02T03:04:05.678Z"
    assert (told["tags"], told["history"], told["case_id"]) == ("a, b", "false", "")
    assert json.loads(told["attributes"]) == BODY["attributes"]


def test_a_workbooks_cells_have_types_and_none_is_a_formula(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", [row(BODY)])
    book = Workbook(path)
    (_, names), (_, cells) = list(book.rows(book.sheets[0]))
    book.close()
    told = dict(zip(names, cells, strict=False))
    assert told["text"] == BODY["text"]
    assert told["received_at"] == datetime(2026, 1, 2, 3, 4, 5, 678000)
    assert (told["sentiment_score"], told["history"], told["score.nps"]) == (-0.5, False, 9)
    with zipfile.ZipFile(path) as file:
        assert b"<f>" not in file.read("xl/worksheets/sheet1.xml")
        assert b"quotePrefix" in file.read("xl/styles.xml"), "and stays a text when it is edited"


def test_more_rows_than_a_sheet_holds_go_on_on_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    file = XlsxFile(path, "feedback", FEEDBACK, max_rows=10)
    file.add([row(BODY | {"external_id": str(number)}, number) for number in range(25)])
    file.close()
    book = Workbook(path)
    counts = [len(list(book.rows(sheet))) for sheet in book.sheets]
    book.close()
    assert counts == [10, 10, 8]


def test_the_columns_are_what_the_model_has() -> None:
    """A member that is added to the model is exported, or said here to be none."""
    sent = {name for name in Feedback.model_fields if name not in {"scores", "customer"}}
    told = {column.member for column in FEEDBACK}
    assert sent <= told
    assert {f"customer.{name}" for name in ("id", "email", "name", "locale", "account_id", "role", "tier", "preferred_channel")} <= told  # fmt: skip
    assert {f"score.{metric}" for metric in METRIC_RANGES} | set(MEMBERS) <= told
    for columns in (FEEDBACK, CASES):
        names = [column.name for column in columns]
        assert len(names) == len(set(names))
    assert is_export(frozenset(column.name for column in FEEDBACK))
    assert not is_export(frozenset({"id", "team", "text", "language", "priority"}))
    assert cell(FEEDBACK[0], row(BODY)) == row(BODY)["id"]


def test_a_persons_zone_does_not_move_an_exports_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row(BODY)])
    with look(path, Options(zone="Asia/Shanghai")) as found:
        (body,) = [item.body for item in found.reading() if isinstance(item, Ready)]
    assert body["occurred_at"] == BODY["occurred_at"]
