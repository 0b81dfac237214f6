"""A case that goes on in another one: what that one takes over. The merged case's own part is `case.py`'s."""

from datetime import datetime

from services.closer import commands
from services.closer.case import Case, decide
from services.closer.notify import another
from services.closer.store import Effects, Held
from shared.events.identity import customer_of


def joins(
    effects: Effects,
    held: Held,
    before: Case,
    other: Held,
    also: tuple[commands.Also, ...],
    command: commands.Merge | commands.Reopen,
    actor: str,
) -> None:
    """The case that goes on says so too, and owes the customer the answer. `held` was `before` until it was merged."""
    _learn_contact(held, other)
    join = commands.Join(
        held.first_feedback_id,
        before.priority,
        promise=_promise(held, before, other, command, effects.now),
        merged=before.id,
        reason=command.reason,
        also=also,
    )
    effects.record(other, decide(other.case, join, effects.now, actor))


def _learn_contact(held: Held, other: Held) -> None:
    """The newest address is the one that the customer reads, whichever of their cases has it. One that was erased has none."""
    known, fresh = other.personal, held.personal
    if not fresh.email or another(held.names, other.names):
        return
    newer = held.case.id > other.case.id and customer_of(None, fresh.email) != customer_of(None, known.email)
    if not known.email or newer:
        other.personal = known.reached_at(fresh.email, fresh.name, fresh.locale)


def _promise(
    held: Held, before: Case, other: Held, command: commands.Merge | commands.Reopen, now: datetime
) -> commands.Promise | None:
    """What a case that is merged into one of imported history brings along: the promise that somebody was given."""
    own = not another(held.names, other.names)
    if before.history:
        return None
    if isinstance(command, commands.Reopen):
        return commands.Promise(now, command.snapshot, own=own) if command.snapshot is not None else None
    if before.clocks is None:
        return None
    since = min(before.clocks.running.values(), default=before.opened_at)
    return commands.Promise(since, before.clocks.snapshot, own=own)
