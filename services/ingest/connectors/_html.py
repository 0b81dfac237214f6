"""HTML as providers send it → the text that a reader sees. Pure."""

import re
from html import unescape
from typing import Any

from services.ingest.connectors._fields import text_of

TEXT_MAX_CHARS = 100_000
"""Of what a reader sees. Not of the HTML: a cut within a tag or a style sheet would make that the text."""
_BREAKS = frozenset(
    {"br", "p", "div", "li", "ul", "ol", "tr", "table", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
)
_UNSEEN = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "head", "title", "template")}
_OPENING = re.compile(r"<(?:!--|[!?]|/?([A-Za-z][A-Za-z0-9]*))")
_IMAGE = re.compile(r"<img\b", re.IGNORECASE)
_GAP = re.compile(r"\n{3,}")


def plain_text(html: Any) -> str | None:
    """What a reader sees of it, without tags, comments, scripts and styles. What is never closed is text: not all that
    comes is HTML, and people write 1 <2.

    In one pass: the standard library's reader takes time by the square of what is open and never closed.
    """
    if not isinstance(html, str):
        return None
    at, pieces = 0, list[str]()
    while (begin := html.find("<", at)) >= 0:
        pieces.append(unescaped(html[at:begin]))
        opening = _OPENING.match(html, begin)
        end = begin + 1 if opening is None else _end_of(html, opening)
        if end is None:
            at = begin
            break
        if opening is None:
            pieces.append("<")
        elif (opening[1] or "").lower() in _BREAKS:
            pieces.append("\n")
        at = end
    pieces.append(unescaped(html[at:]))
    lines = "\n".join(line.strip() for line in "".join(pieces).split("\n"))
    return text_of(_GAP.sub("\n\n", lines).strip()[:TEXT_MAX_CHARS])


def has_image(html: Any) -> bool:
    """Whether a reader sees a picture in it, which is no text."""
    return isinstance(html, str) and _IMAGE.search(html) is not None


def unescaped(text: str) -> str:
    """A character whose number has thousands of digits is none, and Python raises over it: then nothing is replaced."""
    try:
        return unescape(text)
    except ValueError:
        return text


def _end_of(html: str, opening: re.Match[str]) -> int | None:
    """The place behind a tag, a comment, or all that stands within an element that shows nothing."""
    name, at = (opening[1] or "").lower(), opening.end()
    if name in _UNSEEN and not opening[0].startswith("</"):
        closing = _UNSEEN[name].search(html, at)
        if closing is None:
            return None
        at = closing.end()
    closed_by = "-->" if opening[0] == "<!--" else ">"
    end = html.find(closed_by, at)
    return None if end < 0 else end + len(closed_by)
