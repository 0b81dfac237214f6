"""(feedback, ruleset) → the decision, with the reason for each part of it. Pure and deterministic: the same event under
the same version is decided the same way by whoever takes over.

The prior (language, sentiment, emotion, kind, urgency) is taken from the text and the scores first; rules see it and overrule
it. A rule decides the team, or the judgement of the words does: a learnt model where there is one (`model.trained`), else
the lexicons' own leaning (`model.leanings`). Where neither says anything the default team owns it. Who is guessed rather
than known is said so (`triage`): better one team too many asked than a customer lost between two. An answer given on the
customer's page goes back to the team whose case it is about.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import msgspec

from services.router.actions import Draft, Held
from services.router.almost import almost
from services.router.classify import Emotion, Prior, Urgency, classify, shown
from services.router.conditions import Facts
from services.router.feedback import FeedbackValue, Score, convert
from services.router.feelings import NEGATIVE, POSITIVE, PRESSES, VIP
from services.router.lexicons import AMBIGUOUS, ANY, ENGLISH
from services.router.matcher import Scan
from services.router.model.evidence import DEFAULT_BIAS, TEAMS, Leaning, evidence, leaning, log_odds
from services.router.model.judge import Answer, Judge, Judged
from services.router.ruleset import Rule, Ruleset
from services.router.text import UNKNOWN, language_of, primary
from shared.events.feedback import Kind
from shared.folding import folded_utf8

LOOP_SOURCE = "loop"
GENERAL = "general"
OWES_NOTHING = frozenset({"praise", "noise"})
KEY_TIERS = frozenset({"enterprise", "vip", "premium", "platinum", "strategic"})
"""Customers whose trouble is looked at one step earlier."""
STEP_UP = {"low": "normal", "normal": "high", "high": "urgent", "urgent": "urgent"}
TRIAGE_BELOW = 0.5
"""A team that was guessed with less than this is looked at by somebody who knows."""
NOBODY_ASKED_FOR = 0.9
"""So sure must a learnt model be that no answer is owed, where the lexicons think otherwise."""
SPEAKS_FOR_A_TEAM = frozenset({"bug", "request", "complaint", "question"})
LEXICONS = "lexicons"
"""The model's version while nobody has taught anything."""

Reason = dict[str, Any] | msgspec.Raw
"""`shared.events.feedback.Reason`; those that are the same for many events are kept as they are written."""


class Sentiment(msgspec.Struct, frozen=True, gc=False):
    label: str
    score: float


class Routing(msgspec.Struct, gc=False, omit_defaults=True):
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
    triage: bool
    reasons: list[Reason]
    emotion: Emotion | None
    urgency: list[Urgency]
    tier: str | None = None
    """What a rule sets; left out where none does."""
    person: str | None = None
    rota: str | None = None
    held: Held | None = None


class Discarded(NamedTuple):
    """A rule says that nobody gets it."""

    why: str
    rule: str
    reasons: list[Reason]


_Decided = tuple[Routing | Discarded, list[Rule], Facts | None]
"""The decision, the rules that hold, and what they were asked; None where none was."""


class Seen(NamedTuple):
    """What the text and the scores say, before any rule is asked."""

    text: "Text"
    prior: Prior
    priority: str
    leant: Leaning
    judged: Judged | None
    language: str
    language_reason: Reason
    priority_reason: Reason | None
    urgency: list[Urgency]
    owes: bool
    """Whether an answer is owed, as far as the kind says."""


class Text(NamedTuple):
    """What stands in the text of some feedback."""

    folded: bytes
    scan: Scan


def route(
    feedback: FeedbackValue, ruleset: Ruleset, history: bool = False, seen: Seen | None = None
) -> Routing | Discarded:
    """`feedback` as `feedback.read_feedback` gives it; `seen` where `see` was asked before, for the same ruleset."""
    return _decide(feedback, seen or _see_one(feedback, ruleset), ruleset, history)[0]


def explain(ruleset: Ruleset, feedback: Mapping[str, Any]) -> dict[str, Any]:
    """One full decision as plain data, and the rules that almost did; nothing stored. Raises `Unreadable` (a `Rejected`) for
    what is no feedback."""
    decision, rules, asked = _decided(ruleset, feedback)
    return _plain(ruleset, decision, rules) | {"almost": almost(ruleset, asked, rules) if asked is not None else []}


def decided(ruleset: Ruleset, feedback: Mapping[str, Any]) -> dict[str, Any]:
    """`explain` without a look at every other rule: for thousands of examples."""
    decision, rules, _ = _decided(ruleset, feedback)
    return _plain(ruleset, decision, rules)


def _decided(ruleset: Ruleset, feedback: Mapping[str, Any]) -> _Decided:
    readable = convert(feedback)
    return _decide(readable, _see_one(readable, ruleset), ruleset, False)


def _plain(ruleset: Ruleset, decision: Routing | Discarded, rules: list[Rule]) -> dict[str, Any]:
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
            "urgency": [],
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


def observed(feedback: Mapping[str, Any], ruleset: Ruleset) -> tuple[bytes, list[float]]:
    """The folded text and the evidence beside it, as a model is asked for them: what it is to learn from."""
    readable = convert(feedback)
    text = look(readable, ruleset)
    return text.folded, _evidence(_by_lexicons(readable, text, ruleset))


def _decide(feedback: FeedbackValue, seen: Seen, ruleset: Ruleset, history: bool) -> _Decided:
    folded, scan = seen.text
    prior, priority, language = seen.prior, seen.priority, seen.language
    loop = _loop(feedback) if feedback.source == LOOP_SOURCE else None

    reasons: list[Reason] = []
    facts = Facts(feedback, scan, prior, language, priority, seen.urgency)
    asked: Facts | None = None
    answered = loop.get("team") if loop is not None else None
    if isinstance(answered, str) and answered in ruleset.teams:
        draft, rules, decider = Draft(team=answered), _NO_RULES, None
        reasons.append(_LOOP_REASON)
    else:
        asked = facts
        rules = ruleset.matching(facts)
        draft, decider = _applied(rules, facts, reasons)
        if draft.discarded is not None:
            return Discarded(draft.discarded, rules[-1].name, reasons), rules, asked
    triage = False
    if draft.team is not None:
        team, decided_by, confidence = draft.team, "rule", 1.0
    elif (guess := _guess(seen, folded, ruleset, reasons)) is not None:
        (team, confidence), decided_by = guess, "model"
        triage = confidence < TRIAGE_BELOW
    else:
        team, decided_by, confidence = ruleset.default_team, "default", _blind(len(ruleset.teams))
        reasons.append(_default_reason(team))

    judged, version = seen.judged, ruleset.judge.version if ruleset.judge is not None else LEXICONS
    reasons.append(_learnt_kind(judged.kind, version) if judged and judged.kind else _kind_reason(prior, folded != b""))
    reasons.append(
        _learnt_sentiment(judged.sentiment, version)
        if judged and judged.sentiment and not prior.scores
        else _sentiment_reason(prior)
    )
    if prior.emotion is not None:
        reasons.append(_emotion_reason(prior.emotion))
    by = None
    if draft.priority is not None:
        priority = draft.priority
    elif seen.priority_reason is not None:
        reasons.append(by := seen.priority_reason)
    if seen.urgency and not (isinstance(by, dict) and by.get("urgency") == seen.urgency):
        reasons.append(_urgency_reason(seen.urgency))
    reasons.append(seen.language_reason)
    follow_up = draft.follow_up if draft.follow_up is not None else seen.owes
    if loop is not None:
        follow_up = loop.get("solved") is not True
        reasons.append(_UNSOLVED if follow_up else _SOLVED)
    if draft.held is not None:
        reasons.append(_held_reason(draft.held))
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
        triage,
        reasons,
        prior.emotion,
        seen.urgency,
        draft.tier,
        draft.person,
        draft.rota,
        draft.held,
    )
    return decision, rules, asked


_NO_RULES: list[Rule] = []
_NO_SCORES: list[Score] = []


def _applied(rules: list[Rule], facts: Facts, reasons: list[Reason]) -> tuple[Draft, Rule | None]:
    """What these rules make of it, and the one that decides."""
    draft = Draft(received_at=facts.feedback.received_at)
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


# ── judgement: the lexicons', and what was learnt over it ──


class _Prior(NamedTuple):
    """What the lexicons say."""

    text: Text
    leant: Leaning
    prior: Prior
    priority: str
    language: str
    language_reason: Reason
    priority_reason: Reason | None


def _by_lexicons(feedback: FeedbackValue, text: Text, ruleset: Ruleset) -> _Prior:
    folded, scan = text
    language, language_reason = _language(feedback.language, folded)
    tongues = AMBIGUOUS if language in _READ_WHOLE else _tongues(language, feedback, folded)
    prior = classify(scan, feedback.scores or _NO_SCORES, ruleset.metrics, tongues)
    priority, priority_reason = _haste(prior)
    first = ruleset.leanings_from
    leant = leaning([term - first for term in scan.terms if term >= first], prior)
    return _Prior(text, leant, prior, priority, language, language_reason, priority_reason)


def _evidence(known: _Prior) -> list[float]:
    return evidence(known.leant, known.prior, known.priority, primary(known.language), known.text.folded)


def see(looked: Sequence[tuple[FeedbackValue, Text]], ruleset: Ruleset) -> list[Seen]:
    """What is said of each of these, which `look` has looked at. A model is asked about all of them at once: that costs it a
    third of what one after the other does, and it says the same."""
    known = [_by_lexicons(feedback, text, ruleset) for feedback, text in looked]
    judged: list[Judged | None] = [None] * len(known)
    if ruleset.judge is not None:
        worded = [number for number, one in enumerate(known) if one.text.folded]
        asked = [(known[number].text.folded, _evidence(known[number])) for number in worded]
        for number, said in zip(worded, ruleset.judge.judge_all(asked, ruleset.teams), strict=True):
            judged[number] = said
    return [_seen(feedback, one, said, ruleset) for (feedback, _), one, said in zip(looked, known, judged, strict=True)]


def _see_one(feedback: FeedbackValue, ruleset: Ruleset) -> Seen:
    return see([(feedback, look(feedback, ruleset))], ruleset)[0]


def _seen(feedback: FeedbackValue, known: _Prior, judged: Judged | None, ruleset: Ruleset) -> Seen:
    text, leant, prior, priority, language, language_reason, reason = known
    owes = prior.kind not in OWES_NOTHING
    if judged is not None and ruleset.judge is not None:
        if judged.priority is not None:
            priority, reason = judged.priority.answer, _learnt_priority(judged.priority, ruleset.judge.version)
        if judged.kind is not None:
            kind, confidence = judged.kind
            owes = kind not in OWES_NOTHING or (owes and confidence < NOBODY_ASKED_FOR)
            prior = msgspec.structs.replace(prior, kind=kind, kind_confidence=confidence, kind_words=[])
        if judged.sentiment is not None and not prior.scores:
            # A score that the customer gave says more of their feeling than anything learnt from words.
            feeling = int(judged.feeling * 1000) / 1000
            prior = msgspec.structs.replace(prior, sentiment=judged.sentiment.answer, feeling=feeling)
            if prior.sentiment == "negative" and prior.emotion is not None and prior.emotion.label in POSITIVE:
                prior = msgspec.structs.replace(prior, emotion=None)
    urgency = prior.causes
    tier = feedback.customer.tier if feedback.customer is not None else None
    if tier and tier.lower() in KEY_TIERS and (prior.sentiment == "negative" or prior.kind == "bug"):
        priority, reason = _stepped_up(tier, priority)
        urgency = [*urgency, Urgency(VIP, [tier])]
    return Seen(text, prior, priority, leant, judged, language, language_reason, reason, urgency, owes)


def _guess(seen: Seen, folded: bytes, ruleset: Ruleset, reasons: list[Reason]) -> tuple[str, float] | None:
    """The team that the words speak for and how sure that is; None where they speak for nobody."""
    if seen.judged is not None and seen.judged.team is not None and ruleset.judge is not None:
        reasons.append(_learnt_team(seen.judged, seen.judged.team, ruleset.judge))
        return seen.judged.team
    leant, kind = seen.leant, seen.prior.kind
    if not leant.words and (kind not in SPEAKS_FOR_A_TEAM or not folded):
        return None
    odds = log_odds(leant.scores)
    known = {team: odds[team] for team in TEAMS if team in ruleset.teams and odds[team]}
    if not known:
        return None
    known[ruleset.default_team] = known.get(ruleset.default_team, 0.0) + DEFAULT_BIAS
    team = max(known, key=lambda name: known[name])
    strangers = len(ruleset.teams) - len(known)  # of whom nothing is known, and so nothing against
    whole = strangers + sum(math.exp(odd) for odd in known.values())
    confidence = int(math.exp(known[team]) / whole * 100) / 100
    reasons.append(
        {
            "code": "model.team",
            "text": f"The words speak for {team}.",
            "words": shown(leant.words),
            "confidence": confidence,
            "model": LEXICONS,
        }
        if leant.words
        else _by_kind(team, kind, confidence)
    )
    return team, confidence


# ── priority and language ──


def _haste(prior: Prior) -> tuple[str, Reason | None]:
    priority = "normal"
    reason: Reason | None = None
    if prior.urgency:
        priority = "urgent" if prior.urgency == 2 else "high"
        words = shown([word for cause in prior.causes for word in cause.words])
        text = f"The words say that it is {priority}: {', '.join(PRESSES[cause.cause] for cause in prior.causes)}."
        reason = {"code": "priority.words", "text": text, "words": words, "urgency": prior.causes}
    elif prior.low_score and prior.sentiment == "negative":
        priority = "high"
        reason = {"code": "priority.score", "text": "The score is among the lowest.", "values": prior.scores}
    elif prior.kind in OWES_NOTHING:
        priority, reason = "low", _LOW
    return priority, reason


def _stepped_up(tier: str, priority: str) -> tuple[str, Reason]:
    stepped = STEP_UP[priority]
    return stepped, {
        "code": "priority.tier",
        "text": f"A customer of this tier is in trouble: {stepped} instead of {priority}.",
        "values": [f"customer.tier {tier}"],
    }


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
def _by_kind(team: str, kind: str, confidence: float) -> Reason:
    return _fixed(
        "model.team",
        f"No word speaks for a team; a {kind} is for {team}.",
        words=[],
        confidence=confidence,
        model=LEXICONS,
    )


def _held_reason(held: Held) -> Reason:
    text = f"It came within that time, so nobody is troubled by it before {held.until}: {held.because}."
    return {"code": "held.until", "text": text, "until": held.until, "because": held.because}


def _learnt_team(judged: Judged, answer: Answer, judge: Judge) -> Reason:
    team, confidence = answer
    return {
        "code": "model.team",
        "text": f"By what was learnt from people's decisions it is for {team}.",
        "words": judge.words(judged, "team", team),
        "confidence": confidence,
        "model": judge.version,
    }


def _learnt_kind(answer: Answer, version: str) -> Reason:
    return _learnt("kind.model", _KIND_BY_WORDS[answer.answer], answer.confidence, version)


def _learnt_sentiment(answer: Answer, version: str) -> Reason:
    return _learnt("sentiment.model", _BY_WORDS[answer.answer], answer.confidence, version)


def _learnt_priority(answer: Answer, version: str) -> Reason:
    return _learnt("priority.model", f"The words say that it is {answer.answer}.", answer.confidence, version)


@lru_cache(maxsize=4096)
def _learnt(code: str, text: str, confidence: float, model: str) -> Reason:
    return _fixed(code, text, confidence=confidence, model=model)


@lru_cache(maxsize=1024)
def _default_reason(team: str) -> Reason:
    return _fixed(
        "default.team", f"No rule assigns it and no word speaks for a team, so it goes to the default team, {team}."
    )


def _emotion_reason(emotion: Emotion) -> Reason:
    text = _FEELING[emotion.label]
    return {"code": "emotion.words", "text": text, "emotion": emotion.label, "words": emotion.words}


_FEELING = {label: f"The words are those of {label}." for label in (*NEGATIVE, *POSITIVE)}


def _urgency_reason(urgency: list[Urgency]) -> Reason:
    told = ", ".join(f"{PRESSES[one.cause]} ({', '.join(one.words)})" for one in urgency)
    return {"code": "urgency.causes", "text": f"What presses: {told}.", "urgency": urgency}


def _kind_reason(prior: Prior, worded: bool) -> Reason:
    if prior.kind_words:
        return {
            "code": "kind.words",
            "text": _KIND_BY_WORDS[prior.kind],
            "words": shown(prior.kind_words),
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
            "words": shown(prior.felt),
        }
    if prior.felt:
        return {"code": "sentiment.words", "text": _BY_WORDS[prior.sentiment], "words": shown(prior.felt)}
    return _NO_FEELING


@lru_cache(maxsize=1024)
def _declared(language: str) -> Reason:
    return _fixed("language.declared", f"The sender says {language}.")


@lru_cache(maxsize=1024)
def _detected(language: str) -> Reason:
    if language == UNKNOWN:
        return _fixed("language.unknown", "Neither script nor common words tell the language.")
    return _fixed("language.detected", f"By script and common words: {language}.")
