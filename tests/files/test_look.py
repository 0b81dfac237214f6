"""Files as people have them: looked at, read as feedback, refused where they must be, mended and read again."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from shared.errors import Misuse
from shared.events.feedback import METRIC_RANGES
from shared.files.look import Options, look
from shared.files.reading import Item, Look, Ready, Refused
from shared.files.refused import Refusals, place_for
from tests.files.workbooks import workbook

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes, codec: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(codec))
        return path

    return write


def read(path: Path, **options: Any) -> tuple[Look, list[Item]]:
    with look(path, Options(**options)) as found:
        return found, list(found.reading())


def bodies(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [item.body for item in items if isinstance(item, Ready)]


def refusals(items: Sequence[Item]) -> list[tuple[int, str]]:
    return [(item.number, item.reason) for item in items if isinstance(item, Refused)]


TABLE = "编号,评论内容,推荐意愿,日期,邮箱,门店\r\n7,很好用，谢谢,9,2025/3/4 10:11,ann@example.cn,一\r\n8,“闪退”,2,2025/3/5,,二\r\n"
BODIES = [
    {"source": "reviews", "external_id": "7", "text": "很好用，谢谢", "scores": [{"metric": "nps", "value": 9}], "occurred_at": "2025-03-04T02:11:00.000Z", "customer": {"email": "ann@example.cn"}, "attributes": {"门店": "一"}},
    {"source": "reviews", "external_id": "8", "text": "“闪退”", "scores": [{"metric": "nps", "value": 2}], "occurred_at": "2025-03-04T16:00:00.000Z", "attributes": {"门店": "二"}},
]  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_is_read_however_it_was_written(write: Write, codec: str, delimiter: str) -> None:
    path = write("reviews.csv", TABLE.replace(",", delimiter), codec)
    found, items = read(path, zone="Asia/Shanghai")
    assert bodies(items) == BODIES
    assert found.notes == ()
    assert {"encoding", "delimiter", "header", "dates", "zone", "source"} == {fact.what for fact in found.facts}


def test_a_japanese_table(write: Write) -> None:
    path = write("r.csv", "番号,ご意見,評価\r\n1,ダークモードがほしい,★★★★☆\r\n", "cp932")
    found, items = read(path)
    assert ("encoding", "Shift-JIS") in [fact[:2] for fact in found.facts]
    assert bodies(items)[0]["scores"] == [{"metric": "stars", "value": 4}]


def test_a_workbook_is_read_as_a_table_is(tmp_path: Path) -> None:
    path = tmp_path / "reviews.xlsx"
    book = xlsxwriter.Workbook(str(path))
    hidden, title, sheet = (book.add_worksheet(name) for name in ("old", "about", "data"))
    hidden.hide()
    title.activate()
    title.write_string(0, 0, "Comment")
    title.write_string(1, 0, "not this one")
    date = book.add_format({"num_format": "yyyy/m/d h:mm"})
    for column, name in enumerate(TABLE.splitlines()[0].split(",")):
        sheet.write_string(2, column, name)  # below a title
    sheet.write_string(0, 0, "导出")
    rows = [(7, "很好用，谢谢", 9, datetime(2025, 3, 4, 10, 11), "ann@example.cn", "一"), (8, "“闪退”", 2, datetime(2025, 3, 5), "", "二")]  # fmt: skip
    for number, cells in zip((3, 5), rows, strict=True):  # an empty row between
        for column, cell in enumerate(cells):
            if isinstance(cell, datetime):
                sheet.write_datetime(number, column, cell, date)
            else:
                sheet.write(number, column, cell)
    book.close()
    found, items = read(path, sheet="data", zone="Asia/Shanghai")
    assert bodies(items) == BODIES
    assert [item.number for item in items] == [4, 6], "as the spreadsheet numbers them"
    assert ("header", "row 3") in [fact[:2] for fact in found.facts]
    first, items = read(path)
    assert [body["text"] for body in bodies(items)] == ["not this one"]
    assert "--sheet names another: data" in next(fact.why for fact in first.facts if fact.what == "sheet")
    assert read(path, sheet="3", zone="Asia/Shanghai")[1] == read(path, sheet="DATA", zone="Asia/Shanghai")[1]
    with pytest.raises(Misuse, match="the sheets are old, about, data"):
        read(path, sheet="none")


def test_rows_of_two_sheets_are_two_rows(tmp_path: Path) -> None:
    rows = '<row r="1"><c t="inlineStr"><is><t>comment</t></is></c></row><row r="2"><c t="inlineStr"><is><t>fine</t></is></c></row>'
    path = workbook(tmp_path / "a.xlsx", {"One": rows, "Two": rows})
    ids = {bodies(read(path, sheet=sheet)[1])[0]["external_id"] for sheet in ("One", "Two")}
    assert len(ids) == 2


def test_lines_that_are_events_are_taken_as_they_stand(write: Write) -> None:
    lines = [
        {"source": "app", "external_id": "1", "text": "fine", "customer": {"id": "c"}, "scores": [{"metric": "nps", "value": 9}]},
        {"source": "app", "text": "no id"},
        {"text": "neither id nor source"},
        {"id": "0b1c", "received_at": "2025-03-04T00:00:00Z", "workspace": "w", "source": "app", "text": "a topic's", "routing": {"team": "x"}},
    ]  # fmt: skip
    found, items = read(write("e.jsonl", "\n".join(map(json.dumps, lines))))
    assert found.is_native
    assert [(b["source"], b["external_id"]) for b in bodies(items)] == [
        ("app", "1"),
        ("app", f"{found.identity}2"),
        ("e", f"{found.identity}3"),
        ("app", "0b1c"),
    ]
    assert all("routing" not in body for body in bodies(items))


def test_lines_with_members_of_their_own_are_columns(write: Write) -> None:
    lines = [
        {"Review ID": 7, "body": "fine", "user": {"email": "a@b.cn", "age": 7}, "stars": 5, "tags": ["a"]},
        {"Review ID": 8, "body": "bad", "late": 1},
    ]
    found, items = read(write("e.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, lines))))
    assert not found.is_native
    assert bodies(items) == [
        {"source": "e", "external_id": "7", "text": "fine", "customer": {"email": "a@b.cn"}, "scores": [{"metric": "stars", "value": 5}], "attributes": {"user.age": 7, "tags": ["a"]}},
        {"source": "e", "external_id": "8", "text": "bad", "attributes": {"late": 1}},
    ]  # fmt: skip
    assert [item.number for item in items] == [1, 3]


def test_a_bad_line_costs_no_other(write: Write) -> None:
    raw = (
        b'{"text": "a"}\n{"text": \n[1]\n{"text": "\\u0000"}\n\xff\n'
        + b'{"text": "'
        + b"x" * (1 << 20)
        + b'"}\n{"text": "b"}'
    )
    _, items = read(write("e.jsonl", raw))
    assert [body["text"] for body in bodies(items)] == ["a", "b"]
    told = refusals(items)
    assert [number for number, _ in told] == [2, 3, 4, 5, 6]
    for (_, reason), says in zip(
        told, ("not JSON", "no object", "NUL", "not UTF-8", "more than 1,048,576"), strict=True
    ):
        assert says in reason


ODD: list[tuple[str, str, list[tuple[int, str]], int]] = [
    ("a delimiter too many", "id,comment\n1,a\n2,b,c\n3,d\n", [(3, "it has 3 cells, and there are 2 columns")], 2),
    ("a line broken in two", "id,comment,branch\n" + "".join(f"{n},a,b\n" for n in range(200)) + "x\ny,z\n", [(202, "it has 1 cells"), (203, "it has 2 cells")], 200),
    ("rows that end early, all over", "id,comment,branch\n1,a\n2,b\n3,c,d\n", [], 3),
    ("a quotation mark not closed", 'id,comment\n1,a\n2,"b\n' + "3,c\n" * 40_000, [(3, "a quotation mark is not closed")], 0),
    ("a score out of range", "id,comment,nps\n" + "".join(f"{n},a,9\n" for n in range(30)) + "x,a,11\n", [(32, "nps: must be from 0 to 10 for nps")], 30),
    ("a score that is none", "id,comment,nps\n" + "".join(f"{n},a,9\n" for n in range(30)) + "x,a,good\n", [(32, "nps: “good” is not a number")], 30),
    ("a date that is none", "id,comment,date\n" + "".join(f"{n},a,2025-03-04\n" for n in range(30)) + "x,a,soon\n", [(32, "date: “soon” is not a date")], 30),
    ("an address that is none", "id,comment,email\n" + "".join(f"{n},a,a@b.cn\n" for n in range(30)) + "x,a,nobody\n", [(32, "email: must be one plain e-mail address")], 30),
    ("an id that cannot be compared", "id,comment\n1,a\n../2,b\n", [(3, "id: must not hold a path that climbs")], 1),
    ("the same id and other words", "id,comment\n" + "".join(f"{n},a\n" for n in range(1100)) + "7,b\n", [(1102, "external_id: '7' stands in a row before")], 1100),
    ("a NUL", "id,comment\n" + "".join(f"{n},a\n" for n in range(99)) + "x,a\0\n", [(101, "comment: ")], 99),
]  # fmt: skip


@pytest.mark.parametrize(("text", "refused", "taken"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_odd_rows_are_refused_by_number_and_the_others_taken(
    write: Write, text: str, refused: list[tuple[int, str]], taken: int
) -> None:
    _, items = read(write("a.csv", text))
    told = refusals(items)
    if taken:
        assert len(bodies(items)) == taken
    for (number, reason), (wanted, says) in zip(told, refused, strict=False):
        assert number == wanted
        assert says in reason
    assert len(told) >= len(refused)
    assert taken == 0 or len(told) == len(refused)


def test_what_a_lost_quotation_mark_swallowed_is_named_whole(write: Write) -> None:
    rows = [f"{n},text {n}" for n in range(30_000)]
    rows[3] = '3,"text 3'
    _, items = read(write("a.csv", "id,comment\n" + "\n".join(rows)))
    (lost,) = [item for item in items if isinstance(item, Refused)]
    assert lost.reason.startswith("rows 5 to ")
    swallowed = str(lost.cells[0]).splitlines()
    assert swallowed[0] == '3,"text 3'
    assert len(bodies(items)) + len(swallowed) == 30_000, "every row is taken or named"


def test_rows_that_say_nothing_and_rows_that_stand_twice(write: Write) -> None:
    text = "id,comment,stars\n1,a,5\n2,,\n,,\n\n3,  ,\n4,,4\n1,a,5\n"
    _, items = read(write("a.csv", text))
    told = [(type(item).__name__, item.number) for item in items]
    assert told == [("Ready", 2), ("Empty", 3), ("Empty", 6), ("Ready", 7), ("Repeated", 8)]


def test_bytes_that_are_nothing_in_the_encoding_cost_their_row(write: Write) -> None:
    raw = "编号,评论内容\n1,很好用，谢谢你们\n2,物流".encode("gb18030") + b"\xff\xff\n" + "3,太慢了\n".encode("gb18030")
    _, items = read(write("a.csv", raw))
    assert [body["external_id"] for body in bodies(items)] == ["1", "3"]
    assert refusals(items) == [(3, "评论内容: it holds bytes that are not GB18030 (GBK, GB2312)")]


def test_a_date_that_may_be_two_is_settled_by_the_end_of_the_file(write: Write) -> None:
    rows = "".join(f"{n},a,03/04/2025\n" for n in range(2_000))
    path = write("a.csv", f"id,comment,date\n{rows}x,b,25/12/2025\n")
    found, items = read(path)
    assert bodies(items)[0]["occurred_at"] == "2025-04-03T00:00:00.000Z"
    assert ("dates", "day first", "the whole column") in found.facts
    unsettled = write("b.csv", f"id,comment,date\n{rows}")
    with pytest.raises(Misuse, match=r"“date”: dates such as 03/04/2025 .* --date-format DMY or MDY"):
        read(unsettled)
    assert bodies(read(unsettled, date_format="MDY")[1])[0]["occurred_at"] == "2025-03-04T00:00:00.000Z"
    both = write("c.csv", "id,comment,date\n1,a,25/12/2025\n2,b,12/25/2025\n3,c,03/04/2025\n")
    _, items = read(both)
    assert [body["external_id"] for body in bodies(items)] == ["1", "2"]
    assert refusals(items)[0][0] == 4


def test_a_row_without_an_id_is_known_by_the_file_and_its_number(write: Write) -> None:
    path = write("a.csv", "comment\nfine\nfine\n")
    found, items = read(path)
    ids = [body["external_id"] for body in bodies(items)]
    assert ids == [f"file-{found.survey.sha256[:32]}-2", f"file-{found.survey.sha256[:32]}-3"]
    assert [body["external_id"] for body in bodies(read(write("b.csv", path.read_bytes()))[1])] == ids, "by its content"


def test_first_rows_without_names(write: Write) -> None:
    found, items = read(write("a.csv", "1,It is fine\n2,It is not\n"))
    assert [column.name for column in found.columns] == ["A", "B"]
    assert [body["text"] for body in bodies(items)] == ["It is fine", "It is not"]
    _, items = read(write("b.csv", "1,It is fine\n"), mapping=("text=B,external_id=A",))
    assert bodies(items) == [{"source": "b", "external_id": "1", "text": "It is fine"}]


def test_names_that_stand_twice_or_nowhere(write: Write) -> None:
    found, _ = read(write("a.csv", "id,comment,,comment,\n1,a,b,c,\n"))
    assert found.names == ("id", "comment", "column C", "comment (2)")


CANNOT: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.csv", b"", {}, "it is empty"),
    ("a.csv", b"id,branch\n1,2\n", {}, "name it, for example by --map \"text=COLUMN\"; the columns are 'id'"),
    ("a.csv", b"id,comment\n", {}, "nothing below its header"),
    ("a.csv", b"x" * 300_000, {}, "no end"),
    ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, {}, "save it as .xlsx"),
    ("a.xlsx", b"PK\x03\x04 and no more", {}, "damaged"),
    ("a.csv.gz", b"\x1f\x8b\x08\0", {}, "unpack it first"),
    ("a.pdf", b"%PDF-1.7", {}, "it is a PDF"),
    ("a.json", b'[{"text": "a"}]', {}, "one object a line"),
    ("a.jsonl", b"nonsense\n", {}, "no line of it that is a JSON object"),
    ("a.csv", b"id,comment\n1,a\n", {"zone": "Mars"}, "--zone"),
    ("a.csv", b"id,comment\n1,a\n", {"encoding": "klingon"}, "--encoding"),
    ("a.csv", b"id,comment\n1,a\n", {"delimiter": "??"}, "--delimiter"),
    ("a.csv", b"id,comment\n1,a\n", {"mapping": ("text=words",)}, "--map"),
    ("a.csv", b"id,comment,date\n1,a,2025-03-04\n", {"date_format": "soon"}, "--date-format"),
]


@pytest.mark.parametrize(("name", "raw", "options", "says"), CANNOT, ids=[f"{r[0]}: {r[3][:20]}" for r in CANNOT])
def test_what_cannot_be_imported_says_what_to_do(write: Write, name: str, raw: bytes, options: Any, says: str) -> None:
    with pytest.raises(Misuse) as refused:
        read(write(name, raw), **options)
    assert says in str(refused.value)


def test_a_missing_file_and_a_copy_under_another_name(write: Write, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="No such file"):
        read(tmp_path / "none.csv")
    with look(write("upload-81", "id,comment\n1,a\n"), name="客户反馈.csv") as found:
        assert found.source_name == "客户反馈"
        assert found.kind == "csv"


# ── what was refused, mended ──

REFUSED = "编号,评论内容,评分\r\n1,好,5\r\n=2+3,-不好,99\r\n,＝cmd,9\r\n"


def refused_file(path: Path) -> Path:
    with look(path) as found:
        bad = [item for item in found.reading() if isinstance(item, Refused)]
        written = Refusals(place_for(path, found.kind), found)
        written.add(bad[:1])
        written.add(bad[1:])
    return written.path


def test_refused_rows_can_be_mended_and_are_the_rows_they_were(write: Write) -> None:
    good = "".join(f"g{number},好,5\r\n" for number in range(30))
    path = write("反馈.csv", REFUSED + good, "gb18030")
    identity = read(path)[0].identity
    refused = refused_file(path)
    assert refused.name == "反馈.refused.csv"
    raw = refused.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\r\n") == raw.count(b"\n") == 3
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"))))
    assert rows[0][:6] == ["编号", "评论内容", "评分", "flywheel_row", "flywheel_id", "flywheel_reason"]
    assert rows[0][6].startswith("flywheel_map{")
    assert rows[1][:6] == ["'=2+3", "'-不好", "99", "3", "", "评分: must be from 1 to 5 for stars"]
    assert rows[2][:5] == ["", "'＝cmd", "9", "4", f"{identity}4"]

    refused.write_bytes(raw.replace(b",99,", b",4,").replace(b",9,", b",3,"))
    found, items = read(refused)
    assert found.source_name == "反馈", "the source is a part of the identity"
    assert bodies(items) == [
        {"source": "反馈", "external_id": "=2+3", "text": "-不好", "scores": [{"metric": "stars", "value": 4}]},
        {"source": "反馈", "external_id": f"{identity}4", "text": "＝cmd", "scores": [{"metric": "stars", "value": 3}]},
    ]


def test_what_is_refused_once_more_keeps_its_identity_and_no_file_is_written_over(write: Write) -> None:
    path = write("a.csv", "comment,stars\nfine,5\n" + "good,4\n" * 20 + "bad,99\n")
    identity = read(path)[0].identity
    refused = refused_file(path)
    again = refused_file(refused)
    assert (refused.name, again.name) == ("a.refused.csv", "a.refused.2.csv")
    assert (
        again.read_text(encoding="utf-8-sig").splitlines()[0] == refused.read_text(encoding="utf-8-sig").splitlines()[0]
    )
    assert f",{identity}23," in again.read_text()
    again.write_bytes(again.read_bytes().replace(b"bad,99", b"bad,1"))
    (body,) = bodies(read(again)[1])
    assert body["external_id"] == f"{identity}23"


def test_refused_lines_can_be_mended(write: Write) -> None:
    path = write("e.jsonl", '{"text": "a"}\n{"text": \n{"text": "b", "scores": [{"metric": "nps", "value": 99}]}\n')
    identity = read(path)[0].identity
    refused = refused_file(path)
    assert refused.name == "e.refused.jsonl"
    lines = [json.loads(line) for line in refused.read_text().splitlines()]
    assert [(line["flywheel_row"], line["flywheel_id"]) for line in lines] == [(2, f"{identity}2"), (3, f"{identity}3")]
    assert lines[0]["flywheel_line"] == '{"text":'
    lines[0]["flywheel_line"] = '{"text": "mended"}'
    lines[1]["scores"][0]["value"] = 9
    refused.write_text("\n".join(map(json.dumps, lines)))
    found, items = read(refused)
    assert found.is_native
    assert [(b["text"], b["external_id"]) for b in bodies(items)] == [("mended", f"{identity}2"), ("b", f"{identity}3")]


def test_a_row_with_too_many_cells_loses_none_of_them(write: Write) -> None:
    path = write("a.csv", "id,comment\n1,a\n2,b,c,d\n")
    rows = list(csv.reader(io.StringIO(refused_file(path).read_text(encoding="utf-8-sig"))))
    assert rows[1][:2] + rows[1][5:] == ["2", "b", "c", "d"]


def test_refusals_go_on_behind_what_counts(write: Write) -> None:
    path = write("a.csv", "id,comment,stars\n" + "".join(f"{n},a,{99 if n % 20 == 0 else 5}\n" for n in range(200)))
    with look(path) as found:
        bad = [item for item in found.reading() if isinstance(item, Refused)]
        one = Refusals(place_for(path, "csv"), found)
        one.add(bad[:4])
        size, digest = one.size, one.digest
        one.add(bad[4:8])  # and was killed before it could say so
        two = Refusals(one.path, found, size)
        assert two.digest == digest
        two.add(bad[4:])
        three = Refusals(place_for(path, "csv"), found)
        three.add(bad)
    assert two.path.read_bytes() == three.path.read_bytes()
    two.path.write_bytes(b"mended")
    assert Refusals(two.path, found, size).digest != digest


def test_another_metric_is_one_of_the_ranges_given(write: Write) -> None:
    ranges = {**METRIC_RANGES, "mood": (1.0, 10.0)}
    with look(write("a.csv", "comment,Laune\na,9\n"), Options(mapping=("score.mood=Laune",)), ranges) as found:
        assert bodies(list(found.reading(ranges)))[0]["scores"] == [{"metric": "mood", "value": 9}]


def test_how_much_is_done_is_told(write: Write) -> None:
    path = write("a.csv", "comment\n" + "x\n" * 200_000)
    told: list[float] = []
    with look(path) as found:
        for _ in found.reading(heard=told.append):
            pass
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 3
