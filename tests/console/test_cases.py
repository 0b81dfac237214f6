"""The queue: what is in which view, in which order, and what can be done to many at once."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest

from services.closer.search import Indexer
from services.console.pages.cases import in_many
from shared.events.envelope import rfc3339
from tests.closer.world import feedback
from tests.console.site import PEOPLE, Console, Visitor, with_people


def shown(text: str) -> list[str]:
    """The ids of the cases on the page, in order."""
    return re.findall(r'<td class="said"><a href="/cases/([0-9a-f-]{36})', text)


async def ids(visitor: Visitor, **params: str) -> list[str]:
    answer = await visitor.get("/cases", **params)
    assert answer.status_code == 200, answer.text
    return shown(answer.text)


async def opened(site: Console, *values: dict[str, Any]) -> list[str]:
    await site.world.take(*values)
    return [str((await site.world.case(value["id"]))["id"]) for value in values]


async def test_each_view_holds_what_it_says(site: Console) -> None:
    mine, other, late, waiting, done = await opened(
        site, *(feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(5))
    )
    li = await site.sign_in("li@example.com")
    await li.post(f"/cases/{mine}/assign", {"to": "li@example.com"})
    await li.post(f"/cases/{waiting}/assign", {"to": "max@example.com"})
    await li.post(f"/cases/{waiting}/wait", {"reason": "which order?"})
    await li.post(f"/cases/{done}/decline", {"answer": "We cannot."})
    await li.post(f"/cases/{other}/reassign", {"team": "sales"})
    assert await ids(li, view="mine") == [mine]
    assert set(await ids(li, view="unassigned")) == {other, late}
    assert set(await ids(li, view="team")) == {mine, late, waiting}
    assert await ids(li, view="waiting") == [waiting]
    assert await ids(li, view="finished") == [done]
    assert set(await ids(li, view="open")) == {mine, other, late, waiting}
    assert await ids(li, view="open", team="sales") == [other]
    assert await ids(li, view="open", assignee="max@example.com") == [waiting]
    assert await ids(li, view="breached") == []


async def test_what_is_held_back_says_until_when_and_why_and_stands_behind_what_is_due(site: Console) -> None:
    until = site.world.clock.now() + timedelta(hours=3)
    held = feedback(customer={"id": "c-1"}, priority="urgent")
    held["routing"]["held"] = {"until": rfc3339(until), "because": "<b>planned</b> maintenance"}
    later, now = await opened(site, held, feedback(customer={"id": "c-2"}, priority="low"))
    li, wang = await site.sign_in("li@example.com"), await site.sign_in("wang@example.cn")
    assert await ids(li, view="open") == [now, later], "urgent as it is"
    assert await ids(li, view="soon") == []
    page = (await li.get("/cases", view="held")).text
    assert shown(page) == [later]
    assert re.search(r'href="/cases\?view=held"[^>]*>Held back[^<]*<span class="count">1<', page)
    assert f'Held back until <time datetime="{until.isoformat()}"' in page
    assert "&lt;b&gt;planned&lt;/b&gt; maintenance" in page
    case = (await wang.get(f"/cases/{later}")).text
    assert "暂缓至 <time" in case
    assert "&lt;b&gt;planned&lt;/b&gt; maintenance" in case
    assert "暂停" in case, "the team's clock stands still"

    trace = (await li.get(f"/feedback/{held['id']}")).text
    assert f"held back until {rfc3339(until)}: &lt;b&gt;planned&lt;/b&gt; maintenance" in trace

    await li.get(f"/cases/{later}")
    await li.post(f"/cases/{later}/note", {"text": "It is more than that."})
    case = (await li.get(f"/cases/{later}")).text
    assert "Held back no more" in case
    assert "somebody acts on it" in case
    assert "Then it is work" not in case
    assert await ids(li, view="open") == [later, now]
    assert await ids(li, view="held") == []
    assert 'href="/cases?view=held"' not in (await li.get("/cases")).text, "a tab for what is seldom there"


async def test_the_view_of_ones_teams_holds_those_of_each_of_them(site: Console) -> None:
    """It held those of the first alone."""
    ours, theirs, sales = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(3)))
    await site.service.configure(
        with_people(PEOPLE.replace("{name: sales}", "{name: sales, members: [{email: li@example.com}]}"))
    )
    li = await site.sign_in("li@example.com")
    await li.post(f"/cases/{theirs}/reassign", {"team": "product"})
    await li.post(f"/cases/{sales}/reassign", {"team": "sales"})
    page = (await li.get("/cases", view="team")).text
    assert set(shown(page)) == {ours, sales}
    assert re.search(r'href="/cases\?view=team"[^>]*>[^<]*<span class="count">2<', page)
    assert await ids(li, view="team", team="sales") == [sales]
    max_ = await site.sign_in("max@example.com")
    assert await ids(max_, view="team") == [ours]


async def test_what_is_due_first_stands_first_and_soon_is_within_the_hour(site: Console) -> None:
    slow, urgent = await opened(
        site,
        feedback(customer={"id": "c-1"}, priority="low"),
        feedback(customer={"id": "c-2"}, priority="urgent"),
    )
    one = await site.sign_in()
    assert await ids(one, view="open") == [urgent, slow]
    assert await ids(one, view="open", sort="newest") == sorted([slow, urgent], reverse=True)
    assert await ids(one, view="soon") == [urgent], "it is to be acknowledged within the hour"
    site.world.clock.advance(timedelta(minutes=61))
    await site.world.timers.fire_due()
    page = (await one.get("/cases", view="breached")).text
    assert shown(page) == [urgent]
    assert "breached" in page


@pytest.mark.parametrize(
    ("q", "finds"),
    [
        ("退款", True),
        ("款到", True),
        ("Rückerstattung", True),
        ("ruckerstattung", True),
        ("paypal", True),
        ("payp", True),
        ("ann@example.com", True),
        ("王小明", True),
        ("退货", False),
        ("refunded", False),
        ("' OR 1=1 --", False),
        ("!!", False),
    ],
)
async def test_words_of_any_script_are_found(site: Console, q: str, finds: bool) -> None:
    text = "退款到现在还没到账, die Rückerstattung per PayPal fehlt"
    (case,) = await opened(
        site, feedback(text=text, customer={"id": "c-1", "email": "ann@example.com", "name": "王小明"})
    )
    await opened(site, feedback(text="Another matter", customer={"id": "c-2"}))
    await Indexer(site.world.transactions).index()
    one = await site.sign_in()
    assert await ids(one, q=q) == ([case] if finds else [])


async def test_a_word_of_many_cases_and_one_of_few_are_each_found_in_the_way_that_suits_it(site: Console) -> None:
    few, *many = await opened(
        site,
        feedback(text="A zebra at the gearbox"),
        *(feedback(text="It is the gearbox", customer={"id": f"c-{n}"}) for n in range(9)),
    )
    await Indexer(site.world.transactions).index()
    async with site.world.transactions.begin() as connection:
        # As many as make a statistic: those of a table of ten rows tell of none.
        await connection.execute(
            "INSERT INTO closer.search (case_id, workspace, words)"
            " SELECT uuidv7(), 'default', array_to_tsvector(ARRAY['gearbox', 'n' || n]) FROM generate_series(1, 3000) n"
        )
        await connection.execute("ANALYZE closer.search")
    one = await site.sign_in()
    assert await in_many(site.queries, "default", "gearbox")
    assert not await in_many(site.queries, "default", "zebra")
    for view in ("open", "all"):
        assert set(await ids(one, view=view, q="gearbox")) == {few, *many}
        assert await ids(one, view=view, q="zebra") == [few]
        assert await ids(one, view=view, q="zebra gearbox") == [few]


async def test_notes_and_answers_are_found_too(site: Console) -> None:
    (case,) = await opened(site, feedback())
    indexer = Indexer(site.world.transactions)
    assert await indexer.index() > 0
    one = await site.sign_in()
    await one.post(f"/cases/{case}/note", {"text": "仓库说明天发货"})
    assert await ids(one, q="明天发货") == []
    await indexer.index()
    assert await ids(one, q="明天发货") == [case]
    assert await indexer.index() == 0, "nothing is left to do"


async def test_an_id_in_the_search_leads_to_its_page(site: Console) -> None:
    value = feedback()
    (case,) = await opened(site, value)
    one = await site.sign_in()
    assert (await one.get("/cases", q=case)).headers["location"] == f"/cases/{case}"
    assert (await one.get("/cases", q=str(value["id"]))).headers["location"] == f"/feedback/{value['id']}"


@pytest.mark.parametrize("sort", ["due", "newest"])
async def test_pages_show_every_case_once(site: Console, sort: str) -> None:
    cases = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(103)))
    one = await site.sign_in()
    seen: list[str] = []
    path: str | None = f"/cases?view=open&sort={sort}"
    for _ in range(4):
        page = (await one.get(path)).text if path else ""
        seen += shown(page)
        more = re.search(r'href="(/cases[^"]*)" rel="next"', page)
        path = more[1].replace("&amp;", "&") if more else None
    assert path is None
    assert len(seen) == len(cases)
    assert set(seen) == set(cases)
    assert (await one.get("/cases", after="nonsense")).status_code == 400


async def test_many_at_once_and_those_that_refuse_are_told(site: Console) -> None:
    one_case, done = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(2)))
    one = await site.sign_in()
    await one.post(f"/cases/{done}/resolve", {"answer": "Done."})
    answer = await one.post(
        "/cases/bulk", {"verb": "assign", "to": "li@example.com", "id": [one_case, done], "back": "/cases"}
    )
    assert answer.headers["location"] == "/cases"
    page = (await one.get("/cases")).text
    assert "1 done, 1 refused" in page
    assert "li@example.com" in page
    assert "1 done" not in (await one.get("/cases")).text, "said once"
    assert (await one.post("/cases/bulk", {"verb": "resolve", "id": one_case})).status_code == 400


async def test_the_next_case_is_one_that_nobody_else_is_at(site: Console) -> None:
    first, second, third = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(3)))
    order = await ids(await site.sign_in(), view="open")
    assert set(order) == {first, second, third}
    li, max_ = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    await max_.post(f"/cases/{order[1]}/presence", {"doing": "editing"})
    page = await li.get("/next", view="open", but=order[0])
    assert page.headers["location"].startswith(f"/cases/{order[2]}?from=")
    queue = (await li.get("/cases", view="open")).text
    assert "max@example.com is writing an answer" in queue
    site.world.clock.advance(timedelta(minutes=2))
    page = await li.get("/next", view="open", but=order[0])
    assert page.headers["location"].startswith(f"/cases/{order[1]}"), "who said nothing for a while is gone"
    assert (await li.get("/next", view="finished")).headers["location"].startswith("/cases?view=finished")


@pytest.mark.parametrize("sort", ["due", "newest"])
@pytest.mark.parametrize("verb", ["", "acknowledge", "note"])
async def test_the_next_case_is_the_one_behind_and_after_the_last_comes_the_first(
    site: Console, sort: str, verb: str
) -> None:
    """It went to and fro between the first two, and the third was never reached."""
    cases = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(4)))
    li = await site.sign_in("li@example.com")
    order = await ids(li, view="open", sort=sort)
    assert set(order) == set(cases)
    seen, path = [order[0]], f"/cases/{order[0]}?from=%3Fview%3Dopen%26sort%3D{sort}"
    for _ in range(4):
        page = (await li.get(path)).text
        if verb:
            form = dict(re.findall(r'<input type="hidden" name="(from|position)" value="([^"]*)"', page))
            form = {name: html.unescape(value) for name, value in form.items()}
            stays = await li.post(f"/cases/{seen[-1]}/{verb}", {"text": "…", **form})
            page = (await li.get(stays.headers["location"])).text
        link = re.search(r'href="(/next[^"]*)"', page)
        assert link
        path = (await li.get(html.unescape(link[1]))).headers["location"]
        seen.append(path.removeprefix("/cases/").partition("?")[0])
    assert seen == [*order, order[0]]
    there = {"view": "open", "sort": "due"}
    for nonsense in ("nonsense", f"~{order[0]}", f"0001-01-01T00:00:00+23:59~{order[0]}"):
        assert (await li.get("/next", after=nonsense, **there)).status_code == 400


async def test_a_view_can_be_kept_by_name_and_is_ones_own(site: Console) -> None:
    li, max_ = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    await li.post("/cases/views", {"name": "Sales <late>", "view": "breached", "team": "sales"})
    page = (await li.get("/cases")).text
    assert 'href="/cases?view=breached&amp;team=sales"' in page
    assert "Sales &lt;late&gt;" in page
    assert "Sales &lt;late&gt;" not in (await max_.get("/cases")).text
    await li.post("/cases/views", {"name": "Sales <late>", "drop": "yes"})
    assert "Sales &lt;late&gt;" not in (await li.get("/cases")).text


async def test_my_cases_show_what_customers_said_of_my_work_and_nobody_elses_do(site: Console) -> None:
    (case,) = await opened(site, feedback(customer={"id": "c-1", "email": "c1@example.com"}))
    li, max_ = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    assert "Thank you" not in (await li.get("/cases", view="mine")).text
    await li.post(f"/cases/{case}/assign", {"to": "li@example.com"})
    await li.post(f"/cases/{case}/resolve", {"answer": "We paid it back."})
    await site.world.rows(
        "UPDATE closer.case SET state = 'notified', data = data || jsonb_build_object('told_at', $2::text) WHERE id = $1",
        case,
        rfc3339(site.world.clock.now()),
    )
    site.world.clock.advance(timedelta(hours=1))
    good = feedback(
        kind="praise",
        follow_up=False,
        text="Thank you, <b>Li</b>!",
        customer={"id": "c-1"},
        received_at=rfc3339(site.world.clock.now()),
    )
    await site.world.take(good)
    mine = (await li.get("/cases", view="mine")).text
    assert re.search(rf'<h2 id="thanks">Thanks</h2>\s*<ul><li><a href="/cases/{case}">', mine)
    assert "Thank you, &lt;b&gt;Li&lt;/b&gt;!" in mine
    assert "Thank you" not in (await li.get("/cases", view="open")).text
    assert "Thank you" not in (await max_.get("/cases", view="mine")).text
    page = (await max_.get(f"/cases/{case}")).text
    assert re.search(
        r"<strong>Thanks</strong>\s*→ <bdi>li@example.com</bdi>\s*<span>praise, after the customer was told</span>",
        page,
    )
    site.world.clock.advance(timedelta(days=31))
    assert "Thank you" not in (await (await site.sign_in("li@example.com")).get("/cases", view="mine")).text
