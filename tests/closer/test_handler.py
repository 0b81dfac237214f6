"""A routed event has its effect once: through replays, takeovers, poison, and a database that goes away."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.closer.handler import GROUP, Handler, ours
from services.closer.records import Poison, read
from shared.errors import Fenced, Rejected, Transient
from shared.events.dead_letter import redriven, whole
from shared.log import Message, Record, TopicPartition
from tests.closer.world import World, decision, eventually, feedback, message


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


async def test_feedback_that_is_owed_an_answer_opens_a_case_with_everything_that_follows(world: World) -> None:
    value = feedback()
    await world.take(value)
    case = await world.case(value["id"])
    assert (case["state"], case["team"], case["theme"], case["priority"]) == ("open", "support", "refund", "normal")
    assert case["customer"] == "c-1"
    assert str(case["first_feedback_id"]) == value["id"]
    assert await world.timeline(case["id"]) == ["opened"]
    clocks = await world.rows("SELECT * FROM published.clocks WHERE case_id = $1", case["id"])
    assert {clock["target"] for clock in clocks} == {"acknowledge", "resolve", "tell_customer"}
    for clock in clocks:
        assert clock["open"]
        assert clock["wall_due"] > case["opened_at"]
        assert clock["business_due"] > case["opened_at"]
        assert clock["business_met"] is clock["wall_met"] is None
    notification = await world.one("SELECT * FROM published.notifications")
    assert (notification["kind"], notification["status"], notification["channel"]) == ("heard", "pending", "email")
    (changed,) = await world.outbox()
    assert (changed["what"], changed["sequence"], changed["state"]) == ("opened", 1, "open")
    assert changed["data"]["feedback_id"] == value["id"]


async def test_what_goes_to_the_cases_topic_names_nobody_and_repeats_nothing(world: World) -> None:
    value = feedback(text="CANARYWORDS", title="CANARYTITLE")
    value["customer"] = {"id": "CANARYID", "email": "canary@example.com", "name": "CANARYNAME"}
    await world.take(value)
    rows = await world.rows("SELECT key, value, headers FROM shared.outbox WHERE topic = 'feedback.cases'")
    written = b"".join(bytes(part) for row in rows for part in row.values()).lower()
    assert written
    assert b"canary" not in written


async def test_a_replay_from_the_start_changes_nothing(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n % 7}"}) for n in range(40)]
    conflict = message({**values[0], "text": "Other words."})
    noted = {"id": values[1]["id"], "workspace": "default", "decision": "duplicate", "reason": "seen before"}
    await world.send(*map(message, values), conflict, decision(noted | {"decided_at": "2026-11-23T09:29:59.000Z"}))
    await world.take()
    before = await world.rows("SELECT id, version, sequence FROM published.cases ORDER BY id")
    said = len(await world.outbox())
    await world.rows("UPDATE closer.position SET position = 0")
    async with world.running():
        await world.caught_up()
    assert await world.rows("SELECT id, version, sequence FROM published.cases ORDER BY id") == before
    assert len(await world.outbox()) == said
    assert await world.value("SELECT count(*) FROM closer.feedback") == 40
    decided = await world.rows("SELECT decision FROM closer.decision ORDER BY decision")
    assert [row["decision"] for row in decided] == ["conflict", "duplicate"]
    assert not await world.records("feedback.dead-letter")


async def test_a_position_that_another_member_moved_on_meanwhile_is_no_sign_of_a_new_log(world: World) -> None:
    """Between the question for the ends and the one for the positions a process may stand still for long."""
    await world.take(feedback())
    handler = world.handler()
    real = await world.log.reader()

    class StandingStill:
        moved = False

        async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
            bounds = await real.bounds(tp)
            if bounds[1] and not self.moved:  # the partition of the one customer here
                StandingStill.moved = True
                await world.take(feedback())
            return bounds

    handler._reader = StandingStill()  # type: ignore[assignment]
    partitions = [TopicPartition("feedback.routed.support", number) for number in range(6)]
    before = {tp: await real.bounds(tp) for tp in partitions}
    positions = await handler.assigned(dict.fromkeys(partitions, 0))
    after = {tp: (await real.bounds(tp))[1] for tp in partitions}
    assert positions == after, "on from where the other one left it"
    assert sum(after.values()) == sum(end for _, end in before.values()) + 1


async def test_more_feedback_joins_the_unfinished_case_and_the_most_pressing_priority_shows(world: World) -> None:
    first, second = feedback(), feedback(text="Still waiting!", priority="urgent")
    other_theme, other_team = feedback(theme="login", tags=["login"]), feedback(team="sales")
    await world.take(first, second, other_theme, other_team)
    case = await world.case(first["id"])
    assert (await world.case(second["id"]))["id"] == case["id"]
    assert case["priority"] == "urgent"
    assert await world.timeline(case["id"]) == ["opened", "joined"]
    assert len({(await world.case(value["id"]))["id"] for value in (first, other_theme, other_team)}) == 3
    assert await world.value("SELECT count(*) FROM published.notifications WHERE case_id = $1", case["id"]) == 1
    words = await world.value("SELECT words FROM published.timeline WHERE case_id = $1 AND what = 'joined'", case["id"])
    assert words == "Still waiting!"


async def test_without_a_customer_each_piece_of_feedback_is_a_case_of_its_own(world: World) -> None:
    values = [feedback(customer=None) for _ in range(3)]
    await world.take(*values)
    assert len({(await world.case(value["id"]))["id"] for value in values}) == 3
    withheld = await world.rows("SELECT status, reason FROM published.notifications")
    assert {(row["status"], row["reason"]) for row in withheld} == {("withheld", "no-address")}


async def test_a_customer_known_by_address_only_is_one_customer_in_any_case_of_letters(world: World) -> None:
    one, two = feedback(customer={"email": "Ann@Example.com"}), feedback(customer={"email": "ann@example.COM"})
    await world.take(one, two)
    assert (await world.case(one["id"]))["id"] == (await world.case(two["id"]))["id"]
    assert (await world.case(one["id"]))["customer"] == "ann@example.com"


async def test_after_a_case_is_finished_new_feedback_opens_another_that_is_linked(world: World) -> None:
    first, second = feedback(), feedback(text="It broke again.")
    await world.take(first)
    case = await world.case(first["id"])
    await world.rows("UPDATE closer.case SET state = 'confirmed' WHERE id = $1", case["id"])
    await world.take(second)
    again = await world.case(second["id"])
    assert again["id"] != case["id"]
    assert again["linked_to"] == case["id"]


async def test_praise_is_counted_and_owed_nothing(world: World) -> None:
    value = feedback(kind="praise", follow_up=False)
    await world.take(value)
    row = await world.one("SELECT case_id, kind, follow_up FROM published.feedback WHERE id = $1", value["id"])
    assert row == {"case_id": None, "kind": "praise", "follow_up": False}
    assert await world.value("SELECT count(*) FROM closer.case") == 0


async def test_imported_history_gets_a_case_without_mails_and_without_clocks(world: World) -> None:
    value = feedback(history=True)
    await world.take(value)
    case = await world.case(value["id"])
    assert case["history"]
    assert case["due_at"] is None
    assert await world.value("SELECT count(*) FROM published.clocks") == 0
    note = await world.one("SELECT status, reason FROM published.notifications")
    assert note == {"status": "withheld", "reason": "history"}
    assert await world.timeline(case["id"]) == ["opened", "notification.withheld"]


async def test_feedback_of_today_that_joins_imported_history_makes_it_a_case_that_is_owed_an_answer(
    world: World,
) -> None:
    """It had no clocks and sent no mails, ever: whoever wrote today was never heard of again."""
    imported = feedback(history=True, received_at="2024-03-01T10:00:00.000Z", text="Long ago.")
    today = feedback(text="And again!", priority="urgent")
    await world.take(imported)
    await world.take(today)
    case = await world.case(imported["id"])
    assert (await world.case(today["id"]))["id"] == case["id"]
    assert (case["history"], case["policy"]) == (False, "urgent")
    clocks = await world.rows("SELECT * FROM published.clocks WHERE case_id = $1 ORDER BY target", case["id"])
    assert [clock["target"] for clock in clocks] == ["acknowledge", "resolve", "tell_customer"]
    assert str(clocks[0]["wall_due"]) == "2026-11-23 10:29:58+00:00"  # an hour from when it was received
    assert case["due_at"] is not None
    note = await world.one("SELECT * FROM published.notifications")
    assert (note["kind"], note["status"], note["reason"]) == ("heard", "pending", "")
    assert str(note["feedback_id"]) == today["id"]
    assert await world.timeline(case["id"]) == ["opened", "notification.withheld", "joined"]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "one after the other"])
async def test_a_history_case_wakes_once_and_its_customer_is_owed_one_mail(world: World, at_once: bool) -> None:
    values = [feedback(history=True), feedback(text="One."), feedback(text="Two."), feedback(history=True)]
    if at_once:
        await world.take(*values)
    else:
        for value in values:
            await world.take(value)
    case = await world.case(values[0]["id"])
    assert not case["history"]
    assert await world.timeline(case["id"]) == ["opened", "notification.withheld", "joined", "joined", "joined"]
    assert [row["status"] for row in await world.rows("SELECT status FROM published.notifications")] == ["pending"]


async def test_history_that_joins_changes_nothing_but_joins(world: World) -> None:
    live, sleeping = feedback(), feedback(history=True, theme="login")
    await world.take(live, sleeping)
    before = [await world.case(live["id"]), await world.case(sleeping["id"])]
    await world.take(feedback(history=True), feedback(history=True, theme="login"))
    after = [await world.case(live["id"]), await world.case(sleeping["id"])]
    for was, is_now in zip(before, after, strict=True):
        same = ("state", "history", "due_at", "policy", "priority")
        assert [was[name] for name in same] == [is_now[name] for name in same]
        assert is_now["sequence"] == was["sequence"] + 1
    assert await world.value("SELECT count(*) FROM published.notifications") == 2


async def test_words_stand_at_the_event_that_they_came_with_though_a_deadline_is_said_first(world: World) -> None:
    first, second = feedback(), feedback(text="Still waiting!")
    await world.take(first)
    world.clock.advance(timedelta(days=30))
    await world.take(second)
    case = await world.case(first["id"])
    rows = await world.rows(
        "SELECT what, words FROM published.timeline WHERE case_id = $1 ORDER BY sequence", case["id"]
    )
    assert rows[1]["what"].startswith("clock.")
    assert [row["what"] for row in rows if row["words"]] == ["joined"]


async def test_a_watchers_copy_is_passed_over(world: World) -> None:
    value = feedback()
    copy: dict[str, Any] = {**value, "routing": {**value["routing"], "role": "watcher"}}
    await world.send(message(copy, topic="feedback.routed.product"), message(value))
    async with world.running():
        await world.caught_up()
    assert await world.value("SELECT count(*) FROM closer.feedback") == 1
    assert (await world.case(value["id"]))["team"] == "support"


@pytest.mark.parametrize(
    ("change", "why"),
    [({"text": "Other words"}, "body"), ({"customer": {"id": "c-2"}}, "customer")],
    ids=["another body", "another customer"],
)
async def test_the_same_id_with_something_else_is_a_conflict_and_the_first_stays(
    world: World, change: dict[str, Any], why: str
) -> None:
    value = feedback()
    await world.take(value)
    await world.take({**value, **change})
    stored = await world.one("SELECT text, customer FROM published.feedback")
    assert stored == {"text": "Where is my refund?", "customer": "c-1"}
    assert await world.value("SELECT count(*) FROM closer.case") == 1
    found = await world.one("SELECT decision, reason FROM published.decisions WHERE id = $1", value["id"])
    assert found["decision"] == "conflict"
    assert why in found["reason"]


async def test_what_the_router_decided_besides_is_kept(world: World) -> None:
    noted = {
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "decision": "duplicate",
        "of": "feedback.received/3/17",
        "reason": "The same delivery again.",
        "decided_at": "2026-11-23T09:30:00.000Z",
    }
    await world.send(decision(noted), decision(noted))
    async with world.running():
        await world.caught_up()
    rows = await world.rows("SELECT decision, of, reason FROM published.decisions WHERE id = $1", noted["id"])
    assert rows == [{k: noted[k] for k in ("decision", "of", "reason")}] * 2


# ── positions ──


async def test_the_stored_position_counts_and_not_what_the_log_has_committed(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n}"}) for n in range(10)]
    await world.take(*values[:5])
    # The log is told that all was read, as by a process whose database was then restored from a backup.
    await world.send(*(message(value) for value in values[5:]))

    class Nobody:
        async def assigned(self, positions: Any) -> Any:
            return positions

        async def revoked(self, partitions: Any) -> None: ...

    consumer = await world.log.consumer(GROUP, ["feedback.routed.support"], Nobody())
    for _ in range(20):
        await consumer.poll(100, 0.05)
    await consumer.commit(dict.fromkeys(consumer.assignment, 10**6))
    await consumer.close()
    async with world.running():
        await world.caught_up()
    assert await world.value("SELECT count(*) FROM closer.feedback") == 10


async def test_whoever_was_overtaken_writes_nothing(world: World) -> None:
    """The fence itself: the position has moved under a batch in hand."""
    value = feedback()
    tp = TopicPartition("feedback.routed.support", 0)
    handler = world.handler()
    handler._positions = {tp: 0}
    await world.rows("INSERT INTO closer.position VALUES ('embedded', $1, 0, 5)", tp.topic)
    sent = message(value)
    record = Record(tp.topic, 0, 0, 0, sent.key, sent.value, sent.headers)
    with pytest.raises(Fenced):
        await handler.handle([record])
    assert await world.value("SELECT count(*) FROM closer.feedback") == 0
    assert await world.value("SELECT position FROM closer.position") == 5


async def test_two_at_once_on_one_partition_have_each_effect_once(world: World) -> None:
    """A rebalance that one of them has not heard of: both believe the partition to be theirs."""
    topic = "feedback.routed.support"
    await world.rows("INSERT INTO closer.position VALUES ('embedded', $1, 0, 0)", topic)
    records = []
    for offset in range(100):
        sent = message(feedback(customer={"id": f"c-{offset % 9}"}))
        records.append(Record(topic, 0, offset, 0, sent.key, sent.value, sent.headers))
    fenced = 0

    async def work(handler: Handler, size: int) -> None:
        nonlocal fenced
        while True:
            async with world.transactions.begin() as driver:
                position = await driver.fetchval("SELECT position FROM closer.position WHERE topic = $1", topic)
            if position >= 100:
                return
            handler._positions = {TopicPartition(topic, 0): position}
            try:
                await handler.handle(records[position : position + size])
            except Fenced:
                fenced += 1

    await asyncio.gather(work(world.handler(), 7), work(world.handler(), 11))
    assert fenced > 0, "they never met: the test proves nothing"
    assert await world.value("SELECT count(*) FROM closer.feedback") == 100
    assert await world.value("SELECT count(*) FROM closer.case") == 9
    gaps = await world.value(
        "SELECT count(*) FROM (SELECT case_id, max(sequence) AS last, count(*) AS n FROM closer.timeline GROUP BY 1) t"
        " WHERE last <> n"
    )
    assert gaps == 0


async def test_two_members_share_the_work_and_one_that_dies_is_replaced(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n}"}) for n in range(300)]
    await world.send(*(message(value) for value in values[:150]))
    async with world.running(batch_records=10) as one, world.running(batch_records=10) as two:
        await world.caught_up()

        async def both() -> bool:
            return bool(one._positions) and bool(two._positions)

        await eventually(both, "both members to have partitions")
        await world.send(*(message(value) for value in values[150:225]))
        await world.caught_up()
    async with world.running(batch_records=10):
        await world.send(*(message(value) for value in values[225:]))
        await world.caught_up()
    assert await world.value("SELECT count(*) FROM closer.feedback") == 300
    assert await world.value("SELECT count(*) FROM closer.case") == 300


async def test_a_topic_made_anew_is_read_from_its_start(world: World) -> None:
    topic = "feedback.routed.support"
    await world.rows("INSERT INTO closer.position SELECT 'embedded', $1, p, 1000 FROM generate_series(0, 5) p", topic)
    value = feedback()
    await world.take(value)
    assert (await world.case(value["id"]))["state"] == "open"


async def test_a_team_that_comes_is_read_without_a_restart(world: World) -> None:
    from datetime import timedelta as days

    from shared.topics import Topic

    value = feedback(team="legal")
    async with world.running() as handler:
        await world.caught_up()
        await world.log.ensure_topics([Topic("feedback.routed.legal", days(days=30))])
        await handler.resubscribe()
        await world.send(message(value))
        await world.caught_up()
    assert (await world.case(value["id"]))["team"] == "legal"


def test_which_topics_are_the_closers() -> None:
    for topic, wanted in {
        "feedback.routed.support": True,
        "feedback.decisions": True,
        "acme.feedback.routed.sales": True,
        "acme.feedback.decisions": True,
        "feedback.feedback.decisions": True,
        "feedback.redrive": True,
        "acme.feedback.redrive": True,
        "feedback.received": False,
        "feedback.cases": False,
        "feedback.dead-letter": False,
        "other.topic": False,
    }.items():
        assert ours(topic) is wanted, topic


# ── poison ──


def _broken(**changes: Any) -> bytes:
    return json.dumps({**feedback(), **changes}).encode()


POISON = {
    "no JSON": (b"\xff\xfe not json", "not-json"),
    "a list": (b"[]", "violates-model"),
    "no routing": (json.dumps({k: v for k, v in feedback().items() if k != "routing"}).encode(), "violates-model"),
    "an unknown kind": (
        json.dumps({**feedback(), "routing": {**feedback()["routing"], "kind": "CANARY"}}).encode(),
        "violates-model",
    ),
    "a time without a zone": (_broken(received_at="2026-11-23T09:29:58"), "violates-model"),
    "an id that is none": (_broken(id="not-a-uuid"), "violates-model"),
    "NUL": (_broken(text="a\0b"), "unstorable"),
    "NUL in a name of attributes": (_broken(attributes={"a\0": 1}), "unstorable"),
    "half a surrogate pair": (_broken(attributes={"a": "\ud800"}), "not-json"),
    "another workspace's": (_broken(workspace="acme"), "wrong-workspace"),
    "nested without end": (
        _broken().replace(b'"source"', b'"deep":' + b"[" * 100_000 + b"]" * 100_000 + b',"source"'),
        "not-json",
    ),
}


@pytest.mark.parametrize("name", POISON)
async def test_poison_goes_to_the_dead_letters_with_its_bytes_and_stops_nobody(world: World, name: str) -> None:
    value, slug = POISON[name]
    good = [feedback(customer={"id": f"c-{n}"}) for n in range(4)]
    sent = [message(one) for one in good]
    sent.insert(2, Message("feedback.routed.support", b"key", value, sent[0].headers))
    await world.send(*sent)
    async with world.running():
        await world.caught_up()
    assert await world.value("SELECT count(*) FROM closer.feedback") == 4
    (letter,) = whole(await world.records("feedback.dead-letter"))
    assert (letter.service, letter.reason) == ("closer", slug)
    assert letter.value == value
    assert letter.original_topic == "feedback.routed.support"
    assert "CANARY" not in letter.detail


async def test_what_is_redriven_has_its_effect_once_and_no_subscriber_sees_it_again(world: World) -> None:
    value = feedback()
    sent = message(value)
    await world.send(sent._replace(value=b"not json"))
    async with world.running():
        await world.caught_up()
        (letter,) = whole(await world.records("feedback.dead-letter"))
        mended = redriven(replace(letter, value=sent.value))
        await world.send(mended, mended, mended._replace(headers=[*sent.headers, ("redrive_for", b"console")]))
        await world.caught_up()
    assert [event["what"] for event in await world.rows("SELECT what FROM published.timeline ORDER BY sequence")] == [
        "opened"
    ]
    assert await world.value("SELECT topic FROM published.feedback WHERE id = $1", value["id"]) == "feedback.redrive"
    (routed,) = await world.records(sent.topic)
    assert (routed.value, dict(routed.headers).get("redrive")) == (b"not json", None)


async def test_what_fails_again_is_buried_again_and_counts_up(world: World) -> None:
    await world.send(message(feedback())._replace(value=b"not json"))
    async with world.running():
        await world.caught_up()
        (letter,) = whole(await world.records("feedback.dead-letter"))
        await world.send(redriven(letter))
        await world.caught_up()
    letters = sorted(whole(await world.records("feedback.dead-letter")), key=lambda one: one.attempts)
    assert [(one.attempts, one.original_topic) for one in letters] == [
        (1, "feedback.routed.support"),
        (2, "feedback.redrive"),
    ]
    assert redriven(letters[1]).topic == "feedback.redrive"


async def test_what_only_the_database_refuses_is_found_in_a_batch_and_buried_alone(world: World) -> None:
    """Numbers beyond what a database's type holds: legal JSON, and no parser of ours objects. What else is poison in that batch is
    buried once, though the batch is begun again."""
    good = [feedback(customer={"id": f"c-{n}"}) for n in range(60)]
    bad = json.dumps(feedback(attributes={"n": 1})).encode().replace(b'{"n": 1}', b'{"n": 1' + b"0" * 140_000 + b"}")
    topic = "feedback.routed.support"
    sent = [message(one) for one in good]
    records = [Record(topic, 0, n, 0, m.key, m.value, m.headers) for n, m in enumerate(sent)]
    records[37] = records[37]._replace(value=bad)
    records[3] = records[3]._replace(value=b"not json")
    records[36] = records[36]._replace(value=b"no json either")
    await world.rows("INSERT INTO closer.position VALUES ('embedded', $1, 0, 0)", topic)
    handler = world.handler()
    handler._positions = {TopicPartition(topic, 0): 0}
    handler._producer = world.producer
    await handler.handle(records)
    assert await world.value("SELECT count(*) FROM closer.feedback") == 57
    assert await world.value("SELECT position FROM closer.position") == 60
    letters = {letter.id: letter.value for letter in whole(await world.records("feedback.dead-letter"))}
    assert letters == {f"{topic}/0/3": b"not json", f"{topic}/0/36": b"no json either", f"{topic}/0/37": bad}
    assert len(await world.records("feedback.dead-letter")) == 3, "what is tried again is not buried again"


async def test_a_dead_letter_that_cannot_be_written_stops_the_position(world: World) -> None:
    topic = "feedback.routed.support"
    await world.rows("INSERT INTO closer.position VALUES ('embedded', $1, 0, 0)", topic)
    handler = world.handler()
    handler._positions = {TopicPartition(topic, 0): 0}
    record = Record(topic, 0, 0, 0, b"k", b"not json", [("ce_type", b"feedback.routed")])

    class Refusing:
        """The log's own answers, at the moment when the dead letter is to be written."""

        def __init__(self, error: Exception) -> None:
            self.error = error

        async def append(self, messages: Any) -> None:
            raise self.error

        async def close(self) -> None: ...

    for error in (Transient("away"), Rejected("too large")):
        handler._producer = Refusing(error)
        with pytest.raises(type(error)):
            await handler.handle([record])
        assert await world.value("SELECT position FROM closer.position") == 0
    handler._producer = world.producer
    await handler.handle([record])
    assert await world.value("SELECT position FROM closer.position") == 1


def test_a_poison_record_is_told_without_what_somebody_wrote() -> None:
    for value, slug in POISON.values():
        record = Record("feedback.routed.support", 0, 0, 0, b"k", value, message(feedback()).headers)
        with pytest.raises(Poison) as caught:
            read(record)
        assert caught.value.slug == slug
        assert "CANARY" not in str(caught.value)


# ── the database goes away ──


async def test_while_the_database_cuts_connections_nothing_is_lost_doubled_or_buried(
    world: World, database_url: str
) -> None:
    values = [feedback(customer={"id": f"c-{n % 50}"}) for n in range(600)]
    await world.send(*(message(value) for value in values))
    cuts = 0
    async with world.running(batch_records=20):
        cutter = await asyncpg.connect(database_url)
        try:
            for _ in range(12):
                done = await cutter.fetchval("SELECT count(*) FROM closer.feedback")
                cuts += await cutter.fetchval(
                    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'flywheel-closer' AND state <> 'idle'"
                )
                if done >= 600:
                    break
                await asyncio.sleep(0.05)
        finally:
            await cutter.close()
        await world.caught_up()
    assert cuts > 0, "no connection was at work when we cut: the test proves nothing"
    assert await world.value("SELECT count(*) FROM closer.feedback") == 600
    assert await world.value("SELECT count(*) FROM closer.case") == 50
    heard = await world.value("SELECT count(*) FROM closer.timeline WHERE what IN ('opened', 'joined')")
    assert heard == 600
    assert await world.value("SELECT sum(sequence) FROM published.cases") == len(await world.outbox())
    assert await world.records("feedback.dead-letter") == []


async def test_two_pieces_of_one_key_opened_at_once_end_in_one_case(world: World) -> None:
    """Their insert and ours meet at the unique key; who comes second looks again and joins."""
    topic = "feedback.routed.support"
    await world.rows("INSERT INTO closer.position SELECT 'embedded', $1, p, 0 FROM generate_series(0, 1) p", topic)
    pairs = [(feedback(customer={"id": f"c-{n}"}), feedback(customer={"id": f"c-{n}"})) for n in range(30)]

    async def work(partition: int) -> None:
        handler = world.handler()
        handler._positions = {TopicPartition(topic, partition): 0}
        for offset, pair in enumerate(pairs):
            sent = message(pair[partition])
            await handler.handle([Record(topic, partition, offset, 0, sent.key, sent.value, sent.headers)])

    await asyncio.gather(work(0), work(1))
    assert await world.value("SELECT count(*) FROM closer.feedback") == 60
    assert await world.value("SELECT count(*) FROM closer.case") == 30


async def test_the_clock_starts_when_the_feedback_was_received(world: World) -> None:
    value = feedback(received_at="2026-11-23T08:00:00.000Z", priority="urgent")
    await world.take(value)
    case = await world.case(value["id"])
    due = await world.one(
        "SELECT wall_due FROM published.clocks WHERE case_id = $1 AND target = 'acknowledge'", case["id"]
    )
    assert due["wall_due"] == world.clock.now().replace(hour=9, minute=0)
    assert case["opened_at"] == world.clock.now()
    assert due["wall_due"] < case["opened_at"] - timedelta(minutes=1)
