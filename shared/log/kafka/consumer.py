"""A member of a group whose positions live elsewhere, or are committed plainly (aiokafka).

What the client does badly, and the rule here:

* It delivers records of a new partition before its listener has returned, and only logs what the listener raises.
  So its listener does nothing but note the change and shut the gate; `poll` then asks *our* listener, seeks, and opens.
* A revocation is waited for, until the caller is back in `poll` with its batch behind it, but not for ever.
* Its background tasks may die or hang and leave it looking well: a watchdog sees a task that ended, and a partition
  with more to read whose position does not move, and replaces the whole client.
* It leaves its group when nobody fetched for a while, and never comes back while nobody does: paused, or without any
  partition, we tell it all the same that we are here.
* A fetch waits without end for a group that is sharing out anew, which in turn waits for us: each has a deadline.
* A deserializer that raises stops its partition for ever: none is given, records are bytes.
* Its defaults (auto-commit, latest, read_uncommitted) are the wrong ones: all are set.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as AioPartition
from aiokafka import errors as aio

from shared.errors import Fenced
from shared.log import Listener, Record, TopicPartition
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.errors import unknown
from shared.log.kafka.settings import HEARTBEAT_MS, POLL_MAX_MS, SESSION_TIMEOUT_MS, KafkaSettings

START_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 8.0
CLOSE_TIMEOUT_S = 3.0
REVOKE_WAIT_S = 5.0
POLL_SLICE_S = 0.1
STUCK_S = 30.0

_log = logging.getLogger("flywheel.kafka.consumer")


def consumer_options(settings: KafkaSettings, group: str) -> dict[str, Any]:
    return settings.aiokafka() | {
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_MS,
        "max_poll_interval_ms": POLL_MAX_MS,
        # Longer than a revocation may wait for its owner, or who is merely slow would be expelled from a rebalance; shorter
        # than a request may take, for the others wait as long in one.
        "rebalance_timeout_ms": 9_000,
        "request_timeout_ms": 10_000,
        "retry_backoff_ms": 100,
        "max_partition_fetch_bytes": 1024 * 1024,  # one larger record still comes
        "metadata_max_age_ms": 60_000,
    }


class KafkaConsumer:
    """`shared.log.Consumer`."""

    def __init__(
        self, settings: KafkaSettings, admin: KafkaAdmin, group: str, topics: Sequence[str], listener: Listener
    ) -> None:
        self._options = consumer_options(settings, group)
        self._admin = admin
        self._topics = list(topics)
        self._listener = listener
        self._client: Any = None
        self._fresh: set[TopicPartition] = set()
        self._open: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()
        self._told = asyncio.Event()  # nothing is revoked that the listener has not heard of
        self._told.set()
        self._paused = False
        self._moved: dict[TopicPartition, tuple[int, float]] = {}
        self._closed = False

    # The protocol

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        try:
            while not self._closed:
                await self._settle()
                wait = max(0.0, min(POLL_SLICE_S, deadline - loop.time()))
                records = await self._take(max_records, wait)
                if records or loop.time() >= deadline:
                    return records
            return []
        except (aio.KafkaError, TimeoutError) as error:
            raise unknown("polling", error) from error

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        lost = [tp for tp in positions if tp not in self._open]
        if lost:
            raise Fenced(f"no longer ours: {', '.join(f'{tp.topic}/{tp.partition}' for tp in lost)}")
        offsets = {_aio(tp): offset for tp, offset in positions.items()}
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._client.commit(offsets)
        except (aio.CommitFailedError, aio.IllegalStateError) as error:
            raise Fenced(f"Kafka, committing positions: {error}") from error
        except (aio.KafkaError, TimeoutError) as error:
            raise unknown("committing positions", error) from error

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        for tp, offset in positions.items():
            if tp in self._open:
                self._client.seek(_aio(tp), offset)

    def pause(self) -> None:
        self._paused = True
        if self._open:
            self._client.pause(*map(_aio, self._open))

    def resume(self) -> None:
        self._paused = False
        self._moved.clear()
        if self._open:
            self._client.resume(*map(_aio, self._open))

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Other topics from now on; the group shares them out anew."""
        self._topics = list(topics)
        if self._client is not None:
            # From here on the client has no partition at all, and fails whoever names one, until the group has answered.
            self.shut(self._open | self._fresh)
            self._client.subscribe(self._topics, listener=_Gate(self))

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._open)

    async def lag(self) -> dict[TopicPartition, int]:
        ours = list(self._open)
        ends = await self._admin.ends(ours)
        found = {}
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                for tp in ours:
                    if tp in self._open:
                        found[tp] = max(0, ends[tp] - int(await self._client.position(_aio(tp))))
        except (aio.KafkaError, TimeoutError) as error:
            raise unknown("asking for a position", error) from error
        return found

    async def close(self) -> None:
        self._closed = True
        self._told.set()
        await self._drop_client()

    # What the client tells us (see `_Gate`): shut the gate now, talk about it in `poll`

    def shut(self, partitions: set[TopicPartition]) -> None:
        self._gone |= partitions & (self._open | self._fresh)
        self._open -= partitions
        self._fresh -= partitions
        if self._gone:
            self._told.clear()

    async def until_told(self) -> None:
        if not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REVOKE_WAIT_S):
                    await self._told.wait()

    def given(self, partitions: set[TopicPartition]) -> None:
        self.shut(self._open | self._fresh)
        self._fresh = set(partitions)
        if partitions:
            self._client.pause(*map(_aio, partitions))

    # The rest

    async def _connect(self) -> None:
        client = AIOKafkaConsumer(**self._options)
        try:
            # Without topics, or the start would wait for the whole group to agree.
            async with asyncio.timeout(START_TIMEOUT_S):
                await client.start()
            client.subscribe(self._topics, listener=_Gate(self))
        except BaseException:
            await self._end(client)
            raise
        self._client = client

    async def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await self._end(client)

    @staticmethod
    async def _end(client: Any) -> None:
        """Its `stop` may hang, or fail half-way and leave the rest running, or raise the cancellation of its own tasks,
        which is not ours: so each part is ended as a task, with a deadline. Ending what has ended does nothing."""
        for end in (client.stop, client._fetcher and client._fetcher.close, client._client.close):
            if end is not None:
                ending = asyncio.get_running_loop().create_task(end())
                await asyncio.wait([ending], timeout=CLOSE_TIMEOUT_S)
                ending.cancel()
                await asyncio.wait([ending], timeout=CLOSE_TIMEOUT_S)
                if ending.done() and not ending.cancelled() and ending.exception() is not None:
                    _log.warning("a Kafka consumer did not stop cleanly: %r", ending.exception())

    async def _settle(self) -> None:
        if self._client is None:
            await self._connect()
        if self._watch():
            self.shut(self._open | self._fresh)
            await self._drop_client()
            await self._connect()
        if self._gone:
            gone = sorted(self._gone)
            await self._listener.revoked(gone)
            self._gone.difference_update(gone)
        if not self._gone:
            self._told.set()
        if self._fresh:
            await self._open_fresh()

    async def _open_fresh(self) -> None:
        fresh = sorted(self._fresh)
        committed = await self._committed(fresh)
        wanted = {**committed, **await self._listener.assigned(committed)}
        for tp in fresh:
            # A rebalance may have been quicker, and may even have given it back, while what was taken is not yet told:
            # then first that, and then it is asked for anew.
            if tp in self._fresh and tp not in self._gone:
                self._client.seek(_aio(tp), wanted[tp])
                if not self._paused:
                    self._client.resume(_aio(tp))
                self._fresh.discard(tp)
                self._open.add(tp)
                self._moved.pop(tp, None)

    async def _committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            offsets = await asyncio.gather(*(self._client.committed(_aio(tp)) for tp in partitions))
        found = {tp: int(offset) for tp, offset in zip(partitions, offsets, strict=True) if offset is not None}
        return found | await self._admin.starts(tp for tp in partitions if tp not in found)

    async def _take(self, max_records: int, wait_s: float) -> list[Record]:
        """Only of open partitions: the client may hold records of others already."""
        ours = [_aio(tp) for tp in self._open]
        idle = not ours or self._paused
        client = self._client
        if idle:
            await asyncio.sleep(wait_s)
        client._coordinator.check_errors()
        # This is what `max_poll_interval_ms` counts from. `getmany` would do it too, but neither idle, nor ever again after
        # one that was cancelled.
        with client._subscription.fetch_context():
            pass
        if idle:
            return []
        got: dict[AioPartition, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                wait_s + POLL_SLICE_S
            ):  # it may be cancelled: it takes nothing before it returns
                got = await client._fetcher.fetched_records(ours, wait_s, max_records=max_records)
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value or b"", list(r.headers))
            for tp, records in got.items()
            if TopicPartition(tp.topic, tp.partition) in self._open
            for r in records
        ]

    def _watch(self) -> bool:
        """Whether the client is dead or stuck, though it does not say so."""
        for task in (self._client._coordinator._coordination_task, self._client._fetcher._fetch_task):
            if task.done():
                _log.error("a Kafka consumer is replaced: its background task ended")
                return True
        if self._paused:
            return False
        now = asyncio.get_running_loop().time()
        assignment = self._client._subscription.subscription.assignment
        buffered = self._client._fetcher._records
        for tp in self._open if assignment is not None else ():
            state = assignment.state_value(_aio(tp))
            if state is None or not state.has_valid_position:
                continue
            position, since = self._moved.get(tp, (-1, now))
            # What is buffered waits for its turn with us, behind all that is buffered of the others.
            if position != state.position or (state.lso or 0) <= state.position or _aio(tp) in buffered:
                self._moved[tp] = (state.position, now)
            elif now - since > STUCK_S:
                _log.error("a Kafka consumer is replaced: %s does not move", tp)
                self._moved.clear()
                return True
        return False


class _Gate(ConsumerRebalanceListener):  # type: ignore[misc]
    """The client calls this from its own task, at any time."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[AioPartition]) -> None:
        self._consumer.shut({TopicPartition(tp.topic, tp.partition) for tp in revoked})
        await self._consumer.until_told()

    async def on_partitions_assigned(self, assigned: set[AioPartition]) -> None:
        self._consumer.given({TopicPartition(tp.topic, tp.partition) for tp in assigned})


def _aio(tp: TopicPartition) -> AioPartition:
    return AioPartition(tp.topic, tp.partition)
