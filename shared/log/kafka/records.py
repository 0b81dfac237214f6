"""librdkafka's message as our record. Called for every record, so it does nothing twice."""

from typing import Any

from shared.log import Record


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
