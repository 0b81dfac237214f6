"""What a client's error means to our callers: try again, refused for ever, or somebody else's now."""

import logging
import time

from aiokafka import errors as aio
from confluent_kafka import KafkaError, KafkaException

from shared.errors import Fenced, FlywheelError, NoSuchTopic, Rejected, Transient

library_log = logging.getLogger("flywheel.kafka")
"""librdkafka's own words; without it they go to stderr as they are."""

RETRY_AFTER_S = 1.0

# Both clients say the same thing many times a second while a broker is away.
SAY_AGAIN_S = 10.0
TALKATIVE = ("", ".conn", ".consumer.fetcher", ".consumer.group_coordinator", ".producer.sender")


class Seldom(logging.Filter):
    """Lets each message of a logger pass once in a while, whatever it is about."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # librdkafka's own are ("%s %s", what, the rest); aiokafka's text is constant enough.
        facility = record.args[0] if record.name == library_log.name and isinstance(record.args, tuple) else record.msg
        what = (record.name, facility)
        now = time.monotonic()
        if now - self._said.get(what, -SAY_AGAIN_S) < SAY_AGAIN_S:
            return False
        if len(self._said) < 1000:
            self._said[what] = now
        return True


for _logger in (library_log, *(logging.getLogger(f"aiokafka{part}") for part in TALKATIVE)):
    _logger.addFilter(Seldom())

# The same bytes fail the same way for ever, and were not stored.
AIOKAFKA_REJECTED = (
    aio.MessageSizeTooLargeError,
    aio.RecordListTooLargeError,
    aio.InvalidTimestampError,
    aio.PolicyViolationError,
)
LIBRDKAFKA_REJECTED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
    }
)
# Final for who writes there. Of who reads, or asks about what he read, it was there a moment ago: a broker that has just
# started, or has just been given a partition, says so of topics that it has not heard of yet.
LIBRDKAFKA_NO_TOPIC = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
    }
)
# The group, or the transaction coordinator, knows another owner.
LIBRDKAFKA_FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError._FENCED,
    }
)


def of_librdkafka(error: KafkaError, doing: str, *, writing: bool = False) -> FlywheelError:
    text = f"Kafka, {doing}: {error.str()}"
    if error.code() in LIBRDKAFKA_FENCED:
        return Fenced(text)
    if error.code() in LIBRDKAFKA_REJECTED:
        return Rejected(text)
    if writing and error.code() in LIBRDKAFKA_NO_TOPIC:
        return NoSuchTopic(text)
    return Transient(text, retry_after=RETRY_AFTER_S)


def of_exception(error: KafkaException, doing: str, *, writing: bool = False) -> FlywheelError:
    return of_librdkafka(error.args[0], doing, writing=writing)


def is_rejected(error: BaseException) -> bool:
    return isinstance(error, AIOKAFKA_REJECTED)


def unknown(doing: str, error: BaseException | str) -> Transient:
    """Somebody's data may or may not be there: the same ids again."""
    return Transient(f"Kafka, {doing}: {error if isinstance(error, str) else repr(error)}", retry_after=RETRY_AFTER_S)


def passes(error: KafkaError) -> bool:
    """Errors that the client reports and gets over by itself."""
    return error.retriable() or error.code() in (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    )
