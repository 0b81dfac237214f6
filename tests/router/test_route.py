"""The decision beside the rules: the loop's answers, priority, follow-up, and that it is the same every time."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.router.feedback import Unreadable, convert
from services.router.route import Discarded, Routing, explain, route
from shared.events import feedback as models
from tests.router.rulesets import ruleset

RULES = ruleset(
    """
rules:
  - {name: refund, when: {text: {contains: [refund, 退款]}}, then: [{assign: support}, {tag: [billing]}]}
  - {name: quiet, when: {text: {contains: [fyi]}}, then: [{follow_up: false}]}
  - {name: loud, when: {text: {contains: [kudos]}}, then: [{follow_up: true}]}
  - {name: sales, when: {score: {metric: nps, at_least: 9}}, then: [{watch: [sales]}]}
"""
)


def decided(**feedback: Any) -> dict[str, Any]:
    return explain(RULES, {"source": "web", **feedback})


@pytest.mark.parametrize(
    ("feedback", "priority", "code"),
    [
        ({"text": "URGENT: production is down"}, "urgent", "priority.words"),
        ({"text": "please fix it as soon as possible"}, "high", "priority.words"),
        ({"scores": [{"metric": "nps", "value": 1}]}, "high", "priority.score"),
        ({"text": "I moved to Berlin"}, "normal", None),
        ({"text": "n/a", "scores": [{"metric": "nps", "value": 2}]}, "high", "priority.score"),
        ({"text": "They fixed it immediately, great service"}, "low", "priority.kind"),
        ({"text": "Love it, great job, thank you"}, "low", "priority.kind"),
        ({"text": "The export fails", "customer": {"tier": "Enterprise"}}, "high", "priority.tier"),
        ({"text": "As soon as possible! The export fails", "customer": {"tier": "VIP"}}, "urgent", "priority.tier"),
        ({"text": "Love it, great job", "customer": {"tier": "enterprise"}}, "low", "priority.kind"),
        ({"text": "The export fails", "customer": {"tier": "free"}}, "normal", None),
    ],
)
def test_priority(feedback: dict[str, Any], priority: str, code: str | None) -> None:
    found = decided(**feedback)
    assert found["priority"] == priority
    assert next((r["code"] for r in found["reasons"] if r["code"].startswith("priority.")), None) == code


@pytest.mark.parametrize(
    ("feedback", "owed"),
    [
        ({"text": "The export fails"}, True),
        ({"text": "I moved to Berlin"}, True),
        ({"text": "Love it, great job"}, False),
        ({"text": "test"}, False),
        ({"text": "fyi the export fails"}, False),
        ({"text": "kudos, excellent"}, True),
        ({"text": "test", "scores": [{"metric": "nps", "value": 0}]}, True),
        ({"text": "Couldn't be happier"}, False),
        ({"text": "You never sent the parcel. Thank you"}, True),
    ],
)
def test_who_is_owed_an_answer(feedback: dict[str, Any], owed: bool) -> None:
    assert decided(**feedback)["follow_up"] is owed


@pytest.mark.parametrize(
    ("loop", "team", "owed", "codes"),
    [
        ({"case_id": "1", "solved": True, "team": "product"}, "product", False, {"loop.answer", "loop.solved"}),
        ({"case_id": "1", "solved": False, "team": "product"}, "product", True, {"loop.answer", "loop.unsolved"}),
        ({"case_id": "1", "solved": False, "team": "gone"}, "support", True, {"rule.matched", "loop.unsolved"}),
        ({"case_id": "1", "solved": True}, "support", False, {"rule.matched", "loop.solved"}),
        ({"case_id": "1", "solved": True, "team": ["x"]}, "support", False, {"rule.matched", "loop.solved"}),
    ],
)
def test_an_answer_from_the_customers_page(loop: dict[str, Any], team: str, owed: bool, codes: set[str]) -> None:
    found = explain(RULES, {"source": "loop", "text": "about my refund", "attributes": {"loop": loop}})
    assert (found["team"], found["follow_up"]) == (team, owed)
    assert codes <= {reason["code"] for reason in found["reasons"]}


def test_loop_is_only_special_where_it_comes_from_the_loop() -> None:
    found = decided(text="hello there", attributes={"loop": {"team": "sales", "solved": True}})
    assert (found["team"], found["follow_up"]) == ("support", True)


@pytest.mark.parametrize(
    ("feedback", "language", "code"),
    [
        ({"text": "请问", "language": "zh-TW"}, "zh-TW", "language.declared"),
        ({"text": "请问"}, "zh", "language.detected"),
        ({"text": "请问", "language": "und"}, "zh", "language.detected"),
        ({"text": "ok"}, "und", "language.unknown"),
        ({"scores": [{"metric": "nps", "value": 3}]}, "und", "language.unknown"),
    ],
)
def test_language(feedback: dict[str, Any], language: str, code: str) -> None:
    found = decided(**feedback)
    assert found["language"] == language
    assert code in {reason["code"] for reason in found["reasons"]}


@pytest.mark.parametrize(
    ("text", "language", "kind"),
    [
        ("Mein Handy zeigt nur einen schwarzen Bildschirm", None, "comment"),  # handy: a telephone
        ("Das Handy geht nicht", None, "comment"),
        ("Handy kaputt", None, "comment"),
        ("Fast alle Bestellungen kommen beschädigt an", None, "comment"),  # fast: almost
        ("Fast beschädigt", None, "comment"),  # no word tells the language, a letter does
        ("Das Bad ist sehr schön", None, "comment"),
        ("Bitte lies meine Nachricht", None, "comment"),
        ("prote très fine", None, "comment"),
        ("Chambre simple et bruyante", None, "comment"),
        ("Un bug dans la page, c'est terrible", None, "bug"),  # the same in both
        ("Bad", "de", "comment"),
        ("Bad", "de_AT", "comment"),
        ("Bad", "en-GB", "complaint"),
        ("Bad", None, "complaint"),
        ("This is a bad service", "de", "complaint"),  # the locale is German, the words are not
        ("Das Handy ist schlecht 😡", None, "complaint"),
        ("これは bad です", None, "complaint"),
        ("The café is terrible", None, "complaint"),
        ("差评", "de", "complaint"),
    ],
)
def test_english_words_are_read_where_english_is_written(text: str, language: str | None, kind: str) -> None:
    given = {"text": text} | ({"language": language} if language else {})
    assert decided(**given)["kind"] == kind


def test_the_title_counts_as_text() -> None:
    assert decided(title="Refund?", text="see above")["rule"] == "refund"
    assert decided(title="Refund?")["rule"] == "refund"


def test_history_is_carried() -> None:
    found = route(convert({"source": "s", "text": "x"}), RULES, True)
    assert isinstance(found, Routing)
    assert found.history is True


TEXTS = st.text(max_size=80) | st.lists(
    st.sampled_from(["refund", "fyi", "kudos", "URGENT", "not", "good", "退款", "很", "慢", "？", "the", "crash"]),
    max_size=8,
).map(" ".join)
FEEDBACK = st.fixed_dictionaries(
    {"source": st.sampled_from(["web", "loop"])},
    optional={
        "text": TEXTS,
        "title": TEXTS,
        "language": st.sampled_from(["en", "zh-CN", "und"]),
        "scores": st.lists(
            st.fixed_dictionaries(
                {
                    "metric": st.sampled_from(["nps", "csat", "odd"]),
                    "value": st.floats(allow_nan=False, allow_infinity=False),
                }
            ),
            max_size=3,
        ),
        "customer": st.fixed_dictionaries({"tier": st.sampled_from([None, "vip", "x"])}),
        "attributes": st.dictionaries(st.sampled_from(["loop", "a"]), st.one_of(st.none(), st.just({"solved": True}))),
    },
)


@given(FEEDBACK, st.booleans())
def test_every_decision_is_one_that_the_contract_knows(feedback: dict[str, Any], history: bool) -> None:
    try:
        readable = convert(feedback)
    except Unreadable:
        assume(False)  # NUL, half characters: the tables of what cannot be read have them
    found = route(readable, RULES, history)
    assert not isinstance(found, Discarded)
    written = msgspec.json.encode(found)
    model = models.Routing.model_validate_json(written, strict=True)
    assert model.reasons
    assert model.model_dump(mode="json", exclude_unset=True) == json.loads(written)
    assert model.confidence <= 1
    assert msgspec.json.encode(route(readable, RULES, history)) == written


def test_the_members_are_those_of_the_model() -> None:
    assert set(Routing.__struct_fields__) == set(models.Routing.model_fields)


@pytest.mark.parametrize(
    ("text", "says"), [("Thank you, I love it!", "those of praise."), ("Please add dark mode", "those of a request.")]
)
def test_a_reason_reads_as_a_sentence(text: str, says: str) -> None:
    reasons = explain(ruleset(), {"source": "x", "text": text})["reasons"]
    assert any(reason["text"].endswith(says) for reason in reasons), reasons
