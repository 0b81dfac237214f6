"""A spreadsheet of accounts: what it is taken for, which rows are refused and why, and what is sent. Looked at where nothing
runs; sent to one `flywheel up`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from services.cli.accounts import amount
from tests.deployment import Deployment
from tests.scenarios.test_cli import Flywheel, Said, asked, flywheel

__all__ = ["asked", "flywheel"]  # fixtures

GERMAN = """\
Account ID;Company;Plan;ARR;Currency;Renewal date;CSM;Goal;Goal date;Goal reached
acme;Mühle GmbH;gold;120.000,50;EUR;31.03.2027;li@example.com;Half the calls;31.01.2027;ja
lotus;Lotus;;;;;;;;
acme;Twice;;;;;;;;
bad-day;Bad day;;;;31.02.2027;;;;
bad-money;Bad money;;lots;EUR;;;;;
bad-owner;Bad owner;;;;;Li;;;
;No id;;;;;;;;
"""
REFUSED = {
    4: "Account ID: it stands in row 2 already",
    5: "Renewal date: ",
    6: "ARR: “lots” is no amount",
    7: "CSM: must be one plain e-mail address",
    8: "Account ID: ",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment.all_in_one(tmp_path_factory.mktemp("up"), None, "--no-sample") as deployment:
        yield deployment


def test_a_look_says_what_each_column_is_and_which_rows_would_be_refused(flywheel: Flywheel, tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_bytes(GERMAN.encode("cp1252"))
    said = flywheel("accounts", "import", "crm.csv", "--dry-run", "--json")
    assert (said.code, said.err) == (1, "")
    found = said.json
    assert (found["rows"], found["refused"], found["created"], found["dry_run"]) == (7, 5, 0, True)
    for one in found["refusals"]:
        assert one["reason"].startswith(REFUSED.pop(one["row"])), one
    assert not REFUSED
    facts = {fact["what"]: fact["found"] for fact in found["facts"]}
    assert facts["delimiter"] == "semicolon"
    assert "1252" in facts["encoding"]
    members = {column["column"]: column["member"] for column in found["columns"]}
    assert members["Goal reached"] == "outcome_reached"
    assert None not in members.values()
    shown = flywheel("accounts", "import", "crm.csv", "--dry-run")
    assert "row 4: Account ID: it stands in row 2 already" in shown.out
    assert "Mühle GmbH" in shown.out


def test_a_chinese_file_is_known_by_its_columns_and_a_workbook_too(flywheel: Flywheel, tmp_path: Path) -> None:
    (tmp_path / "客户.csv").write_bytes(
        "客户编号,公司名称,等级,年收入,续约日期\nlotus,莲花科技,金,98000,2027年9月15日\n".encode("gb18030")
    )
    said = flywheel("accounts", "import", "客户.csv", "--dry-run", "--json", "--currency", "CNY")
    assert (said.code, said.json["rows"], said.json["refused"]) == (0, 1, 0), said.out
    without = flywheel("accounts", "import", "客户.csv", "--dry-run", "--json")
    assert "in which currency?" in without.json["refusals"][0]["reason"]
    book = xlsxwriter.Workbook(str(tmp_path / "crm.xlsx"))
    sheet = book.add_worksheet()
    for number, row in enumerate(
        [("id", "name", "revenue", "currency"), ("a", "A", 12.5, "EUR"), (17, "B", None, None)]
    ):
        sheet.write_row(number, 0, row)
    book.close()
    assert flywheel("accounts", "import", "crm.xlsx", "--dry-run", "--json").json["refused"] == 0


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", (), "it is empty"),
        ("id,name\n", (), "no header with rows"),
        ("key,title\nx,A\n", (), '--map "id=COLUMN"'),
        ("id,name,renewal\na,A,03/04/2027\n", (), "--date-format DMY or MDY"),
        ("id,name\na,A\n", ("--map", "arr=name"), "MEMBER=COLUMN"),
        ("id,name\na,A\n", ("--map", "tier=plan"), "MEMBER=COLUMN"),
    ],
    ids=["empty", "nothing below", "no id", "whose order", "no member", "no column"],
)
def test_what_cannot_be_told_is_asked(
    flywheel: Flywheel, tmp_path: Path, text: str, options: tuple[str, ...], says: str
) -> None:
    (tmp_path / "crm.csv").write_text(text, encoding="utf-8")
    said = flywheel("accounts", "import", "crm.csv", "--dry-run", *options)
    assert said.code == 2, said.out
    assert says in said.err


def test_what_is_sent_is_there_is_listed_and_is_the_same_when_sent_again(asked: Flywheel, tmp_path: Path) -> None:
    rows = [f"a-{number:03},Account {number},gold,2027-{number % 12 + 1:02}-01" for number in range(230)]
    file = tmp_path / "crm.csv"
    file.write_text("\n".join(["id,name,tier,renewal", *rows, ",nobody,,"]), encoding="utf-8")

    def counted(said: Said) -> tuple[int, int, int, int]:
        found = said.json
        return found["created"], found["changed"], found["unchanged"], found["refused"]

    assert counted(asked("accounts", "import", "crm.csv", "--json")) == (230, 0, 0, 1)
    file.write_text(file.read_text(encoding="utf-8").replace("Account 7,", "Seven,"), encoding="utf-8")
    assert counted(asked("accounts", "import", "crm.csv", "--json")) == (0, 1, 229, 1)
    found: dict[str, Any] = asked("account", "a-007", "--json").json
    assert (found["name"], found["tier"], found["renewal_on"]) == ("Seven", "gold", "2027-08-01")
    assert "Seven" in asked("account", "a-007").out
    page = asked("accounts", "--order", "renewal", "--limit", "2", "--json").json
    assert [one["renewal_on"] for one in page["items"]] == ["2027-01-01", "2027-01-01"]
    assert "Seven" in asked("accounts", "--q", "seven").out
    assert "more: --cursor" in asked("accounts").out
    assert asked("account", "nobody").code == 1
    assert asked("accounts", "--order", "name").code == 2


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("120000", 120000),
        ("120,000", 120000),
        ("120.000", 120000),
        ("1,234,567.89", 1234567.89),
        ("1.234.567,89", 1234567.89),
        ("1.234.567", 1234567),
        ("12,5", 12.5),
        ("12.50", 12.5),
        ("€ 1 200", 1200),
        ("1'200.00 CHF", 1200),
        ("¥１２０，０００", 120000),
        (12.5, 12.5),
        (0, 0),
        ("lots", None),
        ("-5", None),
        ("", None),
        (True, None),
    ],
)
def test_money_is_read_as_people_write_it(cell: Any, found: float | None) -> None:
    assert amount(cell) == found
