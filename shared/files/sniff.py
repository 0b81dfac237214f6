"""How a text file was written: its encoding, its delimiter, its header. Pure; it never raises for any bytes but those
that are no text at all.

Why our own: the libraries that guess encodings go by byte frequencies of long texts, and a file of reviews may hold two
words of Chinese in a thousand rows of English. What may come is known here (UTF-8, UTF-16, GB18030, Shift-JIS and what
Excel writes in Western Europe), so each is tried, and what it would read is judged by whether anybody writes so: GB18030
of common characters, Shift-JIS with its kana, single accented letters between plain ones. Of single real sentences this
tells 999 in 1,000; charset-normalizer 3.5 between 680 (Latin) and 860 (Japanese), and of eight characters of Chinese 230.
"""

import codecs
import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from shared.errors import Misuse
from shared.files.cells import is_blank, is_number
from shared.files.dates import looks_like_a_date
from shared.files.names import EMAIL, is_known

# ── encodings ──

LABELS = {
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16, little-endian",
    "utf-16-be": "UTF-16, big-endian",
    "utf-32": "UTF-32",
    "gb18030": "GB18030 (GBK, GB2312)",
    "cp932": "Shift-JIS",
    "cp1252": "Windows-1252 (Latin)",
}
_ALIASES = {
    "gbk": "gb18030", "gb2312": "gb18030", "cp936": "gb18030", "shift-jis": "cp932", "sjis": "cp932",
    "shift_jis": "cp932", "windows-31j": "cp932", "latin1": "cp1252", "latin-1": "cp1252", "iso-8859-1": "cp1252",
    "ansi": "cp1252", "utf8": "utf-8", "utf16": "utf-16", "unicode": "utf-16", "big5": "cp950",
}  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)

UNREADABLE = "\udcff"
"""Stands for bytes that are nothing in the file's encoding. A lone half of a surrogate pair, which no text holds and
which `POST /v1/feedback` refuses: so one bad byte costs its row, and not the file."""
MARKED = "flywheel.marked"
codecs.register_error(MARKED, lambda error: (UNREADABLE, error.end))  # type: ignore[attr-defined]

_LOOKED_AT_CHARS = 20_000
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\x1b")
_BINARY = 0.01
"""The share of control characters from which on it is no text."""


class Encoding(NamedTuple):
    codec: str
    why: str

    @property
    def label(self) -> str:
        return LABELS.get(self.codec, self.codec)


def encoding_named(name: str) -> Encoding:
    """What a person forces. Raises `Misuse`."""
    codec = _ALIASES.get(name.strip().lower(), name.strip().lower())
    try:
        if not isinstance(b"a\n".decode(codec), str) or codec in {"idna", "punycode", "utf-7", "unicode_escape"}:
            raise LookupError
    except (LookupError, UnicodeError, ValueError):
        if codec not in {"utf-16", "utf-16-le", "utf-16-be", "utf-32"}:
            known = "utf-8, utf-16, gb18030, shift-jis, windows-1252, big5, euc-kr"
            raise Misuse(f"--encoding: {name!r} is not an encoding; name one such as {known}") from None
    return Encoding(codec, "--encoding")


def encoding_of(head: bytes, telling: bytes, is_utf8: bool) -> Encoding:
    """`head`: the first bytes; `telling`: lines behind them that are not ASCII; `is_utf8`: whether all of it is.

    Raises `Misuse` for what is no text.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, "its byte order mark")
    if b"\0" in head:
        wide = max(("utf-16-le", "utf-16-be"), key=lambda codec: _everyday(head, codec))
        if _everyday(head, wide) >= 0.85:
            return Encoding(wide, "every other byte")
    if len(head) - len(head.translate(None, _CONTROLS)) > _BINARY * len(head):
        raise Misuse("it is no text: import takes .csv, .tsv, .txt, .jsonl and .xlsx")
    if is_utf8:
        plain = head.isascii() and telling.isascii()
        return Encoding("utf-8", "only plain letters in it" if plain else "all of it is valid")
    sample = _whole_lines(head) + b"\n" + telling
    if _share_of_utf8(sample) >= 0.9:
        return Encoding("utf-8", "nearly all of it is valid")
    judged = [(plausibility(sample, codec), codec) for codec in ("gb18030", "cp932", "cp1252")]
    best = max(judged, key=lambda pair: pair[0])  # the first of equals
    return Encoding(best[1], "reads most naturally so" if best[0] > 0.3 else "a guess: nothing reads naturally")


def decoded(raw: bytes, codec: str) -> str:
    """As far as it is whole: what is cut at its end is left out. A byte order mark is no part of it."""
    decoder = codecs.getincrementaldecoder(codec)(MARKED)
    return str(decoder.decode(raw)).removeprefix("\ufeff")


def plausibility(raw: bytes, codec: str) -> float:
    """Whether anybody writes so: 1 for everyday text of the encoding, below 0 for what it was not."""
    if codec == "cp1252":
        return _plausible_latin(raw)
    weigh = _weigh_chinese if codec == "gb18030" else _weigh_japanese
    told = Counter(char for char in decoded(raw, codec)[:_LOOKED_AT_CHARS] if char >= "\x80")
    count = told.total()
    return sum(weigh(char) * times for char, times in told.items()) / count if count else 0.0


def _weigh_chinese(char: str) -> float:
    if char == UNREADABLE:
        return -4.0
    lead = char.encode("gb2312", "ignore")[:1]
    if not lead:  # the rest of GBK: traditional characters that people write, and those that nobody does
        traditional = char.encode("big5", "ignore")[:1]
        return 0.6 if b"\xa4" <= traditional <= b"\xc6" else -1.0
    if lead in b"\xa1\xa2\xa3" or b"\xb0" <= lead <= b"\xd7":
        return 1.0  # punctuation, and the 3,755 of everyday
    return 0.1


def _weigh_japanese(char: str) -> float:
    if char == UNREADABLE:
        return -4.0
    if "\uff61" <= char <= "\uff9f":  # half-width kana: what Chinese looks like when it is read so
        return -0.5
    raw = char.encode("shift_jis", "ignore")
    if len(raw) != 2:
        return -0.5
    if raw[0] in (0x81, 0x82) or (raw[0] == 0x83 and raw[1] <= 0x96):
        return 1.0  # punctuation, full-width letters, kana
    return 0.8 if 0x88 <= raw[0] <= 0x98 else -0.3


_LATIN_MARKS = frozenset(b"\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99\x8a\x9a\x8c\x9c\x8e\x9e") | frozenset(
    range(0xA0, 256)
)
"""The bytes of Windows-1252 that people type."""


def _plausible_latin(raw: bytes) -> float:
    """Accented letters and typographic signs stand alone among plain letters."""
    total = count = 0.0
    raw = raw[: 4 * _LOOKED_AT_CHARS]
    for found in re.finditer(rb"[\x80-\xff]+", raw):
        run = found.group()
        count += len(run)
        if len(run) > 2 or not _LATIN_MARKS.issuperset(run):
            total -= len(run)
        else:
            # Two accented letters follow each other within a word, such as größer; a Chinese character seldom does.
            within = (
                min(run) >= 0xC0
                and raw[found.start() - 1 : found.start()].isalpha()
                and raw[found.end() : found.end() + 1].isalpha()
            )
            total += 0.9 if len(run) == 1 else 1.0 if within else 0.0
    return total / count if count else 0.0


def _share_of_utf8(raw: bytes) -> float:
    text = decoded(raw, "utf-8")
    bad = text.count(UNREADABLE)
    good = sum(char >= "\x80" for char in text) - bad
    return good / (good + bad) if good + bad else 0.0


_EVERYDAY = re.compile(
    "[\t\n\r -~\u00a0-\u024f\u0370-\u052f\u0e00-\u0e7f\u1100-\u11ff\u2000-\u206f\u20ac\u2190-\u21ff\u2460-\u27bf"
    "\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef\U0001f300-\U0001faff]"
)


def _everyday(raw: bytes, codec: str) -> float:
    """The share of characters that everyday text is made of. A wrong byte order reads a line's end as none of them."""
    text = decoded(raw, codec)[:_LOOKED_AT_CHARS]
    return len(_EVERYDAY.findall(text)) / len(text) if text else 0.0


def _whole_lines(raw: bytes) -> bytes:
    head, line_end, _ = raw.rpartition(b"\n")
    return head if line_end else raw


# ── delimiters ──

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_SEP = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
_LOOKED_AT_ROWS = 200


class Dialect(NamedTuple):
    delimiter: str
    why: str
    says_so: bool = False
    """By a first line `sep=…`, as Excel writes it: no row of the table."""

    @property
    def label(self) -> str:
        return DELIMITERS.get(self.delimiter, repr(self.delimiter))


def delimiter_named(name: str) -> str:
    """What a person forces: the character or its name. Raises `Misuse`."""
    by_name = {label: char for char, label in DELIMITERS.items()} | {"\\t": "\t", "pipe": "|", "bar": "|"}
    delimiter = by_name.get(name.lower(), name)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise Misuse(f"--delimiter: one character, or {', '.join(DELIMITERS.values())}; not {name!r}")
    return delimiter


def dialect_of(text: str, forced: str | None = None) -> Dialect:
    """By the head of the text. What is between the rows' cells splits all of them into as many."""
    first = _SEP.match(text)
    if first is not None and (first.end() == len(text) or first[0].endswith("\n")):
        return Dialect(forced or first[1], "--delimiter" if forced else "its first line says so", says_so=True)
    if forced:
        return Dialect(forced, "--delimiter")
    best, best_score = Dialect(",", "there is one column"), (0.0, 0)
    for delimiter in DELIMITERS:
        widths = Counter(len(row) for row in parsed(text, delimiter)[:_LOOKED_AT_ROWS] if row)
        if not widths:
            continue
        width, times = max(widths.items(), key=lambda pair: (pair[1] if pair[0] > 1 else 0, pair[0]))
        score = (round(times / widths.total(), 1), width)
        if width > 1 and score > best_score:
            best, best_score = Dialect(delimiter, f"{times} of {widths.total()} rows have {width} cells"), score
    return best


def parsed(text: str, delimiter: str) -> list[list[str]]:
    """The rows of a head of a text; what cannot be read ends them."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    with contextlib.suppress(csv.Error):
        rows.extend(reader)
    return rows


# ── headers ──

_LOOKED_FOR_WITHIN = 20
HEADER_MAX_CHARS = 300
"""Surveys write whole questions there."""


class Header(NamedTuple):
    row: int | None
    """The place of the row that names the columns; None: there is none, and all rows are data."""
    begins: int
    """The place of the first row of data."""
    why: str


def header_of(rows: Sequence[Sequence[object]], forced: bool | None = None) -> Header:
    """Which of the first rows names the columns. What stands above a table, such as a title, is none of its rows."""
    filled = [sum(not is_blank(cell) for cell in row) for row in rows]
    usual = Counter(count for count in filled if count).most_common(1)
    least = max(1, round(0.6 * usual[0][0])) if usual else 1
    first = next((i for i, count in enumerate(filled[:_LOOKED_FOR_WITHIN]) if count >= least), None)
    if first is None:
        first = next((i for i, count in enumerate(filled) if count), 0)
    if forced is not None:
        return Header(first, first + 1, "--header") if forced else Header(None, first, "--no-header")
    if not rows:
        return Header(None, 0, "there are no rows")
    names, below = rows[first], rows[first + 1 : first + 1 + _LOOKED_AT_ROWS]
    said = [str(cell).strip() for cell in names if not is_blank(cell)]
    if any(_is_value(cell) for cell in names) or any(len(name) > HEADER_MAX_CHARS for name in said):
        return Header(None, first, "the first row holds values")
    if any(is_known(name) for name in said):
        return Header(first, first + 1, "the first row holds names that are known")
    if len(set(said)) < len(said):
        return Header(None, first, "the first row says the same twice")
    for index, cell in enumerate(names):
        under = [row[index] for row in below if index < len(row) and not is_blank(row[index])]
        if under and not is_blank(cell) and sum(_is_value(one) for one in under) > 0.8 * len(under):
            return Header(first, first + 1, "the first row differs from those below")
    longest = max(map(len, said), default=0)
    usual_longest = max((len(str(cell)) for row in below for cell in row if not is_blank(cell)), default=0)
    if below and longest <= 40 and usual_longest >= 3 * longest:
        return Header(first, first + 1, "the first row is short")
    return Header(None, first, "the first row is like the others")


def _is_value(cell: object) -> bool:
    """A number, a date or an address: what nobody calls a column."""
    if not isinstance(cell, str):
        return cell is not None
    return is_number(cell) or EMAIL.fullmatch(cell.strip()) is not None or looks_like_a_date(cell)
