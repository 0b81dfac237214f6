"""What could not be processed, kept as it came: original bytes, where from, why, how often tried.

The record's own headers stay; ours stand beside them with the prefix `dlq_` (Spring Kafka's dead-letter set).
A value too large for one record beside those headers is cut into parts under one key, so they share a partition
and stand in order; `whole` joins them.

What is sent again goes to who could not process it, and to nobody else: the router alone reads what was received, so it
goes there; of what the router wrote, teams have had theirs, so it goes to a topic that says for whom it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shared.log import Headers, Message, Record
from shared.topics import DEAD_LETTER, DEFAULT_WORKSPACE, MAX_MESSAGE_BYTES, RECEIVED, REDRIVE, named

PREFIX = "dlq_"
REDRIVE_FOR = "redrive_for"
"""The header of a record on `feedback.redrive`: the one service that it is for."""
PART_BYTES = MAX_MESSAGE_BYTES - 512 * 1024
REASON_MAX_CHARS = 500
MAX_COUNT_DIGITS = 8

CameBy = Literal["topic", "webhook", "unknown"]
"""unknown: nobody of ours wrote it to the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, whole. `id` names it: the original place, `topic/partition/offset`, or what ingest gave it."""

    id: str
    service: str
    reason: str
    detail: str
    attempts: int
    original_topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    """The original's own."""

    @property
    def came_by(self) -> CameBy:
        return came_by(self.original_topic)

    @property
    def redrives(self) -> int:
        """How often it had been sent again when it came here."""
        return _redrives(self.headers)

    def messages(self, workspace: str = DEFAULT_WORKSPACE) -> list[Message]:
        """What to append, in one transaction with the position."""
        size = max(1, -(-len(self.value) // PART_BYTES))
        own = [
            *self.headers,
            (PREFIX + "id", self.id.encode()),
            (PREFIX + "service", self.service.encode()),
            (PREFIX + "reason", self.reason.encode()),
            (PREFIX + "detail", self.detail[:REASON_MAX_CHARS].encode()),
            (PREFIX + "attempts", str(self.attempts).encode()),
            (PREFIX + "original_topic", self.original_topic.encode()),
            (PREFIX + "bytes", str(len(self.value)).encode()),
        ]
        topic, key = named(workspace, DEAD_LETTER), self.key or self.id.encode()
        if self.key is None:
            own.append((PREFIX + "keyless", b"1"))
        return [
            Message(
                topic,
                key,
                self.value[part * PART_BYTES : (part + 1) * PART_BYTES],
                own if size == 1 else [*own, (PREFIX + "part", f"{part + 1}/{size}".encode())],
            )
            for part in range(size)
        ]


def dead_letter_of(record: Record, *, service: str, reason: str, detail: str, attempts: int = 1) -> DeadLetter:
    """The dead letter of a record that was read. `reason` is a slug, `detail` a sentence without personal fields.
    What was tried before it was redriven counts too."""
    headers = list(record.headers or [])
    return DeadLetter(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        service=service,
        reason=reason,
        detail=detail,
        attempts=attempts + _redrives(headers),
        original_topic=record.topic,
        key=record.key,
        value=record.value,
        headers=headers,
    )


class Label(NamedTuple):
    """What stands on a letter from outside: its headers, without a look at the bytes."""

    id: str
    service: str
    reason: str
    detail: str
    attempts: int
    original_topic: str
    bytes: int | None
    redrives: int
    source: str
    """What its event says of where it was said: `app-store`, `cli`; empty for what is no event."""
    event_id: str
    """The feedback's; empty for what is no event."""

    @property
    def came_by(self) -> CameBy:
        return came_by(self.original_topic)


_LABELLED = ("id", "service", "reason", "detail", "attempts", "original_topic", "bytes", "part")
LABEL_HEADERS = (*(PREFIX + name for name in _LABELLED), "redrive", "ce_source", "ce_id")


def label_of(headers: Mapping[str, bytes | None]) -> Label | None:
    """None: a part, which is not the last one. A letter that was cut stands where its last part does."""
    part, _, parts = _text(headers, "part").partition("/")
    if part != parts and parts:
        return None
    return Label(
        id=_text(headers, "id"),
        service=_text(headers, "service"),
        reason=_text(headers, "reason"),
        detail=_text(headers, "detail"),
        attempts=_count(headers.get(PREFIX + "attempts")) or 1,
        original_topic=_text(headers, "original_topic"),
        bytes=_count(size) if (size := headers.get(PREFIX + "bytes")) else None,
        redrives=_count(headers.get("redrive")),
        source=(headers.get("ce_source") or b"").decode(errors="replace"),
        event_id=(headers.get("ce_id") or b"").decode(errors="replace"),
    )


class Joining:
    """The records of one partition, in order → letters; parts joined, an incomplete one left out."""

    def __init__(self) -> None:
        self._parts: dict[str, list[bytes]] = {}

    def add(self, record: Record) -> DeadLetter | None:
        """The letter that ends with this record."""
        headers = dict(record.headers)
        label = label_of(headers)
        name = _text(headers, "id") or f"{record.topic}/{record.partition}/{record.offset}"
        part, _, total = _text(headers, "part").partition("/")
        pieces = self._parts.setdefault(name, []) if total else []
        if part == "1":
            pieces.clear()
        pieces.append(record.value)
        if label is None:
            return None
        self._parts.pop(name, None)
        if total and str(len(pieces)) != total:
            return None
        return DeadLetter(
            id=name,
            service=label.service,
            reason=label.reason,
            detail=label.detail,
            attempts=label.attempts,
            original_topic=label.original_topic,
            key=None if PREFIX + "keyless" in headers else record.key,
            value=b"".join(pieces),
            headers=[(key, value) for key, value in record.headers if not key.startswith(PREFIX)],
        )


def whole(records: Sequence[Record]) -> list[DeadLetter]:
    """The dead letters in these records of one partition."""
    joining = Joining()
    return [letter for record in records if (letter := joining.add(record)) is not None]


def came_by(original_topic: str) -> CameBy:
    """A webhook's body came by no topic: only its tool can send it again."""
    if not original_topic:
        return "unknown"
    return "webhook" if "/" in original_topic else "topic"


def redriven(letter: DeadLetter) -> Message:
    """The original, to be appended again; `redrive` counts up, so it is no repeat of itself."""
    headers = [(name, value) for name, value in letter.headers if name not in ("redrive", REDRIVE_FOR)]
    headers.append(("redrive", str(_redrives(letter.headers) + 1).encode()))
    before, _, bare = letter.original_topic.rpartition("feedback.")
    topic = letter.original_topic
    if f"feedback.{bare}" != RECEIVED:
        topic = before + REDRIVE
        headers.append((REDRIVE_FOR, letter.service.encode()))
    return Message(topic, letter.key, letter.value, headers)


def _redrives(headers: Headers) -> int:
    """How often an operator sent it again; a header that cannot be read is a reason to be here, not a count."""
    return _count(dict(headers).get("redrive"))


def _count(digits: bytes | None) -> int:
    return int(digits) if digits and digits.isdigit() and len(digits) <= MAX_COUNT_DIGITS else 0


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    return (headers.get(PREFIX + name) or b"").decode(errors="replace")
