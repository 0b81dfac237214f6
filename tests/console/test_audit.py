"""Who did what, of both kinds, in one order; for leads."""

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest

from services.console.render import words
from services.console.visit import LANGUAGES
from shared import sessions
from shared.people import Person
from shared.sessions import ACTIONS, Action, Audit
from tests.closer.world import feedback
from tests.console.site import Console, Visitor
from tests.console.test_cases import opened


async def lines(visitor: Visitor, path: str = "/audit", **params: str) -> list[tuple[str, str]]:
    """(who, what), the newest first."""
    page = await visitor.get(path, **params)
    assert page.status_code == 200, page.text
    found = re.findall(r'data-label="Person"><bdi>(.*?)</bdi>.*?data-label="Action">(.*?)</td>', page.text, re.DOTALL)
    return [(who, what) for who, what in found]


async def test_what_people_did_stands_there_and_what_nobody_did_does_not(site: Console) -> None:
    first, second = await opened(site, *(feedback(customer={"id": f"c-{n}"}, priority="urgent") for n in range(2)))
    li = await site.sign_in("li@example.com")
    site.world.clock.advance(timedelta(minutes=1))
    await li.post(f"/cases/{first}/assign", {"to": "max@example.com"})
    site.world.clock.advance(timedelta(hours=3))
    await site.world.timers.fire_due()
    await li.post(f"/cases/{second}/note", {"text": "a word among us"})
    site.world.clock.advance(timedelta(minutes=1))
    lead = await site.sign_in("max@example.com")
    await li.post("/logout")
    assert await lines(lead) == [
        ("max@example.com", "Signed in"),
        ("li@example.com", "Signed out"),
        ("li@example.com", "Note"),
        ("li@example.com", "Assigned"),
        ("li@example.com", "Signed in"),
    ] or await lines(lead) == [
        ("li@example.com", "Signed out"),
        ("max@example.com", "Signed in"),
        ("li@example.com", "Note"),
        ("li@example.com", "Assigned"),
        ("li@example.com", "Signed in"),
    ]
    page = (await lead.get("/audit")).text
    assert f'href="/cases/{first}"' in page
    assert "→ <bdi>max@example.com</bdi>" in page
    assert "a word among us" not in page, "words stand on the case"


@pytest.mark.parametrize(
    ("filters", "finds"),
    [
        ({"person": "li@example.com"}, ["Note", "Signed in"]),
        ({"person": "li@example.com", "action": "noted"}, ["Note"]),
        ({"person": "li@example.com", "action": "signed-in"}, ["Signed in"]),
        ({"person": "li@example.com", "action": "resolved"}, []),
        ({"action": "noted"}, ["Note"]),
        ({"action": "acknowledged"}, ["Acknowledged"]),
        ({"person": "nobody@example.com"}, []),
        ({"person": "system"}, []),
        ({"person": "' OR true --"}, []),
        ({"action": "no-such-action", "person": "max@example.com"}, ["Acknowledged", "Signed in"]),
    ],
)
async def test_by_person_and_by_action(site: Console, filters: dict[str, str], finds: list[str]) -> None:
    (case,) = await opened(site, feedback())
    li, lead = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    site.world.clock.advance(timedelta(minutes=1))
    await li.post(f"/cases/{case}/note", {"text": "…"})
    await lead.post(f"/cases/{case}/acknowledge")
    assert [what for _, what in await lines(lead, **filters)] == finds


@pytest.mark.parametrize("person", ["", "li@example.com"])
async def test_pages_show_every_line_once_even_those_of_one_moment(site: Console, person: str) -> None:
    cases = await opened(site, *(feedback(customer={"id": f"c-{n}"}) for n in range(60)))
    li, lead = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    for number, case in enumerate(cases):  # a minute each for some, one moment for the rest
        await li.post(f"/cases/{case}/acknowledge")
        await li.post(f"/cases/{case}/note", {"text": "…"})
        if number < 10:
            site.world.clock.advance(timedelta(minutes=1))
    seen: list[str] = []
    path: str | None = f"/audit?person={person}"
    for _ in range(5):
        page = (await lead.get(path)).text if path else ""
        for row in page.split("<tr>"):
            found = re.search(r'data-label="Action">(.*?)</td>.*?href="/cases/([0-9a-f-]{36})"', row, re.DOTALL)
            seen += [found[0]] if found else []
        more = re.search(r'href="(/audit[^"]*)" rel="next"', page)
        path = more[1].replace("&amp;", "&") if more else None
    assert path is None
    assert len(seen) == len(set(seen)) == 2 * len(cases)
    for after in ("nonsense", "2026-11-23T09:30:00+00:00~", "~x", "0001-01-01T00:00:00+23:59~x", "x~" + "y" * 100):
        assert (await lead.get("/audit", after=after)).status_code == 400


@pytest.mark.parametrize(
    ("who", "status"), [("vera@example.com", 403), ("li@example.com", 403), ("ada@example.com", 200)]
)
async def test_it_is_for_leads(site: Console, who: str, status: int) -> None:
    one = await site.sign_in(who)
    assert (await one.get("/audit")).status_code == status
    assert ('href="/audit"' in (await one.get("/cases")).text) == (status == 200)
    assert (await (await site.nobody()).get("/audit")).headers["location"] == "/login?next=/audit"


def recorded() -> set[str]:
    """What is given as the action of a `record`, `record_all` or `_record`, or stands under a name of that type."""
    found = set[str]()
    root = Path(sessions.__file__).parents[1]
    for path in [*root.glob("services/**/*.py"), *root.glob("shared/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case (
                    ast.Call(
                        func=ast.Attribute(attr="record" | "record_all" | "_record"),
                        args=[_, _, ast.Constant(value=str() as action), *_],
                    )
                    | ast.AnnAssign(annotation=ast.Name(id="Action"), value=ast.Constant(value=str() as action))
                ):
                    found.add(action)
    return found


def test_every_action_that_is_recorded_has_its_words_and_none_else() -> None:
    assert recorded() == set(ACTIONS)
    for language in LANGUAGES:
        named = {key.removeprefix("action.") for key in words(language) if key.startswith("action.")}
        assert named == set(ACTIONS), language


@pytest.mark.parametrize("action", ["dead-letter.redriven", "dead-letter.not-redriven", "import.uploaded"])
async def test_each_of_them_can_be_filtered_by(site: Console, action: Action) -> None:
    lead = await site.sign_in("max@example.com")
    audit = Audit(site.world.database, site.world.clock)
    for one in ("signed-out", action):
        await audit.record("default", Person("max@example.com", "lead"), one, "7")
    assert await lines(lead, action=action) == [("max@example.com", words("en")[f"action.{action}"])]


async def test_no_timeline_is_read_through(site: Console) -> None:
    """A million cases have ten million steps."""
    from sqlalchemy import text

    from services.console.pages import audit

    of_each = audit._OF_EACH.format(steps=audit._STEPS.format(which="what = one.what" + audit._AFTER))
    of_one = audit._STEPS.format(which="actor = :person AND what = ANY(:steps)" + audit._AFTER)
    values = {
        "workspace": "default",
        "steps": list(audit.STEPS),
        "limit": 51,
        "after_at": site.world.clock.now(),
        "after_place": "x",
    }
    for statement, index in ((of_each, "timeline_step"), (of_one, "timeline_person")):
        async with site.world.database.transaction() as connection:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            given = values | ({"person": "li@example.com"} if ":person" in statement else {})
            plan = "\n".join(row[0] for row in await connection.execute(text("EXPLAIN " + statement), given))
        assert re.search(rf"Index Scan Backward using {index}", plan), plan
        assert "Incremental Sort" in plan, plan
