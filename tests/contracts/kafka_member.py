"""A member of a group in a process of its own, so that it can be stopped and killed at a chosen moment.

Reads one batch and copies it to the output topic in a transaction. `before-commit`: stops itself (SIGSTOP) when the
positions are in the transaction and the commit is not yet asked for. `before-transact`: stops itself with the batch in
hand, and after it went on waits until its client has heard that the group has expelled it. Prints what became of it.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import Producer

from shared.errors import FlywheelError
from shared.log import Message, Record, TopicPartition
from shared.log.kafka.admin import KafkaAdmin
from shared.log.kafka.settings import KafkaSettings
from shared.log.kafka.transactional import KafkaTransactionalConsumer

EXPELLED_TIMEOUT_S = 30.0


class Plain:
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass


def stop() -> None:
    """Sent to this thread: of one that is sent to the process another thread takes notice, and this one would go on for a
    moment, in which a commit went out."""
    print("stopping", flush=True)
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class Stopping(KafkaTransactionalConsumer):
    def _commit(self, producer: Producer) -> None:
        producer.flush(5)
        stop()
        super()._commit(producer)


async def main(bootstrap: str, group: str, source: str, target: str, where: str, timeout_ms: str) -> None:
    settings = KafkaSettings(bootstrap, transaction_timeout_ms=int(timeout_ms))
    kind = Stopping if where == "before-commit" else KafkaTransactionalConsumer
    consumer = kind(settings, KafkaAdmin(settings), group, [source], Plain())
    records: list[Record] = []
    while not records:
        records = await consumer.poll(5, 1.0)
    if where == "before-transact":
        stop()
        async with asyncio.timeout(EXPELLED_TIMEOUT_S):
            while consumer._consumer is None or consumer._consumer.memberid():
                await asyncio.sleep(0.05)
    positions = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}
    try:
        await consumer.transact([Message(target, r.key, r.value, r.headers) for r in records], positions)
    except FlywheelError as error:
        print(type(error).__name__, error, flush=True)
    else:
        print("committed", flush=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:7]))
