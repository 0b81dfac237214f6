"""`flywheel accounts import`: a spreadsheet of accounts → `PUT /v1/accounts`.

What the file is and which column is what is recognised and shown before anything is sent. A row that would be refused is
named with its number and its column, and keeps nobody else out; what is wrong is what the API's own model says. Each account
is replaced whole, so that the same file sent twice changes nothing, and there is no place to go on from: run it again.
"""

import re
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli import client, show
from services.closer.accounts import MAX_ITEMS, NamedAccount
from shared.errors import Misuse
from shared.events.acceptable import field_errors
from shared.files.cells import Cell, as_text, as_yes, is_blank
from shared.files.dates import Dates, NotADate, Order, date_format, order_of
from shared.files.names import folded
from shared.files.reading import Fact
from shared.files.rows import Csv, Row, Xlsx
from shared.files.sniff import decoded, delimiter_named, dialect_of, encoding_named, encoding_of, header_of
from shared.files.survey import survey

FIRST_ROWS = 1_000
REFUSALS_SHOWN = 20


def _names(text: str) -> frozenset[str]:
    return frozenset(map(folded, text.split(",")))


MEMBERS: Mapping[str, frozenset[str]] = {
    "id": _names("id, account id, account, account key, company id, customer id, 编号, 公司编号, 客户编号, 账户编号"),
    "name": _names(
        "name, account name, company, company name, organisation, organization, 名称, 公司, 公司名称, 客户名称"
    ),
    "tier": _names("tier, plan, segment, level, 等级, 客户等级, 级别, 套餐"),
    "revenue": _names("revenue, arr, annual revenue, acv, contract value, amount, 收入, 年收入, 合同金额, 金额"),
    "currency": _names("currency, 币种, 货币"),
    "renewal_on": _names(
        "renewal on, renewal, renewal date, renews on, contract end, 续约日, 续约日期, 到期日, 合同到期日"
    ),
    "owner": _names("owner, owner email, csm, account manager, account owner, 负责人, 客户经理, 负责人邮箱"),
    "outcome": _names("outcome, outcome wanted, goal, success criteria, 期望成果, 目标, 期望"),
    "outcome_by": _names("outcome by, goal by, goal date, target date, 达成期限, 目标日期, 期限"),
    "outcome_reached": _names("outcome reached, reached, goal reached, achieved, 已达成, 是否达成, 达成"),
}
_DAYS = ("renewal_on", "outcome_by")
_PATHS = {
    "revenue": "revenue",
    "revenue.amount": "revenue",
    "revenue.currency": "currency",
    "outcome.wanted": "outcome",
    "outcome.by": "outcome_by",
    "outcome.reached": "outcome_reached",
}
"""Where the API's model has it → which member of a row that was."""


@dataclass(frozen=True, slots=True)
class Options:
    mapping: Sequence[str] = ()
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    date_format: str | None = None
    currency: str | None = None


class Wrong(Exception):
    """Of a cell: what is wrong with it, for people."""


@dataclass(slots=True)
class Table:
    """A file that was looked at."""

    path: Path
    facts: list[Fact]
    columns: dict[str, int]
    """Member → the column's place."""
    names: list[str]
    rows: Csv | Xlsx
    begins: int
    dates: dict[str, Dates]
    currency: str | None
    samples: Sequence[Sequence[Cell]] = field(default_factory=list)

    def accounts(self) -> Iterator[tuple[int, NamedAccount | str]]:
        """Row by row: the account, or why it is refused."""
        seen: dict[str, int] = {}
        with closing(self.rows.rows()) as rows:  # type: ignore[type-var]
            for row in rows:
                if row.number < self.begins or (not row.wrong and all(map(is_blank, row.cells))):
                    continue
                found = row.wrong or self._read(row)
                if isinstance(found, NamedAccount) and seen.setdefault(found.id, row.number) != row.number:
                    found = f"{self._called('id')}: it stands in row {seen[found.id]} already"
                yield row.number, found

    def _read(self, row: Row) -> NamedAccount | str:
        try:
            return NamedAccount.model_validate(self._members(row.cells))
        except Wrong as error:
            return str(error)
        except ValidationError as error:
            told = [f"{self._called(_PATHS.get(e['field'], e['field']))}: {e['message']}" for e in field_errors(error)]
            return "; ".join(told)

    def _members(self, cells: Sequence[Cell]) -> dict[str, Any]:
        given = {
            member: cells[at] for member, at in self.columns.items() if at < len(cells) and not is_blank(cells[at])
        }
        found: dict[str, Any] = {
            member: as_text(given[member]).strip() for member in ("id", "name", "tier", "owner") if member in given
        }
        for member in _DAYS:
            if member in given:
                given[member] = self._day(member, given[member])
        if "renewal_on" in given:
            found["renewal_on"] = given["renewal_on"]
        if "revenue" in given:
            currency = as_text(given.get("currency")).strip().upper() or self.currency
            if currency is None:
                raise Wrong(f"{self._called('revenue')}: in which currency? a column says so, or --currency EUR")
            found["revenue"] = {"amount": self._amount(given["revenue"]), "currency": currency}
        if "outcome" in given:
            found["outcome"] = {"wanted": as_text(given["outcome"]).strip(), "by": given.get("outcome_by")}
            found["outcome"]["reached"] = self._yes(given["outcome_reached"]) if "outcome_reached" in given else False
        return found

    def _day(self, member: str, cell: Cell) -> str:
        try:
            return self.dates[member].read(cell).date().isoformat()
        except NotADate as error:
            raise Wrong(f"{self._called(member)}: {error}") from None

    def _amount(self, cell: Cell) -> float:
        found = amount(cell)
        if found is None:
            raise Wrong(f"{self._called('revenue')}: “{as_text(cell)[:40]}” is no amount")
        return found

    def _yes(self, cell: Cell) -> bool:
        found = as_yes(cell)
        if found is None:
            raise Wrong(f"{self._called('outcome_reached')}: “{as_text(cell)[:40]}” is neither yes nor no")
        return found

    def _called(self, member: str) -> str:
        """As the file has it."""
        return self.names[self.columns[member]] if member in self.columns else member


def amount(cell: Cell) -> float | None:
    """Money as people write it: `120000`, `120,000.50`, `120.000,50`, `€ 1 200`, `¥120,000`. None: it is none. One separator
    before three digits is one of thousands: no money has three decimals that anybody writes."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return float(cell)
    text = re.sub(r"[\s'’]|[A-Za-z]{3}|[$€£¥₹元]", "", unicodedata.normalize("NFKC", as_text(cell)))
    if not re.fullmatch(r"\d[\d.,]*", text):
        return None
    decimal = max(text.rfind("."), text.rfind(","))
    if decimal < 0:
        return float(text)
    after = text[decimal + 1 :]
    is_thousands = (len(after) == 3 and ("," in text) != ("." in text)) or text.count(text[decimal]) > 1
    whole = text if is_thousands else text[:decimal]
    digits = re.sub(r"[.,]", "", whole)
    return float(digits if is_thousands else f"{digits}.{after or 0}")


# ── looking ──


def look(path: Path, options: Options) -> Table:
    """Raises `Misuse` for what cannot be imported."""
    try:
        with path.open("rb") as file:
            surveyed = survey(file)
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    if not surveyed.size:
        raise Misuse(f"{path}: it is empty")
    rows: Csv | Xlsx
    if surveyed.head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise Misuse(f"{path}: it is damaged: open it in a spreadsheet program and save it again")
        rows = Xlsx(path, options.sheet)
        facts = [Fact("sheet", rows.sheet.name, "--sheet" if options.sheet else "the first")]
    else:
        given = options.encoding
        encoding = encoding_named(given) if given else encoding_of(surveyed.head, surveyed.telling, surveyed.is_utf8)
        delimiter = delimiter_named(options.delimiter) if options.delimiter else None
        dialect = dialect_of(decoded(surveyed.head, encoding.codec), delimiter)
        rows = Csv(path, encoding.codec, dialect)
        facts = [Fact("encoding", encoding.label, encoding.why), Fact("delimiter", dialect.label, dialect.why)]
    try:
        return _table(path, rows, facts, options)
    except Misuse:
        rows.close()
        raise


def _table(path: Path, rows: Csv | Xlsx, facts: list[Fact], options: Options) -> Table:
    with closing(rows.rows()) as some:  # type: ignore[type-var]
        first = [row for row in islice(some, FIRST_ROWS) if not row.wrong]
    header = header_of([row.cells for row in first], True) if first else None
    if header is None or header.row is None or len(first) <= header.begins:
        raise Misuse(f"{path}: it has no header with rows of accounts below it")
    names = [" ".join(as_text(cell).split()) for cell in first[header.row].cells]
    facts.append(Fact("header", f"row {first[header.row].number}", "the first that names columns"))
    columns = _columns(path, names, options.mapping)
    data = [row.cells for row in first[header.begins :]]
    order, pattern = date_format(options.date_format)
    dates = {}
    for member in _DAYS:
        if member in columns:
            at = columns[member]
            found: Order = order or order_of(cells[at] for cells in data if at < len(cells))
            if found == "unsettled":
                raise Misuse(
                    f"{path}: “{names[at]}”: its dates may be day/month or month/day, and no row tells: say which by"
                    " --date-format DMY or MDY"
                )
            dates[member] = Dates(order=found, pattern=pattern)
    begins = first[header.begins].number
    return Table(path, facts, columns, names, rows, begins, dates, options.currency, data)


def _columns(path: Path, names: Sequence[str], mapping: Sequence[str]) -> dict[str, int]:
    """As a person says, else by their names. Raises `Misuse`."""
    found: dict[str, int] = {}
    for pair in ",".join(mapping).split(",") if mapping else ():
        member, _, name = (part.strip() for part in pair.partition("="))
        if member not in MEMBERS or name not in names:
            raise Misuse(
                f"--map {pair!r}: write MEMBER=COLUMN; members are {', '.join(MEMBERS)}, columns {', '.join(names)}"
            )
        found[member] = names.index(name)
    for at, name in enumerate(names):
        for member, known in MEMBERS.items():
            if member not in found and at not in found.values() and folded(name) in known:
                found[member] = at
    missing = [member for member in ("id", "name") if member not in found]
    if missing:
        raise Misuse(
            f'{path}: no column looks like {" nor ".join(missing)}: name it, for example by --map "{missing[0]}=COLUMN";'
            f" the columns are {', '.join(map(repr, names))}"
        )
    return found


# ── what the verb does ──


def imported(table: Table, dry_run: bool) -> dict[str, Any]:
    """Sends what is good, a hundred at a time. Raises `Transient`, `client.Refused`."""
    counts = dict.fromkeys(("rows", "created", "changed", "unchanged", "refused"), 0)
    refusals: list[dict[str, Any]] = []
    batch: list[NamedAccount] = []

    def send() -> None:
        if batch and not dry_run:
            items = [account.model_dump(mode="json", exclude_none=True) for account in batch]
            for name, number in client.call("closer", "PUT", "/v1/accounts", json={"items": items}).items():
                counts[name] += number
        batch.clear()

    for number, found in table.accounts():
        counts["rows"] += 1
        if isinstance(found, str):
            counts["refused"] += 1
            refusals.append({"row": number, "reason": found})
            continue
        batch.append(found)
        if len(batch) == MAX_ITEMS:
            send()
    send()
    places = {at: member for member, at in table.columns.items()}
    return {
        "file": str(table.path),
        "dry_run": dry_run,
        **counts,
        "refusals": refusals,
        "facts": [fact._asdict() for fact in table.facts],
        "columns": [{"column": name, "member": places.get(at)} for at, name in enumerate(table.names)],
    }


# ── what is shown ──


def looked_at(table: Table) -> None:
    for fact in table.facts:
        show.say(f"{fact.what:<10} {show.short(fact.found, 50)}  ({show.short(fact.why, 110)})")
    show.say()
    places = {at: member for member, at in table.columns.items()}
    shown = [
        (show.short(name, 40), places.get(at, "left out"), _sample(table.samples, at))
        for at, name in enumerate(table.names)
    ]
    show.table(["column", "is", "for example"], shown)
    show.say()


def _sample(rows: Sequence[Sequence[Cell]], at: int) -> str:
    found = dict.fromkeys(as_text(cells[at]) for cells in rows if at < len(cells) and not is_blank(cells[at]))
    return " · ".join(show.short(text, 24) for text in islice(found, 3))


def said(summary: Mapping[str, Any]) -> None:
    for one in summary["refusals"][:REFUSALS_SHOWN]:
        show.say(f"row {one['row']}: {show.short(one['reason'], 200)}")
    good = summary["rows"] - summary["refused"]
    lines = [("would be written", good)] if summary["dry_run"] else [(w, summary[w]) for w in ("created", "changed")]
    for what, count in [*lines, *([] if summary["dry_run"] else [("unchanged", summary["unchanged"])])]:
        show.say(f"{what:<18} {count:>8,}")
    show.say(f"{'refused':<18} {summary['refused']:>8,}")


def listed(page: Mapping[str, Any]) -> None:
    show.table(
        ["account", "name", "tier", "revenue", "renewal", "owner"],
        [
            (
                one["id"],
                show.short(one["name"], 40),
                one["tier"],
                money(one["revenue"]),
                one["renewal_on"],
                one["owner"],
            )
            for one in page["items"]
        ],
        empty="no such account",
    )
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


def one(found: Mapping[str, Any]) -> None:
    show.say(f"{found['id']}  {show.short(found['name'], 80)}")
    outcome = found["outcome"]
    lines = [
        ("tier", found["tier"]),
        ("revenue", money(found["revenue"])),
        ("renewal", found["renewal_on"]),
        ("owner", found["owner"]),
        ("outcome", outcome and outcome["wanted"]),
        ("by", outcome and outcome["by"]),
        ("reached", outcome and ("yes" if outcome["reached"] else "not yet")),
    ]
    for what, value in lines:
        if value:
            show.say(f"  {what:<9} {show.short(value, 100)}")


def money(revenue: Mapping[str, Any] | None) -> str:
    return f"{revenue['amount']:,.0f} {revenue['currency']}" if revenue else ""
