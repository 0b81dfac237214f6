"""`http` and `batch`: ingest beside a bare server and the plain app, under the same load generator.

The servers of a part are all up while one of them is loaded, and loaded in turn; ours twice, on Kafka and on the
embedded log. After the rounds everything that was answered 202 is counted in the log.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench import built
from bench.load import Outcome
from bench.options import Options
from bench.processes import Program, free_port, run_json
from bench.stage import Stage
from bench.table import Part
from bench.topics import create, stored_records
from shared.topics import RECEIVED

BATCH = 500
WARM_START = 9 * 10**11
"""Of the numbers of what is sent before the first round."""
KAFKA, EMBEDDED, BENTO = "ours, Kafka", "ours, embedded log", "Bento"


@dataclass(slots=True)
class _Target:
    """A server under load, and where what it takes must be found again."""

    name: str
    program: Program
    port: int
    key: str = "none"
    env: Mapping[str, str] | None = None
    topic: str = ""
    answered: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class _Shape:
    """What differs between one event and many a request."""

    path: str
    connections: int
    batch: int
    bare: str
    seconds: float


def single(stage: Stage, options: Options) -> Part:
    shape = _Shape("/v1/feedback", 64, 0, "bench.peers.bare_app", 0.6 if options.quick else 5.0)
    part = Part("http", "`POST /v1/feedback`, 64 connections, one event each", "bare uvicorn")
    _measure(stage, options, part, shape, "bare uvicorn")
    aim(part)
    return part


def aim(part: Part) -> None:
    """What one event a request is wanted to reach. Of a peer that is left out nothing is said but why, in a note."""
    part.aim("ours ÷ bare uvicorn, requests/s", part.ratio(KAFKA, "bare uvicorn", "requests/s"), at_least=0.5)
    part.aim("ours ÷ plain app, requests/s", part.ratio(KAFKA, "plain app", "requests/s"), at_least=6)
    if BENTO in part.variants:
        part.aim("ours ÷ Bento, requests/s", part.ratio(KAFKA, BENTO, "requests/s"), at_least=1.3)
    part.aim("p99, ours ÷ bare uvicorn", part.ratio(KAFKA, "bare uvicorn", "p99 ms"), at_most=2)


def batched(stage: Stage, options: Options) -> Part:
    shape = _Shape("/v1/feedback/batch", 8, BATCH, "bench.peers.bare_parse", 0.6 if options.quick else 5.0)
    part = Part("batch", f"NDJSON, {BATCH} events a request, 8 connections", "bare parse")
    _measure(stage, options, part, shape, "bare parse")
    part.aim("ours ÷ bare parse, events/s", part.ratio(KAFKA, "bare parse", "events/s"), at_least=0.25)
    part.aim("ours ÷ plain app, events/s", part.ratio(KAFKA, "plain app", "events/s"), at_least=4)
    return part


def _measure(stage: Stage, options: Options, part: Part, shape: _Shape, bare: str) -> None:
    with contextlib.ExitStack() as stack:
        targets = [*_servers(stage, options, stack, part, shape, bare)]
        for target in targets:
            warm(target, shape)
        for round_number in range(options.rounds):
            for target in targets:
                outcome = _load(target, shape, start=round_number * 10**9)
                target.answered += outcome.answered * (shape.batch or 1)
                target.unknown += outcome.refused * (shape.batch or 1)
                part.add(target.name, _measures(outcome, shape.batch or 1))
                options.progress(f"{part.name} round {round_number + 1} {target.name}: {outcome.requests_per_s:,.0f}/s")
        for target in targets:
            if target.topic and target.env is not None:
                found = asyncio.run(stored_records(target.env, [target.topic]))
                part.count(f"{target.name}, acknowledged", target.answered, found, unknown=target.unknown)


def _servers(
    stage: Stage, options: Options, stack: contextlib.ExitStack, part: Part, shape: _Shape, bare: str
) -> Iterator[_Target]:
    port = free_port()
    program = stack.enter_context(Program.module(shape.bare, "--port", port, env={}, log=stage.log("bare")))
    program.wait_answering(f"http://127.0.0.1:{port}/")
    yield _Target(bare, program, port)
    if options.kafka:
        bootstrap = stack.enter_context(stage.kafka())
        env = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap}
        asyncio.run(create(env, ["plain"]))
        port = free_port()
        plain = Program.module("bench.peers.plain_app", "--port", port, env=env, log=stage.log("plain"))
        stack.enter_context(plain).wait_answering(f"http://127.0.0.1:{port}/")
        yield _Target("plain app", plain, port, env=env, topic="plain")
        if not shape.batch:
            yield from _bento(stage, options, stack, part, bootstrap)
        yield _ours(stage, stack, KAFKA, bootstrap)
    yield _ours(stage, stack, EMBEDDED, None)


def _bento(
    stage: Stage, options: Options, stack: contextlib.ExitStack, part: Part, bootstrap: str
) -> Iterator[_Target]:
    program = built.bento(part, options)
    if program is None:
        return
    env = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    asyncio.run(create(env, ["bento"]))
    port = free_port()
    given = {"PORT": str(port), "BOOTSTRAP": bootstrap, "TOPIC": "bento"}
    bento = Program([str(program), "-c", str(built.PEERS / "bento" / "bento.yaml")], given, stage.log("bento"))
    stack.enter_context(bento).wait_answering(f"http://127.0.0.1:{port}/v1/feedback")
    yield _Target(BENTO, bento, port, env=env, topic="bento")


def _ours(stage: Stage, stack: contextlib.ExitStack, name: str, bootstrap: str | None) -> _Target:
    database = stage.database()
    stack.callback(stage.drop, database)
    port = free_port()
    env = stage.env(database, bootstrap, INGEST_PORT=str(port))
    program = stack.enter_context(Program.module("services.ingest", env=env, log=stage.log("ingest")))
    program.wait_answering(f"http://127.0.0.1:{port}/readyz")
    return _Target(name, program, port, stage.key(database), env, RECEIVED)


def _load(target: _Target, shape: _Shape, start: int, sign: str = "") -> Outcome:
    found = run_json(
        "bench.load",
        *("--port", target.port, "--path", shape.path, "--connections", shape.connections),
        *("--seconds", shape.seconds, "--warmup", min(1.0, shape.seconds / 3), "--start", start),
        *("--key", target.key, "--pid", target.program.pid, "--batch", shape.batch, "--sign", sign),
        env={},
    )
    return Outcome(**found)


def warm(target: _Target, shape: _Shape) -> None:
    """A round that only counts what was stored. A broker is Java: until its compilers have seen a load it takes three times
    the CPU for it, and it shares the cores with what is measured."""
    outcome = _load(target, shape, start=WARM_START)
    target.answered += outcome.answered * (shape.batch or 1)
    target.unknown += outcome.refused * (shape.batch or 1)


def _measures(outcome: Outcome, events: int) -> dict[str, float | None]:
    rate = outcome.requests_per_s * events
    cpu = outcome.server_cpu_us
    return {
        "requests/s" if events == 1 else "events/s": rate,
        "p50 ms": outcome.p50_ms,
        "p99 ms": outcome.p99_ms,
        "not 2xx": outcome.refused,
        "server CPU µs": None if cpu is None else cpu / events,
        "generator CPU µs": None if outcome.load_cpu_us is None else outcome.load_cpu_us / events,
    }
