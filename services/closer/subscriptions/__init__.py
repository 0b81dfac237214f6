"""How teams hear: one file for each `channel:` that `subscribe:` in teams.yaml may name, found by being here.

A channel tells in one of three manners (`TELLS`). *events*: each event that the subscription asks for is a message of its
own. *cases*: a case has one place on the other side, which is kept as the case is, in as many steps as that takes.
*digests*: what happened in a period is one message to each reader (`digests`).

`send` takes one step, which is one request that leaves something there, and ends in one of three ways: it returns,
or raises `Transient` (again, later) or `Rejected` (never; a person must mend something). What may have arrived
although it raised is sent again under the same id. So whoever receives it, or the channel by looking first, must be
able to tell it to be the same: teams are told at least once, and see it once.

What is left to the caller (`tell`): what is owed, the claim, the schedule of tries, one destination not slowing
another, giving up. To add a channel: the file, and its cases in tests/contracts/payloads/subscriptions/<channel>/.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from services.closer.case import Case
from services.closer.digest import Digest, Every
from services.closer.settings import CloserSettings
from shared.config.teams import Hours, Member
from shared.events.feedback import Kind
from shared.events.signal import SignalChanged
from shared.people import People
from shared.settings import Settings

EventType = Literal["feedback.routed", "case.changed", "signal.raised", "signal.resolved"]
Tells = Literal["events", "cases", "digests"]


SECRET = Field(repr=False)
"""Of what no log may show by accident."""


def like(pattern: str, otherwise: str) -> AfterValidator:
    """Of a string in an entry: what it must look like, and what a person is told when it does not."""

    def looked_at(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(otherwise)
        return text

    return AfterValidator(looked_at)


def several(value: Any) -> Any:
    """One is a list of one."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...],
    BeforeValidator(several),
    Field(max_length=1000),
]


Address = Annotated[
    str, like(r"[^@\s,;<>]+@[^@\s,;<>]+", "must be an e-mail address"), StringConstraints(max_length=320)
]


class Entry(BaseModel):
    """An item of `subscribe:`, whatever its channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """Given one, it stays the same subscription when its address changes, and what waits goes to the new one."""
    accounts: Names = ()
    """Nothing but what speaks for one of these (`customer.account_id`): a channel for each important customer."""
    tiers: Names = ()
    kinds: Annotated[tuple[Kind, ...], BeforeValidator(several)] = ()
    """Of feedback; of a case, that of the feedback which opened it."""


class DigestEntry(Entry):
    """`{channel: email, every: daily, at: "09:00", to: members}`"""

    every: Every
    at: Annotated[str, like(r"([01]\d|2[0-3]):[0-5]\d", 'must be a time of day: "09:00", in quotes')] | None = None
    """On the team's clock; of `daily` only. Nine o'clock where nothing is said."""
    to: (
        Literal["members"]
        | Annotated[tuple[Address, ...], BeforeValidator(several), Field(min_length=1, max_length=100)]
    )
    language: Literal["en", "zh"] = "en"
    """Of readers whose own is not known: those with `languages:` in teams.yaml get theirs."""

    @model_validator(mode="after")
    def _at_the_full_hour(self) -> Self:
        if self.at is not None and self.every == "hourly":
            raise ValueError("hourly goes at each full hour of the team's: leave `at` out")
        return self

    @property
    def at_minute(self) -> int:
        hour, minute = (self.at or "09:00").split(":")
        return int(hour) * 60 + int(minute)

    def readers(self, members: Sequence[Member]) -> tuple[str, ...]:
        """Addresses, each once."""
        found = [one.email for one in members] if self.to == "members" else self.to
        return tuple({address.lower(): address for address in found}.values())


@dataclass(frozen=True, slots=True)
class Only:
    """What a subscription asks for, of all that concerns its team. Nothing named: all of it."""

    accounts: frozenset[str] = frozenset()
    tiers: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def takes(self, account: str | None, tier: str | None, kind: str) -> bool:
        return (
            (not self.accounts or account in self.accounts)
            and (not self.tiers or tier in self.tiers)
            and (not self.kinds or kind in self.kinds)
        )


EVERYTHING = Only()


def only_of(entry: Entry) -> Only:
    return Only(frozenset(entry.accounts), frozenset(entry.tiers), frozenset(entry.kinds))


NOBODY_KNOWN = People(())


@dataclass(frozen=True, slots=True)
class Subscription:
    """One way in which one team hears, as the configuration in force has it."""

    id: str
    """The same for as long as it is the same destination; tells nothing of it."""
    team: str
    members: tuple[Member, ...]
    channel: str
    tells: Tells
    destination: str
    """For people. No secret."""
    events: frozenset[str]
    """Of `EventType`, where it tells events."""
    quiet: frozenset[str]
    """What may happen to a case without being told."""
    entry: Any
    """As the channel reads it, secrets and all."""
    only: Only = EVERYTHING
    hours: Hours | None = None
    """The team's; None: round the clock."""
    people: People = field(default=NOBODY_KNOWN, repr=False)
    """Everybody whom the configuration knows, for what language they read."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it stands on its topic."""

    type: EventType
    at: datetime
    value: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a case."""

    sequence: int
    what: str
    actor: str
    reason: str
    data: Mapping[str, Any]
    private: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseNow:
    """A case as it is, and how far the other side has been told of it."""

    case: Case
    title: str | None
    """This and `words`: of the feedback that opened it."""
    words: str | None
    steps: tuple[Step, ...]
    """After `said`, in order."""
    remote: str | None
    """What the other side calls its place; None: it has none yet."""
    shown: int
    """The sequence of the case that stands there."""
    said: int
    """The sequence up to which its steps were told."""
    wanted: int
    """The sequence that both have to reach."""


@dataclass(frozen=True, slots=True)
class SignalNow:
    """A signal as it is, for a channel where cases have their places: one place, which says that it is up, then that it has
    passed."""

    value: SignalChanged
    remote: str | None
    wanted: int
    """Like `CaseNow.wanted`: 1 raised, 2 resolved."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What one subscription is to be told, ready to go: an event, one case, one signal, or the digest of a period to one
    reader."""

    id: str
    """The same for every try; 32 hex digits."""
    attempt: int
    """From 1; after that, an earlier try may have arrived."""
    since: datetime
    """When it was first owed."""
    traceparent: str
    content: Event | CaseNow | SignalNow | Digest


@dataclass(frozen=True, slots=True)
class Told:
    """How far the other side is now; for an event or a digest there is nothing more to say."""

    remote: str | None = None
    shown: int = 0
    said: int = 0


@dataclass(frozen=True, slots=True)
class Pressed:
    """Somebody pressed one of our buttons."""

    telling: str
    """Of which place: `Telling.id`."""
    verb: Literal["acknowledge", "assign"]
    """`assign`: to whoever pressed."""
    who: str
    """As the channel calls them."""
    name: str
    """As people call them."""


class Way(Protocol):
    """A channel at work. Made once a process, in a thread."""

    at_once: int
    """How many sends may be under way to one destination."""
    pause_s: float
    """From one send to a destination to the next."""

    async def send(self, subscription: Subscription, telling: Telling, now: datetime) -> Told: ...

    async def close(self) -> None: ...


class WayBack(Way, Protocol):
    """Of a channel that has buttons."""

    async def address_of(self, subscription: Subscription, who: str) -> str | None:
        """The e-mail address that the channel knows of them. Raises as `send` does."""

    async def whisper(self, subscription: Subscription, who: str, text: str) -> None:
        """Say that to them alone. Raises as `send` does."""


class Plugin(Protocol):
    """What a file of this package defines."""

    TELLS: Tells
    Entry: type[Entry]
    QUIET: frozenset[str] = frozenset()
    """Where it tells cases: what happens to one and leaves nothing to tell. None where it is left out."""

    def check(self, entry: Any, members: Sequence[Member], env: Mapping[str, str] | None) -> Sequence[tuple[str, str]]:
        """(member, what is wrong with it), beyond what its type says. `members`: of the team. `env` None: it is another
        process's."""

    def destination(self, entry: Any) -> tuple[str, str]:
        """(what tells it from the team's others, what people are shown of it)."""

    def open_way(self, settings: Settings, closer: CloserSettings) -> Way:
        """Called in a thread: it may load what only this channel needs."""

    def signed(self, entry: Any, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
        """Whether a call back comes from this subscription's other side. Costs the same whatever is wrong.
        `never_signed` where nothing is called back."""

    def pressed(self, body: bytes) -> Pressed | None:
        """What such a call says; None: nothing that concerns us. `no_button` where there is none."""


def quiet_of(plugin: Plugin) -> frozenset[str]:
    """A module inherits nothing from a protocol, its defaults neither."""
    found: frozenset[str] = getattr(plugin, "QUIET", Plugin.QUIET)
    return found


def never_signed(entry: Any, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    return False


def no_button(body: bytes) -> Pressed | None:
    return None
