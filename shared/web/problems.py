"""Every "no" in one form: RFC 9457 `application/problem+json`.

`type` is a relative reference, `/problems/<slug>`: stable, and true on whatever host answers. A reply names the
fields that are wrong and never repeats what was in them; a defect is logged with its stack and shown as `internal`.

`install(app)` makes it so for a whole FastAPI application, including what FastAPI and Starlette answer by themselves.
"""

import itertools
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import FlywheelError, Misuse, Rejected, Transient
from shared.telemetry import get_logger
from shared.web.strict_json import Malformed, Unacceptable, shown

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
_ADDRESS, _TAG = "must be one plain e-mail address", "must be a language tag, such as zh-CN"
_CURRENCY = "must be three capital letters, such as EUR (ISO 4217)"
FORMS: Mapping[str, str] = {
    "email": _ADDRESS,
    "to": _ADDRESS,
    "owner": _ADDRESS,
    "language": _TAG,
    "locale": _TAG,
    "currency": _CURRENCY,
}
"""What to say instead of a regular expression, by the field's own name."""
RETRY_AFTER_S = 1
INSTANCE_MAX_CHARS = 255
"""Of a longer path there is no `instance`: cut short it would be another's."""
_NO_URI = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")

_log = get_logger("web")


class FieldError(TypedDict):
    """Which field, as the sender wrote its path (`scores.0.value`; `` for the whole), and what is wrong with it."""

    field: str
    message: str


class Problem(FlywheelError):
    """An answer that refuses. `members` are added to the document (RFC 9457 §3.2)."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{status} {slug}: {detail or title}")
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers: Mapping[str, str] = headers or {}
        self.members = members

    def document(self, *, instance: str | None = None, request_id: str | None = None) -> dict[str, Any]:
        document: dict[str, Any] = {"type": f"/problems/{self.slug}", "title": self.title, "status": self.status}
        if self.detail is not None:
            document["detail"] = self.detail
        if instance is not None and len(instance) <= INSTANCE_MAX_CHARS:
            document["instance"] = _reference(instance)
        if self.errors:
            document["errors"] = list(self.errors[:MAX_ERRORS])
        if request_id is not None:
            document["request_id"] = request_id
        return document | self.members


def _reference(path: str) -> str:
    """A URI reference, as RFC 9457 asks for it, whatever a stranger's path holds."""
    return _NO_URI.sub(lambda found: quote(found[0], safe=""), path)


def problem_response(
    problem: Problem, *, instance: str | None = None, request_id: str | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """(status, headers, body), ready for ASGI."""
    body = msgspec.json.encode(problem.document(instance=instance, request_id=request_id))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()),
    ]
    return problem.status, headers, body


async def send_problem(scope: Scope, send: Send, problem: Problem) -> None:
    """The whole reply, from a plain ASGI application."""
    status, headers, body = problem_response(problem, instance=_path(scope), request_id=request_id_of(scope))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def malformed(detail: str) -> Problem:
    return Problem(400, "malformed", "The request could not be read.", detail)


def invalid(errors: Sequence[FieldError], slug: str = "invalid-request") -> Problem:
    """422, each field named."""
    return Problem(422, slug, "The request is not valid.", errors=errors)


def invalid_field(field: str, message: str) -> Problem:
    """422, of one field."""
    return invalid([{"field": field, "message": message}])


def not_found(detail: str | None = None) -> Problem:
    return Problem(404, "not-found", "There is nothing here.", detail)


def unavailable(retry_after: float | None = None) -> Problem:
    """503: the outcome is unknown, and the same id may be sent again."""
    return Problem(
        503,
        "unavailable",
        "We cannot tell whether this was done.",
        "The outcome is unknown: send the same again, with the same id.",
        headers={"Retry-After": str(max(RETRY_AFTER_S, math.ceil(retry_after or 0)))},
    )


_BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("malformed", "The request could not be read."),
    401: ("unauthorized", "A valid API key is required."),
    403: ("forbidden", "This is not allowed."),
    404: ("not-found", "There is nothing here."),
    405: ("method-not-allowed", "This method is not allowed here."),
    409: ("conflict", "This does not fit the present state."),
    412: ("precondition-failed", "It was changed meanwhile."),
    413: ("payload-too-large", "The body is too large."),
    415: ("unsupported-media-type", "This media type is not accepted here."),
    422: ("invalid-request", "The request is not valid."),
    429: ("too-many-requests", "Too many requests."),
    431: ("headers-too-large", "The header fields are too large."),
    503: ("unavailable", "The service is not available now."),
}
_OUR_TYPES = (Problem, RequestValidationError, HTTPException, Transient, Rejected)


def to_problem(error: BaseException) -> Problem:
    """Which answer an error is. What is no answer of ours is a defect: 500, and nothing about it is shown."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _from_http(error)
        case Transient():
            return unavailable(error.retry_after)
        case Malformed():
            return malformed(str(error))
        case Unacceptable():
            return invalid([{"field": error.path, "message": str(error)}])
        case Rejected():
            return Problem(422, "rejected", "This cannot be done.", shown(str(error)))
        case _:
            return Problem(500, "internal", "Something is wrong on our side.", "It was logged under this request's id.")


def _from_http(error: HTTPException) -> Problem:
    if isinstance(error.__cause__, FlywheelError | ClientDisconnect):
        # FastAPI turns whatever reading the body raised into its own 400.
        return to_problem(error.__cause__)
    status = error.status_code
    slug, title = _BY_STATUS.get(status) or ("http-error", _phrase(status))
    told = error.detail if isinstance(error.detail, str) and error.detail != _phrase(status) else None
    return Problem(status, slug, title, told and shown(told), headers=error.headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return malformed("The body is not JSON.")
    return invalid([_field_error(e) for e in found[:MAX_ERRORS]])


def _field_error(error: Mapping[str, Any]) -> FieldError:
    location = tuple(error["loc"])
    if location and location[0] in {"body", "query", "path", "header", "cookie"}:
        location = location[1:]
    return {"field": shown(".".join(map(str, location))), "message": _harmless_message(error)}


def _harmless_message(error: Mapping[str, Any]) -> str:
    """Pydantic's sentence, unless it quotes the input: some of them do."""
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] in FORMS:
        return FORMS[error["loc"][-1]]
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    quoted = isinstance(given, str) and given != "" and given in message
    if quoted or error["type"] in {"union_tag_invalid", "uuid_parsing", "url_parsing"}:
        return "Input is not valid"
    return shown(message)


# ── request ids ──────────────────────────────────────────────────────────────────────────────────

_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
# Unique by the process's 64 random bits and a count: a hundredth of the price of a UUID.
_prefix = secrets.token_hex(8)
_count = itertools.count(1)


def request_id_of(scope: Scope) -> str:
    """The request's id: the caller's `X-Request-Id` where it is a plain token, else one made here."""
    known = scope.get("request_id")
    if isinstance(known, str):
        return known
    made = f"{_prefix}-{next(_count):x}"
    for name, value in scope.get("headers", ()):
        if name == b"x-request-id" and _ACCEPTED_ID.fullmatch(value):
            made = bytes(value).decode("ascii")
            break
    scope["request_id"] = made
    return made


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope.get("path", "").encode("utf-8", "replace")
    return raw.decode("latin-1")


class RequestId:
    """Outermost, pure ASGI: gives each request its id and each reply the header, and answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outermost = "request_id" not in scope
        header = (b"x-request-id", request_id_of(scope).encode())
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if outermost:
                    message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            return
        except Exception as error:
            if started:
                raise
            await send_problem(scope, send_on, _logged(scope, error))


def _logged(scope: Scope, error: Exception) -> Problem:
    """The answer, after what the answer does not say was written down."""
    problem = to_problem(error)
    if problem.status >= 500:
        where = {"request_id": request_id_of(scope), "method": scope.get("method"), "path": _path(scope)}
        if isinstance(error, _OUR_TYPES):
            _log.warning("request.unavailable", status=problem.status, reason=str(error), **where)
        else:
            _log.error("request.failed", exc_info=error, **where)
    return problem


async def _answer(request: Request, error: Exception) -> Response:
    status, headers, body = problem_response(
        _logged(request.scope, error), instance=_path(request.scope), request_id=request_id_of(request.scope)
    )
    response = Response(body, status)
    response.raw_headers = headers
    return response


def install(app: FastAPI) -> None:
    """Every error of this application is ours from here on, and its OpenAPI document says so.

    Call it before routers are included: their routes become strict ones (`shared.web.routes`).
    """
    from shared.web.routes import make_strict

    if app.max_body_size is not None:
        raise Misuse(
            "FastAPI's max_body_size answers in plain text, past every handler; strict routes have their own limit"
        )
    include = app.include_router

    def include_strict(router: APIRouter, *args: Any, **options: Any) -> None:
        make_strict(router)
        include(router, *args, **options)

    make_strict(app.router)
    app.include_router = include_strict  # type: ignore[method-assign]
    for kind in _OUR_TYPES:
        app.add_exception_handler(kind, _answer)
    app.router.redirect_slashes = False
    app.add_middleware(RequestId)
    _describe(app)


# ── OpenAPI ──────────────────────────────────────────────────────────────────────────────────────

_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def _reply(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _replies(operation: Mapping[str, Any]) -> dict[str, Any]:
    """How such a route refuses, by its status: what it reads can be invalid, and a key can be missing or too narrow."""
    found = {"503": _reply("Unknown: send the same again, with the same id"), "default": _reply("Refused otherwise")}
    if "requestBody" in operation or any(one["in"] == "query" for one in operation.get("parameters", ())):
        found["422"] = _reply("Not valid: `errors` names each field")
    if operation.get("security"):
        found["401"] = _reply("No key, or none that is known")
        found["403"] = _reply("The key has not the scope")
    return found


def _describe(app: FastAPI) -> None:
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generated()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for theirs in ("HTTPValidationError", "ValidationError"):
            schemas.pop(theirs, None)
        schemas["Problem"] = _SCHEMA
        for operations in document.get("paths", {}).values():
            for operation in operations.values():
                if isinstance(operation, dict) and "responses" in operation:
                    operation["responses"].pop("422", None)
                    operation["responses"] |= _replies(operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
