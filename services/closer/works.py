"""Work that has ended in its own tool, shipped or declined: who waits for it hears of it.

Linked to it are the initiatives that name it, with their cases; the cases of what was said on the issue itself, which its feedback
names in its attributes; and those of `feedback_ids`. Each gets a step, once for each event, and their teams hear of it as of every
step. The customers hear of it only by an answer that was prepared for them: what is written on an issue is colleagues' talk. So
an initiative with an answer is shipped when the last of its works is, if that answer was there before; any other one shows that
it is a person's turn.

Initiatives are looked for once, when the news is heard: what is prepared later is sent by whoever prepares it. Feedback may come
after the news, so cases are looked for again.

However many wait for it, a look is a short transaction: it ships one initiative, or tells `CASES_A_LOOK` cases, and what is left
is looked at at once. How far it has come is its `stage`; what was told is in `reached`, the steps and the answers themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from services.closer import initiatives
from services.closer.case import decide
from services.closer.commands import Upstream
from services.closer.initiatives import Initiative
from services.closer.moves import SAID
from services.closer.records import MERGES_FOLLOWED
from services.closer.shipping import Gathered, gather, ship
from services.closer.store import Effects, Unit
from services.closer.transactions import Driver

CASES_A_LOOK = 500
Stage = Literal["heard", "shipping", "telling", "waiting"]
"""Nobody has looked yet; initiatives may still be to be shipped; only cases are still to be told; all that was linked then has
heard of it, and feedback may come that is linked too."""

_NAMED = "SELECT DISTINCT case_id::text FROM closer.feedback WHERE workspace = $1 AND id = ANY ($2::uuid[])"
# Where they go on, and not all of them have their step yet.
_UNTOLD = """
WITH RECURSIVE way AS (
    SELECT id, data, 0 AS steps FROM closer.case WHERE id = ANY ($2::uuid[]) AND workspace = $1
    UNION ALL
    SELECT c.id, c.data, steps + 1 FROM way
    JOIN closer.case c ON c.id = (way.data->>'merged_into')::uuid AND c.workspace = $1 WHERE steps < $3)
SELECT id::text FROM (
    SELECT id FROM way WHERE data->>'merged_into' IS NULL AND data->>'erased' IS NULL EXCEPT SELECT unnest($4::uuid[])) AS untold
ORDER BY id LIMIT $5
"""


class Looked(NamedTuple):
    outcome: str | None
    """What became of it so far. None: nothing here is linked to it."""
    reached: Sequence[str]
    """The cases that have their step of it."""
    stage: Stage
    more: bool
    """Whether it is to be looked at again at once."""


async def look(unit: Unit, driver: Driver, effects: Effects, news: Mapping[str, Any]) -> Looked:
    stage: Stage = news["stage"]
    source, work_id = news["source"], news["work_id"]
    linked: list[Initiative] = []
    if stage != "waiting":
        linked = await initiatives.of_work(driver, news["workspace"], source, work_id)
    if stage == "heard":
        for one in linked:
            await initiatives.step(driver, one, effects.now, f"work.{news['kind']}", source, work_id)
    ready = await _to_be_shipped(driver, news, linked) if stage in ("heard", "shipping") else None
    if ready is not None and ready.answer is not None:
        cases = await gather(unit, driver, news["workspace"], sorted(await initiatives.cases_of(driver, ready)))
        reached = _on_their_timelines(effects, news, cases)
        await ship(unit, driver, effects, ready, cases, ready.answer, ready.language, source)
        return Looked("answered", reached, "shipping", more=True)
    untold = await _untold(driver, news, linked)
    cases = await gather(unit, driver, news["workspace"], untold[:CASES_A_LOOK])
    reached = _on_their_timelines(effects, news, cases)
    outcome = news["outcome"] or ("told" if reached or linked else None)
    more = len(untold) > CASES_A_LOOK
    return Looked(outcome, reached, "telling" if more and stage != "waiting" else "waiting", more)


async def _to_be_shipped(driver: Driver, news: Mapping[str, Any], linked: Sequence[Initiative]) -> Initiative | None:
    """The first of them: each is a transaction of its own."""
    for one in linked if news["kind"] == "shipped" else ():
        if one.answer is not None and await initiatives.wants_shipping(driver, one):
            return one
    return None


async def _untold(driver: Driver, news: Mapping[str, Any], linked: Sequence[Initiative]) -> list[str]:
    """Cases that go on and have no step of it, one more than a look tells."""
    workspace = news["workspace"]
    said = await driver.fetch(SAID, workspace, news["source"], news["work_id"])
    named = await driver.fetch(_NAMED, workspace, news["feedback_ids"])
    wanted = {row["case_id"] for row in (*said, *named) if row["case_id"] is not None}
    for one in linked:
        wanted.update(await initiatives.cases_of(driver, one))
    arguments = (list(wanted), MERGES_FOLLOWED, news["reached"], CASES_A_LOOK + 1)
    return [row["id"] for row in await driver.fetch(_UNTOLD, workspace, *arguments)]


def _on_their_timelines(effects: Effects, news: Mapping[str, Any], gathered: Gathered) -> list[str]:
    """All that have their step of it by now."""
    before = set(news["reached"])
    upstream = Upstream(news["kind"], news["source"], news["work_id"])
    fresh = [held for held in gathered.going_on if held.case.id not in before and not held.case.erased]
    for held in fresh:
        effects.record(held, decide(held.case, upstream, effects.now, news["source"]))
    return [*news["reached"], *(held.case.id for held in fresh)]
