"""`router`: so many events already on `feedback.received`, six partitions, one process that routes them to three teams.

Everybody reads the same input with a group of its own, writes its own topics (ours: the real ones), and is measured
alike: by the append times of what it wrote, as a committed reader sees them, from the moment a tenth of it is there.
So no start-up counts, and nobody measures himself. Read back, each id must be there once.

Ours is the process that users run, `python -m services.router`: 200 rules, reasons, language, sentiment, the map of
ids. Its group is put back to the start before each round.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from confluent_kafka import Consumer, TopicPartition

from bench import built, received
from bench.events import TEAMS, keywords, pieces, team_of
from bench.options import Options
from bench.peers.splice import DEFAULT_TEAM
from bench.processes import REPOSITORY, Program, free_port
from bench.stage import SECRET, Stage
from bench.table import Part
from bench.topics import ReadBack, create, ends, fill, opened, read_back
from shared.log import Message
from shared.topics import DEFAULT_PARTITIONS, RECEIVED, ROUTED_PREFIX, all_topics

GROUP = "router"
PIPE, QUIX, STREAMS, OURS = "confluent pipe", "Quix exactly-once", "Kafka Streams exactly-once", "ours, Kafka"
EMBEDDED_PIPE, EMBEDDED = "embedded pipe", "ours, embedded log"
LOOK_S = 0.1
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class _Runner:
    name: str
    group: str
    """`{}` is the round."""
    outputs: str
    """The prefix of the topics."""
    start: Callable[[str], Program]
    """Given the group's name."""


def measure(stage: Stage, options: Options) -> Part:
    count = 6_000 if options.quick else 200_000
    part = Part("router", f"{count} events, {DEFAULT_PARTITIONS} partitions, 200 rules, one process", PIPE)
    messages = received.messages(pieces(20_000), count, SECRET)
    if options.kafka:
        with stage.kafka() as bootstrap:
            _on_kafka(stage, options, part, messages, bootstrap)
    _on_postgres(stage, options, part, messages)
    aim(part)
    return part


def aim(part: Part) -> None:
    """What the router is wanted to reach. Of a peer that is left out nothing is said but why, in a note."""
    rate = "events/s"
    part.aim("ours ÷ confluent pipe", part.ratio(OURS, PIPE, rate), at_least=0.8)
    part.aim("ours ÷ Quix", part.ratio(OURS, QUIX, rate), at_least=2.5)
    if STREAMS in part.variants:
        part.aim("ours ÷ Kafka Streams", part.ratio(OURS, STREAMS, rate), at_least=1.2)
    part.aim("embedded log, ours ÷ its pipe", part.ratio(EMBEDDED, EMBEDDED_PIPE, rate), at_least=0.4)


# ── on Kafka ──


def _on_kafka(stage: Stage, options: Options, part: Part, messages: list[Message], bootstrap: str) -> None:
    env = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    asyncio.run(_prepare(env, messages, ["pipe.", "quix.", "streams."]))
    database = stage.database()
    runners = [
        _Runner(
            PIPE,
            "pipe-{}",
            "pipe.",
            lambda group: Program.module(
                "bench.peers.confluent_pipe",
                *("--bootstrap", bootstrap, "--group", group, "--input", RECEIVED, "--output", "pipe."),
                env={},
                log=stage.log("pipe"),
            ),
        ),
        _Runner(QUIX, "quix-{}", "quix.", lambda group: _quix(stage, options, bootstrap, group)),
        *_streams(stage, options, part, bootstrap),
        _Runner(
            OURS,
            GROUP,
            ROUTED_PREFIX,
            lambda _: Program.module(
                "services.router",
                env=stage.env(database, bootstrap, ROUTER_PORT=str(free_port())),
                log=stage.log("router"),
            ),
        ),
    ]
    for round_number in range(options.rounds):
        for runner in runners:
            group = runner.group.format(round_number)
            topics = [runner.outputs + team for team in TEAMS]
            before = asyncio.run(ends(env, topics))
            with contextlib.closing(_Group(bootstrap, group)) as position:
                position.rewind()
                with runner.start(group) as program:
                    _wait(program, position, len(messages))
                    cpu = program.cpu_s
            found = asyncio.run(read_back(env, topics, before))
            _note(options, part, runner.name, round_number, found, len(messages), cpu)
    stage.drop(database)


class _Group:
    """A group's committed positions, looked at and set from outside of it.

    By a consumer that never joins: the admin client's own call ends the process (SIGSEGV) when the coordinator moves
    or is still being found (librdkafka #5040).
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})

    def rewind(self) -> None:
        """Back to the start. It must have no member now."""
        start = [TopicPartition(RECEIVED, n, 0) for n in range(DEFAULT_PARTITIONS)]
        self._consumer.commit(offsets=start, asynchronous=False)

    def __call__(self) -> int:
        """How many records are behind it (the input holds no transactions, so offsets count records)."""
        wanted = [TopicPartition(RECEIVED, n) for n in range(DEFAULT_PARTITIONS)]
        return sum(max(0, tp.offset) for tp in self._consumer.committed(wanted, 10))

    def close(self) -> None:
        self._consumer.close()


# ── Quix, in an environment of its own ──


def quix_python(options: Options) -> Path:
    """Made once, kept while the pins stay the same."""
    pins = REPOSITORY / "bench" / "requirements.txt"
    home = REPOSITORY / ".cache" / "bench-venv"
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists() or ready.read_text() != pins.read_text():
        options.progress("making .cache/bench-venv for Quix Streams")
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(home)], check=True)
        install = [*uv, "pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", str(pins)]
        subprocess.run(install, check=True)
        ready.write_text(pins.read_text())
    return python


def _quix(stage: Stage, options: Options, bootstrap: str, group: str) -> Program:
    script = REPOSITORY / "bench" / "peers" / "quix_router.py"
    command = [str(quix_python(options)), str(script), *_told(stage, bootstrap, group, "quix.")]
    return Program(command, {}, stage.log("quix"))


def _told(stage: Stage, bootstrap: str, group: str, output: str) -> list[str]:
    """The arguments of a peer that imports nothing of this project."""
    words = stage.directory / "words.json"
    words.write_text(json.dumps([[word, team_of(rule)] for rule, word in enumerate(keywords())]), encoding="utf-8")
    given = ["--bootstrap", bootstrap, "--group", group, "--input", RECEIVED, "--output", output]
    return [*given, "--words", str(words), "--default", DEFAULT_TEAM]


# ── Kafka Streams, where Java and Maven are ──


def _streams(stage: Stage, options: Options, part: Part, bootstrap: str) -> Iterator[_Runner]:
    classes = built.streams(part, options)
    if classes is None:
        return
    java = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes, "Router"]
    state = str(stage.directory / "streams")

    def start(group: str) -> Program:
        command = [*java, *_told(stage, bootstrap, group, "streams."), "--state", state]
        return Program(command, {}, stage.log("streams"))

    yield _Runner(STREAMS, "streams-{}", "streams.", start)


# ── on the embedded log ──


def _on_postgres(stage: Stage, options: Options, part: Part, messages: list[Message]) -> None:
    loaded = stage.database()
    asyncio.run(_prepare({"DATABASE_URL": loaded}, messages, ["pipe."]))
    for round_number in range(options.rounds):
        for name, prefix in ((EMBEDDED_PIPE, "pipe."), (EMBEDDED, ROUTED_PREFIX)):
            database = stage.database(loaded)
            group = GROUP if name == EMBEDDED else "pipe"
            with (
                contextlib.closing(_Position(database, group)) as position,
                _embedded(stage, name, database) as program,
            ):
                _wait(program, position, len(messages))
                cpu = program.cpu_s
            found = asyncio.run(read_back({"DATABASE_URL": database}, [prefix + team for team in TEAMS]))
            _note(options, part, name, round_number, found, len(messages), cpu)
            stage.drop(database)
    stage.drop(loaded)


def _embedded(stage: Stage, name: str, database: str) -> Program:
    if name == EMBEDDED:
        env = stage.env(database, ROUTER_PORT=str(free_port()))
        return Program.module("services.router", env=env, log=stage.log("router"))
    arguments = ("--database", database, "--group", "pipe", "--input", RECEIVED, "--output", "pipe.")
    return Program.module("bench.peers.embedded_pipe", *arguments, env={}, log=stage.log("pipe"))


class _Position:
    """How far a group is, asked on a connection of its own."""

    QUERY = "SELECT coalesce(sum(position), 0)::bigint FROM log.position WHERE group_name = $1"

    def __init__(self, database: str, group: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(database))
        self._group = group

    def __call__(self) -> int:
        found: int = self._loop.run_until_complete(self._connection.fetchval(self.QUERY, self._group))
        return found

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()


# ── both ──


async def _prepare(env: Mapping[str, str], messages: list[Message], prefixes: list[str]) -> None:
    async with opened(env) as log:
        await log.ensure_topics(all_topics(TEAMS))
    await create(env, [prefix + team for prefix in prefixes for team in TEAMS])
    await fill(env, messages)


def _wait(program: Program, position: Callable[[], int], count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (reached := position()) < count:
        program.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{reached} of {count} events after {PATIENCE_S:.0f} s")
        time.sleep(LOOK_S)


def _note(
    options: Options, part: Part, name: str, round_number: int, found: ReadBack, count: int, cpu: float | None
) -> None:
    rate = found.rate()
    measures = {
        "events/s": rate,
        "CPU µs an event, start-up included": None if cpu is None else cpu / count * 1e6,
    }
    part.add(name, measures)
    part.count(f"{name}, distinct ids", count, found.distinct)
    part.count(f"{name}, records", count, len(found.ids))
    options.progress(f"router round {round_number + 1} {name}: {rate:,.0f}/s")
