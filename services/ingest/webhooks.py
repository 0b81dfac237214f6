"""`/v1/webhooks/{source}`: what upstream tools post, each in its own way.

Verified over the raw bytes; after that nothing is refused, for a provider that is refused tries again for days and then
switches the webhook off. Not feedback: 2xx, ignored, with the reason. Not readable: 2xx, and the original bytes go to
the dead-letter topic. Only what keeps us from storing at all (the log is away) is a 503, which providers retry.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from services.ingest.connectors import (
    Connector,
    Draft,
    Ignored,
    Outcome,
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    plain_reply,
    secret_headers,
    verify,
)
from services.ingest.door import EVENTS, REQUESTS, InForce, answer_start, log, refuse, too_many
from services.ingest.limits import Buckets, Rate
from services.ingest.normalize import Builder, Content, Event, Invalid
from services.ingest.publish import Publisher
from services.ingest.sources import Source
from services.ingest.tidy import clean_text, tidy_content
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.dead_letter import DeadLetter
from shared.events.envelope import rfc3339
from shared.events.identity import delivery_id, fresh_id
from shared.telemetry import traceparent_of
from shared.topics import named
from shared.web.body import read_body, too_large
from shared.web.problems import Problem, request_id_of

ROUTE = "webhooks"
MAX_BYTES = 16 * 1024 * 1024
IN_A_THREAD_BYTES = 256 * 1024
"""A larger body is verified and parsed beside the event loop, which has others to serve."""
MEMBERS_MAX = 1_000
"""Of gzip in one body: more than anybody's 16 MiB are cut into, and few enough to be looked at."""
PIECE_BYTES = 64 * 1024
_NOT_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})
_REASON_MAX_CHARS = 200


class Judgement(NamedTuple):
    """What a connector made of a request: one of these."""

    reply: Reply | None = None
    drafts: Sequence[Draft] | Ignored = ()
    unreadable: str | None = None


class Webhooks:
    def __init__(
        self,
        *,
        connectors: Mapping[str, Connector],
        in_force: InForce,
        publisher: Publisher,
        builder: Callable[[str], Builder],
        clock: Clock,
        public_url: str,
        rate_per_source: Rate | None,
    ) -> None:
        self._connectors = connectors
        self._in_force = in_force
        self._publisher = publisher
        self._builder = builder
        self._clock = clock
        self._public_url = public_url
        self._buckets = Buckets(rate_per_source) if rate_per_source is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source: Source | None = None
        try:
            source = self._source(scope["path_params"]["source"])
            reply, outcome = await self._handle(scope, receive, source)
        except Exception as error:  # noqa: BLE001 - each has its answer; a defect is logged and answered 500
            name = source.name if source is not None else None
            await refuse(ROUTE, "webhook", scope, receive, send, error, source=name)
            return
        REQUESTS.labels(ROUTE, outcome).inc()
        start = answer_start(reply.status, len(reply.body), reply.content_type.encode("latin-1"))
        start["headers"].extend((k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in reply.headers.items())
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    def _source(self, name: str) -> Source:
        """Raises `Problem` 404."""
        source = self._in_force.sources.get(name)
        if source is None:
            raise Problem(404, "unknown-source", "There is no source of this name.", "Sources stand in sources.yaml.")
        return source

    def _charge(self, source: Source) -> None:
        """Of who is believed only: a stranger who knows the name must not use up what is the source's. Raises `Problem`
        429."""
        if self._buckets is None:
            return
        admission = self._buckets.take(source.name, self._clock.monotonic())
        if not admission.admitted:
            raise too_many(self._buckets.rate, admission, "source")

    async def _handle(self, scope: Scope, receive: Receive, source: Source) -> tuple[Reply, str]:
        connector = self._connectors[source.connector]
        request = await self._read(scope, receive)
        judge = _judge_get if request.method in {"GET", "HEAD"} else _judge
        # Nobody is believed yet: what 16 kB of gzip hold may be 16 MiB, so their size says nothing.
        if _is_zipped(request) or len(request.body) > IN_A_THREAD_BYTES:
            judgement = await asyncio.to_thread(judge, connector, request, source, self._clock.now())
        else:
            judgement = judge(connector, request, source, self._clock.now())
        if judgement.reply is not None:
            return judgement.reply, "answered"
        self._charge(source)
        outcome = await self._store(scope, request, source, judgement)
        EVENTS.labels("webhook", outcome.what).inc(max(1, len(outcome.ids)))
        if outcome.what != "accepted":
            log.info(
                f"webhook.{outcome.what}",
                source=source.name,
                connector=source.connector,
                workspace=source.workspace,
                reason=outcome.reason,
                request_id=request_id_of(scope),
            )
        return _reply(connector, source, outcome), outcome.what

    async def _read(self, scope: Scope, receive: Receive) -> WebhookRequest:
        """The raw bytes: whatever else is wrong with them is judged after the signature."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        plain = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
        body = await read_body({**scope, "headers": plain}, receive, max_bytes=MAX_BYTES, content_types=None)
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        url = f"{self._public_url}{path}?{query}" if query else f"{self._public_url}{path}"
        return WebhookRequest(scope["method"], url, headers, body)

    # ── storing ──

    async def _store(self, scope: Scope, request: WebhookRequest, source: Source, judgement: Judgement) -> Outcome:
        if judgement.unreadable is not None:
            return await self._quarantine(request, source, judgement.unreadable)
        if isinstance(judgement.drafts, Ignored):
            return Outcome("ignored", reason=_sayable(judgement.drafts.reason))
        if not judgement.drafts:
            return Outcome("ignored", reason="nothing in it")
        events, bad = self._events(request, source, judgement.drafts)
        if not events:
            return await self._quarantine(request, source, bad)
        if len(events) == 1 and not bad:
            await self._publisher.publish(events[0], "", told=False)
        else:
            letter = self._letter(request, source, bad).messages(source.workspace) if bad else []
            await self._publisher.publish_all([event.message for event in events] + letter)
        return Outcome("accepted", tuple(event.id for event in events))

    def _events(self, request: WebhookRequest, source: Source, drafts: Sequence[Draft]) -> tuple[list[Event], str]:
        """What can be stored, and why the first of the others cannot."""
        received_at = rfc3339(self._clock.now())
        traceparent = traceparent_of(request.headers.get("traceparent"))
        builder = self._builder(source.workspace)
        events: list[Event] = []
        bad = ""
        for draft in drafts:
            try:
                content = tidy_content(draft.type, draft.body, source.name, self._in_force.ranges)
                events.append(builder.build(content, _id_of(draft, content, source), received_at, traceparent))
            except Invalid as invalid:
                bad = bad or str(invalid)
            except Exception as error:  # noqa: BLE001 - a draft that nobody thought of; the bytes are kept
                log.warning("connector.failed", connector=source.connector, source=source.name, error=_where(error))
                bad = bad or f"a draft cannot be stored: {type(error).__name__}"
        return events, bad

    async def _quarantine(self, request: WebhookRequest, source: Source, why: str) -> Outcome:
        await self._publisher.publish_all(self._letter(request, source, why).messages(source.workspace))
        return Outcome("quarantined", reason=_sayable(why))

    def _letter(self, request: WebhookRequest, source: Source, why: str) -> DeadLetter:
        return _letter(request, source, why, secret_headers(self._connectors[source.connector]))


def _sayable(reason: str) -> str:
    """A connector may quote what came, which may be no characters at all: half of a surrogate pair cannot be sent."""
    return clean_text(reason[:_REASON_MAX_CHARS])


def _reply(connector: Connector, source: Source, outcome: Outcome) -> Reply:
    """It is stored by now: a connector that cannot say so must not make the provider send it again."""
    try:
        return connector.reply(outcome)
    except Exception as error:  # noqa: BLE001 - any 2xx is better than none
        log.warning("connector.failed", connector=source.connector, source=source.name, error=_where(error))
        return plain_reply(outcome)


def _id_of(draft: Draft, content: Content, source: Source) -> str:
    if draft.delivery:
        # Half of a surrogate pair is written out, not replaced: two deliveries that differ only there stay two.
        delivery = draft.delivery.encode("utf-8", "backslashreplace").decode()
        return delivery_id("hook", source.workspace, source.name, delivery)
    if content.external_id is not None:
        return delivery_id("ext", source.workspace, source.name, content.external_id)
    return fresh_id()


def _letter(request: WebhookRequest, source: Source, why: str, secret: Iterable[str]) -> DeadLetter:
    """The same bytes have the same id, however often they come. Secrets stay behind."""
    not_kept = _NOT_KEPT.union({source.header}, secret)
    headers = [(f"http_{name}", value.encode()) for name, value in request.headers.items() if name not in not_kept]
    return DeadLetter(
        id=f"webhooks/{source.name}/{sha256(request.body).hexdigest()[:32]}",
        service="ingest",
        reason="unreadable-webhook",
        detail=clean_text(why),
        attempts=1,
        original_topic=named(source.workspace, f"webhooks/{source.name}"),
        key=None,
        value=request.body,
        headers=headers,
    )


# ── judging: pure, so that it may run in a thread ────────────────────────────────────────────────


def _judge_get(connector: Connector, request: WebhookRequest, source: Source, now: datetime) -> Judgement:
    """A provider that looks whether the address is ours. Raises `Problem` 401, 405."""
    reply = _answer(connector, request, source, signed=False)
    if reply is None:
        raise Problem(405, "method-not-allowed", "Webhooks are posted here.", headers={"Allow": "POST"})
    return Judgement(reply=reply)


def _judge(connector: Connector, request: WebhookRequest, source: Source, now: datetime) -> Judgement:
    """Raises `Problem` 401."""
    reply = _answer(connector, request, source, signed=False)
    if reply is not None:
        return Judgement(reply=reply)
    request, whole = _verified(connector, request, source, now)
    if not whole:
        return Judgement(unreadable="the body is gzipped and damaged")
    reply = _answer(connector, request, source, signed=True)
    if reply is not None:
        return Judgement(reply=reply)
    try:
        return Judgement(drafts=connector.parse(request, source))
    except Unreadable as error:
        return Judgement(unreadable=str(error))
    except Exception as error:  # noqa: BLE001 - a shape that the connector's author did not know of; the bytes are kept
        log.warning("connector.failed", connector=source.connector, source=source.name, error=_where(error))
        return Judgement(unreadable=f"the connector failed: {type(error).__name__}")


def _answer(connector: Connector, request: WebhookRequest, source: Source, *, signed: bool) -> Reply | None:
    try:
        return connector.answer(request, source, signed)
    except SignatureInvalid:
        raise signature_invalid(source) from None
    except Unreadable:
        return None
    except Exception as error:  # noqa: BLE001 - no challenge that it knows; what it is, is judged further on
        log.warning("connector.failed", connector=source.connector, source=source.name, error=_where(error))
        return None


def _verified(
    connector: Connector, request: WebhookRequest, source: Source, now: datetime
) -> tuple[WebhookRequest, bool]:
    """The request with its body as it was meant, and whether that could be had. Some sign what they send, most what
    they had before gzip."""
    plain = _gunzip(request.body) if _is_zipped(request) else None
    if plain is None:
        candidates = [request]
    else:
        unzipped = _with_body(request, plain.body)
        # What is damaged is itself where the signature, or the lack of one, says nothing of what it was before.
        candidates = [unzipped, request] if plain.whole else [request, unzipped]
    for candidate in candidates:
        try:
            verify(connector, candidate, source, now)
        except Rejected:
            continue
        except Exception as error:  # noqa: BLE001 - a header that the connector's author did not think of is no signature
            log.warning("connector.failed", connector=source.connector, source=source.name, error=_where(error))
            continue
        if plain is None or plain.whole:
            return candidates[0], True
        return candidate, candidate is not request
    raise signature_invalid(source)


def signature_invalid(source: Source) -> Problem:
    """One answer for every cause: which it was is nobody's business."""
    # Some clients send a password only to who asks for it (RFC 9110 §11.6.1).
    headers = {"WWW-Authenticate": 'Basic realm="webhooks", charset="UTF-8"'} if source.verify == "basic" else {}
    return Problem(401, "signature-invalid", "The signature is not valid.", headers=headers)


def _with_body(request: WebhookRequest, body: bytes) -> WebhookRequest:
    return WebhookRequest(request.method, request.url, request.headers, body)


def _is_zipped(request: WebhookRequest) -> bool:
    return request.header("content-encoding").strip().lower() in {"gzip", "x-gzip"}


class Plain(NamedTuple):
    """What gzip held, and whether that is all of it and nothing else."""

    body: bytes
    whole: bool


def _gunzip(body: bytes) -> Plain:
    """All members of it, as RFC 1952 has them: what was written in two pieces is one text. Raises `Problem` 413."""
    chunks: list[bytes] = []
    left, at = MAX_BYTES, 0
    for _ in range(MEMBERS_MAX):
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while at < len(body) and not inflate.eof:
            # In pieces: what follows a member is copied, and must not be everything each time.
            piece = body[at : at + PIECE_BYTES]
            try:
                plain = inflate.decompress(piece, left + 1)
            except zlib.error:
                return Plain(b"".join(chunks), False)
            chunks.append(plain)
            left -= len(plain)
            if left < 0:
                raise too_large(MAX_BYTES)
            at += len(piece) - len(inflate.unused_data)
        if not inflate.eof:
            return Plain(b"".join(chunks), False)
        if at == len(body):
            return Plain(b"".join(chunks), True)
    raise too_large(MAX_BYTES)


def _where(error: Exception) -> str:
    """The kind and the place; the message may quote what a customer said."""
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
