"""What people correct becomes examples: log → database, behind everything else that the router does.

A correction names the decision that it is about by its place on the log. That record is read there, for what the customer
said, and kept with what is right (`kept`). Positions are committed to the log after the rows: what is read again was said
already and changes nothing, so every example is there once. A record that is gone (a month has passed) or that says nothing
that can be read teaches nothing, and is counted.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from services.router import metrics
from services.router.examples import row_of
from services.router.hearing import Hearing
from services.router.kept import KeptModels, Told
from shared.errors import Rejected
from shared.events.correction import Corrected
from shared.events.envelope import FEEDBACK_CORRECTED, FEEDBACK_ROUTED
from shared.events.feedback import TEXT_MAX_CHARS
from shared.log import Consumer, Log, Reader, Record, TopicPartition
from shared.telemetry import get_logger
from shared.topics import CORRECTIONS, ROUTED_PREFIX, named

TITLE_MAX_CHARS = 1000
_MEMBERS = ("team", "kind", "sentiment", "priority", "tags")

_log = get_logger("router")


class _Said(Struct):
    """Of a routed value."""

    id: str
    text: str | None = None
    title: str | None = None


class _Nothing(Exception):
    """A correction that teaches nothing; why, in a word."""


_said = msgspec.json.Decoder(_Said)
_ROUTED = FEEDBACK_ROUTED.encode()


class Corrections(Hearing):
    name = "corrections"
    topic = CORRECTIONS

    def __init__(self, log: Log, kept: KeptModels) -> None:
        super().__init__(log)
        self._kept = kept
        self._reader: Reader | None = None

    async def hear(self, records: Sequence[Record]) -> None:
        self._reader = self._reader or await self._log.reader()
        told = [one for record in records if (one := await self._learnt(record)) is not None]
        metrics.corrections.labels("kept").inc(await self._kept.correct(told))

    async def close(self, *parts: Consumer | Reader | None) -> None:
        await super().close(*parts, self._reader)

    async def _learnt(self, record: Record) -> Told | None:
        """None where it teaches nothing."""
        if dict(record.headers).get("ce_type") != FEEDBACK_CORRECTED.encode():
            return None
        try:
            return await self._told(record)
        except _Nothing as why:
            metrics.corrections.labels(str(why)).inc()
            _log.warning("corrections.nothing", why=str(why), partition=record.partition, offset=record.offset)
            return None

    async def _told(self, record: Record) -> Told:
        """Raises `_Nothing`."""
        try:
            corrected = Corrected.model_validate_json(record.value)
            of = await self._decision(corrected)
            found = _said.decode(of.value)
            given = {name: value for name in _MEMBERS if (value := getattr(corrected, name)) is not None}
            row_of({"text": "-", **given})  # what no example can hold is no reason to end with it
        except (ValueError, msgspec.MsgspecError, Rejected):
            raise _Nothing("unreadable") from None
        text, title = (found.text or "").strip(), (found.title or "").strip()
        if not (text or title):
            raise _Nothing("wordless")
        return Told(
            corrected.id,
            (text or title)[:TEXT_MAX_CHARS],
            title[:TITLE_MAX_CHARS] if text and title else None,
            given,
            corrected.at,
            of.key,
            record.partition,
            record.offset,
            datetime.fromtimestamp(of.timestamp_ms / 1000, UTC),
        )

    async def _decision(self, corrected: Corrected) -> Record:
        """The record that it is about. Raises `_Nothing` where it is gone, or another's: a topic may have been made anew."""
        assert self._reader is not None
        of = corrected.of
        tp = TopicPartition(of.topic, of.partition)
        is_routed = of.topic.startswith(named(corrected.workspace, ROUTED_PREFIX))
        if is_routed and of.partition in range(await self._reader.partitions(of.topic)):
            first, end = await self._reader.bounds(tp)
            stop = of.offset + 1 if first <= of.offset < end else of.offset
            async for records in self._reader.scan(tp, of.offset, stop):
                for record in records:
                    headers = dict(record.headers)
                    if (headers.get("ce_id"), headers.get("ce_type")) == (corrected.id.encode(), _ROUTED):
                        return record
        raise _Nothing("gone")
