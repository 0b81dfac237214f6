"""Templates, words and headers of every page.

Everything that somebody else wrote is data: escaped, never a template, never markup. Pages load nothing from elsewhere and
run no script but ours; the Content-Security-Policy says so to the browser. All works without script: what script there is
saves a click or counts a clock down.
"""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from services.console.judged import emotion_in, urgency_in
from services.console.visit import LANGUAGES, NOTICE_COOKIE, Language, Theme, Visit

HERE = Path(__file__).parent
STATIC = HERE / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
FILE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""Of bytes that somebody else wrote: to be kept, and never to be run."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS: Mapping[Language, tuple[str, str, str]] = {"en": ("d", "h", "m"), "zh-CN": ("天", "小时", "分")}


@cache
def static_url(name: str) -> str:
    """With a hash of the content, so that a browser keeps it for ever and yet has the newest."""
    return f"/static/{sha256((STATIC / name).read_bytes()).hexdigest()[:12]}/{name}"


class Pages:
    """Renders. The templates are read when the first page is asked for, so that a start does not wait for them."""

    def __init__(self) -> None:
        self._environment: Environment | None = None
        self.places: frozenset[str] = frozenset()
        """The addresses that there are: the navigation shows no other."""

    def page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page, or a part of one, for somebody."""
        html = self._template(template).render(visit=visit, language=visit.language, theme=visit.theme, **values)
        response = HTMLResponse(html, status, HEADERS)
        if visit.notice is not None:
            response.delete_cookie(NOTICE_COOKIE, path="/")
        return response

    def outside(
        self, language: Language, theme: Theme, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """For whoever is not signed in."""
        html = self._template(template).render(visit=None, language=language, theme=theme, **values)
        return HTMLResponse(html, status, HEADERS)

    def _template(self, name: str) -> Any:
        if self._environment is None:
            self._environment = _environment()
            self._environment.globals["places"] = self.places
        return self._environment.get_template(name)


@cache
def words(language: Language) -> Mapping[str, str]:
    """Key → sentence, keys joined by dots."""
    found: dict[str, str] = {}
    _flatten(
        yaml.load((HERE / "templates" / f"words.{language}.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader),
        "",
        found,
    )
    return found


def _flatten(value: Any, prefix: str, found: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for name, member in value.items():
            _flatten(member, f"{prefix}.{name}" if prefix else str(name), found)
    else:
        found[prefix] = str(value)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    all_words = {language: words(language) for language in LANGUAGES}

    @pass_context
    def t(context: Context, key: str, /, **values: Any) -> Markup:
        """The sentence, with what stands in it escaped."""
        sentence = all_words[context["language"]][key]
        return escape(sentence).format(**values)

    @pass_context
    def known(context: Context, prefix: str, value: object) -> str:
        """The word for a value of ours; the value itself where there is none (a tag, a future state)."""
        return all_words[context["language"]].get(f"{prefix}.{value}", str(value))

    made.globals |= {"t": t, "known": known, "static": static_url, "at": at, "left": left, "due": due, "query": query}
    made.globals |= {"emotion_in": emotion_in, "urgency_in": urgency_in}
    made.filters |= {"readable": readable, "lines": lines}
    return made


# ── what templates say of values ──


def readable(text: str | None) -> str:
    """Without control characters and direction overrides, which make a text read as another."""
    kept = (c for c in text or "" if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(c for c in kept if c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def lines(text: str | None) -> Markup:
    return Markup("<br>\n").join(escape(line) for line in readable(text).split("\n"))


@pass_context
def at(context: Context, moment: datetime | str | None) -> Markup:
    """A moment, in the zone of the person's team."""
    if moment is None:
        return Markup("")
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    visit: Visit | None = context["visit"]
    local = when.astimezone(visit.zone if visit is not None else UTC)
    shown = local.strftime("%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}" title="{} {}">{}</time>').format(
        when.astimezone(UTC).isoformat(timespec="seconds"), shown, local.tzname() or "", shown
    )


@pass_context
def due(context: Context, moment: datetime | str | None) -> Markup:
    """A deadline: how long it is away, counted down by the browser where it may."""
    if moment is None:
        return Markup("")
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    visit: Visit = context["visit"]
    words_of, late = context.resolve("t"), when <= visit.now
    said = words_of(context, "time.late" if late else "time.left", span=left(abs(when - visit.now), visit.language))
    level = "late" if late else "soon" if when - visit.now < timedelta(hours=1) else "calm"
    return Markup('<time class="due {}" datetime="{}" data-due title="{}">{}</time>').format(
        level,
        when.astimezone(UTC).isoformat(timespec="seconds"),
        when.astimezone(visit.zone).strftime("%Y-%m-%d %H:%M %Z"),
        said,
    )


def left(span: timedelta, language: Language = "en") -> str:
    """`3d 4h`, `4h 05m`, `12m`: two units at most. The browser counts on in the same form (console.js)."""
    d, h, m = _UNITS[language]
    seconds = int(abs(span).total_seconds())
    if seconds >= _DAY:
        return f"{seconds // _DAY}{d} {seconds % _DAY // _HOUR}{h}"
    if seconds >= _HOUR:
        return f"{seconds // _HOUR}{h} {seconds % _HOUR // _MINUTE:02d}{m}"
    return f"{seconds // _MINUTE}{m}"


def query(given: Mapping[str, Any], **changed: Any) -> str:
    """A query string: those values with these changes; nothing for what is empty."""
    merged = {**given, **changed}
    text = urlencode([(name, str(value)) for name, value in merged.items() if value not in (None, "", False)])
    return f"?{text}" if text else "?"
