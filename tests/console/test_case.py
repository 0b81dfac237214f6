"""A case's page: what is shown, what is done, and what is refused."""

import re

import pytest

from shared.people import OPERATOR
from tests.closer.world import feedback
from tests.console.site import Console, Visitor


async def _case(site: Console, **changes: object) -> str:
    value = feedback(**changes)
    await site.world.take(value)
    return str((await site.world.case(value["id"]))["id"])


async def _state(site: Console, case: str) -> str:
    rows = await site.queries.rows("SELECT state FROM published.cases WHERE id = CAST(:id AS uuid)", id=case)
    return str(rows[0]["state"])


async def test_what_was_said_why_it_is_ours_and_by_when(site: Console) -> None:
    case = await _case(
        site, text="<script>alert(1)</script> 退款呢？\u202e", customer={"id": "c-1", "name": "<b>Ann</b>"}
    )
    await _case(site, theme="login", customer={"id": "c-1", "name": "<b>Ann</b>"})
    page = await (await site.sign_in()).get(f"/cases/{case}")
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 退款呢？" in page.text
    assert "\u202e" not in page.text
    assert "<b>Ann" not in page.text
    assert "Rule &#39;refunds&#39; matched: refund." in page.text
    assert page.text.count("data-due") >= 6, "three promises on two clocks"
    assert "login" in page.text, "their other case"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


async def test_what_the_customer_feels_and_what_presses_in_the_readers_language(site: Console) -> None:
    told = [
        {"code": "emotion.words", "text": "The words are those of anger.", "emotion": "anger", "words": ["<furious>"]},
        {"code": "urgency.causes", "text": "What presses.", "urgency": [{"cause": "legal", "words": ["lawyer"]}]},
    ]
    case = await _case(site, reasons=told)
    plain = await _case(site, theme="login", customer={"id": "c-2"})
    said = (await site.queries.rows("SELECT id FROM published.feedback WHERE reasons::text LIKE '%furious%'"))[0]["id"]
    for language, anger, legal in (("en", "Anger", "Legal steps"), ("zh-CN", "愤怒", "法律风险")):
        somebody = await site.sign_in(OPERATOR, None, **{"Accept-Language": language})
        for path in (f"/cases/{case}", f"/feedback/{said}"):
            page = (await somebody.get(path)).text
            assert f'{anger}</span> <small dir="auto">&lt;furious&gt;</small>' in page
            assert f'{legal}</span> <small dir="auto">lawyer</small>' in page
        assert "tag emotion" not in (await somebody.get(f"/cases/{plain}")).text


async def test_the_answer_as_the_customer_will_see_it_and_then_sent(site: Console) -> None:
    case = await _case(site)
    li = await site.sign_in("li@example.com")
    await li.get(f"/cases/{case}")
    preview = await li.post(
        f"/cases/{case}/preview", {"answer": "We <paid> it back.", "verb": "resolve", "language": "en"}
    )
    assert preview.status_code == 200
    assert "We &lt;paid&gt; it back." in preview.text
    assert "ann@example.com" in preview.text
    assert "sandbox" in preview.headers["content-security-policy"]
    assert await _state(site, case) == "open", "a preview changes nothing"
    sent = await li.post(f"/cases/{case}/answer", {"answer": "We paid it back.", "verb": "resolve", "version": "1"})
    assert sent.headers["location"] == f"/cases/{case}?"
    page = (await li.get(f"/cases/{case}")).text
    assert "resolved. The customer will be told." in page
    assert "We paid it back." in page


async def test_a_preview_says_why_nobody_would_be_told(site: Console) -> None:
    case = await _case(site, customer={"id": "c-1"})
    li = await site.sign_in("li@example.com")
    preview = await li.post(f"/cases/{case}/preview", {"answer": "Done.", "verb": "decline"})
    assert "no e-mail address is known" in preview.text
    assert "must hold something" in (await li.post(f"/cases/{case}/preview", {"answer": " \u200b "})).text


@pytest.mark.parametrize(
    "verb", ["acknowledge", "assign", "note", "wait", "resume", "reopen", "reassign", "merge", "resolve"]
)
async def test_what_the_state_does_not_allow_is_said_and_nothing_typed_is_lost(site: Console, verb: str) -> None:
    case = await _case(site)
    li = await site.sign_in("li@example.com")
    await li.post(f"/cases/{case}/resolve", {"answer": "Done."})
    form = {"text": "a note", "reason": "for a reason", "to": "li@example.com", "answer": "Once more.", "into": case}
    answer = await li.post(f"/cases/{case}/{verb}", form)
    if verb == "reopen":
        assert answer.status_code == 303
        return
    assert answer.status_code in (409, 422)
    assert 'role="alert"' in answer.text
    assert "still below" in answer.text


async def test_somebody_else_was_first(site: Console) -> None:
    case = await _case(site)
    li, max_ = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")
    await max_.post(f"/cases/{case}/note", {"text": "The warehouse has it."})
    answer = await li.post(
        f"/cases/{case}/answer", {"answer": "A long text that I wrote.", "verb": "resolve", "version": "1"}
    )
    assert answer.status_code == 412
    assert "Somebody changed this case meanwhile" in answer.text
    assert "A long text that I wrote.</textarea>" in answer.text
    assert "The warehouse has it." in answer.text


async def test_who_else_is_here_viewing_and_editing_apart(site: Console) -> None:
    case = await _case(site)
    li, max_ = await site.sign_in("li@example.com"), await site.sign_in("max@example.com")

    async def here(visitor: Visitor, doing: str) -> str:
        answer = await visitor.post(f"/cases/{case}/presence", {"doing": doing})
        assert answer.status_code == 200, answer.text
        return answer.text

    assert (await here(li, "viewing")).strip() == ""
    assert "li@example.com is viewing" in await here(max_, "editing")
    assert "max@example.com is writing an answer" in await here(li, "viewing")
    await here(max_, "leaving")
    assert (await here(li, "viewing")).strip() == ""


async def test_after_an_action_the_next_case_where_one_came_from_a_queue(site: Console) -> None:
    one, other = await _case(site), await _case(site, customer={"id": "c-2"})
    li = await site.sign_in("li@example.com")
    form = {"answer": "Done.", "verb": "resolve", "from": "?view=open", "then": "next"}
    answer = await li.post(f"/cases/{one}/answer", form)
    assert answer.headers["location"] == f"/next?view=open&but={one}"
    answer = await li.get(answer.headers["location"])
    assert answer.headers["location"].startswith(f"/cases/{other}?from=")


async def test_each_verb_can_open_the_next_but_only_where_one_came_from_a_queue(site: Console) -> None:
    case = await _case(site)
    li = await site.sign_in("li@example.com")
    page = (await li.get(f"/cases/{case}", **{"from": "?view=open"})).text
    forms = re.findall(r'<form method="post" action="/cases/[^"]*/(\w+)">(.*?)</form>', page, re.DOTALL)
    verbs = {verb for verb, _ in forms}
    assert verbs >= {"acknowledge", "assign", "note", "reassign", "merge"}
    assert all('name="then" value="next"' in inside for _, inside in forms)
    assert 'name="then"' not in (await li.get(f"/cases/{case}")).text


@pytest.mark.parametrize("path", ["9f0c9d4e-0000-4000-8000-000000000000", "nonsense", "%00"])
async def test_no_such_case(site: Console, path: str) -> None:
    answer = await (await site.sign_in()).get(f"/cases/{path}")
    assert answer.status_code in (400, 404, 422)
    assert answer.headers["content-type"].startswith("text/html")


async def test_another_workspace_s_case_is_none(site: Console) -> None:
    case = await _case(site)
    async with site.world.transactions.begin() as driver:
        await driver.execute("INSERT INTO shared.workspace (name) VALUES ('acme')")
        await driver.execute("UPDATE closer.case SET workspace = 'acme' WHERE id = $1", case)
    one = await site.sign_in()
    assert (await one.get(f"/cases/{case}")).status_code == 404
    assert (await one.post(f"/cases/{case}/acknowledge")).status_code == 404


async def test_what_was_judged_wrongly_is_corrected_where_it_is_read(site: Console) -> None:
    """On the case's page, and of feedback that has no case on its own."""
    case = await _case(site)
    praise = feedback(kind="praise", follow_up=False)
    await site.world.take(praise)
    li = await site.sign_in("li@example.com")
    first = (await site.queries.rows("SELECT first_feedback_id FROM published.cases"))[0]["first_feedback_id"]
    page = (await li.get(f"/cases/{case}")).text
    assert f'action="/feedback/{first}/correction"' in page
    told = await li.post(f"/feedback/{first}/correction", {"case": case, "team": "product", "kind": "bug"})
    assert told.headers["location"] == f"/cases/{case}"
    assert "Corrected" in (await li.get(f"/cases/{case}")).text
    (row,) = await site.queries.rows("SELECT team, kind FROM published.cases")
    assert (row["team"], row["kind"]) == ("product", "bug")
    assert f'action="/feedback/{praise["id"]}/correction"' in (await li.get(f"/feedback/{praise['id']}")).text
    told = await li.post(f"/feedback/{praise['id']}/correction", {"case": "nonsense", "kind": "complaint"})
    assert told.headers["location"] == f"/feedback/{praise['id']}"
    assert [one["id"] for one in await site.world.outbox("feedback.corrections")] == [str(first), praise["id"]]
