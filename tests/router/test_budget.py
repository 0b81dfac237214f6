"""What a rules file and an event can cost together is bounded by what each may hold, not by a clock: these are the worst that
both allow. Nothing here is timed; what is not bounded would not end (before the bounds: minutes)."""

from typing import Any

import pytest

from services.router import conditions, matcher, parse
from services.router.route import explain
from services.router.ruleset import Ruleset
from shared.config.document import ConfigError
from tests.router.rulesets import ruleset

MOST_RULES = 3_000
LONGEST = 30_000


def many(when: Any, rules: int = MOST_RULES, then: str = "{tag: t}") -> Ruleset:
    """`when`: of a rule's number."""
    return ruleset("rules:\n" + "\n".join(f"  - {{name: r{n}, when: {when(n)}, then: [{then}]}}" for n in range(rules)))


def decided(rules: Ruleset, **feedback: Any) -> dict[str, Any]:
    found = explain(rules, {"source": "x", **feedback})
    found.pop("reasons")
    return found


def test_terms_within_terms_within_a_text_of_nothing_else() -> None:
    """Each place of the text ends two hundred terms: six million finds, of which no more than `MAX_FINDS` are looked at."""
    rules = many(lambda n: f"{{text: {{contains: {'不' * (n % matcher.MAX_TERM_CHARS + 1)}}}}}")
    assert len(decided(rules, text="不" * LONGEST)["rules"]) == MOST_RULES


def test_every_mention_of_every_term_is_denied() -> None:
    rules = many(lambda n: f'{{text: {{says: "bug{n % 50} {n:05}"}}}}')
    text = " ".join(f"not bug{n % 50} {n:05}." for n in range(LONGEST // 18))
    assert decided(rules, text=text)["rules"] == []
    rules = many(lambda n: f"{{text: {{says: {'不' * (n % 9 + 1)}}}}}", rules=500)
    assert len(decided(rules, text="没" + "不" * (LONGEST - 1))["rules"]) == 500


def test_a_term_that_is_a_part_of_every_word() -> None:
    rules = many(lambda n: "{text: {says: [bug]}}")
    assert len(decided(rules, text="debug " * (LONGEST // 6 - 1) + "bug")["rules"]) == MOST_RULES


def test_letters_wrong_in_every_word() -> None:
    names = ["".join(chr(97 + (n // 26**place) % 26) for place in range(3)) for n in range(MOST_RULES)]
    rules = many(lambda n: f"{{text: {{contains: refund{names[n]}, typos: 1}}}}")
    text = " ".join(f"refnud{name}" for name in names)[:LONGEST]
    assert len(decided(rules, text=text)["rules"]) > MOST_RULES - 100


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|aa)+$", "(.*)(.*)(.*)(.*)x$", "(?:a?){50}a{50}$"])
def test_patterns_that_run_away_elsewhere(pattern: str) -> None:
    rules = many(lambda n: f"{{text: {{matches: '{pattern}'}}}}", rules=parse.MAX_PATTERNS)
    decided(rules, text="a" * (LONGEST - 1) + "!")


def test_more_patterns_than_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 500 patterns"):
        many(lambda n: "{text: {matches: a}}", rules=parse.MAX_PATTERNS + 1)
    with pytest.raises(ConfigError, match="more than 1000 characters"):
        many(lambda n: f"{{text: {{matches: '{'a' * (conditions.MAX_PATTERN_CHARS + 1)}'}}}}", rules=1)
    with pytest.raises(ConfigError, match="more than 200 characters"):
        many(lambda n: f"{{text: {{contains: {'a' * (matcher.MAX_TERM_CHARS + 1)}}}}}", rules=1)


def test_long_values_and_long_lists_in_a_field() -> None:
    rules = many(
        lambda n: f"{{any: [{{field: attributes.x, contains: é{n}}}, {{field: attributes.l, ends_with: é{n}}}]}}"
    )
    long = "É" * (conditions.MAX_VALUE_CHARS - 4)
    found = decided(rules, attributes={"x": f"{long}é7é8 é9", "l": [*("É" * 4_000 for _ in range(100))]})
    assert found["rules"] == ["r7", "r8"]  # what stands behind the first thirty thousand characters is not looked at
    labels = [str(n) for n in range(100_000)]
    rules = many(lambda n: f"{{field: attributes.l, equals: '{n}'}}", rules=500)
    assert len(decided(rules, attributes={"l": labels})["rules"]) == conditions.MAX_VALUES
    rules = many(lambda n: f"{{not: {{field: attributes.l.x, in: ['{n}', a]}}}}", rules=500)
    assert len(decided(rules, attributes={"l": [{"x": labels}] * 2})["rules"]) == 500 - conditions.MAX_VALUES


def test_what_is_the_same_for_every_event_costs_no_more_with_more_rules() -> None:
    """A rule is only asked where one of its words is there: of three thousand, none."""
    rules = many(lambda n: f"{{text: {{contains: [never{n}, nowhere{n}]}}}}", then="{assign: product}")
    scan = rules.matcher.scan(b"nothing of that")
    facts = conditions.Facts(feedback=None, scan=scan, prior=None, language="en", priority="low", urgency=[])  # type: ignore[arg-type]
    assert rules.index.by_value == ()
    assert list(rules.index.candidates(facts)) == []
