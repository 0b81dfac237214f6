"""(a case before, what was decided) → the promises that are kept or broken by it, a clock at a time. ●

Each clock of a promise is judged once. Broken at its deadline, whatever is done afterwards and whenever it is noticed; kept
when the target is reached before that. A promise that fell away with time left is neither, and is in no count.
"""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from services.closer.case import Case, Event, Outcome
from services.closer.sla import CLOCKS, ClockName, Target


class Verdict(Struct, frozen=True, gc=False):
    at: datetime
    """When it was kept, or the deadline that passed."""
    team: str
    """Whose the case was then."""
    policy: str
    target: Target
    clock: ClockName
    met: bool
    generation: int


def verdicts(before: Case, outcome: Outcome) -> list[Verdict]:
    clocks = outcome.case.clocks
    if clocks is None:
        return []
    found = [_broken(event) for event in outcome.events if event.what == "clock.breached"]
    return [*found, *_kept(before, outcome.case, {(one.target, one.clock) for one in found})]


def _broken(event: Event) -> Verdict:
    data = event.data
    at = datetime.fromisoformat(data["due_at"]) if data["due_at"] else event.at
    return Verdict(at, event.team, data["policy"], data["target"], data["clock"], False, data["generation"])


def _kept(before: Case, after: Case, broken_now: set[tuple[Target, ClockName]]) -> Iterator[Verdict]:
    assert after.clocks is not None
    settled_before = len(before.clocks.settled) if before.clocks is not None else 0
    fired = before.clocks.fired if before.clocks is not None else frozenset()
    for one in after.clocks.settled[settled_before:]:
        for clock in CLOCKS:
            judged = (one.target, clock) in broken_now or f"{one.target}.{clock}.breached" in fired
            if one.within(clock) and not judged:
                policy = after.clocks.snapshot.policy
                yield Verdict(one.stopped_at, after.team, policy, one.target, clock, True, one.generation)
