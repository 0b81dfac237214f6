"""What comes of somebody who was erased: an event that was sent again, was late, or is read from the log once more.

It is known by the keyed pseudonym in `closer.erased`, and by when it was said: what was said (or done) up to the erasure brings
nobody back. What is said afterwards is said by somebody new, who may be a customer like any other.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.closer.lookups import erased_at
from services.closer.records import DecisionRead, Deed, Feedback, Value, Watched
from services.closer.transactions import Driver
from shared.events.identity import Pseudonyms, customer_of

NOTHING_KEPT = "its customer was erased after it was said: nothing of it is kept"


async def who_was_erased(
    driver: Driver,
    pseudonyms: Pseudonyms,
    feedback: Sequence[Feedback],
    watched: Sequence[Watched],
    decisions: Sequence[DecisionRead],
) -> "Known":
    """One question for each workspace of the batch, of which there is one as a rule; where nobody ever was, one that costs
    next to nothing."""
    if not await driver.fetchval("SELECT EXISTS (SELECT FROM closer.erased)"):
        return Known(pseudonyms, {})
    values = [*(one.value for one in feedback), *(one.value for one in watched)]
    said = [(value.workspace, value.customer) for value in values if value.customer is not None]
    said += [(one.value.workspace, one.deed.customer) for one in decisions if one.deed is not None]
    names: dict[str, set[str]] = {}
    for workspace, customer in said:
        whose = (customer_of(customer.id, customer.email), customer_of(None, customer.email))
        names.setdefault(workspace, set()).update(name for name in whose if name is not None)
    found: dict[tuple[str, str, str], datetime] = {}
    for workspace, some in names.items():
        keys = [pseudonyms.key(workspace, name).decode() for name in some]
        for (kind, key), at in (await erased_at(driver, workspace, keys)).items():
            found[workspace, kind, key] = at
    return Known(pseudonyms, found)


class Known:
    """Of a batch: whose events are of somebody who was erased before they were said."""

    def __init__(self, pseudonyms: Pseudonyms, found: Mapping[tuple[str, str, str], datetime]) -> None:
        self._pseudonyms = pseudonyms
        self._found = found
        """(workspace, kind, key) → when."""

    def was_erased(self, workspace: str, customer: str | None, email: str | None, said: datetime | None) -> bool:
        """`said` None: at a time that nobody knows, which is taken for before."""
        if not self._found:
            return False
        whose = (("customer", customer), ("address", customer_of(None, email)))
        for kind, name in whose:
            if name is not None:
                at = self._found.get((workspace, kind, self._pseudonyms.key(workspace, name).decode()))
                if at is not None and (said is None or said <= at):
                    return True
        return False

    def has(self, value: Value) -> bool:
        customer = value.customer
        if customer is None:
            return False
        return self.was_erased(value.workspace, customer_of(customer.id, customer.email), customer.email, _said(value))

    def has_deed(self, workspace: str, deed: Deed, decided_at: datetime) -> bool:
        customer, heard = deed.customer, deed.received_at or decided_at
        said = min(heard, deed.occurred_at or heard)
        return self.was_erased(workspace, customer_of(customer.id, customer.email), customer.email, said)


def _said(value: Value) -> datetime | None:
    """When. What is sent again comes later and says when it was; history that does not say so was said at some time before."""
    if value.occurred_at is None and value.routing.history:
        return None
    return min(value.received_at, value.occurred_at or value.received_at)
