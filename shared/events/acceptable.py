"""Whether a piece of feedback would be taken, and if not, what is wrong with each field. Pure.

The model says most of it; the rest is here: ranges of scores, ids that can be compared, and that something was said at
all. Ingest decides by it at its door, and whoever reads a file says by it beforehand what would be refused there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from shared.errors import Rejected
from shared.events.characters import id_issue, is_visible
from shared.events.feedback import Feedback
from shared.web.problems import FORMS, MAX_ERRORS, FieldError
from shared.web.strict_json import shown

Ranges = Mapping[str, tuple[float, float]]
"""Metric → least and most, inclusive."""

MEMBERS_MAX = 100
"""Of one object of ours; the model knows less than 20. Whoever sends thousands means to keep us busy naming them."""
SCORES_MAX = 50

_read_feedback = Feedback.__pydantic_validator__.validate_python


class Invalid(Rejected):
    """The content is not acceptable; every field that is wrong is named."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{e['field']}: {e['message']}" for e in errors))
        self.errors = list(errors)


def accepted(value: Any, ranges: Ranges) -> Feedback:
    """The body of `POST /v1/feedback`, decoded. Raises `Invalid`."""
    refuse_too_many(value)
    try:
        feedback: Feedback = _read_feedback(value)
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None
    errors = _wrong_with(feedback, ranges)
    if errors:
        raise Invalid(errors)
    return feedback


def refuse_too_many(value: Any) -> None:
    """Before the model looks: it would name 20,000 unknown fields one by one. Raises `Invalid`."""
    if not isinstance(value, dict):
        return
    scores = value.get("scores")
    if not isinstance(scores, list):
        scores = []
    if len(scores) > SCORES_MAX:
        raise Invalid([{"field": "scores", "message": f"must have at most {SCORES_MAX} items"}])
    ours = [("", value), ("customer", value.get("customer"))]
    ours += [(f"scores.{index}", score) for index, score in enumerate(scores)]
    for path, part in ours:
        if isinstance(part, dict) and len(part) > MEMBERS_MAX:
            raise Invalid([{"field": path, "message": f"has more than {MEMBERS_MAX} fields"}])


def field_errors(error: ValidationError) -> list[FieldError]:
    """Which fields, as the sender wrote their paths, and what is wrong; never what was in them."""
    if error.error_count() > MAX_ERRORS:
        # To name them takes longer than to find them, and nobody reads so many.
        return [{"field": "", "message": f"more than {MAX_ERRORS} things are wrong with it"}]
    return [
        {"field": shown(".".join(map(str, e["loc"]))), "message": _message(e)}
        for e in error.errors(include_url=False, include_input=False)
    ]


def _message(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not a known field"
        case "missing":
            return "is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be an object"
        case "string_pattern_mismatch" if error["loc"][-1] in FORMS:
            return FORMS[error["loc"][-1]]
        case "too_long":
            return f"must have at most {error['ctx']['max_length']:,} items"
        case "timezone_aware":
            return "must have a zone, such as 2026-01-01T09:00:00+08:00 or …Z"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def _wrong_with(feedback: Feedback, ranges: Ranges) -> list[FieldError]:
    """What the model cannot say: ranges, ids fit to be compared, and that something was said at all."""
    errors: list[FieldError] = []
    for index, score in enumerate(feedback.scores):
        allowed = ranges.get(score.metric)
        if allowed is None:
            message = f"is not a known metric ({', '.join(sorted(ranges))}): add it under metrics: in sources.yaml"
            errors.append({"field": f"scores.{index}.metric", "message": message})
        elif not allowed[0] <= score.value <= allowed[1]:
            message = f"must be from {allowed[0]:g} to {allowed[1]:g} for {score.metric}"
            errors.append({"field": f"scores.{index}.value", "message": message})
        elif score.metric == "hmd" and score.value not in allowed:
            errors.append({"field": f"scores.{index}.value", "message": "must be 0 or 1 for hmd"})
    if not feedback.scores and not is_visible(feedback.text):
        errors.append({"field": "text", "message": "is required where there are no scores, with something to read"})
    if feedback.external_id is not None and (issue := id_issue(feedback.external_id)):
        errors.append({"field": "external_id", "message": issue})
    customer = feedback.customer
    if customer is not None and customer.id is not None and not is_visible(customer.id):
        errors.append({"field": "customer.id", "message": "must hold something to read"})
    return errors
