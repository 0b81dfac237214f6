"""A digest as its reader gets it: subject, text and HTML, in their language. Pure, apart from reading the templates once.

What customers wrote is data, cleaned, cut and escaped like everywhere. Nothing is loaded from anywhere, no colour of the
page's is set: a mail program's dark theme is as good as its light one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from services.closer.digest import Counts, Digest, Quote
from services.closer.notify import LANGUAGES, MailLanguage
from services.closer.periods import next_end, zone_of
from services.closer.render import Mail, environment, language_tag
from services.closer.subscriptions import Subscription
from shared.web.languages import primary

TAGS = 6
TAG_MAX_CHARS = 40
WHEN = "%Y-%m-%d %H:%M"

_TEMPLATES = Path(__file__).parent / "templates"


class Line(NamedTuple):
    """A number of the table."""

    name: str
    now: int
    before: int | None
    link: str | None
    is_alarm: bool = False


def language_for(subscription: Subscription, to: str) -> MailLanguage:
    """The first of the reader's own in which we can write, else the subscription's."""
    person = subscription.people.find(to)
    for tag in person.languages if person is not None else ():
        for language in LANGUAGES:
            if primary(tag) == language:
                return language
    fallback: MailLanguage = subscription.entry.language
    return fallback


def written(subscription: Subscription, digest: Digest, public_url: str) -> Mail:
    """To the reader that it is owed to."""
    words = _WORDS[language_for(subscription, digest.owed.to)]
    owed, every = digest.owed, subscription.entry.every
    zone = zone_of(subscription.hours)
    counts = owed.counts

    def moment(at: datetime) -> str:
        return at.astimezone(zone).strftime(WHEN)

    def put(sentence: str, **values: object) -> str:
        for name, value in values.items():
            sentence = sentence.replace(f"{{{name}}}", str(value))
        return sentence

    following = next_end(every, subscription.entry.at_minute, subscription.hours, owed.until)
    values: dict[str, Any] = {
        "w": words,
        "team": subscription.team,
        "title": put(words["title"], team=subscription.team),
        "period": put(words["period"], since=moment(owed.since), until=moment(owed.until), zone=zone.key),
        "before": put(words["before"], since=moment(owed.before_since), until=moment(owed.since))
        if owed.before_since is not None and owed.before is not None
        else None,
        "only": _only(words, subscription),
        "lines": list(_lines(words, counts, owed.before, subscription.team, public_url)),
        "kinds": [(words["kinds"].get(kind, kind), n) for kind, n in _most(counts.kinds)],
        "tags": _tags(counts, owed.before, words),
        "quotes": [_said(words, one, public_url) for one in digest.quotes],
        "thanks": [_said(words, one, public_url) for one in digest.thanks],
        "more": f"{public_url}/cases?{urlencode({'view': 'open', 'team': subscription.team})}",
        "next": put(words["next"], at=moment(following)) if following is not None else None,
        "why": put(words["why"][every], team=subscription.team),
    }
    subject = put(
        words["subject"], team=subscription.team, heard=counts.heard, waiting=counts.waiting, overdue=counts.overdue
    )
    return Mail(subject, _TEXT.render(values), _HTML.render(values))


def _lines(
    words: Mapping[str, Any], counts: Counts, before: Counts | None, team: str, public_url: str
) -> Sequence[Line]:
    """Those that are always told, and what is not nothing."""
    links = {
        name: f"{public_url}/cases?{urlencode({'view': view, 'team': team})}"
        for name, view in (("opened", "all"), ("waiting", "open"), ("overdue", "breached"))
    }
    found = []
    for name in ("heard", "opened", "waiting", "overdue", "breached", "told", "solved", "unsolved", "thanked"):
        now, then = getattr(counts, name), getattr(before, name) if before is not None else None
        if now or then or name in ("heard", "waiting"):
            alarm = bool(now) and name in ("overdue", "breached", "unsolved")
            found.append(Line(words["counts"][name], now, then, links.get(name), alarm))
    return found


def _tags(counts: Counts, before: Counts | None, words: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(tag, how often, what it was)."""
    found = []
    for tag, n in _most(counts.tags)[:TAGS]:
        # Of the most frequent ones alone is it known what they were.
        then = before.tags.get(tag) if before is not None else None
        found.append((tag[:TAG_MAX_CHARS], n, words["was"].replace("{n}", str(then)) if then is not None else ""))
    return found


def _most(counted: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))


def _said(words: Mapping[str, Any], one: Quote, public_url: str) -> dict[str, Any]:
    where = f"cases/{one.case_id}" if one.case_id is not None else f"feedback/{one.feedback_id}"
    about = [words["kinds"].get(one.kind, one.kind)]
    if one.priority in ("urgent", "high"):
        about.insert(0, words["priorities"][one.priority])
    return {
        "words": one.words,
        "language": language_tag(one.language) if one.language != "und" else None,
        "about": [*about, *(tag[:TAG_MAX_CHARS] for tag in one.tags)],
        "person": one.person,
        "link": f"{public_url}/{where}",
        "label": words["see_case"] if one.case_id is not None else words["see_feedback"],
    }


def _only(words: Mapping[str, Any], subscription: Subscription) -> str | None:
    only = subscription.only
    kinds = [words["kinds"].get(kind, kind) for kind in sorted(only.kinds)]
    named = [*sorted(only.accounts), *sorted(only.tiers), *kinds]
    return f"{words['only']}{', '.join(named)}" if named else None


def _read_words(language: MailLanguage) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((_TEMPLATES / f"digest.{language}.yaml").read_text(encoding="utf-8"))
    return found


_WORDS: Mapping[MailLanguage, Mapping[str, Any]] = {language: _read_words(language) for language in LANGUAGES}
_HTML = environment(html=True).get_template("digest.html")
_TEXT = environment(html=False).get_template("digest.txt")
