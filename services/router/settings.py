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
    learn_every: int = 10
    """After so many new corrections a model is tried. ROUTER_LEARN_EVERY."""
    learn_after_s: float = 300.0
    """Fewer are tried too, once one of them has waited for so long. ROUTER_LEARN_AFTER_S."""
    shadow_share: float = 0.5
    """Rules that run as a shadow may take so much of the time that a batch took without them; 0: none, they are not asked.
    ROUTER_SHADOW_SHARE."""


def read_router_settings(env: Mapping[str, str]) -> RouterSettings:
    """Raises `Misuse` naming the variable."""
    return RouterSettings(
        batch_records=int(_number(env, "ROUTER_BATCH_RECORDS", 2_000, 1, 20_000)),
        window_ms=int(_number(env, "ROUTER_WINDOW_DAYS", 7, 0.001, 365) * DAY_MS),
        learn_every=int(_number(env, "ROUTER_LEARN_EVERY", 10, 1, 1_000_000)),
        learn_after_s=_number(env, "ROUTER_LEARN_AFTER_S", 300, 1, 30 * 24 * 3600),
        shadow_share=_number(env, "ROUTER_SHADOW_SHARE", 0.5, 0, 10),
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
