"""Examples → a model. ●

Each head is a multinomial logistic regression over the text's words and n-grams (term frequencies damped by their
logarithm, rare ones weighing more, each of the two blocks of length one) and over the lexicons' evidence. It is fitted
whole, to where nothing improves any more, so what comes out depends on the examples and not on luck; and it is pulled
towards the lexicons' prior, so few examples move it little (maximum a posteriori, not maximum likelihood). An answer that
no example gives was never denied by one either: it keeps what the lexicons say for it, the less the longer it is missed.

How sure it may be is told by examples that it was not fitted to: each of several parts of them is judged by a model of
the other parts, and how often it was right at what distance between its two best answers becomes the confidence.

No sum here is left to a library for linear algebra: those add in an order that depends on the machine's caches, and the
same examples must make the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.router.model.evidence import EVIDENCE, PRIORS, prior_places
from services.router.model.grams import FEATURES, grams
from services.router.model.trained import EVIDENCE_SCALE, Head, Trained, scaled
from shared.errors import Rejected

Floats = NDArray[np.float32]

HEADS = tuple(PRIORS)
STRENGTH = 0.22
"""How much an example counts against the pull to the prior, for each root of how many there are: the first fifty are few
beside what the lexicons know, and of thousands each may be believed."""
ROUNDS = 80
SMALL_ENOUGH = 5e-5
MEMORY = 6
RARE_FROM = 300
"""With so many examples, a word of one alone is chance."""
BALANCE = {"team": 1.0, "kind": 0.7, "sentiment": 1.0, "priority": 1.0}
"""1: every answer counts the same together, however rare; 0: every example does."""
PARTS = 4
CROSS_UP_TO = 2_000
"""Up to so many examples each of the parts is held back in turn, beyond it only the first: that is enough to tell."""
NAIVE, SMOOTH = 0.4, 0.5
"""So much of what naive Bayes says is where the fit starts and is pulled to, once there are enough examples to count."""
ENOUGH_TO_COUNT = 500
MISSED_AFTER = 50
"""After so many examples without it, an answer that the lexicons know is half as likely."""
LEAST_TO_TELL = 12
ENOUGH_TO_SHIFT = 300
SHIFT_ROUNDS = 3
SHIFT_STEPS = tuple(step / 5 for step in range(-6, 7))
SHIFT_COST = 0.002
RIGHT = {"kind": 2.0, "priority": 0.0}
"""What a right answer is worth beside macro-F1, of the heads whose scores are shifted: the others were no better for it on
texts that were held back, and often worse."""
NEWTON_ROUNDS = 30
FAR = 30.0
"""A distance beyond which nothing is surer."""
DOUBT = 4.0
"""How many examples' worth of belief that a distance means what it says."""


class Example(NamedTuple):
    """One text and what people say of it."""

    folded: bytes
    evidence: Sequence[float]
    answers: Mapping[str, tuple[str, ...]]
    """By head; several where several are right. A head that is not named learns nothing from it."""


def train(examples: Sequence[Example]) -> Trained:
    """Pure. Raises `Rejected` where there is nothing to learn from."""
    if not any(example.answers for example in examples):
        raise Rejected("no example says anything: a team, a kind, a sentiment or a priority is wanted")
    texts = _Texts(examples)
    heads, columns, evidence = [], [], []
    for name in HEADS:
        rows = [number for number, example in enumerate(examples) if example.answers.get(name)]
        if not rows:
            continue
        head, weights, beside = _head(name, texts, examples, rows)
        heads.append(head)
        columns.append(weights)
        evidence.append(beside)
    return Trained.of(heads, texts.known, texts.rarity, np.concatenate(columns, 1), np.concatenate(evidence, 1))


class _Texts:
    """Every example's features, as numbers of their own from 0 on."""

    def __init__(self, examples: Sequence[Example]) -> None:
        found = list(grams([example.folded for example in examples]))
        ids = np.concatenate([some.ids for some in found])
        in_texts = np.bincount(ids, minlength=FEATURES)
        self.known = np.flatnonzero(in_texts >= (2 if len(examples) >= RARE_FROM else 1)).astype(np.int32)
        self.rarity = (np.log((1 + len(examples)) / (1 + in_texts[self.known])) + 1).astype(np.float32)
        number = np.full(FEATURES, -1, np.int32)
        number[self.known] = np.arange(len(self.known), dtype=np.int32)
        self.rows: list[tuple[NDArray[np.int32], Floats]] = []
        for some in found:
            mine = number[some.ids]
            kept = (mine >= 0).nonzero()[0]
            mine = mine[kept]
            blocks = kept.searchsorted(np.stack([some.starts[:-1], some.words], 1).ravel())
            weights = scaled(some.weights[kept] * self.rarity[mine], np.append(blocks, len(kept)))
            cuts = [*blocks[::2].tolist(), len(kept)]
            self.rows += [(mine[start:stop], weights[start:stop]) for start, stop in pairwise(cuts)]
        self.evidence = np.array([example.evidence for example in examples], np.float32) * np.float32(EVIDENCE_SCALE)


def _head(name: str, texts: _Texts, examples: Sequence[Example], rows: Sequence[int]) -> tuple[Head, Floats, Floats]:
    said = [examples[row].answers[name] for row in rows]
    answers = (*PRIORS[name], *sorted({answer for several in said for answer in several} - {*PRIORS[name]}))
    wanted = _shares(said, answers)
    scores, shares = _held_back(name, texts, examples, rows, wanted, answers)
    weights, bias, beside = _fit(name, texts, rows, wanted, answers)
    shift = _shift(scores, shares, RIGHT[name]) if name in RIGHT else np.zeros(len(answers), np.float32)
    slope, start = _sureness(scores + shift, shares)
    head = Head(name, answers, tuple(float(one) for one in bias + shift), slope, start, len(rows))
    return head, weights, beside


def _shares(said: Sequence[tuple[str, ...]], answers: Sequence[str]) -> Floats:
    place = {answer: number for number, answer in enumerate(answers)}
    wanted = np.zeros((len(said), len(answers)), np.float32)
    for row, several in enumerate(said):
        for answer in several:
            wanted[row, place[answer]] = 1 / len(several)
    return wanted


def _held_back(
    name: str,
    texts: _Texts,
    examples: Sequence[Example],
    rows: Sequence[int],
    wanted: Floats,
    answers: Sequence[str],
) -> tuple[Floats, Floats]:
    """What each text that was held back scored for each answer, and what people say of it."""
    part = np.array([_part(examples[row].folded) for row in rows])
    scored, said = [np.zeros((0, len(answers)), np.float32)], [np.zeros((0, len(answers)), np.float32)]
    for held in range(PARTS if len(rows) <= CROSS_UP_TO else 1):
        inside, outside = np.flatnonzero(part != held).tolist(), np.flatnonzero(part == held).tolist()
        if not outside or not inside:
            continue
        weights, bias, beside = _fit(name, texts, [rows[at] for at in inside], wanted[inside], answers)
        judged = _Matrix([texts.rows[rows[at]] for at in outside], len(texts.known))
        evidence = texts.evidence[[rows[at] for at in outside]]
        scored.append(judged.times(weights) + bias + _dense(evidence, beside))
        said.append(wanted[outside])
    return np.concatenate(scored), np.concatenate(said)


def _part(folded: bytes) -> int:
    """By the text alone, so that the same text said twice is never on both sides."""
    import zlib

    return zlib.crc32(folded) % PARTS


def _shift(scores: Floats, shares: Floats, right: float) -> Floats:
    """What is added to each answer's score, so that rare ones are given neither too often nor too seldom: what makes the best
    of macro-F1 and of right answers on what was held back, one answer after the other in small steps."""
    shift = np.zeros(scores.shape[1], np.float32)
    seen = np.flatnonzero(shares.sum(0) > 0)
    if len(scores) < ENOUGH_TO_SHIFT or len(seen) < 2:
        return shift
    best = _worth(scores, shares, seen, right)
    for _ in range(SHIFT_ROUNDS):
        for answer in seen:
            for step in SHIFT_STEPS:
                tried = shift.copy()
                tried[answer] = step
                worth = _worth(scores + tried, shares, seen, right) - SHIFT_COST * float(np.abs(tried).sum())
                if worth > best:
                    best, shift = worth, tried
    return shift


def _worth(scores: Floats, shares: Floats, seen: NDArray[np.intp], worth: float) -> float:
    given = scores.argmax(1)
    right = shares[np.arange(len(given)), given] > 0
    wanted = np.where(right, given, shares.argmax(1))
    count = scores.shape[1]
    hits = np.bincount(given[right], minlength=count)[seen]
    both = np.bincount(given, minlength=count)[seen] + np.bincount(wanted, minlength=count)[seen]
    return float((2 * hits / np.maximum(both, 1)).mean() + worth * right.mean())


def _sureness(scores: Floats, shares: Floats) -> tuple[float, float]:
    """The logistic curve from the distance between the two best answers to how often the best was right; with few to tell
    by, nearly the model's own."""
    slope, start = 1.0, 0.0
    if len(scores) < LEAST_TO_TELL:
        return slope, start
    best = np.sort(scores.astype(np.float64), 1)
    far = best[:, -1] - best[:, -2]
    hits = (shares[np.arange(len(scores)), scores.argmax(1)] > 0).astype(np.float64)
    far = np.minimum(far, FAR)

    def missed(slope: float, start: float) -> float:
        curve = slope * far + start
        return float(np.sum(np.logaddexp(0, np.where(hits > 0, -curve, curve)))) + DOUBT / 2 * (
            (slope - 1) ** 2 + start**2
        )

    # Newton's method, pulled towards (1, 0). It is convex: where a whole step is too far, half of one is not.
    for _ in range(NEWTON_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(slope * far + start, -FAR, FAR)))
        off, sway = chance - hits, chance * (1 - chance)
        first = (float(np.sum(off * far)) + DOUBT * (slope - 1), float(np.sum(off)) + DOUBT * start)
        a = float(np.sum(sway * far * far)) + DOUBT
        b = float(np.sum(sway * far))
        d = float(np.sum(sway)) + DOUBT
        whole = a * d - b * b
        turn = (d * first[0] - b * first[1]) / whole, (a * first[1] - b * first[0]) / whole
        stride, now = 1.0, missed(slope, start)
        while missed(slope - stride * turn[0], start - stride * turn[1]) > now and stride > 1e-6:
            stride /= 2
        slope, start = slope - stride * turn[0], start - stride * turn[1]
    return round(max(0.0, slope), 6), round(start, 6)


# ── the fit ──


class _Matrix:
    """Texts by features, held by rows and by columns; only sums in a fixed order."""

    def __init__(self, rows: Sequence[tuple[NDArray[np.int32], Floats]], columns: int) -> None:
        lengths = np.array([len(ids) for ids, _ in rows])
        ends = np.cumsum(lengths)
        self._ids = np.concatenate([ids for ids, _ in rows])
        self._values = np.concatenate([values for _, values in rows])
        self._filled = np.flatnonzero(lengths)
        self._starts = (ends - lengths)[self._filled]
        self._shape = (len(rows), columns)
        row = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
        order = np.argsort(self._ids, kind="stable")
        by_column = self._ids[order]
        self._row, self._by_column = row[order], self._values[order]
        self._column_starts = np.flatnonzero(np.diff(by_column, prepend=-1))
        self._columns = by_column[self._column_starts]

    def times(self, weights: Floats) -> Floats:
        found = np.zeros((self._shape[0], weights.shape[1]), np.float32)
        if len(self._ids):
            for column in range(weights.shape[1]):
                each = np.ascontiguousarray(weights[:, column])[self._ids] * self._values
                found[self._filled, column] = np.add.reduceat(each, self._starts)
        return found

    def transposed_times(self, errors: Floats) -> Floats:
        found = np.zeros((self._shape[1], errors.shape[1]), np.float32, order="F")
        if len(self._ids):
            for column in range(errors.shape[1]):
                each = np.ascontiguousarray(errors[:, column])[self._row] * self._by_column
                found[self._columns, column] = np.add.reduceat(each, self._column_starts)
        return found


def _fit(
    name: str, texts: _Texts, rows: Sequence[int], wanted: Floats, answers: Sequence[str]
) -> tuple[Floats, Floats, Floats]:
    """(weights of the features, bias, weights of the evidence), each by answer."""
    matrix = _Matrix([texts.rows[row] for row in rows], len(texts.known))
    evidence = texts.evidence[rows]
    seen = np.flatnonzero(wanted.sum(0))
    believed = _believed(name, len(answers))
    prior, wanted = np.ascontiguousarray(believed[:, seen]), np.ascontiguousarray(wanted[:, seen])
    features, count = len(texts.known), len(seen)
    balance = ((len(rows) / count / wanted.sum(0)) ** BALANCE[name]).astype(np.float32)
    weight = (wanted * balance).sum(1)
    pull = np.float32(1 / (STRENGTH * len(rows) ** 0.5))
    cut = features * count
    leant = _naive(matrix, wanted)

    def unpacked(point: Floats) -> tuple[Floats, Floats, Floats]:
        return (
            point[:cut].reshape(features, count, order="F"),
            point[cut : cut + count],
            point[cut + count :].reshape(EVIDENCE, count),
        )

    def loss(point: Floats) -> tuple[float, Floats]:
        weights, bias, beside = unpacked(point)
        scores = matrix.times(weights) + bias + _dense(evidence, beside)
        scores -= scores.max(1, keepdims=True)
        raised = np.exp(scores)
        whole = raised.sum(1, keepdims=True)
        missed = -_sum(wanted * (scores - np.log(whole)) * weight[:, None])
        errors = (raised / whole - wanted) * weight[:, None]
        moved = beside - prior
        slope = np.concatenate(
            [
                (matrix.transposed_times(errors) + pull * (weights - leant)).ravel(order="F"),
                errors.sum(0) + pull * bias,
                np.stack([(evidence * errors[:, [at]]).sum(0) for at in range(count)], 1).ravel()
                + pull * moved.ravel(),
            ]
        )
        apart = weights - leant
        pulled = float(pull) * (_sum(apart * apart) + _sum(bias * bias) + _sum(moved * moved))
        return missed + pulled / 2, slope

    start = np.zeros(cut + count + EVIDENCE * count, np.float32)
    start[:cut] = leant.ravel(order="F")
    start[cut + count :] = prior.ravel()
    found, bias, beside = unpacked(_lowest(loss, start))
    every = np.zeros((features, len(answers)), np.float32), np.zeros(len(answers), np.float32), believed
    every[1][:] = -np.log(1 + len(rows) / MISSED_AFTER)
    every[0][:, seen], every[1][seen], every[2][:, seen] = found, bias, beside
    return every


def _naive(matrix: _Matrix, wanted: Floats) -> Floats:
    """A part of what naive Bayes would say of each feature: how much oftener it stands with an answer than without."""
    with_it = matrix.transposed_times(wanted) + np.float32(SMOOTH)
    if wanted.shape[1] == 1:
        return np.zeros_like(with_it)
    without = with_it.sum(1, keepdims=True) - with_it
    ratio = np.log(with_it / with_it.sum(0)) - np.log(without / without.sum(0))
    share = NAIVE * len(wanted) / (len(wanted) + ENOUGH_TO_COUNT)
    return np.asfortranarray(np.float32(share) * ratio)


def _believed(name: str, answers: int) -> Floats:
    """The evidence's weights before any example: each answer's own prior, as it is."""
    found = np.zeros((EVIDENCE, answers), np.float32)
    for number, place in enumerate(prior_places()[name]):
        found[place, number] = 1 / EVIDENCE_SCALE
    return found


def _dense(evidence: Floats, beside: Floats) -> Floats:
    found = np.zeros((len(evidence), beside.shape[1]), np.float32)
    for number in range(len(beside)):
        found += evidence[:, [number]] * beside[number]
    return found


def _sum(values: Any) -> float:
    return float(np.add.reduce(values, axis=None, dtype=np.float64))


def _dot(one: Floats, other: Floats) -> float:
    return _sum(one * other)


def _lowest(loss: Callable[[Floats], tuple[float, Floats]], point: Floats) -> Floats:
    """L-BFGS with backtracking (Nocedal and Wright, algorithm 7.4)."""
    value, slope = loss(point)
    steps: list[tuple[Floats, Floats, float]] = []
    for _ in range(ROUNDS):
        way = slope.copy()
        back = []
        for moved, turned, product in reversed(steps):
            share = _dot(moved, way) / product
            back.append(share)
            way -= np.float32(share) * turned
        if steps:
            moved, turned, product = steps[-1]
            way *= np.float32(product / _dot(turned, turned))
        else:
            way /= np.float32(max(1e-9, _dot(slope, slope) ** 0.5))
        for (moved, turned, product), share in zip(steps, reversed(back), strict=True):
            way += np.float32(share - _dot(turned, way) / product) * moved
        falls = _dot(slope, way)
        stride = 1.0
        while True:
            there = point - np.float32(stride) * way
            lower, slope_there = loss(there)
            if lower <= value - 1e-4 * stride * falls or stride < 1e-4:
                break
            stride /= 2
        moved, turned = there - point, slope_there - slope
        product = _dot(moved, turned)
        if product > 1e-9:
            steps = [*steps[1 - MEMORY :], (moved, turned, product)]
        settled = abs(value - lower) < SMALL_ENOUGH * max(1.0, abs(value))
        point, value, slope = there, lower, slope_there
        if settled:
            break
    return point
