"""Last year's spreadsheet comes in, through kills of whoever sends and of whoever takes; and goes out again."""

import csv
import io
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from tests.deployment import FLYWHEEL, REPOSITORY, Deployment

ROWS = 24_000
"""Many chunks: an import is seen under way three times, and none of them may be over before it is looked at."""
BAD = 3_001
MAPPED = "score.nps=How likely…,ignore=Phone"
WORDS = [
    "很好用",
    "闪退",
    "退款",
    "太慢",
    "客服",
    "态度",
    "更新",
    "以后",
    "打不开",
    "希望",
    "增加",
    "深色",
    "模式",
    "谢谢",
    "物流",
    "包装",
    "破损",
    "价格",
    "便宜",
    "推荐",
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment.all_in_one(tmp_path_factory.mktemp("files"), None, "--no-sample") as deployment:
        yield deployment


def started(up: Deployment, *arguments: str) -> subprocess.Popen[str]:
    env = {**up.env, "FLYWHEEL_API_KEY": up.api_key}
    return subprocess.Popen(
        [*FLYWHEEL, *arguments], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def asked(up: Deployment, *arguments: str, code: int = 0) -> Any:
    said = up.flywheel(*arguments, "--json", check=False)
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stderr
    return json.loads(said.stdout)


def settled(up: Deployment, path: Path) -> int:
    """Up to which row of an unfinished import; 0 while none is."""
    for checkpoint in (up.data_dir / "imports").glob("*.json"):
        found = json.loads(checkpoint.read_text())
        if found["counts"]["new"] and not found["finished"]:
            return int(found["row"])
    return 0


def exported(up: Deployment, source: str) -> list[dict[str, Any]]:
    with up.http("console") as console:
        answer = console.get("/v1/export/feedback.jsonl", params={"source": source})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


def table(path: Path) -> None:
    """In GB18030, as Excel in China writes it, with ids of its own."""
    choices = random.Random(7)
    with path.open("w", encoding="gb18030", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["编号", "评论内容", "推荐意愿", "评论时间", "客户编号"])
        for number in range(ROWS):
            nps = 99 if number == BAD else choices.randint(0, 10)
            said = "，".join(choices.choices(WORDS, k=5))
            lines.writerow([f"R{number}", f"{said} {number}", nps, f"2025/{number % 12 + 1}/3", f"c-{number % 500}"])


@pytest.mark.timeout(400)
def test_an_import_goes_on_after_kills_on_either_side_and_nothing_is_lost_or_doubled(
    up: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "去年.csv"
    table(path)
    command = ("import", str(path), "--json")
    with started(up, *command) as killed:
        up.until(lambda: settled(up, path))
        killed.kill()
    first = settled(up, path)
    assert 0 < first < ROWS

    with started(up, *command) as interrupted:
        up.until(lambda: settled(up, path) > first)
        interrupted.send_signal(signal.SIGINT)
        out, err = interrupted.communicate(timeout=60)
    assert (interrupted.returncode, out) == (1, "")
    assert f"going on behind row {first}" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err

    service = up.procs["all"]
    with started(up, *command) as last:
        second = settled(up, path)
        up.until(lambda: settled(up, path) > second or last.poll() is not None)
        service.kill()
        service.start()
        up.wait_ready()
        out, err = last.communicate(timeout=170)
    assert (last.returncode, "sending the same again" in err) == (1, True), err
    summary = json.loads(out)
    assert (summary["rows"], summary["refused"]) == (ROWS, 1)
    assert summary["new"] + summary["known"] == ROWS - 1

    def all_there() -> bool:
        return len(exported(up, "去年")) == ROWS - 1

    up.until(all_there)
    found = exported(up, "去年")
    assert sorted(line["external_id"] for line in found) == sorted(f"R{n}" for n in range(ROWS) if n != BAD)
    assert all(line["routing"]["history"] for line in found)

    again = asked(up, "import", str(path), code=1)
    assert (again["already"], again["new"], again["known"], again["refused"]) == (True, 0, ROWS - 1, 1)

    refused = Path(summary["refused_file"])
    assert refused.name.startswith("去年.refused"), "with a number where a run that was killed had begun one"
    lines = list(csv.reader(io.StringIO(refused.read_text(encoding="utf-8-sig"), newline="")))
    assert [line[:1] + line[3:] for line in lines[1:]] == [
        [
            f"R{BAD}",
            f"2025/{BAD % 12 + 1}/3",
            f"c-{BAD % 500}",
            str(BAD + 2),
            "",
            "推荐意愿: must be from 0 to 10 for nps",
        ]
    ]
    refused.write_text(refused.read_text(encoding="utf-8-sig").replace(",99,", ",9,"), encoding="utf-8-sig")
    mended = asked(up, "import", str(refused))
    assert (mended["new"], mended["refused"]) == (1, 0)
    up.until(lambda: len(exported(up, "去年")) == ROWS)

    assert list((up.data_dir / "mail").glob("*.eml")) == [], "nobody is mailed about history"
    assert asked(up, "cases", "--customer", "c-1")["items"], "but there are cases"


def test_a_workbook_is_shown_rehearsed_sent_exported_and_sent_again(up: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "survey.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    for column, name in enumerate(["How likely are you to recommend us?", "What could we do better?", "Phone"]):
        sheet.write(0, column, name)
    for row, cells in enumerate([(9, "=A1", "555-1"), (2, "It crashes at once", "555-2"), (11, "too high", "")], 1):
        for column, cell in enumerate(cells):
            sheet.write_string(row, column, cell) if isinstance(cell, str) else sheet.write_number(row, column, cell)
    book.close()

    dry = asked(up, "import", str(path), "--dry-run", "--map", MAPPED, code=1)
    assert (dry["new"], dry["refused"], dry["refused_file"]) == (2, 1, None)
    assert dry["refusals"] == [
        {"row": 4, "reason": "How likely are you to recommend us?: must be from 0 to 10 for nps"}
    ]
    assert exported(up, "survey") == [], "nothing was sent"

    shown = up.flywheel("import", str(path), "--dry-run", check=False).stdout
    for words in ("It crashes at once", "its name and values", "attributes.Phone", "would be sent"):
        assert words in shown
    assert "its values go from 2 to 11 and nps from 0 to 10: --map score.METRIC=…" in shown

    sent = asked(up, "import", str(path), "--map", MAPPED, code=1)
    assert (sent["new"], sent["refused"]) == (2, 1)
    found = up.until(lambda: len(lines := exported(up, "survey")) == 2 and lines)
    again = asked(up, "import", str(path), "--map", MAPPED, code=1)
    assert (again["already"], again["new"], again["known"]) == (True, 0, 2)
    once_more = asked(up, "import", str(path), "--map", MAPPED, "--again", code=1)
    assert (once_more["already"], once_more["new"], once_more["known"]) == (False, 0, 2)
    assert {line["text"] for line in found} == {"=A1", "It crashes at once"}
    assert all("attributes" not in line for line in found)

    for ending in ("csv", "xlsx", "jsonl"):
        out = tmp_path / f"out.{ending}"
        written = asked(up, "export", "feedback", "--source", "survey", "--out", str(out))
        assert written == {"file": str(out), "bytes": out.stat().st_size}
        back = asked(up, "import", str(out))
        assert (back["new"], back["known"], back["refused"]) == (0, 2, 0), ending
    assert len(exported(up, "survey")) == 2

    cases = tmp_path / "cases.csv"
    asked(up, "export", "cases", "--team", "product", "--out", str(cases))
    rows = list(csv.DictReader(io.StringIO(cases.read_text(encoding="utf-8-sig"), newline="")))
    assert "It crashes at once" in {row["text"] for row in rows}
    assert {row["team"] for row in rows} == {"product"}


def test_mistakes_are_said_and_a_key_that_may_only_write_can_import(up: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("comment\nfine\n")
    for arguments, code, says in (
        (("import", str(tmp_path / "none.csv")), 2, "No such file"),
        (("import", str(path), "--map", "text=words"), 2, "there is no column 'words'"),
        (("import", str(path), "--encoding", "klingon"), 2, "--encoding"),
        (("export", "customers"), 2, "cases or feedback"),
        (("export", "cases", "--format", "pdf"), 2, "--format"),
        (("export", "cases", "--kind", "bug"), 2, "--kind is no filter of cases"),
        (("export", "cases", "--state", "asleep", "--out", str(tmp_path / "x.csv")), 2, "waiting_on_customer"),
        (("export", "cases", "--out", str(tmp_path / "nowhere" / "x.csv")), 1, "No such file or directory"),
    ):
        said = up.flywheel(*arguments, check=False)
        assert (said.returncode, says in said.stderr, "Traceback" in said.stderr) == (code, True, False), said.stderr
    assert not list(tmp_path.glob("*x.csv*")), "a file that is not whole is not there"
    key = asked(up, "keys", "create", "--scope", "feedback:write")["key"]
    said = up.flywheel("import", str(path), "--json", FLYWHEEL_API_KEY=key)
    assert json.loads(said.stdout)["new"] == 1
    assert json.loads(said.stdout)["known"] is None
    reader = asked(up, "keys", "create", "--scope", "feedback:read")["key"]
    path.write_text("comment\nfine and new\n")
    refused = up.flywheel("import", str(path), check=False, FLYWHEEL_API_KEY=reader)
    assert refused.returncode == 1
    assert "feedback:write" in refused.stderr
