"""CloudEvents' Kafka protocol binding, binary content mode: attributes are headers, raw UTF-8.

Beside the standard attributes: `ce_workspace`; `ce_bodyhash`, what the delivery said, so that a repeat is told
from a conflict without reading the value; `traceparent` (W3C); `redrive`, how often an operator sent it again
(a redriven record is no repeat of its original).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from shared.errors import Rejected

FEEDBACK_RECEIVED = "feedback.received"
CUSTOMER_ACTIVITY = "customer.activity"
WORK_SHIPPED = "work.shipped"
WORK_DECLINED = "work.declined"
WORK_MOVED = "work.moved"
FEEDBACK_ROUTED = "feedback.routed"
FEEDBACK_DECIDED = "feedback.decided"
CASE_CHANGED = "case.changed"
FEEDBACK_CORRECTED = "feedback.corrected"
SIGNAL_RAISED = "signal.raised"
SIGNAL_RESOLVED = "signal.resolved"
CUSTOMER_ERASED = "customer.erased"
INCOMING_TYPES = frozenset({FEEDBACK_RECEIVED, CUSTOMER_ACTIVITY, WORK_SHIPPED, WORK_DECLINED, WORK_MOVED})


class NotAnEvent(Rejected):
    """The headers are not those of one of our events."""


def rfc3339(at: datetime) -> str:
    """UTC, milliseconds, `Z`."""
    text = at.isoformat()  # faster than by its `timespec`
    return text[:23] + "Z" if at.microsecond else text[:19] + ".000Z"


@dataclass(frozen=True, slots=True)
class Envelope:
    id: str
    type: str
    source: str
    time: str
    """When it occurred, RFC 3339."""
    workspace: str
    bodyhash: str = ""
    traceparent: str = ""
    redrive: int = 0

    def headers(self) -> list[tuple[str, bytes]]:
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", self.id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_time", self.time.encode()),
            ("ce_workspace", self.workspace.encode()),
            ("content-type", b"application/json"),
        ]
        if self.bodyhash:
            headers.append(("ce_bodyhash", self.bodyhash.encode()))
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        if self.redrive:
            headers.append(("redrive", str(self.redrive).encode()))
        return headers

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> "Envelope":
        """Raises `NotAnEvent`, naming what is missing or cannot be read."""
        found = dict(headers)
        try:
            return cls(
                id=found["ce_id"].decode(),
                type=found["ce_type"].decode(),
                source=found["ce_source"].decode(),
                time=found.get("ce_time", b"").decode(),
                workspace=found["ce_workspace"].decode(),
                bodyhash=found.get("ce_bodyhash", b"").decode(),
                traceparent=found.get("traceparent", b"").decode(),
                redrive=int(found.get("redrive", b"0")),
            )
        except KeyError as missing:
            raise NotAnEvent(f"header {missing.args[0]} is missing") from None
        except (ValueError, AttributeError) as error:
            raise NotAnEvent(f"a header cannot be read: {error}") from None
