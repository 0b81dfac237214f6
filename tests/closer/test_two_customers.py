"""A case is merged into another customer's: both are told, each reads their own words, and neither speaks for the other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.closer.served import Served, served
from tests.closer.test_deliver import Sink, deliverer, once
from tests.closer.test_page import routed_back, say, token_of
from tests.closer.world import World, feedback

ANN = {"id": "c-1", "email": "ann@example.com", "name": "Ann"}
WEI = {"id": "c-2", "email": "wei@example.cn", "name": "Wei"}
KIM = {"id": "c-3", "email": "kim@example.com", "name": "Kim"}


@dataclass
class Desk:
    """The closer behind its routes, and a mailbox."""

    api: Served
    sink: Sink = field(default_factory=Sink)

    async def opened(self, customer: dict[str, str] | None, text: str, **changes: Any) -> str:
        value = feedback(customer=customer, text=text, **changes)
        await self.api.world.take(value)
        return str((await self.api.world.case(value["id"]))["id"])

    async def do(self, case: str, verb: str, **body: str) -> dict[str, Any]:
        answer = await self.api.post(f"/v1/cases/{case}/{verb}", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def case(self, case: str) -> dict[str, Any]:
        return dict((await self.api.get(f"/v1/cases/{case}")).json())

    async def mails(self) -> dict[str, str]:
        """What is sent now: to whom → the text. One answer a customer, or the test fails."""
        self.sink.got.clear()
        await once(deliverer(self.api.world, self.sink))
        answers = [mail.to for mail in self.sink.got if "/heard/" not in mail.id]
        assert sorted(set(answers)) == sorted(answers)
        return {mail.to: mail.text for mail in self.sink.got}

    async def notes(self, case: str, status: str) -> list[tuple[str, str]]:
        return [
            (note["kind"], note["reason"])
            for note in (await self.case(case))["notifications"]
            if note["status"] == status
        ]

    async def shown(self, case: str) -> str:
        return (await self.api.http.get(f"/loop/{token_of(case)}")).text

    async def says(self, case: str, solved: str, words: str = "") -> str:
        """On the page behind that case's link, and it has come round."""
        answer = await say(self.api, token_of(case), solved, words)
        await routed_back(self.api)
        return answer.text


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as api:
        yield Desk(api)


@pytest.fixture
async def merged(desk: Desk) -> tuple[str, str]:
    """(Wei's case, Ann's, which it was merged into); both were told that we heard them."""
    wei, ann = await desk.opened(WEI, "我的退款在哪里？", language="zh"), await desk.opened(ANN, "Where is my refund?")
    await desk.mails()
    await desk.do(wei, "merge", into=ann)
    return wei, ann


async def test_both_are_told_each_in_their_language_with_their_own_words(desk: Desk, merged: tuple[str, str]) -> None:
    wei, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn"}
    assert all("We refunded everybody." in text for text in mails.values())
    assert "我的退款在哪里？" in mails["wei@example.cn"]
    assert "Where is my refund?" not in mails["wei@example.cn"]
    assert "退款" not in mails["ann@example.com"]
    assert await desk.mails() == {}
    assert ((await desk.case(ann))["state"], (await desk.case(wei))["state"]) == ("notified", "merged")
    assert [step["what"] for step in (await desk.case(wei))["timeline"]][-3:] == [
        "merged",
        "notification.sending",
        "notification.sent",
    ]
    assert (await desk.case(wei))["told_at"] is not None


async def test_whoever_reads_first_does_not_keep_the_other_from_being_told(desk: Desk, merged: tuple[str, str]) -> None:
    _, ann = merged
    await desk.do(ann, "decline", answer="We cannot.")
    await desk.says(ann, "yes")
    assert (await desk.case(ann))["state"] == "confirmed"
    assert set(await desk.mails()) == {"wei@example.cn"}


async def test_each_link_shows_ones_own_words_and_the_answer_of_both(desk: Desk, merged: tuple[str, str]) -> None:
    wei, ann = merged
    assert "refund?" not in await desk.shown(wei)
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    of_wei, of_ann = await desk.shown(wei), await desk.shown(ann)
    assert "We refunded everybody." in of_wei
    assert "我的退款在哪里？" in of_wei
    assert "Where is my refund?" not in of_wei
    assert "Where is my refund?" in of_ann
    assert "退款" not in of_ann


async def test_a_no_of_the_other_customer_reopens_with_their_words_and_both_are_told_again(
    desk: Desk, merged: tuple[str, str]
) -> None:
    wei, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    await desk.mails()
    await desk.says(wei, "no", "还没有")
    found = await desk.case(ann)
    assert (found["state"], found["reopened_count"]) == ("reopened", 1)
    assert next(step["words"] for step in found["timeline"] if step["what"] == "reopened") == "还没有"
    row = await desk.api.world.one("SELECT customer, case_id::text FROM published.feedback WHERE source = 'loop'")
    assert row == {"customer": "c-2", "case_id": ann}
    await desk.do(ann, "resolve", answer="Now we did.")
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn"}
    assert all("Now we did." in text for text in mails.values())


async def test_a_yes_of_the_other_customer_is_noted_and_confirms_nothing(desk: Desk, merged: tuple[str, str]) -> None:
    wei, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    await desk.mails()
    await desk.says(wei, "yes", "谢谢")
    found = await desk.case(ann)
    assert found["state"] == "notified"
    assert (found["timeline"][-1]["what"], found["timeline"][-1]["words"]) == ("joined", "谢谢")


async def test_both_may_say_the_same_and_each_is_heard(desk: Desk, merged: tuple[str, str]) -> None:
    """Their answers had the same id: the second was taken for the first, sent twice."""
    wei, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    await desk.mails()
    await desk.says(wei, "yes")
    await desk.says(ann, "yes")
    assert (await desk.case(ann))["state"] == "confirmed"
    rows = await desk.api.world.rows("SELECT customer FROM published.feedback WHERE source = 'loop' ORDER BY customer")
    assert [row["customer"] for row in rows] == ["c-1", "c-2"]


async def test_who_unsubscribes_by_their_link_unsubscribes_themselves(desk: Desk, merged: tuple[str, str]) -> None:
    wei, ann = merged
    assert (await desk.api.http.post(f"/loop/{token_of(wei)}/unsubscribe")).status_code == 200
    gone = await desk.api.world.rows("SELECT customer FROM closer.unsubscribed ORDER BY customer")
    assert [row["customer"] for row in gone] == ["c-2", "wei@example.cn"]
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    assert set(await desk.mails()) == {"ann@example.com"}
    assert await desk.notes(wei, "withheld") == [("answered", "unsubscribed")]
    assert (await desk.case(wei))["state"] == "merged"
    assert (await desk.case(ann))["untold"] is None


async def test_what_is_reopened_before_the_mail_is_out_is_sent_to_neither(desk: Desk, merged: tuple[str, str]) -> None:
    wei, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    await desk.do(ann, "reopen", reason="too early")
    assert await desk.mails() == {}
    assert await desk.notes(wei, "withheld") == [("answered", "superseded")]
    assert await desk.notes(ann, "withheld") == [("answered", "superseded")]
    await desk.do(ann, "resolve", answer="Now we did.")
    assert set(await desk.mails()) == {"ann@example.com", "wei@example.cn"}


async def test_through_a_chain_of_merges_everybody_is_told_once(desk: Desk, merged: tuple[str, str]) -> None:
    """Kim's takes Ann's in, and Wei's with it; another case of Wei's that comes along is no second mail."""
    wei, ann = merged
    kim = await desk.opened(KIM, "Refund!")
    more = await desk.opened(WEI, "还有登录问题", theme="login", language="zh")
    await desk.mails()
    await desk.do(ann, "merge", into=kim)
    await desk.do(more, "merge", into=kim)
    await desk.do(kim, "resolve", answer="Done for all.")
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn", "kim@example.com"}
    assert "我的退款在哪里？" in mails["wei@example.cn"]
    await desk.says(wei, "no", "没有")
    assert (await desk.case(kim))["state"] == "reopened"


async def test_an_answer_that_was_given_before_the_merge_is_not_taken_for_the_one_after_it(
    desk: Desk, merged: tuple[str, str]
) -> None:
    """Wei was told in the first generation of Ann's case, then in the first of Kim's: two answers, two mails."""
    _, ann = merged
    await desk.do(ann, "resolve", answer="We refunded everybody.")
    await desk.mails()
    await desk.do(ann, "reopen")
    kim = await desk.opened(KIM, "Refund!")
    await desk.mails()
    await desk.do(ann, "merge", into=kim)
    await desk.do(kim, "resolve", answer="Done for all.")
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn", "kim@example.com"}
    assert all("Done for all." in text for text in mails.values())


async def test_ones_own_case_that_comes_back_by_way_of_another_customers_is_ones_own(desk: Desk) -> None:
    first = await desk.opened(WEI, "退款")
    ann = await desk.opened(ANN, "Where is my refund?")
    last = await desk.opened(WEI, "登录", theme="login")
    await desk.mails()
    await desk.do(first, "merge", into=ann)
    await desk.do(ann, "merge", into=last)
    await desk.do(last, "resolve", answer="Both done.")
    assert set(await desk.mails()) == {"ann@example.com", "wei@example.cn"}
    await desk.says(first, "yes")
    assert (await desk.case(last))["state"] == "confirmed", "it is the same customer, whichever link they took"


async def test_whom_we_cannot_write_to_is_not_waited_for(desk: Desk) -> None:
    nobody, ann = await desk.opened(None, "It broke."), await desk.opened(ANN, "Where is my refund?")
    await desk.mails()
    await desk.do(nobody, "merge", into=ann)
    await desk.do(ann, "resolve", answer="Done.")
    assert set(await desk.mails()) == {"ann@example.com"}


async def test_who_wrote_today_is_told_though_it_was_merged_into_somebodys_history(desk: Desk) -> None:
    """The promise runs on; who was imported still gets no mail."""
    wei = await desk.opened(WEI, "退款")
    imported = await desk.opened(ANN, "Years ago", history=True)
    await desk.mails()
    await desk.do(wei, "merge", into=imported)
    assert {clock["target"] for clock in (await desk.case(imported))["clocks"] if clock["open"]} == {
        "acknowledge",
        "resolve",
        "tell_customer",
    }
    await desk.do(imported, "resolve", answer="Done.")
    assert set(await desk.mails()) == {"wei@example.cn"}
    assert sorted(await desk.notes(imported, "withheld")) == [("answered", "history"), ("heard", "history")]


async def test_ones_own_case_of_today_merged_into_ones_history_goes_on_with_its_clocks(desk: Desk) -> None:
    today = await desk.opened(ANN, "Again!")
    imported = await desk.opened(ANN, "Years ago", history=True, theme="login")
    await desk.mails()
    before = {clock["target"]: clock["wall_due"] for clock in (await desk.case(today))["clocks"]}
    await desk.do(today, "merge", into=imported)
    found = await desk.case(imported)
    assert not found["history"]
    assert {clock["target"]: clock["wall_due"] for clock in found["clocks"]} == before
    assert await desk.mails() == {}, "that we heard them was said already"
    await desk.do(imported, "resolve", answer="Done.")
    assert set(await desk.mails()) == {"ann@example.com"}


# ── which answer is judged ──


async def test_a_yes_about_an_earlier_answer_confirms_none_that_came_after_it(desk: Desk) -> None:
    """On its way while the case was reopened and answered again."""
    ann = await desk.opened(ANN, "Where is my refund?")
    await desk.do(ann, "resolve", answer="We refunded you.")
    await say(desk.api, token_of(ann), "yes", "Thanks!")
    await desk.do(ann, "reopen", reason="that was another customer")
    await desk.do(ann, "resolve", answer="Now it is yours.")
    await routed_back(desk.api)
    found = await desk.case(ann)
    assert found["state"] == "resolved"
    assert (found["timeline"][-1]["what"], found["timeline"][-1]["words"]) == ("joined", "Thanks!")


async def test_a_yes_about_an_answer_confirms_none_of_the_case_that_it_was_merged_into(desk: Desk) -> None:
    one = await desk.opened(ANN, "Where is my refund?")
    await desk.do(one, "resolve", answer="We refunded you.")
    await say(desk.api, token_of(one), "yes")
    two = await desk.opened(ANN, "And again")
    await desk.do(one, "reopen")
    await desk.do(two, "resolve", answer="Another thing.")
    await routed_back(desk.api)
    assert (await desk.case(two))["state"] == "resolved"


async def test_a_no_about_an_earlier_answer_still_reopens(desk: Desk) -> None:
    ann = await desk.opened(ANN, "Where is my refund?")
    await desk.do(ann, "resolve", answer="We refunded you.")
    await say(desk.api, token_of(ann), "no", "Nothing came.")
    await desk.do(ann, "reopen")
    await desk.do(ann, "resolve", answer="Now it is there.")
    await routed_back(desk.api)
    assert (await desk.case(ann))["state"] == "reopened"
