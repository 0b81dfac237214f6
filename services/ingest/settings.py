"""INGEST_*, read once and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.ingest.limits import Rate, parse_rate
from shared.errors import Misuse

ACK_TIMEOUT_S = 5.0
IN_FLIGHT_MAX_MIB = 64
SPOOL_MAX_MIB = 1024


@dataclass(frozen=True, slots=True)
class IngestSettings:
    rate_per_key: Rate | None = None
    """Events of one API key; None: no limit."""
    rate_per_source: Rate | None = None
    """Webhooks of one source; None: no limit."""
    ack_timeout_s: float = ACK_TIMEOUT_S
    """How long a request waits for the log before it is told 503."""
    in_flight_max_bytes: int = IN_FLIGHT_MAX_MIB * 1024 * 1024
    """What requests may hold in memory while the log has not answered; the next ones are told 503."""
    spool_dir: Path | None = None
    """Where events wait on disk while the log is away; None: they are told 503."""
    spool_max_bytes: int = SPOOL_MAX_MIB * 1024 * 1024
    """Of each process; what comes beyond is told 503."""


def read_ingest_settings(env: Mapping[str, str]) -> IngestSettings:
    """Raises `Misuse` naming the variable."""
    return IngestSettings(
        rate_per_key=_rate(env, "INGEST_RATE_PER_KEY"),
        rate_per_source=_rate(env, "INGEST_RATE_PER_SOURCE"),
        ack_timeout_s=_positive(env, "INGEST_ACK_TIMEOUT_S", ACK_TIMEOUT_S),
        in_flight_max_bytes=int(_positive(env, "INGEST_IN_FLIGHT_MAX_MIB", IN_FLIGHT_MAX_MIB) * 1024 * 1024),
        spool_dir=Path(directory) if (directory := env.get("INGEST_SPOOL_DIR")) else None,
        spool_max_bytes=int(_positive(env, "INGEST_SPOOL_MAX_MIB", SPOOL_MAX_MIB) * 1024 * 1024),
    )


def _rate(env: Mapping[str, str], name: str) -> Rate | None:
    text = env.get(name)
    if not text:
        return None
    try:
        return parse_rate(text)
    except ValueError as error:
        raise Misuse(f"{name}: {error}") from None


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1_000_000:
        raise Misuse(f"{name}: {text!r} is not a number greater than 0")
    return value
