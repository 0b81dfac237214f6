"""Files that a person takes away from a page: what they hold, who may, and that it is recorded."""

import csv
import html
import io
import json
import re

import pytest

from tests.closer.world import feedback
from tests.console.site import Console, Visitor
from tests.console.test_cases import ids, opened


async def taken(visitor: Visitor, page: str, form: str) -> str:
    """The address that this page offers for that form."""
    found = re.search(rf'href="(/export/\w+\.{form}[^"]*)"', (await visitor.get(page)).text)
    assert found, page
    return html.unescape(found[1])


@pytest.mark.parametrize(
    "shows", ["?view=open", "?view=mine", "?view=unassigned", "?view=open&team=sales", "?view=finished", "?view=all"]
)
async def test_the_file_holds_what_the_list_shows(site: Console, shows: str) -> None:
    mine, other, done = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(3)))
    li = await site.sign_in("li@example.com")
    await li.post(f"/cases/{mine}/assign", {"to": "li@example.com"})
    await li.post(f"/cases/{other}/reassign", {"team": "sales"})
    await li.post(f"/cases/{done}/decline", {"answer": "We cannot."})
    listed = await ids(li, **dict(part.split("=") for part in shows[1:].split("&")))
    assert listed
    answer = await li.get(await taken(li, f"/cases{shows}", "csv"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="cases-default-')
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert sorted(row["id"] for row in rows) == sorted(listed)


async def test_what_was_said_can_be_taken_away_in_each_form(site: Console) -> None:
    values = [feedback(customer={"id": "c-1"}), feedback(customer={"id": "c-2"}, source="zendesk")]
    await opened(site, *values)
    li = await site.sign_in("li@example.com")
    lines = (await li.get(await taken(li, "/feedback", "jsonl"))).text.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {value["id"] for value in values}
    assert (await li.get(await taken(li, "/feedback", "xlsx"))).content.startswith(b"PK")
    some = (await li.get("/export/feedback.jsonl", source="zendesk")).text.splitlines()
    assert [json.loads(line)["id"] for line in some] == [values[1]["id"]]
    assert (await li.get("/export/feedback.pdf")).status_code == 422


async def test_who_took_what_away_stands_in_the_audit_trail(site: Console) -> None:
    await opened(site, feedback())
    li = await site.sign_in("li@example.com")
    await li.get(await taken(li, "/cases?view=open&team=support", "jsonl"))
    page = (await (await site.sign_in("max@example.com")).get("/audit", action="exported")).text
    for shown in ("li@example.com", "Exported", "cases.jsonl", "view=open&amp;team=support"):
        assert shown in page, shown


async def test_it_is_for_those_who_work_on_cases(site: Console) -> None:
    await opened(site, feedback())
    vera = await site.sign_in("vera@example.com")
    for page in ("/cases", "/feedback"):
        assert "/export/" not in (await vera.get(page)).text
    for what in ("cases", "feedback"):
        assert (await vera.get(f"/export/{what}.csv")).status_code == 403
        assert (await (await site.nobody()).get(f"/export/{what}.csv")).headers["location"].startswith("/login")
    assert await site.queries.rows("SELECT 1 FROM published.audit WHERE action = 'exported'") == []
