"""What the customer reads, with whatever was written: nothing of it is a template, a tag, or a line of a header."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.closer.notify import LANGUAGES, MailLanguage, Notification
from services.closer.render import (
    _TEMPLATES,
    PAGE_CSP,
    MailContext,
    PageContext,
    PageKind,
    clean,
    mail,
    page,
    page_language,
    quote,
)

LINK = "https://feedback.example.com/loop/abc.def"
STOP = "https://feedback.example.com/loop/abc.def/unsubscribe"
VOID = {"meta", "br"}
ALLOWED = {
    "html", "head", "meta", "title", "body", "div", "p", "bdi", "strong", "a", "br", "blockquote",
    "style", "main", "h1", "h2", "form", "label", "textarea", "button",
}  # fmt: skip
HOSTILE = [
    "{{ 7*7 }} {% raw %} {{''.__class__}} {{ config }} ${7*7} #{7*7}",
    "{{'a'*10**9}}",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "</textarea></style></title><h1>pwned</h1>",
    "\"' onmouseover=alert(1) x='",
    "<a href='https://evil.example'>your bank</a>",
    "line\r\nBcc: everybody@example.com\r\n\r\nbody",
    "a\x0bb\x0cc\x1cd\u2028e\u2029f\x00g\x1b[31mred",
    "\u202egnp.exe \u2066hidden\u2069",
    "שלום, זה לא עובד",
    "مرحبا، التطبيق لا يعمل",
    "👨‍👩‍👧‍👦 👍🏽 ❤️ 🇨🇳",
    "é" * 2000,
]


class Tags(HTMLParser):
    """Which tags and links a document has; fails on one that is not closed."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def notification(kind: Any = "answered", language: MailLanguage = "en", name: str | None = "Chen Li") -> Notification:
    return Notification(kind, "k", "email", language, "c@example.com", name, "default", "case-1", 1)


def context(**changes: Any) -> MailContext:
    return MailContext(
        **{"words": "It is slow", "answer": "It is fast now", "link": LINK, "unsubscribe_link": STOP, **changes}
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["heard", "answered", "declined"])
def test_a_mail_says_what_we_did_first_then_what_they_said(kind: str, language: MailLanguage) -> None:
    subject, text, html = mail(notification(kind, language), context())
    assert subject
    assert subject.isprintable()
    for body in (text, html):
        assert ("It is fast now" in body) == (kind != "heard")
        assert "It is slow" in body
        assert body.find("It is fast now") < body.index("It is slow")
        assert STOP in body
        assert (f"{LINK}?solved=yes" in body) == (kind != "heard")
        assert (f"{LINK}?solved=no" in body) == (kind != "heard")
    assert f'<html lang="{language}">' in html
    assert Tags(html).tags <= ALLOWED
    assert all(link.startswith("https://feedback.example.com/") for link in Tags(html).links)
    assert "\n\n\n" not in text
    assert text.isascii() == (language == "en")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", get_args(PageKind))
def test_a_page_stands_alone(kind: PageKind, language: MailLanguage) -> None:
    shown = page(PageContext(kind, language, "/loop/t", "words", "answer", "zh", declined=kind == "waiting"))
    found = Tags(shown)
    assert found.tags <= ALLOWED
    assert set(found.links) <= {"/loop/t"}
    assert f'<html lang="{language}">' in shown
    assert "prefers-color-scheme:dark" in shown
    assert 'name="viewport"' in shown
    assert "style" not in found.attributes  # what the policy's hash does not cover would be dropped
    style = re.search(r"<style>(.*)</style>", shown, re.DOTALL)
    assert style is not None
    assert b64encode(sha256(style[1].encode()).digest()).decode() in PAGE_CSP


def test_the_page_asks_with_a_plain_form() -> None:
    shown = page(PageContext("ask", "en", "/loop/t", "It is slow", "It is fast now", chosen="no"))
    assert '<form method="post" action="/loop/t">' in shown
    assert re.search(r'<button[^>]*name="solved" value="yes">', shown)
    assert re.search(r'<button class="chosen" name="solved" value="no">', shown)
    assert 'name="words"' in shown
    declined = page(PageContext("ask", "en", "/loop/t", "It is slow", "We cannot", declined=True))
    assert "Why we did not" in declined


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_words_are_only_words(hostile: str, language: MailLanguage) -> None:
    plain = mail(notification("answered", language), context())
    subject, text, html = mail(
        notification("answered", language, name=hostile),
        context(words=hostile, answer=hostile, answer_language="\" onload='x"),
    )
    assert subject == plain.subject
    assert Tags(html).tags == Tags(plain.html).tags
    assert Tags(html).attributes <= Tags(plain.html).attributes
    assert Tags(html).links == Tags(plain.html).links
    shown = page(PageContext("ask", language, "/loop/t", hostile, hostile, answer_language=hostile))
    assert Tags(shown).tags <= ALLOWED
    assert Tags(shown).links == ["/loop/t"]
    for body in (text, html, shown):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028-\u202e\u2066-\u2069]", body)
    if "{{ 7*7 }}" in hostile:
        for body in (text, html, shown):
            assert "{{ 7*7 }}" in body
            assert "49" not in body


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=700), st.text(max_size=80), st.sampled_from(LANGUAGES))
def test_any_text_leaves_the_structure_alone(words: str, name: str, language: MailLanguage) -> None:
    html = mail(notification("declined", language, name), context(words=words, answer=words)).html
    found = Tags(html)
    assert found.tags <= ALLOWED
    assert [link.split("?")[0] for link in found.links] == [LINK, LINK, STOP]


@pytest.mark.parametrize(
    ("name", "greeting"),
    [
        ("陈丽", "Hello 陈丽,"),
        ("  Anna \n Maria ", "Hello Anna Maria,"),
        ("O'Brien", "Hello O'Brien,"),
        (None, "Hello,"),
        ("\u200b", "Hello,"),
        ("win at https://evil.example", "Hello,"),
        ("www.evil.example", "Hello,"),
        ("x" * 61, "Hello,"),
        ("{name}", "Hello,"),
    ],
)
def test_the_greeting(name: str | None, greeting: str) -> None:
    assert mail(notification(name=name), context()).text.split("\n")[0] == greeting


def test_a_score_without_words() -> None:
    text = mail(notification("heard", "zh"), context(words=" \u200b\n", link=None)).text
    assert "没有留言" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        ("short", "short", "short"),
        ("cut at a word", "word " * 200, "word " * 99 + "word…"),
        ("no words to cut at", "字" * 600, "字" * 499 + "…"),
        ("a family stays whole", "a" * 495 + "👨‍👩‍👧‍👦" + "b" * 50, "a" * 495 + "…"),
        ("an accent stays with its letter", "a" * 498 + "e\u0301" + "b" * 50, "a" * 498 + "…"),
        ("blank lines", "a\n\n \n\n\nb", "a\n\nb"),
    ],
)
def test_a_quote_is_cut_where_people_would(case: str, text: str, expected: str) -> None:
    assert quote(text) == expected, case


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=1200))
def test_a_quote_is_never_longer_and_cleaning_twice_changes_nothing(text: str) -> None:
    assert len(quote(text)) <= 500
    assert clean(clean(text)) == clean(text)


def test_the_languages_say_the_same_things() -> None:
    def keys(value: Any) -> Any:
        return {key: keys(inner) for key, inner in value.items()} if isinstance(value, dict) else isinstance(value, str)

    found = [yaml.safe_load((_TEMPLATES / f"words.{language}.yaml").read_text("utf-8")) for language in LANGUAGES]
    assert all(keys(words) == keys(found[0]) for words in found)
    assert set(found[0]["page"]) == set(get_args(PageKind))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en;q=0.8,zh;q=0.9", "zh"),
        ("de-DE,de;q=0.9", "en"),
        ("zh;q=0,en;q=0.1", "en"),
        ("*", "en"),
        ("zh;q=nonsense", "zh"),
        ("," * 10_000, "en"),
    ],
)
def test_the_language_of_a_page_without_a_customer(header: str, expected: str) -> None:
    assert page_language(header) == expected
