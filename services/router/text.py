"""The language of a text, by its script and its short words; as the rules and the classifier need it. ●"""

import re

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
