"""A team that is no longer in teams.yaml: its unfinished cases go to the default team, each with a step that says why.

Looked for whenever a configuration is taken up, and now and then, since what was routed to the team before may come later and
a finished case may be reopened. Only who works by the version that is in force moves a case: a process that has not taken it up
yet, or cannot, would take a new team for one that is gone. A case is moved under its lock and has another team then, so
it is moved once whoever looks. The default team hears of each as it hears of any case that it is given, and so does whoever
still subscribes for the team that is gone.
"""

from collections import Counter
from collections.abc import Callable

from services.closer import metrics
from services.closer.case import decide
from services.closer.check import InForce
from services.closer.commands import Reassign
from services.closer.store import Unit
from services.closer.turns import Turns
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE

BATCH = 200
IDLE_S = 30.0

# From one team to the next in the index, however many cases each has.
_TEAMS = """
WITH RECURSIVE team AS (
    SELECT min(team) AS name FROM closer.case WHERE unfinished AND workspace = $1
    UNION ALL
    SELECT (SELECT min(c.team) FROM closer.case c WHERE c.unfinished AND c.workspace = $1 AND c.team > team.name)
    FROM team WHERE team.name IS NOT NULL)
SELECT name FROM team WHERE name <> ALL ($2::text[])
"""
_CASES = """
SELECT id::text FROM closer.case WHERE unfinished AND workspace = $1 AND team = ANY ($2::text[])
    AND EXISTS (SELECT FROM shared.config_in_force f WHERE f.workspace = $1 AND f.version = $3)
ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
"""

_log = get_logger("closer")


class Gone(Turns):
    name = "gone"

    def __init__(self, unit: Unit, in_force: Callable[[], InForce]) -> None:
        super().__init__()
        self._unit = unit
        self._in_force = in_force

    async def turn(self) -> float:
        return 0 if await self.move() == BATCH else IDLE_S

    async def move(self) -> int:
        """One batch of cases, in one transaction; how many."""
        found = self._in_force()
        moved: Counter[str] = Counter()
        async with self._unit.work() as (driver, effects):
            gone = [row["name"] for row in await driver.fetch(_TEAMS, DEFAULT_WORKSPACE, sorted(found.teams))]
            if not gone:
                return 0
            rows = await driver.fetch(_CASES, DEFAULT_WORKSPACE, gone, found.version, BATCH)
            for held in (await self._unit.cases.by_id(driver, [row["id"] for row in rows])).values():
                team = held.case.team
                why = f"the team {team} is no longer in teams.yaml"
                effects.record(held, decide(held.case, Reassign(found.default_team, reason=why), effects.now))
                moved[team] += 1
        for team, cases in moved.items():
            metrics.REHOMED.inc(cases)
            _log.warning("team.gone", team=team, cases=cases, to=found.default_team)
        return len(rows)
