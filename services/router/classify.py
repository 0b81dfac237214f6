"""What a text and its scores say before any rule is asked: sentiment, emotion, kind, and what presses.

The prior is a lexicon's, so it is cheap, explainable and wrong in known ways: it sees words, not meaning. A rule
always overrules it. Negation turns the next word of feeling within a few words of the same clause ("not good",
"不是很好"), and makes it milder; "very" and "有点" change its weight. A score that the customer gave says more about
their feeling than our reading of their words, so it weighs more.

Praise is owed no answer, so it is the kind that is hardest to be: a word of praise that nothing turns, no other side
("but"), and more than a thank-you at the end. What looks like praise and is not proved becomes a comment.
"""

import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from services.router.feedback import Score
from services.router.feelings import DELIGHT, DISAPPOINTMENT, NEGATIVE, POSITIVE, THANKS
from services.router.lexicons import AMBIGUOUS, CONTRASTS, FACE, NEGATES, NOISE, WEIGHS
from services.router.matcher import Hit, Scan
from services.router.negation import denied, sides

NEGATION_REACH = 24
NEGATION_REACH_HAN = 15
"""Bytes between a negation and what it negates: three or four words, or five characters of Chinese."""
FACTOR_REACH = 8
SOFTENING = 8.0
"""How much feeling makes half of the scale: one strong word leaves room for more."""
SCORE_SHARE = 0.65
LABEL_AT = 0.2
LOW_SCORE = -0.75
"""At or below: nps 0–2, one star. Worth an earlier look."""
MIN_KIND_WEIGHT = 1.0
MOST_ANGER, MOST_JOY = -3.0, 5.0
"""What a total of words adds to the kind, at most."""
FAINT = 0.6
"""A word up to here makes no praise by itself: quick, better, 便宜."""
BYTES_PER_JOY = 100
"""Praise of 1 carries so much text. More than that is about something else, and a "nice" was said in passing."""
BESIDE_COURTESY = 8
"""Bytes that are no known word, beside a thank-you that is nearly the whole text."""
NOISE_MAX_BYTES = 50

_clause_ends = re.compile("[.,;:!?\n]|\u00e3\u0080[\u0081\u0082]").search
_ends_face = frozenset(" .,!?~()").__contains__
_find_letter = re.compile(r"[^\W_]").search


class Emotion(msgspec.Struct, frozen=True, gc=False):
    """`shared.events.feedback.Emotion`."""

    label: str
    words: list[str]


class Urgency(msgspec.Struct, frozen=True, gc=False):
    """`shared.events.feedback.Urgency`."""

    cause: str
    words: list[str]


class Prior(msgspec.Struct, frozen=True, gc=False):
    sentiment: str
    feeling: float
    """−1 to 1; how far from 0 is also how sure it is."""
    felt: list[str]
    """The words that showed it, as they are in the lexicon, `not …` where turned."""
    scores: list[str]
    """The scores that showed it: `nps 3`."""
    kind: str
    kind_confidence: float
    kind_words: list[str]
    urgency: int
    """2: urgent, 1: high, 0: nothing said."""
    causes: list[Urgency]
    low_score: bool
    emotion: Emotion | None = None


def classify(
    scan: Scan, scores: Sequence[Score], ranges: Mapping[str, tuple[float, float]], tongues: int = AMBIGUOUS
) -> Prior:
    """`ranges`: the least and the most of each metric. `tongues`: up to which of the lexicon's to read the text as."""
    data, hits = scan.data, scan.words
    if tongues < AMBIGUOUS:
        hits = [hit for hit in hits if hit[2][8] <= tongues]
    total = 0.0
    joy = 0.0  # of the words of praise that nothing turns
    contrast = False
    courtesies: list[tuple[str, float]] = []
    urgency = 0
    felt: list[str] = []
    cues: dict[str, list[str]] = {}
    weights: dict[str, float] = {}
    urgent: dict[str, list[str]] = {}
    moods: dict[str, float] = {}
    mood_words: dict[str, list[str]] = {}
    negator_end = factor_end = -1000
    factor = 1.0
    for start, end, (word, polarity, role, entry_factor, kind, weight, haste, turned, tongue, emotion, cause) in hits:
        if role:
            if role == NEGATES:
                negator_end = end
                continue
            if role == WEIGHS:
                factor, factor_end = entry_factor, end
                continue
            if role == CONTRASTS:
                contrast, negator_end = True, -1000
                continue
            if role == FACE and not _ends_face(data[end]):
                continue
            # What follows a thank-you in Han is what for.
            if polarity > 0 and (role == FACE or not "\xe4" <= data[end] <= "\xe9"):
                courtesies.append((word, polarity))
                continue
        negated = start - negator_end <= NEGATION_REACH and _reaches(data[negator_end:start])
        if negated and turned > 0:
            negated, negator_end = False, -1000
        if tongue < 0 and not negated:
            negated = denied(*sides(data, start, end))
        if polarity:
            if start - factor_end <= FACTOR_REACH:
                polarity *= factor
            if negated:
                polarity *= turned
                if turned:
                    negator_end = -1000
                    felt.append("not " + word)
            else:
                felt.append(word)
                if polarity > FAINT:
                    joy += polarity
            total += polarity
        if negated:
            if emotion == DELIGHT:
                _add(moods, mood_words, DISAPPOINTMENT, "not " + word, 1.0)
            continue
        if emotion:
            _add(moods, mood_words, emotion, word, abs(polarity) or 1.0)
        if kind:
            if kind in weights:
                weights[kind] += weight
                cues[kind].append(word)
            else:
                weights[kind] = weight
                cues[kind] = [word]
        if haste:
            urgency = max(urgency, haste)
            urgent.setdefault(cause, []).append(word)
    if courtesies and _nearly_all(data, hits):
        polarity = sum(polarity for _, polarity in courtesies)
        total += polarity
        joy += polarity
        felt += [word for word, _ in courtesies]
        if polarity > 0:
            _add(moods, mood_words, THANKS, courtesies[0][0], polarity)
    feeling = total / math.sqrt(total * total + SOFTENING)
    known: list[str] = []
    low = False
    if scores:
        feeling, known, low = _with_scores(feeling if felt else None, scores, ranges)
    feeling = int(feeling * 1000) / 1000
    sentiment = "positive" if feeling >= LABEL_AT else "negative" if feeling <= -LABEL_AT else "neutral"
    noise = not felt and len(data) <= NOISE_MAX_BYTES and _is_noise(data[1:-1].encode("latin-1").decode())
    if len(data) == 2 or (noise and known):
        kind, confidence = _kind_of_score(sentiment, feeling)
    elif noise:
        kind, confidence = "noise", 0.9
    else:
        praises = joy * BYTES_PER_JOY >= len(data) and not contrast
        kind, confidence = _kind(data, weights, total, sentiment, praises)
    if kind == "praise" and urgency == 1:
        urgency, urgent = 0, {}  # "they answered immediately" asks for nothing
    return Prior(
        sentiment,
        feeling,
        felt,
        known,
        kind,
        confidence,
        cues.get(kind, _NOTHING),
        urgency,
        [Urgency(cause, shown(words)) for cause, words in urgent.items()] if urgent else _NO_CAUSES,
        low,
        _emotion(moods, mood_words, sentiment) if moods else None,
    )


MAX_SHOWN_WORDS = 5
_NOTHING: list[str] = []
_NO_CAUSES: list[Urgency] = []


def shown(words: list[str]) -> list[str]:
    """The first few, each once."""
    return words if len(words) == 1 else list(dict.fromkeys(words))[:MAX_SHOWN_WORDS]


def _add(moods: dict[str, float], words: dict[str, list[str]], emotion: str, word: str, weight: float) -> None:
    moods[emotion] = moods.get(emotion, 0.0) + weight
    words.setdefault(emotion, []).append(word)


def _emotion(moods: Mapping[str, float], words: Mapping[str, list[str]], sentiment: str) -> Emotion | None:
    """The one that weighs most, of those that go with the sentiment first. Nobody who complains is answered as if delighted."""
    sides = (POSITIVE, NEGATIVE) if sentiment == "positive" else (NEGATIVE, POSITIVE)
    for side in sides if sentiment != "negative" else (NEGATIVE,):
        found = max(side, key=lambda name: moods.get(name, 0.0))
        if found in moods:
            return Emotion(found, shown(words[found]))
    return None


def _reaches(between: str) -> bool:
    """`between`: bytes as characters, from the end of a negation to what may be negated."""
    return (len(between) <= NEGATION_REACH_HAN or between.isascii()) and _clause_ends(between) is None


def _with_scores(
    words: float | None, scores: Sequence[Score], ranges: Mapping[str, tuple[float, float]]
) -> tuple[float, list[str], bool]:
    """(feeling, the scores that say something, whether one is among the lowest)."""
    known: list[str] = []
    total, low = 0.0, False
    for score in scores:
        metric, value = score.metric, score.value
        if metric in ranges:
            unit = _unit(metric, value, ranges[metric])
            total += unit
            low = low or unit <= LOW_SCORE
            known.append(f"{metric} {value:g}")
    if not known:
        return words or 0.0, known, False
    mean = total / len(known)
    return mean if words is None else mean * SCORE_SHARE + words * (1 - SCORE_SHARE), known, low


def _unit(metric: str, value: float, bounds: tuple[float, float]) -> float:
    """The score on −1 to 1. NPS is no even scale: 0–6 are detractors, 7–8 passives."""
    if metric == "nps":
        unit = -1.0 + value / 10 if value < 7 else (value - 7) * 0.4
    else:
        least, most = bounds
        unit = 2 * (value - least) / (most - least) - 1 if most > least else 0.0
    return max(-1.0, min(1.0, unit))


def _nearly_all(data: str, hits: Sequence[Hit]) -> bool:
    """Whether a text holds little but words that we know."""
    return len(data) - 2 - sum(end - start for start, end, _ in hits) <= BESIDE_COURTESY


def _kind_of_score(sentiment: str, feeling: float) -> tuple[str, float]:
    return ("praise" if feeling >= 0.75 else "complaint" if sentiment == "negative" else "comment"), 0.5


def _kind(data: str, weights: dict[str, float], total: float, sentiment: str, praises: bool) -> tuple[str, float]:
    """The kind and how sure it is. `weights` by the words so far; the feeling adds its own."""
    if "?" in data:
        weights["question"] = weights.get("question", 0.0) + (1.5 if data[-2] == "?" else 0.75)
    if total < 0 or sentiment == "negative":
        weight = 0.75 if sentiment == "negative" else 0.5
        if total < 0:
            weight -= (total if total > MOST_ANGER else MOST_ANGER) * 0.5
        weights["complaint"] = weights.get("complaint", 0.0) + weight
    if not praises or sentiment == "negative":
        weights.pop("praise", None)
    elif sentiment == "positive" and total >= 0:
        weights["praise"] = weights.get("praise", 0.0) + 0.5 + (total if total < MOST_JOY else MOST_JOY) * 0.5
    if not weights:
        return "comment", 0.5
    kind, best, every = "comment", MIN_KIND_WEIGHT, 1.0
    for name, weight in weights.items():
        every += weight
        if weight > best or (weight == best and _TIES[name] < _TIES[kind]):
            kind, best = name, weight
    return kind, int(best / every * 100) / 100


def _is_noise(folded: str) -> bool:
    return folded.strip(" .!?~。") in NOISE or _find_letter(folded) is None


# Where two weigh the same, the one that costs more to overlook.
_TIES = {"bug": 0, "request": 1, "complaint": 2, "question": 3, "praise": 4, "noise": 5, "comment": 6}
