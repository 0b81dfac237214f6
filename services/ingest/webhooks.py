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
from typing import NamedTuple

from prometheus_client import Gauge
from starlette.types import Receive, Scope, Send

from services.ingest.breaker import SAMPLE_EVERY_S, Breaker
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
from services.ingest.door import EVENTS, REQUESTS, InForce, log, refuse, refusing, too_many
from services.ingest.limits import Rate, RateLimits
from services.ingest.normalize import Builder, Event
from services.ingest.publish import Publisher
from services.ingest.sources import Source
from services.ingest.tidy import clean_text
from services.ingest.understanding import Understood, sayable, understood, where
from shared.clock import Clock
from shared.errors import Rejected
from shared.events.dead_letter import DeadLetter
from shared.telemetry import traceparent_of
from shared.topics import named
from shared.web.at_once import Asked, Together
from shared.web.body import read_body, too_large
from shared.web.cycle import fixed_head
from shared.web.problems import Problem, request_id_of

ROUTE = "webhooks"
MAX_BYTES = 16 * 1024 * 1024
IN_A_THREAD_BYTES = 256 * 1024
"""A larger body is verified and parsed beside the event loop, which has others to serve."""
MEMBERS_MAX = 1_000
"""Of gzip in one body: more than anybody's 16 MiB are cut into, and few enough to be looked at."""
PIECE_BYTES = 64 * 1024
_NOT_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})
_DAMAGED = "the body is gzipped and damaged"
_HTTP = "http_"
"""Before the name of a header of the request, where it stands on a letter."""

_accepted = REQUESTS.labels(ROUTE, "accepted")
_event_accepted = EVENTS.labels("webhook", "accepted")

BREAKER_OPEN = Gauge(
    "ingest_breaker_open", "1 while most of what a source sends cannot be read, and is answered 503.", ["source"]
)


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
        self._rate = rate_per_source
        self._limits = RateLimits()
        self._breakers: dict[str, Breaker] = {}
        self._judged_by = ""
        self._together = Together(self._believe, self._read_once, self._make, self._offer)

    # ── at once ──

    def at_once(self, asked: Asked) -> bool:
        """What most webhooks are: small, plain, signed, one piece of feedback, and a source that is within its rate. The
        same steps as below; whatever is otherwise is declined, and the long way starts anew and says why."""
        source = self._in_force.sources.get(asked.target.rpartition(b"/")[2].decode("latin-1"))
        if source is None or b"content-encoding" in asked.fields or len(asked.body) > IN_A_THREAD_BYTES:
            return False
        now = self._clock.now()
        self._together.add(_Taken(asked, source.at(now), self._connectors[source.connector], now))
        return True

    def _believe(self, taken: "_Taken") -> bool:
        asked, connector, source = taken.asked, taken.connector, taken.source
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in asked.fields.items()}
        request = WebhookRequest("POST", self._public_url + asked.target.decode("latin-1"), headers, asked.body)
        if connector.answer(request, source, False) is not None:
            return False
        verify(connector, request, source, taken.now)
        taken.request = request
        return connector.answer(request, source, True) is None

    def _read_once(self, taken: "_Taken") -> bool:
        taken.drafts = taken.connector.parse(taken.request, taken.source)
        return not isinstance(taken.drafts, Ignored) and len(taken.drafts) == 1

    def _make(self, taken: "_Taken") -> bool:
        found = self._understood(taken.request, taken.source, Judgement(drafts=taken.drafts), taken.now)
        if found.bad or len(found.events) != 1:
            return False
        taken.event = found.events[0]
        return True

    def _offer(self, taken: "_Taken") -> bool:
        self._charge(taken.source)
        if self._publisher.offer(taken.event, "", taken.told):
            self._note(taken.source, readable=True)
            return True
        # The long way charges it once more.
        self._give_back(taken.source)
        return False

    # ── every case of it ──

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source: Source | None = None
        try:
            source = self._source(scope["path"].rpartition("/")[2])
            reply, outcome = await self._handle(scope, receive, source)
        except Exception as error:  # noqa: BLE001 - each has its answer; a defect is logged and answered 500
            name = source.name if source is not None else None
            await refuse(ROUTE, "webhook", scope, receive, send, error, source=name)
            return
        REQUESTS.labels(ROUTE, outcome).inc()
        await send({"type": "http.response.start", "status": reply.status, "headers": _fields(reply)})
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
        rate = source.own_rate or self._rate
        if rate is None:
            return
        admission = self._limits.take(rate, source.name, self._clock.monotonic())
        if not admission.admitted:
            raise too_many(rate, admission, "source")

    def _give_back(self, source: Source) -> None:
        rate = source.own_rate or self._rate
        if rate is not None:
            self._limits.give_back(rate, source.name)

    def _note(self, source: Source, *, readable: bool) -> None:
        """Raises `Problem` 503 for one that cannot be read, where most cannot."""
        if source.breaker == "off":
            return
        if self._judged_by != self._in_force.version:
            # Another configuration, which may be the one that mends it.
            self._judged_by, self._breakers = self._in_force.version, {}
        breaker = self._breakers.get(source.name)
        if breaker is None:
            breaker = self._breakers[source.name] = Breaker(source.breaker)
            BREAKER_OPEN.labels(source.name).set(0)
        was_open = breaker.is_open
        breaker.note(readable=readable)
        if breaker.is_open != was_open:
            BREAKER_OPEN.labels(source.name).set(breaker.is_open)
        if not readable and breaker.verdict(self._clock.monotonic()) == "refuse":
            raise Problem(
                503,
                "cannot-be-read",
                "What this source sends cannot be read just now.",
                "Most of what it sent of late could not be, and some of it is kept. Nothing of this was taken: send it again later.",
                headers={"Retry-After": f"{SAMPLE_EVERY_S:.0f}"},
            )

    async def _handle(self, scope: Scope, receive: Receive, source: Source) -> tuple[Reply, str]:
        connector = self._connectors[source.connector]
        source = source.at(self._clock.now())
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
        outcome = await self._store(request, source, judgement)
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

    async def _store(self, request: WebhookRequest, source: Source, judgement: Judgement) -> Outcome:
        found = self._understood(request, source, judgement, self._clock.now())
        if found.ignored is not None:
            self._note(source, readable=True)
            return Outcome("ignored", reason=found.ignored)
        if not found.events:
            self._note(source, readable=False)
            await self._publisher.publish_all(self._letter(request, source, found.bad).messages(source.workspace))
            return Outcome("quarantined", reason=sayable(found.bad))
        self._note(source, readable=True)
        if len(found.events) == 1 and not found.bad:
            await self._publisher.publish(found.events[0], "", told=False)
        else:
            letter = self._letter(request, source, found.bad).messages(source.workspace) if found.bad else []
            await self._publisher.publish_all([event.message for event in found.events] + letter)
        return Outcome("accepted", tuple(event.id for event in found.events))

    async def again(self, letter: DeadLetter, received_at: datetime) -> Understood | None:
        """What a quarantined webhook says by now. It was verified when it came. None: its source is not there any more."""
        name = letter.original_topic.rpartition("/")[2]
        source = self._in_force.sources.get(name)
        if source is None or letter.original_topic != _quarantine(source):
            return None
        headers = {
            name.removeprefix(_HTTP): value.decode(errors="replace")
            for name, value in letter.headers
            if name.startswith(_HTTP)
        }
        url = f"{self._public_url}/v1/webhooks/{name}"
        request = WebhookRequest("POST", url, headers, letter.value)
        judgement = await asyncio.to_thread(_judge_again, self._connectors[source.connector], request, source)
        return self._understood(request, source, judgement, received_at, letter.id)

    def _understood(
        self,
        request: WebhookRequest,
        source: Source,
        judgement: Judgement,
        received_at: datetime,
        letter: str | None = None,
    ) -> Understood:
        if judgement.unreadable is not None:
            return Understood(bad=judgement.unreadable)
        return understood(
            judgement.drafts,
            source,
            ranges=self._in_force.ranges,
            pii=source.pii or self._in_force.pii,
            builder=self._builder(source.workspace),
            received_at=received_at,
            traceparent=traceparent_of(request.headers.get("traceparent")),
            letter=letter,
        )

    def _letter(self, request: WebhookRequest, source: Source, why: str) -> DeadLetter:
        return _letter(request, source, why, secret_headers(self._connectors[source.connector]))


class _Taken:
    """One that was asked at once, and what became of it so far."""

    __slots__ = ("asked", "connector", "drafts", "event", "now", "request", "source")

    request: WebhookRequest
    drafts: Sequence[Draft] | Ignored
    event: Event

    def __init__(self, asked: Asked, source: Source, connector: Connector, now: datetime) -> None:
        self.asked = asked
        self.source = source
        self.connector = connector
        self.now = now

    def told(self, error: Exception | None) -> None:
        if error is not None:
            self.asked.hand_over(refusing(ROUTE, "webhook", error, source=self.source.name))
            return
        _accepted.inc()
        _event_accepted.inc()
        reply = _reply(self.connector, self.source, Outcome("accepted", (self.event.id,)))
        self.asked.answer(_head(reply), reply.body)


def _fields(reply: Reply) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"content-type", reply.content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(reply.body)),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()),
    )


def _head(reply: Reply) -> bytes:
    """Raises `ValueError` for what no head may hold."""
    return fixed_head(reply.status, _fields(reply))


def _reply(connector: Connector, source: Source, outcome: Outcome) -> Reply:
    """It is stored by now: a connector that cannot say so must not make the provider send it again."""
    try:
        reply = connector.reply(outcome)
        _head(reply)
        return reply
    except Exception as error:  # noqa: BLE001 - any 2xx is better than none
        log.warning("connector.failed", connector=source.connector, source=source.name, error=where(error))
        return plain_reply(outcome)


def _quarantine(source: Source) -> str:
    """What stands on a letter in the place of the topic by which it came."""
    return named(source.workspace, f"webhooks/{source.name}")


def _letter(request: WebhookRequest, source: Source, why: str, secret: Iterable[str]) -> DeadLetter:
    """The same bytes have the same id, however often they come. Secrets stay behind."""
    not_kept = _NOT_KEPT.union({source.header}, secret)
    headers = [(_HTTP + name, value.encode()) for name, value in request.headers.items() if name not in not_kept]
    return DeadLetter(
        id=f"webhooks/{source.name}/{sha256(request.body).hexdigest()[:32]}",
        service="ingest",
        reason="unreadable-webhook",
        detail=clean_text(why),
        attempts=1,
        original_topic=_quarantine(source),
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
        return Judgement(unreadable=_DAMAGED)
    reply = _answer(connector, request, source, signed=True)
    if reply is not None:
        return Judgement(reply=reply)
    return _parsed(connector, request, source)


def _judge_again(connector: Connector, request: WebhookRequest, source: Source) -> Judgement:
    if _is_zipped(request):
        plain = _gunzip(request.body)
        if not plain.whole:
            return Judgement(unreadable=_DAMAGED)
        request = _with_body(request, plain.body)
    return _parsed(connector, request, source)


def _parsed(connector: Connector, request: WebhookRequest, source: Source) -> Judgement:
    try:
        return Judgement(drafts=connector.parse(request, source))
    except Unreadable as error:
        return Judgement(unreadable=str(error))
    except Exception as error:  # noqa: BLE001 - a shape that the connector's author did not know of; the bytes are kept
        log.warning("connector.failed", connector=source.connector, source=source.name, error=where(error))
        return Judgement(unreadable=f"the connector failed: {type(error).__name__}")


def _answer(connector: Connector, request: WebhookRequest, source: Source, *, signed: bool) -> Reply | None:
    try:
        return connector.answer(request, source, signed)
    except SignatureInvalid:
        raise signature_invalid(source) from None
    except Unreadable:
        return None
    except Exception as error:  # noqa: BLE001 - no challenge that it knows; what it is, is judged further on
        log.warning("connector.failed", connector=source.connector, source=source.name, error=where(error))
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
            log.warning("connector.failed", connector=source.connector, source=source.name, error=where(error))
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
