"""What the feedback of one batch counts for: its hits, and a note of how many each group got in each minute, so that a batch
of five hundred wakes the judge (`signaller`) once a group and not five hundred times.

Written with the effect that it belongs to, so that what is had twice is counted once. Notes are added, never summed up here:
no two batches wait for each other at one minute's row.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from services.closer.records import Value
from services.closer.signals import Hit, Signals
from services.closer.transactions import Driver
from shared.database import copy

Row = tuple[str, str, str, datetime, Any, float | None]
"""Of `closer.hit`: workspace, series, group, when, of which feedback, the metric."""

_HITS = """
INSERT INTO closer.hit (workspace, series, group_name, at, feedback_id, number)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[], $6::float8[])
ON CONFLICT DO NOTHING RETURNING workspace, series, group_name, at, feedback_id, number
"""
_NOTE_COLUMNS = ("workspace", "series", "group_name", "minute", "came", "total", "squares")


class Counted:
    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._rows: list[Row] = []

    def take(self, value: Value) -> None:
        """A piece of feedback that has its effect now."""
        self._rows += rows_of(value, self._signals.hits(value))

    async def write(self, driver: Driver) -> None:
        await count(driver, self._rows)


async def count(driver: Driver, rows: Sequence[Row]) -> None:
    """Those that are not counted yet, whoever counted the others."""
    if rows:
        fresh = await driver.fetch(_HITS, *(list(column) for column in zip(*rows, strict=True)))
        if fresh:
            await copy(driver, "closer", "counted_anew", _NOTE_COLUMNS, _notes(tuple(row) for row in fresh))


def rows_of(value: Value, hits: Iterable[Hit]) -> list[Row]:
    return [(value.workspace, hit.series, hit.group, value.received_at, value.id, hit.number) for hit in hits]


def _notes(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Rows of `closer.counted_anew`."""
    found: dict[tuple[str, str, str, datetime], list[float]] = {}
    for workspace, series, group, at, _, number in rows:
        sums = found.setdefault((workspace, series, group, at.replace(second=0, microsecond=0)), [0, 0.0, 0.0])
        sums[0] += 1
        if number is not None:
            sums[1] += number
            sums[2] += number * number
    return [(*key, *sums) for key, sums in found.items()]
