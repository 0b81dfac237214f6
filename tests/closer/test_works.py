"""Work that has ended in its own tool: who waits for it hears of it, and customers only by an answer that was prepared for them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.closer.check import check
from services.closer.news import LOOK_FIRST, LOOKED_FOR, PUT_OFF, News
from services.closer.works import CASES_A_LOOK
from shared.errors import Transient
from tests.closer.served import served
from tests.closer.test_initiatives import ANSWER, begun, changed, one, shipped
from tests.closer.test_two_customers import ANN, WEI, Desk
from tests.closer.world import World, config_with, decision, feedback

JIRA_7 = [{"source": "jira", "work_id": "JIRA-7"}]
ON_JIRA_7 = {"source": "jira", "attributes": {"work_id": "JIRA-7"}}
HOOKS = """
default_team: support
teams:
  - {name: product}
  - {name: support, subscribe: [{channel: webhook, url: "https://hooks.example.com/x", secret: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", events: [case.changed]}]}
  - {name: sales}
"""


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    config = config_with(tmp_path, teams=HOOKS)
    async with World.open(database_url, config) as world, served(world, database_url, tmp_path) as api:
        yield Desk(api)


def ended(kind: str = "shipped", work_id: str = "JIRA-7", minute: int = 0, **changes: Any) -> dict[str, Any]:
    """What the router notes of it."""
    value = {
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "decision": "work.noted",
        "of": None,
        "reason": "Work that feedback is linked to has ended.",
        "decided_at": "2026-11-23T09:29:59.000Z",
        "type": f"work.{kind}",
        "source": "jira",
        "work_id": work_id,
        "note": "refactored ThemeProvider, thx bob",
        "received_at": "2026-11-23T09:29:58.500Z",
        "occurred_at": f"2026-11-23T09:{minute:02d}:00Z",
    }
    return value | changes


async def heard(desk: Desk, *works: Mapping[str, Any]) -> None:
    world = desk.api.world
    await world.send(*map(decision, works))
    async with world.running():
        await world.caught_up()
    await settled(desk)


async def settled(desk: Desk) -> None:
    found = check(desk.api.world.config)
    news = News(desk.api.world.unit, lambda: found)
    while await news.settle():
        pass


async def steps(desk: Desk, case: str) -> list[str]:
    return [step["what"] for step in (await desk.case(case))["timeline"]]


async def outcomes(desk: Desk) -> list[str | None]:
    rows = await desk.api.world.rows("SELECT outcome FROM published.news ORDER BY at, id")
    return [row["outcome"] for row in rows]


async def done(desk: Desk, initiative: str) -> list[tuple[str, str, str]]:
    return [(step["what"], step["actor"], step["reason"]) for step in (await one(desk, initiative))["steps"][2:]]


async def test_an_initiative_with_its_answer_is_shipped_and_every_customer_told_once(desk: Desk) -> None:
    ann, again = await desk.opened(ANN, "Dark?"), await desk.opened(ANN, "Too bright.", theme="looks")
    wei = await desk.opened(WEI, "深色")
    initiative = await begun(desk, ann, again, wei, work=JIRA_7, **ANSWER)
    await desk.mails()
    await heard(desk, ended())
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn"}
    assert all("Settings → Looks" in text and "ThemeProvider" not in text for text in mails.values())
    assert await done(desk, initiative) == [("work.shipped", "jira", "JIRA-7"), ("shipped", "jira", "3")]
    (step,) = [step for step in (await desk.case(ann))["timeline"] if step["what"] == "work.shipped"]
    assert (step["actor"], step["reason"]) == ("jira", "JIRA-7 was shipped in jira")
    assert step["data"] == {"source": "jira", "work_id": "JIRA-7"}
    assert (await desk.case(wei))["state"] == "notified"
    assert await outcomes(desk) == ["answered"]


async def test_without_an_answer_it_is_a_persons_turn_and_no_customer_reads_what_engineers_write(desk: Desk) -> None:
    ann, wei = await desk.opened(ANN, "Dark?"), await desk.opened(WEI, "深色")
    initiative = await begun(desk, ann, wei, work=JIRA_7)
    await desk.mails()
    await heard(desk, ended())
    assert await desk.mails() == {}
    found = await one(desk, initiative)
    assert (found["shipped_upstream"], found["waiting"], found["shipped_at"]) == (True, 2, None)
    assert found["work"] == [JIRA_7[0] | {"upstream": "shipped"}]
    waiting = (await desk.api.get("/v1/initiatives", state="shipped_upstream")).json()["items"]
    assert [row["id"] for row in waiting] == [initiative]
    assert await done(desk, initiative) == [("work.shipped", "jira", "JIRA-7")]
    assert [await steps(desk, case) for case in (ann, wei)] == [["opened", *_HEARD, "work.shipped"]] * 2
    assert "ThemeProvider" not in str(await desk.api.world.rows("SELECT * FROM published.timeline"))
    # Prepared now, it waits for whoever prepared it to press the button.
    assert await changed(desk, initiative, **ANSWER) == 200
    desk.api.world.clock.advance(LOOKED_FOR)
    await settled(desk)
    assert await desk.mails() == {}
    await shipped(desk, initiative, None)
    assert set(await desk.mails()) == {"ann@example.com", "wei@example.cn"}


_HEARD = ("notification.sending", "notification.sent")


async def test_the_teams_hear_of_it_as_of_every_step(desk: Desk) -> None:
    await begun(desk, await desk.opened(ANN, "Dark?"), await desk.opened(WEI, "深色"), work=JIRA_7)
    await heard(desk, ended())
    rows = await desk.api.world.rows("SELECT team, convert_from(body, 'UTF8') AS body FROM closer.delivery")
    told = [row for row in rows if '"what":"work.shipped"' in row["body"]]
    assert [row["team"] for row in told] == ["support"] * 2
    assert all("JIRA-7 was shipped in jira" in row["body"] for row in told)


async def test_a_case_of_what_was_said_on_the_issue_stays_with_its_person(desk: Desk) -> None:
    ann, other = await desk.opened(ANN, "Dark?", **ON_JIRA_7), await desk.opened(WEI, "深色", source="jira")
    named = await desk.opened({"id": "c-9", "email": "nine@example.com"}, "Dark!")
    first = str((await desk.case(named))["first_feedback_id"])
    await desk.mails()
    await heard(desk, ended("declined", feedback_ids=[first, "no id of ours", str(uuid.uuid4())]))
    assert await desk.mails() == {}
    for case, has in ((ann, True), (named, True), (other, False)):
        assert ("work.declined" in await steps(desk, case), (await desk.case(case))["state"]) == (has, "open")
    assert await outcomes(desk) == ["told"]


async def test_declined_work_answers_nobody_even_where_an_answer_is_prepared(desk: Desk) -> None:
    ann = await desk.opened(ANN, "Dark?")
    initiative = await begun(desk, ann, work=JIRA_7, **ANSWER)
    await desk.mails()
    await heard(desk, ended("declined"))
    assert (await desk.mails(), (await desk.case(ann))["state"]) == ({}, "open")
    assert await done(desk, initiative) == [("work.declined", "jira", "JIRA-7")]


async def test_it_is_shipped_when_the_last_of_its_work_is(desk: Desk) -> None:
    work = [*JIRA_7, {"source": "gitlab", "work_id": "acme/app#12"}]
    initiative = await begun(desk, await desk.opened(ANN, "Dark?"), work=work, **ANSWER)
    await desk.mails()
    await heard(desk, ended())
    assert (await desk.mails(), (await one(desk, initiative))["shipped_upstream"]) == ({}, False)
    await heard(desk, ended(work_id="acme/app#12"))
    assert await desk.mails() == {}, "another source's"
    await heard(desk, ended(work_id="acme/app#12", source="gitlab", minute=1))
    assert set(await desk.mails()) == {"ann@example.com"}


async def test_shipped_again_after_it_was_reopened_tells_nobody_twice(desk: Desk) -> None:
    ann = await desk.opened(ANN, "Dark?")
    initiative = await begun(desk, ann, work=JIRA_7, **ANSWER)
    await desk.mails()
    await heard(desk, ended(minute=1))
    assert set(await desk.mails()) == {"ann@example.com"}
    await heard(desk, ended(minute=2))
    assert await desk.mails() == {}
    assert [what for what, *_ in await done(desk, initiative)] == ["work.shipped", "shipped", "work.shipped"]
    assert ((await steps(desk, ann)).count("work.shipped"), (await desk.case(ann))["state"]) == (2, "notified")


async def test_the_last_word_by_the_tools_own_time_decides(desk: Desk) -> None:
    """Declined since, although that is heard of first."""
    initiative = await begun(desk, await desk.opened(ANN, "Dark?"), work=JIRA_7, **ANSWER)
    await desk.mails()
    await heard(desk, ended("declined", minute=2), ended(minute=1))
    assert await desk.mails() == {}
    assert (await one(desk, initiative))["work"][0]["upstream"] == "declined"


async def test_one_event_has_its_effect_once_whoever_looks(desk: Desk) -> None:
    ann, work = await desk.opened(ANN, "Dark?", **ON_JIRA_7), ended()
    initiative = await begun(desk, ann, work=JIRA_7, **ANSWER)
    await desk.mails()
    await desk.api.world.send(decision(work), decision(work))
    async with desk.api.world.running():
        await desk.api.world.caught_up()
    await asyncio.gather(*(settled(desk) for _ in range(4)))
    desk.api.world.clock.advance(LOOK_FIRST)
    await heard(desk, work)
    assert set(await desk.mails()) == {"ann@example.com"}
    assert [what for what, *_ in await done(desk, initiative)] == ["work.shipped", "shipped"]
    assert (await steps(desk, ann)).count("work.shipped") == 1


async def test_feedback_that_comes_after_the_news_of_its_work_hears_of_it(desk: Desk) -> None:
    first = await desk.opened(ANN, "Dark?", **ON_JIRA_7)
    await heard(desk, ended())
    late = await desk.opened(WEI, "深色", **ON_JIRA_7)
    desk.api.world.clock.advance(LOOK_FIRST)
    await settled(desk)
    assert [(await steps(desk, case)).count("work.shipped") for case in (first, late)] == [1, 1]
    desk.api.world.clock.advance(LOOKED_FOR)
    await settled(desk)
    too_late = await desk.opened({"id": "c-9"}, "Dark!", **ON_JIRA_7)
    desk.api.world.clock.advance(LOOKED_FOR)
    await settled(desk)
    assert "work.shipped" not in await steps(desk, too_late)


async def test_of_work_that_nobody_waits_for_nothing_comes(desk: Desk) -> None:
    await heard(desk, ended())
    for _ in range(2):  # the first look is never the last one
        assert await outcomes(desk) == [None]
        desk.api.world.clock.advance(LOOKED_FOR)
        await settled(desk)
    assert await outcomes(desk) == ["nothing"]
    # But who names it afterwards sees that it is there, and sends nothing by that alone.
    initiative = await begun(desk, await desk.opened(ANN, "Dark?"), work=JIRA_7, **ANSWER)
    await desk.mails()
    assert (await one(desk, initiative))["shipped_upstream"] is True
    await settled(desk)
    assert await desk.mails() == {}


async def test_a_case_that_has_ended_hears_of_it_and_stays_as_it_is(desk: Desk) -> None:
    ann = await desk.opened(ANN, "Dark?", **ON_JIRA_7)
    await desk.do(ann, "decline", answer="Not now.")
    await desk.mails()
    await heard(desk, ended())
    assert ((await steps(desk, ann))[-1], (await desk.case(ann))["state"]) == ("work.shipped", "notified")
    assert await desk.mails() == {}


async def test_one_work_may_stand_for_several_initiatives(desk: Desk) -> None:
    ann, wei = await desk.opened(ANN, "Dark?"), await desk.opened(WEI, "深色")
    both = [await begun(desk, ann, work=JIRA_7, **ANSWER), await begun(desk, wei, ann, work=JIRA_7, **ANSWER)]
    await desk.mails()
    await heard(desk, ended())
    assert set(await desk.mails()) == {"ann@example.com", "wei@example.cn"}
    assert sorted([(await done(desk, one_of))[-1][2] for one_of in both]) in (["1", "1"], ["0", "2"])


async def test_what_a_rule_holds_back_is_held_until_its_initiative_is_shipped(desk: Desk) -> None:
    hold = {"until": "2026-11-24T09:00:00.000Z", "because": "planned maintenance"}
    value = feedback(customer=ANN, **ON_JIRA_7)
    value["routing"]["held"] = hold
    await desk.api.world.take(value)
    ann = str((await desk.api.world.case(value["id"]))["id"])
    await heard(desk, ended(minute=1))
    assert "released" not in await steps(desk, ann)
    await begun(desk, ann, work=JIRA_7, **ANSWER)
    await heard(desk, ended(minute=2))
    assert (await desk.case(ann))["state"] == "resolved"
    assert "released" in await steps(desk, ann)


async def test_news_that_many_wait_for_is_told_in_short_transactions_and_each_hears_of_it_once(desk: Desk) -> None:
    """Behind it, whatever is due has its turn as soon as that is done."""
    world, many = desk.api.world, CASES_A_LOOK + 20
    said = [feedback(customer={"id": f"c-{n}"}, theme=f"t{n}", **ON_JIRA_7) for n in range(many)]
    erased = [feedback(customer={"id": f"e-{n}"}, theme=f"t{n}", **ON_JIRA_7) for n in range(3)]
    await world.take(*said, *erased)
    await world.rows(_ERASE, [value["id"] for value in erased])
    ann = await desk.opened(ANN, "Dark?", received_at="2026-11-23T09:00:00.000Z")
    merged = await desk.opened(WEI, "深色", received_at="2026-11-23T09:00:01.000Z", **ON_JIRA_7)
    await desk.do(merged, "merge", into=ann)
    initiative = await begun(desk, ann, work=JIRA_7)
    await world.send(decision(ended()))
    async with world.running():
        await world.caught_up()
    news, looks = _news(desk), list[int]()
    while await news.settle():
        looks.append(await world.value(_TOLD) - sum(looks))
    assert looks == [CASES_A_LOOK, many + 1 - CASES_A_LOOK], "Wei's goes on in Ann's"
    assert await world.value(f"SELECT max(n) FROM ({_TOLD} GROUP BY case_id) AS one (n)") == 1
    assert await done(desk, initiative) == [("work.shipped", "jira", "JIRA-7")]
    assert await world.value("SELECT cases FROM published.news") == many + 1
    world.clock.advance(LOOK_FIRST)
    await settled(desk)
    assert await world.value(_TOLD) == many + 1


_TOLD = "SELECT count(*)::int FROM published.timeline WHERE what = 'work.shipped'"
_ERASE = """
UPDATE closer.case SET data = data || '{"erased": true}' WHERE first_feedback_id = ANY ($1::uuid[])
"""


def _news(desk: Desk) -> News:
    found = check(desk.api.world.config)
    return News(desk.api.world.unit, lambda: found)


async def test_each_of_several_initiatives_is_shipped_in_a_transaction_of_its_own(desk: Desk) -> None:
    customers = [{"id": f"c-7{n}", "email": f"c{n}@example.com"} for n in range(3)]
    cases = [await desk.opened(customer, "Dark?") for customer in customers]
    several = [await begun(desk, case, work=JIRA_7, **ANSWER) for case in cases]
    late = await desk.opened(WEI, "深色", **ON_JIRA_7)
    unprepared = await begun(desk, late, work=JIRA_7)
    await desk.mails()
    await desk.api.world.send(decision(ended()))
    async with desk.api.world.running():
        await desk.api.world.caught_up()
    news = _news(desk)
    for shipped_by_now in (1, 2, 3):
        assert await news.settle()
        assert await desk.api.world.value(_SHIPPED) == shipped_by_now
        # Another process goes on where this one stopped.
        news = _news(desk)
    await settled(desk)
    assert set(await desk.mails()) == {customer["email"] for customer in customers}
    for initiative in several:
        assert await done(desk, initiative) == [("work.shipped", "jira", "JIRA-7"), ("shipped", "jira", "1")]
    assert await done(desk, unprepared) == [("work.shipped", "jira", "JIRA-7")]
    assert [(await steps(desk, case)).count("work.shipped") for case in (*cases, late)] == [1] * 4
    assert await outcomes(desk) == ["answered"]


_SHIPPED = "SELECT count(*)::int FROM closer.initiative WHERE shipped_at IS NOT NULL"


async def test_news_whose_look_fails_keeps_nothing_else_waiting(desk: Desk) -> None:
    ann, wei = await desk.opened(ANN, "Dark?", **ON_JIRA_7), await desk.opened(WEI, "深色", source="gitlab", **_ON_12)
    world = desk.api.world
    for statement in _FAILS:
        await world.rows(statement)
    await world.send(decision(ended()), decision(ended(work_id="acme/app#12", source="gitlab", minute=1)))
    async with world.running():
        await world.caught_up()
    news = _news(desk)
    with pytest.raises(Transient):
        await news.settle()
    assert [await news.settle(), await news.settle()] == [True, False]
    assert [(await steps(desk, case)).count("work.shipped") for case in (ann, wei)] == [0, 1]
    await world.rows("DROP TRIGGER fails ON closer.timeline")
    world.clock.advance(PUT_OFF)
    while await news.settle():
        pass
    assert [(await steps(desk, case)).count("work.shipped") for case in (ann, wei)] == [1, 1]


_ON_12 = {"attributes": {"work_id": "acme/app#12"}}
_FAILS = (
    """CREATE FUNCTION closer.fails() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'ended' USING ERRCODE = 'idle_in_transaction_session_timeout'; END $$""",
    """CREATE TRIGGER fails BEFORE INSERT ON closer.timeline FOR EACH ROW
        WHEN (NEW.what = 'work.shipped' AND NEW.actor = 'jira') EXECUTE FUNCTION closer.fails()""",
)
