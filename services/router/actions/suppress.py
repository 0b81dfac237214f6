"""`suppress: {from: 2026-12-01T22:00:00Z, until: 2026-12-02T02:00:00Z, because: "planned maintenance"}`: what is received within
that time troubles nobody before it is over. Or `suppress: {for: 2h, because: "…"}`: each for so long from when it was received.

It is routed at once, as everything is, and its routing says that it is held. Letting it go is the closer's: it has clocks.
Without `from` the time begins `LONGEST` before it ends. Nothing is held for longer than that, and nothing without a reason.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.router.actions import Draft, Held, Name
from shared.events.envelope import rfc3339

LONGEST = timedelta(days=31)
YEARS = range(1970, 9999)
"""Beyond them dates run out."""
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhd])\Z")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _moment(value: Any) -> datetime:
    """In UTC. Raises ValueError."""
    found = _read(value)
    if found is None or found.tzinfo is None or found.year not in YEARS:
        raise ValueError("a time with its zone is wanted, such as 2026-12-01T22:00:00Z or 2026-12-02T06:00:00+08:00")
    return found.astimezone(UTC)


def _read(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _span(text: str) -> timedelta:
    """Raises ValueError."""
    match = _SPAN.match(text)
    found = int(match[1]) * _UNIT[match[2]] if match else None
    if found is None or found > LONGEST:
        raise ValueError(f"a span of at most {LONGEST.days} days is wanted, such as 30m, 2h or 1d")
    return found


def _checked(text: str) -> str:
    _span(text)
    return text


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: Annotated[datetime | None, BeforeValidator(_moment), Field(alias="from")] = None
    until: Annotated[datetime | None, BeforeValidator(_moment)] = None
    span: Annotated[Annotated[str, AfterValidator(_checked)] | None, Field(alias="for")] = None
    because: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]

    @field_validator("until")
    @classmethod
    def _after_it_begins(cls, until: datetime, info: ValidationInfo) -> datetime:
        since = info.data.get("since")
        if since is not None and not since < until <= since + LONGEST:
            raise ValueError(f"it must end after it begins (`from`), and at most {LONGEST.days} days later")
        return until

    @field_validator("span")
    @classmethod
    def _alone(cls, span: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("since") or info.data.get("until"):
            raise ValueError("it counts from when each was received, so neither `from` nor `until` stands beside it")
        return span

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.until is None and self.span is None:
            raise ValueError("`until` or `for` is wanted: what is held is let go one day")
        return self

    def ends(self, received: datetime) -> datetime | None:
        """Until when what was received then is held; None: it is not."""
        if self.span is not None:
            return received + _span(self.span)
        assert self.until is not None
        return self.until if (self.since or self.until - LONGEST) <= received < self.until else None


def apply(draft: Draft, params: Params) -> None:
    received = _read(draft.received_at)
    if received is None or received.year not in YEARS:
        return  # an example that does not say when it was received
    until = params.ends((received if received.tzinfo else received.replace(tzinfo=UTC)).astimezone(UTC))
    if until is not None:
        draft.held = Held(rfc3339(until), params.because)


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    if params.span is not None:
        return f"held for {params.span} ({params.because})"
    assert params.until is not None
    since = f" from {rfc3339(params.since)}" if params.since is not None else ""
    return f"held if it is received{since} before {rfc3339(params.until)} ({params.because})"
