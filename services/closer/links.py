"""What stands in a customer's link: which case, and which message brought it there. ●"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.closer.notify import Notification
from shared.links import Links

PURPOSE = "loop"
MAX_AGE_S = 400 * 24 * 3600.0
"""A mail is opened long after; the case is still the customer's."""


class LoopLink(Struct, frozen=True, array_like=True):
    workspace: str
    case_id: str
    kind: str
    generation: Annotated[int, Meta(ge=1)]


_link = msgspec.json.Decoder(LoopLink)


def loop_token(links: Links, notification: Notification) -> str:
    """Signed, so that nobody makes one up; of one message, so that it says which answer the customer saw."""
    link = LoopLink(notification.workspace, notification.case_id, notification.kind, notification.generation)
    return links.sign(PURPOSE, msgspec.json.encode(link).decode())


def read_token(links: Links, token: str) -> LoopLink | None:
    """None: not ours, changed, or too old."""
    payload = links.read(PURPOSE, token, MAX_AGE_S)
    if payload is None:
        return None
    try:
        return _link.decode(payload)
    except msgspec.MsgspecError:
        return None
