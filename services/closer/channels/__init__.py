"""The ways out: one file each. A file here defines `open_channel(settings, closer) -> Channel` and is found by being here.

A channel says of every send one of four things, and nothing else is right:

* it returns: the other side has it, and this is what it calls it;
* `Transient`: it certainly does not have it; the same message, with the same id, may be sent later;
* `Rejected`: it never will; do not try again;
* `Unknown`: it may have it. Whether to send again is not the channel's to decide.

What is left to the caller: claiming, the record of every attempt, the schedule of retries, the texts.
To add one: write the file, and a recorded case in tests/contracts/test_channels.py.
"""

from dataclasses import dataclass
from typing import Protocol

from services.closer.settings import CloserSettings
from shared.errors import FlywheelError
from shared.settings import Settings


class Unknown(FlywheelError):
    """The other side may have it, and may not: the answer was lost after the message was handed over."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one reader, ready to go."""

    id: str
    """The dedup key: the same for every try of this message."""
    case_id: str | None
    """Whose thread it stands in; None: in none."""
    to: str
    language: str
    subject: str
    text: str
    html: str
    unsubscribe_url: str | None
    traceparent: str


class Channel(Protocol):
    name: str
    """What the record says it went by."""
    repeatable: bool
    """Whether a second send of the same id leaves one message on the other side."""

    async def send(self, message: Outgoing) -> str:
        """What the other side calls it. Raises `Transient`, `Rejected` or `Unknown`."""

    async def forget(self, identity: str) -> None:
        """Take away what is kept here of the message with that id; of what has left us, nothing can be. Raises `Transient`."""

    async def close(self) -> None: ...


class OpenChannel(Protocol):
    def __call__(self, settings: Settings, closer: CloserSettings) -> Channel: ...


class Plugin(Protocol):
    """What a file of this package defines."""

    def open_channel(self, settings: Settings, closer: CloserSettings) -> Channel:
        """Raises `Misuse` when its settings are wrong."""
