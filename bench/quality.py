"""`python -m bench.quality`: how well feedback is judged, beside what everybody would try first. `make quality`.

Reads the corpus (`FLYWHEEL_CORPUS`, or beside the checkout), which is no part of the project; figures leave here, texts
do not. A fifth of it, by hash of the text, is held back and never tuned on: `--tune` plays the same game with a fifth of
the rest, and that is what whoever changes the model looks at.

Each task is learnt from nothing, 50, 200, 1,000 and all of its examples, the same for us and for the peer; with up to
200, three draws of them are averaged.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from services.router.examples import example_of, row_of
from services.router.model.learner import Example, train
from services.router.route import decided
from services.router.rules import load
from services.router.ruleset import Ruleset
from shared.config import STARTER, Config, config_of, read_dir

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "QUALITY.md"
BEGIN, END = "<!-- last run -->", "<!-- end of last run -->"
STEPS = (0, 50, 200, 1_000, None)
DRAWS = {50: 3, 200: 3}
BINS = 10
KINDS = {"meaningless": "noise"}
AS_COMMENT = frozenset({"praise", "question"})
"""The corpus has no such kinds: they stand under comment there."""
PRIORITIES = {"medium": "normal"}


class Row(NamedTuple):
    text: str
    answers: tuple[str, ...]
    part: str
    """Which collection it is of."""
    language: str


@dataclass(frozen=True)
class Task:
    name: str
    rows: Sequence[Row]
    measures: Sequence[str]
    """`f1`: macro-averaged; `right`: the share of texts with an answer that is one of theirs."""


class Said(NamedTuple):
    answer: str
    confidence: float


# ── the corpus ──


def tasks(corpus: Path) -> Iterator[Task]:
    text = corpus / "text"
    yield Task(
        "team",
        [Row(row["text"], (row["team"],), row["set"], row["lang"]) for row in _lines(text / "routing.jsonl")],
        ("f1",),
    )
    kinds = [
        Row(
            row["text"],
            tuple(KINDS.get(kind, kind) for kind in row["labels"] if kind != "undetermined"),
            "kind",
            row["lang"],
        )
        for row in _lines(text / "kind.jsonl")
    ]
    yield Task("kind", [row for row in kinds if row.answers], ("right", "f1"))
    yield Task(
        "sentiment",
        [Row(row["text"], (row["label"],), row["set"], row["lang"]) for row in _lines(text / "sentiment.jsonl")],
        ("right", "f1"),
    )
    yield Task(
        "priority",
        [
            Row(row["text"], (PRIORITIES.get(row["priority"], row["priority"]),), "tickets", row["lang"])
            for row in _lines(text / "priority_tickets.jsonl")
        ],
        ("f1",),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"))


def _number(text: str, salt: str = "") -> int:
    return int.from_bytes(hashlib.sha256((salt + text).encode()).digest()[:8])


def split(rows: Sequence[Row], tune: bool) -> tuple[list[Row], list[Row]]:
    """(to learn from, held back)."""
    left, held = [row for row in rows if _number(row.text) % 5], [row for row in rows if not _number(row.text) % 5]
    if not tune:
        return left, held
    return [row for row in left if _number(row.text) % 25 // 5], [
        row for row in left if not _number(row.text) % 25 // 5
    ]


def drawn(rows: Sequence[Row], count: int | None, draw: int) -> list[Row]:
    return sorted(rows, key=lambda row: (_number(row.text, f"draw {draw}"), row.text))[:count]


# ── who answers ──


class Ours:
    """The whole router, as `flywheel rules explain` asks it."""

    def __init__(self, config: Config) -> None:
        self.ruleset = load(config)
        self._examples: dict[tuple[str, str], Example] = {}

    def learnt(self, task: str, rows: Sequence[Row]) -> Ruleset:
        return replace(self.ruleset, judge=train([self._example(task, row) for row in rows])) if rows else self.ruleset

    def _example(self, task: str, row: Row) -> Example:
        key = (task, row.text)
        if key not in self._examples:
            said = list(row.answers) if task == "kind" else row.answers[0]
            self._examples[key] = example_of(row_of({"text": row.text, task: said}), self.ruleset)
        return self._examples[key]

    def says(self, task: str, text: str, ruleset: Ruleset) -> Said:
        decision = decided(ruleset, {"source": "quality", "text": text})
        if task == "team":
            return Said(decision["team"], decision["confidence"])
        answer = decision["sentiment"]["label"] if task == "sentiment" else decision[task]
        reasons = [reason for reason in decision["reasons"] if reason["code"].startswith(f"{task}.")]
        confidence = next((reason["confidence"] for reason in reasons if "confidence" in reason), 0.0)
        if task == "kind" and answer in AS_COMMENT:
            answer = "comment"
        return Said(answer, confidence)


def peer(python: Path, rows: Sequence[Row], texts: Sequence[str]) -> list[str]:
    asked = {"train": [[row.text, row.answers[0]] for row in rows], "test": list(texts)}
    ran = subprocess.run(
        [str(python), str(REPOSITORY / "bench" / "peers" / "tfidf_regression.py")],
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    found: list[str] = json.loads(ran.stdout)
    return found


def peer_python() -> Path:
    """In an environment of its own: scikit-learn is nothing that the product needs."""
    if given := os.environ.get("QUALITY_PYTHON"):
        return Path(given)
    pins = REPOSITORY / "bench" / "quality-requirements.txt"
    home = REPOSITORY / ".cache" / "quality-venv"
    python, ready = home / "bin" / "python", home / "ready"
    if not ready.exists() or ready.read_text() != pins.read_text():
        print("making .cache/quality-venv for scikit-learn", file=sys.stderr)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(home)], check=True)
        install = [*uv, "pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", str(pins)]
        subprocess.run(install, check=True)
        ready.write_text(pins.read_text())
    return python


# ── measures ──


def f1(rows: Sequence[Row], answers: Sequence[str]) -> float:
    """Macro-averaged over the answers that are right somewhere. Of several right ones, whichever was given counts."""
    hits: dict[str, int] = defaultdict(int)
    given: dict[str, int] = defaultdict(int)
    wanted: dict[str, int] = defaultdict(int)
    for row, answer in zip(rows, answers, strict=True):
        right = answer if answer in row.answers else row.answers[0]
        wanted[right] += 1
        given[answer] += 1
        hits[answer] += right == answer
    each = [2 * hits[name] / (given[name] + wanted[name]) for name in wanted]
    return sum(each) / len(each) if each else 0.0


def right(rows: Sequence[Row], answers: Sequence[str]) -> float:
    return sum(answer in row.answers for row, answer in zip(rows, answers, strict=True)) / max(1, len(rows))


MEASURES = {"f1": f1, "right": right}


def calibration_error(rows: Sequence[Row], said: Sequence[Said]) -> float:
    """Expected: the mean distance between how sure it was and how often it was right, over ten bins."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for row, one in zip(rows, said, strict=True):
        bins[min(BINS - 1, int(one.confidence * BINS))].append((one.confidence, one.answer in row.answers))
    off = sum(abs(sum(sure for sure, _ in some) - sum(hit for _, hit in some)) for some in bins.values())
    return off / max(1, len(rows))


# ── the run ──


class Cell(NamedTuple):
    ours: float
    peer: float | None


@dataclass
class Found:
    task: str
    step: int | None
    cells: dict[tuple[str, str], Cell]
    """By part (`all`, a collection, a language) and measure."""
    calibration: float


def parts(rows: Sequence[Row]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"all": list(range(len(rows)))}
    for number, row in enumerate(rows):
        found.setdefault(row.part, []).append(number)
        found.setdefault(row.language, []).append(number)
    return {name: numbers for name, numbers in found.items() if len(numbers) >= 20}


def measured(task: Task, ours: Ours, python: Path | None, steps: Sequence[int | None], tune: bool) -> Iterator[Found]:
    left, held = split(task.rows, tune)
    texts = [row.text for row in held]
    for step in steps:
        sums: dict[tuple[str, str], list[tuple[float, float | None]]] = defaultdict(list)
        calibration = []
        for draw in range(DRAWS.get(step or 0, 1)):
            began = time.monotonic()
            rows = drawn(left, step, draw)
            ruleset = ours.learnt(task.name, rows)
            said = [ours.says(task.name, text, ruleset) for text in texts]
            theirs = peer(python, rows, texts) if python is not None and rows else None
            print(f"{task.name} {len(rows)}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            calibration.append(calibration_error(held, said))
            for name, numbers in parts(held).items():
                some = [held[at] for at in numbers]
                for measure in task.measures:
                    of = MEASURES[measure]
                    we = of(some, [said[at].answer for at in numbers])
                    they = of(some, [theirs[at] for at in numbers]) if theirs is not None else None
                    sums[name, measure].append((we, they))
        cells = {
            key: Cell(_mean([we for we, _ in found]), _mean([they for _, they in found])) for key, found in sums.items()
        }
        yield Found(task.name, step, cells, _mean(calibration) or 0.0)


def _mean(values: Sequence[float | None]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def table(found: Sequence[Found]) -> str:
    lines: list[str] = []
    for task in dict.fromkeys(one.task for one in found):
        mine = [one for one in found if one.task == task]
        steps = ["none" if one.step == 0 else "all" if one.step is None else f"{one.step:,}" for one in mine]
        lines += ["", f"### {task}", "", f"| {'examples':<34} | " + " | ".join(f"{step:>15}" for step in steps) + " |"]
        lines.append("|" + "---|" * (len(steps) + 1))
        for part, measure in mine[0].cells:
            shown = [_cell(one.cells[part, measure]) for one in mine]
            lines.append(
                f"| {part + ', ' + _called(measure):<34} | " + " | ".join(f"{cell:>15}" for cell in shown) + " |"
            )
        errors = [f"{one.calibration:.3f}" for one in mine]
        lines.append(f"| {'calibration error':<34} | " + " | ".join(f"{cell:>15}" for cell in errors) + " |")
    return "\n".join(lines).strip()


def _cell(cell: Cell) -> str:
    return f"{cell.ours:.3f}" if cell.peer is None else f"{cell.ours:.3f} / {cell.peer:.3f}"


def _called(measure: str) -> str:
    return {"f1": "macro-F1", "right": "right"}[measure]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="team,kind,sentiment,priority")
    parser.add_argument("--steps", default="0,50,200,1000,all")
    parser.add_argument("--tune", action="store_true", help="on a fifth of what is not held back")
    parser.add_argument("--no-rules", action="store_true", help="without the starter's rules: the model alone")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/QUALITY.md")
    options = parser.parse_args(arguments)
    corpus = Path(os.environ.get("FLYWHEEL_CORPUS") or REPOSITORY.parent / "shared" / "corpus")
    if not (corpus / "text").is_dir():
        print(f"there is no corpus at {corpus}: nothing was measured", file=sys.stderr)
        return 0
    files: Mapping[str, str] = read_dir(STARTER)
    ours = Ours(config_of({**files, "routing.yaml": "rules: []"} if options.no_rules else files))
    python = None if options.no_peer else peer_python()
    steps = [None if step == "all" else int(step) for step in options.steps.split(",")]
    found = [
        one
        for task in tasks(corpus)
        if task.name in options.only.split(",")
        for one in measured(task, ours, python, steps, options.tune)
    ]
    text = table(found)
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
