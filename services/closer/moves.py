"""A ticket that goes to another team in the tool that it came from: its case goes along, and the router learns of it.

`heard` ● makes a row of such an event, written with its position. `Moves` settles the rows, one at a time and the oldest move
first, one process at a time (an advisory lock), so that of several moves of a ticket the last one counts. A move may be heard of
before the ticket's own feedback is: it is looked for again for a while.

What is done is what a person's `reassign` does, in the name of the source; the words that are learnt from are those of the ticket
that was moved, which may have joined another one's case. A case that has ended stays where it is, and its words teach all the
same. Nothing is ever written to the tool, so no move of ours comes back as one; and where somebody's own automation carries
one back, the case is there already.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.closer import metrics
from services.closer.case import decide
from services.closer.check import InForce
from services.closer.commands import Correct, Note, Reassign
from services.closer.corrections import was_for
from services.closer.records import Decided, Move
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Driver
from services.closer.turns import Turns
from shared.folding import fold
from shared.telemetry import get_logger

LOOKED_FOR = timedelta(hours=1)
"""How long a ticket's feedback may come after the news that it was moved: who reads two topics reads one of them first."""
LOOK_FIRST = timedelta(seconds=1)
IDLE_S = 1.0
_LOCK = 0x4D4F5645  # "MOVE"

_ALONE = "SELECT pg_try_advisory_xact_lock($1)"
_DUE = """
SELECT workspace, id::text, source, work_id, name, name_id, at, heard_at FROM closer.move
WHERE look_at <= $1 ORDER BY look_at, at, id LIMIT 1
"""
_LATER = """
SELECT EXISTS (SELECT FROM closer.move WHERE workspace = $1 AND source = $2 AND work_id = $3 AND (at, id) > ($4, $5)
    AND look_at IS NULL AND team IS NOT NULL)
"""
_BEFORE = """
SELECT team FROM closer.move WHERE workspace = $1 AND source = $2 AND work_id = $3 AND (at, id) < ($4, $5)
    AND look_at IS NULL AND team IS NOT NULL ORDER BY at DESC, id DESC LIMIT 1
"""
# As the index `feedback_work` has it. Of each case the ticket's first words: what came later joined it whatever it said.
_SAID = """
SELECT DISTINCT ON (case_id) case_id::text, id::text AS feedback_id, value->'routing'->>'team' AS team FROM closer.feedback
WHERE workspace = $1 AND value->>'source' = $2 AND coalesce(value->'attributes'->>'ticket_id',
    value->'attributes'->>'conversation_id', value->'attributes'->>'work_id') = $3
ORDER BY case_id, received_at, id
"""
_AGAIN = "UPDATE closer.move SET look_at = $3 WHERE workspace = $1 AND id = $2"
_SETTLED = """
UPDATE closer.move SET look_at = NULL, outcome = $3, team = $4, settled_at = $5 WHERE workspace = $1 AND id = $2
"""

_log = get_logger("closer")


def heard(decided: Decided, move: Move, now: datetime) -> tuple[Any, ...]:
    """Its row."""
    received_at = move.received_at or decided.decided_at
    at = min(move.occurred_at or received_at, received_at)
    return decided.workspace, decided.id, move.source, move.work_id, move.team, move.team_id, at, now


def ours(move: Mapping[str, Any], known_as: Mapping[str, str]) -> str | None:
    """Which of our teams is meant: by its id or its name there, and what is said for this source alone goes first."""
    names = [name for name in (move["name_id"], move["name"]) if name]
    written = [*(f"{move['source']}:{name}" for name in names), *names]
    return next((known_as[fold(one)] for one in written if fold(one) in known_as), None)


class Moves(Turns):
    name = "moves"

    def __init__(self, unit: Unit, in_force: Callable[[], InForce]) -> None:
        super().__init__()
        self._unit = unit
        self._in_force = in_force

    async def turn(self) -> float:
        return 0 if await self.settle() else IDLE_S

    async def settle(self) -> bool:
        """One move, in one transaction; whether there was one."""
        async with self._unit.work() as (driver, effects):
            if not await driver.fetchval(_ALONE, _LOCK):
                return False
            move = await driver.fetchrow(_DUE, effects.now)
            if move is None:
                return False
            team = ours(move, self._in_force().known_as)
            outcome = await self._outcome(driver, effects, move, team)
            if outcome is None:
                wait = max(LOOK_FIRST, effects.now - move["heard_at"])
                await driver.execute(_AGAIN, move["workspace"], move["id"], effects.now + wait)
                return True
            await driver.execute(_SETTLED, move["workspace"], move["id"], outcome, team, effects.now)
        metrics.MOVES.labels(outcome).inc()
        told = {name: move[name] for name in ("source", "work_id", "name", "name_id")}
        _log.info("ticket.moved", move=move["id"], team=team, outcome=outcome, **told)
        return True

    async def _outcome(self, driver: Driver, effects: Effects, move: Mapping[str, Any], team: str | None) -> str | None:
        """None: its feedback may still come."""
        ticket = (move["workspace"], move["source"], move["work_id"])
        place = (*ticket, move["at"], move["id"])
        if await driver.fetchval(_LATER, *place):
            return "overtaken"
        said = await driver.fetch(_SAID, *ticket)
        if not said:
            return None if effects.now - move["heard_at"] < LOOKED_FOR else "nothing"
        found = await self._unit.cases.by_id(driver, [row["case_id"] for row in said if row["case_id"] is not None])
        cases = [(found.get(row["case_id"]), row["feedback_id"]) for row in said]
        going = [(held, said_in) for held, said_in in cases if held is not None and held.case.unfinished]
        if team is None:
            _note(effects, [held for held, _ in going], move)
            return "unknown"
        moved = [(held, said_in) for held, said_in in going if held.case.team != team]
        for held, said_in in moved:
            reassign = Reassign(team, reason=f"moved in {move['source']}")
            effects.record(held, decide(held.case, reassign, effects.now, move["source"]))
            await was_for(driver, effects, move["workspace"], said_in, team, move["source"])
        if going:
            return "moved" if moved else "there"
        last = max(said, key=lambda row: row["case_id"] or "")
        ended = found.get(last["case_id"])
        was = await driver.fetchval(_BEFORE, *place) or (ended.case.team if ended is not None else last["team"])
        if was == team:
            return "there"
        if ended is not None:
            correct = Correct(last["feedback_id"], {"team": team})
            effects.record(ended, decide(ended.case, correct, effects.now, move["source"]))
        await was_for(driver, effects, move["workspace"], last["feedback_id"], team, move["source"])
        return "taught"


def _note(effects: Effects, cases: Sequence[Held], move: Mapping[str, Any]) -> None:
    """A colleague's word, and so on no topic: a name of somebody else's tool may be anybody's."""
    name = move["name"] or move["name_id"]
    for held in cases:
        note = Note(f"moved in {move['source']} to {name!r}, which is nobody here", heard=True)
        effects.record(held, decide(held.case, note, effects.now, move["source"]))
