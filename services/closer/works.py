"""Work that has ended in its own tool, shipped or declined: who waits for it hears of it.

Linked to it are the initiatives that name it, with their cases; the cases of what was said on the issue itself, which its feedback
names in its attributes; and those of `feedback_ids`. Each gets a step, once for each event, and their teams hear of it as of every
step. The customers hear of it only by an answer that was prepared for them: what is written on an issue is colleagues' talk. So
an initiative with an answer is shipped when the last of its works is, if that answer was there before; any other one shows that
it is a person's turn.

Initiatives are looked for once, when the news is heard: what is prepared later is sent by whoever prepares it. Feedback may come
after the news, so cases are looked for again.
"""

from collections.abc import Mapping
from typing import Any

from services.closer import initiatives
from services.closer.case import decide
from services.closer.commands import Upstream
from services.closer.initiatives import Initiative
from services.closer.moves import SAID
from services.closer.shipping import Gathered, gather, ship
from services.closer.store import Effects, Unit
from services.closer.transactions import Driver

_NAMED = "SELECT DISTINCT case_id::text FROM closer.feedback WHERE workspace = $1 AND id = ANY ($2::uuid[])"


async def look(unit: Unit, driver: Driver, effects: Effects, news: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """(cases that have their step of it, what became of it so far). None: nothing here is linked to it."""
    workspace, source, work_id = work = (news["workspace"], news["source"], news["work_id"])
    linked: list[Initiative] = []
    if news["look_at"] == news["heard_at"]:
        linked = await initiatives.of_work(driver, *work)
    theirs = {one.id: await initiatives.cases_of(driver, one) for one in linked}
    rows = [*await driver.fetch(SAID, *work), *await driver.fetch(_NAMED, workspace, news["feedback_ids"])]
    wanted = {row["case_id"] for row in rows if row["case_id"] is not None}.union(*theirs.values())
    gathered = await gather(unit, driver, workspace, sorted(wanted))
    reached = _on_their_timelines(effects, news, gathered)
    outcome = news["outcome"] or ("told" if reached or linked else None)
    for one in linked:
        await initiatives.step(driver, one, effects.now, f"work.{news['kind']}", source, work_id)
        if news["kind"] == "shipped" and one.answer is not None and await initiatives.wants_shipping(driver, one):
            await ship(unit, driver, effects, one, gathered.of(theirs[one.id]), one.answer, one.language, source)
            outcome = "answered"
    return reached, outcome


def _on_their_timelines(effects: Effects, news: Mapping[str, Any], gathered: Gathered) -> list[str]:
    reached = list(news["reached"])
    upstream = Upstream(news["kind"], news["source"], news["work_id"])
    for held in gathered.going_on:
        if held.case.id not in reached and not held.case.erased:
            effects.record(held, decide(held.case, upstream, effects.now, news["source"]))
            reached.append(held.case.id)
    return reached
