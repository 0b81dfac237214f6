"""A connector's draft made to fit our model: nobody is there to correct a signed webhook, so nothing is refused. Pure.

What cannot be kept is left out, what is too long is cut, and `attributes` says so under `left_out` (names only). Where
nothing that customers said is left, it is `Invalid`, and the original bytes are kept aside.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from services.ingest.normalize import MODELS, Content, event_content, plain_content_of
from services.ingest.plain import encode
from services.ingest.sources import Ranges
from shared.errors import Rejected
from shared.events.acceptable import Invalid, field_errors
from shared.events.characters import id_issue
from shared.events.envelope import FEEDBACK_RECEIVED
from shared.events.feedback import FEEDBACK_IDS_MAX, TEXT_MAX_CHARS, Customer, Score
from shared.web.problems import FieldError
from shared.web.strict_json import measure, shown

PLAIN_MAX_BYTES = 4 * 1024
"""Fewer than `MAX_VALUES` values, and no text that would be cut."""
MAX_DEPTH = 24
MAX_VALUES = 5_000
MAX_STRING_CHARS = 30_000
ATTRIBUTES_MAX_CHARS = 200_000
TITLE_MAX_CHARS = 1_000
URL_MAX_CHARS = 2_048
LABEL_MAX_CHARS = 255
TRIES_MAX = 20
NAMED_MAX = 100
"""Of what was left out."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""It may be more than `_INTEGER_MAX`."""
_GONE = object()
_CUT = {"text": TEXT_MAX_CHARS, "title": TITLE_MAX_CHARS, "note": TEXT_MAX_CHARS}
_SCORES_MAX = 50
_INTEGER_MAX = 2**63
_IDS = ("external_id", "work_id", "team_id")
_CUSTOMERS_IDS = ("id", "account_id")

Place = tuple[int | str, ...]
"""Of a value within values: keys, and the places in a list."""


def tidy_content(kind: str, body: Mapping[str, Any], source: str, ranges: Ranges) -> Content:
    """The content of a draft. Raises `Invalid` when nothing useful is left."""
    if kind not in MODELS:
        raise Invalid([{"field": "type", "message": "is not an event of ours"}])
    plain = plainly_good(body, source, ranges) if kind == FEEDBACK_RECEIVED else None
    return plain or made_to_fit(kind, body, source, ranges)


def made_to_fit(kind: str, body: Mapping[str, Any], source: str, ranges: Ranges) -> Content:
    """Raises `Invalid`."""
    left_out: set[str] = set()
    value = _clean(kind, body, left_out, ranges)
    if kind == FEEDBACK_RECEIVED or "source" in MODELS[kind].model_fields:
        value["source"] = source
    for _ in range(TRIES_MAX):
        if left_out:
            named = sorted(left_out)[:NAMED_MAX]
            value["attributes"] = {**value.get("attributes", {}), "left_out": named}
        errors, places = _errors(kind, value, source, ranges)
        if not errors:
            return event_content(kind, value, source, ranges)
        if not _leave_out(value, places, left_out):
            raise Invalid(errors)
    raise Invalid(errors)


def plainly_good(body: Mapping[str, Any], source: str, ranges: Ranges) -> Content | None:
    """Most drafts need no tidying: what the short way in takes, as small as nothing of it is ever cut, is what
    `made_to_fit` makes of it (a property test holds the two together). None: it is not plain."""
    value = {name: item for name, item in body.items() if item is not None and item != ""}
    customer = value.get("customer")
    if isinstance(customer, dict):
        value["customer"] = {name: item for name, item in customer.items() if item is not None and item != ""}
    value["source"] = source
    attributes = value.get("attributes")
    try:
        if attributes:
            measure(attributes, MAX_DEPTH - 2, MAX_VALUES)
            if _LONG_NUMBER.search(encode(attributes)):
                return None
        content = plain_content_of(value, ranges)
    except (TypeError, ValueError, OverflowError, RecursionError, Rejected):
        return None
    if content is None or len(content.canonical) > PLAIN_MAX_BYTES or b"\\u00" in content.canonical:
        return None
    return content


def _errors(kind: str, value: dict[str, Any], source: str, ranges: Ranges) -> tuple[list[FieldError], list[Place]]:
    """What is wrong, for people, and where, for `_leave_out`: a key may hold the dot that joins a path."""
    try:
        MODELS[kind].model_validate(value)
    except ValidationError as error:
        return field_errors(error), [e["loc"] for e in error.errors(include_url=False, include_input=False)]
    try:
        event_content(kind, value, source, ranges)
    except Invalid as invalid:
        # These are our own checks of our own names, which hold no dot.
        return invalid.errors, [tuple(error["field"].split(".")) for error in invalid.errors]
    return [], []


def _clean(kind: str, body: Mapping[str, Any], left_out: set[str], ranges: Ranges) -> dict[str, Any]:
    """Plain data that can be stored, with strings cut to size and scores that have a range."""
    budget = _Budget()
    cleaned = _storable(dict(body), 1, budget)
    present = {name: item for name, item in cleaned.items() if item is not None and item != ""}
    value = _known(present, MODELS[kind], left_out)
    _write_out(value, _IDS)
    if budget.spent:
        left_out.add("attributes")
    if not isinstance(value.get("attributes", {}), dict):
        value.pop("attributes")
        left_out.add("attributes")
    if _text_size(value.get("attributes")) > ATTRIBUTES_MAX_CHARS:
        value["attributes"] = {}
        left_out.add("attributes")
    for name, size in _CUT.items():
        if isinstance(value.get(name), str) and len(value[name]) > size:
            value[name] = value[name][:size]
            left_out.add(f"{name} after {size} characters")
    url = value.get("url")
    if isinstance(url, str) and len(url) > URL_MAX_CHARS:
        value.pop("url")
        left_out.add("url")
    external = value.get("external_id")
    if external is not None and (not isinstance(external, str) or id_issue(external)):
        value.pop("external_id")
        left_out.add("external_id")
    if "scores" in value:
        given = value["scores"] if isinstance(value["scores"], list | tuple) else []
        good = [score for score in given if _in_range(score, ranges)][:_SCORES_MAX]
        value["scores"] = [_known(score, Score, left_out, "scores.") for score in good]
        if len(value["scores"]) != len(given):
            left_out.add("scores out of range")
    ids = value.get("feedback_ids")
    if isinstance(ids, list) and len(ids) > FEEDBACK_IDS_MAX:
        value["feedback_ids"] = ids[:FEEDBACK_IDS_MAX]
        left_out.add(f"feedback_ids after {FEEDBACK_IDS_MAX}")
    customer = value.get("customer")
    if isinstance(customer, dict):
        known = _known(customer, Customer, left_out, "customer.")
        _write_out(known, _CUSTOMERS_IDS)
        value["customer"] = {
            name: item[:LABEL_MAX_CHARS] if name not in {"id", "email"} and isinstance(item, str) else item
            for name, item in known.items()
            if item is not None and item != ""
        }
    return value


def _known(given: Mapping[str, Any], model: type[BaseModel], left_out: set[str], path: str = "") -> dict[str, Any]:
    """Without what the model has no place for, whatever a key is made of."""
    left_out.update(shown(path + name) for name in given if name not in model.model_fields)
    return {name: item for name, item in given.items() if name in model.model_fields}


def _write_out(value: dict[str, Any], names: Sequence[str]) -> None:
    """Many tools have numbers for ids; as text they are the same ids."""
    for name in names:
        if type(value.get(name)) is int:
            value[name] = str(value[name])


def _in_range(score: Any, ranges: Ranges) -> bool:
    metric = score.get("metric") if isinstance(score, dict) else None
    if not isinstance(metric, str) or metric not in ranges:
        return False
    low, high = ranges[metric]
    value = score.get("value")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return value in (low, high) if metric == "hmd" else low <= value <= high


def _leave_out(value: dict[str, Any], places: Iterable[Place], left_out: set[str]) -> bool:
    """Takes what stands there out of `value`. False when that cannot help: a required field is missing."""
    changed = False
    for place in places:
        if _take_out(value, place):
            left_out.add(shown(".".join(map(str, place))))
            changed = True
    for name, item in value.items():
        if isinstance(item, list):
            value[name] = [one for one in item if one is not _GONE]
    return changed


def _take_out(value: dict[str, Any], place: Place) -> bool:
    """A field of ours, a field of one of its objects, or an item of one of its lists: a part of an item is no item."""
    first, rest = (place[0], place[1:]) if place else ("", ())
    inside = value.get(str(first))
    if rest and isinstance(inside, dict) and rest[0] in inside:
        del inside[rest[0]]
    elif rest and isinstance(inside, list) and str(rest[0]).isdecimal() and int(rest[0]) < len(inside):
        # Its place stays until all are out: those behind it are counted from the beginning.
        inside[int(rest[0])] = _GONE
    elif first in value and first not in {"source", "text"}:
        del value[str(first)]
    else:
        return False
    return True


class _Budget:
    def __init__(self) -> None:
        self.left = MAX_VALUES
        self.spent = False


def _storable(value: Any, depth: int, budget: _Budget) -> Any:
    """Without NUL, lone surrogates, infinities, and what is too deep or too much."""
    budget.left -= 1
    if budget.left < 0 or depth > MAX_DEPTH:
        budget.spent = True
        return None
    if isinstance(value, str):
        return clean_text(value)[: MAX_STRING_CHARS + 1]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < _INTEGER_MAX else None
    if isinstance(value, Mapping):
        return {clean_text(str(k))[:LABEL_MAX_CHARS]: _storable(v, depth + 1, budget) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, depth + 1, budget) for item in value]
    return value


def clean_text(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _text_size(value: Any) -> int:
    """Characters in all, roughly."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(k) + _text_size(v) for k, v in value.items())
    if isinstance(value, list):
        return sum(map(_text_size, value))
    return 8
