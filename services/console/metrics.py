"""The measures, each defined here once, as data. ●

A measure is counted over the rows of one unit (`bases.py`): an event, an answer to a survey, a customer, a case, a clock, a
contact that was sought or a search in the help pages; they are never mixed. `among` tells which of them it is about, its denominator, and the aggregate what is made of them. The
statement that counts, the rows behind a number, the JSON, the CSV, the gauge and the page are all made from these values
and from nothing else, so a figure means the same wherever it stands. What it means in words is in `templates/words.*.yaml`
under `measure.`, `counted.` and `of.`.

A share of nothing is null, not 0.

What the contract names and nobody counts yet: retention, churn and revenue kept.
"""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["events", "answers", "customers", "cases", "clocks", "contacts", "searches"]
Target = Literal["acknowledge", "resolve", "tell_customer"]
TARGETS: tuple[Target, ...] = ("acknowledge", "resolve", "tell_customer")


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of them are such."""

    counted: str
    """A predicate: the numerator."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Their average."""

    value: str


@dataclass(frozen=True, slots=True)
class Percentiles:
    """What half of them and nine tenths of them are within, in seconds."""

    value: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """One share ÷ another, by the names of their measures."""

    over: str
    under: str


Aggregate = Count | Share | Mean | Percentiles | Ratio

ANY, NONE, OWED, SCORED = "true", "false", "case_id IS NOT NULL", "jsonb_array_length(scores) > 0"


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    unit: Unit
    of: str
    """The key of what `among` means in words."""
    among: str
    """A predicate over the unit's rows: the denominator."""
    aggregate: Aggregate
    made_of: str
    """A predicate over `published.feedback`: the feedback that could change it. A source that never gave any may be silent."""


def _of_time(target: Target, done_at: str) -> Measure:
    spent = Percentiles(f"extract(epoch FROM {done_at} - at)::float8")
    return Measure(f"time_to_{target}_s", "cases", "cases_done", f"{done_at} IS NOT NULL", spent, OWED)


def _of_promise(target: Target, clock: Literal["business", "wall"]) -> Measure:
    settled = f"target = '{target}' AND {clock}_met IS NOT NULL"
    return Measure(f"sla_{target}_{clock}", "clocks", "clocks_settled", settled, Share(f"{clock}_met"), OWED)


def _of_survey(metric: str, aggregate: Aggregate) -> Measure:
    given = f"""scores @> '[{{"metric": "{metric}"}}]'"""
    return Measure(metric, "answers", f"{metric}_answers", f"metric = '{metric}'", aggregate, given)


MEASURES: tuple[Measure, ...] = (
    Measure("feedback", "events", "events", ANY, Count(), ANY),
    Measure("customers", "customers", "customers", ANY, Count(), ANY),
    Measure("cases", "cases", "cases", ANY, Count(), OWED),
    # A customer without an id counts as one for each piece of feedback. "Told" is asked of the first answer: a customer who
    # then said no was told all the same.
    Measure("closed_loop_rate", "customers", "customers_owed", "owed", Share("told_at IS NOT NULL"), OWED),
    Measure(
        "reopen_rate",
        "cases",
        "cases_answered",
        "resolved_at IS NOT NULL OR reopened_count > 0",
        Share("reopened_count > 0"),
        OWED,
    ),
    Measure(
        "confirmed_rate",
        "cases",
        "cases_told",
        "first_told_at IS NOT NULL",
        Share("confirmed_at IS NOT NULL"),
        OWED,
    ),
    # Never counted as confirmed.
    Measure(
        "assumed_rate",
        "cases",
        "cases_told",
        "first_told_at IS NOT NULL",
        Share("assumed_at IS NOT NULL AND confirmed_at IS NULL"),
        OWED,
    ),
    # Whose customer is told is asked, on the loop's page.
    Measure("response_rate", "cases", "cases_asked", "first_told_at IS NOT NULL", Share("responded"), OWED),
    Measure("repeat_contact_rate", "cases", "cases", ANY, Share("repeated"), OWED),
    Measure("escalation_rate", "cases", "cases", ANY, Share("breached"), OWED),
    Measure("rescue_rate", "customers", "customers_unhappy", "unhappy", Share("rescued"), SCORED),
    Measure(
        "flywheel_rate_told",
        "customers",
        "customers_told",
        "owed AND told_at IS NOT NULL",
        Share("heard_at > told_at"),
        OWED,
    ),
    Measure(
        "flywheel_rate_not_told",
        "customers",
        "customers_not_told",
        "owed AND told_at IS NULL",
        Share("heard_at > owed_since"),
        OWED,
    ),
    Measure(
        "flywheel_rate",
        "customers",
        "flywheel_not_told",
        "owed",
        Ratio("flywheel_rate_told", "flywheel_rate_not_told"),
        OWED,
    ),
    # A contact is one that was given up (`contact.abandoned`), or a case that was opened, by a channel of which anybody ever
    # said that customers give up there: where nobody would say so, all contacts would count as made.
    Measure("abandonment_rate", "contacts", "contacts", ANY, Share("given_up"), OWED),
    Measure("searches_without_result", "searches", "searches", ANY, Share("results = '0'"), NONE),
    *(_of_promise(target, clock) for target in TARGETS for clock in ("business", "wall")),
    # A clock runs from when the feedback was received, not from when we came to it.
    _of_time("acknowledge", "acknowledged_at"),
    _of_time("resolve", "resolved_at"),
    _of_time("tell_customer", "first_told_at"),
    # As the field scores them: Net Promoter Score in points (9 and 10 promote, 0 to 6 detract), CSAT the share of 4 and 5 of
    # 5, CES the mean of 7, HMD the share of yes.
    _of_survey("nps", Mean("CASE WHEN value >= 9 THEN 100 WHEN value <= 6 THEN -100 ELSE 0 END")),
    _of_survey("csat", Share("value >= 4")),
    _of_survey("ces", Mean("value")),
    _of_survey("hmd", Share("value >= 1")),
    _of_survey("stars", Mean("value")),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
