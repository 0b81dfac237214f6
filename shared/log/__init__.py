"""The log: what every service may expect of the road between them.

Two implementations pass one suite (`tests/contracts/test_log.py`): `kafka` and `postgres` (the embedded
default). What both promise:

* A topic has partitions; a record's offset in its partition strictly increases, gaps allowed (Kafka's
  control records take offsets too). Records with one key share a partition, in the order appended.
* `Producer.append` returns when the records are durable (acks=all). `Transient` means *unknown*: they may
  be there; append the same ids again. `Rejected` means definitely not there.
* No committed record ever becomes visible behind a position that a reader has passed.
* A reader sees committed records only.
* `TransactionalConsumer.transact` makes outputs and positions visible together or not at all, and a member
  that lost a partition meanwhile (a zombie) gets `Fenced` and nothing of its output is ever seen.
* A group's partitions are shared among its live members; a dead one's go to the others within
  `SESSION_TIMEOUT_S`, at the committed position.

What is left to the caller: what counts as a repeat, what goes to the dead-letter topic (write it as an
output of the same transaction), and doing its own work quickly enough to poll within `POLL_MAX_S`, or it is given up.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from shared.topics import Topic

SESSION_TIMEOUT_S = 10.0
POLL_MAX_S = 900.0
"""A member that has not polled for so long is taken for stuck. Well above what a router needs to read its map anew, which
it does between two polls: given up in the midst of that, it would begin again for ever."""

Headers = list[tuple[str, bytes]]


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Message(NamedTuple):
    """What is appended. Without a key the partition is the implementation's choice."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers


class Record(NamedTuple):
    """What is read. `timestamp_ms` is the log's own append time (Unix, ms): it may repeat and may step back,
    so order is by offset and time is for windows only."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers


class Unlike(NamedTuple):
    """A setting of a topic that is there, which is not as it should be. `mendable`: whether it can be set without moving
    any record to another partition."""

    topic: str
    setting: str
    found: str
    wanted: str
    mendable: bool = True


class Columns(NamedTuple):
    """Of some records, in their order, only what is asked for: one list of offsets, one of times, and one of values for
    each header named (None where a record has no such header, its last value where it has several)."""

    offsets: list[int]
    times_ms: list[int]
    headers: list[list[bytes | None]]


class Producer(Protocol):
    async def append(self, messages: Sequence[Message]) -> None:
        """Returns when all of them are durable. Many callers at once share one write.

        Raises `Transient` (unknown: append the same ids again) or `Rejected` (too large, no such topic).
        """

    async def close(self) -> None: ...


class Listener(Protocol):
    """What a consumer tells its owner about partitions. Called from within `poll`, never concurrently."""

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """These partitions are ours; `positions` are the group's committed ones (or the start).

        Returns the positions to read from: the same, or others where they are stored elsewhere. No record of
        these partitions is delivered before this returns; an exception here makes `poll` raise it.
        Called again for partitions already owned after a failed `transact`: forget what you held for them.
        """

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are no longer ours: drop what is in hand for them."""


class Consumer(Protocol):
    """A member of a group that keeps its positions elsewhere, or by `commit`."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """The next records of the partitions that are ours, each partition's in order; [] when none came in time.

        Raises `Transient` when the log is away; call again.
        """

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """The next offset to read for each partition. Raises `Fenced` when one of them is no longer ours."""

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read on from there. Partitions that are not ours are passed over."""

    async def subscribe(self, topics: Sequence[str]) -> None:
        """From now on these topics instead (a team came or went). Partitions that stay ours are undisturbed; members of
        one group may differ for a while. What changes is told to the listener by the next polls."""

    def pause(self) -> None:
        """`poll` gives nothing, but keeps the membership, until `resume`. For a slow or absent sink."""

    def resume(self) -> None: ...

    @property
    def assignment(self) -> frozenset[TopicPartition]: ...

    async def lag(self) -> dict[TopicPartition, int]:
        """Records between our position and the end, for each partition that is ours."""

    async def close(self) -> None:
        """Leave the group, so that the others take over at once."""


class TransactionalConsumer(Consumer, Protocol):
    async def transact(self, outputs: Sequence[Message], positions: Mapping[TopicPartition, int]) -> None:
        """Outputs and positions in one log transaction, fenced by the group.

        On `Fenced` or `Transient` nothing of `outputs` is ever seen by a committed reader unless the
        positions moved too; the consumer has gone back to the committed positions and the next `poll` calls
        `Listener.assigned` again for each partition that is still ours. So the caller drops the batch and polls.
        The same after `Rejected` (an output is too large, or its topic is not there): nothing was written, no
        position has moved, and the same records come again.
        """


class Reader(Protocol):
    """Reads without a group: rebuilding, tailing, replaying. Committed records only."""

    async def partitions(self, topic: str) -> int:
        """How many; 0 when there is no such topic."""

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """(first offset kept, offset after the last committed record)."""

    async def offset_at(self, tp: TopicPartition, timestamp_ms: int) -> int:
        """The first offset whose time is at or after that; the end of the partition when there is none."""

    def scan(self, tp: TopicPartition, start: int, stop: int) -> AsyncIterator[list[Record]]:
        """The committed records with start ≤ offset < stop that exist now, in lists. Ends at `stop` or at the end of the
        partition, whichever is first."""

    def scan_headers(self, tp: TopicPartition, start: int, stop: int, names: Sequence[str]) -> AsyncIterator[Columns]:
        """The same records, but of each only offset, time and these headers: for a million of them in a few seconds."""

    def follow(self, topic: str, start: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        """For ever, over all partitions of a topic, from `start` (partition → offset; a partition not named begins at
        its first record). An empty list about every second when nothing comes, so that the caller can breathe."""

    async def close(self) -> None: ...


class Log(Protocol):
    async def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        """Create those that are missing (a race with another process is no error); the names created."""

    async def unlike(self, topics: Sequence[Topic]) -> list[Unlike]:
        """What is not as it should be with those of them that are there: somebody else may have made them, or an older
        release. Nobody mends it unasked, for an operator may have meant it."""

    async def mend(self, unlike: Sequence[Unlike]) -> None:
        """Set what is mendable of these."""

    async def topics(self) -> dict[str, int]:
        """Name → partitions."""

    async def producer(self) -> Producer: ...

    async def consumer(self, group: str, topics: Sequence[str], listener: Listener) -> Consumer: ...

    async def transactional(self, group: str, topics: Sequence[str], listener: Listener) -> TransactionalConsumer: ...

    async def reader(self) -> Reader: ...

    async def lag(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Of the whole group, from its committed positions."""

    async def ping(self) -> None:
        """Raises `Transient` when the log cannot be reached within two seconds."""

    async def close(self) -> None: ...
