"""Measures: each a share of what it names; a share of nothing is null."""

import pytest

from services.console.metrics import SHARES, measures


def test_a_share_of_nothing_is_null_and_not_zero() -> None:
    nothing = measures({})
    for definition in SHARES:
        assert nothing[definition.name]["value"] is None
        assert nothing[definition.name]["of"]


@pytest.mark.parametrize(
    ("metric", "row", "value"),
    [
        ("nps", {"nps_count": 10, "nps_promoters": 6, "nps_detractors": 2}, 40.0),
        ("nps", {"nps_count": 4, "nps_promoters": 0, "nps_detractors": 4}, -100.0),
        ("csat", {"csat_count": 4, "csat_good": 3}, 0.75),
        ("hmd", {"hmd_count": 5, "hmd_good": 4}, 0.8),
        ("ces", {"ces_count": 2, "ces_mean": 5.5}, 5.5),
        ("stars", {"stars_count": 0}, None),
    ],
)
def test_surveys_are_scored_as_the_field_does(metric: str, row: dict[str, float], value: float | None) -> None:
    found = measures(row)[metric]
    assert found["value"] == value
    assert found["denominator"] == row[f"{metric}_count"]


def test_customers_told_are_a_share_of_customers_owed() -> None:
    found = measures({"customers_owed": 50, "customers_told": 40, "cases": 90, "feedback": 100})
    assert found["closed_loop_rate"] == {
        "value": 0.8,
        "numerator": 40,
        "denominator": 50,
        "of": "customers owed an answer",
        "counts": "customers told",
    }
