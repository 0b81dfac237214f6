"""What stands in one cell, and how it reads as text and as a number. Pure."""

import re
import unicodedata
from datetime import datetime
from typing import Any

from shared.events.feedback import METRIC_RANGES

Cell = str | int | float | bool | datetime | None
"""A spreadsheet knows numbers, dates and yes or no; a text file knows text."""

_NOTHING = frozenset(
    {"", "-", "--", "—", "n/a", "na", "nan", "null", "none", "nil", "无", "無", "なし", "k.a.", "#n/a"}
)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_OUT_OF = re.compile(r"(\d+(?:[.,]\d+)?) ?(?:/|out of|von|de|sur) ?(\d+)", re.IGNORECASE)
_LABELLED = re.compile(r"(\d{1,2})(?: ?[-–—:.=(] ?\D.*|[ ]?(?:stars?|points?|pts|sterne?|punkte?|estrellas?|puntos?|分|星|点|颗星|つ星)\)?)", re.IGNORECASE)  # fmt: skip
_STARS = re.compile(r"[★⭐☆✩\ufe0f ]+")
_YES = frozenset({"true", "yes", "y", "1", "是", "对", "はい", "sí", "si", "ja", "wahr", "verdadero"})
_NO = frozenset({"false", "no", "n", "0", "否", "不是", "いいえ", "nein", "falsch", "falso"})


def is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def says_nothing(cell: Any) -> bool:
    """Blank, or one of the ways to write that there is nothing: for a score or an address, never for a text."""
    return cell is None or (isinstance(cell, str) and cell.strip().casefold() in _NOTHING)


def as_text(cell: Any) -> str:
    """As a person reads it: 1001 and never 1001.0."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    return str(cell)


def as_number(cell: Any, metric: str = "") -> float | None:
    """A score as people write them: `9`, `4,5`, `９`, `4/5`, `9 - very likely`, `5 stars`, `★★★★☆`. None: it is none."""
    if isinstance(cell, int | float):
        return float(cell)
    if not isinstance(cell, str):
        return None
    text = unicodedata.normalize("NFKC", cell).strip()
    if _NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    if found := _OUT_OF.fullmatch(text):
        # 4 of 5 is a number of stars where those go to 5, and no other scale is turned into it.
        most = METRIC_RANGES.get(metric, (0, float(found[2])))[1]
        return float(found[1].replace(",", ".")) if float(found[2]) == most else None
    if found := _LABELLED.fullmatch(text):
        return float(found[1])
    if text and _STARS.fullmatch(text) and ("★" in text or "⭐" in text):
        return float(text.count("★") + text.count("⭐"))
    if metric == "hmd":
        answer = as_yes(text)
        return None if answer is None else float(answer)
    return None


def is_number(text: str) -> bool:
    """A bare number, as a header never is."""
    return _NUMBER.fullmatch(unicodedata.normalize("NFKC", text).strip()) is not None


def as_yes(cell: Any) -> bool | None:
    """Yes or no, in the languages that headers are guessed in. None: neither."""
    if isinstance(cell, bool):
        return cell
    word = as_text(cell).strip().casefold()
    return True if word in _YES else False if word in _NO else None


def column_letters(index: int) -> str:
    """0 → A, 25 → Z, 26 → AA: what a spreadsheet calls its columns."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
