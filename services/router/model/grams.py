"""Folded text → hashed n-grams: words and pairs of words where the script has words, characters where it has none, and
runs of two to four characters anywhere, which know an ending, a compound and a slip of the pen. ●

All of it is arithmetic on arrays, for many texts at once, and linear in what there is to read. The hash of
a run of characters is made of the one that is a character shorter; the hash of a word of two sums over the text, with
multiplication modulo 2³² undone by the inverse of the factor.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.folding import UNSPACED

BITS = 20
"""Of a feature's number, in each of the two blocks."""
CHARS_BLOCK = 1 << BITS
"""Words stand below, runs of characters from here on."""
FEATURES = 2 << BITS
LONGEST_RUN = 4
MAX_CHARS = 8_000
"""What a text is about is said by then; of a longer one the beginning and the end are read."""
ENDING_CHARS = 2_000

MAX_AT_ONCE, MAX_TEXTS = 48_000, 1_000
"""Characters, and texts, that are read together."""
PLACE_BITS = 17
_ID_SHIFT = PLACE_BITS + 3
_OWNER_SHIFT = _ID_SHIFT + BITS + 1
_ONE, _PAIRED, _RUN = 0, 1, 2
"""The kinds: a word, a pair of words, and from here on runs by their length. Where two share a number and a place, the first
names it."""

_Numbers = NDArray[np.uint32]
_Places = NDArray[np.intp]
_Keys = NDArray[np.int64]
_ZERO = np.zeros(1, np.intp)
_OTHER, _WORD, _UNSPACED, _SPACE = 0, 1, 2, 3
_KNOWN = 0x30000
_BASE = 0x9E3779B1
_FACTOR = np.uint32(_BASE)
_PAIR = np.uint32(0xB5297A4D)
_SHIFT = np.uint32(32 - BITS)


@dataclass(frozen=True, slots=True)
class Grams:
    """The features of some texts, text after text: of each every number once, in order, words first."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    """1 + ln(how often)."""
    places: NDArray[np.int64]
    """Where each stands first: what kind it is, and where in `points` it begins."""
    starts: _Places
    """Where in `ids` each text's begin, and one more: where the last one's end."""
    words: _Places
    """Where in `ids` each text's words end and its runs begin."""
    points: _Numbers
    """The texts' characters, each text between two spaces."""
    texts: _Places
    """Where in `points` each text begins, and where the last one ends."""
    word_starts: _Places
    word_stops: _Places

    def spans(self, features: _Places) -> tuple[_Places, _Places]:
        """Where in `points` each of these stands first, from and to: `features` are their places in `ids`."""
        places = self.places[features]
        kinds, starts = places >> PLACE_BITS, places & (1 << PLACE_BITS) - 1
        stops = starts + (kinds - _RUN + 1)
        words = (kinds < _RUN).nonzero()[0]
        stops[words] = self.word_stops[self.word_starts.searchsorted(starts[words]) + kinds[words]]
        return starts, stops

    def whole_words(self, features: _Places) -> tuple[_Places, _Places]:
        """The same without the signs at either end, and with the rest of the words that it begins and ends in, where the script
        has words. What holds nothing but signs ends where it begins."""
        starts, stops = self.spans(features)
        for _ in range(LONGEST_RUN):
            starts += (starts < stops) & _is_sign(self.points[starts])
            stops -= (starts < stops) & _is_sign(self.points[stops - 1])
        if len(self.word_starts):
            first = np.maximum(self.word_starts.searchsorted(starts, "right") - 1, 0)
            begun = (self.word_starts[first] <= starts) & (starts < self.word_stops[first])
            last = np.minimum(self.word_stops.searchsorted(stops), len(self.word_stops) - 1)
            ended = (self.word_starts[last] < stops) & (stops <= self.word_stops[last])
            there = starts < stops
            starts = np.where(begun & there, self.word_starts[first], starts)
            stops = np.where(ended & there, self.word_stops[last], stops)
        return starts, stops

    def text(self, start: int, stop: int) -> str:
        return self.points[start:stop].astype("<u4").tobytes().decode("utf-32-le")


def grams(texts: Sequence[bytes]) -> Iterator[Grams]:
    """`texts`: each as `shared.folding.folded_utf8` gives it. As many at once as fit a processor's nearer caches; what is said of
    a text does not depend on those beside it."""
    some: list[str] = []
    chars = 0
    for folded in texts:
        text = _read(folded)
        if some and (chars + len(text) > MAX_AT_ONCE or len(some) == MAX_TEXTS):
            yield _grams(some)
            some, chars = [], 0
        some.append(text)
        chars += len(text)
    if some:
        yield _grams(some)


def _read(folded: bytes) -> str:
    text = folded.decode()
    if len(text) > MAX_CHARS:
        text = f"{text[: MAX_CHARS - ENDING_CHARS]} {text[-ENDING_CHARS:]}"
    return f" {text} "


def _grams(texts: Sequence[str]) -> Grams:
    ends = np.cumsum([len(text) for text in texts])
    begins = np.concatenate([_ZERO, ends])
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    # Of each place: whose it is, and where.
    where = np.repeat(np.arange(len(texts), dtype=np.int64) << _OWNER_SHIFT, np.diff(begins))
    where |= np.arange(len(points))
    classes = _classes().take(np.minimum(points, _KNOWN - 1))
    mixed = points * np.uint32(0x27D4EB2F)
    mixed ^= mixed >> np.uint32(13)
    starts, stops = _edges(classes)
    # Text, number, kind and place in one integer each, so that one sort has all of them in order, the first place first.
    keys = np.concatenate([*_words(mixed, starts, stops, where), *_runs(classes, mixed, where, begins[1:-1])])
    keys.sort()
    named = keys >> _ID_SHIFT
    first = np.empty(len(keys), bool)
    first[0] = True
    np.not_equal(named[1:], named[:-1], out=first[1:])
    at = first.nonzero()[0]
    counts = np.empty(len(at), np.intp)
    np.subtract(at[1:], at[:-1], out=counts[:-1])
    counts[-1] = len(keys) - at[-1]
    named = named[at]
    texts_at = np.arange(len(texts) + 1, dtype=np.int64) << (BITS + 1)
    return Grams(
        (named & (FEATURES - 1)).astype(np.int32),
        _log_counts()[np.minimum(counts, _MOST_COUNTED)],
        keys[at] & (1 << _ID_SHIFT) - 1,
        named.searchsorted(texts_at),
        named.searchsorted(texts_at[:-1] + CHARS_BLOCK),
        points,
        begins,
        starts,
        stops,
    )


def _is_sign(points: _Numbers) -> NDArray[np.bool_]:
    """What no word begins or ends with. Pictographs are words."""
    kinds = _classes()[np.minimum(points, _KNOWN - 1)]
    found: NDArray[np.bool_] = (kinds == _SPACE) | ((kinds == _OTHER) & (points <= 0x2600))
    return found


def _edges(classes: NDArray[np.uint8]) -> tuple[_Places, _Places]:
    """Where words begin and end. A text ends in a space: none reaches into the next."""
    in_word = classes == _WORD
    edges = (in_word[1:] != in_word[:-1]).nonzero()[0] + 1
    return edges[::2], edges[1::2]


def _words(mixed: _Numbers, starts: _Places, stops: _Places, where: _Keys) -> Iterator[_Keys]:
    """Words, then pairs of neighbours."""
    powers, inverses = _powers()
    sums = np.zeros(len(mixed) + 1, np.uint32)
    np.cumsum(mixed * powers[: len(mixed)], out=sums[1:], dtype=np.uint32)
    words = (sums.take(stops) - sums.take(starts)) * inverses.take(starts)
    there = where.take(starts)
    yield _keys(_number(words, 101), _ONE, there)
    pairs = (there[1:] >> _OWNER_SHIFT == there[:-1] >> _OWNER_SHIFT).nonzero()[0]
    yield _keys(_number(words[pairs] * _PAIR + words[pairs + 1], 202), _PAIRED, there[pairs])


def _runs(classes: NDArray[np.uint8], mixed: _Numbers, where: _Keys, begins: _Places) -> Iterator[_Keys]:
    """`begins`: where each text but the first does."""
    unspaced = classes == _UNSPACED
    # A character by itself says something where it is a word or a sign; four of Han are two words beside each other.
    kept = {1: unspaced | (classes == _OTHER), 4: ~unspaced}
    hashed = mixed
    for length in range(1, LONGEST_RUN + 1):
        if length > 1:
            hashed = hashed[:-1] * _FACTOR + mixed[length - 1 :]
        inside = np.ones(len(hashed), bool)
        for back in range(1, length):  # what would reach into the next text
            crossing = begins - back
            inside[crossing[(crossing >= 0) & (crossing < len(inside))]] = False
        if length in kept:
            inside &= kept[length][: len(hashed)]
        starts = inside.nonzero()[0]
        yield _keys(_number(hashed.take(starts), length * 7919), _RUN + length - 1, where.take(starts), CHARS_BLOCK)


def _keys(ids: _Numbers, kind: int, where: _Keys, block: int = 0) -> _Keys:
    found = ids.astype(np.int64)
    found <<= _ID_SHIFT
    found += where
    found += (block << _ID_SHIFT) | (kind << PLACE_BITS)
    return found


def _number(hashed: _Numbers, salt: int) -> _Numbers:
    spread = hashed * np.uint32(0x85EBCA6B)
    spread += np.uint32(salt)
    spread ^= spread >> np.uint32(15)
    spread *= np.uint32(0xC2B2AE35)
    spread >>= _SHIFT
    return spread


_MOST_COUNTED = 4096


@cache
def _log_counts() -> NDArray[np.float32]:
    counts = np.arange(_MOST_COUNTED + 1)
    counts[0] = 1
    return (1 + np.log(counts)).astype(np.float32)


@cache
def _powers() -> tuple[_Numbers, _Numbers]:
    """Of the factor and of its inverse modulo 2³², for each place in so many texts as are read at once."""

    def of(base: int) -> Any:
        steps = np.full(MAX_AT_ONCE + MAX_CHARS + 3, base, np.uint32)
        steps[0] = 1
        return np.multiply.accumulate(steps, dtype=np.uint32)

    return of(_BASE), of(pow(_BASE, -1, 1 << 32))


@cache
def _classes() -> NDArray[np.uint8]:
    """What each character is. Beyond the known ones lie pictographs and rare signs: each a sign."""
    classes = np.zeros(_KNOWN, np.uint8)
    for code in range(_KNOWN):
        if 0x20000 > code > 0x1FFFF or 0xD800 <= code < 0xE000:
            continue
        category = unicodedata.category(chr(code))
        if category[0] in "LN" or category in {"Mn", "Mc"}:
            classes[code] = _WORD
    for first, last in UNSPACED:
        classes[first : min(last, _KNOWN - 1) + 1] = _UNSPACED
    classes[ord("_")] = _WORD
    classes[ord(" ")] = _SPACE
    return classes
