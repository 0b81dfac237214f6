"""The customer's side: what the link shows, what the answer does, and what no link may do."""

import asyncio
import base64
import contextlib
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.closer.links import loop_token
from services.closer.notify import Notification
from shared.events.feedback import FeedbackReceived
from shared.events.identity import Pseudonyms
from shared.links import Links
from tests.brokers import free_port
from tests.closer.served import Served, served
from tests.closer.world import SECRET, World, feedback
from tests.forwarding import forwarding


@pytest.fixture
async def page(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as page:
        yield page


async def answered(page: Served, **changes: Any) -> tuple[str, str]:
    """A case whose customer was told: (its id, the token in the mail)."""
    value = feedback(**changes)
    await page.world.take(value)
    case = str((await page.world.case(value["id"]))["id"])
    answer = await page.post(f"/v1/cases/{case}/resolve", {"answer": "We refunded you.", "language": "en"})
    assert answer.status_code == 200
    return case, token_of(case)


def token_of(case: str, workspace: str = "default", kind: Any = "answered", generation: int = 1) -> str:
    note = Notification(kind, "", "email", "en", "ann@example.com", None, workspace, case, generation)
    return loop_token(Links(SECRET), note)


async def routed_back(page: Served, *, team: str = "support") -> list[dict[str, Any]]:
    """What the page put on the way to `feedback.received` comes back routed, as the router would send it."""
    sent = await page.world.rows("SELECT key, value, headers FROM shared.outbox WHERE topic = 'feedback.received'")
    await page.world.rows("DELETE FROM shared.outbox WHERE topic = 'feedback.received'")
    values = []
    for row in sent:
        value = json.loads(row["value"])
        FeedbackReceived.model_validate(value)
        solved = value["attributes"]["loop"]["solved"]
        routing = feedback(team=team, follow_up=not solved, theme="general", tags=[])["routing"]
        values.append({**value, "routing": routing})
    await page.world.take(*values)
    return values


async def state(page: Served, case: str) -> str:
    return str((await page.get(f"/v1/cases/{case}")).json()["state"])


async def say(page: Served, token: str, solved: str, words: str = "") -> httpx2.Response:
    return await page.http.post(f"/loop/{token}", data={"solved": solved, "words": words})


async def test_the_page_shows_what_was_said_and_done_and_changes_nothing(page: Served) -> None:
    case, token = await answered(page, text="<script>alert(1)</script> Where is it?")
    before = (await page.get(f"/v1/cases/{case}")).json()
    for path in (f"/loop/{token}", f"/loop/{token}?solved=yes", f"/loop/{token}?solved=no"):
        shown = await page.http.get(path)
        assert shown.status_code == 200
        assert "We refunded you." in shown.text
        assert "<script>" not in shown.text
        assert "&lt;script&gt;" in shown.text
    assert (await page.get(f"/v1/cases/{case}")).json() == before
    assert await page.world.value("SELECT count(*) FROM shared.outbox WHERE topic = 'feedback.received'") == 0


async def test_the_headers_keep_the_link_a_secret(page: Served) -> None:
    _, token = await answered(page)
    headers = (await page.http.get(f"/loop/{token}")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "noindex" in headers["x-robots-tag"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_before_there_is_an_answer_the_page_says_that_we_are_on_it(page: Served) -> None:
    value = feedback()
    await page.world.take(value)
    case = str((await page.world.case(value["id"]))["id"])
    shown = await page.http.get(f"/loop/{token_of(case, kind='heard')}")
    assert shown.status_code == 200
    assert "Where is my refund?" in shown.text
    assert "<form" not in shown.text


async def test_yes_confirms_once_it_has_come_round(page: Served) -> None:
    case, token = await answered(page)
    thanks = await say(page, token, "yes")
    assert thanks.status_code == 200
    assert await state(page, case) == "resolved"
    (value,) = await routed_back(page)
    assert value["source"] == "loop"
    assert value["attributes"]["loop"] == {"case_id": case, "team": "support", "solved": True}
    assert await state(page, case) == "confirmed"
    stored = await page.world.one("SELECT case_id, customer FROM published.feedback WHERE source = 'loop'")
    assert (str(stored["case_id"]), stored["customer"]) == (case, "c-1")
    assert (await page.get(f"/v1/cases/{case}")).json()["confirmed_at"] is not None


async def test_no_reopens_with_the_customers_words_whatever_the_router_decided(page: Served) -> None:
    case, token = await answered(page)
    await say(page, token, "no", "It is still not there.\r\nReally.")
    await routed_back(page, team="sales")
    assert await state(page, case) == "reopened"
    timeline = (await page.get(f"/v1/cases/{case}")).json()["timeline"]
    reopened = next(step for step in timeline if step["what"] == "reopened")
    assert reopened["words"] == "It is still not there.\nReally."
    assert reopened["actor"] == "customer"
    assert await page.world.value("SELECT count(*) FROM closer.case") == 1


async def test_sent_twice_is_said_once_and_other_words_are_said_too(page: Served) -> None:
    case, token = await answered(page)
    await asyncio.gather(*(say(page, token, "no", "Still broken") for _ in range(4)))
    assert len(await routed_back(page)) == 1
    await say(page, token, "no", "Still broken")  # a reload after it was reopened
    assert await routed_back(page) == []
    await say(page, token, "no", "And another thing")
    assert len(await routed_back(page)) == 1
    found = (await page.get(f"/v1/cases/{case}")).json()
    assert found["reopened_count"] == 1
    assert found["timeline"][-1]["words"] == "And another thing"


async def test_a_yes_after_a_no_is_passed_on_and_closes_nothing(page: Served) -> None:
    case, token = await answered(page)
    assert "We take it up again" in (await say(page, token, "no", "Not there")).text
    early = await say(page, token, "yes", "Oh, it is")  # before the no has come round
    assert "We have passed it on" in early.text
    await routed_back(page)
    assert await state(page, case) == "reopened"
    late = await say(page, token, "yes", "It is there!")
    assert "We have passed it on" in late.text
    assert "Good to hear" not in early.text + late.text
    await routed_back(page)
    found = (await page.get(f"/v1/cases/{case}")).json()
    assert found["state"] == "reopened"
    said = [step["words"] for step in found["timeline"] if step["words"]]
    assert said[-3:] == ["Not there", "Oh, it is", "It is there!"]

    await page.post(f"/v1/cases/{case}/resolve", {"answer": "We see it too."})
    assert "Good to hear" in (await say(page, token, "yes")).text
    await routed_back(page)
    assert await state(page, case) == "confirmed"
    assert "Good to hear" in (await say(page, token, "yes", "Thanks again")).text, "it stays so"
    assert "We take it up again" in (await say(page, token, "no")).text


async def test_a_second_no_after_a_second_answer_counts_though_it_comes_by_the_first_link(page: Served) -> None:
    case, token = await answered(page)
    await say(page, token, "no")
    await routed_back(page)
    await page.post(f"/v1/cases/{case}/resolve", {"answer": "Now we did."})
    await say(page, token, "no")
    await routed_back(page)
    assert (await page.get(f"/v1/cases/{case}")).json()["reopened_count"] == 2


async def test_a_no_while_another_case_of_the_key_is_open_joins_that_one_words_included(page: Served) -> None:
    case, token = await answered(page)
    again = feedback(text="Something else about refunds")
    await page.world.take(again)
    other = str((await page.world.case(again["id"]))["id"])
    assert other != case
    await say(page, token, "no", "Not solved!")
    await routed_back(page)
    assert (await page.get(f"/v1/cases/{case}")).json()["merged_into"] == other
    timeline = (await page.get(f"/v1/cases/{other}")).json()["timeline"]
    assert timeline[-1]["words"] == "Not solved!"
    # And the old link leads on to the case that goes on.
    await say(page, token, "no", "More")
    await routed_back(page)
    assert (await page.get(f"/v1/cases/{other}")).json()["timeline"][-1]["words"] == "More"


async def test_who_may_post_feedback_may_not_speak_for_a_customer(page: Served) -> None:
    """`source: loop` with a case's id, but never said on the page: feedback like any other."""
    case, _ = await answered(page)
    forged = feedback(
        source="loop",
        text="yes!",
        customer={"id": "c-666"},
        attributes={"loop": {"case_id": case, "team": "support", "solved": True}},
    )
    await page.world.take(forged)
    assert await state(page, case) == "resolved"
    assert str((await page.world.case(forged["id"]))["id"]) != case


async def test_the_message_is_laid_out_as_ingest_writes_it(page: Served) -> None:
    from services.ingest.normalize import Builder, feedback_content
    from services.ingest.sources import Ranges

    case, token = await answered(page, language="zh")
    await say(page, token, "no", "还没有")
    row = await page.world.one("SELECT topic, key, value, headers FROM shared.outbox WHERE topic = 'feedback.received'")
    value = json.loads(row["value"])
    body = {k: v for k, v in value.items() if k not in ("id", "received_at", "workspace")}
    ranges: Ranges = {"solved": (0.0, 1.0)}
    content = feedback_content(body, ranges)
    built = Builder("default", Pseudonyms(SECRET)).build(content, value["id"], value["received_at"], "00-x")
    assert built.message.topic == row["topic"]
    assert built.message.key == bytes(row["key"])
    assert built.message.value == bytes(row["value"])
    assert case in value["external_id"]


# ── 53: what no link may do ──


async def test_53_every_changed_token_is_404_and_does_nothing(page: Served) -> None:
    case, token = await answered(page)
    head, _, signature = token.rpartition(".")
    payload = token.split(".")[0]
    mine = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert case in mine
    other = json.dumps([mine[0], str(uuid.uuid4()), *mine[2:]]).encode()
    changed = [
        token[:-1],
        token + "A",
        token.swapcase(),
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        head + "." + signature[::-1],
        base64.urlsafe_b64encode(other).decode().rstrip("=") + token[len(payload) :],
        Links("another secret").sign("loop", json.dumps(mine)),
        Links(SECRET).sign("another-purpose", json.dumps(mine)),
        Links(SECRET).sign("loop", json.dumps({"case": case})),
        token_of(str(uuid.uuid4())),
        token_of(case, workspace="acme"),
        "x",
        "..",
        "%00",
        "a" * 5000,
    ]
    for wrong in changed:
        for path in (f"/loop/{wrong}", f"/loop/{wrong}/unsubscribe"):
            got = await page.http.get(path)
            posted = await page.http.post(path, data={"solved": "no"})
            assert {got.status_code, posted.status_code} <= {404, 400}, (path, got.status_code, posted.status_code)
            assert "refund" not in got.text
    assert await page.world.value("SELECT count(*) FROM shared.outbox WHERE topic = 'feedback.received'") == 0
    assert await page.world.value("SELECT count(*) FROM closer.unsubscribed") == 0


async def test_head_is_answered_like_get(page: Served) -> None:
    case, token = await answered(page)
    before = (await page.get(f"/v1/cases/{case}")).json()
    for path in (f"/loop/{token}", f"/loop/{token}?solved=no", f"/loop/{token}/unsubscribe", "/loop/nothing"):
        got, head = await page.http.get(path), await page.http.head(path)
        assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert (await page.get(f"/v1/cases/{case}")).json() == before


async def test_while_the_database_is_away_a_customer_gets_a_page(database_url: str, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        way = await stack.enter_async_context(forwarding(database_url, free_port()))
        world = await stack.enter_async_context(World.open(database_url))
        page = await stack.enter_async_context(served(world, way.url, tmp_path))
        _, token = await answered(page)
        assert (await page.http.get(f"/loop/{token}")).status_code == 200
        way.close()
        for wanted, lang, says in (("zh-CN,zh;q=0.9", "zh", "请过几分钟再试"), ("de,en;q=0.5", "en", "try again")):
            headers = {"Accept-Language": wanted}
            for answer in (
                await page.http.get(f"/loop/{token}", headers=headers),
                await page.http.post(f"/loop/{token}", data={"solved": "yes"}, headers=headers),
                await page.http.post(f"/loop/{token}/unsubscribe", headers=headers),
            ):
                assert answer.status_code == 503
                assert answer.headers["content-type"].startswith("text/html")
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.headers["cache-control"] == "no-store"
                assert f'<html lang="{lang}"' in answer.text
                assert says in answer.text


async def test_a_form_that_cannot_be_read_is_answered_by_a_page(page: Served) -> None:
    _, token = await answered(page)
    headers = {"Content-Type": "multipart/form-data"}
    answer = await page.http.post(f"/loop/{token}", content=b"x", headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"].startswith("text/html")


async def test_an_unknown_link_is_a_page_in_the_browsers_language(page: Served) -> None:
    answer = await page.http.get("/loop/nothing", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert 'lang="zh' in answer.text


@pytest.mark.parametrize(
    "form",
    [{}, {"solved": "maybe"}, {"words": "x"}, {"solved": "no", "words": "x" * 5001}],
    ids=["nothing", "maybe", "words only", "too many words"],
)
async def test_an_answer_that_is_none_is_asked_again(page: Served, form: dict[str, str]) -> None:
    _, token = await answered(page)
    answer = await page.http.post(f"/loop/{token}", data=form)
    assert answer.status_code == 422
    assert "<form" in answer.text
    assert await page.world.value("SELECT count(*) FROM closer.answer") == 0


# ── unsubscribe ──


@pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "One-Click"}], ids=["the page's button", "one click"])
async def test_unsubscribe_is_recorded_and_stops_the_answer_too(page: Served, body: dict[str, str]) -> None:
    value = feedback()
    await page.world.take(value)
    case = str((await page.world.case(value["id"]))["id"])
    path = f"/loop/{token_of(case, kind='heard')}/unsubscribe"
    assert (await page.http.get(path)).status_code == 200
    assert await page.world.value("SELECT count(*) FROM closer.unsubscribed") == 0
    assert (await page.http.post(path, data=body)).status_code == 200
    assert (await page.http.post(path, data=body)).status_code == 200
    gone = await page.world.rows("SELECT customer FROM closer.unsubscribed ORDER BY customer")
    assert [row["customer"] for row in gone] == ["ann@example.com", "c-1"]
    found = (await page.post(f"/v1/cases/{case}/resolve", {"answer": "Done."})).json()
    note = next(one for one in found["notifications"] if one["kind"] == "answered")
    assert (note["status"], note["reason"]) == ("withheld", "unsubscribed")
    assert found["untold"] == "unsubscribed"


async def test_an_unsubscribe_holds_for_the_address_whoever_uses_it(page: Served) -> None:
    mine = {"id": "c-1", "email": "Wei@Example.cn"}
    first, owed = feedback(customer=mine), feedback(customer={"id": "c-7", "email": "wei@example.cn"})
    await page.world.take(first, owed)
    case = str((await page.world.case(first["id"]))["id"])
    assert (await page.http.post(f"/loop/{token_of(case, kind='heard')}/unsubscribe")).status_code == 200

    resolved = (
        await page.post(f"/v1/cases/{(await page.world.case(owed['id']))['id']}/resolve", {"answer": "."})
    ).json()
    assert resolved["untold"] == "unsubscribed", "a case of another customer with that address"
    later = [
        feedback(customer={"id": "c-8", "email": "WEI@example.CN"}),
        feedback(customer={"email": "wei@EXAMPLE.cn"}),
        feedback(customer={"id": "c-1", "email": "new@example.cn"}, theme="login"),
        feedback(customer={"id": "c-9", "email": "other@example.cn"}),
    ]
    await page.world.take(*later)
    said = [(await page.get(f"/v1/cases/{(await page.world.case(one['id']))['id']}")).json() for one in later]
    reasons = [[note["reason"] for note in case["notifications"] if note["kind"] == "heard"] for case in said]
    assert reasons == [["unsubscribed"], ["unsubscribed"], ["unsubscribed"], [""]]


async def test_a_link_of_an_earlier_version_still_leads_to_its_case(page: Served) -> None:
    case, _ = await answered(page)
    old = Links(SECRET).sign("loop", json.dumps(["default", case, "answered", 1]))
    assert "We refunded you." in (await page.http.get(f"/loop/{old}")).text


def test_a_token_names_nobody() -> None:
    token = token_of(str(uuid.uuid4()))
    payload = token.split(".")[0]
    assert "@" not in base64.urlsafe_b64decode(payload + "==").decode()
    assert len(re.sub(r"[^A-Za-z0-9_-]", "", token.rpartition(".")[2])) * 6 >= 128
