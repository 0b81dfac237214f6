"""What the customer reads: mails (text and HTML) and the pages behind the signed links, in English and Chinese.

Every word that somebody else wrote (the customer's feedback and name, a colleague's answer) is data: it is cleaned
of control characters, escaped, and never a template. Pages stand alone: no script, nothing loaded from elsewhere;
`PAGE_CSP` forbids both. Opening a page changes nothing, for mail scanners open every link; only its form does.

Pure, apart from reading the templates once, at import.
"""

import re
import unicodedata
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from services.closer.notify import LANGUAGES, MailLanguage, Notification
from shared.web.languages import liked, primary

QUOTE_MAX_CHARS = 500
LONGEST_WORD_CHARS = 60
NAME_MAX_CHARS = 60
ANSWER_MAX_CHARS = 30_000
WORDS_MAX_CHARS = 5_000

PageKind = Literal[
    "ask", "waiting", "thanks_yes", "thanks_no", "thanks_noted", "unknown", "away", "unsubscribe", "unsubscribed"
]

_TEMPLATES = Path(__file__).parent / "templates"
# Direction overrides and isolates can make a text read as another; the marks that ordinary text needs are kept.
_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")
_SPACE = re.compile(r"\s+")
_LINK_IN_NAME = re.compile(r"://|@|www\.|[<>{}]", re.IGNORECASE)
# What belongs to the character before it: variation selectors, joiners, skin tones.
_TRAILING = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")


class Mail(NamedTuple):
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class MailContext:
    words: str | None
    """The customer's own words; None or empty: only a score."""
    answer: str | None = None
    """What we did, or why not."""
    answer_language: str | None = None
    link: str | None = None
    """The customer's page. Needed where there is an answer to ask about."""
    unsubscribe_link: str | None = None


@dataclass(frozen=True, slots=True)
class PageContext:
    kind: PageKind
    language: MailLanguage
    action: str = ""
    """Where the form posts to; empty: where the page is."""
    words: str | None = None
    answer: str | None = None
    answer_language: str | None = None
    declined: bool = False
    chosen: Literal["yes", "no"] | None = None
    """The button pressed in the mail: pointed out, never acted on."""


def mail(notification: Notification, context: MailContext) -> Mail:
    words_of = _WORDS[notification.language]
    say = words_of["mail"][notification.kind]
    ask = notification.kind != "heard" and context.link is not None
    values = {
        "words_of": words_of,
        "say": say,
        "hello": _hello(words_of, notification.name),
        "answer": clean(context.answer or "")[:ANSWER_MAX_CHARS] if notification.kind != "heard" else "",
        "answer_language": language_tag(context.answer_language),
        "quote": quote(context.words or ""),
        "ask": ask,
        "link": context.link,
        "yes_url": _with(context.link, "yes"),
        "no_url": _with(context.link, "no"),
        "unsubscribe_link": context.unsubscribe_link,
    }
    return Mail(say["subject"], _MAIL_TEXT.render(values), _MAIL_HTML.render(values))


def page(context: PageContext) -> str:
    words_of = _WORDS[context.language]
    return _PAGE.render(
        words_of=words_of,
        say=words_of["page"][context.kind],
        css=_CSS,
        kind=context.kind,
        action=context.action,
        # Their own page, their own words: whole.
        quote=clean(context.words or ""),
        answer=clean(context.answer or ""),
        answer_language=language_tag(context.answer_language),
        answer_kind="declined" if context.declined else "answered",
        chosen=context.chosen,
        words_max_chars=WORDS_MAX_CHARS,
    )


def page_language(accept_language: str) -> MailLanguage:
    """For a page whose customer is not known: the first of ours that the browser names, in its order of liking."""
    for tag in liked(accept_language):
        for language in LANGUAGES:
            if primary(tag) == language:
                return language
    return "en"


def clean(text: str) -> str:
    """Without control characters and direction overrides; line breaks are `\\n`, never three in a row. Text that
    nobody can see is none."""
    text = _OVERRIDES.sub("", _BREAKS.sub("\n", text))
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    if all(unicodedata.category(c) in ("Cf", "Zs") for c in text if c not in "\n\t"):
        return ""
    return _BLANK_LINES.sub("\n\n", text).strip()


def quote(text: str, at_most: int = QUOTE_MAX_CHARS) -> str:
    """The beginning of it, cut between words where there are any, never within a character as people see it."""
    text = clean(text)
    if len(text) <= at_most:
        return text
    end = at_most - 1
    while end > 0 and (_joins(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    end = end or at_most - 1
    space = max(text.rfind(" ", 0, end + 1), text.rfind("\n", 0, end + 1))
    return text[: space if space > at_most - LONGEST_WORD_CHARS else end].rstrip() + "…"


def _joins(character: str) -> bool:
    return character in _TRAILING or unicodedata.combining(character) != 0


def _hello(words_of: Mapping[str, Any], name: str | None) -> str:
    """By name, where it looks like one: what somebody filled in may be an advertisement."""
    plain = _SPACE.sub(" ", clean(name or "")).strip()
    if not plain or len(plain) > NAME_MAX_CHARS or _LINK_IN_NAME.search(plain):
        return str(words_of["hello_nobody"])
    return str(words_of["hello"]).replace("{name}", plain)


def language_tag(tag: str | None) -> str | None:
    return tag if tag and re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", tag) else None


def _with(link: str | None, solved: str) -> str | None:
    return f"{link}{'&' if '?' in link else '?'}solved={solved}" if link else None


def _lines(text: str) -> Markup:
    return Markup("<br>\n").join(escape(line) for line in text.split("\n"))


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def environment(*, html: bool) -> Environment:
    """Of the templates beside us; what somebody wrote is escaped in HTML."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=html,  # noqa: S701 — plain text has nothing to escape
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["lines"] = _lines
    found.filters["quoted"] = _quoted
    return found


def _read_words(language: MailLanguage) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((_TEMPLATES / f"words.{language}.yaml").read_text(encoding="utf-8"))
    return found


_WORDS: Mapping[MailLanguage, Mapping[str, Any]] = {language: _read_words(language) for language in LANGUAGES}
_CSS = Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704 — our own file
_HTML, _TEXT = environment(html=True), environment(html=False)
_MAIL_HTML, _PAGE, _MAIL_TEXT = (
    _HTML.get_template("mail.html"),
    _HTML.get_template("page.html"),
    _TEXT.get_template("mail.txt"),
)
_CSS_HASH = b64encode(sha256(_CSS.encode()).digest()).decode()

PAGE_CSP = (
    f"default-src 'none'; style-src 'sha256-{_CSS_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every page."""
