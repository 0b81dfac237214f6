"""`webhooks`, `slow` and `workers`: what else comes to the door of ingest, beside `POST /v1/feedback` of one sender.

Everything on the embedded log or Kafka as users have it; the same load generator, so many connections, one process or two.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.http import KAFKA, _load, _measures, _ours, _Shape, _Target, warm
from bench.machine import cores
from bench.options import Options
from bench.processes import Program, free_port
from bench.stage import Stage
from bench.table import Part
from bench.topics import stored_records
from shared.topics import RECEIVED

SOCKETS = 5_000
FEEDBACK, SIGNED = "POST /v1/feedback", "signed webhook"
ALONE, CROWDED = "nobody else", f"{SOCKETS:,} slow sockets"
ONE, TWO = "one process", "two processes"


def _shape(options: Options, connections: int = 64, path: str = "/v1/feedback") -> _Shape:
    return _Shape(path, connections, 0, "", 0.6 if options.quick else 5.0)


@contextlib.contextmanager
def _server(stage: Stage, options: Options) -> Iterator[tuple[_Target, str | None]]:
    with contextlib.ExitStack() as stack:
        bootstrap = stack.enter_context(stage.kafka()) if options.kafka else None
        target = _ours(stage, stack, KAFKA, bootstrap)
        warm(target, _shape(options))
        yield target, bootstrap


def webhooks(stage: Stage, options: Options) -> Part:
    """Standard Webhooks, verified over the raw bytes, and what it becomes; the body is the same."""
    part = Part("webhooks", "a signed webhook (Standard Webhooks) beside `POST /v1/feedback`, 64 connections", FEEDBACK)
    with _server(stage, options) as (target, _):
        for number in range(options.rounds):
            for name, path in ((FEEDBACK, "/v1/feedback"), (SIGNED, f"/v1/webhooks/{stage.source}")):
                sign = stage.webhook_secret if name == SIGNED else ""
                start = (2 * number + (name == SIGNED)) * 10**9
                outcome = _load(target, _shape(options, path=path), start=start, sign=sign)
                target.answered += outcome.answered
                target.unknown += outcome.refused
                part.add(name, _measures(outcome, 1))
                options.progress(f"webhooks round {number + 1} {name}: {outcome.requests_per_s:,.0f}/s")
        _count(part, target)
    part.aim("signed ÷ POST /v1/feedback, requests/s", part.ratio(SIGNED, FEEDBACK, "requests/s"), at_least=0.7)
    return part


def slow(stage: Stage, options: Options) -> Part:
    """Each round: the load alone, then beside so many sockets that never finish their first line."""
    part = Part("slow", f"`POST /v1/feedback`, 64 connections, while {SOCKETS:,} slow sockets are open", ALONE)
    sockets = 200 if options.quick else SOCKETS
    with _server(stage, options) as (target, _):
        for number in range(options.rounds):
            for name in (ALONE, CROWDED):
                with _crowd(target.port, sockets, stage.log("slow")) if name == CROWDED else contextlib.nullcontext():
                    outcome = _load(target, _shape(options), start=(2 * number + (name == CROWDED)) * 10**9)
                target.answered += outcome.answered
                target.unknown += outcome.refused
                rss = target.program.rss
                part.add(name, {**_measures(outcome, 1), "RSS MiB": rss / 2**20 if rss is not None else None})
                options.progress(f"slow round {number + 1} {name}: p99 {outcome.p99_ms:.1f} ms")
        _count(part, target)
    part.aim("p99, crowded ÷ alone", part.ratio(CROWDED, ALONE, "p99 ms"), at_most=2)
    return part


@contextlib.contextmanager
def _crowd(port: int, sockets: int, log: Path) -> Iterator[None]:
    before = log.stat().st_size if log.exists() else 0
    with Program.module("bench.slow", "--port", port, "--sockets", sockets, env={}, log=log) as crowd:
        deadline = time.monotonic() + 60
        while b"there" not in log.read_bytes()[before:]:
            crowd.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{sockets} sockets were not open within a minute")
            time.sleep(0.05)
        yield


def workers(stage: Stage, options: Options) -> Part:
    """Two generators each time, so that they are the same load; how busy they are is a column."""
    part = Part("workers", "two processes of ingest beside one, 2 generators of 32 connections", ONE)
    with contextlib.ExitStack() as stack:
        target, bootstrap = stack.enter_context(_server(stage, options))
        assert target.env is not None
        port = free_port()
        env = {**target.env, "INGEST_PORT": str(port)}
        program = stack.enter_context(Program.module("services.ingest", env=env, log=stage.log("ingest")))
        program.wait_answering(f"http://127.0.0.1:{port}/readyz")
        other = _Target(TWO, program, port, target.key, env, RECEIVED)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for number in range(options.rounds):
            for name, pair in ((ONE, (target, target)), (TWO, (target, other))):
                starts = [(4 * number + 2 * (name == TWO) + place) * 10**9 for place in range(2)]
                both = list(pool.map(_load, pair, [_shape(options, 32)] * 2, starts))
                for one in both:
                    target.answered += one.answered
                    target.unknown += one.refused
                rate = sum(one.requests_per_s for one in both)
                busy = [one.load_cpu_us * one.requests_per_s / 1e4 for one in both if one.load_cpu_us is not None]
                found = {
                    "requests/s": rate,
                    "p50 ms": max(one.p50_ms for one in both),
                    "p99 ms": max(one.p99_ms for one in both),
                    "busiest generator %": max(busy, default=None),
                }
                part.add(name, found)
                options.progress(f"workers round {number + 1} {name}: {rate:,.0f}/s")
        _count(part, target)
    part.aim("two ÷ one, requests/s", part.ratio(TWO, ONE, "requests/s"), at_least=1.7)
    part.notes.append(
        f"{cores()} cores for both processes, both generators and the {'broker' if bootstrap else 'database'}: "
        "two processes cannot have two cores to themselves here."
    )
    return part


def _count(part: Part, target: _Target) -> None:
    if target.env is not None:
        found = asyncio.run(stored_records(target.env, [RECEIVED]))
        part.count("acknowledged", target.answered, found, unknown=target.unknown)
