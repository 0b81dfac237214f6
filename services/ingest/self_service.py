"""What customers do by themselves before they ask anybody: they search the help pages, read one, or give up waiting. ●

Three event types for help centres, chats and telephone systems, each strict about what it says, so that what is measured
over them (searches without a result, abandonment) rests on numbers. On the log each is a `customer.activity` whose
`activity` is the type and whose attributes hold what it says: no reader of a topic has to learn a new type.

Who it was must be said, as for all activity. For somebody who has not signed in, that is the id of their visit.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from shared.events.feedback import Activity, Channel, Customer, Id, Label, When

QUERY_MAX_CHARS = 500
WAITED_MAX_S = 86_400.0
ATTRIBUTES_MOST = 10
"""Besides: so few that the closer keeps them all, and what is measured with them."""
_SAYS_NOTHING_MORE = {"source", "customer", "occurred_at", "attributes"}


class SelfService(BaseModel):
    """What all of them say."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: Label | None = None
    customer: Customer
    occurred_at: When | None = None
    attributes: Annotated[dict[str, Any], Field(max_length=ATTRIBUTES_MOST)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.customer.id or self.customer.email):
            raise ValueError("customer.id or customer.email is required: without either, send the visit's id")
        return self


class Searched(SelfService):
    query: Annotated[str, StringConstraints(min_length=1, max_length=QUERY_MAX_CHARS)]
    results: Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
    """How many were found."""


class Viewed(SelfService):
    article: Id
    helpful: StrictBool | None = None
    """Their answer, where they gave one."""


class Abandoned(SelfService):
    waited_s: Annotated[float, Field(strict=True, ge=0, le=WAITED_MAX_S)]
    channel: Channel
    """The one on which they waited: call, chat …"""


TYPES: Mapping[str, type[SelfService]] = {
    "help.searched": Searched,
    "help.viewed": Viewed,
    "contact.abandoned": Abandoned,
}


def as_activity(kind: str, event: SelfService) -> Activity:
    said = {name: value for name, value in event.__dict__.items() if name not in _SAYS_NOTHING_MORE}
    return Activity(
        source=event.source,
        customer=event.customer,
        activity=kind,
        occurred_at=event.occurred_at,
        attributes={**event.attributes, **{name: value for name, value in said.items() if value is not None}},
    )
