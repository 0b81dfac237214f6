"""Praise goes to whoever earned it: to the person who handled the case that it follows, and to their team.

It follows a case when the customer names that case (a yes on its page, with words that do not complain), or when they were
told of an answer within `WITHIN` before they wrote: then it is the newest such answer. The person is who has the case, else
who answered it last. Which of the two it was is recorded, with the feedback's id: each piece of praise is passed on once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from services.closer.commands import Why
from services.closer.records import Feedback
from services.closer.store import Held
from services.closer.transactions import Driver

WITHIN = timedelta(days=60)

_TOLD = """
SELECT customer, id, (data->>'told_at')::timestamptz AS told_at FROM closer.case
WHERE workspace = $1 AND customer = ANY ($2) AND (data->>'told_at')::timestamptz > $3
"""
_ANSWERED_BY = """
SELECT actor FROM closer.timeline WHERE case_id = $1 AND what IN ('resolved', 'declined') ORDER BY sequence DESC LIMIT 1
"""


def why_thanks(feedback: Feedback, on_page: bool) -> Why | None:
    """Whether it may be praise for a case. `on_page`: an answer really given on the customer's page."""
    value = feedback.value
    if not value.text or value.routing.history:
        return None
    if on_page:
        said_yes = feedback.loop is not None and feedback.loop.solved
        return "answer" if said_yes and value.routing.sentiment.label != "negative" else None
    return "praise" if value.routing.kind == "praise" and feedback.customer is not None else None


Told = Mapping[str, Sequence[tuple[datetime, str]]]
"""Customer → when they were told of the answer to which case."""


async def told_lately(driver: Driver, workspace: str, customers: Sequence[str], since: datetime) -> Told:
    found: dict[str, list[tuple[datetime, str]]] = {}
    for row in await driver.fetch(_TOLD, workspace, customers, since):
        found.setdefault(row["customer"], []).append((row["told_at"], str(row["id"])))
    return found


def followed(told: Sequence[tuple[datetime, str]], at: datetime) -> str | None:
    """The case whose answer came last before praise that was received then."""
    before = [one for one in told if at - WITHIN <= one[0] <= at]
    return max(before)[1] if before else None


async def who_handled(driver: Driver, held: Held) -> str | None:
    """Their address, in lower case; None: a machine did, whose key has a name and no address."""
    person = held.case.assignee or await driver.fetchval(_ANSWERED_BY, held.case.id)
    return person.lower() if person and "@" in person else None
