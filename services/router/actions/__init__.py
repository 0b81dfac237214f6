"""What a rule can do to an event: one file each, found by looking into this folder.

To add one, write `actions/<verb>.py` with the names of `Action` below, and a recorded case beside the others in
`tests/contracts/payloads/actions/<verb>.json`. In routing.yaml it is then `then: [{<verb>: <params>}]`.

An action is pure: it changes the draft that it is given and nothing else. Actions are applied in the order in which
the rules, and the actions within a rule, are written; a later one may overrule an earlier one.
"""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import msgspec
from pydantic import BaseModel

Name = tuple[Literal["team", "person", "rota"], str]


class Held(msgspec.Struct, frozen=True, gc=False):
    """Nobody is to be troubled by it yet."""

    until: str
    """RFC 3339."""
    because: str


class Draft(msgspec.Struct):
    """What the rules have decided so far about one event; None where none has spoken."""

    received_at: str = ""
    """When the event was received, as it says: for actions that hold for a time. Nobody writes it."""
    team: str | None = None
    watchers: list[str] = []
    tags: list[str] = []
    priority: str | None = None
    follow_up: bool | None = None
    tier: str | None = None
    person: str | None = None
    rota: str | None = None
    held: Held | None = None
    discarded: str | None = None
    """Why nobody gets it."""


class Action(Protocol):
    """A module of this package has these names."""

    Params: type[BaseModel]
    """What stands behind the verb in routing.yaml; anything else is refused on load."""

    def apply(self, draft: Draft, params: Any) -> None:
        """Write the decision into the draft."""

    def names(self, params: Any) -> Iterable[Name]:
        """What it names of teams.yaml: each must be there."""

    def says(self, params: Any) -> str:
        """What was done, for the reasons: "assigned to product"."""


def one_or_more(value: Any) -> Any:
    """`product` may stand for `[product]`."""
    return [value] if isinstance(value, str) else value
