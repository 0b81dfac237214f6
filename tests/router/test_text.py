"""Folding, words and languages, as tables; folding is idempotent whatever it is given."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.router import text as text_module
from services.router.text import fold, folded_utf8, in_word, language_of, primary


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


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="aZé，。！你好ガ \n‘\u200b…👍"))
def test_every_path_folds_alike(written: str) -> None:
    slow = " ".join(text_module._fold_slowly(written).split())
    assert fold(written) == slow


def test_every_single_character_folds_to_what_needs_no_more_folding() -> None:
    for code in [*range(0xD800), *range(0xE000, 0x30000)]:
        char = chr(code)
        folded = fold(f"a{char}a")
        assert fold(folded) == folded, f"U+{code:04X} {unicodedata.name(char, '')}"


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


@pytest.mark.parametrize(
    ("written", "language"),
    [
        ("请问怎么退款", "zh"),
        ("App 打不开了，请修复一下 please fix", "zh"),
        ("I lost the 东京 souvenir that you sent to me", "en"),
        ("アプリを開くとエラー", "ja"),
        ("日本語の説明書がない", "ja"),
        ("앱이 계속 꺼져요", "ko"),
        ("แอปใช้ไม่ได้", "th"),
        ("Приложение не работает", "ru"),
        ("Застосунок не працює з тієї версії", "uk"),
        ("Η εφαρμογή δεν λειτουργεί", "el"),
        ("التطبيق لا يعمل", "ar"),
        ("ऐप नहीं चल रहा है", "hi"),
        ("the app does not work when I open it", "en"),
        ("la aplicación no funciona cuando la abro y es muy lenta", "es"),
        ("die App funktioniert nicht und ich kann sie nicht öffnen", "de"),
        ("je ne peux pas ouvrir l'application et c'est très lent", "fr"),
        ("o aplicativo não funciona quando eu abro e está muito lento", "pt"),
        ("ok", "und"),
        ("12345 !!!", "und"),
        ("👍", "und"),  # four bytes are no Han character
        ("Great app 👍👍👍", "und"),
        ("Muy bueno 😍😍😍", "es"),
        ("€5", "und"),
        ("££", "und"),
        ("★★★★★ the app is great", "en"),
        ("★★★★★", "und"),
        ("好用 👍👍👍", "zh"),
        ("很好😭😭", "zh"),
        ("ქართული", "und"),  # a script that we have no name for
        ("美の极致，值得购买", "zh"),  # の is an ornament here
        (
            "我很喜欢这个游戏，里面的セーラームーン角色做得特别好看，希望以后还会有更多这样好看的角色加进来，推荐大家都去试试看",
            "zh",
        ),
        ("日本の製品です", "ja"),
        ("I love it ツ", "en"),
        ("no me gusta", "es"),  # "no" is not Portuguese alone
        ("No refund", "und"),
        ("no", "und"),
        ("Do you have this?", "en"),
        ("Mein Handy zeigt nur einen schwarzen Bildschirm", "de"),
        ("Das Handy geht nicht", "de"),
        ("prote très fine", "fr"),
        ("Chambre simple et bruyante", "fr"),
        ("", "und"),
    ],
)
def test_language(written: str, language: str) -> None:
    assert language_of(folded_utf8(written)) == language


@pytest.mark.parametrize(
    ("declared", "known_as"),
    [("zh", "zh"), ("zh-CN", "zh"), ("zh_CN", "zh"), ("ZH_Hant-TW", "zh"), ("en-GB", "en"), ("und", "und")],
)
def test_the_language_of_a_declared_one(declared: str, known_as: str) -> None:
    assert primary(declared) == known_as
