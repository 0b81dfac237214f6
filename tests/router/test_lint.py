"""What a rules file says in vain: only what can be proved."""

import pytest

from services.router.lint import remarks
from services.router.rules import load
from tests.router.rulesets import config, ruleset


def said(rules: str) -> list[str]:
    given = config(rules)
    return [str(issue) for issue in remarks(load(given), given.written["routing.yaml"])]


def shadowed(earlier: str, later: str) -> bool:
    """Whether a rule after one with that condition, which decides, is never asked."""
    found = said(
        "rules:\n"
        f"  - {{name: first, when: {earlier}, then: [{{assign: sales}}]}}\n"
        f"  - {{name: second, when: {later}, then: [{{assign: product}}]}}"
    )
    assert len(found) <= 1
    return bool(found)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{all: []}", "{text: {contains: a}}"),
        ("{all: []}", "{not: {source: x}}"),
        ("{text: {contains: [a, b]}}", "{text: {contains: b}}"),
        ("{text: {contains: [a, b]}}", "{text: {says: b}}"),
        ("{text: {says: [a, b]}}", "{text: {says: a}}"),
        ("{text: {contains: a}}", "{text: {contains: a}, source: x}"),
        ("{text: {contains: a}}", "{all: [{source: x}, {all: [{text: {contains: a}}]}]}"),
        ("{any: [{source: x}, {kind: bug}]}", "{kind: bug}"),
        ("{any: [{source: x}, {kind: bug}]}", "{any: [{kind: bug}, {source: x, channel: email}]}"),
        ("{text: {matches: 'a+'}}", "{text: {matches: 'a+'}}"),
        ("{tier: [gold, vip]}", "{tier: VIP}"),
        ("{field: attributes.x, exists: true}", "{field: attributes.x, equals: 1}"),
        ("{field: title, contains: ab}", "{field: title, contains: [xaby]}"),
        ("{field: title, starts_with: a}", "{field: title, starts_with: ab}"),
        ("{score: {metric: nps, at_most: 6}}", "{score: {metric: nps, at_most: 3}}"),
        ("{field: attributes.n, at_least: 1}", "{field: attributes.n, at_least: 1, at_most: 4}"),
        ("{sentiment: {at_most: 0}}", "{sentiment: {at_most: -0.5}}"),
        ("{kind: [bug, complaint]}", "{kind: bug}"),
        ("{not: {source: x}}", "{not: {source: [x, y]}}"),
        ("{time: {days: mon-fri}}", "{time: {days: tue, hours: '09:00-10:00'}}"),
    ],
)
def test_a_rule_that_an_earlier_one_always_takes(earlier: str, later: str) -> None:
    assert shadowed(earlier, later)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{text: {contains: a}}", "{text: {contains: [a, b]}}"),
        ("{text: {says: b}}", "{text: {contains: b}}"),
        ("{text: {contains: a}, source: x}", "{text: {contains: a}}"),
        ("{text: {contains: app}}", "{text: {contains: 'app*'}}"),
        ("{tier: gold}", "{tier: [gold, vip]}"),
        ("{score: {metric: nps, at_most: 3}}", "{score: {metric: nps, at_most: 6}}"),
        ("{score: {metric: csat, at_most: 3}}", "{score: {metric: nps, at_most: 3}}"),
        ("{field: attributes.x, exists: false}", "{field: attributes.x, equals: 1}"),
        ("{not: {source: [x, y]}}", "{not: {source: x}}"),
        ("{kind: bug}", "{not: {kind: bug}}"),
        ("{time: {days: mon-fri}}", "{time: {days: mon-fri, zone: Asia/Shanghai}}"),
        ("{any: [{source: x}, {kind: bug}]}", "{any: [{kind: bug}, {source: y}]}"),
    ],
)
def test_a_rule_that_may_still_be_asked(earlier: str, later: str) -> None:
    assert not shadowed(earlier, later)


def test_what_is_said_and_where() -> None:
    found = said(
        """\
lexicons: {billing: [invoice], unused: [x]}
rules:
  - {name: tag-all, when: {all: []}, then: [{tag: seen}]}
  - {name: bills, when: {text: {contains: {lexicon: billing}}}, then: [{assign: sales}]}
  - {name: more-bills, when: {text: {contains: invoice}, kind: complaint}, then: [{assign: product}]}
  - {name: rest, when: {all: []}, then: [{assign: support}]}
  - {name: dead, when: {kind: praise}, then: [{tag: nice}]}
"""
    )
    assert found == [
        'routing.yaml:5:6: rules.2.name: "more-bills" is never asked: "bills" stands before it, which holds whenever this'
        " one does, and decides",
        'routing.yaml:7:6: rules.4.name: "dead" is never asked: "rest" stands before it, which holds for everything, and'
        " decides",
        "routing.yaml:1:32: lexicons.unused: no rule names this lexicon",
    ]


def test_the_starters_rules_are_all_asked() -> None:
    from shared.config import STARTER, config_of, read_dir

    given = config_of(read_dir(STARTER))
    assert remarks(load(given), given.written["routing.yaml"]) == []


def test_an_empty_file_says_nothing_in_vain() -> None:
    assert said("rules: []") == said("") == []
    assert ruleset("").rules == ()
