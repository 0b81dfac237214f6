"""Every word that anybody looks for, found in one pass over the folded text: the rules' terms and the lexicons'.

One Aho-Corasick automaton. It runs over UTF-8 seen as Latin-1, not over characters: a node then has at most 256
successors instead of thousands of Han characters, which its linear search for the next one would pay for (measured:
5 µs a text instead of 30). Ends that need not be word ends cost nothing; the others look at the character beside.

A term is bound to whole words on the sides where its script has words (`text.in_word`); a `*` at its end takes the
bound off there. "app" is found in "我的app很好" and not in "happy".
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ahocorasick
import msgspec

from services.router.lexicons import Entry
from services.router.text import fold, in_word, is_hangul

Hit = tuple[int, int, Entry]
"""Where in `Scan.data` a lexicon's word starts and ends, and what is known of it."""


class Scan(msgspec.Struct, frozen=True, gc=False):
    data: str
    """The folded text between two spaces, its UTF-8 as Latin-1: what the positions of `words` count in."""
    terms: set[int]
    words: list[Hit]
    """In their order, apart from each other: a longer one stands for those inside it, of two that overlap the first."""

    @property
    def text(self) -> str:
        """The folded text."""
        return self.data[1:-1].encode("latin-1").decode()


class _Pattern(NamedTuple):
    text: str
    open_end: bool


class BadTerm(ValueError):
    """Nothing is left of the term once it is folded."""


def pattern(term: str) -> _Pattern:
    """The term as it is looked for. Raises `BadTerm`."""
    folded = fold(term)
    open_end = folded.endswith("*") and len(folded) > 1
    folded = folded.removesuffix("*").strip() if open_end else folded
    if not folded:
        raise BadTerm(f"nothing is left of {term!r} once case, accents and invisible characters are taken away")
    return _Pattern(folded, open_end)


class Matcher:
    """Built once for a ruleset; `scan` changes nothing."""

    def __init__(self, terms: Iterable[str], lexicon: Mapping[str, Entry]) -> None:
        """A term's number is its place in `terms`."""
        found: dict[str, list[tuple[bool, int | None, Entry | None]]] = {}
        for number, term in enumerate(terms):
            text, open_end = pattern(term)
            found.setdefault(text, []).append((open_end, number, None))
        for term, entry in lexicon.items():
            text, open_end = pattern(term)
            found.setdefault(text, []).append((open_end, None, entry))
        automaton = ahocorasick.Automaton()
        for text, uses in found.items():
            automaton.add_word(_bytes_as_chars(text), _payload(text, uses))
        if found:
            automaton.make_automaton()
        self._iterate = automaton.iter if found else _nothing

    def scan(self, folded: bytes) -> Scan:
        """`folded`: as `text.folded_utf8` gives it."""
        data = (b" %b " % folded).decode("latin-1")
        terms: set[int] = set()
        words: list[Hit] = []
        last = 0
        for end, (length, bound, numbers, entry, unbound) in self._iterate(data):
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
        return Scan(data, terms, words)


_LEFT, _RIGHT = 1, 2
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")

_Use = tuple[tuple[int, ...], Entry | None]
_Payload = tuple[int, int, tuple[int, ...], Entry | None, _Use | None]


def _payload(text: str, uses: list[tuple[bool, int | None, Entry | None]]) -> _Payload:
    """(length, where it is bound, terms, entry, and those of them that need no bound at the right)."""
    unbound = [use for use in uses if use[0]]
    bound = _LEFT if in_word(text[0]) else 0
    if in_word(text[-1]) and not is_hangul(text[-1]) and len(unbound) < len(uses):
        bound |= _RIGHT
    return len(text.encode()), bound, *_use(uses), _use(unbound) if bound & _RIGHT and unbound else None


def _use(uses: list[tuple[bool, int | None, Entry | None]]) -> _Use:
    numbers = tuple(number for _, number, _ in uses if number is not None)
    return numbers, next((entry for _, _, entry in uses if entry is not None), None)


def _bytes_as_chars(text: str) -> str:
    return text.encode().decode("latin-1")


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
