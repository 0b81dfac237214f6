"""What could not be processed, kept as it came: original bytes, where from, why, how often tried.

The record's own headers stay; ours stand beside them with the prefix `dlq_` (Spring Kafka's dead-letter set).
A value too large for one record beside those headers is cut into parts under one key, so they share a partition
and stand in order; `whole` joins them.

What is sent again goes to who could not process it, and to nobody else: the router alone reads what was received, so it
goes there; of what the router wrote, teams have had theirs, so it goes to a topic that says for whom it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.log import Headers, Message, Record
from shared.topics import DEAD_LETTER, DEFAULT_WORKSPACE, MAX_MESSAGE_BYTES, RECEIVED, REDRIVE, named

PREFIX = "dlq_"
REDRIVE_FOR = "redrive_for"
"""The header of a record on `feedback.redrive`: the one service that it is for."""
PART_BYTES = MAX_MESSAGE_BYTES - 512 * 1024
REASON_MAX_CHARS = 500
MAX_REDRIVE_DIGITS = 9


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
    def came_by_topic(self) -> bool:
        """A webhook's body came by no topic: only its tool can send it again."""
        return bool(self.original_topic) and "/" not in self.original_topic

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


def whole(records: Sequence[Record]) -> list[DeadLetter]:
    """The dead letters in these records of one partition, in order; parts joined, an incomplete one left out."""
    found: list[DeadLetter] = []
    parts: dict[str, list[bytes]] = {}
    for record in records:
        ours = {name: value for name, value in record.headers if name.startswith(PREFIX)}
        name = _text(ours, "id") or f"{record.topic}/{record.partition}/{record.offset}"
        part, _, total = _text(ours, "part").partition("/")
        if total:
            pieces = parts.setdefault(name, [])
            if part == "1":
                pieces.clear()
            pieces.append(record.value)
            if part != total or len(pieces) != int(total):
                continue
        found.append(
            DeadLetter(
                id=name,
                service=_text(ours, "service"),
                reason=_text(ours, "reason"),
                detail=_text(ours, "detail"),
                attempts=int(_text(ours, "attempts") or "1"),
                original_topic=_text(ours, "original_topic"),
                key=None if PREFIX + "keyless" in ours else record.key,
                value=b"".join(parts.pop(name)) if total else record.value,
                headers=[(key, value) for key, value in record.headers if not key.startswith(PREFIX)],
            )
        )
    return found


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
    count = dict(headers).get("redrive", b"")
    return int(count) if count.isdigit() and len(count) < MAX_REDRIVE_DIGITS else 0


def _text(headers: dict[str, bytes], name: str) -> str:
    return headers.get(PREFIX + name, b"").decode(errors="replace")
