"""Every word that anybody looks for, found in one pass over the folded text: the rules' terms and the lexicons'.

One Aho-Corasick automaton. It runs over UTF-8 seen as Latin-1, not over characters: a node then has at most 256
successors instead of thousands of Han characters, which its linear search for the next one would pay for (measured:
5 µs a text instead of 30). Ends that need not be word ends cost nothing; the others look at the character beside.

A term is bound to whole words on the sides where its script has words (`text.in_word`); a `*` at its end takes the
bound off there. "app" is found in "我的app很好" and not in "happy". Terms that may have a letter wrong are looked for
beside it (`typos`).

Terms within terms are found at every place of a text: `MAX_TERM_CHARS` and `MAX_FINDS` keep what a text can cost within
bounds that no feedback comes near (a usual text has a few finds, the longest of ordinary words ten thousand).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import ahocorasick
import msgspec

from services.router.lexicons import Entry
from services.router.typos import Forgiving, Span, can_forgive
from shared.folding import fold, in_word, is_hangul

MAX_TERM_CHARS = 200
MAX_FINDS = 300_000
"""In one text. What is beyond that is not looked at."""

Hit = tuple[int, int, Entry]
"""Where in `Scan.data` a lexicon's word starts and ends, and what is known of it."""


class Scan(msgspec.Struct, frozen=True, gc=False):
    data: str
    """The folded text between two spaces, its UTF-8 as Latin-1: what the positions of `words` count in."""
    terms: set[int]
    words: list[Hit]
    """In their order, apart from each other: a longer one stands for those inside it, of two that overlap the first."""
    typos: dict[int, Span] = {}
    """Where in `data` the terms stand that have a letter wrong there; those that stand as they are too are not here."""

    said: dict[int, bool] = {}
    """Of the terms that were asked for: whether they are said, and not only denied (`conditions.Says`). Filled as it is asked."""

    @property
    def utf8(self) -> bytes:
        """The folded text."""
        return self.data[1:-1].encode("latin-1")

    @property
    def text(self) -> str:
        return self.utf8.decode()

    def written(self, span: Span) -> str:
        """What stands there."""
        return self.data[slice(*span)].encode("latin-1").decode()


class Pattern(NamedTuple):
    text: str
    open_end: bool


class BadTerm(ValueError):
    """It cannot be looked for, and why."""


@lru_cache(maxsize=1 << 16)
def pattern(term: str) -> Pattern:
    """The term as it is looked for. Raises `BadTerm`."""
    folded = fold(term)
    open_end = folded.endswith("*") and len(folded) > 1
    folded = folded.removesuffix("*").strip() if open_end else folded
    if not folded:
        raise BadTerm(f"nothing is left of {term!r} once case, accents and invisible characters are taken away")
    if len(folded) > MAX_TERM_CHARS:
        raise BadTerm(f"more than {MAX_TERM_CHARS} characters are no word and no phrase")
    return Pattern(folded, open_end)


class Matcher:
    """Built once for a ruleset; `scan` changes nothing."""

    def __init__(
        self, terms: Sequence[str], lexicon: Mapping[str, Entry], forgiven: Collection[int] = frozenset()
    ) -> None:
        """A term's number is its place in `terms`. `forgiven`: those that may have a letter wrong, and `can_be_forgiven`."""
        found: dict[str, list[_Looked]] = {}
        for number, term in enumerate(terms):
            text, open_end = pattern(term)
            found.setdefault(text, []).append((open_end, number, None))
        for term, entry in lexicon.items():
            text, open_end = pattern(term)
            found.setdefault(text, []).append((open_end, None, entry))
        automaton = ahocorasick.Automaton()
        for text, uses in found.items():
            automaton.add_word(*(_word(text, *uses) if len(uses) > 1 or uses[0][2] is None else _lexicons(text, *uses)))
        if found:
            automaton.make_automaton()
        self._iterate = automaton.iter if found else _nothing
        self._forgiving = Forgiving({number: pattern(terms[number]).text for number in forgiven}) if forgiven else None

    def scan(self, folded: bytes) -> Scan:
        """`folded`: as `text.folded_utf8` gives it."""
        data = (b" %b " % folded).decode("latin-1")
        terms: set[int] = set()
        words: list[Hit] = []
        last = 0
        for end, (length, bound, numbers, entry, unbound) in islice(self._iterate(data), MAX_FINDS):
            start = end - length
            if bound:
                if bound & _LEFT:
                    beside = data[start]
                    if beside in _WORD or (beside >= "\x80" and in_word(_char_before(data, start))):
                        continue
                if bound & _RIGHT:
                    beside = data[end + 1]
                    if beside in _WORD or (beside >= "\x80" and in_word(_char_at(data, end + 1))):
                        if unbound is None:
                            continue
                        numbers, entry = unbound
            if numbers:
                terms.update(numbers)
            if entry is not None:
                if start + 1 < last:
                    # They come in the order of their ends, the longer first.
                    while words and words[-1][0] > start:
                        words.pop()
                    if words and words[-1][1] > start + 1:
                        continue
                last = end + 1
                words.append((start + 1, last, entry))
        if self._forgiving is not None:
            text = folded.decode()
            near = self._forgiving.found(text)
            typos = {number: _span_in_data(text, near[number]) for number in near.keys() - terms}
            terms.update(typos)
            return Scan(data, terms, words, typos)
        return Scan(data, terms, words)


def can_be_forgiven(term: str) -> bool:
    """Whether it may be looked for with a letter wrong. Raises `BadTerm`."""
    found = pattern(term)
    return not found.open_end and can_forgive(found.text)


def places(data: str, term: Pattern) -> Iterator[Span | None]:
    """Where in `Scan.data` the term stands, in order; None for a place where it is only a part of a word."""
    text, bound = _needle(term.text)
    start = data.find(text, 1)
    while start >= 0:
        end = start + len(text)
        partly = (bound & _LEFT and _is_word(data[start - 1], _char_before, data, start - 1)) or (
            bound & _RIGHT and not term.open_end and _is_word(data[end], _char_at, data, end)
        )
        yield None if partly else (start, end)
        start = data.find(text, start + 1)


@lru_cache(maxsize=1 << 16)
def _needle(text: str) -> tuple[str, int]:
    return _bytes_as_chars(text), _bound(text)


def _is_word(beside: str, char: Callable[[str, int], str], data: str, index: int) -> bool:
    return beside in _WORD or (beside >= "\x80" and in_word(char(data, index)))


_LEFT, _RIGHT = 1, 2
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")

_Looked = tuple[bool, int | None, Entry | None]
"""Open at its end, the number of a term, an entry of the lexicon."""
_Use = tuple[tuple[int, ...], Entry | None]
_Payload = tuple[int, int, tuple[int, ...], Entry | None, _Use | None]


def _word(text: str, *uses: _Looked) -> tuple[str, _Payload]:
    """As the automaton has it: (length, where it is bound, terms, entry, and those of them that need no bound at the right)."""
    unbound = [use for use in uses if use[0]]
    bound = _bound(text)
    if len(unbound) == len(uses):
        bound &= ~_RIGHT
    rest = _use(unbound) if bound & _RIGHT and unbound else None
    return _bytes_as_chars(text), (len(text.encode()), bound, *_use(uses), rest)


_lexicons = lru_cache(maxsize=1 << 14)(_word)
"""The lexicon is the same for every ruleset, and most of what there is to build."""


def _bound(text: str) -> int:
    """On which sides a term is bound to whole words."""
    return (_LEFT if in_word(text[0]) else 0) | (_RIGHT if in_word(text[-1]) and not is_hangul(text[-1]) else 0)


def _use(uses: Sequence[_Looked]) -> _Use:
    numbers = tuple(number for _, number, _ in uses if number is not None)
    return numbers, next((entry for _, _, entry in uses if entry is not None), None)


def _bytes_as_chars(text: str) -> str:
    return text.encode().decode("latin-1")


def _span_in_data(text: str, span: Span) -> Span:
    start = 1 + len(text[: span[0]].encode())
    return start, start + len(text[slice(*span)].encode())


def _char_before(data: str, index: int) -> str:
    """The character whose last byte stands at `index`."""
    start = index
    while "\x80" <= data[start] < "\xc0":
        start -= 1
    return data[start : index + 1].encode("latin-1").decode()


def _char_at(data: str, index: int) -> str:
    """The character whose first byte stands at `index`."""
    stop = index + 1
    while "\x80" <= data[stop] < "\xc0":
        stop += 1
    return data[index:stop].encode("latin-1").decode()


def _nothing(_: str) -> Iterable[tuple[int, _Payload]]:
    return ()
