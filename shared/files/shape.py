"""A row → the body of `POST /v1/feedback`. Pure.

A row's identity is what makes a second import harmless: the file's own id column, else the file's hash and the row's
number. `Unfit` says what cannot be turned into what; whether the whole would be taken is another's question
(`shared.events.acceptable`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from shared.errors import Rejected
from shared.events.envelope import rfc3339
from shared.events.feedback import Feedback
from shared.files.cells import Cell, as_number, as_text, as_yes, is_blank, says_nothing
from shared.files.columns import ID, LINE, MAP, REASON, ROW, Column
from shared.files.dates import Dates, NotADate
from shared.files.rows import Row
from shared.web import strict_json

NATIVE = frozenset(Feedback.model_fields)
ADDED = frozenset({"id", "received_at", "workspace", "history", "routing", "case_id", ROW, ID, REASON})
"""What our topics, our exports and our files of refusals add to what was sent."""

Body = dict[str, Any]
_Set = Callable[[Body, Cell], None]


class Unfit(Rejected):
    """A cell cannot be what its column is taken for."""


class Shape:
    """Rows of cells, or of members with any names, by their columns."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        source: str,
        identity: str,
        dates: Dates,
        ours: bool = False,
        always: Mapping[str, Any] | None = None,
    ) -> None:
        """`identity`: what stands before the row's number where it has no id of its own. `ours`: the columns are those of
        an export or of a file of refusals. `always`: what each row is that does not say otherwise."""
        self._source = source
        self._identity = identity
        self._always = always or {}
        by_member: dict[str, list[tuple[int, str]]] = {}
        for index, column in enumerate(columns):
            if column.member is not None:
                by_member.setdefault(column.member, []).append((index, column.name))
        # An id of the file's own comes before the one that we gave.
        by_member.get("external_id", []).sort(key=lambda place: ours and place[1] in (ID, "id"))
        self._steps = [(tuple(places), _setter(member, dates)) for member, places in by_member.items()]
        self._names = frozenset(column.name for column in columns)

    def body(self, row: Row) -> Body | None:
        """None: nothing was said in it. Raises `Unfit`."""
        body: Body = {"source": self._source}
        cells, members = row.cells, row.members
        for places, put in self._steps:
            for index, name in places:
                cell = members.get(name) if members is not None else cells[index] if index < len(cells) else None
                if not is_blank(cell):
                    try:
                        put(body, cell)
                    except (NotADate, ValueError) as error:
                        raise Unfit(f"{name}: {error}") from None
                    break
        if members is not None:
            for name, value in members.items():
                if name not in self._names and value is not None:
                    body.setdefault("attributes", {})[name] = value
        if "text" not in body and "scores" not in body:
            if "title" not in body:
                return None
            body["text"] = body.pop("title")  # a headline is all that was said
        body.setdefault("external_id", f"{self._identity}{row.number}")
        return {**self._always, **body}


class Native:
    """Lines that are what `POST /v1/feedback` takes, or what a topic or an export of ours holds."""

    def __init__(self, *, source: str, identity: str) -> None:
        self._source = source
        self._identity = identity

    def body(self, row: Row) -> Body | None:
        members = row.members or {}
        body = {name: value for name, value in members.items() if name not in ADDED and value is not None}
        body.setdefault("source", self._source)
        if "external_id" not in body:
            given = members.get(ID) or members.get("id")
            body["external_id"] = str(given) if given else f"{self._identity}{row.number}"
        return body


def is_native(members: Mapping[str, Any]) -> bool:
    """Whether a line's object is an event as it stands: nothing in it that we do not know, and something said."""
    names = members.keys() - ADDED
    return names <= NATIVE and ("text" in names or "scores" in names) and not _is_flat_score(members)


def _is_flat_score(members: Mapping[str, Any]) -> bool:
    return not isinstance(members.get("scores", []), list)


def flattened(members: Mapping[str, Any]) -> dict[str, Any]:
    """`{"user": {"email": …}}` → `{"user.email": …}`: an object's members are columns like others."""
    found: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, Mapping) and value and name not in {"attributes"}:
            found.update({f"{name}.{inner}": one for inner, one in flattened(value).items()})
        else:
            found[name] = value
    return found


def unwrapped(row: Row) -> Row:
    """A line of a file of refusals as it stood in the file that it came from: also one that could not be read, mended."""
    if row.members is None or not (LINE in row.members or MAP in row.members):
        return row
    members = {name: value for name, value in row.members.items() if name != MAP}
    if LINE not in members:
        return row._replace(members=members)
    line = str(members.pop(LINE))
    try:
        value = strict_json.loads(line.encode())
        if not isinstance(value, dict):
            raise Unfit("it is no object")
    except Rejected as error:
        return row._replace(members=None, cells=[line], wrong=f"{LINE}: {error}")
    return row._replace(members={**value, **members})


# ── cells → members ──


def _setter(member: str, dates: Dates) -> _Set:
    kind, _, name = member.partition(".")
    match kind:
        case "score":
            return _score(name)
        case "customer":
            return _customer(name)
        case "attributes" if name:
            return lambda body, cell: body.setdefault("attributes", {}).__setitem__(name, _plain(cell))
        case "attributes":
            return _attributes
        case "scores":
            return _scores
        case "occurred_at":
            return _occurred_at(dates)
        case "solicited":
            return _solicited
        case "channel" | "language":
            return lambda body, cell: None if says_nothing(cell) else body.__setitem__(kind, _word(kind, cell))
        case "text" | "title":
            return lambda body, cell: body.__setitem__(kind, as_text(cell))
        case _:
            return lambda body, cell: None if says_nothing(cell) else body.__setitem__(kind, as_text(cell).strip())


def _score(metric: str) -> _Set:
    def put(body: Body, cell: Cell) -> None:
        if says_nothing(cell):
            return
        value = as_number(cell, metric)
        if value is None:
            raise ValueError(f"“{as_text(cell)[:40]}” is not a number, as a score of {metric} is")
        body.setdefault("scores", []).append({"metric": metric, "value": int(value) if value.is_integer() else value})

    return put


def _customer(name: str) -> _Set:
    def put(body: Body, cell: Cell) -> None:
        if not says_nothing(cell):
            text = as_text(cell).strip()
            body.setdefault("customer", {})[name] = text.replace("_", "-") if name == "locale" else text

    return put


def _occurred_at(dates: Dates) -> _Set:
    def put(body: Body, cell: Cell) -> None:
        if not says_nothing(cell):
            body["occurred_at"] = rfc3339(dates.read(cell).astimezone(UTC))

    return put


def _word(kind: str, cell: Cell) -> str:
    text = as_text(cell).strip()
    return text.casefold() if kind == "channel" else text.replace("_", "-")


def _solicited(body: Body, cell: Cell) -> None:
    answer = as_yes(cell)
    if answer is None:
        raise ValueError(f"“{as_text(cell)[:40]}” is neither yes nor no")
    body["solicited"] = answer


def _plain(cell: Any) -> Any:
    """As JSON has it: a spreadsheet's dates are text there."""
    return as_text(cell) if not isinstance(cell, str | bool | int | float | list | dict) else cell


def _json(cell: Any, kind: type, what: str) -> Any:
    if isinstance(cell, kind):
        return cell
    try:
        value = strict_json.loads(as_text(cell).encode("utf-8", "surrogatepass"))
    except Rejected:
        value = None
    if not isinstance(value, kind):
        raise ValueError(f"it is no {what}")  # noqa: TRY004  a person's mistake
    return value


def _attributes(body: Body, cell: Any) -> None:
    body["attributes"] = {**_json(cell, dict, "JSON object"), **body.get("attributes", {})}


def _scores(body: Body, cell: Any) -> None:
    body.setdefault("scores", []).extend(_json(cell, list, "JSON array"))
