"""A connector's draft made to fit our model: nobody is there to correct a signed webhook, so nothing is refused. Pure.

What cannot be kept is left out, what is too long is cut, and `attributes` says so under `left_out` (names only). Where
nothing that customers said is left, it is `Invalid`, and the original bytes are kept aside.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from services.ingest.characters import id_issue
from services.ingest.normalize import MODELS, Content, Invalid, event_content, field_errors
from services.ingest.sources import Ranges
from shared.events.envelope import FEEDBACK_RECEIVED
from shared.events.feedback import TEXT_MAX_CHARS
from shared.web.problems import FieldError

MAX_DEPTH = 24
MAX_VALUES = 5_000
MAX_STRING_CHARS = 30_000
ATTRIBUTES_MAX_CHARS = 200_000
TITLE_MAX_CHARS = 1_000
URL_MAX_CHARS = 2_048
LABEL_MAX_CHARS = 255
TRIES_MAX = 20

_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = {"text": TEXT_MAX_CHARS, "title": TITLE_MAX_CHARS, "note": TEXT_MAX_CHARS}
_SCORES_MAX = 50
_INTEGER_MAX = 2**63


def tidy_content(kind: str, body: Mapping[str, Any], source: str, ranges: Ranges) -> Content:
    """The content of a draft. Raises `Invalid` when nothing useful is left."""
    if kind not in MODELS:
        raise Invalid([{"field": "type", "message": "is not an event of ours"}])
    left_out: set[str] = set()
    value = _clean(body, left_out, ranges)
    if kind == FEEDBACK_RECEIVED or "source" in MODELS[kind].model_fields:
        value["source"] = source
    for _ in range(TRIES_MAX):
        if left_out:
            value["attributes"] = {**value.get("attributes", {}), "left_out": sorted(left_out)}
        errors = _errors(kind, value, source, ranges)
        if not errors:
            return event_content(kind, value, source, ranges)
        names = {error["field"] for error in errors}
        if not _leave_out(value, names, left_out):
            raise Invalid(errors)
    raise Invalid(errors)


def _errors(kind: str, value: dict[str, Any], source: str, ranges: Ranges) -> list[FieldError]:
    try:
        MODELS[kind].model_validate(value)
    except ValidationError as error:
        return field_errors(error)
    try:
        event_content(kind, value, source, ranges)
    except Invalid as invalid:
        return invalid.errors
    return []


def _clean(body: Mapping[str, Any], left_out: set[str], ranges: Ranges) -> dict[str, Any]:
    """Plain data that can be stored, with strings cut to size and scores that have a range."""
    budget = _Budget()
    cleaned = _storable(dict(body), 1, budget)
    value: dict[str, Any] = {name: item for name, item in cleaned.items() if item is not None and item != ""}
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
        value["scores"] = [score for score in given if _in_range(score, ranges)][:_SCORES_MAX]
        if len(value["scores"]) != len(given):
            left_out.add("scores out of range")
    customer = value.get("customer")
    if isinstance(customer, dict):
        value["customer"] = {
            name: item[:LABEL_MAX_CHARS] if name not in {"id", "email"} and isinstance(item, str) else item
            for name, item in customer.items()
            if item is not None and item != ""
        }
    return value


def _in_range(score: Any, ranges: Ranges) -> bool:
    metric = score.get("metric") if isinstance(score, dict) else None
    if not isinstance(metric, str) or metric not in ranges:
        return False
    low, high = ranges[metric]
    value = score.get("value")
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _leave_out(value: dict[str, Any], names: set[str], left_out: set[str]) -> bool:
    """Takes the fields that were named out of `value`. False when that cannot help: a required field is missing."""
    changed = False
    for name in sorted(names):
        first, _, rest = name.partition(".")
        inside = value.get(first)
        if rest and isinstance(inside, dict) and rest.partition(".")[0] in inside:
            inside.pop(rest.partition(".")[0])
        elif first in value and first not in {"source", "text"}:
            value.pop(first)
        else:
            continue
        left_out.add(name)
        changed = True
    return changed


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
