"""Texts as they are compared: folded, and what of them is a word. ●

Folding takes away what readers do not mind: case, accents, width, line breaks, invisible characters, and whether
Chinese is written in traditional or simplified characters (`shared.simplified`).
`fold` is idempotent, and what it does to a text does not depend on which of its paths did it: plain ASCII and the
usual mix of Chinese and English are folded in a few passes of C, everything else the long way round.

Accents are the marks of Latin, Greek and Cyrillic (U+0300 and its like). The voiced marks of kana, the vowels of
Thai and the signs of Indic scripts are no accents: without them it would be another word.
"""

import re
import unicodedata
from functools import lru_cache

from shared.simplified import SIMPLIFIED, between

# Punctuation that has a plain ASCII form, white space, and characters that nobody sees.
_PLAIN = (
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x1f\u00a0\u3000", " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f\u00ad", "")
    | dict.fromkeys("‘’`´｀ʼ\u1fef\u1ffd", "'")
    | {"“": '"', "”": '"', "…": "..."}
)
_plain_class = "".join(map(re.escape, _PLAIN))
_PLAINER = {**_PLAIN, **SIMPLIFIED}
_replace_plain = re.compile(f"[{_plain_class}{''.join(SIMPLIFIED)}]").sub
_HAN = between("\u4e00", "\u9fff", SIMPLIFIED)
# What the fast path has to look at: all but characters that no folding changes, save for the case of A to Z. Those are
# ASCII, CJK punctuation, kana, Han that is not traditional, the dashes, bullets and arrows of everyday writing,
# pictographs.
_UNCHANGED = (
    "\x00-\x08\x0e-\x1b -_a-\x7f\u2010\u2012-\u2016\u201a\u201b\u201e-\u2022\u2190-\u2199\u21d2\u2605\u2606\u2764"
    "\u3001-\u301f\u3030\u3041-\u3096\u30a1-\u30fe"
    "\U0001f300-\U0001f5ff\U0001f600-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff"
)
_find_odd = re.compile(f"[^{_UNCHANGED}{_HAN}]").search
_find_difficult = re.compile(f"[^{_UNCHANGED}\u4e00-\u9fff{_plain_class}]").search
_COMMON = "，！？：；（）“”"
"""Most Chinese texts hold some of these, and nothing else that the fast path would have to replace."""
_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"}
"""Whose accent is a part of them: no normal form takes it off."""
_replace_letters = re.compile("[" + "".join(_LETTERS) + "]").sub
_drop_accents = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+").sub


def fold(text: str) -> str:
    """Lower case, without accents, in one width and one Chinese script, with single spaces. Idempotent."""
    return folded_utf8(text).decode()


def folded_utf8(text: str) -> bytes:
    """The folded text as the matcher wants it."""
    if text.isascii():
        # White space but the space is not printable; neither are other controls, which `split` leaves alone.
        if not text.isprintable() or _has_loose_spaces(text):
            text = " ".join(text.split())
        if "`" in text:
            text = text.replace("`", "'")
        return text.lower().encode()
    for char in _COMMON:
        if char in text:
            text = text.replace(char, _PLAIN[char])
    if _find_odd(text) is not None:
        text = _fold_slowly(text) if _find_difficult(text) is not None else _replace_plain(_plain, text)
        return " ".join(text.split()).lower().encode()
    if _has_loose_spaces(text):
        text = " ".join(text.split())
    return text.encode().lower()  # of bytes: A to Z alone, and nothing else here has a case


def _has_loose_spaces(text: str) -> bool:
    return "  " in text or text[:1] == " " or text[-1:] == " "


def _plain(match: re.Match[str]) -> str:
    return _PLAINER[match[0]]


def _letter(match: re.Match[str]) -> str:
    return _LETTERS[match[0]]


def _fold_slowly(text: str) -> str:
    """Once more until nothing changes: a few characters fold into what has to be folded again."""
    for _ in range(8):
        folded = _replace_plain(_plain, text)
        folded = _replace_letters(_letter, unicodedata.normalize("NFKD", folded).casefold())
        folded = _drop_accents("", unicodedata.normalize("NFKD", folded))
        folded = _replace_plain(_plain, unicodedata.normalize("NFKC", folded))
        if folded == text:
            break
        text = folded
    return text


# ── words: where a script has them ──

# Scripts that put no space between words (and the Lao, Khmer and Burmese beside Thai): a term is looked for anywhere.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=4096)
def in_word(char: str) -> bool:
    """Whether this character, beside a match, means that the match is only a part of a word."""
    if not (char.isalnum() or char == "_" or unicodedata.category(char) in {"Mn", "Mc"}):
        return False
    code = ord(char)
    return not any(first <= code <= last for first, last in UNSPACED)


def is_hangul(char: str) -> bool:
    """Korean has words, but its particles are written onto them: a term is bound at its beginning only."""
    return "\uac00" <= char <= "\ud7a3" or "\u1100" <= char <= "\u11ff"
