"""Languages, as tables."""

import pytest

from services.router.text import language_of, primary
from shared.folding import folded_utf8


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
