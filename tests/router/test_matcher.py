"""Terms in texts: whole words where a script has them, anywhere where it has none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.lexicons import LEXICON, Entry
from services.router.matcher import BadTerm, Matcher, pattern
from shared.folding import fold, folded_utf8, in_word, is_hangul


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("app", "The APP is slow", True),
        ("app", "I am happy", False),
        ("app", "apps", False),
        ("app*", "apps and applications", True),
        ("app*", "happy apps", True),
        ("app*", "happy", False),
        ("app", "我的app很好用", True),
        ("app", "我的App", True),
        ("app", "Ａｐｐ打不开", True),
        ("app", "appé", False),
        ("app", "éapp", False),
        ("app", "приложениеapp", False),
        ("app", "(app)", True),
        ("app", "app-store", True),
        ("app", "app_store", False),
        ("feature request", "a Feature\n  Request", True),
        ("feature request", "feature requests", False),
        ("c++", "I write C++ code", True),
        ("24/7", "open 24/7!", True),
        ("24", "2024", False),
        ("café", "the CAFE downstairs", True),
        ("发票", "请问电子发票怎么开", True),
        ("ログイン", "ログインできない", True),
        ("ใช้ไม่ได้", "แอปใช้ไม่ได้เลย", True),
        ("wifi密码", "忘了WiFi密码", True),
        ("wifi密码", "xwifi密码", False),
        ("배송", "배송이 늦어요", True),
        ("배송", "무료배송", False),
        ("Straße", "in der STRASSE", True),
        ("don't", "I don’t know", True),
    ],
)
def test_a_term_in_a_text(term: str, text: str, found: bool) -> None:
    scan = Matcher([term], {}).scan(folded_utf8(text))
    assert (0 in scan.terms) is found


def test_terms_inside_and_across_each_other_are_all_found() -> None:
    matcher = Matcher(["退款", "申请退款", "款项", "refund", "refund policy", "refund*", "Refund"], {})
    assert matcher.scan(folded_utf8("申请退款项目")).terms == {0, 1, 2}
    assert matcher.scan(folded_utf8("The refund policy")).terms == {3, 4, 5, 6}
    assert matcher.scan(folded_utf8("refunding")).terms == {5}


def test_of_overlapping_words_of_the_lexicon_the_longer_counts() -> None:
    def words(text: str) -> list[str]:
        return [entry.word for _, _, entry in Matcher([], LEXICON).scan(folded_utf8(text)).words]

    assert words("不好") == ["不好"]
    assert words("你好") == ["你好"]
    assert words("it is not working") == ["not working"]
    assert words("不好用") == ["不好"]
    assert words("very good") == ["very", "good"]


@pytest.mark.parametrize("term", ["", "   ", "\u200b", "\ufe0f"])
def test_a_term_of_nothing_is_refused(term: str) -> None:
    with pytest.raises(BadTerm):
        pattern(term)


ALPHABET = "ab é9_我的カな한 .-"


@given(
    st.text(alphabet=ALPHABET, max_size=24), st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=4), max_size=6)
)
def test_found_is_what_a_slow_search_finds(text: str, terms: list[str]) -> None:
    terms = [term for term in terms if fold(term)]
    folded = fold(text)
    expected = {number for number, term in enumerate(terms) if _slowly(fold(term), folded)}
    assert Matcher(terms, {"zzz": Entry("zzz", 0, 0, 1, "", 0, 0)}).scan(folded.encode()).terms == expected


def _slowly(term: str, text: str) -> bool:
    for found in re.finditer(f"(?={re.escape(term)})", text):
        before = text[: found.start()][-1:]
        after = text[found.start() + len(term) :][:1]
        if in_word(term[0]) and before and in_word(before):
            continue
        if in_word(term[-1]) and not is_hangul(term[-1]) and after and in_word(after):
            continue
        return True
    return False
