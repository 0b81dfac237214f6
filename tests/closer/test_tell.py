"""Teams are told by webhook: each event once for whoever keeps ids, through refusals, silence, and a sender that dies."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from services.closer import metrics
from services.closer.addresses import Allowed
from services.closer.case import decide
from services.closer.commands import Acknowledge, Command, Reassign, Resolve
from services.closer.destinations import FIRST_S, TRIPS_AFTER
from services.closer.subscribers import read_subscribers
from services.closer.subscriptions import Way
from services.closer.subscriptions.webhook import Webhooks
from services.closer.tell import ABANDONED_AFTER, GIVE_UP_AFTER, KEPT, LEASE_S, SWEEP_S, Teller
from shared.config import STARTER, Config, config_of, read_dir
from shared.retry import WEBHOOK
from tests.closer.world import START, World, eventually, feedback, message
from tests.hook_server import HookServer, Posted, Reply

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
RETRY = replace(WEBHOOK, jitter=0.0)
MADE: list[Teller] = []
"""To be closed with the world that they were made for."""


def config(**hooks: str) -> Config:
    """Teams with that for `subscribe:`, of the three that the tests' topics are for."""
    teams = ["default_team: support", "teams:"]
    for team in ("support", "product", "sales"):
        teams += [f"  - name: {team}", f"    subscribe: [{hooks.get(team, '')}]"]
    return config_of({**read_dir(STARTER), "teams.yaml": "\n".join(teams)}, {"CLOSER_WEBHOOK_ALLOW": "127.0.0.1"})


def hook(url: str, events: str = "feedback.routed", secret: str = SECRET) -> str:
    return f'{{channel: webhook, url: "{url}", secret: "{secret}", events: [{events}]}}'


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with HookServer() as hooks:
        yield hooks


@pytest.fixture
async def world(database_url: str, hooks: HookServer) -> AsyncIterator[World]:
    """Support hears of its feedback."""
    async with World.open(database_url, config(support=hook(f"{hooks.url}/support"))) as world:
        yield world
        while MADE:
            await MADE.pop().close()


def opened(_channel: str) -> Way:
    return Webhooks(Allowed.read("127.0.0.1"))


async def teller(world: World) -> Teller:
    made = Teller(world.unit, opened, RETRY)
    MADE.append(made)
    await made.configure(read_subscribers(world.config))
    return made


async def once(teller: Teller) -> int:
    """Everything that is due and has room; how many sends."""
    claims = await teller.claim()
    await asyncio.gather(*(teller.tell(claim) for claim in claims))
    return len(claims)


async def all_of(teller: Teller) -> int:
    count = 0
    while done := await once(teller):
        count += done
    return count


async def act(world: World, feedback_id: str, command: Command) -> None:
    case = await world.case(feedback_id)
    async with world.unit.work() as (driver, effects):
        held = (await world.unit.cases.by_id(driver, [str(case["id"])]))[str(case["id"])]
        effects.record(held, decide(held.case, command, effects.now, "key-1"))


async def rows(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM published.deliveries ORDER BY created_at, id")


def data(posted: Posted) -> Any:
    return json.loads(posted.body)["data"]


# ── what is told, and to whom ──


async def test_what_is_routed_to_a_team_is_posted_signed_as_it_stands_on_the_topic(
    world: World, hooks: HookServer
) -> None:
    value = feedback(
        text="Wo ist mein Geld? 我的退款呢？", scores=[{"metric": "nps", "value": 2}], attributes={"x": [1, None]}
    )
    await world.take(value)
    assert await once(await teller(world)) == 1
    (posted,) = hooks.posted
    assert posted.path == "/support"
    said = json.loads(posted.body)
    assert (said["type"], said["data"]) == ("feedback.routed", value)
    assert said["timestamp"].endswith("Z")
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["traceparent"].startswith("00-" + "a" * 32)
    assert posted.headers["webhook-timestamp"] == str(int(START.timestamp()))
    found = await world.one("SELECT * FROM published.deliveries")
    assert (found["status"], found["attempts"], found["team"], found["event"]) == (
        "sent",
        1,
        "support",
        "feedback.routed",
    )
    assert (str(found["feedback_id"]), found["case_id"]) == (value["id"], None)
    assert "whsec_" not in str(found)


async def test_a_receiver_with_the_libraries_of_the_standard_takes_it_for_ours(world: World, hooks: HookServer) -> None:
    """And with either secret while one is changed for the other."""
    both = hook(hooks.url).replace(f'"{SECRET}"', f'["{SECRET}", "{OTHER}"]')
    world.config = config(support=both)
    world.clock.advance(timedelta(seconds=time.time() - START.timestamp()))  # the library goes by this machine's clock
    await world.take(feedback())
    await once(await teller(world))
    (posted,) = hooks.posted
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(posted.body, dict(posted.headers))["type"] == "feedback.routed"
    with pytest.raises(Exception, match="signature"):
        Webhook(SECRET).verify(posted.body + b" ", dict(posted.headers))


async def test_where_nobody_subscribes_nothing_is_written(world: World, hooks: HookServer) -> None:
    await world.take(feedback(team="sales", theme="x"), feedback(team="product"))
    assert await rows(world) == []
    world.config = config()
    await world.take(feedback())
    assert await rows(world) == []
    assert await once(await teller(world)) == 0


async def test_a_team_that_watches_is_given_its_own_copy_whichever_comes_first(world: World, hooks: HookServer) -> None:
    world.config = config(sales=hook(f"{hooks.url}/sales"), support=hook(f"{hooks.url}/support"))
    value = feedback(watchers=["sales"])
    copy = {**value, "routing": {**value["routing"], "role": "watcher"}}
    await world.send(message(copy, topic="feedback.routed.sales"))
    async with world.running():
        await world.caught_up()
    sender = await teller(world)
    assert await once(sender) == 0
    (waiting,) = await rows(world)
    assert (waiting["status"], waiting["reason"]) == ("pending", "what it is about is not here yet")
    await world.take(value)
    world.clock.advance(timedelta(seconds=6))
    assert await once(sender) == 2
    told = {posted.path: data(posted) for posted in hooks.posted}
    assert told == {"/sales": copy, "/support": value}
    assert len({posted.headers["webhook-id"] for posted in hooks.posted}) == 2


async def test_what_happens_to_a_case_is_told_where_it_is_asked_for_and_names_nobody(
    world: World, hooks: HookServer
) -> None:
    world.config = config(
        support=hook(f"{hooks.url}/support", "feedback.routed, case.changed"),
        sales=hook(f"{hooks.url}/sales", "case.changed"),
        product=hook(f"{hooks.url}/product"),
    )
    value = feedback(text="CANARY words", customer={"id": "CANARY-1", "email": "canary@example.com"})
    await world.take(value)
    await act(world, value["id"], Acknowledge())
    await act(world, value["id"], Reassign(team="sales"))
    await act(world, value["id"], Resolve("CANARY answer", "en"))
    await all_of(await teller(world))
    on_topic = {(one["case_id"], one["sequence"]): one for one in await world.outbox()}
    told: dict[str, list[Any]] = {"/support": [], "/sales": [], "/product": []}
    for posted in hooks.posted:
        if json.loads(posted.body)["type"] == "case.changed":
            told[posted.path].append(data(posted))
            assert b"canary" not in posted.body.lower()
    for said in told.values():
        assert all(on_topic[one["case_id"], one["sequence"]] == one for one in said)
    assert sorted(one["what"] for one in told["/support"]) == ["acknowledged", "opened", "reassigned"]
    assert sorted(one["what"] for one in told["/sales"]) == ["reassigned", "resolved"], (
        "whoever is given it hears that too"
    )
    assert told["/product"] == []


async def test_a_replay_from_the_start_tells_nobody_twice(world: World, hooks: HookServer) -> None:
    values = [feedback(customer={"id": f"c-{n}"}) for n in range(12)]
    await world.take(*values)
    sender = await teller(world)
    await all_of(sender)
    await world.rows("UPDATE closer.position SET position = 0")
    async with world.running():
        await world.caught_up()
    await all_of(sender)
    assert len(hooks.posted) == 12
    assert {data(posted)["id"] for posted in hooks.posted} == {value["id"] for value in values}


async def test_imported_history_is_told_to_nobody(world: World, hooks: HookServer) -> None:
    world.config = config(support=hook(hooks.url, "feedback.routed, case.changed"))
    await world.take(feedback(history=True))
    assert await rows(world) == []


async def test_what_was_erased_before_it_was_sent_is_not_sent(world: World, hooks: HookServer) -> None:
    await world.take(feedback())
    await world.rows("DELETE FROM closer.feedback")
    world.clock.advance(timedelta(hours=2))
    assert await once(await teller(world)) == 0
    (found,) = await rows(world)
    assert (found["status"], found["reason"]) == ("withheld", "what it is about is not kept any more")
    assert hooks.posted == []


# ── again, later, and no more ──


async def test_it_is_tried_again_by_the_published_schedule_under_one_id_and_then_given_up_loudly(
    world: World, hooks: HookServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.take(feedback())
    hooks.answer = lambda _: Reply(503, b"we are down")
    sender = await teller(world)
    counted = metrics.DELIVERIES.labels("webhook", "failed")
    before, start, tries = counted._value.get(), world.clock.now(), []
    while True:
        assert await once(sender) == 1
        tries.append((world.clock.now() - start).total_seconds())
        (found,) = await rows(world)
        assert found["reason"] == "answered 503"
        if found["status"] == "failed":
            break
        assert await once(sender) == 0
        world.clock.advance(found["due_at"] - world.clock.now())
    assert tries == [0, 5, 305, 2105, 9305, 27305, 63305, 99305]
    assert {posted.headers["webhook-id"] for posted in hooks.posted} == {hooks.posted[0].headers["webhook-id"]}
    assert {posted.body for posted in hooks.posted} == {hooks.posted[0].body}
    assert len({posted.headers["webhook-timestamp"] for posted in hooks.posted}) == 8, "each try is signed anew"
    assert len({posted.headers["webhook-signature"] for posted in hooks.posted}) == 8
    assert (found["attempts"], found["due_at"]) == (8, None)
    assert counted._value.get() == before + 1
    assert "delivery.failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "status", "reason", "due_s"),
    [
        (Reply(204), "sent", "", None),
        (Reply(299), "sent", "", None),
        (Reply(429, headers={"Retry-After": "77"}), "pending", "answered 429", 77),
        (Reply(503, headers={"Retry-After": "1"}), "pending", "answered 503", 5),
        (Reply(400), "pending", "answered 400", 5),
        (Reply(401), "pending", "answered 401", 5),
        (Reply(404), "pending", "answered 404", 5),
        (Reply(500), "pending", "answered 500", 5),
        (Reply(301, headers={"Location": "http://169.254.169.254/"}), "pending", "redirects are not followed", 5),
        (Reply(410), "failed", "nobody is there any more", None),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else None,
)
async def test_what_an_answer_means(
    world: World, hooks: HookServer, answer: Reply, status: str, reason: str, due_s: float | None
) -> None:
    await world.take(feedback())
    hooks.answers = [answer]
    await once(await teller(world))
    (found,) = await rows(world)
    assert found["status"] == status
    assert reason in found["reason"]
    assert (found["due_at"] - world.clock.now()).total_seconds() == due_s if due_s else found["due_at"] is None
    assert len(hooks.posted) == 1


async def test_a_sender_that_died_before_it_could_record_leaves_it_to_be_sent_again_under_the_same_id(
    world: World, hooks: HookServer
) -> None:
    await world.take(feedback())
    dead = await teller(world)
    (claim,) = await dead.claim()
    await dead._send(claim)  # … and here the process is killed
    other = await teller(world)
    assert await once(other) == 0
    world.clock.advance(timedelta(seconds=LEASE_S))
    assert await once(other) == 1
    first, second = hooks.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    (found,) = await rows(world)
    assert (found["status"], found["attempts"]) == ("sent", 2)


async def test_a_sender_that_was_stopped_too_long_records_nothing_over_the_one_that_took_over(
    world: World, hooks: HookServer
) -> None:
    await world.take(feedback())
    slow, other = await teller(world), await teller(world)
    (claim,) = await slow.claim()
    world.clock.advance(timedelta(seconds=LEASE_S))
    assert await once(other) == 1
    hooks.answer = lambda _: Reply(500)
    await slow.tell(claim)
    (found,) = await rows(world)
    assert found["status"] == "sent"


async def test_several_senders_send_each_event_once(world: World, hooks: HookServer) -> None:
    values = [feedback(customer={"id": f"c-{n}"}) for n in range(40)]
    await world.take(*values)
    counts = await asyncio.gather(*[all_of(await teller(world)) for _ in range(3)])
    assert sum(counts) == 40
    assert sorted(data(posted)["id"] for posted in hooks.posted) == sorted(value["id"] for value in values)


# ── one destination and the others ──


async def test_a_destination_that_does_not_answer_keeps_nobody_waiting_but_itself(
    world: World, hooks: HookServer
) -> None:
    with HookServer() as stuck:
        stuck.gate = threading.Event()
        world.config = config(support=f"{hook(stuck.url)}, {hook(hooks.url)}")
        await world.take(*(feedback(customer={"id": f"c-{n}"}) for n in range(30)))
        sender = await teller(world)
        task = asyncio.create_task(sender.run())
        await asyncio.to_thread(hooks.wait_for, 30)
        assert len(stuck.posted) <= Webhooks.at_once
        stuck.gate.set()
        await asyncio.to_thread(stuck.wait_for, 30)
        await sender.drain()
        await task
    assert {row["status"] for row in await rows(world)} == {"sent"}


async def test_a_destination_that_is_down_is_tried_seldom_and_loses_nothing(world: World, hooks: HookServer) -> None:
    await world.take(*(feedback(customer={"id": f"c-{n}"}) for n in range(30)))
    hooks.answer = lambda _: Reply(500)
    sender = await teller(world)
    await all_of(sender)
    failed = len(hooks.posted)
    assert TRIPS_AFTER <= failed <= TRIPS_AFTER + Webhooks.at_once, "then it is left alone"
    world.clock.advance(timedelta(seconds=FIRST_S))
    assert await all_of(sender) == 1, "and tried with one"
    hooks.answer = lambda _: Reply()
    world.clock.advance(timedelta(seconds=2 * FIRST_S))
    assert await all_of(sender) > 20
    world.clock.advance(timedelta(minutes=6))
    await all_of(sender)
    assert {row["status"] for row in await rows(world)} == {"sent"}
    untried = [row for row in await rows(world) if row["attempts"] == 1]
    assert len(untried) >= 30 - failed - 1, "what waited has used up no try"


# ── what nobody comes for ──


async def sweep(world: World, sender: Teller) -> None:
    world.clock.advance(timedelta(seconds=SWEEP_S))
    await sender._turn()
    await asyncio.gather(*sender._sending)
    sender._sending.clear()


async def test_nothing_waits_for_ever(world: World, hooks: HookServer) -> None:
    await world.take(feedback())
    hooks.answer = lambda _: Reply(500)
    sender = await teller(world)
    await once(sender)
    world.clock.advance(GIVE_UP_AFTER)
    await sweep(world, sender)
    (found,) = await rows(world)
    assert (found["status"], found["reason"], found["due_at"]) == ("failed", "gave up: answered 500", None)
    assert len(hooks.posted) == 1


async def test_what_waits_for_a_subscription_that_is_gone_is_withheld_but_not_at_once(
    world: World, hooks: HookServer
) -> None:
    await world.take(feedback())
    world.config = config()
    sender = await teller(world)
    await sweep(world, sender)
    assert [row["status"] for row in await rows(world)] == ["pending"], "another process may know it already"
    world.clock.advance(ABANDONED_AFTER)
    await sweep(world, sender)
    (found,) = await rows(world)
    assert (found["status"], found["reason"]) == ("withheld", "nobody subscribes there any more")


async def test_what_was_settled_long_ago_is_forgotten(world: World, hooks: HookServer) -> None:
    await world.take(feedback())
    sender = await teller(world)
    await once(sender)
    world.clock.advance(KEPT - timedelta(days=1))
    await sweep(world, sender)
    assert len(await rows(world)) == 1
    world.clock.advance(timedelta(days=2))
    await sweep(world, sender)
    assert await rows(world) == []


# ── running ──


async def test_a_subscription_that_comes_and_goes_is_taken_up_while_it_runs(world: World, hooks: HookServer) -> None:
    world.config = config()
    sender = await teller(world)
    task = asyncio.create_task(sender.run())
    world.config = config(support=hook(hooks.url))
    await sender.configure(read_subscribers(world.config))
    await world.take(feedback())
    await asyncio.to_thread(hooks.wait_for, 1)

    async def recorded() -> bool:
        return [row["status"] for row in await rows(world)] == ["sent"]

    await eventually(recorded, "the delivery to be recorded")
    await sender.drain()
    await task


# ── for some customers alone ──


async def test_a_subscription_for_some_accounts_tiers_or_kinds_hears_of_nothing_else(
    world: World, hooks: HookServer
) -> None:
    """Its events and its cases, and the watcher's copy: by the account, or by the tier that is known of it."""
    everything = hook(f"{hooks.url}/all", "feedback.routed, case.changed").removesuffix("}")
    entries = [
        f"{everything}, name: acme, accounts: [acme]}}",
        f"{everything}, name: enterprise, tiers: enterprise}}".replace("/all", "/tier"),
        f"{everything}, name: bugs, kinds: [bug]}}".replace("/all", "/kind"),
    ]
    world.config = config(support=", ".join(entries).replace("/all", "/acme"))
    await world.rows(
        "INSERT INTO closer.account (workspace, id, name, tier, outcome_reached, created_at, updated_at)"
        " VALUES ('default', 'vast', 'Vast', 'enterprise', false, now(), now())"
    )
    acme = feedback(customer={"id": "c-1", "account_id": "acme"})
    vast = feedback(customer={"id": "c-2", "account_id": "vast"})
    bug = feedback(kind="bug", customer={"id": "c-3"})
    other = feedback(customer={"id": "c-4"})
    watched = feedback(team="sales", customer={"id": "c-5", "account_id": "vast"})
    copy = {**watched, "routing": {**watched["routing"], "role": "watcher", "watchers": ["support"]}}
    await world.send(*(message(value) for value in (acme, vast, bug, other, watched)))
    await world.send(message(copy, topic="feedback.routed.support"))
    async with world.running():
        await world.caught_up()
    await all_of(await teller(world))

    async def told(path: str) -> tuple[set[str], set[str]]:
        """Feedback, and the feedback that opened the cases of which something was told."""
        about = [data(posted) for posted in hooks.posted if posted.path == path]
        cases = [one["case_id"] for one in about if "case_id" in one]
        opened_by = await world.rows(
            "SELECT first_feedback_id::text FROM closer.case WHERE id = ANY($1::uuid[])", cases
        )
        return {one["id"] for one in about if "id" in one}, {row["first_feedback_id"] for row in opened_by}

    assert await told("/acme") == ({acme["id"]}, {acme["id"]})
    assert await told("/tier") == ({vast["id"], watched["id"]}, {vast["id"]})
    assert await told("/kind") == ({bug["id"]}, {bug["id"]})
