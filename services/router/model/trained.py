"""What was learnt: texts in, answers with a confidence out; its bytes, and the words that did it. ●

A model is a value: nothing in it changes. Its version is the hash of its bytes, and reading those back gives the same
model, so every process that was given them judges alike.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.router.model.evidence import EVIDENCE
from services.router.model.grams import FEATURES, Grams, grams
from services.router.model.judge import Answer, Judged
from shared.errors import Rejected

Floats = NDArray[np.float32]

MAGIC = b"flywheel-model-1\n"
MAX_BYTES = 256 * 1024 * 1024
EVIDENCE_SCALE = 0.1
"""Against the texts' own features, whose length is one: what the lexicons say is one voice among many."""
VERSION_DIGITS = 12
MAX_SHOWN = 5
LOOKED_AT = 16
"""So many of the pieces that spoke loudest make the words that are shown."""


@dataclass(frozen=True, slots=True)
class Head:
    name: str
    answers: tuple[str, ...]
    bias: tuple[float, ...]
    slope: float
    start: float
    """Of the curve from the distance between the two best answers to the confidence."""
    examples: int

    def confidence(self, distance: float) -> float:
        """Never less for a greater distance, and never more than so many examples allow (the rule of succession)."""
        sure = 1 / (1 + math.exp(-min(50.0, self.slope * distance + self.start)))
        return max(1 / len(self.answers), min(sure, (self.examples + 1) / (self.examples + 2)))


class _Seen(NamedTuple):
    """Of some texts that were judged together, what of them is known; and which of them it is."""

    grams: Grams
    known: NDArray[np.intp]
    """Which of `grams`."""
    rows: NDArray[np.intp]
    """Their lines of the table."""
    weights: Floats
    cuts: Sequence[int]
    """Where each text's begin, and the end."""
    best: Mapping[str, Sequence[str]]
    """By head, the answer of each text."""
    told: dict[str, list[list[str]]]
    """By head, the words for those answers; of all these texts, once anybody asks for one's."""
    text: int


@dataclass(frozen=True)
class Trained:
    heads: tuple[Head, ...]
    known: NDArray[np.int32]
    """The features that it has met, by their number, in order."""
    table: NDArray[np.float16]
    """For each of them its rarity, then its weight for each answer of each head."""
    beside: Floats
    """The weights of the evidence."""

    @classmethod
    def of(
        cls, heads: Sequence[Head], known: NDArray[np.int32], rarity: Floats, weights: Floats, beside: Floats
    ) -> "Trained":
        table = np.concatenate([rarity[:, None], weights], 1)
        # As they are kept, so that a model fresh from its examples is the one that is read back.
        return cls(tuple(heads), known, table.astype("<f2"), beside.astype("<f4"))

    # ── what it says ──

    def judge_all(
        self, asked: Sequence[tuple[bytes, Sequence[float]]], teams: Collection[str] | None = None
    ) -> list[Judged]:
        """`asked`: the folded text and the evidence of each. `teams`: those that there are; of others nothing is said. What is
        said of a text is the same to the last bit whatever is asked beside it: every sum is of one text, in its order."""
        found: list[Judged] = []
        for some in grams([folded for folded, _ in asked]):
            evidence = [beside for _, beside in asked[len(found) : len(found) + len(some.starts) - 1]]
            found += self._judged(some, np.array(evidence, np.float32) * np.float32(EVIDENCE_SCALE), teams)
        return found

    def _judged(self, some: Grams, evidence: Floats, teams: Collection[str] | None) -> list[Judged]:
        seen, scores = self._scores(some, evidence)
        every: dict[str, list[Answer | None]] = {}
        best: dict[str, list[str]] = {}
        feelings: list[float] = [0.0] * len(scores)
        start = 0
        for head in self.heads:
            mine = scores[:, start : start + len(head.answers)]
            answers: Sequence[str] = head.answers
            start += len(answers)
            if head.name == "team" and teams is not None:
                there = [number for number, team in enumerate(answers) if team in teams]
                if not there:
                    continue
                mine, answers = mine[:, there], [answers[number] for number in there]
            found = list(_answers(head, answers, mine))
            every[head.name] = [*found]
            best[head.name] = [answer for answer, _ in found]
            if head.name == "sentiment":
                feelings = _feelings(answers, mine)
        seen = seen._replace(best=best)
        nothing: list[Answer | None] = [None] * len(scores)
        team, kind, sentiment, priority = (
            every.get(name, nothing) for name in ("team", "kind", "sentiment", "priority")
        )
        return [
            Judged(team[at], kind[at], sentiment[at], priority[at], feelings[at], seen._replace(text=at))
            for at in range(len(scores))
        ]

    def _scores(self, some: Grams, evidence: Floats) -> tuple[_Seen, NDArray[np.float64]]:
        """What is known of these texts, and for each the score of each answer of each head."""
        numbers = self._number.take(some.ids)
        known = (numbers < len(self.known)).nonzero()[0]
        rows = numbers.take(known).astype(np.intp)  # looking up by other integers takes three times as long
        blocks = known.searchsorted(np.stack([some.starts[:-1], some.words], 1).ravel())
        blocks = np.append(blocks, len(known))
        by_answer = self._by_answer
        weights = scaled(some.weights.take(known) * by_answer[0].take(rows), blocks)
        cuts = blocks[::2]
        scores = np.zeros((len(evidence), len(by_answer) - 1), np.float32)
        for answer in range(scores.shape[1]):
            spoke = by_answer[answer + 1].take(rows)
            spoke *= weights
            scores[:, answer] = sums(spoke, cuts)
        for number in range(len(self.beside)):
            scores += evidence[:, [number]] * self.beside[number]
        scores += self._bias
        return _Seen(some, known, rows, weights, cuts.tolist(), {}, {}, 0), scores.astype(np.float64)

    def words(self, judged: Judged, head: str, answer: str) -> list[str]:
        columns = self._columns(head)
        if answer not in columns:
            return []
        seen: _Seen = judged.seen
        best = seen.best.get(head)
        if best is None or best[seen.text] != answer:
            return self._words(seen, columns, [seen.text], [answer])[0]
        if head not in seen.told:
            seen.told[head] = self._words(seen, columns, range(len(best)), best)
        return seen.told[head][seen.text]

    def _words(
        self, seen: _Seen, columns: Mapping[str, int], texts: Sequence[int], answers: Sequence[str]
    ) -> list[list[str]]:
        """What spoke most in each of these texts, which follow one another, for its answer and for no other."""
        first = seen.cuts[texts[0]]
        spans = [(seen.cuts[text] - first, seen.cuts[text + 1] - first) for text in texts]
        rows = seen.rows[first : first + spans[-1][1]]
        spoken = np.stack([self._by_answer[at].take(rows) for at in columns.values()])
        numbers = {answer: number for number, answer in enumerate(columns)}
        mine = np.repeat([numbers[answer] for answer in answers], [stop - start for start, stop in spans])
        here = np.arange(len(rows))
        speak = spoken[mine, here]
        if len(columns) > 1:
            spoken[mine, here] = -np.inf
            speak -= spoken.max(0)
        speak *= seen.weights[first : first + len(rows)]
        loudest: list[NDArray[np.intp]] = []
        for start, stop in spans:
            if stop - start > LOOKED_AT:
                loudest.append(np.argpartition(speak[start:stop], stop - start - LOOKED_AT)[-LOOKED_AT:] + start)
            else:
                loudest.append(np.arange(start, stop))
        every = np.concatenate(loudest)
        starts, stops = seen.grams.whole_words(seen.known[every + first])
        pieces = list(zip(starts.tolist(), stops.tolist(), speak[every].tolist(), strict=True))
        found, at = [], 0
        for text, some in zip(texts, loudest, strict=True):
            begin, end = int(seen.grams.texts[text]), int(seen.grams.texts[text + 1])
            whole = seen.grams.text(begin, end)
            total: dict[str, float] = {}
            for start, stop, weight in pieces[at : at + len(some)]:
                if weight > 0 and start < stop:
                    word = whole[start - begin : stop - begin]
                    total[word] = total.get(word, 0.0) + weight
            at += len(some)
            found.append(_shown(total))
        return found

    def _columns(self, head: str) -> dict[str, int]:
        at = 1
        for one in self.heads:
            if one.name == head:
                return {answer: at + number for number, answer in enumerate(one.answers)}
            at += len(one.answers)
        return {}

    @cached_property
    def _bias(self) -> Floats:
        return np.array([bias for head in self.heads for bias in head.bias], np.float32)

    @cached_property
    def _by_answer(self) -> Floats:
        """The table by its columns, each of which fits a near cache."""
        return np.ascontiguousarray(self.table.T, np.float32)

    @cached_property
    def _number(self) -> NDArray[np.int32]:
        number = np.full(FEATURES, len(self.known), np.int32)
        number[self.known] = np.arange(len(self.known), dtype=np.int32)
        return number

    # ── its bytes ──

    @cached_property
    def version(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()[:VERSION_DIGITS]

    def to_bytes(self) -> bytes:
        head = json.dumps(
            {
                "features": len(self.known),
                "evidence": self.beside.shape[0],
                "heads": [
                    {
                        "name": one.name,
                        "answers": one.answers,
                        "bias": one.bias,
                        "slope": one.slope,
                        "start": one.start,
                        "examples": one.examples,
                    }
                    for one in self.heads
                ],
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        arrays = (
            np.diff(self.known, prepend=0).astype("<i4").tobytes(),
            self.table.astype("<f2").tobytes(),
            self.beside.astype("<f4").tobytes(),
        )
        return MAGIC + zlib.compress(head.encode() + b"\n" + b"".join(arrays), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Trained":
        """Raises `Rejected` for what is none of ours."""
        if not data.startswith(MAGIC):
            raise Rejected("this is no model of ours, or one of another version")
        try:
            whole = _unpacked(data[len(MAGIC) :])
            line, _, arrays = whole.partition(b"\n")
            model = cls._read(json.loads(line), arrays)
            # Known from the bytes at hand: packing them again takes as long as reading them.
            vars(model)["version"] = hashlib.sha256(data).hexdigest()[:VERSION_DIGITS]
            return model
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise Rejected(f"the model cannot be read: {type(error).__name__}") from None

    @classmethod
    def _read(cls, head: dict[str, Any], arrays: bytes) -> "Trained":
        heads = tuple(
            Head(one["name"], tuple(one["answers"]), tuple(one["bias"]), one["slope"], one["start"], one["examples"])
            for one in head["heads"]
        )
        features, evidence = int(head["features"]), int(head["evidence"])
        answers = sum(len(one.answers) for one in heads)
        if evidence != EVIDENCE:
            raise ValueError("the lexicons' evidence is another now: build the model again from its examples")
        cuts = (features * 4, features * (answers + 1) * 2, evidence * answers * 4)
        if len(arrays) != sum(cuts):
            raise ValueError("cut short")
        known = np.cumsum(np.frombuffer(arrays, "<i4", features), dtype=np.int32)
        table = np.frombuffer(arrays, "<f2", features * (answers + 1), cuts[0]).reshape(features, answers + 1)
        beside = np.frombuffer(arrays, "<f4", evidence * answers, cuts[0] + cuts[1]).reshape(evidence, answers)
        return cls(heads, known, table, beside)


def sums(values: Floats, cuts: NDArray[np.intp]) -> Floats:
    """Of each part, from one cut to the next; the last cut is the end. Of nothing it is 0."""
    found = np.zeros(len(cuts) - 1, np.float32)
    filled = (cuts[1:] > cuts[:-1]).nonzero()[0]
    if len(filled):
        found[filled] = np.add.reduceat(values, cuts[filled])
    return found


def scaled(weights: Floats, cuts: NDArray[np.intp]) -> Floats:
    """Each part of length one: of each text its words, then its runs."""
    squares = sums(weights * weights, cuts).astype(np.float64)
    lengths = np.sqrt(np.where(squares > 0, squares, 1.0))
    return weights * np.repeat((1 / lengths).astype(np.float32), np.diff(cuts))


def _unpacked(data: bytes) -> bytes:
    unpack = zlib.decompressobj()
    whole = unpack.decompress(data, MAX_BYTES)
    if unpack.unconsumed_tail:
        raise ValueError("too large")
    return whole


def _answers(head: Head, answers: Sequence[str], scores: NDArray[np.float64]) -> Iterator[Answer]:
    """The best of each line, and how sure it is."""
    best = scores.argmax(1)
    if len(answers) == 1:
        far = [math.inf] * len(scores)
    else:
        two = np.partition(scores, -2, axis=1)[:, -2:]
        far = (two[:, 1] - two[:, 0]).tolist()
    for number, distance in zip(best.tolist(), far, strict=True):
        yield Answer(answers[number], round(head.confidence(min(distance, 50.0)), 3))


def _feelings(answers: Sequence[str], scores: NDArray[np.float64]) -> list[float]:
    positive, negative = answers.index("positive"), answers.index("negative")
    found = []
    for line in scores.tolist():
        best = max(line)
        raised = [math.exp(score - best) for score in line]  # not numpy's, which differs with the place in an array
        found.append((raised[positive] - raised[negative]) / sum(raised))
    return found


def _shown(spoke: Mapping[str, float]) -> list[str]:
    """The loudest words; of what lies inside another only the longer is shown."""
    found: list[str] = []
    for _, word in sorted([(-weight, word) for word, weight in spoke.items()]):
        if not any(word in other or other in word for other in found):
            found.append(word)
            if len(found) == MAX_SHOWN:
                break
    return found
