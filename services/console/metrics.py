"""Rows → measures. Pure. Each measure is defined here once, with what it counts and what it is a share of.

Events, cases and customers are never mixed: every measure names its denominator. A share of nothing is null, not 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """`numerator` ÷ `denominator`, columns of a row; `unit`: what the denominator counts."""

    name: str
    numerator: str
    denominator: str
    unit: str
    means: str


SHARES = (
    Share("closed_loop_rate", "customers_told", "customers_owed", "customers owed an answer", "customers told"),
    Share("reopen_rate", "cases_reopened", "cases_answered", "cases resolved or declined", "of them, reopened"),
    Share("confirmed_rate", "cases_confirmed", "cases_told", "cases whose customer was told", "said yes, solved"),
    Share("assumed_rate", "cases_assumed", "cases_told", "cases whose customer was told", "said nothing in time"),
    Share("response_rate", "cases_responded", "cases_told", "cases whose customer was asked", "customer answered"),
    Share("repeat_contact_rate", "cases_repeated", "cases", "cases opened", "customer wrote again before being told"),
    Share("escalation_rate", "cases_breached", "cases", "cases opened", "escalated: a deadline had passed"),
    Share("rescue_rate", "customers_rescued", "customers_unhappy", "customers with a low score", "scored higher later"),
    Share("flywheel_rate_told", "told_again", "told_customers", "customers told", "gave feedback again"),
    Share(
        "flywheel_rate_not_told", "not_told_again", "not_told_customers", "customers not told", "gave feedback again"
    ),
    *(
        Share(
            f"sla_{target}_{clock}",
            f"{target}_{clock}_met",
            f"{target}_{clock}_settled",
            "clocks met or breached",
            f"{target} met on the {'team' if clock == 'business' else 'customer'}'s clock",
        )
        for target in ("acknowledge", "resolve", "tell_customer")
        for clock in ("business", "wall")
    ),
)

# Names as the field uses them: Net Promoter Score (promoters 9–10 less detractors 0–6, in points), CSAT (share of
# 4 and 5 of 5), CES (mean of 7), HMD (share of yes).
SURVEYS = ("nps", "csat", "ces", "hmd", "stars")


def share(definition: Share, row: Row) -> dict[str, Any]:
    numerator, denominator = int(row.get(definition.numerator) or 0), int(row.get(definition.denominator) or 0)
    return {
        "value": numerator / denominator if denominator else None,
        "numerator": numerator,
        "denominator": denominator,
        "of": definition.unit,
        "counts": definition.means,
    }


def survey(metric: str, row: Row) -> dict[str, Any]:
    """The score of a survey metric over its answers (events)."""
    count = int(row.get(f"{metric}_count") or 0)
    if not count:
        value = None
    elif metric == "nps":
        value = 100.0 * (int(row["nps_promoters"]) - int(row["nps_detractors"])) / count
    elif metric in {"csat", "hmd"}:
        value = int(row[f"{metric}_good"]) / count
    else:
        value = float(row[f"{metric}_mean"])
    return {"value": value, "denominator": count, "of": f"{metric} answers"}


def measures(row: Row) -> dict[str, Any]:
    """Everything about one group."""
    found: dict[str, Any] = {
        "feedback": {"value": int(row.get("feedback") or 0), "counts": "events"},
        "customers": {"value": int(row.get("customers") or 0), "counts": "customers who gave feedback"},
        "cases": {"value": int(row.get("cases") or 0), "counts": "cases opened"},
    }
    for definition in SHARES:
        found[definition.name] = share(definition, row)
    for target in ("acknowledge", "resolve", "tell_customer"):
        found[f"time_to_{target}_s"] = {
            "p50": row.get(f"{target}_p50"),
            "p90": row.get(f"{target}_p90"),
            "denominator": int(row.get(f"{target}_timed") or 0),
            "of": "cases where it was done",
        }
    for metric in SURVEYS:
        found[metric] = survey(metric, row)
    return found
