"""The figures on /metrics, of the default workspace: as they were counted in the background, so that a scrape costs nothing.

No label holds what a stranger wrote: a source has a name there if it stands in sources.yaml, and the others are counted
together. A figure of nothing is left out, for 0 would be another one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import get_args

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.console.figures import Figure
from services.console.measuring import Measuring, Snapshot
from services.console.metrics import Ratio
from services.console.volume import Standing

GONE = timedelta(days=7)
"""Whoever is named nowhere and has said nothing for so long is not missed: a campaign that is over ends no differently."""


class Gauges(Collector):
    """One for a process, whose registry is one: what `source` measures."""

    def __init__(self) -> None:
        self.source: Measuring | None = None

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        latest = self.source.latest if self.source is not None else None
        return _of_measures(latest) + _of_sources(latest)


GAUGES = Gauges()
REGISTRY.register(GAUGES)


def _of_measures(latest: Snapshot | None) -> tuple[GaugeMetricFamily, ...]:
    if latest is None:
        return ()
    value = GaugeMetricFamily(
        "flywheel_measure",
        "A measure over the last 7 days, as GET /v1/measures has it; times in seconds, with _p50 and _p90 at the name's end. "
        "team empty: all of them.",
        labels=["measure", "team"],
    )
    of = GaugeMetricFamily(
        "flywheel_measure_denominator",
        "How many the measure is of; unit: events, answers, customers, cases, clocks, contacts or searches.",
        labels=["measure", "team", "unit"],
    )
    doubts = GaugeMetricFamily(
        "flywheel_measure_stale",
        "How many sources that are silent, quiet or doubled, or consumers that lag, the measure rests on.",
        labels=["measure", "team"],
    )
    at = GaugeMetricFamily("flywheel_measures_timestamp_seconds", "When the measures were counted, in Unix time.")
    at.add_metric([], latest.whole.span.end.timestamp())
    for group in (*latest.whole.groups, *latest.by_team.groups):
        team = group.name or ""
        for figure in group.figures.values():
            measure = figure.measure
            for name, number in _numbers(figure):
                value.add_metric([name, team], number)
            if not isinstance(measure.aggregate, Ratio):
                of.add_metric([measure.name, team, measure.unit], figure.denominator)
            doubts.add_metric([measure.name, team], len(figure.stale))
    return value, of, doubts, at


def _of_sources(latest: Snapshot | None) -> tuple[GaugeMetricFamily, ...]:
    """What alerts ask for is offered at once, though nothing is counted yet."""
    state = GaugeMetricFamily(
        "flywheel_source_state",
        "1: the source is so; of each in sources.yaml. source empty: how many of the others are, that were heard of within 7 days.",
        labels=["source", "state"],
    )
    share = GaugeMetricFamily(
        "flywheel_source_share",
        "What came of the source in the last hours, of what these hours of the week usually bring. Without habits there is none.",
        labels=["source"],
    )
    if latest is None:
        return state, share
    now = latest.whole.span.end
    recent = Counter(one.standing for one in latest.others if one.last_at is not None and now - one.last_at <= GONE)
    for standing in get_args(Standing):
        state.add_metric(["", standing], recent[standing])
    for one in latest.named:
        for standing in get_args(Standing):
            state.add_metric([one.name, standing], one.standing == standing)
        if one.volume is not None:
            share.add_metric([one.name], one.volume.came / one.volume.expected)
    return state, share


def _numbers(figure: Figure) -> Iterator[tuple[str, float]]:
    if figure.value is not None:
        yield figure.measure.name, figure.value
    if figure.within is not None:
        half, most = figure.within
        yield f"{figure.measure.name}_p50", half
        yield f"{figure.measure.name}_p90", most
