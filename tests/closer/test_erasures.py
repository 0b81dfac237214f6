"""A customer is erased: nothing of theirs is in any table, what was counted is counted still, and nothing comes back."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.channels.email import FileChannel
from services.closer.check import check
from services.closer.forgetting import forgotten, query_without
from services.closer.news import News
from services.closer.search import Indexer
from shared.events.identity import Pseudonyms
from shared.people import Person
from shared.sessions import Audit, SavedView, SavedViews
from tests.canary import tables_with
from tests.closer.served import Served, served
from tests.closer.test_deliver import deliverer, once
from tests.closer.test_page import routed_back, token_of
from tests.closer.world import SECRET, START, World, decision, eventually, feedback

CANARY = "Zyxwv-Qanary"
ADDRESS = "Qanary.Zyxwv@example.com"
WHO = {"id": "c-zyxwv-1", "email": ADDRESS, "name": CANARY, "locale": "en", "role": "zyxwv buyer", "account_id": "acme"}
"""Every member of hers holds one of `TRACES`, but for the company's."""
TRACES = ("zyxwv", "qanary")


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as site:
        site.key = await site.new_key("admin", name="dpo")
        yield site


def hers(**changes: Any) -> dict[str, Any]:
    """Something that she said."""
    return feedback(
        **{
            "text": f"Where is my refund? I am {CANARY}.",
            "title": f"{CANARY} asks",
            "customer": WHO,
            "external_id": f"zyxwv-{uuid.uuid4()}",
            "url": "https://example.com/zyxwv",
            "attributes": {"signed": CANARY},
            "scores": [{"metric": "nps", "value": 3}],
            "reasons": [{"code": "rule.matched", "text": f"It says {CANARY}.", "words": [CANARY]}],
            **changes,
        }
    )


async def erase(site: Served, **body: Any) -> dict[str, Any]:
    answer = await site.post("/v1/erasures", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def found_in(world: World, traces: Iterable[str] = TRACES) -> dict[str, int]:
    async with world.database.engine.connect() as connection:
        return await tables_with((await connection.get_raw_connection()).driver_connection, traces)


async def lived(site: Served) -> dict[str, Any]:
    """A customer of whom everything there is has something: two cases, answers, mails, notes, deeds, thanks, an unsubscribe."""
    world, mails = site.world, FileChannel(site.runtime.settings.data_dir / "mail", "feedback@example.com")
    asked, again = hers(), hers(text=f"{CANARY} again")
    praise = hers(kind="praise", follow_up=False, received_at="2026-11-23T09:30:00.000Z")
    await world.take(asked, again)
    case = str((await world.case(asked["id"]))["id"])
    await site.post(f"/v1/cases/{case}/assign", {"to": "li@example.com"})
    await site.post(f"/v1/cases/{case}/note", {"text": f"I have called {CANARY}."})
    answer = await site.post(f"/v1/cases/{case}/resolve", {"answer": f"Dear {CANARY}, we refunded you."})
    assert answer.status_code == 200, answer.text
    sender = deliverer(world, mails)
    assert await once(sender) == 2
    words = {"solved": "yes", "words": f"Thank you. {CANARY}"}
    assert (await site.http.post(f"/loop/{token_of(case)}", data=words)).status_code == 200
    await routed_back(site)
    # A second case, whose mail is refused in words that repeat the address, and that is open still.
    other = hers(theme="login", text=f"{CANARY} cannot log in")
    await world.take(other, praise)
    open_case = str((await world.case(other["id"]))["id"])
    refused = f"the mail server answered 450 <{ADDRESS}> is away"
    await world.rows("UPDATE closer.notification SET reason = $2 WHERE case_id = $1", uuid.UUID(open_case), refused)
    await world.rows(
        "INSERT INTO closer.attempt (case_id, kind, generation, number, token, started_at, outcome, detail)"
        " VALUES ($1, 'heard', 1, 1, gen_random_uuid(), now(), 'retry', $2)",
        uuid.UUID(open_case),
        refused,
    )
    deed: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "decision": "activity.noted",
        "reason": "kept",
    }
    deed |= {"decided_at": "2026-11-23T09:29:59.000Z", "customer": WHO, "activity": "login", "source": "shop"}
    await world.send(decision(deed | {"attributes": {"as": CANARY}}))
    async with world.running():
        await world.caught_up()
    # Another of her answers, which is not on the log yet.
    assert (await site.http.post(f"/loop/{token_of(case)}", data={"solved": "no", "words": CANARY})).status_code == 200
    assert (await site.http.post(f"/loop/{token_of(open_case)}/unsubscribe")).status_code == 200
    person = Person("li@example.com", "lead")
    await Audit(world.database, world.clock).record(
        "default", person, "exported", "cases.csv", "team=support&customer=c-zyxwv-1&q=qanary.zyxwv%40example.com"
    )
    views = SavedViews(world.database, world.clock)
    await views.save("default", person.email, SavedView("hers (Zyxwv)", "customer=c-zyxwv-1"))
    await views.save("default", person.email, SavedView("mine", "team=support"))
    await Indexer(world.transactions).index()
    return {"case": case, "open": open_case, "asked": asked, "praise": praise, "deed": deed}


async def test_no_table_holds_anything_of_her(site: Served) -> None:
    """By every table of the migrated database, so that one that is made one day and forgets her is found here."""
    world = site.world
    await lived(site)
    before = await found_in(world)
    assert {
        "closer.activity",
        "closer.attempt",
        'closer."case"',
        "closer.feedback",
        "closer.notification",
        "closer.search",
        "closer.timeline",
        "closer.unsubscribed",
        "shared.audit",
        "shared.outbox",
        "shared.saved_view",
    } <= before.keys()
    mails = site.runtime.settings.data_dir / "mail"
    assert len(list(mails.glob("*.eml"))) == 2

    done = await erase(site, customer="c-zyxwv-1")
    while await Indexer(world.transactions).index():
        pass
    assert await found_in(world) == {}
    assert list(mails.glob("*.eml")) == []
    assert done["names"] == ["c-zyxwv-1", ADDRESS.lower()]
    assert done["removed"] == {
        "customers": 1,
        "feedback": 5,
        "cases": 2,
        "cases_ended": 1,
        "timeline": done["removed"]["timeline"],
        "mails": 3,
        "activity": 1,
        "thanks": 1,
        "unsubscribed": 2,
        "deliveries": 0,
        "unsent": 1,
        "asked": 2,
    }
    assert done["removed"]["timeline"] >= 5
    assert done["topics"]["feedback.received"] == "2026-11-30T09:30:00.000Z"
    assert done["topics"]["feedback.dead-letter"] == done["topics"]["feedback.routed.support"]
    assert "feedback.cases" not in done["topics"]
    assert [row["name"] for row in await world.rows("SELECT name FROM shared.saved_view")] == ["mine"]


async def test_what_was_counted_is_counted_still(site: Served) -> None:
    world = site.world
    had = await lived(site)
    await world.take(feedback(customer={"id": "c-2", "email": "bo@example.com"}))
    ids = (
        "SELECT id, received_at, case_id, scores, tags, kind, sentiment_label, team FROM published.feedback ORDER BY id"
    )
    clocks = "SELECT * FROM published.clocks WHERE case_id = $1 ORDER BY target, generation"
    customers = "SELECT count(DISTINCT customer) FROM published.feedback"
    before = [await world.rows(ids), await world.value(customers), await world.rows(clocks, uuid.UUID(had["case"]))]
    settled = await world.rows("SELECT * FROM closer.settled ORDER BY case_id, target, clock")
    accounts = "SELECT count(*) FROM published.feedback WHERE account_id = 'acme'"
    assert await world.value(accounts) == 5

    done = await erase(site, customer="c-zyxwv-1")
    assert [
        await world.rows(ids),
        await world.value(customers),
        await world.rows(clocks, uuid.UUID(had["case"])),
    ] == before
    assert await world.rows("SELECT * FROM closer.settled ORDER BY case_id, target, clock") == settled
    assert await world.value(accounts) == 5, "a company is nobody's person"
    case = await world.one("SELECT * FROM published.cases WHERE id = $1", uuid.UUID(had["case"]))
    assert (case["state"], case["customer"], case["answer"]) == ("confirmed", done["subject"], None)
    assert await world.value("SELECT text FROM published.feedback WHERE customer = 'c-2'") == "Where is my refund?"


async def test_an_open_case_ends_without_a_promise_and_nothing_is_sent(site: Served) -> None:
    world = site.world
    had = await lived(site)
    await erase(site, customer="c-zyxwv-1")
    case = (await site.get(f"/v1/cases/{had['open']}")).json()
    assert (case["state"], case["untold"], case["answer"], case["due_at"]) == ("declined", "erased", None, None)
    assert [(step["what"], step["actor"]) for step in case["timeline"]][-1] == ("erased", "dpo")
    assert {(one["met_at"], one["business_met"], one["wall_met"], one["open"]) for one in case["clocks"]} == {
        (None, None, None, False)
    }
    told = [one for one in await world.outbox() if one["what"] == "erased"]
    assert {(one["case_id"], one["state"]) for one in told} == {(had["open"], "declined"), (had["case"], "confirmed")}
    sent = FileChannel(site.runtime.settings.data_dir / "mail", "feedback@example.com")
    world.clock.advance(timedelta(days=40))
    assert await world.timers.fire_due() == 0
    assert await once(deliverer(world, sent)) == 0
    assert not list((site.runtime.settings.data_dir / "mail").glob("*.eml"))
    waiting = "SELECT count(*) FROM closer.notification WHERE due_at IS NOT NULL"
    assert await world.value(waiting) == 0
    for token in (token_of(had["case"]), token_of(had["open"])):
        assert (await site.http.get(f"/loop/{token}")).status_code == 404
        assert (await site.http.post(f"/loop/{token}", data={"solved": "no"})).status_code == 404
    assert await world.value("SELECT count(*) FROM closer.case WHERE unfinished") == 0
    # A colleague may still open it again; nobody is told.
    assert (await site.post(f"/v1/cases/{had['open']}/reopen", {})).status_code == 200
    answer = await site.post(f"/v1/cases/{had['open']}/resolve", {"answer": "Done all the same."})
    assert (answer.json()["state"], answer.json()["untold"]) == ("resolved", "erased")


async def test_what_is_sent_again_or_comes_late_does_not_bring_her_back(site: Served) -> None:
    world = site.world
    had = await lived(site)
    await erase(site, customer="c-zyxwv-1")
    while await Indexer(world.transactions).index():
        pass
    world.clock.advance(timedelta(hours=1))
    after = "2026-11-23T10:00:00.000Z"
    await world.take(
        had["asked"],  # the same delivery again
        {**had["asked"], "received_at": after, "text": f"{CANARY}, in other words"},
        hers(),  # was on its way
        hers(received_at=after, occurred_at="2026-11-20T10:00:00Z"),  # a file, or another tool, has it still
        hers(received_at=after, history=True),  # a file that does not say when
        hers(received_at="2026-11-23T09:20:00.000Z", customer={"email": ADDRESS.upper()}),  # without the id
    )
    watched = hers(role="watcher")
    deed = {**had["deed"], "id": str(uuid.uuid4())}
    await world.send(decision(deed))
    await world.take(watched)
    while await Indexer(world.transactions).index():
        pass
    assert await found_in(world) == {}
    assert await world.value("SELECT count(*) FROM closer.feedback") == 5
    assert await world.value("SELECT count(*) FROM closer.case") == 2
    decided = await world.rows("SELECT decision, reason FROM published.decisions WHERE decision <> 'activity.noted'")
    assert [row["decision"] for row in decided] == ["erased"] * 4
    assert await world.value("SELECT count(*) FROM closer.activity") == 0


async def test_what_she_says_afterwards_is_of_somebody_new(site: Served) -> None:
    world = site.world
    had = await lived(site)
    await erase(site, customer="c-zyxwv-1")
    world.clock.advance(timedelta(hours=1))
    new = hers(received_at="2026-11-23T10:00:00.000Z")
    await world.take(new)
    case = await world.case(new["id"])
    assert (case["state"], case["customer"], case["linked_to"]) == ("open", "c-zyxwv-1", None)
    assert str(case["id"]) not in (had["case"], had["open"])
    assert await once(deliverer(world, FileChannel(site.runtime.settings.data_dir, "feedback@example.com"))) == 1
    again = await erase(site, customer="c-zyxwv-1")
    assert (again["removed"]["feedback"], again["removed"]["cases"], again["removed"]["cases_ended"]) == (1, 1, 1)


async def test_the_same_again_removes_nothing_and_a_dry_run_removes_nothing_either(site: Served) -> None:
    world = site.world
    await lived(site)
    before = await found_in(world)
    rehearsed = await erase(site, customer="c-zyxwv-1", dry_run=True)
    assert (rehearsed["dry_run"], rehearsed["erased_at"]) == (True, None)
    assert await found_in(world) == before
    assert await world.value("SELECT count(*) FROM closer.erased") == 0
    assert len(list((site.runtime.settings.data_dir / "mail").glob("*.eml"))) == 2

    done = await erase(site, customer="c-zyxwv-1")
    assert done["removed"] == rehearsed["removed"]
    again = await erase(site, customer="c-zyxwv-1")
    assert set(again["removed"].values()) == {0}
    assert again["subject"] == done["subject"]
    nobody = await erase(site, customer="nobody")
    assert set(nobody["removed"].values()) == {0}


async def test_the_trail_says_who_asked_and_what_went_and_not_whose_it_was(site: Served) -> None:
    world = site.world
    await lived(site)
    done = await erase(site, customer="c-zyxwv-1")
    line = await world.one("SELECT * FROM published.audit WHERE action = 'customer.erased'")
    assert (line["person"], line["role"], line["object"], line["at"]) == ("dpo", "admin", done["subject"], START)
    assert "feedback: 5, cases: 2" in line["detail"]


async def test_whoever_keeps_copies_is_told_by_the_key_of_their_records(site: Served) -> None:
    world = site.world
    await lived(site)
    await erase(site, customer="c-zyxwv-1")
    rows = await world.rows("SELECT topic, key, value FROM shared.outbox WHERE topic = 'feedback.erasures' ORDER BY id")
    names = ("c-zyxwv-1", ADDRESS.lower())
    keys = [Pseudonyms(SECRET).key("default", name) for name in names]
    assert [row["key"] for row in rows] == keys
    assert json.loads(rows[0]["value"]) == {
        "customer": keys[0].decode(),
        "workspace": "default",
        "at": "2026-11-23T09:30:00.000Z",
    }


async def test_by_an_address_everybody_goes_who_wrote_from_it_and_by_an_id_nobody_else(site: Served) -> None:
    world = site.world
    shared = "office@example.com"
    one, two = ({"id": f"c-{n}", "email": shared} for n in (1, 2))
    await world.take(
        *(feedback(customer=one | more, theme=theme) for theme, more in (("a", {}), ("b", {"email": "a@example.com"}))),
        feedback(customer=two),
        feedback(customer={"email": "Office@Example.com"}),
        feedback(customer={"id": "c-3", "email": "c@example.com"}),
    )
    done = await erase(site, customer="c-1", dry_run=True)
    assert (done["names"], done["removed"]["feedback"]) == (["a@example.com", "c-1", shared], 3)
    done = await erase(site, email=" Office@example.com".strip())
    assert (done["names"], done["removed"]["feedback"]) == (["a@example.com", "c-1", "c-2", shared], 4)
    left = await world.rows("SELECT customer FROM closer.feedback WHERE customer NOT LIKE 'erased-%'")
    assert [row["customer"] for row in left] == ["c-3"]
    # An id that was never heard of, from the address that was erased, about then.
    late = feedback(customer={"id": "c-9", "email": shared})
    await world.take(late)
    assert await world.value("SELECT count(*) FROM closer.feedback WHERE id = $1", uuid.UUID(late["id"])) == 0


async def test_a_case_that_is_another_customers_too_goes_on_for_them(site: Served) -> None:
    world = site.world
    hers_, bos = hers(), feedback(customer={"id": "c-2", "email": "bo@example.com"}, text="Bo's words")
    await world.take(hers_, bos)
    case, merged = str((await world.case(hers_["id"]))["id"]), str((await world.case(bos["id"]))["id"])
    assert (await site.post(f"/v1/cases/{merged}/merge", {"into": case})).status_code == 200
    done = await erase(site, customer="c-zyxwv-1")
    assert (done["removed"]["cases"], done["removed"]["cases_ended"]) == (1, 0)
    assert (await site.get(f"/v1/cases/{case}")).json()["state"] == "open"
    answer = await site.post(f"/v1/cases/{case}/resolve", {"answer": "Refunded, both."})
    assert answer.json()["untold"] == "erased"
    mails = await world.rows("SELECT case_id::text, status, reason FROM closer.notification WHERE kind = 'answered'")
    assert {row["case_id"]: (row["status"], row["reason"]) for row in mails} == {
        case: ("withheld", "erased"),
        merged: ("pending", ""),
    }
    assert await found_in(world, ["qanary"]) == {}


async def test_her_words_on_anothers_case_go_too(site: Served) -> None:
    world = site.world
    hers_, bos = hers(), feedback(customer={"id": "c-2", "email": "bo@example.com"}, text="Bo's words")
    await world.take(hers_, bos)
    mine, case = str((await world.case(hers_["id"]))["id"]), str((await world.case(bos["id"]))["id"])
    await site.post(f"/v1/cases/{mine}/merge", {"into": case})
    assert (await site.post(f"/v1/cases/{case}/resolve", {"answer": "Refunded, both."})).status_code == 200
    said = {"solved": "no", "words": f"Not at all. {CANARY}"}
    assert (await site.http.post(f"/loop/{token_of(mine)}", data=said)).status_code == 200
    await routed_back(site)
    assert (await site.get(f"/v1/cases/{case}")).json()["state"] == "reopened"
    await erase(site, customer="c-zyxwv-1")
    while await Indexer(world.transactions).index():
        pass
    assert await found_in(world) == {}
    whole = (await site.get(f"/v1/cases/{case}")).json()
    assert (whole["state"], whole["customer"]) == ("reopened", "c-2")
    assert "Bo's words" in [one["text"] for one in whole["feedback"]]


async def test_nothing_is_learnt_of_what_was_erased(site: Served) -> None:
    world = site.world
    said = hers()
    await world.take(said)
    await erase(site, customer="c-zyxwv-1")
    assert (await site.post(f"/v1/feedback/{said['id']}/correction", {"kind": "bug"})).status_code == 404
    assert await world.outbox("feedback.corrections") == []


async def test_only_who_may_do_everything_may_erase(site: Served) -> None:
    for scope in ("cases:write", "feedback:write"):
        headers = site.headers(await site.new_key(scope))
        answer = await site.http.post("/v1/erasures", json={"customer": "c-1"}, headers=headers)
        assert answer.status_code == 403
    for body in ({}, {"customer": ""}, {"email": "nobody"}, {"customer": "c-1", "dry_run": "yes"}, {"who": "c-1"}):
        assert (await site.post("/v1/erasures", body)).status_code == 422
    world = site.world
    await world.rows("INSERT INTO shared.workspace (name) VALUES ('acme')")
    await world.take(hers())
    headers = site.headers(await site.new_key("admin", workspace="acme"))
    answer = await site.http.post("/v1/erasures", json={"customer": "c-zyxwv-1"}, headers=headers)
    assert (answer.status_code, answer.json()["removed"]["feedback"]) == (200, 0)


async def test_what_is_being_sent_at_that_moment_is_recorded_without_the_address(site: Served) -> None:
    world = site.world
    await world.take(hers())
    channel = FileChannel(site.runtime.settings.data_dir / "mail", "feedback@example.com")
    sender = deliverer(world, channel)
    (claim,) = await sender.claim(10)
    await erase(site, customer="c-zyxwv-1")
    await sender.deliver(claim)
    assert not list((site.runtime.settings.data_dir / "mail").glob("*.eml"))
    assert await found_in(world) == {}
    assert await world.value("SELECT status FROM closer.notification") == "sent"


async def test_an_event_that_is_taken_while_somebody_is_erased_does_not_slip_through(site: Served) -> None:
    """The batch in hand ends before the erasure, or begins after it."""
    world = site.world
    values = [hers(theme=f"t-{n}") for n in range(60)]

    async def feed() -> None:
        for value in values:
            await world.take(value)

    feeding = asyncio.create_task(feed())
    for _ in range(5):
        await erase(site, customer="c-zyxwv-1")
        await asyncio.sleep(0)
    await feeding
    while await Indexer(world.transactions).index():
        pass
    assert await found_in(world) == {}


async def test_a_batch_in_hand_ends_before_the_erasure_which_then_finds_what_it_wrote(site: Served) -> None:
    world = site.world
    await world.take(hers())
    another = "jsonb_populate_record(f, jsonb_build_object('id', gen_random_uuid()))"
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'closer.position'::regclass"

    async def waits() -> bool:
        return bool(await world.value(waiting))

    async with world.transactions.begin() as driver:
        await driver.execute("UPDATE closer.position SET position = position")  # as every batch does first
        erasing = asyncio.create_task(erase(site, customer="c-zyxwv-1"))
        await eventually(waits, "the erasure to wait")
        await driver.execute(f"INSERT INTO closer.feedback SELECT ({another}).* FROM closer.feedback f")
    assert (await erasing)["removed"]["feedback"] == 2
    while await Indexer(world.transactions).index():
        pass
    assert await found_in(world) == {}


# ── what stays ──


def test_of_a_value_only_what_is_named_stays() -> None:
    value = hers(
        reasons=[
            {"code": "emotion.words", "text": "It sounds angry: zyxwv.", "emotion": "anger", "words": ["zyxwv"]},
            {"code": "urgency", "text": "zyxwv", "urgency": [{"cause": "refund", "words": ["zyxwv"]}]},
            {"code": "rule.matched", "text": "zyxwv"},
        ]
    )
    kept = forgotten(value | {"a_member_of_tomorrow": "zyxwv"}, {"c-zyxwv-1"})
    assert not any(trace in json.dumps(kept).lower() for trace in TRACES)
    assert kept["customer"] == {"account_id": "acme"}
    assert [(one.get("emotion"), one.get("urgency")) for one in kept["routing"]["reasons"]] == [
        ("anger", None),
        (None, [{"cause": "refund", "words": []}]),
    ]
    assert {name: kept[name] for name in ("id", "received_at", "scores")} == {
        name: value[name] for name in ("id", "received_at", "scores")
    }
    assert "customer" not in forgotten(hers(customer={"id": "c-1", "account_id": "C-1"}), {"c-1"})


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("team=support&customer=C-1", "team=support&customer=%E2%80%A6"),
        ("customer=c-10", "customer=c-10"),
        ("q=what+Ann%40Example.com+said", "q=%E2%80%A6"),
        ("q=a&team=c-1", "q=a&team=c-1"),
        ("", ""),
    ],
)
def test_a_query_is_left_as_it_was_but_for_the_names(query: str, left: str) -> None:
    assert query_without(query, {"c-1", "a", "ann@example.com"}) == left


async def test_an_initiative_goes_on_without_her_and_news_of_her_issue_reaches_nobody(site: Served) -> None:
    world = site.world
    issue = {"source": "jira", "attributes": {"work_id": "JIRA-7"}}
    asked, others = hers(**issue), feedback(customer={"id": "c-2", "email": "bo@example.com"}, **issue)
    await world.take(asked, others)
    case, other = [str((await world.case(one["id"]))["id"]) for one in (asked, others)]
    body = {"title": "Refunds", "cases": [case, other], "work": [{"source": "jira", "work_id": "JIRA-7"}]}
    begun = await site.post("/v1/initiatives", body)
    assert (begun.status_code, begun.json()["waiting"]) == (200, 2)
    await erase(site, customer="c-zyxwv-1")
    assert await found_in(world) == {}
    noted: dict[str, Any] = {"workspace": "default", "decision": "work.noted", "reason": "ended"}
    noted |= {"id": str(uuid.uuid4()), "type": "work.shipped", "decided_at": "2026-11-23T09:29:59.000Z"}
    noted["feedback_ids"] = [asked["id"]]
    await world.send(decision(noted | {"source": "jira", "work_id": "JIRA-7"}))
    async with world.running():
        await world.caught_up()
    in_force = check(world.config)
    assert await News(world.unit, lambda: in_force).settle()
    whats = [(await site.get(f"/v1/cases/{one}")).json()["timeline"][-1]["what"] for one in (case, other)]
    assert whats == ["erased", "work.shipped"]
    url = f"/v1/initiatives/{begun.json()['id']}"
    assert (await site.get(url)).json()["waiting"] == 1
    assert (await site.post(f"{url}/ship", {"answer": "Refunds are quick now."})).status_code == 200
    mails = site.runtime.settings.data_dir / "mail"
    await once(deliverer(world, FileChannel(mails, "feedback@example.com")))
    sent = [path.read_text() for path in mails.glob("*.eml")]
    assert len(sent) == 2
    assert all("bo@example.com" in mail for mail in sent), "that we heard him, and the answer"
    assert await found_in(world) == {}
