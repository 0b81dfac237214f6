"""A rule as it is written, in lines for people."""

from typing import Any

import pytest
import yaml

from services.console.render import words
from services.console.wording import MAX_SAID, Example, Line, actions, condition, examples
from shared.config import STARTER, config_of, read_dir

ENGLISH = words("en")


def said(line: Line) -> Any:
    """The sentence; where it has parts, with theirs."""
    sentence = ENGLISH[line.key].format(**line.values)
    return {sentence: [said(part) for part in line.parts]} if line.parts else sentence


@pytest.mark.parametrize(
    ("when", "lines"),
    [
        ("{all: []}", "always"),
        ("{text: {contains: refund}}", "the text contains “refund”"),
        ("{text: {contains: [refund, 退款]}}", "the text contains “refund”, “退款”"),
        ("{text: {contains: a, matches: [b, c]}}", {"all of these hold:": ["the text contains “a”", "the text matches “b”, “c”"]}),
        ("{text: {says: bug}}", "the text says “bug”, and not to deny it"),
        ("{text: {contains: [{lexicon: money}, refund], typos: 1}}", "the text contains {lexicon: money}, “refund”, one letter of a word may be wrong"),
        ("{text: {says: {lexicon: money}, typos: 1}}", "the text says {lexicon: money}, and not to deny it; one letter of a word may be wrong"),
        ("{source: web, channel: [email, chat]}", {"all of these hold:": ["source is “web”", "channel is “email”, “chat”"]}),
        ("{any: [{kind: bug}, {priority: urgent, tier: gold}]}", {"one of these holds:": ["kind is “bug”", {"all of these hold:": ["priority is “urgent”", "customer.tier is “gold”"]}]}),
        ("{not: {language: zh}}", {"this does not hold:": ["language is “zh”"]}),
        ("{field: attributes.form, equals: ideas}", "attributes.form is “ideas”"),
        ("{field: attributes.form, in: [a, 5, true]}", "attributes.form is “a”, 5, true"),
        ("{field: [attributes, a.b], exists: true}", "attributes.a.b is given"),
        ("{field: customer.tier, exists: false}", "customer.tier is not given"),
        ("{field: attributes.n, at_least: 5}", "attributes.n ≥ 5"),
        ("{field: attributes.n, at_least: 0, at_most: 7}", "attributes.n ≥ 0 … ≤ 7"),
        ("{field: url, starts_with: 'https', ends_with: x, contains: y}", {"all of these hold:": ["url begins with “https”", "url ends with “x”", "url contains “y”"]}),
        ("{score: {metric: nps, at_most: 6}}", "score nps ≤ 6"),
        ("{score: {metric: csat, equals: 1}}", "score csat = 1"),
        ("{score: {metric: hmd, at_most: 0}}", "score hmd ≤ 0"),
        ("{sentiment: negative}", "sentiment is “negative”"),
        ("{sentiment: {at_most: -0.5}}", "sentiment ≤ -0.5"),
        ("{emotion: anger}", "emotion is “anger”"),
        ("{urgency: [legal, churn]}", "urgency is “legal”, “churn”"),
        ("{time: {zone: Asia/Shanghai, days: sat-sun, hours: ['18:00-24:00']}}", "received sat-sun 18:00-24:00 (Asia/Shanghai)"),
        ("{time: {of: occurred, hours: ['09:00-10:00', '11:00-12:00']}}", "occurred 09:00-10:00, 11:00-12:00 (UTC)"),
        # what this page does not know is shown as it stands
        ("{rate: {tag: x, more_than: 20}}", "rate: {tag: x, more_than: 20}"),
        ("{text: refund}", "text: refund"),
        ("[a, b]", "when: a, b"),
    ],
)  # fmt: skip
def test_a_condition(when: str, lines: Any) -> None:
    assert said(condition(yaml.safe_load(when))) == lines


def test_a_long_list_is_cut() -> None:
    found = said(condition({"text": {"contains": [str(n) for n in range(MAX_SAID + 5)]}}))
    assert found.endswith("“11” … (+5)")


@pytest.mark.parametrize(
    ("then", "lines"),
    [
        ("[{assign: product}, {tag: [a, b]}]", ["assign to product", "tag a, b"]),
        ("[{watch: sales}, {prioritise: high}]", ["let sales see it too", "priority high"]),
        ("[{follow_up: true}, {follow_up: false}]", ["an answer is owed", "no answer is owed"]),
        ("[{set_tier: vip}]", ["treat as tier vip"]),
        ("[{suppress: {for: 2h, because: it settles}}]", ["hold back for 2h: it settles"]),
        (
            "[{suppress: {until: '2026-12-02T02:00:00Z', because: x}}]",
            ["hold back what comes before 2026-12-02T02:00:00Z: x"],
        ),
        (
            "[{suppress: {because: x, from: '2026-12-01T22:00:00Z', until: '2026-12-02T02:00:00Z'}}]",
            ["hold back what comes from 2026-12-01T22:00:00Z to 2026-12-02T02:00:00Z: x"],
        ),
        ("[{suppress: soon}]", ["suppress: soon"]),
        ("[{discard: a robot}]", ["discard: a robot"]),
        ("[{escalate: {to: [ceo]}}]", ["escalate: {to: ceo}"]),
        ("assign", []),
    ],
)
def test_what_a_rule_does(then: str, lines: list[str]) -> None:
    assert [said(line) for line in actions(yaml.safe_load(then))] == lines


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("[{text: Hi, expect: {team: sales, tags: [a, b]}}]", [Example("Hi", "", "team: sales · tags: a, b")]),
        ("[{text: Hi, title: T, channel: chat, expect: {discarded: true}}]", [Example("T · Hi", "channel: chat", "discarded: true")]),
        ("[{feedback: {scores: [{metric: nps, value: 2}]}}]", [Example("", "scores: {metric: nps, value: 2}", "")]),
        ("[nonsense]", []),
        ("null", []),
    ],
)  # fmt: skip
def test_an_example(given: str, found: list[Example]) -> None:
    assert examples(yaml.safe_load(given)) == found


def test_every_rule_of_the_starter_is_said_in_both_languages() -> None:
    rules = config_of(read_dir(STARTER)).written["routing.yaml"].data["rules"]
    chinese = words("zh-CN")
    for rule in rules:
        for line in (condition(rule["when"]), *actions(rule["then"])):
            for one in (line, *line.parts):
                assert one.key in chinese
                assert one.key not in ("when.other",), f"{rule['name']} is not said but shown as it stands"
