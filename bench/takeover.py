"""`takeover`: a router is given a partition whose window holds a million ids: how long until it is ready, and what the
ids cost in memory. Ready is what `/readyz` says: ids known, first batch asked for. Beside it the same process on an
empty log, whose start-up and memory are taken off."""

import asyncio
import itertools
import secrets
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import received
from bench.events import TEAMS, pieces
from bench.options import Options
from bench.processes import Program, free_port
from bench.stage import SECRET, Stage
from bench.table import Part
from bench.topics import fill, opened
from shared.log import Message, TopicPartition
from shared.log.partitioning import partition_of
from shared.topics import DEFAULT_PARTITIONS, RECEIVED, all_topics

GROUP = "router"
CHUNK = 50_000


def measure(stage: Stage, options: Options) -> Part:
    count = 20_000 if options.quick else 1_000_000
    part = Part("takeover", f"a router takes over a partition with {count} ids in its window")
    _on(stage, options, part, count, "embedded log", None)
    if options.kafka:
        with stage.kafka() as bootstrap:
            _on(stage, options, part, count, "Kafka", bootstrap)
    for variant in part.variants:
        part.aim_at_most(f"ready, {variant}", part.median(variant, "ready after s"), 5, "s")
    return part


def _on(stage: Stage, options: Options, part: Part, count: int, name: str, bootstrap: str | None) -> None:
    database = stage.database()
    env = stage.env(database, bootstrap)
    asyncio.run(_make_topics(env))
    rounds = range(options.rounds)
    empty = [_start(stage, env) for _ in rounds]
    for chunk in _chunks(count):
        asyncio.run(fill(env, chunk))
    asyncio.run(_commit_at_end(env))
    options.progress(f"takeover {name}: {count} ids are there")
    for before in empty:
        found = _start(stage, env)
        assert found.ids == count, f"{found.ids} ids known instead of {count}"
        grown = None if found.rss is None or before.rss is None else (found.rss - before.rss) / 2**20
        measures = {
            "ready after s": found.rebuild_s,
            "start to ready s": found.ready_s,
            "the same, empty log, s": before.ready_s,
            "RSS grown MiB": grown,
            "bytes an id": None if grown is None else grown * 2**20 / count,
        }
        part.add(name, measures)
        options.progress(f"takeover {name}: {found.rebuild_s:.2f} s")
    stage.drop(database)


@dataclass(frozen=True, slots=True)
class _Started:
    ready_s: float
    rebuild_s: float
    ids: int
    rss: int | None


def _start(stage: Stage, env: Mapping[str, str]) -> _Started:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with Program.module("services.router", env={**env, "ROUTER_PORT": str(port)}, log=stage.log("takeover")) as program:
        ready = program.wait_answering(f"{base}/readyz")
        metrics = _metrics(f"{base}/metrics")
        return _Started(ready, metrics["router_rebuild_seconds_sum"], int(metrics["router_seen_ids"]), program.rss)


def _metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line and line[0] != "#" and "{" not in line}


def _chunks(count: int) -> Iterator[list[Message]]:
    """All of one customer, so of one partition; real values, ids of their own."""
    models = received.messages(pieces(2000), 2000, SECRET)
    key = next(k for k in (b"customer-%d" % n for n in itertools.count()) if partition_of(k, DEFAULT_PARTITIONS) == 0)
    for start in range(0, count, CHUNK):
        yield [_as_new(models[n % len(models)], key) for n in range(start, min(start + CHUNK, count))]


def _as_new(model: Message, key: bytes) -> Message:
    digits = secrets.token_hex(32)
    event = f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"
    new = {"ce_id": event.encode(), "ce_bodyhash": digits[32:].encode()}
    return Message(model.topic, key, model.value, [(name, new.get(name, value)) for name, value in model.headers])


async def _make_topics(env: Mapping[str, str]) -> None:
    async with opened(env) as log:
        await log.ensure_topics(all_topics(TEAMS))


class _Listener:
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass


async def _commit_at_end(env: Mapping[str, str]) -> None:
    """As a predecessor would have left it: everything read."""
    async with opened(env) as log:
        reader = await log.reader()
        end = (await reader.bounds(TopicPartition(RECEIVED, 0)))[1]
        await reader.close()
        consumer = await log.transactional(GROUP, [RECEIVED], _Listener())
        try:
            while not consumer.assignment:
                await consumer.poll(1, 0.5)
            await consumer.commit({TopicPartition(RECEIVED, 0): end})
        finally:
            await consumer.close()
