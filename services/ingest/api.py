"""The native routes: one piece of feedback, many at once, and CloudEvents. 202 only after the log has it.

Each route is one plain ASGI callable. FastAPI documents it (`routes`), and the runtime serves the busiest before any
framework sees it (`hot_paths`). The busiest of all, one piece in plain JSON from a sender who is known, is taken at
once: the same steps, without a task to wait in, and each step for all that came in one turn of the event loop before the
next. Whatever is not plain goes the long way, which knows every refusal.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from services.ingest import cloudevents, examples
from services.ingest.door import (
    EVENTS,
    REQUESTS,
    Door,
    Head,
    InForce,
    answer,
    breathe,
    head_of,
    log,
    refuse,
    refusing,
)
from services.ingest.door import invalid as invalid_feedback
from services.ingest.normalize import Builder, Content, Event, event_id, plain_content, read_feedback, without
from services.ingest.publish import Publisher
from services.ingest.webhooks import Webhooks
from shared.auth import Principal
from shared.clock import Clock
from shared.events.acceptable import Invalid
from shared.events.characters import id_issue
from shared.events.envelope import rfc3339
from shared.events.feedback import Feedback
from shared.events.identity import fresh_id, joined
from shared.telemetry import traceparent_of
from shared.web import strict_json
from shared.web.at_once import Asked, HotPath, Together, answer_head
from shared.web.body import accepted, media_type, read_body
from shared.web.problems import FieldError, request_id_of

ITEM_MAX_BYTES = 1024 * 1024
BATCH_MAX_BYTES = 16 * 1024 * 1024
BATCH_MAX_ITEMS = 5_000
BATCH_MAX_LINES = 4 * BATCH_MAX_ITEMS
"""Of NDJSON, the blank ones too: they are nothing, and looking at sixteen million of them is not."""
BREATHE_AFTER_S = 0.015
"""A batch's work between two looks at the other requests: by time, for an item may cost a thousand times another."""
ERRORS_PER_ITEM = 20
ERRORS_PER_BATCH = 1_000
"""Then each bad item is named with the first thing that is wrong with it."""
JSON = ("application/json",)
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
CLOUDEVENTS = (cloudevents.STRUCTURED, cloudevents.BATCHED, cloudevents.BINARY)

_UUID_CHARS, _TIME_CHARS = 36, 24
_ACCEPTED_CHARS = len('{"id":"","received_at":""}') + _UUID_CHARS + _TIME_CHARS
_ACCEPTED_HEAD = answer_head(202, _ACCEPTED_CHARS)
_feedback_accepted = REQUESTS.labels("feedback", "accepted")
_single_accepted = EVENTS.labels("api", "accepted")

Handler = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Api:
    def __init__(
        self, *, door: Door, in_force: InForce, publisher: Publisher, builder: Callable[[str], Builder], clock: Clock
    ) -> None:
        self._door = door
        self._in_force = in_force
        self._publisher = publisher
        self._builder = builder
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._together = Together(self._recognise, self._read, self._make, self._offer)
        self._uncounted = 0
        self._tick = -1
        self._now = ""

    # ── one ──

    def feedback_at_once(self, asked: Asked) -> bool:
        """`POST /v1/feedback`, the hot path: whoever sends it is known, it is plainly good, and only the log's answer is
        waited for. What is otherwise is declined, and `feedback` says why. Decided with all that come in the same turn of
        the event loop."""
        self._together.add(_Taken(asked, self._count_accepted))
        return True

    def _recognise(self, taken: "_Taken") -> bool:
        fields = taken.asked.fields
        principal = self._door.known(fields.get(b"authorization"))
        if principal is None or b"content-encoding" in fields or b"idempotency-key" in fields:
            return False
        taken.principal = principal
        return accepted(fields.get(b"content-type", b""), JSON)

    def _read(self, taken: "_Taken") -> bool:
        content = plain_content(taken.asked.body, self._in_force.ranges)
        if content is None:
            return False
        taken.content = content
        return True

    def _make(self, taken: "_Taken") -> bool:
        traceparent = taken.asked.fields.get(b"traceparent")
        taken.event, taken.received_at = self._made(taken.content, taken.principal, None, traceparent)
        return True

    def _offer(self, taken: "_Taken") -> bool:
        if not self._door.is_within_rate(taken.principal):
            return False
        if self._publisher.offer(taken.event, taken.received_at, taken.told):
            return True
        # The long way asks to be admitted once more.
        self._door.give_back(taken.principal)
        return False

    async def feedback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/feedback`, every case of it."""
        principal: Principal | None = None
        try:
            head = head_of(scope)
            principal = await self._door.admit(scope, head)
            raw = await read_body(scope, receive, max_bytes=ITEM_MAX_BYTES, content_types=JSON, fields=head)
            content = read_feedback(raw, self._in_force.ranges)
            event, received_at = self._made(content, principal, _key(head), head.traceparent)
            received_at = await self._publisher.publish(event, received_at, told=True)
        except Exception as error:  # noqa: BLE001 - each has its answer; a defect is logged and answered 500
            await refuse("feedback", "api", scope, receive, send, error, **_ids(principal))
            return
        self._count_accepted()
        await answer(send, 202, f'{{"id":"{event.id}","received_at":"{received_at}"}}'.encode())

    def _count_accepted(self) -> None:
        """One more. A group is told in one turn of the event loop, and counted in the next, together: each of the two
        counters takes a lock and four calls."""
        if not self._uncounted:
            self._loop.call_soon(self._counted)
        self._uncounted += 1

    def _counted(self) -> None:
        count, self._uncounted = self._uncounted, 0
        _feedback_accepted.inc(count)
        _single_accepted.inc(count)

    def _made(
        self, content: Content, principal: Principal, key: str | None, traceparent: bytes | None
    ) -> tuple[Event, str]:
        """The event, and its `received_at`."""
        workspace = principal.workspace
        content = without(content, self._in_force.pii)
        delivery = event_id(content, workspace, key) or fresh_id()
        received_at = self._received_at()
        trace = traceparent_of(_text(traceparent))
        return self._builder(workspace).build(content, delivery, received_at, trace), received_at

    def _received_at(self) -> str:
        """Now, written once a millisecond."""
        tick = int(self._clock.monotonic() * 1000)
        if tick != self._tick:
            self._tick, self._now = tick, rfc3339(self._clock.now())
        return self._now

    # ── many ──

    async def batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/feedback/batch`."""
        principal: Principal | None = None
        try:
            head = head_of(scope)
            principal = await self._door.admit(scope, head)
            history = _history(scope["query_string"])
            raw = await read_body(scope, receive, max_bytes=BATCH_MAX_BYTES, content_types=JSON + NDJSON, fields=head)
            items = _split(raw, ndjson=media_type(scope) in NDJSON)
            key = _key(head)
            ranges, pii, workspace = self._in_force.ranges, self._in_force.pii, principal.workspace
            build, trace, received_at = self._builder(workspace).build, _trace(head), rfc3339(self._clock.now())

            def read(index: int, item: bytes) -> Event:
                content = without(read_feedback(item, ranges), pii)
                # One key names the whole batch; an item is the key and its place, so a batch sent again is a repeat.
                own_key = None if key is None else joined("batch", key, str(index))
                delivery = event_id(content, workspace, own_key) or fresh_id()
                return build(content, delivery, received_at, trace, history=history)

            reply = await self._take_all(scope, principal, "batch", items, read)
        except Exception as error:  # noqa: BLE001 - each has its answer; a defect is logged and answered 500
            await refuse("batch", "batch", scope, receive, send, error, **_ids(principal))
            return
        await answer(send, 202, reply)

    async def _take_all(
        self,
        scope: Scope,
        principal: Principal,
        route: str,
        items: Sequence[bytes],
        read: Callable[[int, bytes], Event],
    ) -> bytes:
        """Good items go in by one append, bad ones are named. Raises `Problem` 422 when all are bad."""
        events: list[Event] = []
        rejected = _Rejected()
        clock = asyncio.get_running_loop().time
        until = clock() + BREATHE_AFTER_S
        for index, item in enumerate(items):
            if clock() > until:
                await breathe()
                until = clock() + BREATHE_AFTER_S
            try:
                if len(item) > ITEM_MAX_BYTES:
                    raise Invalid([{"field": "", "message": f"has more than {ITEM_MAX_BYTES:,} bytes"}])
                events.append(read(index, item))
            except (Invalid, strict_json.Malformed, strict_json.Unacceptable) as error:
                rejected.add(index, _errors(error))
        self._door.charge(principal, len(items))
        if not events:
            raise invalid_feedback(_all_bad(rejected.items))
        await self._publisher.publish_all([event.message for event in events])
        REQUESTS.labels(route, "accepted").inc()
        EVENTS.labels(route, "accepted").inc(len(events))
        EVENTS.labels(route, "invalid").inc(len(rejected.items))
        log.info(
            "batch.accepted",
            route=route,
            accepted=len(events),
            rejected=len(rejected.items),
            request_id=request_id_of(scope),
            **_ids(principal),
        )
        return msgspec.json.encode(
            {"accepted": len(events), "rejected": rejected.items, "ids": [event.id for event in events]}
        )

    # ── CloudEvents ──

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/events`."""
        principal: Principal | None = None
        try:
            head = head_of(scope)
            principal = await self._door.admit(scope, head)
            if media_type(scope) == cloudevents.BATCHED:
                body = await self._event_batch(scope, receive, principal, head)
            else:
                body = await self._event(scope, receive, principal, head)
        except Exception as error:  # noqa: BLE001 - each has its answer; a defect is logged and answered 500
            await refuse("events", "cloudevents", scope, receive, send, error, **_ids(principal))
            return
        await answer(send, 202, body)

    async def _event(self, scope: Scope, receive: Receive, principal: Principal, head: Head) -> bytes:
        raw = await read_body(scope, receive, max_bytes=ITEM_MAX_BYTES, content_types=CLOUDEVENTS, fields=head)
        value = strict_json.loads(raw)
        if media_type(scope) == cloudevents.STRUCTURED:
            event = cloudevents.structured(value)
        else:
            event = cloudevents.binary(scope["headers"], value)
        built = self._built(event, principal.workspace, head, received_at := rfc3339(self._clock.now()))
        received_at = await self._publisher.publish(built, received_at, told=True)
        REQUESTS.labels("events", "accepted").inc()
        EVENTS.labels("cloudevents", "accepted").inc()
        return msgspec.json.encode({"id": built.id, "received_at": received_at})

    async def _event_batch(self, scope: Scope, receive: Receive, principal: Principal, head: Head) -> bytes:
        raw = await read_body(scope, receive, max_bytes=BATCH_MAX_BYTES, content_types=CLOUDEVENTS, fields=head)
        received_at = rfc3339(self._clock.now())

        def read(_: int, item: bytes) -> Event:
            event = cloudevents.structured(strict_json.loads(item))
            return self._built(event, principal.workspace, head, received_at)

        return await self._take_all(scope, principal, "events", _split(raw, ndjson=False), read)

    def _built(self, event: cloudevents.CloudEvent, workspace: str, head: Head, received_at: str) -> Event:
        trace = traceparent_of(event.traceparent or _text(head.traceparent))
        content = without(event.content(self._in_force.ranges), self._in_force.pii)
        return self._builder(workspace).build(content, event.delivery(workspace), received_at, trace)


class _Taken:
    """One that was asked at once, and what became of it so far."""

    __slots__ = ("_count", "asked", "content", "event", "principal", "received_at")

    principal: Principal
    content: Content
    event: Event
    received_at: str

    def __init__(self, asked: Asked, count: Callable[[], None]) -> None:
        self.asked = asked
        self._count = count

    def told(self, error: Exception | None) -> None:
        if error is None:
            self._count()
            self.asked.answer(_ACCEPTED_HEAD, f'{{"id":"{self.event.id}","received_at":"{self.received_at}"}}'.encode())
        else:
            self.asked.hand_over(refusing("feedback", "api", error, **_ids(self.principal)))


class _Rejected:
    """The bad items of a batch, each with what is wrong with it, as far as somebody would read."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._left = ERRORS_PER_BATCH

    def add(self, index: int, errors: Sequence[FieldError]) -> None:
        named = errors[: max(1, min(ERRORS_PER_ITEM, self._left))]
        self._left -= len(named)
        self.items.append({"index": index, "errors": named})


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def _key(head: Head) -> str | None:
    """The Idempotency-Key. Raises `Invalid`."""
    if head.idempotency_key is None:
        return None
    try:
        key = head.idempotency_key.decode("utf-8")
        issue = id_issue(key)
    except UnicodeDecodeError:
        issue = "is not UTF-8"
    if issue:
        raise Invalid([{"field": "Idempotency-Key", "message": issue}])
    return key


def _trace(head: Head) -> str:
    return traceparent_of(_text(head.traceparent))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _history(query: bytes) -> bool:
    """`?history=true`. Raises `Invalid`."""
    for part in query.split(b"&") if query else ():
        name, _, value = part.partition(b"=")
        if name == b"history":
            if value not in {b"true", b"false"}:
                raise Invalid([{"field": "history", "message": "must be true or false"}])
            return value == b"true"
    return False


def _split(raw: bytes, *, ndjson: bool) -> Sequence[bytes]:
    """The items' own bytes. Raises `Malformed`, `Unacceptable`, `Invalid`."""
    if ndjson:
        lines = raw.split(b"\n", BATCH_MAX_LINES)
        if len(lines) > BATCH_MAX_LINES and lines.pop().strip():
            raise Invalid([{"field": "", "message": f"There are more than {BATCH_MAX_LINES:,} lines."}])
        items = [line for line in lines if line and not line.isspace()]
        if len(items) > BATCH_MAX_ITEMS:
            raise Invalid([{"field": "", "message": f"There are more than {BATCH_MAX_ITEMS:,} items."}])
    else:
        items = strict_json.split_array(raw, max_items=BATCH_MAX_ITEMS)
    if not items:
        raise Invalid([{"field": "", "message": "There is nothing in it."}])
    return items


def _errors(error: Exception) -> list[FieldError]:
    if isinstance(error, Invalid):
        return error.errors
    return [{"field": getattr(error, "path", ""), "message": str(error)}]


def _all_bad(rejected: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    return [
        {"field": f"{item['index']}.{e['field']}" if e["field"] else str(item["index"]), "message": e["message"]}
        for item in rejected
        for e in item["errors"]
    ]


def _ids(principal: Principal | None) -> dict[str, str]:
    return {} if principal is None else {"workspace": principal.workspace, "key_id": principal.key_id}


# ── documentation ────────────────────────────────────────────────────────────────────────────────


class Accepted(BaseModel):
    id: str
    received_at: str


class RejectedItem(BaseModel):
    index: int
    errors: list[dict[str, str]]


class BatchAccepted(BaseModel):
    accepted: int
    rejected: list[RejectedItem]
    ids: list[str]
    """Of the accepted ones, in order."""


class _Handed(Response):
    """A response that another ASGI application writes."""

    def __init__(self, app: Handler) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def served_by(app: Handler) -> type[APIRoute]:
    """A route that FastAPI documents from its endpoint's signature, and that `app` serves."""

    class Documented(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            async def hand_over(request: Request) -> Response:
                return _Handed(app)

            return hand_over

    return Documented


_bearer = Security(HTTPBearer(auto_error=False, description="An API key: `fw_…`"))


def routes(api: Api, webhooks: Handler) -> APIRouter:
    router = APIRouter(tags=["ingest"])

    def add(path: str, endpoint: Callable[..., Any], app: Handler, **options: Any) -> None:
        router.add_api_route(path, endpoint, route_class_override=served_by(app), **options)

    post: dict[str, Any] = {"methods": ["POST"], "status_code": 202, "dependencies": [_bearer]}
    add("/v1/feedback", _feedback, api.feedback, summary="Send one piece of feedback", responses=_ACCEPTED, **post)
    add(
        "/v1/feedback/batch",
        _batch,
        api.batch,
        summary="Send up to 5,000 pieces",
        responses=_answered(202, examples.BATCH_ACCEPTED),
        openapi_extra=_NDJSON_BODY,
        **post,
    )
    add(
        "/v1/events",
        _events,
        api.events,
        summary="Send CloudEvents",
        responses=_answered(202, {**examples.ACCEPTED, **examples.BATCH_ACCEPTED}),
        openapi_extra=_EVENTS,
        **post,
    )
    add(
        "/v1/webhooks/{source}",
        _webhook,
        webhooks,
        methods=["POST"],
        summary="What an upstream tool posts",
        responses=_answered(200, examples.HANDLED),
        openapi_extra=_WEBHOOK_BODY,
    )
    add("/v1/webhooks/{source}", _webhook, webhooks, methods=["GET", "HEAD"], include_in_schema=False)
    return router


async def _feedback(feedback: Annotated[Feedback, Body(openapi_examples=examples.FEEDBACK)]) -> Accepted:
    """`202` after the log has it; a repeat of the same delivery gets the same id. `503` means unknown: send the same
    again with the same id. `external_id`, else the header `Idempotency-Key`, names the delivery."""
    raise AssertionError("served by plain ASGI")


async def _batch(
    items: Annotated[list[Feedback], Body(openapi_examples=examples.BATCH)],
    history: Annotated[bool, Query(description="Imported: no mails, no clocks")] = False,
) -> BatchAccepted:
    """A JSON array or NDJSON, gzipped or not. Good items go in, bad ones are named; all bad is `422`."""
    raise AssertionError("served by plain ASGI")


async def _events() -> Accepted | BatchAccepted:
    """CloudEvents 1.0: structured, binary (`ce-` headers) or a batch. Types: feedback.received, customer.activity,
    work.shipped, work.declined, work.moved; and of self-service help.searched, help.viewed, contact.abandoned, which
    become activity. (source, id) names the delivery."""
    raise AssertionError("served by plain ASGI")


async def _webhook(source: Annotated[str, Path(description="A name of sources.yaml")]) -> dict[str, Any]:
    """Verified by the source's connector. Answered 2xx with `outcome`: accepted, ignored or quarantined."""
    raise AssertionError("served by plain ASGI")


def _answered(status: int, shown: examples.Examples) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {"application/json": {"examples": shown}}}}


_ACCEPTED = _answered(202, examples.ACCEPTED)
_EVENT: dict[str, Any] = {"type": "object"}
_NDJSON_BODY = {
    "requestBody": {"content": {"application/x-ndjson": {"schema": {"type": "string"}, "examples": examples.NDJSON}}}
}
_EVENTS = {
    "parameters": [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": "Binary mode", "example": value}
        for name, value in examples.HEADERS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            media: {
                "schema": {"type": "array", "items": _EVENT} if media == cloudevents.BATCHED else _EVENT,
                "examples": shown,
            }
            for media, shown in examples.EVENTS.items()
        },
    },
}
_WEBHOOK_BODY = {
    "requestBody": {
        "required": True,
        "description": "What the tool sends, as it sends it.",
        "content": {"application/json": {"schema": {}, "examples": examples.WEBHOOK}},
    }
}


def hot_paths(api: Api, webhooks: Webhooks) -> Mapping[str, HotPath]:
    return {
        "/v1/feedback": HotPath(api.feedback, api.feedback_at_once),
        "/v1/feedback/batch": HotPath(api.batch),
        "/v1/events": HotPath(api.events),
        "/v1/webhooks/": HotPath(webhooks, webhooks.at_once),
    }
