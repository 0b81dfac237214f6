"""librdkafka's messages as our records. Called for every record, so it does nothing twice."""

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, Message

from shared.log import Columns, Record

TAKE_RECORDS = 250
"""So many at once: each message is several objects, and what was made of more than this has left the processor's cache
before it is looked at (measured: 9 µs a record in lists of 10,000, 5 µs in lists of 250)."""


def taken(consumer: Consumer, most: int, wait_s: float) -> Iterator[list[Message]]:
    """What is there, in short lists, waiting only for the first: `consume(n, t)` would wait all of t unless n came."""
    messages = consumer.consume(1, wait_s)
    while messages:
        yield messages
        most -= len(messages)
        if most <= 0:
            return
        messages = consumer.consume(min(most, TAKE_RECORDS), 0)


def record_of(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value() or b"",
        message.headers() or [],
    )


def columns_of(messages: list[Message], names: Sequence[str]) -> Columns:
    headers = [dict(message.headers() or ()) for message in messages]
    return Columns(
        [message.offset() or 0 for message in messages],
        [message.timestamp()[1] for message in messages],
        [[of.get(name) for of in headers] for name in names],  # type: ignore[misc]
    )
