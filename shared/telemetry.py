"""Logs, metrics, traces: what a process says about itself.

One JSON line per outcome, a stable event name, every id, no personal field. `traceparent` (W3C Trace Context)
is carried from HTTP through the log to the mail; when nobody sent one we begin one.
"""

import logging
import sys
from random import Random
from typing import Any, TextIO

import structlog

MAX_VALUE_CHARS = 1000


def get_logger(service: str) -> Any:
    """A logger whose lines carry `service`."""
    # Not .bind(): that would settle the configuration at import, before `configure_logging` has set it.
    return structlog.stdlib.get_logger("flywheel", service=service)


def configure_logging(stream: TextIO | None = None, level: str = "INFO") -> None:
    """JSON lines on stderr (or `stream`), ours and our libraries' alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tame,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "uvicorn.access", "httpx2", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _tame(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Values come from strangers: cut what is long, and escape what would forge a line or paint a terminal."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exc_info":
            cut = value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
            event[key] = "".join(c if c.isprintable() or c == " " else f"\\u{ord(c):04x}" for c in cut)
    return event


_random_bits = Random().getrandbits


def new_traceparent() -> str:
    """A trace begun here: version 00, sampled. Its ids are random and no secret, as OpenTelemetry's are: the system's own
    randomness costs a call of the kernel for each event, a tenth of what it takes to accept one."""
    return f"00-{_random_bits(128) or 1:032x}-{_random_bits(64) or 1:016x}-01"


def traceparent_of(header: str | None) -> str:
    """The caller's `traceparent` where it is well-formed, else a new one."""
    if header and len(header) == 55 and header.startswith("00-") and _is_hex(header[3:35]) and _is_hex(header[36:52]):
        return header
    return new_traceparent()


def _is_hex(value: str) -> bool:
    return all(c in "0123456789abcdef" for c in value) and value.strip("0") != ""
