"""What lexicons, marks and script say of a text, as numbers beside its words: every head of a model sees all of them. ●

Of each head the first of them are its prior: what it would say if nobody had taught it anything, as log-odds. A model
begins by believing them (`learner`), so what it says with no example at all is what the lexicons say.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

from services.router.classify import LABEL_AT, Prior
from services.router.model.leanings import KIND_LEANS, LEANINGS, PRODUCT, SALES, SUPPORT
from shared.events.feedback import Kind, Priority, SentimentLabel

TEAMS = (PRODUCT, SUPPORT, SALES)
KINDS: tuple[str, ...] = get_args(Kind)
SENTIMENTS: tuple[str, ...] = get_args(SentimentLabel)
PRIORITIES: tuple[str, ...] = get_args(Priority)
LANGUAGES = ("en", "zh", "ja", "es", "de", "fr", "pt")
PRIORS: Mapping[str, tuple[str, ...]] = {
    "team": TEAMS,
    "kind": KINDS,
    "sentiment": SENTIMENTS,
    "priority": PRIORITIES,
}
"""By head, the answers that the lexicons know. A model may learn others for `team`."""

SURE = 3.0
"""The log-odds of a team for which everything speaks."""
DEFAULT_BIAS = 0.5
"""Who is asked for nothing in particular is support's."""
DECIDED = 2.0
"""The log-odds of what the lexicons decided, at full confidence."""
UNSAID = 0.5
"""That of a normal priority: nothing said that it is another."""
FELT = 4.0
LONG_CHARS = 500.0


class Leaning(NamedTuple):
    """For whom the words speak."""

    scores: Mapping[str, float]
    words: list[str]
    """Those that do, the plainest first."""


def leaning(terms: Iterable[int], prior: Prior) -> Leaning:
    """`terms`: which of `leanings.LEANINGS` stand in the text, by their number."""
    product = support = sales = 0.0
    seen: list[tuple[float, str]] = []
    for number in terms:
        for_product, for_support, for_sales, word = _LEANS[number]
        product += for_product
        support += for_support
        sales += for_sales
        seen.append(word)
    sure = prior.kind_confidence
    for_product, for_support, for_sales = _KINDS_LEAN[prior.kind]
    scores = {
        PRODUCT: product + for_product * sure,
        SUPPORT: support + for_support * sure,
        SALES: sales + for_sales * sure,
    }
    seen.sort()
    return Leaning(scores, [word for _, word in seen])


def _of_each(speaks: Mapping[str, float]) -> tuple[float, float, float]:
    return speaks.get(PRODUCT, 0.0), speaks.get(SUPPORT, 0.0), speaks.get(SALES, 0.0)


_LEANS = tuple((*_of_each(speaks), (-max(speaks.values()), word.removesuffix("*"))) for word, speaks in LEANINGS)
_KINDS_LEAN = {kind: _of_each(speaks) for kind, speaks in KIND_LEANS.items()}


def log_odds(scores: Mapping[str, float]) -> dict[str, float]:
    """A share of what speaks for anybody: a long text is no surer than a short one that says it plainly."""
    total = 1.0 + sum(scores.values())
    return {team: SURE * score / total for team, score in scores.items()}


def evidence(leant: Leaning, prior: Prior, priority: str, language: str, folded: bytes) -> list[float]:
    """The numbers, in the order that a model learnt them in: the four priors, then the rest."""
    teams = log_odds(leant.scores)
    chars = len(folded)
    feeling = prior.feeling
    return [
        teams[PRODUCT],
        teams[SUPPORT] + DEFAULT_BIAS,
        teams[SALES],
        *(DECIDED * prior.kind_confidence if kind == prior.kind else 0.0 for kind in KINDS),
        *_feelings(feeling),
        *(0.0 if name != priority else UNSAID if name == "normal" else DECIDED for name in PRIORITIES),
        feeling,
        abs(feeling),
        1.0 if prior.felt else 0.0,
        float(prior.urgency),
        1.0 if b"?" in folded else 0.0,
        min(2.0, chars / LONG_CHARS),
        math.log1p(chars) / 3,
        *(1.0 if name == language else 0.0 for name in LANGUAGES),
    ]


def _feelings(feeling: float) -> Sequence[float]:
    """Each label wins where the lexicons would give it."""
    found = {"positive": FELT * (feeling - LABEL_AT), "negative": FELT * (-feeling - LABEL_AT)}
    return [found.get(label, 0.0) for label in SENTIMENTS]


def prior_places() -> dict[str, range]:
    """Where in the evidence each head's prior stands."""
    places, start = {}, 0
    for head, answers in PRIORS.items():
        places[head] = range(start, start + len(answers))
        start += len(answers)
    return places


EVIDENCE = sum(map(len, PRIORS.values())) + 7 + len(LANGUAGES)
