"""How data looks on a terminal: JSON when asked for, else short lines and tables."""

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 110
WHY_MAX_CHARS = 2_000


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


def clock(at: str | None) -> str:
    """`2026-11-22T08:00:00.123Z` → `08:00:00.123`."""
    return (at or "")[11:23].rstrip("Z")


def scores(given: Iterable[dict[str, Any]] | None) -> str:
    return ", ".join(f"{score['metric']} {score['value']:g}" for score in given or ())


def short(text: str | None, width: int) -> str:
    """On one line, cut, and with nothing in it that a terminal would obey: strangers wrote it."""
    one_line = "".join(c if c.isprintable() else "·" for c in " ".join((text or "").split()))
    return one_line if len(one_line) <= width else one_line[: width - 1] + "…"
