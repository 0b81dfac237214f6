"""`spool`: ingest with a spool, while Kafka is there, while it is away, and how fast what waits drains when it is back.

One process, the same load. Filled is from the first request that only the disk takes; drained from the broker's start to an
empty spool, its own start and the client's notice of it included, with nobody posting meanwhile.
"""

import asyncio
import time
import urllib.request

from bench.http import _load, _measures, _Shape, _Target
from bench.options import Options
from bench.processes import Program, free_port
from bench.stage import Stage
from bench.table import Part
from bench.topics import stored_records
from shared.topics import RECEIVED
from tests.brokers import THOROUGH, Cluster

THERE, AWAY = "the log is there", "the log is away"


def measure(stage: Stage, options: Options) -> Part:
    part = Part("spool", "`POST /v1/feedback` with a spool, 64 connections; and what waits, back into the log")
    shape = _Shape("/v1/feedback", 64, 0, "", 0.6 if options.quick else 5.0)
    database = stage.database()
    port = free_port()
    with Cluster(java=THOROUGH) as cluster:
        env = stage.env(
            database, cluster.bootstrap, INGEST_PORT=str(port), INGEST_SPOOL_DIR=str(stage.directory / "spool")
        )
        with Program.module("services.ingest", env=env, log=stage.log("ingest")) as program:
            program.wait_answering(f"http://127.0.0.1:{port}/readyz")
            target = _Target("ours", program, port, stage.key(database), env, RECEIVED)
            for number in range(options.rounds):
                outcome = _load(target, shape, start=2 * number * 10**9)
                target.answered += outcome.answered
                part.add(THERE, _measures(outcome, 1))
                cluster.brokers[0].kill()
                outcome = _load(target, shape, start=(2 * number + 1) * 10**9)
                target.answered += outcome.answered
                target.unknown += outcome.refused
                waiting = _waiting(port)
                cluster.brokers[0].start()
                began = time.monotonic()
                while (left := _waiting(port)) == waiting:
                    time.sleep(0.01)
                moved = time.monotonic()
                while left:
                    time.sleep(0.01)
                    left = _waiting(port)
                drained = waiting / (time.monotonic() - moved)
                part.add(
                    AWAY,
                    {
                        **_measures(outcome, 1),
                        "drained/s": drained,
                        "drained ÷ filled": drained / outcome.requests_per_s,
                        "after the broker's start s": moved - began,
                    },
                )
                options.progress(f"spool round {number + 1}: {outcome.requests_per_s:,.0f}/s, {drained:,.0f}/s drained")
            found = asyncio.run(stored_records(env, [RECEIVED]))
            part.count("acknowledged", target.answered, found, unknown=target.unknown)
    part.aim("away ÷ there, requests/s", part.ratio(AWAY, THERE, "requests/s"), at_least=0.5)
    part.aim("drained ÷ filled", part.median(AWAY, "drained ÷ filled"), at_least=3)
    return part


def _waiting(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    (line,) = [one for one in text.splitlines() if one.startswith("ingest_spool_records ")]
    return int(float(line.split()[1]))
