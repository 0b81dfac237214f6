"""What stands in a customer's link: which case. ●

Not which message brought it: an old mail's link shows the answer of today, and that is what is then judged.
"""

import msgspec
from msgspec import Struct

from services.closer.notify import Notification
from shared.links import Links

PURPOSE = "loop"
MAX_AGE_S = 400 * 24 * 3600.0
"""A mail is opened long after; the case is still the customer's."""


class LoopLink(Struct, frozen=True, array_like=True):
    """Members may be added at the end; those of an older link that are no longer known are passed over."""

    workspace: str
    case_id: str


_link = msgspec.json.Decoder(LoopLink)


def loop_token(links: Links, notification: Notification) -> str:
    """Signed, so that nobody makes one up."""
    link = LoopLink(notification.workspace, notification.case_id)
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
