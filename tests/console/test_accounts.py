"""Accounts and customers as people see them: what is known, said and done, side by side; and what is measured of what
customers do by themselves."""

import re
from datetime import timedelta
from typing import Any

import pytest

from services.console.lately import SHOWN
from services.console.pages import accounts
from services.console.pages.case import LATELY_SHOWN
from shared.events.envelope import rfc3339
from tests.closer.test_accounts import ACME, did, noted
from tests.closer.world import START, feedback
from tests.console.site import Console, Visitor

ANN = {"id": "c-1", "name": "Ann", "account_id": "acme"}
BO = {"id": "c-2", "name": "Bo <b>", "account_id": "acme"}


async def put(site: Console, account_id: str, **body: Any) -> None:
    key = (await site.runtime.keys.create("default", "crm", ["cases:write"])).key
    visitor = await site.nobody(Authorization=f"Bearer {key}")
    answer = await visitor.http.put(f"/v1/accounts/{account_id}", json=body)
    assert answer.status_code in (200, 201), answer.text


def section(page: str, identity: str) -> str:
    """What stands under that heading."""
    return page.partition(f'id="{identity}"')[2].partition("</section>")[0]


async def at_acme(site: Console) -> dict[str, Any]:
    """Two colleagues of one company, of whom each says something and one gives up waiting."""
    await put(site, "acme", **ACME)
    said = [feedback(customer=ANN), feedback(customer=BO, text="The app is <i>slow</i>.", theme="speed")]
    await site.world.take(*said, feedback(customer={"id": "c-9", "account_id": "other"}, text="Of somebody else"))
    gone = noted(customer=BO, activity="contact.abandoned", attributes={"waited_s": 312, "channel": "call"})
    await did(site.world, gone, noted(customer={"id": "c-9", "account_id": "other"}, activity="elsewhere"))
    return said[0]


async def test_the_case_shows_the_account_and_what_others_there_said_and_did(site: Console) -> None:
    case = (await site.world.case((await at_acme(site))["id"]))["id"]
    page = (await (await site.sign_in()).get(f"/cases/{case}")).text
    shown = section(page, "account")
    for part in (
        "Acme 有限公司",
        "enterprise",
        "120,000 EUR",
        "2027-03-31",
        "li@example.com",
        "Half the calls to support",
    ):
        assert part in shown, part
    assert 'href="/accounts/acme"' in shown
    assert "The app is &lt;i&gt;slow&lt;/i&gt;." in shown
    assert "Bo &lt;b&gt;" in shown
    assert "Where is my refund?" not in shown, "what the customer said stands above already"
    assert "Gave up after 312 s" in shown
    assert "somebody else" not in page
    assert "elsewhere" not in page


async def test_without_an_account_a_case_shows_what_its_customer_did(site: Console) -> None:
    value = feedback(customer={"id": "c-7"})
    await site.world.take(value, feedback(customer=None, text="Of nobody"))
    await did(site.world, noted(customer={"id": "c-7"}, activity="login", attributes={"device": "<phone>"}))
    visitor = await site.sign_in()
    shown = section((await visitor.get(f"/cases/{(await site.world.case(value['id']))['id']}")).text, "account")
    assert "login" in shown
    assert "device: &lt;phone&gt;" in shown
    nobody = await site.queries.rows("SELECT id FROM published.cases WHERE customer IS NULL")
    page = (await visitor.get(f"/cases/{nobody[0]['id']}")).text
    assert 'id="account"' not in page


async def test_an_accounts_page_and_its_customers(site: Console) -> None:
    await at_acme(site)
    visitor = await site.sign_in()
    page = (await visitor.get("/accounts/acme")).text
    assert "Where is my refund?" in section(page, "heard")
    assert "The app is &lt;i&gt;slow" in section(page, "heard")
    assert "Gave up after 312 s" in section(page, "done")
    assert section(page, "open").count("/cases/") == 2
    assert 'href="/customers/c-2"' in page
    bo = (await visitor.get("/customers/c-2")).text
    assert "The app is &lt;i&gt;slow" in section(bo, "heard")
    assert "Gave up after 312 s" in section(bo, "done")
    assert "Where is my refund?" not in bo
    assert 'href="/accounts/acme"' in bo


async def test_an_account_that_nobody_put_is_a_name_with_what_was_said(site: Console) -> None:
    await site.world.take(feedback(customer={"id": "c-1", "account_id": "eu/ACME <GmbH>"}))
    visitor = await site.sign_in()
    page = await visitor.get("/accounts/eu/ACME%20%3CGmbH%3E")
    assert page.status_code == 200
    assert "nobody has put anything about it yet" in page.text
    assert "Where is my refund?" in page.text
    assert "<GmbH>" not in page.text
    for path in ("/accounts/nowhere", "/customers/nobody"):
        assert (await visitor.get(path)).status_code == 404


async def test_another_workspaces_account_and_customer_are_not_there(site: Console) -> None:
    await site.world.rows(
        "INSERT INTO closer.account (workspace, id, name, outcome_reached, created_at, updated_at)"
        " VALUES ('other', 'acme', 'Theirs', false, now(), now())"
    )
    await site.world.rows(
        "INSERT INTO closer.activity (workspace, id, customer, account, activity, source, at, received_at, attributes)"
        " VALUES ('other', gen_random_uuid(), 'c-1', 'acme', 'login', '', now(), now(), '{}')"
    )
    visitor = await site.sign_in()
    assert "Theirs" not in (await visitor.get("/accounts")).text
    assert (await visitor.get("/accounts/acme")).status_code == 404
    assert (await visitor.get("/customers/c-1")).status_code == 404


async def test_the_list_has_the_next_renewal_first_and_finds_by_name_in_both_languages(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "PAGE", 2)
    await at_acme(site)
    await put(site, "late", name="Late Ltd", renewal_on="2026-01-01")
    await put(site, "none", name="No Date AG")
    visitor = await site.sign_in()

    async def walked(address: str) -> list[str]:
        found: list[str] = []
        while address:
            page = (await visitor.get(address)).text
            found += re.findall(r'href="/accounts/([^"?]+)"', page)
            onward = re.search(r'<a href="(/accounts\?[^"]*)" rel="next">', page)
            address = onward[1].replace("&amp;", "&") if onward else ""
        return found

    assert await walked("/accounts") == ["late", "acme", "none"]
    assert await walked("/accounts?order=id") == ["acme", "late", "none"]
    assert await walked("/accounts?q=有限公司") == ["acme"]
    page = (await visitor.get("/accounts")).text
    assert re.search(r'data-label="Open cases">2</td>', page)
    assert "Gave up after 312 s" in page
    assert ">past<" in page
    assert "Nothing was found" in (await visitor.get("/accounts?q=nobody")).text
    assert (await visitor.get("/accounts?after=nonsense")).status_code == 400
    chinese = await site.sign_in("wang@example.cn")
    page = (await chinese.get("/accounts")).text
    assert "客户公司" in page
    assert "等了 312 秒后放弃" in page
    assert '<a href="/accounts" aria-current="page">' in page, "it is in the navigation"


async def test_pages_are_bounded(site: Console) -> None:
    many = [feedback(customer=ANN, text=f"Word {n}") for n in range(SHOWN + 3)]
    await site.world.take(*many, *(feedback(customer=BO, text=f"Said-{n}") for n in range(LATELY_SHOWN + 2)))
    await did(site.world, *(noted(activity=f"deed-{n}") for n in range(SHOWN + 3)))
    visitor = await site.sign_in()
    for path in ("/accounts/acme", "/customers/c-1"):
        page = (await visitor.get(path)).text
        assert (page.count("Word ") + page.count("Said-"), page.count("deed-")) == (SHOWN, SHOWN), path
    case = (await site.world.case(many[0]["id"]))["id"]
    shown = section((await visitor.get(f"/cases/{case}")).text, "account")
    assert (shown.count("Said-"), shown.count("deed-")) == (LATELY_SHOWN, LATELY_SHOWN)


async def test_the_customer_as_json(site: Console) -> None:
    await at_acme(site)
    praise = feedback(customer=BO, text="Lovely people", follow_up=False)
    await site.world.take(praise)
    key = (await site.runtime.keys.create("default", "crm", ["cases:read"])).key
    visitor = await site.nobody(Authorization=f"Bearer {key}")
    found = (await visitor.get("/v1/customers/c-2")).json()
    assert (found["id"], found["name"], found["accounts"]) == ("c-2", "Bo <b>", ["acme"])
    assert {one["text"] for one in found["feedback"]} == {"The app is <i>slow</i>.", "Lovely people"}
    assert [one["activity"] for one in found["activity"]] == ["contact.abandoned"]
    assert [case["theme"] for case in found["cases"]] == ["speed"]
    assert (await visitor.get("/v1/customers/nobody")).status_code == 404
    await site.world.rows("INSERT INTO shared.workspace (name, created_at) VALUES ('other', now())")
    other = (await site.runtime.keys.create("other", "crm", ["cases:read"])).key
    theirs = await site.nobody(Authorization=f"Bearer {other}")
    assert (await theirs.get("/v1/customers/c-2")).status_code == 404


# ── what is measured ──


async def measured(site: Console, **params: str) -> dict[str, Any]:
    key = (await site.runtime.keys.create("default", "bi", ["cases:read"])).key
    visitor: Visitor = await site.nobody(Authorization=f"Bearer {key}")
    answer = await visitor.get("/v1/measures", **params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def gave_up(channel: str, ago: timedelta = timedelta(hours=1)) -> dict[str, Any]:
    deed = {"waited_s": 90, "channel": channel}
    return noted(activity="contact.abandoned", attributes=deed, received_at=rfc3339(START - ago))


async def test_abandonment_is_a_share_of_the_contacts_on_channels_that_tell_of_it(site: Console) -> None:
    (none,) = (await measured(site))["items"]
    assert none["measures"]["abandonment_rate"]["value"] is None, "nobody says so: that is not 0"
    calls = [feedback(channel="call", customer={"id": f"caller-{n}"}) for n in range(3)]
    others = [
        feedback(channel="call", customer={"id": "caller-0"}, text="The same case again"),
        feedback(channel="email", customer={"id": "writer"}),
        feedback(channel="call", customer={"id": "old"}, history=True),
        feedback(channel="call", customer={"id": "happy"}, follow_up=False),
    ]
    await site.world.take(*calls, *others)
    assert (await measured(site))["items"][0]["measures"]["abandonment_rate"]["value"] is None
    await did(site.world, gave_up("call"), gave_up("call", timedelta(days=9)), gave_up("chat"))
    found = (await measured(site))["items"][0]["measures"]["abandonment_rate"]
    assert (found["numerator"], found["denominator"], found["value"]) == (2, 5, 0.4)
    assert found["of"] == "contacts sought, on channels that say when somebody gives up"
    by_team = {group["group"]: group["measures"] for group in (await measured(site, by="team"))["items"]}
    assert by_team["support"]["abandonment_rate"]["value"] is None, "who gave up waited for no team"


async def test_searches_without_a_result_are_counted_and_listed(site: Console) -> None:
    searches = [
        noted(activity="help.searched", attributes={"query": query, "results": results}, customer={"id": "visit-1"})
        for query, results in (("发票 <b>", 0), ("refund", 4), ("退款", 0))
    ]
    strange = noted(activity="help.searched", attributes={"query": "x", "results": "many"})
    await did(
        site.world, *searches, strange, noted(activity="help.viewed", attributes={"article": "kb/1", "helpful": False})
    )
    found = (await measured(site))["items"][0]["measures"]["searches_without_result"]
    assert (found["numerator"], found["denominator"]) == (2, 4)
    visitor = await site.sign_in()
    page = (await visitor.get("/measures")).text
    address = re.search(r'href="(/measures/searches_without_result/rows\?[^"]*numerator[^"]*)"', page)
    assert address
    listed = (await visitor.get(address[1].replace("&amp;", "&"))).text
    assert "发票 &lt;b&gt;" in listed
    assert "退款" in listed
    assert "refund" not in listed
    assert "kb/1" in (await visitor.get("/customers/c-1")).text
