"""Measures: each a share of what it names; a share of nothing is null."""

from typing import Any

import pytest

from services.console.figures import figures, to_json
from services.console.metrics import BY_NAME, MEASURES, Count
from services.console.pages.measures import SECTIONS
from services.console.render import words


def said(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: to_json(figure, words("en")) for name, figure in figures(row, {}).items()}


def test_a_share_of_nothing_is_null_and_not_zero() -> None:
    nothing = said({})
    for measure in MEASURES:
        one = nothing[measure.name]
        if isinstance(measure.aggregate, Count):
            assert one == {"value": 0, "counts": words("en")[f"of.{measure.of}"]}
        else:
            assert all(one[name] is None for name in ("value", "p50", "p90") if name in one)
            assert one["of"]


@pytest.mark.parametrize(
    ("metric", "row", "value"),
    [
        ("nps", {"nps_of": 10, "nps_mean": 40.0}, 40.0),
        ("nps", {"nps_of": 4, "nps_mean": -100.0}, -100.0),
        ("csat", {"csat_of": 4, "csat_counted": 3}, 0.75),
        ("hmd", {"hmd_of": 5, "hmd_counted": 4}, 0.8),
        ("ces", {"ces_of": 2, "ces_mean": 5.5}, 5.5),
        ("stars", {"stars_of": 0}, None),
    ],
)
def test_surveys_say_their_score_and_of_how_many_answers(
    metric: str, row: dict[str, float], value: float | None
) -> None:
    found = said(row)[metric]
    assert found["value"] == value
    assert found["denominator"] == row[f"{metric}_of"]
    assert found["of"] == f"{metric} answers"


def test_customers_told_are_a_share_of_customers_owed() -> None:
    assert said({"closed_loop_rate_of": 50, "closed_loop_rate_counted": 40})["closed_loop_rate"] == {
        "value": 0.8,
        "numerator": 40,
        "denominator": 50,
        "of": "customers owed an answer",
        "counts": "customers told",
    }


@pytest.mark.parametrize(
    ("told", "not_told", "value"),
    [((4, 2), (10, 1), 5.0), ((4, 0), (10, 1), 0.0), ((4, 2), (10, 0), None), ((0, 0), (10, 1), None)],
    ids=["turns", "nobody who was told", "nobody who was not told", "nobody was told"],
)
def test_the_flywheel_rate_is_one_share_over_another(
    told: tuple[int, int], not_told: tuple[int, int], value: float | None
) -> None:
    row = {"flywheel_rate_told_of": told[0], "flywheel_rate_told_counted": told[1]}
    row |= {"flywheel_rate_not_told_of": not_told[0], "flywheel_rate_not_told_counted": not_told[1]}
    assert said(row)["flywheel_rate"]["value"] == value


def test_the_page_shows_every_measure_once() -> None:
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(BY_NAME)
