"""Initiatives as people see them: begun, given cases, shipped; and which of them are there already while customers wait."""

import re
from typing import Any

from services.closer.check import check
from services.closer.news import News
from tests.closer.test_works import ended
from tests.closer.world import decision, feedback
from tests.console.site import Console


async def opened(site: Console, text: str, customer: str) -> str:
    value = feedback(text=text, customer={"id": customer, "email": f"{customer}@example.com"})
    await site.world.take(value)
    return str((await site.world.case(value["id"]))["id"])


async def heard(site: Console, **changes: Any) -> str:
    work = ended(**changes)
    await site.world.send(decision(work))
    async with site.world.running():
        await site.world.caught_up()
    in_force = check(site.world.config)
    while await News(site.world.unit, lambda: in_force).settle():
        pass
    return str(work["id"])


async def begun(site: Console, *cases: str) -> tuple[Any, str]:
    visitor = await site.sign_in("li@example.com")
    await visitor.get("/initiatives")
    form = {"title": "Dark <b>mode</b>", "work": "jira JIRA-7\n", "cases": "\n".join(cases)}
    answer = await visitor.post("/initiatives", form)
    assert answer.status_code == 303, answer.text
    return visitor, answer.headers["location"]


async def test_one_is_begun_with_cases_by_id_or_address_and_shipped(site: Console) -> None:
    first, second = await opened(site, "Dark mode?", "ann"), await opened(site, "My eyes.", "bo")
    visitor, place = await begun(site, f"{site.url}/cases/{first}?from=x", second)
    page = (await visitor.get(place)).text
    for part in ("Dark &lt;b&gt;mode&lt;/b&gt;", f'href="/cases/{first}"', f'href="/cases/{second}"', "jira JIRA-7"):
        assert part in page, part
    assert "tell the customers (2)" in page
    assert f'href="{place}"' in (await visitor.get(f"/cases/{first}")).text
    await visitor.post(f"{place}/take_out", {"case": second})
    assert f'href="/cases/{second}"' not in (await visitor.get(place)).text
    await visitor.post(f"{place}/cases", {"cases": second})
    answer = await visitor.post(f"{place}/answer", {"verb": "ship", "answer": "It is there.", "language": "en"})
    assert answer.status_code == 303, answer.text
    page = (await visitor.get(place)).text
    assert "Its customers will be told" in page
    assert "It is there." in page
    assert "<textarea" not in page
    assert f'href="{place}"' in (await visitor.get("/initiatives", state="shipped")).text
    states = await site.world.rows("SELECT DISTINCT state FROM closer.case")
    assert [row["state"] for row in states] == ["resolved"]


async def test_cases_that_are_chosen_in_the_queue_go_into_an_initiative(site: Console) -> None:
    first, second, third = [await opened(site, text, text) for text in ("one", "two", "three")]
    visitor, place = await begun(site, first)
    queue = (await visitor.get("/cases")).text
    identity = place.rpartition("/")[2]
    assert f'<option value="{identity}">Dark &lt;b&gt;mode&lt;/b&gt;</option>' in queue
    chosen = {"verb": "initiative", "id": [second, third], "initiative": identity, "back": "/cases"}
    answer = await visitor.post("/cases/bulk", chosen)
    assert (answer.status_code, answer.headers["location"]) == (303, place)
    page = (await visitor.get(place)).text
    assert all(f'href="/cases/{case}"' in page for case in (first, second, third))
    refused = await visitor.post("/cases/bulk", chosen | {"id": "01234567-0123-7123-8123-0123456789ab"})
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    nowhere = chosen | {"initiative": "01234567-0123-7123-8123-0123456789ab"}
    assert (await visitor.post("/cases/bulk", nowhere)).status_code == 404
    assert (await visitor.post("/cases/bulk", chosen | {"initiative": "../x"})).status_code == 404


async def test_cases_that_are_chosen_in_the_queue_wait_in_the_form_of_a_new_initiative(site: Console) -> None:
    first, second = await opened(site, "one", "ann"), await opened(site, "two", "bo")
    visitor = await site.sign_in("li@example.com")
    await visitor.get("/cases")
    chosen = {"verb": "initiative", "id": [first, second], "initiative": "", "back": "/cases"}
    answer = await visitor.post("/cases/bulk", chosen)
    assert answer.status_code == 303
    place, _, anchor = answer.headers["location"].partition("#")
    page = (await visitor.get(place)).text
    assert f">{first}\n{second}</textarea>" in page
    assert f'id="{anchor}"' in page
    none = await visitor.post("/cases/bulk", chosen | {"id": []})
    assert none.headers["location"] == "/cases"


async def test_what_is_shipped_upstream_says_how_many_wait_and_the_form_is_one_click_away(site: Console) -> None:
    case = await opened(site, "Dark mode?", "ann")
    visitor, place = await begun(site, case)
    words = "shipped upstream; customers who wait to be told: 1"
    assert words not in (await visitor.get("/initiatives")).text
    event = await heard(site)
    for path in ("/initiatives", "/initiatives?state=upstream", place, "/cases"):
        assert words in (await visitor.get(path)).text, path
    assert f'href="{place}#ship"' in (await visitor.get("/cases")).text
    assert "JIRA-7 was shipped in jira" in (await visitor.get(f"/cases/{case}")).text
    assert "Who waits for it can see it" in (await visitor.get(f"/feedback/{event}")).text
    await visitor.post(f"{place}/answer", {"verb": "ship", "answer": "It is there."})
    for path in ("/initiatives", place, "/cases"):
        assert words not in (await visitor.get(path)).text, path


async def test_an_answer_that_is_saved_is_sent_when_the_work_is_shipped(site: Console) -> None:
    case = await opened(site, "Dark mode?", "ann")
    visitor, place = await begun(site, case)
    await visitor.post(f"{place}/answer", {"verb": "prepare", "answer": "It is there.", "language": "en"})
    assert "Nothing was sent" in (await visitor.get(place)).text
    event = await heard(site)
    assert "Its initiative was shipped" in (await visitor.get(f"/feedback/{event}")).text
    found = await site.world.rows("SELECT state, answer FROM published.cases")
    assert [(row["state"], row["answer"]) for row in found] == [("resolved", "It is there.")]


async def test_an_answer_that_was_emptied_is_not_sent(site: Console) -> None:
    visitor, place = await begun(site, await opened(site, "Dark mode?", "ann"))
    await visitor.post(f"{place}/answer", {"verb": "prepare", "answer": "It is there.", "language": "en"})
    answer = await visitor.post(f"{place}/answer", {"verb": "ship", "answer": " ", "language": "en"})
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    states = await site.world.rows("SELECT DISTINCT state FROM closer.case")
    assert [row["state"] for row in states] == ["open"]


async def test_a_case_that_was_merged_twice_waits_as_the_last_one_does(site: Console) -> None:
    first, second, third = [await opened(site, "Dark mode?", one) for one in ("ann", "bo", "cy")]
    visitor, place = await begun(site, first)
    for one, into in ((first, second), (second, third)):
        assert (await visitor.post(f"/cases/{one}/merge", {"into": into})).status_code == 303
    await heard(site)
    assert "shipped upstream; customers who wait to be told: 1" in (await visitor.get(place)).text


async def test_what_is_refused_comes_back_with_what_was_typed(site: Console) -> None:
    visitor, place = await begun(site)
    for path, form, typed in (
        ("/initiatives", {"title": "Looks", "cases": "nonsense"}, 'value="Looks"'),
        ("/initiatives", {"title": "Looks", "work": "jira"}, ">jira</textarea>"),
        (f"{place}/cases", {"cases": "00000000-0000-4000-8000-000000000000"}, "00000000-0000"),
        (f"{place}/answer", {"verb": "ship", "answer": ""}, 'role="alert"'),
    ):
        answer = await visitor.post(path, form)
        assert answer.status_code == 422, path
        assert 'role="alert"' in answer.text
        assert typed in answer.text
    assert (await visitor.post(f"{place}/nothing")).status_code == 404
    for case in ("../../../accounts/acme", "a\x01b", "x" * 5_000, ""):
        assert (await visitor.post(f"{place}/take_out", {"case": case})).status_code == 404, case
    assert (await visitor.get("/initiatives", page="0")).status_code == 400
    assert (await visitor.get("/initiatives/00000000-0000-4000-8000-000000000000")).status_code == 404


async def test_who_may_only_look_sees_no_form_and_ships_nothing(site: Console) -> None:
    _, place = await begun(site, await opened(site, "Dark mode?", "ann"))
    viewer = await site.sign_in("vera@example.com")
    assert not re.search(r'<form[^>]*action="/initiatives', (await viewer.get(place)).text)
    answer = await viewer.post(f"{place}/answer", {"verb": "ship", "answer": "It is there."})
    assert answer.status_code == 403


async def test_in_chinese(site: Console) -> None:
    _, place = await begun(site, await opened(site, "深色模式？", "ann"))
    await heard(site)
    chinese = await site.sign_in("wang@example.cn")
    assert "上游已交付：1 位客户等待告知" in (await chinese.get(place)).text
