"""Folding and words, as tables; folding is idempotent whatever it is given."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import folding
from shared.folding import fold, in_word
from shared.simplified import SIMPLIFIED


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Hello World", "hello world"),
        ("Ｈｅｌｌｏ，Ｗｏｒｌｄ！", "hello,world!"),
        ("Crème Brûlée", "creme brulee"),
        ("STRASSE Straße", "strasse strasse"),
        ("ﬁne", "fine"),
        ("don’t “quote”", 'don\'t "quote"'),
        ("希望增加，深色模式…", "希望增加,深色模式..."),
        ("a\r\n  b\tc\u3000d", "a b c d"),
        ("in\u00advisi\u200bble\ufeff", "invisible"),
        ("ｶﾞｯｺｳ", "ガッコウ"),
        ("がっこう", "がっこう"),  # the voiced mark is no accent: か is another letter
        ("ไม่ดี", "ไม่ดี"),  # nor are the vowels of Thai
        ("Ёлка", "елка"),
        ("İstanbul", "istanbul"),
        ("Nguyễn", "nguyen"),
        ("한국어", "한국어"),
        ("①②", "12"),
        ("doesn`t doesn´t doesn＇t doesn｀t", "doesn't doesn't doesn't doesn't"),
        ("Łódź Øl Đà Nẵng Ærø ışık cœur", "lodz ol da nang aero isik coeur"),  # no normal form takes these apart
        ("申請退款，帳號無法登錄", "申请退款,帐号无法登录"),  # traditional as simplified, on every path
        ("更新以後App打不開 é", "更新以后app打不开 e"),
        ("著急", "着急"),
        ("請求書", "请求书"),  # in Japanese too: both sides are folded alike
        ("", ""),
    ],
)
def test_fold(written: str, folded: str) -> None:
    assert fold(written) == folded


@given(st.text())
@example("⇍")
@example("ΐ")
@example("ẛ")
def test_folding_twice_is_folding_once(written: str) -> None:
    assert fold(fold(written)) == fold(written)


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="aZé，。！你好ガ後髮 \n‘\u200b…👍"))
def test_every_path_folds_alike(written: str) -> None:
    slow = " ".join(folding._fold_slowly(written).split())
    assert fold(written) == slow


def test_every_single_character_folds_to_what_needs_no_more_folding() -> None:
    for code in [*range(0xD800), *range(0xE000, 0x30000)]:
        char = chr(code)
        folded = fold(f"a{char}a")
        assert fold(folded) == folded, f"U+{code:04X} {unicodedata.name(char, '')}"


@given(st.text(alphabet="後髮發退款a é", max_size=8), st.text(alphabet="後髮發退款a é", max_size=8))
def test_a_part_folds_as_it_does_in_the_whole(left: str, right: str) -> None:
    """A dictionary of phrases would not: a term is looked for in texts, so it may not depend on its neighbours."""
    assert fold(f"{left}款{right}") == f"{fold(f'{left}款')}{fold(f'款{right}')[1:]}"


def test_no_simplified_character_is_folded_further() -> None:
    assert not set(SIMPLIFIED) & set(SIMPLIFIED.values())


@given(st.text(), st.text())
def test_case_and_composition_make_no_difference(left: str, right: str) -> None:
    word = f"Café{left}É{right}"
    assert fold(unicodedata.normalize("NFD", word)) == fold(unicodedata.normalize("NFC", word))


@pytest.mark.parametrize(
    ("char", "part"),
    [(char, True) for char in "aé9_я한ß"] + [(char, False) for char in "我かカไ 。-👍"],
)
def test_what_continues_a_word(char: str, part: bool) -> None:
    assert in_word(char) is part
