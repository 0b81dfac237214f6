"""`closer`: so many routed events already on the log, each of another customer, so that each opens a case with its
clocks, its timeline, its outbox rows and its owed "we heard you".

Ours twice: the handler alone, which is what `COPY` is the ceiling of, and the process that users run, which at the
same time writes the mails and publishes the outbox. How far it is, is read from its own stored positions; the first
tenth does not count. The database is a fresh copy for each.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass

import asyncpg

from bench import received, routed
from bench.events import TEAMS, pieces
from bench.machine import family_cpu_seconds
from bench.options import Options
from bench.processes import Program, free_port, run_json
from bench.stage import SECRET, Stage
from bench.table import Part
from bench.topics import fill, opened
from shared.log import Message
from shared.topics import ROUTED_PREFIX, all_topics

COPY = "COPY, 500 a transaction"
HANDLER, HANDLER_KAFKA = "ours, handler, embedded log", "ours, handler, Kafka"
PROCESS = "ours, whole process, embedded log"
LOOK_S = 0.02
PATIENCE_S = 180.0
TOPICS = [ROUTED_PREFIX + team for team in TEAMS]


def measure(stage: Stage, options: Options) -> Part:
    count = 1_000 if options.quick else 20_000
    part = Part("closer", f"{count} routed events, each opens a case", COPY)
    made = received.messages(pieces(min(count, 5_000), distinct_customers=True), count, SECRET)
    messages = routed.messages(made, stage.config())
    loaded = stage.database()
    asyncio.run(_load({"DATABASE_URL": loaded}, messages))
    with contextlib.ExitStack() as stack:
        bootstrap = None
        if options.kafka:
            bootstrap = stack.enter_context(stage.kafka())
            asyncio.run(_load({"KAFKA_BOOTSTRAP_SERVERS": bootstrap}, messages))
        for round_number in range(options.rounds):
            _copy(stage, options, part, loaded, count)
            _ours(stage, options, part, HANDLER, loaded, count)
            if bootstrap is not None:
                _ours(stage, options, part, HANDLER_KAFKA, loaded, count, bootstrap)
            if not options.quick:
                _ours(stage, options, part, PROCESS, loaded, count)
            options.progress(f"closer round {round_number + 1} done")
    stage.drop(loaded)
    for name in (HANDLER, HANDLER_KAFKA):
        if name in part.variants:
            part.aim(f"{name} ÷ COPY", part.ratio(name, COPY, "events/s"), at_least=0.3)
    return part


async def _load(env: dict[str, str], messages: list[Message]) -> None:
    async with opened(env) as log:
        await log.ensure_topics(all_topics(TEAMS))
    await fill(env, messages)


def _copy(stage: Stage, options: Options, part: Part, loaded: str, count: int) -> None:
    database = stage.database(loaded)
    found = run_json("bench.peers.copy_rows", "--database", database, "--topics", ",".join(TOPICS), env={})
    stage.drop(database)
    part.add(COPY, {"events/s": found["rate"], "CPU µs": found["cpu_us"]})
    part.count(COPY, count, int(found["stored"]))
    options.progress(f"closer COPY: {found['rate']:,.0f}/s")


def _ours(
    stage: Stage, options: Options, part: Part, name: str, loaded: str, count: int, bootstrap: str | None = None
) -> None:
    database = stage.database(loaded)
    whole = name == PROCESS
    env = stage.env(database, bootstrap, CLOSER_PORT=str(free_port()))
    with Program.module("services.closer" if whole else "bench.handler", env=env, log=stage.log("closer")) as program:
        found = asyncio.run(_follow(program, stage.server().pid, database, count))
    part.add(
        name,
        {
            "events/s": found.rate,
            "CPU µs": found.cpu_us,
            "Postgres CPU µs": found.server_cpu_us,
        },
    )
    part.count(f"{name}, cases", count, found.cases)
    if not whole:  # the relay of a whole process has taken its rows already
        part.count(f"{name}, outbox rows", count, found.outbox)
    stage.drop(database)
    options.progress(f"closer {name}: {found.rate:,.0f}/s")


@dataclass(frozen=True, slots=True)
class _Found:
    rate: float
    cases: int
    cpu_us: float | None
    server_cpu_us: float | None
    outbox: int


async def _follow(program: Program, server: int, database: str, count: int) -> _Found:
    """Look at the stored positions until they are at the end."""
    connection = await asyncpg.connect(database)
    began: tuple[float, int, float | None, float | None] | None = None
    deadline = time.monotonic() + PATIENCE_S
    while True:
        at = await connection.fetchval("SELECT coalesce(sum(position), 0)::bigint FROM closer.position")
        now, cpu, server_cpu = time.monotonic(), program.cpu_s, family_cpu_seconds(server)
        if began is None and at >= count // 10:
            began = (now, at, cpu, server_cpu)
        if at >= count:
            break
        program.check()
        if now > deadline:
            raise TimeoutError(f"{at} of {count} routed events after {PATIENCE_S:.0f} s")
        await asyncio.sleep(LOOK_S)
    assert began is not None
    cases = await connection.fetchval("SELECT count(*) FROM published.cases")
    outbox = await connection.fetchval("SELECT count(*) FROM shared.outbox")
    await connection.close()
    done = max(1, count - began[1])

    def share(start: float | None, stop: float | None) -> float | None:
        return None if start is None or stop is None else (stop - start) / done * 1e6

    rate = done / max(1e-9, now - began[0])
    return _Found(rate, cases, share(began[2], cpu), share(began[3], server_cpu), outbox)
