"""A model is taken into use where it is better on texts that neither has seen; and what is kept can be taken back."""

from pathlib import Path

import pytest

from services.router.examples import Row
from services.router.learn import LEAST_TO_COMPARE, compared, learnt, macro_f1
from services.router.learnt import Versions
from shared.errors import Misuse
from tests.router.rulesets import ruleset

RULES = ruleset()
GOOD = [Row(text=f"The hedgehog stall at the fair, day {n}", team="sales") for n in range(30)]
GOOD += [Row(text=f"Beavers gnaw the mast, day {n}", team="product") for n in range(30)]
BAD = [row.model_copy(update={"team": ("support", "sales", "product")[n % 3]}) for n, row in enumerate(GOOD)]


def test_what_is_learnt_is_compared_with_what_judges_now() -> None:
    told = compared(GOOD, None, RULES)
    assert told.held_back >= LEAST_TO_COMPARE
    assert told.better
    assert told.new["team"] == 1.0 > told.old["team"]


def test_the_model_in_force_is_asked_without_what_it_has_seen_of_them() -> None:
    """Else it would know by heart what the other has to guess."""
    told = compared(BAD, BAD, RULES)
    assert told.new == told.old
    assert not told.better, "as good is not better"


def test_too_few_held_back_tell_nothing() -> None:
    told = compared(GOOD[:3], None, RULES)
    assert (told.new, told.better) == ({}, False)


@pytest.mark.parametrize(
    ("pairs", "score"),
    [
        ([("a", ("a",)), ("b", ("b",))], 1.0),
        ([("a", ("a",)), ("a", ("b",))], (2 / 3 + 0) / 2),
        ([("b", ("a", "b")), ("a", ("a",))], 1.0),
        ([("c", ("a",))], 0.0),
    ],
)
def test_macro_f1(pairs: list[tuple[str, tuple[str, ...]]], score: float) -> None:
    assert macro_f1(pairs) == pytest.approx(score)


def test_models_are_kept_taken_into_use_and_taken_back(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "models")
    assert (versions.kept(), versions.in_force(), versions.judge()) == ([], None, None)
    one, other = learnt(GOOD, RULES), learnt(BAD, RULES)
    for model in (one, other):
        versions.keep(model, b"{}\n")
    versions.promote(one.version, "by hand")
    versions.promote(other.version, "by hand")
    judge = versions.judge()
    assert judge is not None
    assert judge.version == other.version
    assert versions.roll_back() == one.version
    assert versions.roll_back() is None
    assert versions.in_force() is None
    with pytest.raises(Misuse, match="nothing to take back"):
        versions.roll_back()
    with pytest.raises(Misuse, match="learn status"):
        versions.promote("nope", "by hand")
    assert versions.rows(one.version).read_bytes() == b"{}\n"
    (tmp_path / "models" / f"{one.version}.model").write_bytes(b"no model")
    with pytest.raises(Misuse):
        versions.model(one.version)
