"""Terms that are found although one letter of them is wrong: Damerau-Levenshtein distance 1, where a rule asks for it. ●

One letter too many, too few, another, or two neighbours the wrong way round, in one word of the term, and only in a word
of five letters or more: of shorter words the neighbours are other words. Only in scripts with words; the other words of a
term, and what stands between them, must be as they are.

Each word of the text is looked up once, by itself and by what is left of it without each of its letters: a word of the term
that is one letter away shares one of those. So it takes a time that grows with the text and not with the rules.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from shared.folding import UNSPACED

LEAST_LETTERS = 5
MOST_LETTERS = 40
"""What is longer is no word."""

_unspaced = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
_letters = rf"[^\W\d_{_unspaced}]"
_find_words = re.compile(rf"{_letters}+(?:'{_letters}+)*").finditer

Span = tuple[int, int]


class _Term(NamedTuple):
    number: int
    words: tuple[str, ...]
    gaps: tuple[str, ...]
    """What stands between them."""
    anchor: int
    """The longest, by which it is looked for."""


def can_forgive(folded: str) -> bool:
    """Whether a word of the term is long enough, and nothing but words stands at its ends."""
    words = [found[0] for found in _find_words(folded)]
    spans = [found.span() for found in _find_words(folded)]
    whole = bool(spans) and spans[0][0] == 0 and spans[-1][1] == len(folded)
    return whole and LEAST_LETTERS <= max(map(len, words)) <= MOST_LETTERS


class Forgiving:
    """Built once for a ruleset."""

    def __init__(self, terms: Mapping[int, str]) -> None:
        """By their numbers, folded; each `can_forgive`."""
        self._by_part: dict[str, list[_Term]] = {}
        for number, folded in terms.items():
            found = list(_find_words(folded))
            words = tuple(one[0] for one in found)
            gaps = tuple(folded[left.end() : right.start()] for left, right in pairwise(found))
            term = _Term(number, words, gaps, max(range(len(words)), key=lambda place: len(words[place])))
            for part in _parts(words[term.anchor]):
                self._by_part.setdefault(part, []).append(term)
        lengths = {len(part) for part in self._by_part}
        self._lengths = range(min(lengths, default=0), max(lengths, default=-1) + 2)

    def found(self, text: str) -> dict[int, Span]:
        """The first place of each term in the folded text, within a letter."""
        found: dict[int, Span] = {}
        words = list(_find_words(text))
        for place, word in enumerate(words):
            if len(word[0]) in self._lengths:
                for term in self._near(word[0]):
                    if term.number not in found and (span := _at(term, words, place, text)) is not None:
                        found[term.number] = span
        return found

    def _near(self, word: str) -> Iterator[_Term]:
        if len(word) <= MOST_LETTERS:
            for part in _parts(word):
                yield from self._by_part.get(part, ())


def _at(term: _Term, words: list[re.Match[str]], place: int, text: str) -> Span | None:
    """Where it stands, if its anchor stands there."""
    first = place - term.anchor
    last = first + len(term.words) - 1
    if first < 0 or last >= len(words):
        return None
    wrong = 0
    for wanted, there in zip(term.words, words[first : last + 1], strict=True):
        if wanted != there[0]:
            if wrong or len(wanted) < LEAST_LETTERS or not one_apart(wanted, there[0]):
                return None
            wrong = 1
    for number, gap in enumerate(term.gaps):
        if text[words[first + number].end() : words[first + number + 1].start()] != gap:
            return None
    return words[first].start(), words[last].end()


def _parts(word: str) -> set[str]:
    """The word, and what is left of it without each of its letters."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


def one_apart(left: str, right: str) -> bool:
    """Whether two different words are one letter, or two neighbours the wrong way round, from being the same."""
    if len(left) > len(right):
        left, right = right, left
    place = next((place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(left))
    if len(left) < len(right):
        return left[place:] == right[place + 1 :]
    if left[place + 1 :] == right[place + 1 :]:
        return True
    swapped = right[place + 1 : place + 2] + right[place : place + 1]
    return left[place : place + 2] == swapped and left[place + 2 :] == right[place + 2 :]
