"""`pages`: the console's pages over a million cases beside the same pages over ten thousand, in turns.

The cases are real ones of the closer's, multiplied in the database: ids, times, customers and keys of their own, most of them
long finished as in any desk's life, a fiftieth to do, and written in the order in which they came. What is searched for is in one case of two hundred and in one of all.
"""

import asyncio
import http.client
import statistics
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import asyncpg

from bench import received, routed
from bench.events import TEAMS, pieces
from bench.options import Options
from bench.processes import Program, free_port
from bench.stage import SECRET, Stage
from bench.table import Part
from bench.topics import fill, opened
from shared.clock import SystemClock
from shared.database import Database
from shared.log import Message
from shared.people import OPERATOR
from shared.sessions import Sessions
from shared.topics import all_topics

FEW, MANY = 10_000, 1_000_000
MODELS = 2_000
REQUESTS = 200
WORSE_AT_MOST = 1.5
PATHS = {
    "queue, due first": "/cases",
    "queue, newest": "/cases?sort=newest",
    "a team's": "/cases?view=open&team=support",
    "unassigned": "/cases?view=unassigned",
    "soon": "/cases?view=soon",
    "breached": "/cases?view=breached",
    "finished": "/cases?view=finished",
    "search, common": "/cases?q=zebracommon",
    "search, rare": "/cases?q=zebrarare",
    "a case": "/cases/{case}",
    "feedback": "/feedback",
    "a trace": "/feedback/{feedback}",
    "SLA board": "/sla",
    "measures": "/measures",
    "measures by team": "/measures?by=team",
    "feedback of a measure": "/measures/feedback/rows",
    "clocks of a measure": "/measures/sla_resolve_wall/rows",
    "customers of a measure": "/measures/closed_loop_rate/rows",
}

_MULTIPLY = (
    "SET session_replication_role = replica",  # the models are indexed already, and their copies are written as such
    """CREATE TEMP TABLE model AS SELECT row_number() OVER () AS n, c.*, s.words FROM closer.case c
       JOIN closer.search s ON s.case_id = c.id""",
    """CREATE TEMP TABLE copy AS SELECT g, m.n, uuidv7((g::float8 / $1 * interval '300 days') - interval '300 days') AS id,
         uuidv7((g::float8 / $1 * interval '300 days') - interval '300 days') AS feedback_id
       FROM generate_series(1, $1) g JOIN model m ON m.n = 1 + g % (SELECT count(*) FROM model)""",
    """INSERT INTO closer.case (id, workspace, case_key, customer, team, state, assignee, opened_at, updated_at, due_at,
         breached, queue_at, version, first_feedback_id, traceparent, data, personal)
       SELECT c.id, m.workspace, m.case_key || c.g, m.customer || '-' || c.g / 3, m.team,
         CASE WHEN c.g % 50 = 0 THEN 'open' ELSE 'confirmed' END, CASE WHEN c.g % 100 = 0 THEN NULL ELSE 'li@example.com' END,
         now() - interval '300 days' + c.g::float8 / $1 * interval '300 days', now(), NULL, c.g % 500 = 0,
         CASE WHEN c.g % 50 = 0 THEN now() + (c.g % 997) * interval '10 minutes' ELSE '9999-12-31T00:00:00Z' END, 1,
         c.feedback_id, m.traceparent, m.data, m.personal
       FROM copy c JOIN model m USING (n) ORDER BY c.g""",
    """INSERT INTO closer.feedback (workspace, id, received_at, customer, case_id, bodyhash, topic, partition, "offset",
         routed_ms, traceparent, value)
       SELECT f.workspace, c.feedback_id, now() - interval '300 days' + c.g::float8 / $1 * interval '300 days',
         f.customer || '-' || c.g / 3, c.id, f.bodyhash, f.topic, f.partition, f."offset", f.routed_ms, f.traceparent, f.value
       FROM copy c JOIN model m USING (n) JOIN closer.feedback f ON f.workspace = m.workspace AND f.id = m.first_feedback_id
       ORDER BY c.g""",
    """INSERT INTO closer.timeline (case_id, sequence, workspace, at, what, state, actor, reason, data, personal)
       SELECT c.id, t.sequence, t.workspace, t.at, t.what, t.state, t.actor, t.reason,
         convert_to(jsonb_set(convert_from(t.data, 'UTF8')::jsonb, '{feedback_id}', to_jsonb(c.feedback_id))::text, 'UTF8'),
         t.personal
       FROM copy c JOIN model m USING (n) JOIN closer.timeline t ON t.case_id = m.id ORDER BY c.g, t.sequence""",
    """INSERT INTO closer.search (case_id, workspace, words)
       SELECT c.id, m.workspace, m.words || array_to_tsvector(CASE WHEN c.g % 200 = 0 THEN ARRAY['zebracommon'] ELSE '{}' END)
         || array_to_tsvector(CASE WHEN c.g = 777 THEN ARRAY['zebrarare'] ELSE '{}' END)
       FROM copy c JOIN model m USING (n) ORDER BY c.g""",
)


_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'closer' AND tablename IN ('case', 'search', 'feedback') AND indexname NOT LIKE '%pkey'
"""


def measure(stage: Stage, options: Options) -> Part:
    few, many = (200, 2_000) if options.quick else (FEW, MANY)
    part = Part("pages", f"the console's pages over {many} cases beside {few}")
    models = _models(stage, 200 if options.quick else MODELS)
    databases = {}
    for count in (few, many):
        databases[count] = stage.database(models)
        asyncio.run(_multiply(databases[count], count))
        options.progress(f"pages: {count} cases are there")
    with _Console(stage, databases[few]) as small, _Console(stage, databases[many]) as large:
        for path in (*PATHS.values(), *PATHS.values()):  # caches filled, plans made
            small.get(path), large.get(path)
        for _ in range(options.rounds):
            for name, path in PATHS.items():
                requests = 20 if options.quick else REQUESTS
                pairs = [(small.get(path), large.get(path)) for _ in range(requests)]
                figures = [_figures([pair[place] for pair in pairs]) for place in (0, 1)]
                part.add(
                    name,
                    {f"{few}, p50 ms": figures[0][0], f"{many}, p50 ms": figures[1][0], f"{few}, p99 ms": figures[0][1]}
                    | {f"{many}, p99 ms": figures[1][1], "p99 ÷": figures[1][1] / figures[0][1]},
                )
                options.progress(f"pages {name}: p99 {figures[0][1]:.1f} and {figures[1][1]:.1f} ms")
    for name in PATHS:
        part.aim_at_most(name, part.median(name, "p99 ÷"), WORSE_AT_MOST, "×")
    return part


def _models(stage: Stage, count: int) -> str:
    """A database with so many real cases in it, each of a customer of its own."""
    database = stage.database()
    env = stage.env(database)
    messages = routed.messages(received.messages(pieces(count, distinct_customers=True), count, SECRET), stage.config())
    asyncio.run(_load(env, messages))
    with Program.module("bench.handler", env=env, log=stage.log("models")):
        _until(lambda: stage.ask(database, "SELECT count(*) FROM closer.feedback") >= count)
    with Program.module("services.closer", env=env | {"CLOSER_PORT": str(free_port())}, log=stage.log("models")):
        _until(lambda: stage.ask(database, "SELECT count(*) FROM closer.unsearched") == 0)
    return database


async def _load(env: Mapping[str, str], messages: Sequence[Message]) -> None:
    async with opened(env) as log:
        await log.ensure_topics(all_topics(TEAMS))
    await fill(env, list(messages))


def _until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError("waited for two minutes in vain")
        time.sleep(0.2)


async def _multiply(url: str, count: int) -> None:
    connection = await asyncpg.connect(url, command_timeout=1800)
    try:
        # Built afterwards, all at once: a million entries one by one take a quarter of an hour.
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX closer.{index['indexname']}")
        for statement in _MULTIPLY:
            if "$1" in statement:
                await connection.execute(statement.replace("$1", str(count)))
            else:
                await connection.execute(statement)
        for index in indexes:
            await connection.execute(index["indexdef"])
        for table in ("case", "feedback", "timeline", "search"):
            await connection.execute(f"VACUUM (ANALYZE) closer.{table}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


class _Console:
    """One console, somebody signed in, one connection that is kept open."""

    def __init__(self, stage: Stage, database: str) -> None:
        self._port = free_port()
        self._database = database
        env = stage.env(database, CONSOLE_PORT=str(self._port))
        self._program = Program.module("services.console", env=env, log=stage.log("console"))
        self._cookie = ""
        self._parts: Mapping[str, UUID] = {}

    def __enter__(self) -> "_Console":
        self._program.__enter__()
        self._program.wait_answering(f"http://127.0.0.1:{self._port}/readyz")
        self._http = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        token = asyncio.run(_link(self._database))
        self._http.request("GET", f"/login?token={urllib.parse.quote(token)}")
        answer = self._http.getresponse()
        answer.read()
        self._cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        self._parts = asyncio.run(_some(self._database))
        return self

    def __exit__(self, *of_an_error: object) -> None:
        self._http.close()
        self._program.__exit__(None, None, None)

    def get(self, path: str) -> float:
        """Seconds from the request to the last byte."""
        wanted, headers = path.format(**self._parts), {"Cookie": self._cookie}
        begun = time.perf_counter()
        try:
            self._http.request("GET", wanted, headers=headers)
            answer = self._http.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # it waited too long for the other one's page
            self._http.close()
            begun = time.perf_counter()
            self._http.request("GET", wanted, headers=headers)
            answer = self._http.getresponse()
        answer.read()
        assert answer.status == 200, f"{path}: {answer.status}"
        return time.perf_counter() - begun


async def _link(url: str) -> str:
    database = Database(url)
    try:
        return await Sessions(database, SystemClock()).link("default", OPERATOR, "admin")
    finally:
        await database.close()


async def _some(url: str) -> Mapping[str, UUID]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT id, first_feedback_id FROM closer.case WHERE unfinished ORDER BY id LIMIT 1"
        )
        return {"case": row["id"], "feedback": row["first_feedback_id"]}
    finally:
        await connection.close()


def _figures(seconds: Sequence[float]) -> tuple[float, float]:
    """(p50, p99) in ms."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000
