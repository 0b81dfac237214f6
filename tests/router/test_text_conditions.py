"""What a rule may ask of a text beyond a word: mentions that are not denied, lexicons, a letter wrong, traditional Chinese."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.negation import denied, sides
from services.router.route import explain
from services.router.ruleset import Ruleset
from services.router.typos import Forgiving, can_forgive, one_apart
from shared.folding import fold
from tests.router.rulesets import ruleset

# ── denied ──

DENIED = [
    ("bug", "This is not a bug", True),
    ("bug", "It's not really a bug.", True),
    ("bug", "There isn't any bug", True),
    ("bug", "There isn’t any bug", True),
    ("bug", "I don't think it is a bug", True),
    ("bug", "without a single bug", True),
    ("bug", "bug-free since May", True),
    ("bug", "it never had a bug", True),
    ("crash", "it doesn't crash any more", True),
    ("crash", "doesnt crash", True),
    ("bug", "Isn't this a bug?", False),
    ("bug", "isn't this a bug", False),
    ("bug", "Is there no bug?", False),
    ("bug", "They did not fix the bug", False),
    ("bug", "not only a bug but also a mess", False),
    ("bug", "no, a bug", False),
    ("bug", "not fixed: bug", False),
    ("bug", "I play piano, a bug", False),
    ("bug", "a bug, not a feature", False),
    ("bug", "I know a bug", False),
    ("bug", "bug", False),
    ("bug", "这不是bug", True),
    ("bug", "這不是 bug", True),
    ("bug", "没有发现任何bug", True),
    ("bug", "一个bug都没有", True),
    ("bug", "bug没有了", True),
    ("闪退", "没有再出现过闪退", True),
    ("闪退", "不会闪退", True),
    ("bug", "是不是bug", False),
    ("bug", "有没有bug", False),
    ("bug", "不是bug吗", False),
    ("bug", "不只是bug", False),
    ("bug", "要不是bug", False),
    ("bug", "bug没有修复", False),
    ("闪退", "不断闪退", False),
    ("闪退", "不过闪退了", False),
    ("闪退", "非常闪退", False),
    ("退款", "还没退款", False),
    ("バグ", "これはバグではない", True),
    ("バグ", "バグじゃないです", True),
    ("バグ", "バグではありません", True),
    ("バグ", "バグではないから", True),
    ("エラー", "エラーは出ません", True),
    ("エラー", "エラーはありませんでした", True),
    ("クラッシュ", "クラッシュしない", True),
    ("バグ", "バグではないでしょうか", False),
    ("バグ", "バグじゃないですか", False),
    ("バグ", "バグだけではない", False),
    ("エラー", "エラーがなくならない", False),
    ("エラー", "エラーが出ます", False),
    ("error", "no es un error", True),
    ("errores", "sin errores", True),
    ("error", "no hay ningún error", True),
    ("error", "no solo un error", False),
    ("error", "no arregla el error", False),
    ("fehler", "das ist kein Fehler", True),
    ("fehler", "ohne Fehler", True),
    ("fehler", "Das ist nicht wirklich ein Fehler", True),
    ("fehler", "nicht nur ein Fehler", False),
    ("fehler", "nicht behobener Fehler", False),
    ("bug", "ce n'est pas un bug", True),
    ("erreur", "il n'y a pas d'erreur", True),
    ("bug", "aucun bug", True),
    ("plante", "l'appli ne plante pas", True),
    ("plante", "l'appli plante, pas bien", False),
    ("bug", "pas seulement un bug", False),
]


def asked(when: str, lexicons: str = "{}") -> Ruleset:
    return ruleset(f"lexicons: {lexicons}\nrules: [{{name: r, when: {{text: {when}}}, then: [{{assign: product}}]}}]")


def decided(rules: Ruleset, text: str) -> dict[str, Any]:
    return explain(rules, {"source": "x", "text": text})


@pytest.mark.parametrize(("term", "text", "is_denied"), DENIED, ids=[text for _, text, _ in DENIED])
def test_a_mention_that_is_denied_is_not_said(term: str, text: str, is_denied: bool) -> None:
    assert decided(asked(f"{{contains: [{term}]}}"), text)["rule"] == "r"
    assert (decided(asked(f"{{says: [{term}]}}"), text)["rule"] is None) is is_denied


def test_one_mention_that_is_not_denied_is_enough() -> None:
    rules = asked("{says: [bug]}")
    assert decided(rules, "It is not a bug in the app. The bug is in the web page")["rule"] == "r"
    assert decided(rules, "It is not a bug in the app. Nor is it a debug in the page")["rule"] is None
    assert decided(rules, "not a bug. " * 40)["rule"] == "r"  # so many are not looked at: in doubt it is said


def test_it_says_that_it_was_only_denied() -> None:
    found = decided(asked("{says: [bug, crash]}"), "This is not a bug")
    assert 'text says "bug": only to deny it' in found["almost"][0]["text"]
    found = decided(asked("{says: [bug, crash]}"), "No bug, a crash")
    assert 'the text says "crash"' in found["reasons"][0]["text"]


@given(st.text(alphabet="not a bug 不是没有のではない.,?'é", max_size=400), st.integers(0, 400), st.integers(0, 9))
def test_what_stands_beside_a_mention_is_cut_between_characters(text: str, start: int, length: int) -> None:
    data = f" {fold(text)} ".encode()
    start = min(start, len(data) - 1)
    denied(*sides(data.decode("latin-1"), start, min(start + length, len(data))))


# ── lexicons ──

LEXICONS = "{billing: [invoice*, 发票, charged twice], money: [refund]}"


@pytest.mark.parametrize(
    ("when", "text", "holds"),
    [
        ("{contains: {lexicon: billing}}", "Two invoices, please", True),
        ("{contains: [{lexicon: billing}]}", "请开发票", True),
        ("{contains: [late, {lexicon: money}, {lexicon: billing}]}", "a refund", True),
        ("{contains: [late, {lexicon: money}, {lexicon: billing}]}", "too late", True),
        ("{contains: [late, {lexicon: money}, {lexicon: billing}]}", "an order", False),
        ("{says: {lexicon: money}}", "I don't want a refund", False),
        ("{contains: {lexicon: billing}, typos: 1}", "I was chraged twice", True),
    ],
)
def test_a_lexicon_is_named_instead_of_its_words(when: str, text: str, holds: bool) -> None:
    assert (decided(asked(when, LEXICONS), text)["rule"] == "r") is holds


# ── a letter wrong ──


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("refund", "a refnud please", "refnud"),
        ("refund", "a refund please", None),
        ("refund", "a REFFUND please", "reffund"),
        ("refund", "a refun please", "refun"),
        ("refund", "a rufund", "rufund"),
        ("refund", "a refundation", ""),
        ("refund", "a rufnud", ""),
        ("refund", "re fund", ""),
        ("charged twice", "I was chraged twice!", "chraged twice"),
        ("charged twice", "I was charged twise", "charged twise"),
        ("charged twice", "I was chraged twise", ""),  # one letter, not one in each
        ("charged twice", "I was charged, twice", ""),
        ("charged twice", "I was charged once. Twice", ""),
        ("does not start", "it dose not start", ""),  # "does" is too short to be forgiven
        ("возврат", "нужен возвраат денег", "возвраат"),
        ("reembolso", "un reembloso", "reembloso"),
        ("doesn't", "it doesnt", "doesnt"),
    ],
)
def test_a_word_with_a_letter_wrong(term: str, text: str, found: str | None) -> None:
    """None: as it is; nothing: not at all."""
    decision = decided(asked(f'{{contains: ["{term}"], typos: 1}}'), text)
    assert (decision["rule"] == "r") is (found != "")
    if found != "":
        written = f' (written "{found}")' if found else ""
        assert f'the text contains "{term}"{written}:' in decision["reasons"][0]["text"]


def test_only_who_asks_for_it_is_forgiven() -> None:
    rules = ruleset(
        """
        rules:
          - {name: strict, when: {text: {contains: [refund]}}, then: [{tag: strict}]}
          - {name: lenient, when: {text: {contains: [refund], typos: 1}}, then: [{tag: lenient}]}
        """
    )
    assert decided(rules, "a refund")["tags"] == ["strict", "lenient"]
    assert decided(rules, "a refnud")["tags"] == ["lenient"]


def test_a_mention_with_a_letter_wrong_may_be_denied() -> None:
    rules = asked("{says: [crashes], typos: 1}")
    assert decided(rules, "我 café: it crahses")["rule"] == "r"
    assert decided(rules, "我 café: it never crahses")["rule"] is None


LETTERS = st.text(alphabet="abcé", min_size=5, max_size=8)


@given(LETTERS, LETTERS)
def test_near_is_what_a_slow_search_finds(left: str, right: str) -> None:
    left, right = fold(left), fold(right)
    expected = left == right or right in _edits(left)
    assert (left == right or one_apart(left, right)) is expected
    assert bool(Forgiving({7: left}).found(f"the {right} of")) is expected


def _edits(word: str) -> set[str]:
    splits = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    deletes = {a + b[1:] for a, b in splits if b}
    swaps = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    changes = {a + char + b[1:] for (a, b), char in itertools.product(splits, "abce") if b}
    inserts = {a + char + b for (a, b), char in itertools.product(splits, "abce")}
    return deletes | swaps | changes | inserts


@pytest.mark.parametrize(
    ("term", "forgiven"),
    [
        ("refund", True),
        ("load it again", True),
        ("bug", False),
        ("退款申请人员", False),
        ("c++ error", True),
        ("error c++", False),
        ("24/7", False),
    ],
)
def test_which_terms_can_be_forgiven(term: str, forgiven: bool) -> None:
    assert can_forgive(term) is forgiven


# ── traditional Chinese ──


@pytest.mark.parametrize(
    ("term", "text"),
    [("发票", "請問電子發票怎麼開"), ("發票", "请问电子发票怎么开"), ("登录", "帳號無法登錄"), ("數據", "數據沒了")],
)
def test_chinese_is_found_in_either_script(term: str, text: str) -> None:
    assert decided(asked(f"{{contains: [{term}]}}"), text)["rule"] == "r"
    assert decided(asked(f"{{matches: '{term[0]}.*'}}"), text)["rule"] == "r"
