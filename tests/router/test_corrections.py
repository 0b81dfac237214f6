"""Corrections become examples, each once and by its last word; what they are learnt into is kept with them."""

import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.router import candidate
from services.router.corrections import Corrections
from services.router.erasures import Erasures
from services.router.examples import Row
from services.router.hearing import Hearing
from services.router.kept import CORRECTIONS, FILE, KeptModels, Told
from services.router.learn import learnt
from services.router.learnt import Versions, adopt
from services.router.settings import read_router_settings
from services.router.teacher import Teacher
from shared.clock import ManualClock
from shared.database import Database, raw
from shared.errors import Misuse
from shared.events.envelope import CUSTOMER_ERASED, FEEDBACK_CORRECTED, FEEDBACK_ROUTED, Envelope
from shared.log import Message, TopicPartition
from shared.log.postgres import PostgresLog
from shared.topics import CORRECTIONS as TOPIC
from shared.topics import ERASURES, all_topics, routed
from tests.router.rulesets import config, ruleset

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
RULES = ruleset()


@dataclass
class World:
    log: PostgresLog
    database: Database
    kept: KeptModels

    async def routed(self, text: str | None, **members: Any) -> dict[str, Any]:
        """Its id and place, as the closer would name them."""
        identity = str(uuid.uuid4())
        value = {"id": identity, "text": text, "routing": {"team": "support"}, **members}
        await self._append(routed("support"), FEEDBACK_ROUTED, identity, value, b"a pseudonym")
        reader = await self.log.reader()
        try:
            for partition in range(await reader.partitions(routed("support"))):
                tp = TopicPartition(routed("support"), partition)
                async for records in reader.scan(tp, *await reader.bounds(tp)):
                    for record in records:
                        if dict(record.headers)["ce_id"] == identity.encode():
                            return {
                                "id": identity,
                                "of": {"topic": record.topic, "partition": partition, "offset": record.offset},
                            }
        finally:
            await reader.close()
        raise AssertionError("it is not there")

    async def say(self, about: dict[str, Any], **said: Any) -> None:
        value = {**about, "workspace": "default", "at": NOW.isoformat(), "by": "key", **said}
        await self._append(TOPIC, FEEDBACK_CORRECTED, about["id"], value, about["id"].encode())

    async def _append(self, topic: str, kind: str, identity: str, value: Any, key: bytes) -> None:
        producer = await self.log.producer()
        headers = Envelope(identity, kind, "test", NOW.isoformat(), "default").headers()
        await producer.append([Message(topic, key, json.dumps(value).encode(), headers)])
        await producer.close()

    async def hear(self) -> None:
        """All there is, by a worker that then ends."""
        await heard_by(Corrections(self.log, self.kept))


async def heard_by(worker: Hearing) -> None:
    """All there is, and then it ends."""
    consumer = await worker.consumer()
    try:
        while True:
            await worker.turn(consumer)
            if consumer.assignment and not any((await consumer.lag()).values()):
                return
    finally:
        await worker.close(consumer)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url)
    log = await PostgresLog.open(database_url)
    await log.ensure_topics(all_topics(["product", "support", "sales"]))
    yield World(log, database, KeptModels(database))
    await log.close()
    await database.close()


async def test_the_last_word_about_each_feedback_is_learnt_from(world: World) -> None:
    one, other = await world.routed("The hedgehog stall"), await world.routed("Beavers", title="Wood")
    await world.say(one, team="sales")
    await world.say(one, kind="question", tags=["fair"])
    await world.say(other, team="support")
    await world.hear()
    await world.say(other, team="product")
    await world.hear()
    known = await world.kept.taught()
    assert sorted(known.rows, key=lambda row: row.text) == [
        Row(text="Beavers", title="Wood", team="product"),
        Row(text="The hedgehog stall", team="sales", kind=("question",), tags=("fair",)),
    ]


async def test_what_is_read_again_changes_nothing(world: World) -> None:
    about = await world.routed("The hedgehog stall")
    told = Told(about["id"], "The hedgehog stall", None, {"team": "sales"}, NOW, b"a pseudonym", 0, 7)
    assert await world.kept.correct([told, told]) == 1
    assert await world.kept.correct([told._replace(said={"team": "product"}, offset=6)]) == 0
    assert [row.team for row in (await world.kept.taught()).rows] == ["sales"]


async def test_what_nothing_can_be_learnt_from_is_passed_over(world: World) -> None:
    wordless, there = await world.routed(None), await world.routed("The hedgehog stall")
    await world.say(wordless, team="sales")
    await world.say({**there, "id": str(uuid.uuid4())}, team="sales")
    await world.say({**there, "of": {**there["of"], "offset": 10_000}}, team="sales")
    await world.say({**there, "of": {**there["of"], "topic": "feedback.received"}}, team="sales")
    await world.say({**there, "of": None}, team="sales")
    await world.say(there, kind="wish")
    await world.say(there, team="x" * 64)
    await world.say(there, team="sales")
    await world.hear()
    assert [row.text for row in (await world.kept.taught()).rows] == ["The hedgehog stall"]


# ── who is erased ──


async def erased(world: World, customer: str = "a pseudonym", at: datetime | None = None) -> None:
    """It is said on the topic, and heard by a worker that then ends."""
    value = {"customer": customer, "workspace": "default", "at": (at or datetime.now(UTC)).isoformat()}
    await world._append(ERASURES, CUSTOMER_ERASED, str(uuid.uuid4()), value, customer.encode())
    await heard_by(Erasures(world.log, world.kept))


async def test_the_examples_of_a_customer_who_is_erased_go_and_no_others(world: World) -> None:
    stall = await world.routed("The hedgehog stall")
    for team in ("sales", "product"):
        await world.say(stall, team=team)
    await world.hear()
    await world.kept.correct([Told(str(uuid.uuid4()), "Beavers", None, {"team": "product"}, NOW, b"another", 0, 7)])
    ids = await world.kept.file([Row(text="of a file", team="sales")], NOW)
    await world.kept.keep(learnt(ROWS, RULES), [*ids, 1], NOW, FILE)
    # Said before the correction of which `at` is later: the words are what counts.
    await erased(world, at=NOW)
    assert [row.text for row in (await world.kept.taught()).rows] == ["Beavers"]
    assert [row.text for row in (await world.kept.rows(learnt(ROWS, RULES).version)).rows] == ["of a file"]
    await erased(world)  # twice is once


async def test_a_correction_that_comes_after_the_erasure_teaches_nothing_of_what_was_said_before(world: World) -> None:
    """Its words still stand on the log."""
    before = await world.routed("The hedgehog stall")
    await erased(world)
    await world.say(before, team="sales")
    await world.say(await world.routed("Said afterwards"), team="sales")
    await world.hear()
    assert [row.text for row in (await world.kept.taught()).rows] == ["Said afterwards"]


async def test_an_old_erasure_that_is_heard_again_takes_nothing_that_was_said_since(world: World) -> None:
    await erased(world, at=NOW - timedelta(days=1))
    await world.kept.correct(
        [Told(str(uuid.uuid4()), "Since", None, {"team": "sales"}, NOW, b"a pseudonym", 0, 7, NOW)]
    )
    await erased(world, at=NOW - timedelta(days=1))
    assert [row.text for row in (await world.kept.taught()).rows] == ["Since"]


async def test_what_is_no_erasure_is_passed_over(world: World) -> None:
    await world._append(ERASURES, CUSTOMER_ERASED, str(uuid.uuid4()), {"customer": 7}, b"k")
    await world._append(ERASURES, "something.new", str(uuid.uuid4()), {"customer": "a pseudonym"}, b"k")
    await erased(world, "another")


# ── models ──

ROWS = [Row(text=f"The hedgehog stall at the fair, day {n}", team="sales") for n in range(20)]
ROWS += [Row(text=f"Beavers gnaw the mast, day {n}", team="product") for n in range(20)]


async def test_models_are_kept_with_their_rows_taken_into_use_and_taken_back(world: World) -> None:
    kept, model = world.kept, learnt(ROWS, RULES)
    assert (await kept.in_force(), (await kept.status())["models"]) == (None, [])
    ids = await kept.file(ROWS, NOW)
    assert await kept.file(ROWS[::-1], NOW) == ids[::-1], "a row is kept once"
    await kept.keep(model, ids, NOW, FILE)
    await kept.promote(model.version, NOW, "by hand")
    assert await kept.in_force() == model.version
    again = await kept.rows(model.version)
    assert learnt(again.rows, RULES).version == model.version, "any version can be built again"
    assert (await kept.model(model.version)).version == model.version
    assert await kept.roll_back(NOW) is None
    for wrong in (kept.roll_back(NOW), kept.promote("nope", NOW, "")):
        with pytest.raises(Misuse):
            await wrong


async def test_what_was_learnt_while_no_service_ran_is_taken_up_once(world: World, tmp_path: Path) -> None:
    folder, model = Versions(tmp_path), learnt(ROWS, RULES)
    folder.keep(model, "".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in ROWS).encode())
    folder.promote(model.version, "by hand")
    await adopt(folder, world.kept, NOW)
    assert await world.kept.in_force() == model.version
    await world.kept.roll_back(NOW)
    await adopt(folder, world.kept, NOW)
    assert await world.kept.in_force() is None, "what was taken back does not come back with the next start"


async def test_what_is_decided_while_no_service_runs_counts_though_the_model_is_known(
    world: World, tmp_path: Path
) -> None:
    folder = Versions(tmp_path)
    one, other = learnt(ROWS, RULES), learnt(ROWS[:30], RULES)
    for model in (one, other):
        folder.keep(model, "".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in ROWS).encode())

    async def in_force_after_a_start() -> str | None:
        await adopt(folder, world.kept, NOW)
        return await world.kept.in_force()

    folder.promote(one.version, "better on\nwhat was held back")
    assert await in_force_after_a_start() == one.version
    folder.promote(other.version, "by hand")
    assert await in_force_after_a_start() == other.version
    folder.promote(one.version, "by hand")
    assert await in_force_after_a_start() == one.version, "both are known by now"
    folder.roll_back()
    assert await in_force_after_a_start() == other.version
    await world.kept.promote(one.version, NOW, "by hand, while the service runs")
    assert await in_force_after_a_start() == one.version, "nothing new was decided in the folder"
    while folder.in_force():
        folder.roll_back()
    assert await in_force_after_a_start() is None
    async with world.database.transaction() as connection:
        why = await (await raw(connection)).fetchval("SELECT why FROM router.turn ORDER BY id LIMIT 1")
    assert why == "while no service ran: better on what was held back"


async def _teach(kept: KeptModels, rows: list[Row], first: int = 0) -> None:
    await kept.correct(
        [
            Told(str(uuid.uuid4()), row.text, None, {"team": row.team}, NOW, None, 0, first + number)
            for number, row in enumerate(rows)
        ]
    )


async def test_one_process_learns_at_a_time_and_only_when_there_is_enough(world: World) -> None:
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    claim = world.kept.claim
    assert await claim(NOW, minute, 1, hour) is None
    await _teach(world.kept, ROWS[:3])
    assert await claim(NOW, minute, 4, hour) is None
    upto = await claim(NOW, minute, 3, hour)
    assert upto is not None
    assert await claim(NOW, minute, 3, hour) is None, "somebody is at it"
    assert await claim(NOW + minute, minute, 3, hour) == upto, "and may have died"
    await world.kept.tried(upto, NOW, {"in_force": False})
    assert await claim(NOW, minute, 1, hour) is None
    await _teach(world.kept, ROWS[3:4], 3)
    assert await claim(NOW, minute, 2, hour) is None
    assert await claim(NOW + hour, minute, 2, hour) is not None, "few of them wait no longer than that"


async def test_a_learner_that_hangs_is_ended_and_the_next_correction_tries_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "LONGEST_S", 0.01)
    settings = read_router_settings({"ROUTER_LEARN_EVERY": "40"})
    teacher = Teacher(world.kept, ManualClock(NOW), settings, lambda: config("rules: []"))
    await _teach(world.kept, ROWS)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    assert await teacher.look()
    assert not (await world.kept.status())["last_trial"]["in_force"]
    assert children.read_text() == before, "it is gone"
    monkeypatch.undo()
    await _teach(world.kept, ROWS, 1000)
    assert await teacher.look()
    assert (await world.kept.status())["last_trial"]["in_force"]


async def test_a_candidate_is_taken_only_where_it_is_better(world: World) -> None:
    clock = ManualClock(NOW)
    settings = read_router_settings({"ROUTER_LEARN_EVERY": "40"})
    teacher = Teacher(world.kept, clock, settings, lambda: config("rules: []"))
    assert not await teacher.look()
    await _teach(world.kept, ROWS)
    assert await teacher.look()
    first = await world.kept.in_force()
    status = await world.kept.status()
    assert (status["last_trial"]["in_force"], status["last_trial"]["version"]) == (True, first)
    assert (status["models"][0]["made_of"], status["corrections"]["waiting"]) == (CORRECTIONS, 0)
    # Somebody who knows nothing: what they say is kept, and judges nobody.
    worse = [Row(text=row.text + "!", team=("support", "sales", "product")[n % 3]) for n, row in enumerate(ROWS)]
    await _teach(world.kept, worse, 1000)
    assert await teacher.look()
    trial = (await world.kept.status())["last_trial"]
    assert trial["rows"] == 80, "the rows of the model in force, and what was corrected since"
    assert trial["in_force"] == (trial["macro_f1"]["team"] > trial["macro_f1_before"]["team"])
    if not trial["in_force"]:
        assert await world.kept.in_force() == first
