"""A customer is told once: through retries, refusals, lost answers, and a sender that dies at any moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.case import decide
from services.closer.channels import Channel, Outgoing, Unknown
from services.closer.channels.email import FileChannel, SmtpChannel, read_smtp_url
from services.closer.commands import Decline, Reopen, Resolve
from services.closer.deliver import LEASE_S, Claim, Deliverer, Result
from services.closer.links import read_token
from services.closer.settings import CloserSettings
from shared.errors import Rejected, Transient
from shared.links import Links
from shared.retry import RetryPolicy
from tests.closer.world import SECRET, World, eventually, feedback
from tests.mailbox import Mailbox

FROM = "Feedback team <feedback@example.com>"
SETTINGS = CloserSettings(FROM, "hold", 500, 4)
RETRY = RetryPolicy((60, 300), jitter=0)


@dataclass
class Sink:
    """The far side of a channel, as it may be: it keeps what it was given, and answers as told."""

    name: str = "email"
    repeatable: bool = False
    answers: list[Exception | None] = field(default_factory=list)
    got: list[Outgoing] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None

    async def send(self, message: Outgoing) -> str:
        self.got.append(message)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return f"provider-{len(self.got)}"

    async def forget(self, identity: str) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


def deliverer(world: World, channel: Channel, **changes: Any) -> Deliverer:
    return Deliverer(
        world.unit,
        {"email": channel},
        Links(SECRET),
        "https://feedback.example.com",
        replace(SETTINGS, **changes),
        RETRY,
    )


async def once(sender: Deliverer) -> int:
    claims = await sender.claim(10)
    for claim in claims:
        await sender.deliver(claim)
    return len(claims)


async def note(world: World, kind: str = "heard") -> dict[str, Any]:
    return await world.one("SELECT * FROM published.notifications WHERE kind = $1", kind)


async def act(world: World, feedback_id: str, command: Any) -> None:
    case = await world.case(feedback_id)
    async with world.unit.work() as (driver, effects):
        held = (await world.unit.cases.by_id(driver, [str(case["id"])]))[str(case["id"])]
        effects.record(held, decide(held.case, command, effects.now, "li"))


async def test_the_acknowledgement_goes_out_once_and_says_so_before_and_after(world: World) -> None:
    value = feedback()
    await world.take(value)
    sink = Sink()
    sender = deliverer(world, sink)
    assert await once(sender) == 1
    assert await once(sender) == 0
    found = await note(world)
    assert (found["status"], found["attempts"], found["provider_id"]) == ("sent", 1, "provider-1")
    case = await world.case(value["id"])
    assert await world.timeline(case["id"]) == ["opened", "notification.sending", "notification.sent"]
    assert case["state"] == "open"
    (mail,) = sink.got
    assert mail.to == "ann@example.com"
    assert "Where is my refund?" in mail.text


async def test_the_answer_makes_the_case_notified_in_the_transaction_that_records_it(world: World) -> None:
    value = feedback(language="zh", text="我的退款在哪里？")
    await world.take(value)
    await act(world, value["id"], Resolve("已经退款。", "zh"))
    sink = Sink()
    await once(deliverer(world, sink))
    case = await world.case(value["id"])
    assert case["state"] == "notified"
    assert case["told_at"] is not None
    answer = next(mail for mail in sink.got if "/answered/" in mail.id)
    assert answer.language == "zh"
    assert "已经退款。" in answer.text
    link = next(word for word in answer.text.split() if "/loop/" in word)
    token = link.partition("/loop/")[2].partition("?")[0]
    read = read_token(Links(SECRET), token)
    assert read is not None
    assert (read.workspace, read.case_id) == ("default", str(case["id"]))


async def test_that_we_heard_is_not_said_after_the_answer(world: World) -> None:
    """The first try failed; by the second the answer was out, and "we have your feedback" would be taken for news."""
    value = feedback()
    await world.take(value)
    sink = Sink(answers=[Transient("busy")])
    sender = deliverer(world, sink)
    await once(sender)
    await act(world, value["id"], Resolve("Done.", "en"))
    await once(sender)
    assert (await world.case(value["id"]))["state"] == "notified"
    sink.got.clear()
    world.clock.advance(timedelta(minutes=2))
    assert await once(sender) == 0
    found = await note(world)
    assert (found["status"], found["reason"], sink.got) == ("withheld", "superseded", [])


async def test_that_we_heard_is_said_while_the_answer_is_still_on_its_way(world: World) -> None:
    value = feedback()
    await world.take(value)
    await act(world, value["id"], Resolve("Done.", "en"))
    sink = Sink()
    assert await once(deliverer(world, sink)) == 2
    assert (await note(world))["status"] == "sent"


async def test_who_cannot_be_reached_stays_untold_with_the_reason(world: World) -> None:
    value = feedback(customer={"id": "c-9"})
    await world.take(value)
    await act(world, value["id"], Decline("Not possible.", "en"))
    case = await world.case(value["id"])
    assert (case["state"], case["untold"]) == ("declined", "no-address")
    assert (await note(world, "declined"))["status"] == "withheld"


# ── what a channel may say ──


async def test_a_transient_failure_is_tried_again_with_the_same_id_after_its_wait(world: World) -> None:
    await world.take(feedback())
    sink = Sink(answers=[Transient("busy"), Transient("busy", retry_after=400)])
    sender = deliverer(world, sink)
    assert await once(sender) == 1
    found = await note(world)
    assert (found["status"], found["reason"], found["attempts"]) == ("pending", "busy", 1)
    assert found["due_at"] == world.clock.now() + timedelta(seconds=60)
    assert await once(sender) == 0
    world.clock.advance(timedelta(seconds=60))
    assert await once(sender) == 1
    assert (await note(world))["due_at"] == world.clock.now() + timedelta(seconds=400)
    world.clock.advance(timedelta(seconds=400))
    assert await once(sender) == 1
    assert (await note(world))["status"] == "sent"
    assert len({mail.id for mail in sink.got}) == 1
    case_id = (await note(world))["case_id"]
    assert (await world.timeline(case_id)).count("notification.sending") == 1
    outcomes = await world.rows("SELECT outcome FROM closer.attempt ORDER BY number")
    assert [row["outcome"] for row in outcomes] == ["retry", "retry", "sent"]


@pytest.mark.parametrize(
    ("answers", "status", "untold", "tries"),
    [
        ([Rejected("no such user")], "failed", "rejected", 1),
        ([Transient("busy")] * 3, "failed", "gave-up", 3),
        ([Unknown("no answer after the dot")], "unknown", "unknown-outcome", 1),
    ],
    ids=["refused for good", "retried to the end", "nobody knows"],
)
async def test_what_ends_a_message_untold(
    world: World, answers: list[Exception], status: str, untold: str, tries: int
) -> None:
    value = feedback()
    await world.take(value)
    sink = Sink()
    sender = deliverer(world, sink)
    await once(sender)  # the acknowledgement
    await act(world, value["id"], Resolve("Done.", "en"))
    sink.answers = list(answers)
    sink.got.clear()
    for _ in range(6):
        await once(sender)
        world.clock.advance(timedelta(hours=1))
    assert len(sink.got) == tries
    found = await note(world, "answered")
    assert (found["status"], found["due_at"]) == (status, None)
    case = await world.case(value["id"])
    assert (case["state"], case["untold"]) == ("resolved", untold)


async def test_the_operator_may_choose_a_second_mail_over_a_missed_one(world: World) -> None:
    await world.take(feedback())
    sink = Sink(answers=[Unknown("no answer")])
    sender = deliverer(world, sink, on_unknown="resend")
    await once(sender)
    assert (await note(world))["status"] == "pending"
    world.clock.advance(timedelta(minutes=2))
    await once(sender)
    assert (await note(world))["status"] == "sent"
    assert [mail.id for mail in sink.got] == [sink.got[0].id] * 2


# ── a sender that dies ──


async def test_a_sender_that_died_between_sending_and_recording_leaves_an_unknown_and_no_second_mail(
    world: World,
) -> None:
    """The mail is out, the record is not: nobody can know, so nobody sends again, and it is listed."""
    await world.take(feedback())
    sink = Sink()
    (claim,) = await deliverer(world, sink).claim(1)
    await sink.send(claim.outgoing)  # … and here the process is killed
    other = deliverer(world, sink)
    assert await once(other) == 0
    world.clock.advance(timedelta(seconds=LEASE_S))
    assert await once(other) == 0
    found = await note(world)
    assert (found["status"], found["reason"]) == ("unknown", "unknown-outcome")
    assert len(sink.got) == 1
    attempt = await world.one("SELECT outcome, ended_at FROM closer.attempt")
    assert attempt["outcome"] == "unknown"
    assert attempt["ended_at"] is not None


async def test_a_channel_that_leaves_one_message_however_often_it_sends_is_tried_again(
    world: World, tmp_path: Path
) -> None:
    await world.take(feedback())
    channel = FileChannel(tmp_path, FROM)
    (claim,) = await deliverer(world, channel).claim(1)
    await channel.send(claim.outgoing)
    world.clock.advance(timedelta(seconds=LEASE_S))
    assert await once(deliverer(world, channel)) == 1
    found = await note(world)
    assert (found["status"], found["channel"], found["attempts"]) == ("sent", "file", 2)
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_sender_that_was_stopped_too_long_may_record_no_failure_but_what_it_knows_to_be_sent(
    world: World,
) -> None:
    """A zombie: its claim ran out, and another listed the message as unknown. That it was sent is known after all."""
    await world.take(feedback())
    slow, sink = deliverer(world, Sink()), Sink()
    (claim,) = await slow.claim(1)
    world.clock.advance(timedelta(seconds=LEASE_S))
    await once(deliverer(world, sink))
    before = await note(world)
    assert before["status"] == "unknown"
    for late in (Result("retry", "busy"), Result("failed", "no such user"), Result("unknown", "no answer")):
        await slow.record([(claim, late)])
        assert await note(world) == before
    await slow.record([(claim, Result("sent", provider_id="late"))])
    after = await note(world)
    assert (after["status"], after["reason"], after["provider_id"]) == ("sent", "", "late")


async def test_what_is_in_hand_is_not_taken_for_lost_however_long_its_lease_is_over(world: World) -> None:
    """The mail was sent, and the database was away for longer than the lease: this process knows better than the row."""
    await world.take(feedback())
    sink = Sink(gate=asyncio.Event())
    sender = deliverer(world, sink, on_unknown="resend")
    (claim,) = await sender.claim(1)
    task = asyncio.create_task(sender.deliver(claim))
    await sink.entered.wait()
    world.clock.advance(timedelta(seconds=2 * LEASE_S))
    assert await sender.claim(10) == []
    assert sink.gate is not None
    sink.gate.set()
    await task
    assert (await note(world))["status"] == "sent"
    assert len(sink.got) == 1


async def test_while_the_database_is_away_the_outcome_is_kept_until_it_can_be_recorded(world: World) -> None:
    await world.take(feedback())
    sink = Sink(gate=asyncio.Event())
    sender = deliverer(world, sink)
    (claim,) = await sender.claim(1)
    task = asyncio.create_task(sender.deliver(claim))
    await sink.entered.wait()
    recorded = sender.record
    refused = 0

    async def away(done: Sequence[tuple[Claim, Result]]) -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise Transient("the database: connection lost")
        await recorded(done)

    sender.record = away  # type: ignore[method-assign]
    assert sink.gate is not None
    sink.gate.set()
    await task
    assert refused == 2
    assert (await note(world))["status"] == "sent"
    assert len(sink.got) == 1


async def test_what_was_sent_while_another_record_was_written_is_recorded_together(world: World) -> None:
    await world.take(*(feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(6)))
    sender = deliverer(world, Sink())
    claims = await sender.claim(6)
    recorded, going_on, sizes = sender.record, asyncio.Event(), []

    async def first_stands_still(done: Sequence[tuple[Claim, Result]]) -> None:
        sizes.append(len(done))
        if len(sizes) == 1:
            await going_on.wait()
        await recorded(done)

    sender.record = first_stands_still  # type: ignore[method-assign]
    first = asyncio.create_task(sender.deliver(claims[0]))
    while not sizes:
        await asyncio.sleep(0)
    others = [asyncio.create_task(sender.deliver(claim)) for claim in claims[1:]]
    while len(sender._done) < len(others):
        await asyncio.sleep(0)
    going_on.set()
    await asyncio.gather(first, *others)
    assert sizes == [1, 5]
    found = await world.rows("SELECT status, attempts FROM published.notifications")
    assert [(row["status"], row["attempts"]) for row in found] == [("sent", 1)] * 6
    assert await world.rows("SELECT 1 FROM closer.attempt WHERE outcome IS DISTINCT FROM 'sent'") == []


async def test_several_senders_send_each_message_once(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(60)]
    await world.take(*values)
    sink = Sink()

    async def work() -> int:
        sender, sent = deliverer(world, sink), 0
        while count := await once(sender):
            sent += count
        return sent

    counts = await asyncio.gather(*(work() for _ in range(3)))
    assert sum(counts) == 60
    assert len({mail.id for mail in sink.got}) == len(sink.got) == 60


# ── what changed between owing and sending ──


async def test_an_answer_that_was_overtaken_by_a_reopening_is_not_sent(world: World) -> None:
    value = feedback()
    await world.take(value)
    await act(world, value["id"], Resolve("Done.", "en"))
    await act(world, value["id"], Reopen())
    sink = Sink()
    await once(deliverer(world, sink))
    assert ["answered" in mail.id for mail in sink.got] == [False]
    found = await note(world, "answered")
    assert (found["status"], found["reason"]) == ("withheld", "superseded")


@pytest.mark.parametrize("name", ["c-1", "ann@example.com"], ids=["the customer's", "the address's"])
async def test_an_unsubscribe_stops_what_was_already_owed(world: World, name: str) -> None:
    value = feedback()
    await world.take(value)
    case = await world.case(value["id"])
    await world.rows("INSERT INTO closer.unsubscribed VALUES ('default', $2, $1, now())", case["id"], name)
    sink = Sink()
    await once(deliverer(world, sink))
    assert sink.got == []
    found = await note(world)
    assert (found["status"], found["reason"]) == ("withheld", "unsubscribed")


# ── running, with a real mail server ──


async def test_the_running_sender_tells_many_through_a_real_server_and_stops_when_drained(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(25)]
    await world.take(*values)
    with Mailbox() as box:
        sender = deliverer(world, SmtpChannel(read_smtp_url(box.url), FROM))
        task = asyncio.create_task(sender.run())

        async def all_sent() -> bool:
            return bool(await world.value("SELECT count(*) = 25 FROM closer.notification WHERE status = 'sent'"))

        await eventually(all_sent, "all mails to be sent")
        await sender.drain()
        await task
        mails = box.all()
    assert len(mails) == 25
    assert len({mail["Message-ID"] for mail in mails}) == 25
    assert {mail["traceparent"][:2] for mail in mails} == {"00"}


async def test_a_kill_in_the_midst_leaves_no_second_mail_with_any_customer(world: World) -> None:
    """Senders are cancelled at arbitrary moments, as by a kill; the server never sees a message id twice."""
    values = [feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(120)]
    await world.take(*values)
    with Mailbox() as box:
        for round_ in range(12):
            sender = deliverer(world, SmtpChannel(read_smtp_url(box.url), FROM))
            task = asyncio.create_task(sender.run())
            await asyncio.sleep(0.02 + 0.015 * round_)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            world.clock.advance(timedelta(seconds=LEASE_S + 1))
        sender = deliverer(world, SmtpChannel(read_smtp_url(box.url), FROM))
        while await once(sender) or await world.value(
            "SELECT count(*) FROM closer.notification WHERE due_at IS NOT NULL"
        ):
            world.clock.advance(timedelta(seconds=LEASE_S + 1))
        ids = [mail["Message-ID"] for mail in box.all()]
    assert len(ids) == len(set(ids))
    rows = await world.rows("SELECT status, count(*) AS n FROM closer.notification GROUP BY 1")
    counts = {row["status"]: row["n"] for row in rows}
    assert set(counts) <= {"sent", "unknown"}
    assert counts["sent"] + counts.get("unknown", 0) == 120
    assert len(ids) >= counts["sent"]
    assert counts.get("unknown", 0) <= 12 * SETTINGS.deliveries
