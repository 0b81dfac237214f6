"""What a connector read → what can be stored: made to fit, without what is not to be kept, named, built.

One way for a webhook that comes, for one that is read again out of quarantine, and for one that is only tried out.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.ingest.connectors import Draft, Ignored
from services.ingest.door import log
from services.ingest.normalize import Builder, Content, Event, without
from services.ingest.pii import Pii
from services.ingest.sources import Ranges, Source
from services.ingest.tidy import clean_text, tidy_content
from shared.events.acceptable import Invalid
from shared.events.envelope import rfc3339
from shared.events.identity import delivery_id, fresh_id

REASON_MAX_CHARS = 200


class Understood(NamedTuple):
    """What is to be stored, and whether there is something else that cannot be; or why nothing is."""

    events: tuple[Event, ...] = ()
    drafts: tuple[Draft, ...] = ()
    """Of these events, one each."""
    ignored: str | None = None
    bad: str = ""


def understood(
    drafts: Sequence[Draft] | Ignored,
    source: Source,
    *,
    ranges: Ranges,
    pii: Pii | None,
    builder: Builder,
    received_at: datetime,
    traceparent: str,
    letter: str | None = None,
) -> Understood:
    """What can be stored of it, and why the first of the others cannot. `letter`: what names deliveries that have no name of
    their own, where it is read again."""
    if isinstance(drafts, Ignored):
        return Understood(ignored=sayable(drafts.reason))
    if not drafts:
        return Understood(ignored="nothing in it")
    received = rfc3339(received_at)
    events: list[Event] = []
    stored: list[Draft] = []
    bad = ""
    for number, draft in enumerate(drafts):
        try:
            content = tidy_content(draft.type, draft.body, source.name, ranges)
            event_id = _id_of(draft, content, source, f"{letter}/{number}" if letter is not None else None)
            events.append(builder.build(without(content, pii), event_id, received, traceparent))
            stored.append(draft)
        except Invalid as invalid:
            bad = bad or str(invalid)
        except Exception as error:  # noqa: BLE001 - a draft that nobody thought of; the bytes are kept
            log.warning("connector.failed", connector=source.connector, source=source.name, error=where(error))
            bad = bad or f"a draft cannot be stored: {type(error).__name__}"
    return Understood(tuple(events), tuple(stored), bad=bad)


def sayable(reason: str) -> str:
    """A connector may quote what came, which may be no characters at all: half of a surrogate pair cannot be sent."""
    return clean_text(reason[:REASON_MAX_CHARS])


def where(error: Exception) -> str:
    """The kind and the place; the message may quote what a customer said."""
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"


def _id_of(draft: Draft, content: Content, source: Source, otherwise: str | None = None) -> str:
    if draft.delivery:
        # Half of a surrogate pair is written out, not replaced: two deliveries that differ only there stay two.
        delivery = draft.delivery.encode("utf-8", "backslashreplace").decode()
        return delivery_id("hook", source.workspace, source.name, delivery)
    if content.external_id is not None:
        return delivery_id("ext", source.workspace, source.name, content.external_id)
    if otherwise is not None:
        return delivery_id("hook", source.workspace, source.name, otherwise)
    return fresh_id()
