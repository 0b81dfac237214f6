"""What ingest would have written: the events as records of `feedback.received`, built by ingest's own code. Pure but
for what it is given."""

from datetime import UTC, datetime, timedelta

from bench.events import Piece
from services.ingest.normalize import Builder, event_id, feedback_content
from shared.events.envelope import rfc3339
from shared.events.feedback import METRIC_RANGES
from shared.events.identity import Pseudonyms
from shared.log import Message
from shared.web import strict_json

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECEIVED_AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def messages(pieces: list[Piece], count: int, secret: str, *, start: int = 0) -> list[Message]:
    """So many deliveries, each once."""
    builder = Builder("default", Pseudonyms(secret))
    made = []
    for number in range(start, start + count):
        content = feedback_content(strict_json.loads(pieces[number % len(pieces)].body(number)), METRIC_RANGES)
        delivery = event_id(content, "default", None)
        assert delivery is not None
        at = rfc3339(RECEIVED_AT + timedelta(milliseconds=number))
        made.append(builder.build(content, delivery, at, TRACEPARENT).message)
    return made
