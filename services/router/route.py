"""(feedback, ruleset) → the decision, with the reason for each part of it. Pure and deterministic: the same event under
the same version is decided the same way by whoever takes over.

The prior (language, sentiment, kind, urgency) is taken from the text and the scores first; rules see it and overrule
it. A rule decides the team or nobody does, and then the default team owns it: better one team too many asked than a
customer lost between two. An answer given on the customer's page goes back to the team whose case it is about.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import msgspec

from services.router.actions import Draft
from services.router.classify import Prior, classify
from services.router.conditions import Facts
from services.router.feedback import FeedbackValue, Score, convert
from services.router.lexicons import AMBIGUOUS, ANY, ENGLISH
from services.router.matcher import Scan
from services.router.ruleset import Rule, Ruleset
from services.router.text import UNKNOWN, folded_utf8, language_of, primary
from shared.events.feedback import Kind

LOOP_SOURCE = "loop"
GENERAL = "general"
OWES_NOTHING = frozenset({"praise", "noise"})
KEY_TIERS = frozenset({"enterprise", "vip", "premium", "platinum", "strategic"})
"""Customers whose trouble is looked at one step earlier."""
STEP_UP = {"low": "normal", "normal": "high", "high": "urgent", "urgent": "urgent"}
MAX_SHOWN_WORDS = 5

Reason = dict[str, Any] | msgspec.Raw
"""`shared.events.feedback.Reason`; those that are the same for many events are kept as they are written."""


class Sentiment(msgspec.Struct, frozen=True, gc=False):
    label: str
    score: float


class Routing(msgspec.Struct, gc=False):
    """`shared.events.feedback.Routing`, as it is written on the hot path; a test holds the two together."""

    role: str
    team: str
    watchers: list[str]
    tags: list[str]
    theme: str
    kind: str
    sentiment: Sentiment
    priority: str
    language: str
    confidence: float
    decided_by: str
    rule: str | None
    ruleset_version: str
    follow_up: bool
    history: bool
    reasons: list[Reason]


class Discarded(NamedTuple):
    """A rule says that nobody gets it."""

    why: str
    rule: str
    reasons: list[Reason]


class Text(NamedTuple):
    """What stands in the text of some feedback."""

    folded: bytes
    scan: Scan


def route(
    feedback: FeedbackValue, ruleset: Ruleset, history: bool = False, text: Text | None = None
) -> Routing | Discarded:
    """`feedback` as `feedback.read_feedback` gives it; `text` where `look` was asked before, for the same ruleset."""
    return _decide(feedback, text or look(feedback, ruleset), ruleset, history)[0]


def explain(ruleset: Ruleset, feedback: Mapping[str, Any]) -> dict[str, Any]:
    """One full decision as plain data, nothing stored. Raises `Unreadable` (a `Rejected`) for what is no feedback."""
    readable = convert(feedback)
    decision, rules = _decide(readable, look(readable, ruleset), ruleset, False)
    names = [rule.name for rule in rules]
    if isinstance(decision, Discarded):
        nothing = dict.fromkeys(field for field in Routing.__struct_fields__ if field != "role")
        found: dict[str, Any] = nothing | {
            "tags": [],
            "watchers": [],
            "sentiment": {"label": "neutral", "score": 0.0},
            "confidence": 1.0,
            "decided_by": "rule",
            "rule": decision.rule,
            "ruleset_version": ruleset.version,
            "follow_up": False,
            "reasons": msgspec.json.decode(msgspec.json.encode(decision.reasons)),
        }
        return found | {"rules": names, "discarded": decision.why}
    found = msgspec.json.decode(msgspec.json.encode(decision))
    del found["role"]
    return found | {"rules": names, "discarded": None}


def look(feedback: FeedbackValue, ruleset: Ruleset) -> Text:
    text, title = feedback.text, feedback.title
    folded = folded_utf8(f"{title}\n{text}" if title and text else text or title or "")
    return Text(folded, ruleset.matcher.scan(folded))


def _decide(
    feedback: FeedbackValue, text: Text, ruleset: Ruleset, history: bool
) -> tuple[Routing | Discarded, list[Rule]]:
    folded, scan = text
    language, language_reason = _language(feedback.language, folded)
    tongues = AMBIGUOUS if language in _READ_WHOLE else _tongues(language, feedback, folded)
    prior = classify(scan, feedback.scores or _NO_SCORES, ruleset.metrics, tongues)
    loop = _loop(feedback) if feedback.source == LOOP_SOURCE else None
    priority, priority_reason = _priority(feedback, prior)

    reasons: list[Reason] = []
    facts = Facts(feedback, scan, prior, language, priority)
    answered = loop.get("team") if loop is not None else None
    if isinstance(answered, str) and answered in ruleset.teams:
        draft, rules, decider = Draft(team=answered), _NO_RULES, None
        reasons.append(_LOOP_REASON)
    else:
        rules = ruleset.matching(facts)
        draft, decider = _applied(rules, facts, reasons)
        if draft.discarded is not None:
            return Discarded(draft.discarded, rules[-1].name, reasons), rules
    if draft.team is not None:
        team, decided_by, confidence = draft.team, "rule", 1.0
    else:
        team, decided_by, confidence = ruleset.default_team, "default", _blind(len(ruleset.teams))
        reasons.append(_default_reason(team))

    reasons.append(_kind_reason(prior, folded != b""))
    reasons.append(_sentiment_reason(prior))
    if draft.priority is not None:
        priority = draft.priority
    elif priority_reason is not None:
        reasons.append(priority_reason)
    reasons.append(language_reason)
    follow_up = draft.follow_up if draft.follow_up is not None else prior.kind not in OWES_NOTHING
    if loop is not None:
        follow_up = loop.get("solved") is not True
        reasons.append(_UNSOLVED if follow_up else _SOLVED)
    if team in draft.watchers:
        draft.watchers.remove(team)
    decision = Routing(  # in the order of its members: naming them costs as much as making it
        "owner",
        team,
        draft.watchers,
        draft.tags,
        (decider.theme or GENERAL) if decider is not None else GENERAL,
        prior.kind,
        Sentiment(prior.sentiment, prior.feeling),
        priority,
        language,
        confidence,
        decided_by,
        decider.name if decider is not None else None,
        ruleset.version,
        follow_up,
        history,
        reasons,
    )
    return decision, rules


_NO_RULES: list[Rule] = []
_NO_SCORES: list[Score] = []


def _applied(rules: list[Rule], facts: Facts, reasons: list[Reason]) -> tuple[Draft, Rule | None]:
    """What these rules make of it, and the one that decides."""
    draft = Draft()
    for rule in rules:
        for step in rule.then:
            step.apply(draft, step.params)
        reasons.append(_rule_reason(rule, facts))
    return draft, rules[-1] if rules and rules[-1].decides else None


def _loop(feedback: FeedbackValue) -> Mapping[str, Any] | None:
    found = (feedback.attributes or {}).get("loop")
    return found if isinstance(found, dict) else None


@lru_cache(maxsize=64)
def _blind(teams: int) -> float:
    """What a guess among so many teams is worth."""
    return round(1 / teams, 2)


# ── priority and language ──


def _priority(feedback: FeedbackValue, prior: Prior) -> tuple[str, Reason | None]:
    priority = "normal"
    reason: Reason | None = None
    if prior.urgency:
        priority = "urgent" if prior.urgency == 2 else "high"
        words = _shown(prior.urgency_words)
        reason = {"code": "priority.words", "text": f"The words say that it is {priority}.", "words": words}
    elif prior.low_score and prior.sentiment == "negative":
        priority = "high"
        reason = {"code": "priority.score", "text": "The score is among the lowest.", "values": prior.scores}
    elif prior.kind in OWES_NOTHING:
        priority, reason = "low", _LOW
    if prior.sentiment == "negative" or prior.kind == "bug":
        tier = feedback.customer.tier if feedback.customer is not None else None
        if tier and tier.lower() in KEY_TIERS:
            stepped = STEP_UP[priority]
            reason = {
                "code": "priority.tier",
                "text": f"A customer of this tier is in trouble: {stepped} instead of {priority}.",
                "values": [f"customer.tier {tier}"],
            }
            priority = stepped
    return priority, reason


def _language(declared: str | None, folded: bytes) -> tuple[str, Reason]:
    if declared and declared != UNKNOWN:
        return declared, _declared(declared)
    language = language_of(folded) if folded else UNKNOWN
    return language, _detected(language)


_READ_WHOLE = frozenset({"en", "zh", "ja", "ko", "th", "ru", "uk", "el", "he", "ar", "hi"})
"""English, and those of other letters: an English word in them is one. In the others it may be theirs."""
_find_accent = re.compile("[\u00c0-\u024f\u1e00-\u1eff]").search


def _tongues(language: str, feedback: FeedbackValue, folded: bytes) -> int:
    """Which of the lexicon's words may be read as what they are in English, where that is not plain."""
    if language == UNKNOWN:
        return AMBIGUOUS if _find_accent(f"{feedback.title or ''}{feedback.text or ''}") is None else ENGLISH
    if feedback.language is None:
        return ANY
    # What is declared is often the customer's locale, whatever they write in.
    return AMBIGUOUS if primary(language) in _READ_WHOLE or language_of(folded) == "en" else ANY


# ── reasons: sentences for people, with the words or values that were seen ──


def _fixed(code: str, text: str, **more: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"code": code, "text": text, **more}))


_LOOP_REASON = _fixed("loop.answer", "An answer from the customer's page goes to the team of its case.")
_SOLVED = _fixed("loop.solved", "The customer says that it is solved: no answer is owed.")
_UNSOLVED = _fixed("loop.unsolved", "The customer says that it is not solved: an answer is owed.")
_LOW = _fixed("priority.kind", "Nothing has to be done about it soon.")
_NO_FEELING = _fixed("sentiment.none", "No word or score shows a feeling.")
_BY_WORDS = {label: f"The words are {label}." for label in ("positive", "neutral", "negative")}
_BY_SCORE = {label: f"The score given is {label}." for label in ("positive", "neutral", "negative")}
_BY_SCORE_AND_WORDS = {label: f"Score and words together are {label}." for label in ("positive", "neutral", "negative")}
_KIND_BY_WORDS = {
    kind: f"The words are those of {kind if kind in ('praise', 'noise') else f'a {kind}'}." for kind in get_args(Kind)
}


def _rule_reason(rule: Rule, facts: Facts) -> Reason:
    seen = rule.when.why(facts)
    because = f" because {' and '.join(seen)}" if seen else ""
    return {"code": "rule.matched", "text": f'Rule "{rule.name}" holds{because}: {rule.done}.', "rule": rule.name}


@lru_cache(maxsize=1024)
def _default_reason(team: str) -> Reason:
    return _fixed("default.team", f"No rule assigns it, so it goes to the default team, {team}.")


def _kind_reason(prior: Prior, worded: bool) -> Reason:
    if prior.kind_words:
        return {
            "code": "kind.words",
            "text": _KIND_BY_WORDS[prior.kind],
            "words": _shown(prior.kind_words),
            "confidence": prior.kind_confidence,
        }
    return _kind_by_feeling(prior.kind, prior.kind_confidence, worded)


@lru_cache(maxsize=1024)
def _kind_by_feeling(kind: str, confidence: float, worded: bool) -> Reason:
    if not worded:
        text = f"There is a score and no text: {kind}."
    elif kind == "comment":
        text = "No word asks, complains or praises: comment."
    elif kind == "question":
        text = "It has a question mark."
    elif kind == "noise":
        text = "It says nothing that can be acted on."
    else:
        text = f"The feeling makes it a {kind}."
    return _fixed("kind.prior", text, confidence=confidence)


def _sentiment_reason(prior: Prior) -> Reason:
    if prior.scores:
        return {
            "code": "sentiment.score",
            "text": _BY_SCORE_AND_WORDS[prior.sentiment] if prior.felt else _BY_SCORE[prior.sentiment],
            "values": prior.scores,
            "words": _shown(prior.felt),
        }
    if prior.felt:
        return {"code": "sentiment.words", "text": _BY_WORDS[prior.sentiment], "words": _shown(prior.felt)}
    return _NO_FEELING


def _shown(words: list[str]) -> list[str]:
    """The first few, each once."""
    return words if len(words) == 1 else list(dict.fromkeys(words))[:MAX_SHOWN_WORDS]


@lru_cache(maxsize=1024)
def _declared(language: str) -> Reason:
    return _fixed("language.declared", f"The sender says {language}.")


@lru_cache(maxsize=1024)
def _detected(language: str) -> Reason:
    if language == UNKNOWN:
        return _fixed("language.unknown", "Neither script nor common words tell the language.")
    return _fixed("language.detected", f"By script and common words: {language}.")
