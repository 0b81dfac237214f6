"""Into the log, or, while it is away, into the spool and from there into the log, in the order of acceptance.

It stands where a producer does. As long as anything waits in the spool, whatever comes goes behind it: a customer's later
words never overtake their earlier ones. What the log did not answer in time goes into the spool too, though the log may
have it: it has the same id then, and is a repeat to the router.
"""

import asyncio
from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from services.ingest.spool import Batch, Spool
from shared.errors import Rejected, Transient
from shared.log import Message, Producer
from shared.telemetry import get_logger

AFTER_S = 2.0
"""So long the log may take before its part is done by the spool; less than a request waits."""
TRY_AGAIN_S = 0.5
HAND_OVER_RECORDS = 500
"""No more than these are left: the log has them in a moment, and whoever comes can wait for that."""

_log = get_logger("ingest")
WAITING = Gauge("ingest_spool_records", "Records that wait on this disk for the log; they were acknowledged.")
WAITING_BYTES = Gauge("ingest_spool_bytes", "The same in bytes, of the INGEST_SPOOL_MAX_MIB that there is room for.")
SPOOLED = Counter("ingest_spooled_total", "Records that went to the spool, for the log did not take them.")
DRAINED = Counter("ingest_spool_drained_total", "Records that went from the spool into the log.")
REFUSED = Counter("ingest_spool_refused_total", "Records from the spool that the log will never take.")


class Spooling:
    def __init__(self, producer: Producer, spool: Spool) -> None:
        self._producer = producer
        self._spool = spool
        self._begun = asyncio.Event()
        """Set while the spool is in use: something waits in it, or the log was away when it was last asked."""
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._asked: set[asyncio.Task[None]] = set()
        if not spool.is_empty:
            _log.warning("spool.waiting", records=spool.records, bytes=spool.bytes)
            self._begun.set()
        WAITING.set_function(lambda: spool.records)
        WAITING_BYTES.set_function(lambda: spool.bytes)

    @property
    def is_used(self) -> bool:
        return self._begun.is_set()

    async def append(self, messages: Sequence[Message]) -> None:
        """Returns when all of them are durable, here or there. Raises `Transient` when neither can, or `Rejected`."""
        await self._is_free.wait()
        if not self.is_used:
            asked = asyncio.create_task(self._producer.append(messages), name="ingest-direct")
            self._asked.add(asked)
            asked.add_done_callback(self._answered)
            done, _ = await asyncio.wait({asked}, timeout=AFTER_S)
            error: Exception | None = Transient(f"no answer within {AFTER_S:.0f} s")
            if done:
                error = _error_of(asked)
            if error is None:
                return
            if not isinstance(error, Transient):
                raise error
            if not self.is_used:
                _log.warning("spool.begun", reason=str(error))
                self._begun.set()
        SPOOLED.inc(len(messages))
        await self._spool.append(messages)

    async def drain(self) -> None:
        """For ever: whatever waits is given to the log, the oldest first."""
        while True:
            await self._begun.wait()
            batch = await self._spool.read()
            if batch is None:
                await self._hand_over()
            elif not await self._deliver(batch):
                await asyncio.sleep(TRY_AGAIN_S)
            elif self._spool.records <= HAND_OVER_RECORDS:
                await self._hand_over()

    async def _hand_over(self) -> None:
        """Back to the log itself. Whoever comes meanwhile is held, for while they come the spool is never quite empty; held
        for no longer than the log may take."""
        self._is_free.clear()
        clock = asyncio.get_running_loop().time
        until = clock() + AFTER_S
        try:
            while not self._spool.is_empty and clock() < until:
                batch = await self._spool.read()
                if batch is None:
                    await asyncio.sleep(0.001)  # it is being written
                elif not await self._deliver(batch, AFTER_S):
                    break
        finally:
            if self._spool.is_empty:
                # Nothing was awaited since it was seen to be empty, so nobody is between here and there.
                self._begun.clear()
                _log.info("spool.drained")
            self._is_free.set()

    async def _deliver(self, batch: Batch, patience_s: float | None = None) -> bool:
        """Whether the log took it; within `patience_s`, or as long as the log itself has patience."""
        try:
            async with asyncio.timeout(patience_s):
                await self._producer.append(batch.messages)
        except (Transient, TimeoutError):
            return False
        except Rejected:
            if not await self._one_by_one(batch.messages):
                return False
        await self._spool.done(batch)
        DRAINED.inc(len(batch.messages))
        return True

    async def _one_by_one(self, messages: Sequence[Message]) -> bool:
        """One of them will never be taken: it must not hold up those behind it, nor vanish without a word."""
        for message in messages:
            try:
                await self._producer.append([message])
            except Transient:
                return False
            except Rejected as error:
                REFUSED.inc()
                kept = await asyncio.to_thread(self._spool.keep, message)
                _log.error("spool.refused", topic=message.topic, kept=kept, reason=str(error))
        return True

    async def close(self) -> None:
        await self._producer.close()
        self._spool.close()

    def _answered(self, asked: "asyncio.Task[None]") -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # too late for anybody: what it says was said for it by the spool


def _error_of(asked: "asyncio.Task[None]") -> Exception | None:
    if asked.cancelled():
        return Transient("the append was given up")
    error = asked.exception()
    return error if error is None or isinstance(error, Exception) else Transient(str(error))
