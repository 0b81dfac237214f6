"""Event → log: many requests share one write, and each hears what became of its own.

A write costs its record little and itself much, so it waits while each turn of the event loop brings more: until
`GROUP_RECORDS` are there, or for `GATHER_S`. A request that comes alone waits one turn, which is nothing. What has not been acknowledged is bounded: beyond
`max_bytes` the next request is refused at once, and no request waits longer than `ack_timeout_s`. Both are
`Transient`, which on this side of the log means *unknown*: send the same again with the same id.

Ids are watched while they are in flight. The same delivery twice shares one append and one answer; the same id with
another body is `InFlightConflict` for who asks to be told (the native API) and goes on to the log for who does not
(webhooks, batches): there the first stays, and the router records the other.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from prometheus_client import Counter, Gauge, Histogram

from services.ingest.normalize import Event
from shared.errors import Rejected, Transient
from shared.log import Message, Producer
from shared.telemetry import get_logger

APPENDS_AT_ONCE = 4
"""Groups in the log's hands; while as many are, what arrives gathers into the next one."""
GROUP_MAX_BYTES = 4 * 1024 * 1024
GROUP_RECORDS = 32
"""Enough for a write; with more in one, others would sit idle for it. Measured with 64 connections, 16 to 64."""
GATHER_S = 0.003
RECORD_OVERHEAD_BYTES = 512
LATE_CHECK_S = 0.1
RETRY_AFTER_S = 1.0

APPEND_SECONDS = Histogram(
    "ingest_append_seconds",
    "From a group of events given to the log until the log had them.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("ingest_in_flight", "Events given to the log and not acknowledged yet.")
APPEND_FAILURES = Counter("ingest_append_failures_total", "Groups whose outcome the log did not tell.")

_log = get_logger("ingest")


class InFlightConflict(Rejected):
    """This id is being stored with another body at this moment."""


Waiter = Callable[[Exception | None], None]
"""Told once: None when the log has it. Raises nothing."""


class _Parcel:
    """What one request wants stored, and who waits for it."""

    __slots__ = ("ended", "ids", "messages", "since", "size", "waiters")

    def __init__(self, messages: Sequence[Message], ids: Sequence[str], size: int, since: float) -> None:
        self.messages = messages
        self.ids = ids
        self.size = size
        self.since = since
        self.ended = False
        self.waiters: list[Waiter] = []

    def tell(self, error: Exception | None) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter(error)


class Publisher:
    """One for each process: the producer and what is under way to it."""

    def __init__(self, producer: Producer, *, ack_timeout_s: float, max_bytes: int) -> None:
        self._producer = producer
        self._ack_timeout_s = ack_timeout_s
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Parcel] = deque()
        self._appending: set[asyncio.Task[None]] = set()
        self._groups: dict[asyncio.Task[None], list[_Parcel]] = {}
        self._ids: dict[str, tuple[str, str, _Parcel]] = {}
        self._bytes = 0
        self._records = 0
        self._scheduled = False
        self._draining = False
        IN_FLIGHT.set_function(lambda: self._records)

    async def publish(self, event: Event, received_at: str, *, told: bool) -> str:
        """Returns when the log has it: the `received_at` that it was stored with, which is another's where the same
        delivery was already in flight. `told`: whether the sender is to hear of a conflict.

        Raises `Transient` (unknown), `InFlightConflict`, or `Rejected` (the log will never take it).
        """
        known = self._ids.get(event.id)
        if known is not None:
            if known[0] == event.hash:
                await self._wait(known[2])
                return known[1]
            if told:
                raise InFlightConflict(event.id)
        parcel = self._accept((event.message,), (event.id,) if known is None else ())
        if known is None:
            self._ids[event.id] = (event.hash, received_at, parcel)
        await self._wait(parcel)
        return received_at

    def offer(self, event: Event, received_at: str, told: Waiter) -> bool:
        """As `publish`, for who does not wait: `told` hears of it. False, and nothing was done, where that is not as
        simple: the delivery is in flight already, or there is no room."""
        if event.id in self._ids:
            return False
        try:
            parcel = self._accept((event.message,), (event.id,))
        except Transient:
            return False
        self._ids[event.id] = (event.hash, received_at, parcel)
        parcel.waiters.append(told)
        return True

    async def publish_all(self, messages: Sequence[Message]) -> None:
        """Several records, one append. Raises as `publish` does."""
        if messages:
            await self._wait(self._accept(messages, ()))

    async def watch(self) -> None:
        """For ever: whoever has waited too long is told so."""
        while True:
            await asyncio.sleep(LATE_CHECK_S)
            self._tell_late()

    async def drain(self) -> None:
        """Until nothing is in flight. What still comes is refused."""
        self._draining = True
        while self._appending or self._waiting:
            self._start()
            if self._appending:
                await asyncio.wait(self._appending)

    # ── one parcel ──

    def _accept(self, messages: Sequence[Message], ids: Sequence[str]) -> _Parcel:
        size = 0
        for message in messages:
            size += len(message[2]) + RECORD_OVERHEAD_BYTES
        if self._draining:
            raise Transient("this process is stopping", retry_after=RETRY_AFTER_S)
        if self._bytes and self._bytes + size > self._max_bytes:
            raise Transient("too much is waiting for the log already", retry_after=RETRY_AFTER_S)
        parcel = _Parcel(messages, ids, size, self._loop.time())
        self._bytes += size
        self._records += len(messages)
        self._waiting.append(parcel)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._gather, self._loop.time() + GATHER_S, 0)
        return parcel

    async def _wait(self, parcel: _Parcel) -> None:
        # A future for each waiter: one that is cancelled takes nobody else with it.
        waiter = self._loop.create_future()

        def told(error: Exception | None) -> None:
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

        parcel.waiters.append(told)
        await waiter

    def _end(self, parcel: _Parcel, error: Exception | None) -> None:
        """It is out of our hands: its room and its ids are free, and whoever still waits is told."""
        if parcel.ended:
            return
        parcel.ended = True
        self._bytes -= parcel.size
        self._records -= len(parcel.messages)
        for event_id in parcel.ids:
            self._ids.pop(event_id, None)
        parcel.tell(error)

    # ── groups ──

    def _gather(self, until: float, before: int) -> None:
        """Once a turn of the event loop, while something came in the last one."""
        waiting = len(self._waiting)
        if before < waiting < GROUP_RECORDS and self._loop.time() < until:
            self._loop.call_soon(self._gather, until, waiting)
            return
        self._scheduled = False
        self._start()

    def _start(self) -> None:
        while self._waiting and len(self._appending) < APPENDS_AT_ONCE:
            group = [self._waiting.popleft()]
            size = group[0].size
            while self._waiting and size + self._waiting[0].size <= GROUP_MAX_BYTES:
                parcel = self._waiting.popleft()
                size += parcel.size
                group.append(parcel)
            task = self._loop.create_task(self._append(group), name="ingest-append")
            self._appending.add(task)
            self._groups[task] = group
            task.add_done_callback(self._appended)

    async def _append(self, group: list[_Parcel]) -> None:
        messages = [message for parcel in group for message in parcel.messages]
        began = self._loop.time()
        try:
            await self._producer.append(messages)
        except Rejected as error:
            await self._one_by_one(group, error)
            return
        except Transient as error:
            APPEND_FAILURES.inc()
            _log.warning("append.unknown", records=len(messages), reason=str(error))
            for parcel in group:
                # One exception for each: a traceback grows with everyone who raises it.
                self._end(parcel, Transient(str(error), retry_after=error.retry_after or RETRY_AFTER_S))
            return
        APPEND_SECONDS.observe(self._loop.time() - began)
        for parcel in group:
            self._end(parcel, None)

    async def _one_by_one(self, group: list[_Parcel], error: Rejected) -> None:
        """One of them spoiled it for the others: each alone, so that it falls on the right one."""
        if len(group) == 1:
            _log.error("append.rejected", records=len(group[0].messages), reason=str(error))
            self._end(group[0], error)
            return
        for parcel in group:
            await self._append([parcel])

    def _appended(self, task: "asyncio.Task[None]") -> None:
        self._appending.discard(task)
        group = self._groups.pop(task)
        defect = None if task.cancelled() else task.exception()
        for parcel in group:
            if not parcel.ended:
                # Cancelled, or a defect of the log's client: either way nobody knows.
                self._end(parcel, Transient("the append ended without an answer", retry_after=RETRY_AFTER_S))
        if defect is not None:
            _log.error("append.failed", exc_info=defect)
        self._start()

    def _tell_late(self) -> None:
        late = self._loop.time() - self._ack_timeout_s
        error = "the log has not answered in time"
        while self._waiting and self._waiting[0].since < late:
            parcel = self._waiting.popleft()  # never given to the log; "unknown" is true of it too
            self._end(parcel, Transient(error, retry_after=RETRY_AFTER_S))
        for group in self._groups.values():
            for parcel in group:
                if parcel.waiters and parcel.since < late:
                    # Its bytes are still in the log's hands, so they stay counted.
                    parcel.tell(Transient(error, retry_after=RETRY_AFTER_S))
