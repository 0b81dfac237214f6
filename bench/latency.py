"""`latency`: from the 202 to the case being there to read, at 200 events/s, each of another customer, so that each
opens a case, owes a mail and sends it. On both logs, the services apart and all in one process. Each round starts
them anew; the first two seconds do not count."""

import contextlib
import sys
from collections.abc import Callable

from bench.options import Options
from bench.probe import Seen
from bench.processes import Program, free_port, run_json
from bench.stage import Stage
from bench.table import Part
from bench.topics import clear
from tests.brokers import QUICK

RATE = 200
APART = ("router", "ingest", "closer")
# From ingest's clock to the log's own time of the routed record: both are this machine's.
UNTIL_ROUTED = """
SELECT 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM routed_at - received_at)::float8)
FROM published.feedback
"""
FLYWHEEL = [sys.executable, "-c", "from services.cli import main; main()"]

Start = Callable[[Stage, contextlib.ExitStack, str, str | None], int]
"""Starts the services on that database (and that Kafka); the port of ingest."""


def measure(stage: Stage, options: Options) -> Part:
    seconds = 2 if options.quick else 15
    part = Part("latency", f"from the 202 to the case being visible, {RATE} events/s for {seconds} s")
    with contextlib.ExitStack() as stack:
        logs: dict[str, str | None] = {"embedded log": None}
        if options.kafka:
            # Java's second compiler would still be at work on one of two cores when the first round is over.
            logs["Kafka"] = stack.enter_context(stage.kafka(QUICK))
        number = 0
        for round_number in range(options.rounds):
            for log, bootstrap in logs.items():
                for name, start in (("apart", _apart), ("all in one", _all_in_one)):
                    number += 1
                    seen, routed_ms = _one(stage, start, bootstrap, seconds, number)
                    variant = f"{name}, {log}"
                    part.add(variant, _measures(seen, routed_ms))
                    options.progress(f"latency round {round_number + 1} {variant}: p50 {seen.p50_ms:.1f} ms")
    for variant in part.variants:
        part.aim_at_most(f"p50, {variant}", part.median(variant, "p50 ms"), 50, "ms")
        part.aim_at_most(f"p99, {variant}", part.median(variant, "p99 ms"), 300, "ms")
    return part


def _measures(seen: Seen, routed_ms: float) -> dict[str, float | None]:
    return {
        "p50 ms": seen.p50_ms,
        "p99 ms": seen.p99_ms,
        "most ms": seen.most_ms,
        "of it until routed, p50 ms": routed_ms,
        "posted": seen.posted,
        "without a case": seen.missing,
        "not 202": seen.refused,
        "looks/s": seen.looks_per_s,
    }


def _one(stage: Stage, start: Start, bootstrap: str | None, seconds: int, number: int) -> tuple[Seen, float]:
    database = stage.database()
    with contextlib.ExitStack() as stack:
        port = start(stage, stack, database, bootstrap)
        found = run_json(
            "bench.probe",
            *("--port", port, "--key", stage.key(database), "--database", database, "--rate", RATE),
            *("--seconds", seconds, "--warmup", min(2, seconds / 2), "--start", number * 10**6),
            env={},
        )
        routed_ms = float(stage.ask(database, UNTIL_ROUTED))
    stage.drop(database)
    if bootstrap is not None:
        clear(bootstrap)
    return Seen(**found), routed_ms


def _apart(stage: Stage, stack: contextlib.ExitStack, database: str, bootstrap: str | None) -> int:
    ports = {name: free_port() for name in APART}
    env = stage.env(database, bootstrap, **{f"{name.upper()}_PORT": str(port) for name, port in ports.items()})
    for name in APART:
        program = Program.module(f"services.{name}", env=env, log=stage.log(f"latency-{name}"))
        stack.enter_context(program).wait_answering(f"http://127.0.0.1:{ports[name]}/readyz")
    return ports["ingest"]


def _all_in_one(stage: Stage, stack: contextlib.ExitStack, database: str, bootstrap: str | None) -> int:
    port = free_port()
    command = [*FLYWHEEL, "up", "--port", str(port), "--no-sample"]
    program = Program(command, stage.env(database, bootstrap), stage.log("latency-all"))
    stack.enter_context(program).wait_answering(f"http://127.0.0.1:{port}/readyz")
    return port
