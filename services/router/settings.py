"""ROUTER_*: read once, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import Misuse

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class RouterSettings:
    batch_records: int = 2_000
    """How many records one transaction takes. ROUTER_BATCH_RECORDS."""
    window_ms: int = 7 * DAY_MS
    """How long a delivery is recognised again; at most what `feedback.received` keeps. ROUTER_WINDOW_DAYS."""


def read_router_settings(env: Mapping[str, str]) -> RouterSettings:
    """Raises `Misuse` naming the variable."""
    return RouterSettings(
        batch_records=int(_number(env, "ROUTER_BATCH_RECORDS", 2_000, 1, 20_000)),
        window_ms=int(_number(env, "ROUTER_WINDOW_DAYS", 7, 0.001, 365) * DAY_MS),
    )


def _number(env: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise Misuse(f"{name}={text!r}: write a number from {least:g} to {most:g}")
    return value
