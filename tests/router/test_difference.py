"""What another rules file would change, and what the past says of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.backtest import Replay, Tally, pair, report
from services.router.difference import Changed, Moved, difference, examples_decided
from services.router.examples import example_of, row_of
from services.router.feedback import convert
from services.router.model.judge import Judge
from services.router.model.learner import train
from services.router.route import route
from services.router.rules import load
from shared.config import Config
from shared.log import Record
from tests.router.rulesets import TEAMS, config

A = "{name: a, when: {text: {contains: apple}}, then: [{assign: product}]}"
B = "{name: b, when: {text: {contains: pear}}, then: [{assign: sales}]}"
C = "{name: c, when: {text: {contains: plum}}, then: [{tag: plum}]}"
D = "{name: d, when: {kind: praise}, then: [{watch: sales}]}"


def rules(*given: str, more: str = "") -> Config:
    return config(f"{more}\nrules: [{', '.join(given)}]")


def written(config: Config) -> Any:
    return config.written["routing.yaml"].data


def test_what_came_went_changed_and_moved() -> None:
    other = B.replace("sales", "product").replace("pear", "pears")
    found = difference(
        written(rules(A, B, C, more="lexicons: {x: [a, b], y: c}")),
        written(rules(C, D, other, more="lexicons: {x: [b, d], z: [e]}")),
    )
    assert (found.added, found.removed) == (("d",), ("a",))
    assert found.changed == (Changed("b", ("when", "then")),)
    assert found.moved == (Moved("b", 2, 3),) or found.moved == (Moved("c", 3, 1),)
    assert found.lexicons == {"x": (("d",), ("a",)), "y": ((), ("c",)), "z": (("e",), ())}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ("abc", "abc", set()),
        ("abc", "xaybzc", set()),
        ("abc", "ac", set()),
        ("abcd", "bcda", {"a"}),
        ("abcd", "dabc", {"d"}),
    ],
)
def test_the_fewest_are_moved(before: str, after: str, moved: set[str]) -> None:
    def file(names: str) -> Any:
        return {"rules": [{"name": name} for name in names]}

    found = {one.name for one in difference(file(before), file(after)).moved}
    assert found == moved


@given(st.permutations("abcdefgh"))
def test_taking_the_moved_ones_out_leaves_one_order(after: list[str]) -> None:
    old, new = ({"rules": [{"name": name} for name in names]} for names in ("abcdefgh", after))
    moved = {one.name for one in difference(old, new).moved}
    assert [name for name in after if name not in moved] == [name for name in "abcdefgh" if name not in moved]


def test_examples_of_both_are_asked_of_both() -> None:
    fits = "examples: [{text: an apple, expect: {team: product}}]}"
    old = rules(A.removesuffix("}") + f", {fits}", B)
    new = rules(B.removesuffix("}") + ", examples: [{text: a pear}, {text: an apple, expect: {team: support}}]}")
    asked, otherwise = examples_decided(load(old), load(new), written(old), written(new))
    assert asked == 2
    (one,) = otherwise
    assert (one.feedback, one.old["team"], one.new["team"]) == ({"text": "an apple"}, "product", "support")
    assert one.what == ("team",)


# ── the past ──


def record(offset: int, text: str, **more: Any) -> Record:
    number = more.pop("number", offset)
    feedback = f"00000000-0000-4000-8000-{number:012}"
    value = {"id": feedback, "workspace": "default", "received_at": "2026-11-20T10:00:00Z", "source": "x", "text": text}
    headers = {
        "ce_id": feedback,
        "ce_type": "feedback.received",
        "ce_source": "x",
        "ce_workspace": "default",
        **more.pop("headers", {}),
    }
    encoded = [(name, text.encode()) for name, text in headers.items()]
    return Record("feedback.received", 0, offset, 0, None, json.dumps(value | more).encode(), encoded)


def replayed(
    old: Config, new: Config, *records: Record, samples: int = 0, judge: Judge | None = None
) -> dict[str, Any]:
    compared = pair(old, new, judge)
    tally = Tally(samples=samples)
    Replay(compared, tally).take(records)
    return report(compared, tally)


PAST = [
    record(0, "an apple and a plum"),
    record(1, "a pear"),
    record(2, "a pear again"),
    record(3, "a pear", number=1),
    record(4, "nothing"),
    record(5, "", headers={"ce_type": "customer.activity"}),
    record(6, "poison", source=5),
]


def test_what_would_move_by_team_and_by_rule() -> None:
    found = replayed(rules(C, A, B), rules(C, A, D), *PAST)
    assert (found["feedback"], found["passed_over"]) == (4, {"duplicate": 1, "other": 1, "unreadable": 1})
    assert (found["moved"], found["otherwise"]) == (2, 0)
    assert found["by_team"] == [{"from": "sales", "to": "support", "count": 2}]
    assert found["by_rule"] == [{"from": "b", "to": "(no rule)", "count": 2}]
    assert found["rules"] == [
        {"rule": "c", "old": 1, "new": 1},
        {"rule": "a", "old": 1, "new": 1},
        {"rule": "b", "old": 2, "new": 0},
        {"rule": "d", "old": 0, "new": 0},
    ]
    assert (found["never"], found["most"], found["samples"]) == (["d"], [], [])


def test_what_was_learnt_judges_beside_both() -> None:
    """What a rule would take away is taken from the team that has it now, and not from whom the lexicons guess."""
    old, new = rules(A), rules(A, "{name: f, when: {text: {contains: fig}}, then: [{assign: product}]}")
    said = [{"text": f"figs {day}", "team": "sales"} for day in range(20)]
    said += [{"text": f"kumquats {day}", "team": "support"} for day in range(20)]
    judge = train([example_of(row_of(row), load(old)) for row in said])
    past = [*PAST, record(7, "a fig of day 7"), record(8, "")]
    assert replayed(old, new, *past)["by_team"] == [{"from": "support", "to": "product", "count": 1}]
    assert replayed(old, new, *past, judge=judge)["by_team"] == [{"from": "sales", "to": "product", "count": 1}]


def test_what_was_said_is_shown_only_where_it_is_asked_for() -> None:
    found = replayed(rules(B), rules(B.replace("assign: sales", "discard: fruit")), *PAST, samples=1)
    assert (found["moved"], found["by_team"]) == (2, [{"from": "sales", "to": "(discarded)", "count": 2}])
    (sample,) = found["samples"]
    assert (sample["said"], sample["new"]["discarded"]) == ("a pear", "fruit")
    assert "a pear" not in json.dumps(replayed(rules(B), rules(A), *PAST))


def test_what_stays_with_other_tags_is_counted_apart() -> None:
    found = replayed(rules(A), rules(A.replace("[{assign", "[{tag: [fruit]}, {assign")), *PAST)
    assert (found["moved"], found["otherwise"], found["what"]) == (0, 1, {"tags": 1, "theme": 1})


def test_one_look_serves_both_and_neither_sees_the_others_words() -> None:
    """Their terms share one automaton: each decides as it does alone."""
    old = rules(A.replace("apple", "refund"), B)
    new = config(
        "rules: [{name: n, when: {text: {contains: [refund, pear], typos: 1}}, then: [{assign: sales}]}]", teams=TEAMS
    )
    texts = ["a refund", "a refnud", "a pear", "paer", "plum"]
    found = replayed(old, new, *(record(number, text) for number, text in enumerate(texts)))
    assert found["rules"] == [
        {"rule": "a", "old": 1, "new": 0},
        {"rule": "b", "old": 1, "new": 0},
        {"rule": "n", "old": 0, "new": 3},
    ]


@pytest.mark.parametrize(
    "text", ["a quote for ten licences", "please refund me", "a feature request: dark mode", "发票"]
)
def test_what_no_rule_decides_is_judged_by_either_as_alone(text: str) -> None:
    """The words that lean towards a team stand behind the terms of both."""
    old, new = rules(), rules(A, B, C, D)
    feedback = convert({"source": "x", "text": text})
    for alone, beside in zip((load(old), load(new)), pair(old, new), strict=True):
        assert route(feedback, beside) == route(feedback, alone)


def test_rules_that_hold_for_nearly_everything_are_named() -> None:
    every = "{name: every, when: {text: {matches: 'a'}}, then: [{tag: t}]}"
    found = replayed(rules(every, C), rules(every, C), *PAST)
    assert found["most"] == [{"rule": "every", "share": 0.75}]
    assert found["never"] == []
