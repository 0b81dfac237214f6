"""How data looks on a terminal: JSON when asked for, else short lines and tables."""

import contextlib
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from rich.console import Console

    from shared.files.reading import Look

WIDTH = 110
WHY_MAX_CHARS = 2_000
PROGRESS_EVERY_S = 5.0


def _console() -> "Console":
    from rich.console import Console

    wide = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160"))
    return Console(highlight=False, markup=False, width=wide, soft_wrap=False)


def as_json(data: Any) -> None:
    """One document on stdout, and nothing else."""
    print(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def as_lines(rows: Iterable[Any]) -> None:
    """One compact document a line."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


def say(text: str = "") -> None:
    print(text, flush=True)


def warn(text: str) -> None:
    """For people, beside the data."""
    print(f"flywheel: {text}", file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing") -> None:
    """A row a line under its headings; where there is none, what there is none of, on stderr."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    _console().print(drawn)


def trace(found: dict[str, Any]) -> None:
    """The trace of one piece of feedback: what was said, then a line a step."""
    feedback = found["feedback"]
    said = feedback.get("text") or feedback.get("title") or scores(feedback.get("scores"))
    say(f"{feedback['id']}{'  from ' + feedback['source'] if 'source' in feedback else ''}")
    if said:
        say(f"  “{short(said, 100)}”")
    steps(found)
    if found.get("case"):
        say(f"  case {found['case']['id']} is {found['case']['state']}")


def steps(found: dict[str, Any]) -> None:
    """When, which service, what, and under it why."""
    for step in found["steps"]:
        what = f"  {clock(step['at'])}  {step['service']:<8} {step['what']}"
        why = short(step.get("why"), WHY_MAX_CHARS)
        if len(what) + len(why) < WIDTH - 4:
            say(f"{what:<48}{why}".rstrip())
        else:
            say(what)
            for line in textwrap.wrap(why, WIDTH - 26):
                say(f"{'':<25}{line}")


def decision(found: dict[str, Any]) -> None:
    """What the rules make of one piece of feedback, why, and which rules almost did."""
    if found.get("discarded"):
        say(f"nobody  discarded: {found['discarded']}")
    else:
        tags = ", ".join(found["tags"]) or "no tags"
        say(f"{found['team']}  {found['kind']}  {found['priority']}  {found['language']}  {tags}")
    for reason in found["reasons"]:
        say(f"  {reason['text']}")
    for other in found.get("almost", ()):
        say(f"  almost {other['rule']}: {other['text']}")


def sla(found: dict[str, Any]) -> None:
    """What is due when, by the team's own time, and the days that were looked at."""
    zone = ZoneInfo(found["zone"])
    say(f"policy {found['policy']}, team {found['team']}, priority {found['priority']}; times are {found['zone']}'s")
    targets = [name for name in ("acknowledge", "resolve", "tell_customer") if found.get(name)]
    table(
        ["", "within", "team's clock", "customer's clock"],
        [(t, found[t]["within"], _local(found[t]["business"], zone), _local(found[t]["wall"], zone)) for t in targets],
    )
    for day in found["days"]:
        say(f"  {day['date']} {day['weekday']}  {', '.join(day['periods']) or 'closed':<26} {day['why']}")


def _local(at: str | None, zone: ZoneInfo) -> str:
    return f"{datetime.fromisoformat(at).astimezone(zone):%a %Y-%m-%d %H:%M}" if at else ""


def looked_at(look: "Look") -> None:
    """What a file was recognised as, and by what."""
    for fact in look.facts:
        say(f"{fact.what:<10} {short(fact.found, 50)}  ({short(fact.why, 110)})")
    if look.columns:
        say()
        table(
            ["column", "is", "for example", "because of"],
            [(short(c.name, 40), c.member or "left out", _examples(c.samples), c.why) for c in look.columns],
        )
    for note in look.notes:
        say(f"note: {short(note, 300)}")
    say()


def _examples(samples: Iterable[str]) -> str:
    return " · ".join(short(sample, 24) for sample in samples)


def imported(summary: dict[str, Any]) -> None:
    """What came of a file's rows."""
    for row in summary["refusals"]:
        say(f"row {row['row']}: {short(row['reason'], 200)}")
    if summary["refusals"]:
        say()
    if summary["already"]:
        say("this file was imported before, in the same way; --again sends it once more")
    known = "the key may not ask" if summary["known"] is None else f"{summary['known']:,}"
    counts = [
        ("would be sent" if summary["dry_run"] else "new", f"{summary['new']:,}"),
        *([] if summary["dry_run"] else [("here already", known)]),
        ("stand twice in the file", f"{summary['repeated']:,}"),
        ("say nothing", f"{summary['empty']:,}"),
        ("refused", f"{summary['refused']:,}"),
    ]
    for what, count in counts:
        if count != "0" or what in {"new", "would be sent", "refused"}:
            say(f"{what:<24} {count:>10}")
    if summary["refused_file"]:
        say(f"\nMend the refused rows in {summary['refused_file']} and import that file.")


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """How much is done: a bar on a terminal, else a line now and then. On stderr, beside the data."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=1.0)
            yield lambda share: bar.update(task, completed=share)
        return
    told_at = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= PROGRESS_EVERY_S:
            told_at = time.monotonic()
            warn(f"{what}: {share:.0%}")

    yield tell


def clock(at: str | None) -> str:
    """`2026-11-22T08:00:00.123Z` → `08:00:00.123`."""
    return (at or "")[11:23].rstrip("Z")


def scores(given: Iterable[dict[str, Any]] | None) -> str:
    return ", ".join(f"{score['metric']} {score['value']:g}" for score in given or ())


def short(text: str | None, width: int) -> str:
    """On one line, cut, and with nothing in it that a terminal would obey: strangers wrote it."""
    one_line = "".join(c if c.isprintable() else "·" for c in " ".join((text or "").split()))
    return one_line if len(one_line) <= width else one_line[: width - 1] + "…"


def learnt(found: Mapping[str, Any]) -> None:
    heads = ", ".join(f"{name} from {head['examples']:,}" for name, head in found["heads"].items())
    say(f"model {found['version']}  {heads}  kept in {found['file']}")
    if "held_back" not in found:
        return
    before = found["before"]
    name = f"model {before['version']}" if before["version"] else "the lexicons"
    if not found["macro_f1"]:
        say(
            f"not in force: {found['held_back']} texts held back tell nothing. `flywheel learn promote` takes it all the same"
        )
        return
    for head, new in found["macro_f1"].items():
        say(f"  {head}: macro-F1 {new:.3f}, {name} {before['macro_f1'][head]:.3f}, of {found['held_back']} held back")
    say("in force" if found["in_force"] else "not in force: no better. `flywheel learn promote` takes it all the same")


def models(found: Mapping[str, Any]) -> None:
    for one in found["models"]:
        heads = ", ".join(f"{name} from {count:,}" for name, count in one["heads"].items())
        of = f"  {one['rows']:,} rows, {one['corrections']:,} of them corrections" if "rows" in one else ""
        say(f"{one['version']}  {heads}{of}{'  in force' if one['version'] == found['in_force'] else ''}")
    if found["in_force"] is None:
        say("no model is in force: the lexicons judge alone")
    if "corrections" not in found:
        return
    taught, trial = found["corrections"], found["last_trial"]
    say(f"{taught['kept']:,} corrections, nothing learnt yet from {taught['waiting']:,} of them")
    if trial is not None:
        what = (
            f"model {trial['version']} was taken into use" if trial["in_force"] else f"nothing changed: {trial['why']}"
        )
        say(f"last tried {clock(trial['at'])}, with {trial['rows']:,} rows: {what}")
        for head, new in (trial.get("macro_f1") or {}).items():
            old = trial["macro_f1_before"][head]
            say(f"  {head}: macro-F1 {new:.3f}, before {old:.3f}, of {trial['held_back']} held back")
