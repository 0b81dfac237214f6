"""Learning from examples of our own writing: it begins as the lexicons, follows what people decide, and can say why."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.examples import Row, example_of, row_of
from services.router.model.evidence import EVIDENCE
from services.router.model.judge import Judged
from services.router.model.learner import HEADS, Example, train
from services.router.model.trained import MAGIC, Head, Trained
from services.router.route import explain, observed
from services.router.ruleset import Ruleset
from shared.errors import Rejected
from tests.router.rulesets import ruleset

TEAMS = "default_team: support\nteams: [{name: product}, {name: support}, {name: sales}, {name: garden}]"
TEAM_NAMES = ("product", "support", "sales", "garden")
RULES = ruleset(teams=TEAMS)

MOWERS = [
    "The mower leaves stripes on the lawn",
    "Your hedge cutter is too heavy for me",
    "Blades of the mower are blunt after a week",
    "Grass collects under the mower",
    "The lawn is uneven after mowing",
    "My hedge looks ragged, the cutter tears it",
    "When do you sharpen mower blades?",
    "The sprinkler floods half of the lawn",
    "Weeds grow through the lawn edging",
    "The mower does not start when it is wet",
    "割草机割不干净草坪",
    "草坪机的刀片钝了",
    "绿篱机太重了",
    "草坪边上长满了杂草",
    "割草机下雨天启动不了",
]
OTHERS = [
    "The parcel never came",
    "I want my money back for the chair",
    "Nobody answers the telephone",
    "My order was cancelled without a word",
    "The courier left the box in the rain",
    "The invoice has a wrong address",
    "I forgot my password again",
    "Please change my delivery address",
    "The chair arrived with a broken leg",
    "How do I return the lamp?",
    "快递一直没有到",
    "申请退款没人处理",
    "客服电话打不通",
    "发票地址写错了",
    "椅子到货时腿断了",
]


def rows() -> list[Row]:
    return [row_of({"text": text, "team": "garden"}) for text in MOWERS] + [
        row_of({"text": text, "team": "support"}) for text in OTHERS
    ]


def examples(found: list[Row] | None = None) -> list[Example]:
    return [example_of(row, RULES) for row in (found or rows())]


@pytest.fixture(scope="module")
def model() -> Trained:
    return train(examples())


def decided(text: str, model: Trained | None, rules: Ruleset = RULES) -> dict[str, Any]:
    return explain(replace(rules, judge=model), {"source": "test", "text": text})


def judged(model: Trained, text: str) -> Judged:
    return model.judge_all([observed({"source": "test", "text": text}, RULES)])[0]


# ── thirty corrections ──


@pytest.mark.parametrize(
    "text",
    ["The new mower tears the grass", "How heavy is the hedge cutter?", "割草机的刀片怎么换", "草坪被割得不平"],
)
def test_thirty_examples_turn_decisions(model: Trained, text: str) -> None:
    assert decided(text, None)["team"] != "garden"
    found = decided(text, model)
    assert (found["team"], found["decided_by"]) == ("garden", "model")


@pytest.mark.parametrize("text", ["My parcel was left in the rain", "Where is my refund?", "退款怎么还没到"])
def test_and_leave_the_others(model: Trained, text: str) -> None:
    assert decided(text, model)["team"] == "support"


def test_what_no_example_speaks_of_is_still_the_lexicons(model: Trained) -> None:
    """Nobody has taught it anything of sales."""
    assert decided("Could you send us a quote for forty licences?", model)["team"] == "sales"
    assert decided("请给我们一份报价", model)["team"] == "sales"


def test_a_head_that_nobody_taught_stays_with_the_lexicons(model: Trained) -> None:
    text = "The mower is broken, it is terrible"
    with_model, without = decided(text, model), decided(text, None)
    assert [with_model[part] for part in ("kind", "sentiment", "priority")] == [
        without[part] for part in ("kind", "sentiment", "priority")
    ]
    assert [head.name for head in model.heads] == ["team"]


def test_a_rule_wins_over_what_was_learnt(model: Trained) -> None:
    rules = ruleset("rules: [{name: ours, when: {text: {contains: [mower]}}, then: [{assign: product}]}]", teams=TEAMS)
    found = decided("The mower tears the grass", model, rules)
    assert (found["team"], found["decided_by"], found["rule"]) == ("product", "rule", "ours")


def test_a_team_that_is_gone_gets_nothing(model: Trained) -> None:
    found = decided("The mower tears the grass", model, ruleset())
    assert found["team"] in {"product", "support", "sales"}


@pytest.mark.parametrize("answers", [{"kind": "noise"}, {"kind": "praise"}])
def test_an_answer_is_owed_unless_that_is_sure(answers: dict[str, str]) -> None:
    """Three examples are no proof that nobody waits for an answer."""
    some = [row_of({"text": text, **answers}) for text in MOWERS[:3]]
    found = decided("The mower leaves stripes", train(examples(some)))
    assert found["follow_up"] is True


def test_each_head_learns_what_it_is_told() -> None:
    some = [
        *({"text": text, "kind": ["request"], "sentiment": "positive", "priority": "low"} for text in MOWERS),
        *({"text": text, "kind": "complaint", "sentiment": "negative", "priority": "high"} for text in OTHERS),
    ]
    model = train(examples([row_of(row) for row in some]))
    found = decided("The mower leaves the grass uneven on the lawn", model)
    assert (found["kind"], found["sentiment"]["label"], found["priority"]) == ("request", "positive", "low")
    assert found["sentiment"]["score"] > 0
    codes = {reason["code"] for reason in found["reasons"]}
    assert {"kind.model", "sentiment.model", "priority.model"} <= codes


def test_a_score_that_the_customer_gave_says_more_than_what_was_learnt() -> None:
    some = [row_of({"text": text, "sentiment": "positive"}) for text in MOWERS]
    some += [row_of({"text": text, "sentiment": "negative"}) for text in OTHERS]
    rules = replace(RULES, judge=train(examples(some)))
    body = {"source": "test", "text": MOWERS[0], "scores": [{"metric": "stars", "value": 1}]}
    assert explain(rules, body)["sentiment"]["label"] == "negative"


# ── why ──


def test_the_words_that_did_it_stand_in_the_text(model: Trained) -> None:
    for text in ("The new mower tears the grass", "割草机的刀片怎么换"):
        found = decided(text, model)
        reason = next(reason for reason in found["reasons"] if reason["code"] == "model.team")
        assert reason["words"]
        assert all(word in text.lower() for word in reason["words"])
        assert reason["model"] == model.version
        assert reason["confidence"] == found["confidence"]
    assert "mower" in decided("The new mower tears the grass", model)["reasons"][0]["words"]


def test_nothing_speaks_for_an_answer_that_is_none(model: Trained) -> None:
    assert model.words(judged(model, "the mower"), "team", "nobody") == []
    assert model.words(judged(model, "the mower"), "kind", "bug") == []


# ── together ──

WHOLE = train(
    examples(
        [
            row_of({"text": text, "team": team, "kind": kind, "sentiment": sentiment, "priority": priority})
            for number, text in enumerate([*MOWERS, *OTHERS] * 12)
            for team, kind, sentiment, priority in [
                (
                    TEAM_NAMES[number % 4],
                    ("bug", "request", "complaint")[number % 3],
                    ("positive", "neutral", "negative")[number // 2 % 3],
                    ("urgent", "normal")[number % 2],
                )
            ]
        ]
    )
)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.sampled_from([*MOWERS, *OTHERS])
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
        min_size=1,
        max_size=9,
    )
)
def test_what_is_said_of_a_text_is_the_same_to_the_last_bit_whatever_is_asked_beside_it(texts: list[str]) -> None:
    asked = [observed({"source": "test", "text": text}, RULES) for text in texts]
    together = WHOLE.judge_all(asked, RULES.teams)
    alone = [WHOLE.judge_all([one], RULES.teams)[0] for one in asked]
    assert [said[:5] for said in together] == [said[:5] for said in alone]
    for one, other in zip(together, alone, strict=True):
        for team in TEAM_NAMES:
            assert WHOLE.words(one, "team", team) == WHOLE.words(other, "team", team)


def test_teams_that_are_not_there_are_not_named() -> None:
    asked = [observed({"source": "test", "text": text}, RULES) for text in MOWERS]
    for said in WHOLE.judge_all(asked, {"sales"}):
        assert said.team is not None
        assert said.team.answer == "sales"
        assert isinstance(WHOLE.words(said, "team", "sales"), list)
    assert all(said.team is None and said.kind is not None for said in WHOLE.judge_all(asked, set()))
    assert WHOLE.judge_all([]) == []


# ── a value ──


def test_the_same_examples_make_the_same_bytes(model: Trained) -> None:
    again = train(examples())
    assert again.to_bytes() == model.to_bytes()
    assert again.version == model.version


def test_other_examples_make_another(model: Trained) -> None:
    assert train(examples(rows()[1:])).version != model.version


def test_what_is_read_back_is_the_same_model(model: Trained) -> None:
    read = Trained.from_bytes(model.to_bytes())
    assert read.to_bytes() == model.to_bytes()
    assert read.version == model.version
    for text in (*MOWERS, *OTHERS, "something else", ""):
        assert judged(read, text)[:5] == judged(model, text)[:5]


def test_judging_changes_nothing_and_is_always_the_same(model: Trained) -> None:
    before = model.to_bytes()
    first = [judged(model, text)[:5] for text in MOWERS]
    assert first == [judged(model, text)[:5] for text in MOWERS]
    assert model.to_bytes() == before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        MAGIC,
        MAGIC + b"rubbish",
        lambda whole: whole[:-9],
        lambda whole: whole[:-400] + whole[-300:],
    ],
)
def test_what_is_no_model_is_refused(model: Trained, data: Any) -> None:
    with pytest.raises(Rejected):
        Trained.from_bytes(data(model.to_bytes()) if callable(data) else data)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(Rejected):
        train([])
    with pytest.raises(Rejected):
        train(examples([row_of({"text": "only a text"})]))


def test_one_example_is_enough_and_moves_little() -> None:
    model = train(examples([row_of({"text": "The mower leaves stripes", "team": "garden"})]))
    assert decided("Could you send us a quote for forty licences?", model)["team"] == "sales"


# ── how sure ──


def test_a_greater_distance_is_never_less_sure(model: Trained) -> None:
    for head in model.heads:
        curve = [head.confidence(distance / 10) for distance in range(200)]
        assert curve == sorted(curve)
        assert all(1 / len(head.answers) <= one <= 1 for one in curve)


def test_no_confidence_is_below_that_of_a_blind_guess() -> None:
    assert Head("team", ("a", "b", "c", "d"), (0.0,) * 4, 0.0, -20.0, 9).confidence(0.0) == 0.25


def test_contradictions_make_unsure() -> None:
    """The same words for two teams, again and again."""
    torn = [row_of({"text": "the mower stopped", "team": team}) for team in ("garden", "support") * 20]
    assert decided("the mower stopped", train(examples(torn)))["confidence"] < 0.7


# ── what it sees ──


def test_the_evidence_has_the_length_that_a_model_expects() -> None:
    for text in ("", "refund", "退款?"):
        assert len(observed({"source": "test", "text": text}, RULES)[1]) == EVIDENCE


def test_rules_do_not_change_what_is_learnt_from() -> None:
    rules = ruleset("rules: [{name: ours, when: {text: {contains: [mower, grass]}}, then: [{assign: product}]}]")
    body = {"source": "test", "text": "The mower tears the grass, I want a refund"}
    assert observed(body, rules) == observed(body, RULES)


# ── rows ──


def test_a_row_may_say_any_of_it() -> None:
    row = row_of({"text": "x", "kind": ["bug", "complaint"], "priority": "medium", "tags": ["a"], "else": 1})
    assert (row.kind, row.priority, row.tags, row.team) == (("bug", "complaint"), "normal", ("a",), None)
    assert example_of(row, RULES).answers == {"kind": ("bug", "complaint"), "priority": ("normal",)}
    assert set(example_of(row, RULES).answers) <= set(HEADS)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "x", "kind": "wish"}, "kind"),
        ({"text": "x", "sentiment": "sad"}, "sentiment"),
        ({"text": "x", "priority": 3}, "priority"),
        ({"text": "x" * 30_001}, "text"),
        ([], "an object is wanted"),
    ],
)
def test_a_row_that_cannot_be_read_says_where(row: Any, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        row_of(row)
