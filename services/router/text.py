"""The text as the rules and the classifier see it: folded, with its script and its language.

Folding takes away what readers do not mind: case, accents, width, line breaks and invisible characters.
`fold` is idempotent, and what it does to a text does not depend on which of its paths did it: plain ASCII and the
usual mix of Chinese and English are folded in a few passes of C, everything else the long way round.

Accents are the marks of Latin, Greek and Cyrillic (U+0300 and its like). The voiced marks of kana, the vowels of
Thai and the signs of Indic scripts are no accents: without them it would be another word.
"""

import re
import unicodedata
from functools import lru_cache

# Punctuation that has a plain ASCII form, white space, and characters that nobody sees.
_PLAIN = (
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x1f\u00a0\u3000", " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f\u00ad", "")
    | dict.fromkeys("‘’`´｀ʼ\u1fef\u1ffd", "'")
    | {"“": '"', "”": '"', "…": "..."}
)
_replace_plain = re.compile("[" + "".join(map(re.escape, _PLAIN)) + "]").sub
# What the fast path has to look at: all but characters that no folding changes, save for the case of A to Z. Those are
# ASCII, CJK punctuation, kana, Han, the dashes, bullets and arrows of everyday writing, pictographs.
_UNCHANGED = (
    "\x00-\x08\x0e-\x1b -_a-\x7f\u2010\u2012-\u2016\u201a\u201b\u201e-\u2022\u2190-\u2199\u21d2\u2605\u2606\u2764"
    "\u3001-\u301f\u3030\u3041-\u3096\u30a1-\u30fe\u4e00-\u9fff"
    "\U0001f300-\U0001f5ff\U0001f600-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff"
)
_find_odd = re.compile(f"[^{_UNCHANGED}]").search
_find_difficult = re.compile(f"[^{_UNCHANGED}{''.join(map(re.escape, _PLAIN))}]").search
_COMMON = "，！？：；（）“”"
"""Most Chinese texts hold some of these, and nothing else that the fast path would have to replace."""
_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"}
"""Whose accent is a part of them: no normal form takes it off."""
_replace_letters = re.compile("[" + "".join(_LETTERS) + "]").sub
_drop_accents = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+").sub


def fold(text: str) -> str:
    """Lower case, without accents, in one width, with single spaces. Idempotent."""
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
    return _PLAIN[match[0]]


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
_UNSPACED = (
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
    return not any(first <= code <= last for first, last in _UNSPACED)


def is_hangul(char: str) -> bool:
    """Korean has words, but its particles are written onto them: a term is bound at its beginning only."""
    return "\uac00" <= char <= "\ud7a3" or "\u1100" <= char <= "\u11ff"


# ── language ──

UNKNOWN = "und"
# One Han character says about as much as three letters, one of kana as two.
LETTERS_PER_HAN = 3
LETTERS_PER_KANA = 2
HAN_PER_KANA = 6
"""Japanese has more kana than one in so many; with less, it is a name or an ornament in a Chinese text."""
LOOKED_AT = 120
"""So many characters tell a language of Latin letters, if they hold one of its stop words."""
_NOT_HAN = bytes(code for code in range(256) if not 0xE4 <= code <= 0xE9)
"""All bytes but those that begin a character of U+4000 to U+9FFF."""
# A の between Han is written in Chinese too, for the look of it.
_find_kana = re.compile(
    "(?<![\u3400-\u9fff])の|の(?![\u3400-\u9fff])|[\u3041-\u306d\u306f-\u3096\u30a1-\u30fa]"
).findall
_find_han = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]").findall
_find_latin = re.compile("[a-z\u00df-\u024f]").findall
# Any script but Han and Latin.
_find_other_script = re.compile("[\u0370-\u1cff\u3041-\u30ff\u3130-\u318f\uac00-\ud7af]").search
_OTHER_SCRIPTS = (
    ("ko", re.compile("[\u1100-\u11ff\uac00-\ud7a3]").findall),
    ("th", re.compile("[\u0e00-\u0e7f]").findall),
    ("el", re.compile("[\u0370-\u03ff]").findall),
    ("he", re.compile("[\u0590-\u05ff]").findall),
    ("ar", re.compile("[\u0600-\u06ff]").findall),
    ("hi", re.compile("[\u0900-\u097f]").findall),
    ("uk", re.compile("[ієґ]").findall),
    ("ru", re.compile("[\u0400-\u04ff]").findall),
)
# Short words that one of these languages has and the others do not, folded. A word of two of them (do, die, im) may
# stand in both, so that it speaks for neither; "no" is a word of three.
_STOP_WORDS = {
    "en": "the and is was are were of for with this that it to you your have has not be my can would how please when"
    " they we i'm don't it's there which what but from at on i an so very do if just will get got could should been had"
    " he she our us its doesn't won't can't didn't isn't i've some any more than these after because about out up who"
    " too does did im die os as son plus never all many much",
    "es": "el los las una del que por para con es esta este muy pero como mas lo al su se cuando hay fue tiene ser todo"
    " estaba mi ni donde gusta gustaria puedo sin porque nada tambien un en son",
    "de": "der die das und ist nicht ich mit ein eine fur auf den im zu es sich war sie wir bei aber auch wie noch sehr"
    " dem wird habe kann bitte einen mein meine meinen alle an von nur oder wenn nach immer kein keine geht so wurde kaputt",
    "fr": "le la les des et est une dans pour pas que qui sur avec vous nous je ce cette au aux du mais plus ete tres"
    " sont etait j'ai c'est mon sa son ne n'est un trop en",
    "pt": "o os uma nao que para com muito mas do da em na ao por mais foi esta voce tem meu minha quando sao seu um as"
    " das",
}
_WORDS = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}
_EVERY_STOP_WORD = frozenset().union(*_WORDS.values())
_ENGLISH = _WORDS["en"]
_NOT_ENGLISH_ALONE = frozenset().union(*(words for name, words in _WORDS.items() if name != "en"))


def language_of(folded: bytes) -> str:
    """By script, and for Latin letters by stop words; `und` when neither says."""
    text = folded.decode()
    length = len(text)
    if len(folded) != length:
        if _find_other_script(text) is not None:
            language = _by_script(text)
            if language is not None:
                return language
        elif _han_in(folded, length) * (LETTERS_PER_HAN + 1) >= length:
            return "zh"
    found = _EVERY_STOP_WORD.intersection(text[:LOOKED_AT].split())
    if not found:
        found = _EVERY_STOP_WORD.intersection(text.split())
        if not found:
            return UNKNOWN
    if len(found & _ENGLISH) > len(found & _NOT_ENGLISH_ALONE):
        return "en"  # as it would be counted below: most texts need no more
    best, second = 0, 0
    language = UNKNOWN
    for name, words in _WORDS.items():
        count = len(found & words)
        if count > best:
            best, second, language = count, best, name
        elif count > second:
            second = count
    return language if best > second else UNKNOWN


def _han_in(folded: bytes, length: int) -> int:
    """How many, in a text of Han and Latin alone. Symbols and emoji have more bytes than letters too."""
    if b"\xf0" in folded or b"\xe2" in folded or b"\xc2" in folded:
        return len(folded.translate(None, _NOT_HAN))
    return (len(folded) - length) // 2


def _by_script(folded: str) -> str | None:
    """The script with the most to say; None for Latin."""
    kana, han = len(_find_kana(folded)), len(_find_han(folded))
    counts = [(len(found), language) for language, find in _OTHER_SCRIPTS if (found := find(folded))]
    japanese = kana * HAN_PER_KANA > han
    counts.append((han * LETTERS_PER_HAN + (kana * LETTERS_PER_KANA if japanese else 0), "ja" if japanese else "zh"))
    weight, language = max(counts, key=lambda pair: pair[0])
    if not weight or weight < len(_find_latin(folded)):
        return None
    return "uk" if language == "ru" and any(name == "uk" for _, name in counts) else language


def primary(language: str) -> str:
    """`zh` of `zh-Hant-TW`, `zh_CN` and `ZH`."""
    return language.replace("_", "-").partition("-")[0].lower()
