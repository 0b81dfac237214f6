"""Why not another rule: what stood before it, or the one condition that it is short of."""

from typing import Any

import msgspec
import pytest

from services.router.almost import MAX_ALMOST
from services.router.feedback import convert
from services.router.route import Discarded, decided, explain, route
from shared.config import STARTER, read_dir
from tests.router.rulesets import ruleset
from tests.router.test_rules import BODY

HERE = {"source": "web-form"}


def almost(rules: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """(rule, sentence) of each."""
    found = explain(ruleset(f"rules:\n{rules}"), body)["almost"]
    return [(one["rule"], one["text"]) for one in found]


def short_of(when: str, **changes: Any) -> str | None:
    """What a rule with this condition is short of for `BODY`; None where it did not almost hold."""
    found = almost(f"  - {{name: r, when: {when}, then: [{{assign: product}}]}}", BODY | changes)
    if not found:
        return None
    before, after = "It is short of one condition, ", ". What it would have done: assigned to product."
    (told,) = [text for _, text in found]
    assert told.startswith(before)
    assert told.endswith(after)
    return told.removeprefix(before).removesuffix(after)


@pytest.mark.parametrize(
    ("when", "short"),
    [
        # one of two
        ("{source: web-form, text: {contains: refund}}", 'text contains "refund": not in the text'),
        ("{source: web-form, text: {contains: [refund, money]}}", 'text contains one of "refund", "money": not in the text'),
        ("{source: web-form, text: {contains: [a1, a2, a3, a4, a5, a6]}}", 'text contains one of "a1", "a2", "a3", "a4", "a5" … (6 in all): not in the text'),
        ("{text: {contains: some, matches: '^x'}}", "text matches ^x: nothing in the text does"),
        ("{source: web-form, channel: [chat, call]}", 'channel is one of "chat", "call": it is "email"'),
        ("{source: web-form, field: attributes.nothing, equals: 1}", "attributes.nothing is 1: it is not given"),
        ("{source: web-form, field: attributes.flag, equals: false}", "attributes.flag is false: it is true"),
        ("{source: web-form, field: attributes.labels, equals: web}", 'attributes.labels is "web": it is "bug", "iOS"'),
        ("{source: web-form, field: attributes.form, exists: false}", 'attributes.form is not given: it is "Ideas"'),
        ("{source: web-form, field: attributes.nothing, exists: true}", "attributes.nothing is given: it is not given"),
        ("{source: web-form, field: attributes.form, starts_with: x}", 'attributes.form starts with "x": it is "Ideas"'),
        ("{source: web-form, field: attributes.n, at_least: 6}", "attributes.n ≥ 6: it is 5"),
        ("{source: web-form, field: attributes.n, at_least: 1, at_most: 4}", "attributes.n 1 to 4: it is 5"),
        ("{source: web-form, field: attributes.form, at_most: 4}", 'attributes.form ≤ 4: it is "Ideas"'),
        ("{source: web-form, score: {metric: nps, at_least: 9}}", "score nps ≥ 9: it is 4"),
        ("{source: web-form, score: {metric: csat, equals: 1}}", "score csat = 1: it is 5"),
        ("{source: web-form, score: {metric: stars, at_most: 2}}", "score stars ≤ 2: it is not given"),
        ("{source: web-form, tier: gold}", 'customer.tier is "gold": it is "Enterprise"'),
        ("{source: web-form, language: [zh, de]}", "language de or zh: it is en"),
        ("{source: web-form, kind: bug}", "kind bug: it is comment"),
        ("{source: web-form, priority: urgent}", "priority urgent: it is normal"),
        ("{source: web-form, sentiment: negative}", "sentiment negative: it is positive"),
        ("{source: web-form, sentiment: {at_least: 0.5}}", "sentiment ≥ 0.5: it is 0.2"),
        ("{source: web-form, time: {zone: Asia/Shanghai, days: sat}}", "received Sat 00:00-24:00 (Asia/Shanghai): it was Sun at 07:30"),
        ("{source: web-form, not: {text: {contains: some}}}", 'not that the text contains "some": it is so'),
        ("{source: web-form, not: {all: []}}", "not that what it rules out is so: it is so"),
        # alternatives are one condition; the nearest of them is told
        ("{source: web-form, any: [{tier: gold}, {text: {contains: x1}}]}", 'customer.tier is "gold": it is "Enterprise", or text contains "x1": not in the text'),
        ("{any: [{all: [{source: web-form}, {tier: gold}]}, {channel: chat}]}", 'customer.tier is "gold": it is "Enterprise"'),
        ("{any: [{score: {metric: stars, at_most: 2}}, {score: {metric: nps, at_most: 3}}]}", "score nps ≤ 3: it is 4"),
        ("{source: web-form, any: [{all: [{tier: gold}, {channel: chat}]}, {language: zh}]}", "language zh: it is en"),
        # nested ones count one by one
        ("{all: [{all: [{source: web-form}]}, {all: [{channel: email}, {language: zh}]}]}", "language zh: it is en"),
        # the only one, and what it asks about is there
        ("{score: {metric: nps, at_most: 3}}", "score nps ≤ 3: it is 4"),
        ("{field: attributes.n, at_least: 100}", "attributes.n ≥ 100: it is 5"),
        ("{text: {contains: [tex, titl]}}", 'text contains one of "tex", "titl": only as the beginning of a longer word'),
        # nothing speaks for it
        ("{text: {contains: refund}}", None),
        ("{text: {contains: ext}}", None),  # the end of a word is another word
        ("{text: {matches: refund}}", None),
        ("{channel: chat}", None),
        ("{sentiment: negative}", None),
        ("{score: {metric: stars, at_most: 2}}", None),
        ("{field: attributes.flag, at_most: 0}", None),
        ("{field: attributes.form, contains: x}", None),
        ("{time: {days: mon}}", None),
        ("{not: {all: []}}", None),
        ("{any: [{channel: chat}, {tier: gold}]}", None),
        # two are wanting
        ("{source: web-form, channel: chat, tier: gold}", None),
        ("{all: [{source: web-form}, {all: [{channel: chat}, {tier: gold}]}]}", None),
        ("{source: web-form, any: [{all: [{channel: chat}, {tier: gold}]}]}", None),
        # it holds
        ("{source: web-form}", None),
    ],
)  # fmt: skip
def test_what_a_rule_is_short_of(when: str, short: str | None) -> None:
    assert short_of(when) == short


@pytest.mark.parametrize(
    ("text", "when", "short"),
    [
        (None, "{source: web-form, text: {contains: refund}}", 'text contains "refund": there is no text'),
        (None, "{source: web-form, text: {matches: refund}}", "text matches refund: there is no text"),
        ("REFUNDING", "{text: {contains: Refund}}", 'text contains "Refund": only as the beginning of a longer word'),
        ("no pre-refunds, (refunds)", "{text: {contains: refund}}", 'text contains "refund": only as the beginning of a longer word'),
        ("prerefund", "{text: {contains: refund}}", None),
        ("我要退货", "{text: {contains: 退款}}", None),
    ],
)  # fmt: skip
def test_what_a_text_is_short_of(text: str | None, when: str, short: str | None) -> None:
    assert short_of(when, text=text, title=None) == short


def test_a_long_value_is_cut() -> None:
    told = short_of("{source: web-form, field: attributes.form, equals: x}", attributes={"form": "y" * 9_000})
    assert told == f'attributes.form is "x": it is "{"y" * 80}"'


def test_what_stood_before_it_and_what_it_would_have_done() -> None:
    rules = """
  - {name: watch, when: {source: web-form}, then: [{watch: sales}]}
  - {name: first, when: {text: {contains: some}}, then: [{assign: support}]}
  - {name: second, when: {text: {contains: some}}, then: [{assign: product}, {tag: [late]}]}
  - {name: third, when: {all: []}, then: [{prioritise: urgent}]}
  - {name: fourth, when: {source: web-form, channel: chat}, then: [{assign: sales}]}
"""
    stood = 'rule "first" stood before it and had assigned already.'
    assert almost(rules, BODY) == [
        ("second", f'It holds too because the text contains "some", but {stood} What it would have done: assigned to product, tagged late.'),
        ("third", f"It holds too, but {stood} What it would have done: priority urgent."),
        ("fourth", f'It is short of one condition, channel is "chat": it is "email". Besides, {stood} What it would have done: assigned to sales.'),
    ]  # fmt: skip


def test_a_rule_that_discards_stands_before_others_too() -> None:
    rules = """
  - {name: robot, when: {source: web-form}, then: [{discard: "a robot"}]}
  - {name: all, when: {all: []}, then: [{assign: product}]}
"""
    assert almost(rules, BODY) == [
        (
            "all",
            'It holds too, but rule "robot" stood before it and had discarded it already.'
            " What it would have done: assigned to product.",
        )
    ]


def test_an_answer_from_the_customers_page_asks_no_rule_so_none_almost_did() -> None:
    rules = "  - {name: all, when: {all: []}, then: [{assign: sales}]}"
    loop = {"source": "loop", "attributes": {"loop": {"team": "product", "solved": False}}}
    assert almost(rules, loop) == []
    gone = {"source": "loop", "attributes": {"loop": {"team": "gone", "solved": False}}}
    assert almost(rules, gone) == [], "it decided"


def test_only_the_first_few_are_told_in_their_order() -> None:
    some = "\n".join(f"  - {{name: r{n}, when: {{all: []}}, then: [{{assign: sales}}]}}" for n in range(MAX_ALMOST + 5))
    assert [rule for rule, _ in almost(some, BODY)] == [f"r{n}" for n in range(1, MAX_ALMOST + 1)]


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        HERE | {"text": "The app crashes and I want my money back"},
        HERE | {"text": "退款呢", "scores": [{"metric": "nps", "value": 9}]},
        HERE | {"text": "Automatic reply: out of office", "channel": "email"},
        {"source": "loop", "text": "no", "attributes": {"loop": {"team": "product", "solved": False}}},
    ],
)
def test_the_decision_is_the_hot_paths_to_the_letter(body: dict[str, Any]) -> None:
    for rules in (ruleset(read_dir(STARTER)["routing.yaml"]), ruleset()):
        found = explain(rules, body)
        told = {name: value for name, value in found.items() if name != "almost"}
        assert told == decided(rules, body)
        hot = route(convert(body), rules)
        if isinstance(hot, Discarded):
            assert (told["discarded"], told["rule"], told["reasons"]) == (hot.why, hot.rule, hot.reasons)
            continue
        routed = msgspec.json.decode(msgspec.json.encode(hot))
        assert {name: told[name] for name in routed if name != "role"} == {
            name: value for name, value in routed.items() if name != "role"
        }


def test_the_starters_rules_say_why_not() -> None:
    rules = ruleset(read_dir(STARTER)["routing.yaml"])
    found = explain(rules, HERE | {"text": "The app crashes when I ask for a refund"})
    assert found["rule"] == "billing"
    assert [one["rule"] for one in found["almost"]] == ["does-not-work"]
    assert found["almost"][0] == {
        "rule": "does-not-work",
        "code": "rule.too-late",
        "text": 'It holds too because the text says "crash*", but rule "billing" stood before it and had assigned'
        " already. What it would have done: tagged bug.",
        "would": "tagged bug",
    }
