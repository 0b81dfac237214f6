"""What every request at this door has in common: who, how often, what became of it.

Plain ASGI: the busiest route costs no framework objects, and the others share its one way of saying no. Each outcome
has a word; the words are labels of a metric, so no input ever becomes one. Singles that were accepted are counted and
leave no log line; every refusal, conflict and batch leaves one.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client import Counter
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from services.ingest.forms import Form
from services.ingest.limits import Admission, Buckets, Rate
from services.ingest.pii import Pii
from services.ingest.publish import InFlightConflict
from services.ingest.sources import Ranges, Source, Sources
from shared.auth import Authenticator, Principal, require
from shared.clock import Clock
from shared.errors import Rejected, Transient
from shared.events.acceptable import Invalid
from shared.events.feedback import METRIC_RANGES
from shared.telemetry import get_logger
from shared.web.body import joined_fields
from shared.web.problems import FieldError, Problem, malformed, request_id_of, send_problem, to_problem, unavailable
from shared.web.strict_json import Malformed, Unacceptable

WRITE = "feedback:write"

REQUESTS = Counter("ingest_requests_total", "Requests by route and what became of them.", ["route", "outcome"])
EVENTS = Counter(
    "ingest_events_total", "Events by the way they came in and what became of them.", ["source_kind", "outcome"]
)
EVENTS.labels("webhook", "quarantined")  # an alert waits for it, and sees no increase in what begins with its first

_OUTCOMES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "unknown_source",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported",
    422: "invalid",
    429: "limited",
    503: "unavailable",
}

log = get_logger("ingest")


@dataclass(slots=True)
class InForce:
    """The configuration that requests go by; replaced as a whole."""

    version: str = ""
    """Empty until there is one."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=lambda: dict(METRIC_RANGES))
    pii: Pii | None = None
    forms: Mapping[str, Form] = field(default_factory=dict)

    def take(self, version: str, sources: Sources) -> None:
        self.version, self.sources, self.ranges = version, sources.by_name(), sources.ranges
        self.pii = sources.pii
        self.forms = {form.name: form for form in sources.forms}


class Head(NamedTuple):
    """The header fields that our routes look at."""

    authorization: bytes | None
    idempotency_key: bytes | None
    traceparent: bytes | None
    content_type: bytes | None
    content_encoding: bytes | None
    content_length: bytes | None
    twice: bool
    """Authorization or Idempotency-Key stands twice."""


def head_of(scope: Scope) -> Head:
    headers = scope["headers"]
    fields = dict(headers)
    twice = False
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        twice = names.count(b"authorization") > 1 or names.count(b"idempotency-key") > 1
        fields = joined_fields(headers)
    get = fields.get
    return Head(
        get(b"authorization"),
        get(b"idempotency-key"),
        get(b"traceparent"),
        get(b"content-type"),
        get(b"content-encoding"),
        get(b"content-length"),
        twice,
    )


class Door:
    """One for each process."""

    def __init__(self, authenticator: Authenticator, clock: Clock, rate_per_key: Rate | None) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._buckets = Buckets(rate_per_key) if rate_per_key is not None else None

    def known(self, authorization: bytes | None) -> Principal | None:
        """Whose request it is, when that is known and allowed. None: `admit` finds out, or says no."""
        principal = self._authenticator.cached(authorization)
        return principal if principal is not None and principal.may(WRITE) else None

    def is_within_rate(self, principal: Principal) -> bool:
        if self._buckets is None:
            return True
        return self._buckets.take(principal.key_id, self._clock.monotonic()).admitted

    async def admit(self, scope: Scope, head: Head) -> Principal:
        """Whose request it is. Raises `Problem` 401, 403, 429, or `Transient`."""
        principal = None
        if not head.twice and not scope["query_string"]:
            principal = self._authenticator.cached(head.authorization)
        if principal is None:
            principal = await self._authenticator.identify(scope)
            if head.twice:
                raise malformed("There is more than one Idempotency-Key header.")
        require(principal, WRITE)
        if self._buckets is not None:
            admission = self._buckets.take(principal.key_id, self._clock.monotonic())
            if not admission.admitted:
                raise too_many(self._buckets.rate, admission, "key")
        return principal

    def give_back(self, principal: Principal) -> None:
        """What was admitted and not taken, for it is asked for again."""
        if self._buckets is not None:
            self._buckets.charge(principal.key_id, -1)

    def charge(self, principal: Principal, events: int) -> None:
        """A request that held more than one event."""
        if self._buckets is not None:
            self._buckets.charge(principal.key_id, events - 1)


def too_many(rate: Rate, admission: Admission, policy: str) -> Problem:
    """429, with the header fields of draft-ietf-httpapi-ratelimit-headers, in its present form and in the older one."""
    wait = str(admission.retry_after_s)
    return Problem(
        429,
        "too-many-requests",
        "Too many requests.",
        f"At most {rate.count} in {rate.window_s} s. Nothing of this was taken: send it again after {wait} s.",
        headers={
            "Retry-After": wait,
            "RateLimit-Policy": f'"{policy}";q={rate.count};w={rate.window_s}',
            "RateLimit": f'"{policy}";r=0;t={wait}',
            "RateLimit-Limit": str(rate.count),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": wait,
        },
    )


def invalid(errors: list[FieldError]) -> Problem:
    return Problem(422, "invalid-feedback", "The feedback is not valid.", errors=errors)


def problem_of(error: Exception) -> Problem:
    """Which answer an error of ours is. What is none of them is a defect, and becomes 500."""
    match error:
        case Problem():
            return error
        case Malformed():
            return malformed(str(error))
        case Unacceptable():
            return invalid([{"field": error.path, "message": str(error)}])
        case Invalid():
            return invalid(error.errors)
        case InFlightConflict():
            return Problem(
                409,
                "idempotency-conflict",
                "This id is in use for another body.",
                "A delivery with the same id and another body is being stored at this moment.",
            )
        case Transient():
            return unavailable(error.retry_after)
        case Rejected():
            # From the log: a topic is missing, or the like. The sender did nothing wrong.
            return unavailable()
        case _:
            return to_problem(error)


async def refuse(
    route: str, kind: str, scope: Scope, receive: Receive, send: Send, error: Exception, **ids: Any
) -> None:
    """The answer, the count and the log line of what was not accepted."""
    if isinstance(error, ClientDisconnect):
        REQUESTS.labels(route, "gone").inc()
        return
    problem = problem_of(error)
    outcome = _OUTCOMES.get(problem.status, "error")
    REQUESTS.labels(route, outcome).inc()
    if problem.status != 401:
        EVENTS.labels(kind, outcome).inc()
    said = {
        "route": route,
        "outcome": outcome,
        "status": problem.status,
        "reason": problem.slug,
        "request_id": request_id_of(scope),
        **{name: value for name, value in ids.items() if value},
    }
    if problem.errors:
        said["fields"] = [e["field"] for e in problem.errors[:10]]
    if problem.status == 500:
        log.error("request.failed", exc_info=error, **said)
    elif problem.status == 503:
        log.warning("request.unavailable", detail=str(error), **said)
    else:
        log.info("request.refused", **said)
    await send_problem(scope, send, problem)


def refusing(route: str, kind: str, error: Exception, **ids: Any) -> ASGIApp:
    """What was taken at once and did not get to the log is refused as everything else is."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(route, kind, scope, receive, send, error, **ids)

    return app


def answer_start(status: int, length: int, content_type: bytes = b"application/json") -> dict[str, Any]:
    """`http.response.start`, which may be sent many times: nobody downstream writes to it."""
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", content_type), (b"content-length", str(length).encode())],
    }


async def answer(send: Send, status: int, body: bytes) -> None:
    await send(answer_start(status, len(body)))
    await send({"type": "http.response.body", "body": body})


async def breathe() -> None:
    """Lets others run, in the middle of long work."""
    await asyncio.sleep(0)
