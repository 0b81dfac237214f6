"""What a batch asks the database before it decides: one question of each kind, for all of one workspace in it.

One array and a plain `=` beside it: twice as quick as a join with the pairs.
"""

from collections.abc import Iterable, Sequence

from services.closer.case import Also, goes_along
from services.closer.notify import another
from services.closer.store import Cases, Held
from services.closer.transactions import Driver


async def who_unsubscribed(driver: Driver, workspace: str, names: Iterable[str]) -> frozenset[str]:
    """Of these customers and addresses."""
    wanted = list(names)
    if not wanted:
        return frozenset()
    rows = await driver.fetch(
        "SELECT customer FROM closer.unsubscribed WHERE workspace = $1 AND customer = ANY($2)", workspace, wanted
    )
    return frozenset(row["customer"] for row in rows)


async def unsubscribed_of(driver: Driver, cases: Iterable[Held]) -> frozenset[tuple[str, str]]:
    """(workspace, customer or address) of those cases' customers that want no more mail."""
    names: dict[str, set[str]] = {}
    for held in cases:
        names.setdefault(held.case.workspace, set()).update(held.names)
    found: set[tuple[str, str]] = set()
    for workspace, some in names.items():
        found.update((workspace, name) for name in await who_unsubscribed(driver, workspace, some))
    return frozenset(found)


async def known_feedback(driver: Driver, workspace: str, ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Id → (body hash, customer) of those that had their effect."""
    rows = await driver.fetch(
        "SELECT id, bodyhash, customer FROM closer.feedback WHERE workspace = $1 AND id = ANY($2)", workspace, ids
    )
    return {str(row["id"]): (row["bodyhash"], row["customer"]) for row in rows}


async def last_finished(driver: Driver, workspace: str, keys: Sequence[str]) -> dict[str, str]:
    """Case key → its newest finished case."""
    rows = await driver.fetch(
        "SELECT DISTINCT ON (case_key) case_key, id FROM closer.case"
        " WHERE NOT unfinished AND workspace = $1 AND case_key = ANY($2) ORDER BY case_key, id DESC",
        workspace,
        keys,
    )
    return {row["case_key"]: str(row["id"]) for row in rows}


async def answers(driver: Driver, workspace: str, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Of these feedback ids, those that were really said on the customer's page: of which case, and which answer of it."""
    rows = await driver.fetch(
        "SELECT feedback_id, case_id, generation FROM closer.answer WHERE workspace = $1 AND feedback_id = ANY($2)",
        workspace,
        ids,
    )
    return {str(row["feedback_id"]): (str(row["case_id"]), row["generation"]) for row in rows}


async def also_told(driver: Driver, case_id: str) -> list[str]:
    """The cases of other customers that went on in this one, so that they can be locked with it."""
    rows = await driver.fetch(
        "SELECT also->>0 AS id FROM closer.case c, jsonb_array_elements(c.data->'also') AS also WHERE c.id = $1",
        case_id,
    )
    return [row["id"] for row in rows]


async def others_to_tell(driver: Driver, cases: Cases, merged: Held, into: Held) -> tuple[Also, ...]:
    """Whom the case that goes on has to tell from now on, besides those it tells already: the customer of the one that is
    about to be merged into it, and whom that one had to tell. Whoever cannot be reached is not waited for, and nobody
    is told twice."""
    if not merged.case.also and not another(merged.names, into.names):
        return ()
    ids = [one.case_id for one in (*merged.case.also, *into.case.also)]
    found = {merged.case.id: merged, **(await cases.as_they_are(driver, ids) if ids else {})}
    told = set(into.names).union(*(found[one.case_id].names for one in into.case.also))
    fresh = []
    for one in goes_along(merged.case):
        other = found[one.case_id]
        if other.personal.email and another(other.names, told):
            fresh.append(one)
            told.update(other.names)
    return tuple(fresh)
