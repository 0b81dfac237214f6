"""What the verbs of judgement do: rules asked about one text or a file of them, models learnt, taken into use and taken back."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from services.cli import EXPLICIT_CONFIG, client
from shared.clock import SystemClock
from shared.errors import Misuse, Rejected
from shared.events.envelope import rfc3339
from shared.web import strict_json

if TYPE_CHECKING:
    from services.router.examples import Row
    from services.router.kept import KeptModels
    from services.router.model.judge import Judge
    from services.router.model.trained import Trained

T = TypeVar("T")
EXPLAINED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Explainer:
    """Who decides: the running service, unless a configuration was named or none runs."""

    ranges: Mapping[str, tuple[float, float]]
    decide: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    at_once: int

    def explained(self, bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """One decision for each."""
        waiting = iter(bodies)
        while some := list(islice(waiting, self.at_once)):
            yield from self.decide(some)

    def body(self, value: Any) -> dict[str, Any]:
        """What `POST /v1/feedback` would take, where `source` may be left out. Raises `Rejected`, each field named."""
        from services.ingest.normalize import feedback_content

        if not isinstance(value, dict):
            raise Rejected("an object is wanted")
        body = {"source": "cli", **value}
        feedback_content(body, self.ranges)
        return body

    def text(self, text: str) -> dict[str, Any]:
        """Raises `Misuse`."""
        try:
            return self.body({"text": text})
        except Rejected as error:
            raise Misuse(f"--{error}") from None


def explainer(model: Path | None = None) -> Explainer:
    """`model`: a file to judge by, here and not by the running service."""
    if model is None and not os.environ.get(EXPLICIT_CONFIG) and client.is_up("router"):
        ranges = client.call("router", "GET", "/v1/rules")["metrics"]
        decide = partial(client.call, "router", "POST", "/v1/rules/explain")
        return Explainer(ranges, lambda some: cast(list[dict[str, Any]], decide(json=some)), EXPLAINED_AT_ONCE)
    from services.router import learnt
    from services.router.route import explain
    from services.router.rules import load

    judge = learnt.read(model) if model is not None else _home().judge()
    if model is not None and judge is None:
        raise Misuse(f"{model}: there is no such file")
    ruleset = replace(load(client.local_config()), judge=judge)
    now = rfc3339(SystemClock().now())
    return Explainer(ruleset.metrics, lambda some: [explain(ruleset, {"received_at": now, **one}) for one in some], 1)


def feedback_lines(path: Path, read: Callable[[Any], T], wrong: Callable[[str], None]) -> Iterator[T]:
    """The good lines of a JSONL file (`-`: stdin); `wrong` hears of each other one, by file and line."""
    try:
        file = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                yield read(strict_json.loads(line))
            except strict_json.Malformed as error:
                said = str(error).replace("The body", "the line").replace("line 1, ", "")
                wrong(f"{path}:{number}: {said}")
            except strict_json.Unacceptable as error:
                wrong(f"{path}:{number}: {error.path}: {error}")
            except Rejected as error:
                wrong(f"{path}:{number}: {error}")


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in rows).encode()


# ── where models are kept ──


class _Folder:
    """The data folder, while no service and no database is known."""

    def __init__(self) -> None:
        from services.router.learnt import Versions, place

        self._versions = Versions(place(client.data_dir()))

    def in_force(self) -> str | None:
        return self._versions.in_force()

    def kept(self) -> list[str]:
        return self._versions.kept()

    def judge(self) -> "Judge | None":
        return self._versions.judge()

    def rows(self, version: str) -> "list[Row]":
        from services.router.learnt import rows_of

        return rows_of(self._versions.rows(version))

    def keep(self, model: "Trained", rows: "list[Row]") -> str:
        return str(self._versions.keep(model, _lines(rows)))

    def promote(self, version: str, why: str) -> None:
        self._versions.promote(version, why)

    def roll_back(self) -> str | None:
        return self._versions.roll_back()

    def status(self) -> dict[str, Any]:
        kept = [self._versions.model(version) for version in self._versions.kept()]
        heads = [{"version": one.version, "heads": {head.name: head.examples for head in one.heads}} for one in kept]
        return {"in_force": self._versions.in_force(), "models": heads}


class _InDatabase:
    """That of the running service, or the one named: the same for every process of the router."""

    def in_force(self) -> str | None:
        return self._read(lambda kept: kept.in_force())

    def kept(self) -> list[str]:
        return [one["version"] for one in self.status()["models"]]

    def judge(self) -> "Judge | None":
        async def work(kept: "KeptModels") -> "Judge | None":
            version = await kept.in_force()
            return await kept.model(version) if version is not None else None

        return self._read(work)

    def rows(self, version: str) -> "list[Row]":
        return self._read(lambda kept: kept.rows(version)).rows

    def keep(self, model: "Trained", rows: "list[Row]") -> str:
        from services.router.kept import FILE

        async def work(kept: "KeptModels") -> None:
            now = SystemClock().now()
            await kept.keep(model, await kept.file(rows, now), now, FILE)

        self._write(work)
        return "the database"

    def promote(self, version: str, why: str) -> None:
        self._write(lambda kept: kept.promote(version, SystemClock().now(), why))

    def roll_back(self) -> str | None:
        return self._write(lambda kept: kept.roll_back(SystemClock().now()))

    def status(self) -> dict[str, Any]:
        return self._read(lambda kept: kept.status())

    def _read(self, work: "Callable[[KeptModels], Awaitable[T]]") -> T:
        from services.cli import database
        from services.router.kept import KeptModels

        return database.reading(lambda found: work(KeptModels(found)))

    def _write(self, work: "Callable[[KeptModels], Awaitable[T]]") -> T:
        from services.cli import database
        from services.router.kept import KeptModels

        return database.writing(lambda found: work(KeptModels(found)))


def _home() -> _Folder | _InDatabase:
    return _InDatabase() if client.knows_a_database() else _Folder()


# ── learning ──


def trained(path: Path, out: Path | None, wrong: Callable[[str], None]) -> dict[str, Any]:
    """A model of the rows of a file: kept in `out`, or else among the models, and in force at once where it beats what
    judges now. Raises `Misuse`."""
    from services.router import learnt
    from services.router.examples import Row, row_of
    from services.router.learn import compared
    from services.router.learn import learnt as learn
    from services.router.rules import load

    ruleset = load(client.local_config())
    rows: list[Row] = list(feedback_lines(path, row_of, wrong))
    try:
        model = learn(rows, ruleset)
        heads = {head.name: {"examples": head.examples, "answers": list(head.answers)} for head in model.heads}
        found: dict[str, Any] = {"version": model.version, "rows": len(rows), "heads": heads}
        if out is not None:
            learnt.write(out, model.to_bytes())
            return found | {"file": str(out), "in_force": False}
        home = _home()
        before = home.in_force()
        if before == model.version:
            return found | {"file": home.keep(model, rows), "in_force": True}
        told = compared(rows, home.rows(before) if before is not None else None, ruleset)
    except Rejected as error:
        raise Misuse(f"{path}: {error}") from None
    file = home.keep(model, rows)
    if told.better:
        home.promote(model.version, f"learnt from a file, better than {before or 'the lexicons'} on what was held back")
    return found | {
        "file": file,
        "in_force": told.better,
        "held_back": told.held_back,
        "macro_f1": dict(told.new),
        "before": {"version": before, "macro_f1": dict(told.old)},
    }


def models() -> dict[str, Any]:
    """What `learn status` says. Raises `Misuse`."""
    return _home().status()


def promoted(version: str) -> dict[str, Any]:
    """Raises `Misuse`."""
    home = _home()
    found = [one for one in home.kept() if one.startswith(version)]
    home.promote(found[0] if len(found) == 1 else version, "taken into use by hand")
    return {"in_force": home.in_force()}


def model_rolled_back() -> dict[str, Any]:
    """Raises `Misuse`."""
    return {"in_force": _home().roll_back()}
