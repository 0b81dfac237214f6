"""Whether a mention is denied: "not a bug", "不是bug", "バグではない", "ce n'est pas un bug". ●

A mention is denied where a negation stands before it with nothing between them but words that carry no meaning of their
own ("not really a bug", "没有发现任何bug"), or where the language puts it behind. Everything else between them ends its
reach, because it is then something else that is denied: "they did not fix the bug", "不断闪退", "not only a bug". What is
asked is not denied: "isn't this a bug?", "是不是bug", "バグではないでしょうか". In doubt a mention is one: a rule that holds
once too often is seen, and one that stays silent is not.

English, Chinese, Japanese, Spanish, German and French. What is looked at is a few dozen characters on either side, whatever
the text, and each pattern reads them once.
"""

import re

from shared.simplified import SIMPLIFIED

REACH = 72
"""Bytes before a mention: six short words, two dozen characters of Chinese."""
AHEAD = 48

_NEGATIONS = (
    "not|no|never|without|cannot|nor|neither|zero"
    "|(?:(?:is|are|was|were)n't|(?:isnt|arent|wasnt|werent))(?! (?:it|this|that|there|these|those)\\b)"
    "|(?:do|does|did|has|have|had|wo|would|ca|could|should|must|ai)n'?t"
    "|sin|ningun|ninguna|nunca|jamas|tampoco"
    "|kein|keine|keinen|keinem|keiner|keines|keinerlei|nicht|nie|niemals|ohne"
    "|pas|aucun|aucune|sans|jamais"
)
_LIGHT = (
    "a|an|the|any|really|actually|it|it's|this|that|is|are|was|were|be|been|being|have|has|had|having|there"
    "|think|believe|say|consider|considered|called|of|kind|sort|single|more|other|such|even|exactly|necessarily|quite"
    "|experience|experienced|encounter|encountered|notice|noticed|want|need|ask|asked|asking|for"
    "|major|serious|big|real|known|new|obvious|visible"
    "|es|un|una|hay|ha|he|tiene|habido|tenido|el|la|los|las|mas|se|me|esto|fue|era|son|hubo|ser|realmente"
    "|ein|eine|einen|einem|der|die|das|den|ist|wirklich|mehr|um|als"
    "|le|les|l'|de|d'|du|des|une|eu|vu|ete|vraiment|trop|est|c'est"
)
# A word ends where the next one may begin: "d'" and "l'" need no space.
_denied_before = re.compile(rf"(?:^|(?<![\w'])(?<!-))(?:{_NEGATIONS})(?:(?: |(?<='))(?:{_LIGHT}))*(?: |(?<='))$").search
_denied_before_han = re.compile(
    "(?<![是有能会要可得还尚仍直迟])(?:不(?!过)|没|未|无|非(?!常)|并非)"
    "(?:一个|一点|一|个|什么|任何|有|出现|发现|发生|遇到|遇见|再|过|这种|这个|那种|是|算|真的|真|太|很|会|怎么|又|啥"
    "|大|存在|明显的|其他|别的|要|想|需要|申请|打算| )*$"
).search
_denied_behind_han = re.compile(
    "(?:都|也|已经|就| )*(?:没有?|不)再?(?:出现|遇到|遇见|发生|发现|存在|了|$|[ ,.;!。])"
).match
_denied_behind_kana = re.compile(
    "".join(
        SIMPLIFIED.get(char, char)
        for char in "(?:(?:という(?:わけ|もの|の))?(?:では|じゃ|でも)|(?:は|も|が)?(?:一切|全く|まったく|特に|もう)?"
        "(?:出|起き|発生し|し|い|見当たら)?)(?:な(?:い|かった|く(?!な)|し(?![いか]))|(?:あり)?ませ(?:ん|んでした))"
    )
).match
_asks_kana = re.compile("(?:です|でしょう)?か(?!ら)|のか|の[?？]|[?？]").match
_ne_before = re.compile(r"(?:^|(?<![\w']))(?:ne |n')(?:(?:se|me|te|nous|vous|le|la|les|y|en) |[lmts]')*$").search
_pas_behind = re.compile(r" (?:pas|plus|jamais)\b").match
_free_behind = re.compile(r"[- ]free\b").match
_asks = re.compile(r"[^,.;!。]{0,24}?(?:\?|吗)").match


def denied(before: str, after: str) -> bool:
    """`before`, `after`: what stands on either side of the mention, folded. Where `before` begins within a word, it begins
    with a letter."""
    return _is_denied(before, after) and _asks(after) is None


def _is_denied(before: str, after: str) -> bool:
    if _denied_before(before) is not None or _free_behind(after) is not None:
        return True
    if _pas_behind(after) is not None and _ne_before(before) is not None:
        return True
    if before.isascii() and after.isascii():
        return False
    if (found := _denied_behind_kana(after)) is not None:
        return _asks_kana(after, found.end()) is None
    return _denied_before_han(before) is not None or _denied_behind_han(after) is not None


def sides(data: str, start: int, end: int) -> tuple[str, str]:
    """What stands before and after a place in `matcher.Scan.data`, as `denied` takes it."""
    before, after = _decoded(data[max(0, start - REACH) : start]), _decoded(data[end : end + AHEAD])
    if start > REACH:
        before = "x" + before
    return before.removeprefix(" "), after.rstrip()


def _decoded(part: str) -> str:
    """A part of UTF-8 as Latin-1, which may be cut within a character."""
    return part if part.isascii() else part.encode("latin-1").decode(errors="ignore")
