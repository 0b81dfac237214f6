"""A ticket that goes to another team in the tool that it came from: its case goes along, and the router learns of it.

What is done is what a person's `reassign` does, in the name of the source; the words that are learnt from are those of the ticket
that was moved, which may have joined another one's case. Of several moves of a ticket the last one by the tool's own time counts,
whichever is heard of first; what tells of the team that it had already (somebody of it took the ticket) is no move; and who was
given the case here after it keeps it. A case that has ended stays where it is, and its words teach all the same. Nothing is ever written to
the tool, so no move of ours comes back as one; and where somebody's own automation carries one back, the case is there already.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.closer.case import decide
from services.closer.commands import Correct, Note, Reassign
from services.closer.corrections import was_for
from services.closer.shipping import gather
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Driver
from shared.folding import fold

_LATER = """
SELECT EXISTS (SELECT FROM closer.news WHERE workspace = $1 AND source = $2 AND work_id = $3
    AND (at, heard_at, id) > ($4, $5, $6) AND look_at IS NULL AND team IS NOT NULL)
"""
_BEFORE = """
SELECT team FROM closer.news WHERE workspace = $1 AND source = $2 AND work_id = $3 AND kind = 'moved'
    AND (at, heard_at, id) < ($4, $5, $6) AND look_at IS NULL ORDER BY at DESC, heard_at DESC, id DESC LIMIT 1
"""
# As the index `feedback_work` has it. Of each case the ticket's first words: what came later joined it whatever it said.
SAID = """
SELECT DISTINCT ON (case_id) case_id::text, id::text AS feedback_id, value->'routing'->>'team' AS team FROM closer.feedback
WHERE workspace = $1 AND value->>'source' = $2 AND coalesce(value->'attributes'->>'ticket_id',
    value->'attributes'->>'conversation_id', value->'attributes'->>'work_id') = $3
ORDER BY case_id, received_at, id
"""

_GIVEN_SINCE = """
SELECT DISTINCT case_id::text FROM closer.timeline
WHERE case_id = ANY ($1::uuid[]) AND what = 'reassigned' AND actor NOT IN ('system', $2) AND at > $3
"""


def ours(move: Mapping[str, Any], known_as: Mapping[str, str]) -> str | None:
    """Which of our teams is meant: by its id or its name there, and what is said for this source alone goes first."""
    names = [name for name in (move["name_id"], move["name"]) if name]
    written = [*(f"{move['source']}:{name}" for name in names), *names]
    return next((known_as[fold(one)] for one in written if fold(one) in known_as), None)


async def settled(
    unit: Unit, driver: Driver, effects: Effects, move: Mapping[str, Any], team: str | None
) -> str | None:
    """What became of it, `team` being whose it is now; None: nothing of that ticket is here."""
    ticket = (move["workspace"], move["source"], move["work_id"])
    place = (*ticket, move["at"], move["heard_at"], move["id"])
    if await driver.fetchval(_LATER, *place):
        return "overtaken"
    said = await driver.fetch(SAID, *ticket)
    if not said:
        return None
    asked = sorted(row["case_id"] for row in said if row["case_id"] is not None)
    cases = await gather(unit, driver, move["workspace"], asked)
    words = {
        cases.onward[row["case_id"]]: row["feedback_id"] for row in reversed(said) if row["case_id"] in cases.onward
    }
    going = [held for held in cases.going_on if held.case.unfinished]
    if team is None:
        _note(effects, going, move)
        return "unknown"
    before = await driver.fetchval(_BEFORE, *place)
    if before == team:
        return "there"
    moved = [held for held in going if held.case.team != team]
    if moved:
        given = await _given_since(driver, moved, move)
        for held in moved:
            if held.case.id not in given:
                reassign = Reassign(team, reason=f"moved in {move['source']}")
                effects.record(held, decide(held.case, reassign, effects.now, move["source"]))
                await was_for(driver, effects, move["workspace"], words[held.case.id], team, move["source"])
        return "moved" if len(given) < len(moved) else "overtaken"
    if going:
        return "there"
    last = max(said, key=lambda row: row["case_id"] or "")
    ended = cases.held.get(cases.onward.get(last["case_id"], ""))
    was = before or (ended.case.team if ended is not None else last["team"])
    if was == team:
        return "there"
    if ended is not None:
        correct = Correct(last["feedback_id"], {"team": team})
        effects.record(ended, decide(ended.case, correct, effects.now, move["source"]))
    await was_for(driver, effects, move["workspace"], last["feedback_id"], team, move["source"])
    return "taught"


async def _given_since(driver: Driver, cases: Sequence[Held], move: Mapping[str, Any]) -> set[str]:
    """Those that somebody has given to a team after the move, which is heard of late."""
    rows = await driver.fetch(_GIVEN_SINCE, [held.case.id for held in cases], move["source"], move["at"])
    return {row["case_id"] for row in rows}


def _note(effects: Effects, cases: Sequence[Held], move: Mapping[str, Any]) -> None:
    """A colleague's word, and so on no topic: a name of somebody else's tool may be anybody's."""
    name = move["name"] or move["name_id"]
    for held in cases:
        note = Note(f"moved in {move['source']} to {name!r}, which is nobody here", heard=True)
        effects.record(held, decide(held.case, note, effects.now, move["source"]))
