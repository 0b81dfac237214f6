"""What of a text is searched, and what a question asks for. ●

Words where a script puts spaces between them; where it puts none, each character and each pair of neighbours, so that
支付失败 is found by 支付 and by 付失. Both sides are folded alike (`shared.folding`). PostgreSQL keeps and finds the words
as lexemes; it is not asked to cut texts, for without extensions it takes 支付失败 for one word.
"""

import re
from collections.abc import Iterable
from operator import add

from shared.folding import UNSPACED, fold

WORD_MAX_CHARS = 40
WORDS_MAX = 3000
"""Of one case. What is beyond that is not found; few people write so much."""
PREFIX_MIN_CHARS = 3
"""From so many characters on, a word that is asked for is also found as the beginning of a longer one."""

_unspaced = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
_runs = re.compile(rf"([{_unspaced}]+)|([^\W{_unspaced}]+)").findall


def words_of(texts: Iterable[str]) -> list[str]:
    """The words under which a case is found that holds these texts."""
    found: dict[str, None] = {}
    for text in texts:
        for unspaced, word in _runs(fold(text)):
            if unspaced:
                found |= dict.fromkeys(filter(str.isalnum, unspaced))
                found |= dict.fromkeys(_pairs(unspaced))
            else:
                found[word[:WORD_MAX_CHARS]] = None
        if len(found) >= WORDS_MAX:
            break
    return list(found)[:WORDS_MAX]


def question(text: str) -> str | None:
    """The same as a `tsquery`: all of its words. None: it asks for nothing that can be found."""
    asked: list[str] = []
    for unspaced, whole in _runs(fold(text)):
        if unspaced:
            asked += map(_quoted, _pairs(unspaced)) if len(unspaced) > 1 else [_quoted(unspaced)]
        else:
            word = whole[:WORD_MAX_CHARS]
            asked.append(_quoted(word) + (":*" if len(word) >= PREFIX_MIN_CHARS else ""))
    return " & ".join(dict.fromkeys(asked)) or None


def _pairs(run: str) -> Iterable[str]:
    return map(add, run, run[1:])


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
