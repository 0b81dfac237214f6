"""Brokers that err when they are told to: librdkafka's own mock cluster, which lives in the client's library.

It speaks the protocol over TCP like any broker, so whatever connects to it does not know. A real broker says "unknown
topic" of a topic that is there only in the moment before its metadata has caught up; this one says it on demand.
"""

import contextlib
import ctypes
from collections.abc import Iterator

import confluent_kafka

PRODUCE = 0
LIST_OFFSETS = 2
OFFSET_FETCH = 9
UNKNOWN_TOPIC_OR_PART = 3
NOT_COORDINATOR = 16
NOT_ENOUGH_REPLICAS = 19
_PRODUCER = 0


class MockKafka:
    """Its brokers are 1, 2, … , for as long as `running` runs."""

    def __init__(self, brokers: int) -> None:
        self._closed = False
        self._library = _library()
        self._client = ctypes.c_void_p(self._library.rd_kafka_new(_PRODUCER, None, None, 0))
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._client, brokers))
        self.bootstrap = str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create(self, topic: str, partitions: int = 1) -> None:
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def err(self, request: int, code: int, times: int) -> None:
        """The next so many requests of that kind are answered with this error."""
        codes = (ctypes.c_int * times)(*[code] * times)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(times), codes
        )

    def err_no_more(self, request: int) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(request))

    def hide(self, topic: str) -> None:
        """It is there, and not in the metadata."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), UNKNOWN_TOPIC_OR_PART)

    def show(self, topic: str) -> None:
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), 0)

    def coordinate(self, kind: str, key: str, broker: int) -> None:
        """`kind`: group or transaction, of which `key` is the id."""
        assert not self._library.rd_kafka_mock_coordinator_set(self._cluster, kind.encode(), key.encode(), broker)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        assert not self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)

    def set_down(self, broker: int) -> None:
        assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def set_up(self, broker: int) -> None:
        assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def close(self) -> None:
        """Gone. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@contextlib.contextmanager
def running(brokers: int = 1) -> Iterator[MockKafka]:
    made = MockKafka(brokers)
    try:
        yield made
    finally:
        made.close()


def _library() -> ctypes.CDLL:
    """The one that the client has loaded already, wherever its wheel keeps it."""
    assert confluent_kafka.libversion()
    with open("/proc/self/maps") as maps:
        library = ctypes.CDLL(next(line.split()[-1] for line in maps if "librdkafka" in line))
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library
