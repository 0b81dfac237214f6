"""An initiative is shipped: its cases are resolved with one answer, and every customer is told it once.

A case that was merged is answered where it goes on. A customer who has several of the cases has them made one first, the oldest,
so that one mail is owed and one answer of theirs reopens it. What is finished stays as it is.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.closer import initiatives
from services.closer.case import decide
from services.closer.commands import Merge, Resolve
from services.closer.initiatives import Initiative
from services.closer.lookups import also_told, others_to_tell, unsubscribed_of
from services.closer.merging import joins
from services.closer.notify import another
from services.closer.records import MERGES_FOLLOWED
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Driver

_ONWARD = """
WITH RECURSIVE way AS (
    SELECT id AS first, id, (data->>'merged_into')::uuid AS onward, 0 AS steps FROM closer.case
    WHERE id = ANY ($2::uuid[]) AND workspace = $1
    UNION ALL
    SELECT way.first, c.id, (c.data->>'merged_into')::uuid, steps + 1 FROM way
    JOIN closer.case c ON c.id = way.onward AND c.workspace = $1 WHERE steps < $3)
SELECT first::text, id::text FROM way WHERE onward IS NULL
"""


class Gathered(NamedTuple):
    """Cases, locked, in which some others go on."""

    onward: Mapping[str, str]
    """A case that was asked for → the one in which it goes on, or itself."""
    held: Mapping[str, Held]
    """Those, and the cases of other customers that go on in them."""

    @property
    def going_on(self) -> list[Held]:
        """The oldest first."""
        return [self.held[identity] for identity in sorted(set(self.onward.values()))]


async def gather(unit: Unit, driver: Driver, workspace: str, cases: Sequence[str]) -> Gathered:
    """All locked in the order of their ids; looked for again where one was merged while we waited for its lock."""
    while True:
        rows = await driver.fetch(_ONWARD, workspace, cases, MERGES_FOLLOWED)
        onward = {row["first"]: row["id"] for row in rows}
        ends = set(onward.values())
        also = await also_told(driver, sorted(ends))
        held = await unit.cases.by_id(driver, sorted(ends.union(also)))
        here = [held[identity].case for identity in ends]
        if all(case.state != "merged" and all(one.case_id in held for one in case.also) for case in here):
            return Gathered(onward, held)


async def ship(
    unit: Unit,
    driver: Driver,
    effects: Effects,
    one: Initiative,
    cases: Gathered,
    answer: str,
    language: str | None,
    actor: str,
) -> Initiative:
    """What is recorded of the cases is in `effects`; of the initiative, in the database. `one` is unfinished."""
    waiting = [held for held in cases.going_on if held.case.unfinished]
    effects.also = {**effects.also, **cases.held}
    effects.unsubscribed |= await unsubscribed_of(driver, cases.held.values())
    for first, *others in _by_customer(waiting, cases.held):
        theirs = _names_of_its_customer(first, others)
        for other in others:
            found = await others_to_tell(driver, unit.cases, other, first)
            also = tuple(one for one in found if another(cases.held[one.case_id].names, theirs))
            before, command = other.case, Merge(first.case.id, f"both are answered by “{one.title}”")
            effects.record(other, decide(before, command, effects.now, actor))
            joins(effects, other, before, first, also, command, actor)
        effects.record(first, decide(first.case, Resolve(answer, language), effects.now, actor))
    shipped = one._replace(answer=answer, language=language, shipped_at=effects.now)
    await initiatives.is_now(driver, shipped)
    who = effects.names.get(actor, actor)
    await initiatives.step(driver, shipped, effects.now, "shipped", who, str(len(waiting)))
    return shipped


def _names_of_its_customer(first: Held, others: Sequence[Held]) -> set[str]:
    """All the addresses that these cases know of the first one's customer, who is told at the newest of them."""
    return set(first.names).union(*(one.names for one in others if one.case.customer == first.case.customer))


def _by_customer(waiting: Sequence[Held], held: Mapping[str, Held]) -> list[list[Held]]:
    """Those that would tell somebody in common, together, the oldest first. A case of nobody that we know stands alone."""
    groups: list[tuple[set[str], list[Held]]] = []
    for case in waiting:
        names = set(case.names).union(*(held[one.case_id].names for one in case.case.also))
        found = [group for group in groups if group[0] & names]
        first = found[0] if found else (set[str](), list[Held]())
        if not found:
            groups.append(first)
        for group in found[1:]:
            groups.remove(group)
            first[0].update(group[0])
            first[1].extend(group[1])
        first[0].update(names)
        first[1].append(case)
    return [sorted(cases, key=lambda one: one.case.id) for _, cases in groups]
