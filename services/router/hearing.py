"""Whoever takes a topic into the database, behind everything else that the router does: log → rows.

Positions are committed to the log after the rows, so what is read again has to change nothing.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from shared.errors import Fenced, Transient
from shared.log import Consumer, Log, Reader, Record, TopicPartition
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE, named

POLL_S = 0.5
BATCH = 200
WAIT_FIRST_S, WAIT_MOST_S = 0.1, 5.0

_log = get_logger("router")


class Hearing:
    """Consumes for ever. Implements `shared.log.Listener`."""

    name: str
    """In log lines, and of the group: `router-…`."""
    topic: str

    def __init__(self, log: Log) -> None:
        self._log = log

    async def hear(self, records: Sequence[Record]) -> None:
        """Raises `Transient`: then all of them are read again."""
        raise NotImplementedError

    async def run(self) -> None:
        """Until cancelled."""
        consumer: Consumer | None = None
        wait_s = WAIT_FIRST_S
        try:
            while True:
                try:
                    consumer = consumer or await self.consumer()
                    await self.turn(consumer)
                    wait_s = WAIT_FIRST_S
                except Fenced:
                    continue  # whoever has the partition now reads it again, to no effect
                except Transient as error:
                    _log.warning(f"{self.name}.waiting", reason=str(error), seconds=wait_s)
                    await asyncio.sleep(wait_s)
                    wait_s = min(WAIT_MOST_S, wait_s * 2)
        finally:
            await self.close(consumer)

    async def consumer(self) -> Consumer:
        return await self._log.consumer(f"router-{self.name}", [named(DEFAULT_WORKSPACE, self.topic)], self)

    async def turn(self, consumer: Consumer) -> None:
        records = await consumer.poll(BATCH, POLL_S)
        if not records:
            return
        first: dict[TopicPartition, int] = {}
        following: dict[TopicPartition, int] = {}
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            first.setdefault(tp, record.offset)
            following[tp] = record.offset + 1
        try:
            await self.hear(records)
        except Transient:
            consumer.seek(first)
            raise
        await consumer.commit(following)

    async def close(self, *parts: Consumer | Reader | None) -> None:
        for part in parts:
            if part is not None:
                with contextlib.suppress(Transient):
                    await part.close()

    # ── Listener ──

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is held for them."""
