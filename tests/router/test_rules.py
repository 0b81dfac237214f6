"""routing.yaml: what it may say, what a rule does to a decision, and how a wrong one is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.classify import classify
from services.router.conditions import Facts, matches
from services.router.feedback import Unreadable, convert
from services.router.route import explain
from shared.config import STARTER, config_of, read_dir
from shared.config.document import ConfigError
from shared.folding import folded_utf8
from tests.router.rulesets import config, ruleset

BODY = {
    "source": "web-form",
    "title": "A title",
    "text": "Some text",
    "language": "en-GB",
    "channel": "email",
    "scores": [{"metric": "nps", "value": 4}, {"metric": "csat", "value": 5}],
    "customer": {"id": "c-1", "tier": "Enterprise", "locale": "en"},
    "received_at": "2026-11-21T23:30:00Z",  # a Saturday; Sunday, 07:30, in Shanghai
    "occurred_at": "2026-11-20T10:00:00+01:00",
    "solicited": True,
    "attributes": {
        "form": "Ideas",
        "n": 5,
        "flag": True,
        "digit": "5",
        "labels": ["bug", "iOS"],
        "deep": {"a": {"b": [{"c": 1}, {"c": 2}]}},
        "with.dot": "x",
        "empty": None,
    },
}


def holds(when: str, **changes: Any) -> bool:
    """Whether a rule with this condition decides about `BODY`."""
    rules = f"rules:\n  - name: r\n    when: {when}\n    then: [{{assign: product}}]"
    return bool(explain(ruleset(rules), BODY | changes)["team"] == "product")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("{all: []}", True),
        ("{any: [{source: web-form}, {source: other}]}", True),
        ("{all: [{source: web-form}, {source: other}]}", False),
        ("{not: {source: other}}", True),
        ("{source: web-form, channel: email}", True),
        ("{source: web-form, channel: chat}", False),
        ("{source: [a, WEB-FORM]}", True),
        ("{text: {contains: some}}", True),
        ("{text: {contains: [nothing, titlE]}}", True),
        ("{text: {contains: som}}", False),
        ("{text: {matches: 's.me\\s+te'}}", True),
        ("{text: {matches: ['^x', 'TEXT$']}}", True),
        ("{text: {matches: 'some？'}}", False),  # a full-width question mark is no syntax
        ("{text: {contains: some, matches: '^x'}}", False),
        ("{text: {says: some}}", True),
        ("{text: {says: [other, some], contains: title}}", True),
        ("{text: {contains: titel}}", False),
        ("{text: {contains: titel, typos: 1}}", True),
        ("{text: {contains: titel, typos: 0}}", False),
        ("{text: {says: [titel], typos: 1}}", True),
        ("{field: attributes.form, equals: ideas}", True),
        ("{field: attributes.form, equals: idea}", False),
        ("{field: attributes.form, in: [a, IDEAS]}", True),
        ("{field: attributes.n, equals: 5}", True),
        ("{field: attributes.n, equals: '5'}", False),
        ("{field: attributes.digit, equals: 5}", False),
        ("{field: attributes.flag, equals: true}", True),
        ("{field: attributes.flag, equals: 1}", False),
        ("{field: attributes.n, at_least: 5}", True),
        ("{field: attributes.n, at_least: 5.5}", False),
        ("{field: attributes.n, at_least: 1, at_most: 4}", False),
        ("{field: attributes.flag, at_least: 0}", False),
        ("{field: attributes.form, exists: true}", True),
        ("{field: attributes.empty, exists: false}", True),
        ("{field: attributes.nothing.here, exists: false}", True),
        ("{field: attributes.form, contains: dea}", True),
        ("{field: attributes.form, starts_with: [x, id]}", True),
        ("{field: attributes.form, ends_with: as}", True),
        ("{field: attributes.form, starts_with: i, ends_with: x}", False),
        ("{field: attributes.labels, equals: ios}", True),
        ("{field: attributes.deep.a.b.c, equals: 2}", True),
        ("{field: attributes.deep.a.b.c, equals: 3}", False),
        ("{field: [attributes, 'with.dot'], equals: x}", True),
        ("{field: attributes.deep, equals: 1}", False),
        ("{field: solicited, equals: true}", True),
        ("{score: {metric: nps, at_most: 6}}", True),
        ("{score: {metric: nps, at_least: 6}}", False),
        ("{score: {metric: csat, equals: 5}}", True),
        ("{score: {metric: stars, at_least: 1}}", False),
        ("{tier: enterprise}", True),
        ("{tier: [gold, silver]}", False),
        ("{language: en}", True),
        ("{language: [zh, EN-us]}", True),
        ("{language: zh}", False),
        ("{language: en_US}", True),
        ("{kind: [comment, praise, complaint, bug, request, question, noise]}", True),
        ("{priority: urgent}", False),
        ("{sentiment: [positive, negative, neutral]}", True),
        ("{sentiment: {at_most: 1}}", True),
        ("{sentiment: {at_least: 0.99}}", False),
        ("{time: {days: sat}}", True),
        ("{time: {zone: Asia/Shanghai, days: sat}}", False),
        ("{time: {zone: Asia/Shanghai, days: sun, hours: '07:00-08:00'}}", True),
        ("{time: {zone: Asia/Shanghai, hours: ['00:00-07:30']}}", False),
        ("{time: {of: occurred, days: mon-fri, hours: '09:00-09:01'}}", True),
    ],
)
def test_a_condition(when: str, expected: bool) -> None:
    assert holds(when) is expected


RULES = """
rules:
  - {name: watch-all, when: {all: []}, then: [{watch: [sales, product]}, {tag: seen}, {prioritise: low}]}
  - {name: never, when: {text: {contains: never-there}}, then: [{assign: sales}]}
  - {name: owned, when: {text: {contains: some}}, then: [{tag: [theme, second]}, {assign: product}, {prioritise: high}]}
  - {name: too-late, when: {all: []}, then: [{assign: sales}, {tag: late}]}
"""


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("可以吗？", "可以吗？", True),
        ("可以吗？", "可以吗", False),
        ("退款（已", "申请退款（已到账）", True),
        ("退款（已", "退款已", False),
        ("真的…", "真的不行", False),
        ("真的…", "真的...", True),
        ("[，。]好", "嗯，好", True),
        ("a\u3000b", "a b", True),
        ("CAFÉ", "café", True),
        ("doesn`t", "It doesn’t work", True),
        ("(再|又)", "又来", True),
    ],
)
def test_what_folding_takes_from_a_text_it_takes_from_a_pattern(pattern: str, text: str, found: bool) -> None:
    assert (matches(pattern).search(folded_utf8(text)) is not None) is found


@pytest.mark.parametrize("declared", ["zh", "zh-CN", "zh_CN", "ZH-hant"])
def test_a_language_however_it_is_declared(declared: str) -> None:
    assert holds("{language: zh}", language=declared)


def test_the_first_that_assigns_decides_and_those_before_it_apply_too() -> None:
    found = explain(ruleset(RULES), BODY)
    assert found["team"] == "product"
    assert found["tags"] == ["seen", "theme", "second"]
    assert found["theme"] == "theme"  # the first tag of the rule that assigned, not of those before it
    assert found["watchers"] == ["sales"]  # the owner does not watch itself
    assert found["priority"] == "high"
    assert (found["decided_by"], found["rule"]) == ("rule", "owned")
    assert [reason["rule"] for reason in found["reasons"] if reason["code"] == "rule.matched"] == ["watch-all", "owned"]


def test_nobody_assigns_so_the_default_team_owns_it_and_what_matched_still_applies() -> None:
    rules = "rules: [{name: watch, when: {all: []}, then: [{watch: sales}, {tag: t}]}]"
    found = explain(ruleset(rules), BODY)
    assert (found["team"], found["decided_by"], found["rule"], found["theme"]) == (
        "support",
        "default",
        None,
        "general",
    )
    assert (found["watchers"], found["tags"]) == (["sales"], ["t"])
    assert "default.team" in {reason["code"] for reason in found["reasons"]}


def test_a_tier_is_set_where_a_rule_says_so_and_else_not_written_at_all() -> None:
    rules = ruleset("rules: [{name: t, when: {text: {contains: some}}, then: [{set_tier: vip}]}]")
    assert explain(rules, BODY)["tier"] == "vip"
    assert "tier" not in explain(rules, BODY | {"text": "other"})
    assert explain(rules, BODY)["priority"] == explain(ruleset(), BODY)["priority"]  # it is the case's, and no haste


def test_a_discarded_one_goes_to_nobody_and_says_why() -> None:
    rules = """
    rules:
      - {name: robot, when: {source: web-form}, then: [{discard: "a robot"}]}
      - {name: all, when: {all: []}, then: [{assign: product}]}
    """
    found = explain(ruleset(rules), BODY)
    assert (found["team"], found["discarded"], found["rule"]) == (None, "a robot", "robot")
    assert "source is" in found["reasons"][0]["text"]


@pytest.mark.parametrize(
    ("rules", "line", "column", "said"),
    [
        ("rules: {}", 1, 1, "a list is wanted under `rules:`"),
        ("rule: []\nrules: []", 1, 1, 'there is no key "rule": did you mean "rules"?'),
        ("rules:\n  - name: a\n    when: {all: []}", 2, 5, "a list of actions is wanted"),
        ("rules:\n  - name: a\n    then: [{assign: sales}]", 2, 5, "when is required"),
        ("rules:\n  - when: {all: []}\n    then: [{assign: sales}]", 2, 5, "name is required"),
        ("rules:\n  - {name: a, wen: {}, then: []}", 2, 15, 'did you mean "when"?'),
        (
            "rules:\n  - name: a\n    when: {txt: {contains: x}}\n    then: [{assign: sales}]",
            3,
            12,
            'did you mean "text"?',
        ),
        (
            "rules:\n  - name: a\n    when: {text: {contain: x}}\n    then: [{assign: sales}]",
            3,
            19,
            'did you mean "contains"?',
        ),
        ("rules:\n  - name: a\n    when: {all: []}\n    then: [{asign: sales}]", 4, 13, 'did you mean "assign"?'),
        ("rules:\n  - name: a\n    when: {all: []}\n    then: [{assign: sale}]", 4, 13, 'did you mean "sales"?'),
        ("rules:\n  - name: a\n    when: {all: []}\n    then: [{watch: [sales, nobody]}]", 4, 13, 'no team "nobody"'),
        ("rules:\n  - name: a\n    when: {all: []}\n    then: [{prioritise: hot}]", 4, 13, "must be one of urgent"),
        ("rules:\n  - name: a\n    when: {all: []}\n    then: [{follow_up: maybe}]", 4, 13, "boolean"),
        (
            "rules:\n  - name: a\n    when: {more_than: 20, tag: x}\n    then: [{assign: sales}]",
            3,
            12,
            "stands under",
        ),
        (
            "rules:\n  - name: a\n    when: {text: {contains: x}, per: 1h}\n    then: [{assign: sales}]",
            3,
            33,
            "stands under",
        ),
        (
            "rules:\n  - name: a\n    when: {field: atributes.x, equals: 1}\n    then: [{assign: sales}]",
            3,
            12,
            '"attributes"',
        ),
        (
            "rules:\n  - name: a\n    when: {field: customer.teir, equals: 1}\n    then: [{assign: sales}]",
            3,
            12,
            '"tier"',
        ),
        (
            "rules:\n  - name: a\n    when: {field: attributes.x}\n    then: [{assign: sales}]",
            3,
            12,
            "a test is wanted",
        ),
        ("rules:\n  - name: a\n    when: {equals: x}\n    then: [{assign: sales}]", 3, 12, 'no condition "equals"'),
        (
            "rules:\n  - name: a\n    when: {score: {metric: npss, at_most: 3}}\n    then: [{assign: sales}]",
            3,
            20,
            '"nps"',
        ),
        (
            "rules:\n  - name: a\n    when: {score: {metric: nps, at_most: 30}}\n    then: [{assign: sales}]",
            3,
            33,
            "outside of 0 to 10",
        ),
        (
            "rules:\n  - name: a\n    when: {score: {metric: nps}}\n    then: [{assign: sales}]",
            3,
            12,
            "at_least or at_most",
        ),
        ("rules:\n  - name: a\n    when: {text: {matches: '(?=x)'}}\n    then: [{assign: sales}]", 3, 19, "RE2"),
        ("rules:\n  - name: a\n    when: {text: {typos: 1}}\n    then: [{assign: sales}]", 3, 19, "contains or says"),
        (
            "rules:\n  - name: a\n    when: {text: {contains: refund, typos: 2}}\n    then: [{assign: sales}]",
            3,
            37,
            "0 or 1",
        ),
        (
            "rules:\n  - name: a\n    when: {text: {contains: [bug, 退款退款退款, refund*], typos: 1}}\n"
            "    then: [{assign: sales}]",
            3,
            53,
            "five letters",
        ),
        (
            "lexicons: {billing: [invoice]}\nrules:\n  - name: a\n"
            "    when: {text: {contains: [{lexicon: biling}]}}\n    then: [{assign: sales}]",
            4,
            31,
            'did you mean "billing"?',
        ),
        (
            "rules:\n  - name: a\n    when: {text: {contains: {lexicon: x}}}\n    then: [{assign: sales}]",
            3,
            19,
            'no lexicon "x", and none of any other name',
        ),
        ("lexicons: {billing: []}\nrules: []", 1, 12, "a list of words"),
        ("lexicons: {billing: [invoice, '\u200b']}\nrules: []", 1, 31, "nothing is left"),
        ("lexicons: [billing]\nrules: []", 1, 1, "a mapping is wanted"),
        ("rules:\n  - name: a\n    when: {text: {contains: ['', x]}}\n    then: [{assign: sales}]", 3, 19, "a word"),
        ("rules:\n  - name: a\n    when: {text: {contains: [5]}}\n    then: [{assign: sales}]", 3, 19, "in quotes"),
        (
            "rules:\n  - name: a\n    when: {text: {contains: [a, '\u200b']}}\n    then: [{assign: sales}]",
            3,
            33,
            "nothing is left",
        ),
        (
            "rules:\n  - name: a\n    when: {field: title, contains: ' '}\n    then: [{assign: sales}]",
            3,
            26,
            "nothing is left",
        ),
        ("rules:\n  - name: a\n    when: {any: []}\n    then: [{assign: sales}]", 3, 12, "never holds"),
        ("rules:\n  - name: a\n    when: {kind: bugs}\n    then: [{assign: sales}]", 3, 12, 'did you mean "bug"?'),
        ("rules:\n  - name: a\n    when: {channel: mail}\n    then: [{assign: sales}]", 3, 12, '"email"'),
        ("rules:\n  - name: a\n    when: {time: {zone: Mars}}\n    then: [{assign: sales}]", 3, 19, "IANA"),
        ("rules:\n  - name: a\n    when: {time: {hours: '22:00-06:00'}}\n    then: [{assign: sales}]", 3, 19, "two"),
        (
            "rules:\n  - {name: a, when: {all: []}, then: [{tag: x}]}\n  - {name: a, when: {all: []}, then: [{tag: x}]}",
            3,
            6,
            "two rules are named",
        ),
    ],
)
def test_a_fault_is_named_with_its_place(rules: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ruleset(rules)
    issue = caught.value.issues[0]
    assert issue.file == "routing.yaml"
    assert said in issue.message
    assert (issue.line, issue.column) == (line, column)


def test_all_faults_are_told_at_once() -> None:
    rules = """
    rules:
      - {name: a, when: {all: [{txt: x}, {kind: bugs}]}, then: [{asign: sales}, {watch: nobody}]}
      - {name: b, wen: {all: []}}
    """
    with pytest.raises(ConfigError) as caught:
        ruleset(rules)
    assert len(caught.value.issues) == 5


EXAMPLE = """
rules:
  - name: billing
    when: {{text: {{contains: [refund]}}}}
    then: [{{assign: support}}, {{tag: [billing]}}]
    examples:
      - {example}
"""


@pytest.mark.parametrize(
    "example",
    [
        "{text: 'a refund please'}",
        "{text: 'a refund please', expect: {team: support, tags: [billing], rule: billing, decided_by: rule}}",
        "{text: 'a refund please', expect: {tags: billing, kind: complaint, sentiment: negative, discarded: false}}",
        "{text: 'hello there friend', expect: {rule: null, decided_by: default}}",
        "{feedback: {text: refund, source: x, customer: {id: c}}, expect: {language: und, follow_up: true}}",
        "{text: refund, scores: [{metric: nps, value: 9}], expect: {sentiment: positive}}",
    ],
)
def test_an_example_that_holds(example: str) -> None:
    assert ruleset(EXAMPLE.format(example=example)).examples == 1


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("{text: 'no such word'}", "this rule does not match it; out came team support. No rule assigns it"),
        ("{text: 'a refund', expect: {team: product}}", "team is support, not product"),
        ("{text: 'a refund', expect: {tags: [billing, other]}}", "tags is billing, not billing, other"),
        ("{text: 'a refund', expect: {teem: support}}", 'did you mean "team"?'),
        ("{text: 'a refund', expect: {team: nobody}}", 'no team "nobody"'),
        ("{text: 'a refund', expect: {discarded: true}}", "discarded is None, not True"),
        ("{txt: 'a refund'}", "no feedback: txt"),
        ("{text: 'a refund', scores: [{metric: 5}]}", "no feedback: scores"),
        ("refund", "an example is wanted"),
        ("{text: 'a refund', received_at: yesterday}", "no feedback: received_at"),
        ("{text: 'a refund', received_at: '2026-11-21T23:30:00'}", "no feedback: received_at"),
    ],
)
def test_an_example_that_fails_refuses_the_file(example: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ruleset(EXAMPLE.format(example=example))
    (issue,) = caught.value.issues
    assert said in issue.message
    assert issue.line == 7


def test_a_rule_about_the_time_is_proved_by_an_example_that_says_when_it_came() -> None:
    rules = """
    rules:
      - name: night
        when: {time: {zone: Asia/Shanghai, hours: ["00:00-08:00"]}}
        then: [{tag: night}]
        examples:
          - {text: "it is late", received_at: "2026-11-21T23:30:00Z", expect: {tags: [night]}}
          - {feedback: {text: "it is late", received_at: 2026-11-21T16:00:00Z}, expect: {tags: [night]}}
          - {text: "it is noon", received_at: "2026-11-21T12:00:00+08:00", expect: {rule: null}}
    """
    assert ruleset(rules).examples == 3
    with pytest.raises(ConfigError, match="tags is none, not night"):
        ruleset(rules.replace("23:30", "03:30"))


def test_metrics_of_ones_own() -> None:
    rules = "rules: [{name: a, when: {score: {metric: effort10, at_most: 4}}, then: [{assign: sales}]}]"
    with pytest.raises(ConfigError):
        ruleset(rules)
    loaded = ruleset(rules, sources="metrics: {effort10: {min: 1, max: 10}}")
    assert explain(loaded, {"source": "x", "scores": [{"metric": "effort10", "value": 2}]})["team"] == "sales"
    with pytest.raises(ConfigError, match="outside of 1 to 10"):
        ruleset(rules.replace("4", "40"), sources="metrics: {effort10: {min: 1, max: 10}}")


def test_the_starter_loads_and_proves_its_examples() -> None:
    from services.router.rules import load

    loaded = load(config_of(read_dir(STARTER)))
    assert loaded.examples >= 20
    data = config_of(read_dir(STARTER)).document("routing.yaml").data
    assert all(rule.get("examples") for rule in data["rules"])


def test_what_is_no_feedback_is_not_explained() -> None:
    with pytest.raises(Unreadable):
        explain(ruleset(), {"source": "x", "text": 5})
    with pytest.raises(Unreadable):
        explain(ruleset(), {"source": "x", "text": "\ud800"})


# ── two hundred rules cost what a few cost, and say the same ──

WORDS = ["refund", "crash*", "dark mode", "退款", "闪退", "希望增加", "app"]
LEAVES = st.sampled_from(
    [{"text": {"contains": [word]}} for word in WORDS]
    + [{"text": {"contains": WORDS[i : i + 2]}} for i in range(5)]
    + [{"text": {"matches": "re+f"}}, {"source": "web"}, {"source": ["shop", "web"]}, {"tier": "gold"}]
    + [{"score": {"metric": "nps", "at_most": 6}}, {"field": "attributes.n", "at_least": 2}, {"language": "zh"}]
    + [{"field": "attributes.labels", "in": ["x", "y"]}, {"field": "title", "exists": True}, {"kind": "bug"}]
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
        | st.lists(inner, max_size=3).map(lambda parts: {"all": parts})
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=5,
)
EVENTS = st.fixed_dictionaries(
    {"source": st.sampled_from(["web", "Shop", "other"])},
    optional={
        "text": st.lists(st.sampled_from([*WORDS, "apps", "and", "，"]), max_size=5).map(" ".join),
        "title": st.just("reef"),
        "scores": st.lists(st.fixed_dictionaries({"metric": st.just("nps"), "value": st.integers(0, 10)}), max_size=2),
        "customer": st.fixed_dictionaries({"tier": st.sampled_from(["gold", "Gold", "x"])}),
        "attributes": st.fixed_dictionaries({"n": st.integers(0, 4), "labels": st.lists(st.sampled_from("xyz"))}),
    },
)


@settings(max_examples=150)
@given(st.lists(CONDITIONS, min_size=1, max_size=8), st.lists(EVENTS, min_size=1, max_size=4))
def test_asking_only_the_candidates_finds_what_asking_all_finds(
    conditions: list[dict[str, Any]], events: list[dict[str, Any]]
) -> None:
    import json

    rules = [{"name": f"r{i}", "when": when, "then": [{"tag": f"t{i}"}]} for i, when in enumerate(conditions)]
    loaded = ruleset(json.dumps({"rules": rules}))
    for event in events:
        feedback = convert(event)
        text = "\n".join(part for part in (feedback.title, feedback.text) if part)
        scan = loaded.matcher.scan(folded_utf8(text))
        prior = classify(scan, feedback.scores or [], loaded.metrics)
        facts = Facts(feedback, scan, prior, "zh", "normal", prior.causes)
        asked = [rule.name for rule in loaded.matching(facts)]
        assert asked == [rule.name for rule in loaded.rules if rule.when.holds(facts)]
        for rule in loaded.matching(facts):
            assert all(isinstance(reason, str) for reason in rule.when.why(facts))


def test_the_version_is_that_of_all_files() -> None:
    first = config("rules: []")
    assert ruleset("rules: []").version == first.version
    assert ruleset("rules: [] # other").version != first.version


PEOPLE = """
default_team: support
teams: [{name: support, members: [{email: Li@example.com}]}, {name: sales}]
rotas: [{name: on-call, members: [li@example.com]}]
"""


def test_a_rule_hands_to_a_person_or_a_rota_beside_the_team() -> None:
    rules = """
rules:
  - {name: late, when: {text: {contains: late}}, then: [{assign: sales}, {rota: on-call}]}
  - {name: li, when: {text: {contains: secret}}, then: [{assign_to: LI@example.com}], examples: [{text: secret, expect: {person: li@example.com, team: support}}]}
"""
    found = ruleset(rules, teams=PEOPLE)
    decided = explain(found, {"source": "web", "text": "it is late"})
    assert (decided["team"], decided["rota"], decided.get("person")) == ("sales", "on-call", None)
    decided = explain(found, {"source": "web", "text": "a secret"})
    assert (decided["person"], decided["decided_by"]) == ("li@example.com", "default"), "no person decides the team"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("assign_to: lo@example.com", 'there is no person "lo@example.com": did you mean "li@example.com"?'),
        ("rota: on-cal", 'there is no rota "on-cal": did you mean "on-call"?'),
    ],
)
def test_whom_nobody_knows_nothing_is_handed_to(step: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ruleset(f"rules:\n  - name: a\n    when: {{all: []}}\n    then: [{{{step}}}]", teams=PEOPLE)
    (issue,) = caught.value.issues
    assert (issue.line, issue.column, said in issue.message) == (4, 13, True)
