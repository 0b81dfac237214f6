"""JSON that may be stored: what is accepted here breaks no parser, database or topic further on.

`loads` agrees with the standard library on every acceptable document, and refuses what the standard library or its
like let through and others choke on. Two kinds of refusal:

* `Malformed` (400): it cannot be read as one JSON text in one way: bad UTF-8, a BOM, bad syntax, trailing bytes,
  a duplicate key, nesting over the limit, an integer of thousands of digits.
* `Unacceptable` (422, with the field's path): it can be read, but holds what cannot be kept: NaN, an infinity (`1e400`
  too), NUL, a lone surrogate, more values than anybody means.

The fast path decodes by msgspec, then proves from a count over the raw bytes that no key was lost: with white space
taken out each key is followed by `":`, so if `":` occurs only as often as there are keys in the result, no key came
twice. Where the proof fails, which is no sign of a fault, the standard library decides, exactly and slower.

What costs more than its bytes (a million values, floats at the edge of the range) is refused or defused before it is
decoded.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from shared.errors import Rejected

MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_VALUES_PER_ITEM = 100  # on average, over the items of one array
MAX_SHOWN_CHARS = 100


class Malformed(Rejected):
    """It cannot be read as one JSON text in one way: 400."""


class Unacceptable(Rejected):
    """It can be read and not be kept: 422. `path` is the field (`customer.name`, `scores.0.value`; `` for the whole)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def finite(digits: str) -> float:
    """Raises `ValueError` for what is too large for a double."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError("not finite")
    return number


# msgspec's own parser takes 10 µs for a float at the edge of the range; Python's takes half a microsecond for any.
_decode = msgspec.json.Decoder(float_hook=finite).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_WHITE_SPACE = b" \t\r\n"
# Where a value ends; what it is, is another's question: numbers stay text.
_READER = json.JSONDecoder(parse_int=str, parse_float=str)
_SPACES = re.compile(r"[ \t\r\n]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> Any:
    """The value. Raises `Malformed` or `Unacceptable`."""
    if len(raw) > max_values:
        _refuse_too_many(raw, max_values)
    try:
        value = _decode(raw)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _exact(raw, max_depth, max_values)
    keys = measure(value, max_depth, max_values)
    if raw.translate(None, _WHITE_SPACE).count(b'":') != keys or (b"\\" in raw and b"\\u0000" in raw):
        return _exact(raw, max_depth, max_values)
    return value


def split_array(raw: bytes, *, max_items: int) -> list[bytes]:
    """The items of a JSON array, each as its own bytes for `loads`, so that one bad item spoils only itself.

    Raises `Malformed` when the whole is not a JSON array, `Unacceptable` when it has more items than that.
    """
    max_values = MAX_VALUES_PER_ITEM * max_items
    if len(raw) > max_values:
        _refuse_too_many(raw, max_values)
    try:
        items: Sequence[bytes | msgspec.Raw] = _split(raw)
    except RecursionError:
        raise _too_deep(MAX_DEPTH) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        items = _split_exact(raw, max_items)
    if len(items) > max_items:
        raise Unacceptable(f"There are more than {max_items:,} items.", "")
    return [bytes(item) for item in items]


def _split_exact(raw: bytes, max_items: int) -> list[bytes]:
    """The slow way, which also sees where an item ends that holds a NaN or half of a surrogate pair."""
    text = _text(raw)
    at = _past_space(text, 0)
    if not text.startswith("[", at):
        _exact(raw, MAX_DEPTH, MAX_VALUES_PER_ITEM * max_items)
        raise Malformed("The body is not a JSON array.")
    items: list[bytes] = []
    at = _past_space(text, at + 1)
    more = not text.startswith("]", at)
    while more:
        try:
            _, end = _READER.raw_decode(text, at)
        except RecursionError:
            raise _too_deep(MAX_DEPTH) from None
        except json.JSONDecodeError as error:
            raise _not_json(error) from None
        items.append(text[at:end].encode())
        if len(items) > max_items:
            break
        at = _past_space(text, end)
        more = text.startswith(",", at)
        if more:
            at = _past_space(text, at + 1)
    else:
        if not text.startswith("]", at) or _past_space(text, at + 1) != len(text):
            raise _not_json(json.JSONDecodeError("", text, at))
    return items


def _past_space(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at


def _text(raw: bytes) -> str:
    if raw.startswith(_BOM):
        raise Malformed("The body begins with a byte order mark.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None


def _not_json(error: json.JSONDecodeError) -> Malformed:
    return Malformed(f"The body is not JSON (line {error.lineno}, column {error.colno}).")


def _refuse_too_many(raw: bytes, max_values: int) -> None:
    """Before anything is decoded: there are more values than commas outside strings."""
    if raw.count(b",") < max_values:
        return
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if b"".join(unescaped.split(b'"')[::2]).count(b",") >= max_values:
        raise Unacceptable(f"There are more than {max_values:,} values.", "")


def measure(value: Any, max_depth: int, max_values: int) -> int:
    """How many keys there are, level by level. Refuses what is too deep or too many."""
    if not isinstance(value, dict | list):
        return 0
    keys = depth = values = 0
    level: list[Any] = [value]
    while level:
        depth += 1
        if depth > max_depth:
            raise _too_deep(max_depth)
        below: list[Any] = []
        for container in level:
            values += len(container)
            if values > max_values:
                raise Unacceptable(f"There are more than {max_values:,} values.", "")
            if type(container) is dict:
                keys += len(container)
                container = container.values()
            for child in container:
                if type(child) is dict or type(child) is list:
                    below.append(child)  # noqa: PERF401  a comprehension costs a frame for each container
        level = below
    return keys


def _exact(raw: bytes, max_depth: int, max_values: int) -> Any:
    """The slow way, which also knows what is wrong and where."""
    text = _text(raw)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    measure(value, max_depth, max_values)
    _refuse_unkeepable(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _name_duplicate(pairs)
    return found


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise Malformed("A number has too many digits.") from None


def _name_duplicate(pairs: list[tuple[str, Any]]) -> NoReturn:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Malformed(f"The key {shown(key)} occurs twice in one object.")
        seen.add(key)
    raise AssertionError("a dict lost a key that was not there twice")


def _refuse_unkeepable(value: Any) -> None:
    """Walks the whole of it, with paths: the depth is known to be small."""
    pending: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while pending:
        node, path = pending.pop()
        if type(node) is str:
            _check_text(node, path)
        elif type(node) is float:
            if not math.isfinite(node):
                raise Unacceptable("This number is not finite.", _join(path))
        elif type(node) is dict:
            for key, child in node.items():
                _check_text(key, (*path, key))
                pending.append((child, (*path, key)))
        elif type(node) is list:
            pending.extend((child, (*path, str(index))) for index, child in enumerate(node))


def _check_text(text: str, path: tuple[str, ...]) -> None:
    if "\0" in text:
        raise Unacceptable("A NUL character cannot be kept.", _join(path))
    if not text.isascii() and _SURROGATE.search(text):
        raise Unacceptable("A lone surrogate is not a character.", _join(path))


def _join(path: tuple[str, ...]) -> str:
    return ".".join(map(shown, path))


def shown(key: str) -> str:
    """A key that a stranger wrote, fit to be repeated."""
    cut = key if len(key) <= MAX_SHOWN_CHARS else key[:MAX_SHOWN_CHARS] + "…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)


def _too_deep(max_depth: int) -> Malformed:
    return Malformed(f"It is nested deeper than {max_depth} levels.")
