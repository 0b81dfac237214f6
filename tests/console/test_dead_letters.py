"""Dead letters as a lead goes through them: the list, one letter, and sending again in two steps."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from services.console.api import trace_of
from services.console.pages.dead_letters import CHOSEN_MAX, PAGE, SHOWN_CHARS, hex_dump, shown
from services.ingest.sources import read_sources
from shared.config.document import parse
from shared.events.dead_letter import DeadLetter
from shared.log import Message
from shared.topics import DEAD_LETTER, RECEIVED, REDRIVE
from tests.console.site import Console, Visitor

LETTER = DeadLetter(
    id="feedback.received/0/7",
    service="router",
    reason="wrong-type",
    detail="Expected `str`, got `int`",
    attempts=1,
    original_topic=RECEIVED,
    key=b"a customer's",
    value='{"text": 5, "note": "<script>alert(1)</script> 退款\u202e"}'.encode(),
    headers=[("ce_id", b"e1"), ("ce_source", b"app-store"), ("x", b"<b>\xff")],
)
HOOK = replace(
    LETTER,
    id="webhooks/zendesk-eu/0a1b",
    service="ingest",
    reason="unreadable-webhook",
    original_topic="webhooks/zendesk-eu",
    key=None,
    value=b"\xff\xfe\x00{oops",
    headers=[("http_user-agent", b"Zendesk")],
)


async def put(site: Console, *letters: DeadLetter) -> None:
    for letter in letters:
        await site.world.send(*letter.messages())


async def places(visitor: Visitor, **params: str) -> list[str]:
    answer = await visitor.get("/dead-letters", **params)
    assert answer.status_code == 200, answer.text
    return re.findall(r'name="letter" value="(\d+-\d+)"', answer.text)


async def lead(site: Console) -> Visitor:
    return await site.sign_in("max@example.com")


async def audited(site: Console) -> list[tuple[Any, ...]]:
    rows = await site.queries.rows("SELECT * FROM published.audit WHERE action LIKE 'dead-letter%' ORDER BY id")
    return [(row["person"], row["role"], row["action"], row["object"]) for row in rows]


async def test_none_is_good_news(site: Console) -> None:
    page = await (await lead(site)).get("/dead-letters")
    assert page.status_code == 200
    assert "Everything that came in was processed" in page.text


async def test_the_list_says_why_who_where_from_when_and_how_large(site: Console) -> None:
    again = replace(LETTER, id="feedback.received/0/9", headers=[("ce_source", b"cli"), ("redrive", b"2")], attempts=3)
    await put(site, LETTER, HOOK, again)
    await site.world.send(Message(DEAD_LETTER, b"k", b"by hand", []))
    page = (await (await lead(site)).get("/dead-letters")).text
    for words in (
        "wrong-type",
        "Expected `str`, got `int`",
        "Routing",
        "feedback.received</bdi> · source app-store",
        "webhook zendesk-eu (quarantined)",
        "feedback.received</bdi> · the command line",
        "sent again before (2×), and back",
        "unknown; nothing of ours wrote it",
        f"{len(LETTER.value)} Bytes",
    ):
        assert words in page, words
    assert page.count('name="letter"') == 4
    assert re.search(r'<time datetime="\d{4}-', page)


async def test_many_are_paged_from_the_newest_and_each_stands_once(site: Console) -> None:
    await site.world.send(
        *(
            message
            for number in range(2 * PAGE + 7)
            for message in replace(LETTER, id=f"feedback.received/0/{number}", key=b"%d" % number).messages()
        )
    )
    max_ = await lead(site)
    found, before = list[str](), ""
    for count in (PAGE, PAGE, 7):
        page = await max_.get("/dead-letters", **({"before": before} if before else {}))
        found += (here := re.findall(r'name="letter" value="(\d+-\d+)"', page.text))
        assert len(here) == count
        older = re.search(r'href="/dead-letters\?before=([0-9.-]+)"', page.text)
        before = older[1] if older else ""
    assert before == ""
    assert len(set(found)) == 2 * PAGE + 7
    assert "There are no older ones" in (await max_.get("/dead-letters", before="0-0.1-0.2-0.3-0.4-0.5-0")).text


async def test_a_letter_is_shown_escaped_and_downloaded_as_it_came(site: Console) -> None:
    await put(site, LETTER)
    max_ = await lead(site)
    (place,) = await places(max_)
    page = await max_.get(f"/dead-letters/{place}")
    assert page.status_code == 200
    assert "{&#34;text&#34;: 5, &#34;note&#34;: &#34;&lt;script&gt;alert(1)&lt;/script&gt; 退款&#34;}" in page.text
    assert "\u202e" not in page.text
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert "feedback.received/0/7" in page.text
    assert "goes to feedback.received, as redrive 1" in page.text
    raw = await max_.get(f"/dead-letters/{place}/bytes")
    assert raw.content == LETTER.value
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"] == f'attachment; filename="dead-letter-{place}.bin"'
    assert raw.headers["x-content-type-options"] == "nosniff"
    assert raw.headers["cache-control"] == "no-store"
    assert await audited(site) == [("max@example.com", "lead", "dead-letter.downloaded", LETTER.id)]


async def test_what_is_no_text_is_dumped_and_what_is_long_is_cut(site: Console) -> None:
    await put(site, HOOK, replace(LETTER, value=("界" * SHOWN_CHARS + "END").encode()))
    max_ = await lead(site)
    pages = [(await max_.get(f"/dead-letters/{place}")).text for place in await places(max_)]
    dumped = next(page for page in pages if "unreadable-webhook" in page)
    assert "00000000  ff fe 00 7b 6f 6f 70 73" in dumped
    assert "|...{oops|" in dumped
    assert "its source is not in sources.yaml any more" in dumped
    cut = next(page for page in pages if "wrong-type" in page)
    assert "界" * SHOWN_CHARS in cut
    assert "END" not in cut
    assert "The download has all" in cut


async def test_the_trace_of_what_could_not_be_processed_leads_to_its_letter(site: Console) -> None:
    """It said that nobody had seen it."""
    event = "019a0000-0000-7000-8000-000000000001"
    other = replace(LETTER, id="feedback.received/0/8", headers=[("ce_id", event.replace("1", "2").encode())])
    await put(site, replace(LETTER, headers=[("ce_id", event.encode())]), other)
    max_, li = await lead(site), await site.sign_in("li@example.com")
    page = await max_.get(f"/feedback/{event}")
    assert page.status_code == 200, page.text
    assert "Could not be processed" in page.text
    assert "wrong-type" in page.text
    link = re.search(r'href="(/dead-letters/\d+-\d+)"', page.text)
    assert link
    assert event in (await max_.get(link[1])).text
    assert "/dead-letters/" not in (await li.get(f"/feedback/{event}")).text
    found = await trace_of(site.queries, site.world.log, "default", event)
    assert (found["dead_letter"]["reason"], found["case"]) == ("wrong-type", None)
    assert [(step["service"], step["what"]) for step in found["steps"]] == [("router", "dead-lettered")]
    assert (await max_.get("/feedback/019a0000-0000-7000-8000-000000000003")).status_code == 404


@pytest.mark.parametrize(
    ("value", "text", "is_cut"),
    [
        (b"", "", False),
        (b"a\tb\n\x00\x1b[31m\x7f", "a\tb\n\u2400\u241b[31m\u2421", False),
        ("ü".encode(), "ü", False),
        (b"\xc3", None, False),
        (b"\xff" * 5_000, None, True),
        (b"a" * (SHOWN_CHARS + 1), "a" * SHOWN_CHARS, True),
    ],
)
def test_how_bytes_are_shown(value: bytes, text: str | None, is_cut: bool) -> None:
    assert shown(value) == (text, is_cut)


def test_a_dump_has_a_line_for_sixteen_bytes() -> None:
    assert hex_dump(b"") == ""
    first, second = hex_dump(bytes(range(0x3B, 0x4D))).splitlines()
    assert first == "00000000  3b 3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a  |;<=>?@ABCDEFGHIJ|"
    assert second == "00000010  4b 4c                                            |KL|"


async def test_a_dry_run_says_what_would_go_where_and_sends_nothing(site: Console) -> None:
    routed = replace(
        LETTER, id="feedback.routed.support/0/1", original_topic="feedback.routed.support", service="closer"
    )
    foreign = replace(LETTER, id="acme.feedback.received/0/1", original_topic="acme.feedback.received")
    await put(site, LETTER, HOOK, routed, foreign)
    max_ = await lead(site)
    page = await max_.get("/dead-letters/redrive", letter=[*await places(max_), "0-99999"])
    assert page.status_code == 200
    assert "Would be sent: 2. Would stay: 2. Nothing was sent yet. Not there any more: 1." in page.text
    assert f"goes to {RECEIVED}, as redrive 1" in page.text
    assert f"goes to {REDRIVE}, as redrive 1" in page.text
    assert "its source is not in sources.yaml any more" in page.text
    assert "none of this workspace" in page.text
    assert page.text.count('type="hidden" name="letter"') == 2, "only those that can go"
    assert await site.world.records(RECEIVED) == []
    assert await site.world.records(REDRIVE) == []
    assert await audited(site) == []


async def test_the_chosen_ones_are_sent_again_as_they_came_and_it_stands_in_the_audit_trail(site: Console) -> None:
    other = replace(LETTER, id="feedback.received/0/8", value=b"not chosen")
    await put(site, LETTER, other)
    max_ = await lead(site)
    chosen = [
        place
        for place in await places(max_)
        if "feedback.received/0/7" in (await max_.get(f"/dead-letters/{place}")).text
    ]
    answer = await max_.post("/dead-letters/redrive", {"letter": chosen})
    assert (answer.status_code, answer.headers["location"]) == (303, "/dead-letters")
    (sent,) = await site.world.records(RECEIVED)
    assert (sent.key, sent.value) == (LETTER.key, LETTER.value)
    assert sent.headers == [*LETTER.headers, ("redrive", b"1")]
    assert await audited(site) == [("max@example.com", "lead", "dead-letter.redriven", LETTER.id)]
    page = (await max_.get("/dead-letters")).text
    assert "Dead letters sent again: 1." in page
    assert page.count("Sent again by max@example.com") == 1
    assert "count as a repeat" in (await max_.get("/dead-letters/redrive", letter=chosen)).text


async def test_one_that_fails_again_is_another_letter_with_its_own_number(site: Console) -> None:
    await put(site, replace(LETTER, headers=[*LETTER.headers, ("redrive", b"1")], attempts=2))
    max_ = await lead(site)
    (place,) = await places(max_)
    assert "as redrive 2" in (await max_.get(f"/dead-letters/{place}")).text
    await max_.post("/dead-letters/redrive", {"letter": place})
    (sent,) = await site.world.records(RECEIVED)
    assert dict(sent.headers)["redrive"] == b"2"


async def test_a_webhooks_letter_stays_and_nothing_is_recorded(site: Console) -> None:
    await put(site, HOOK)
    max_ = await lead(site)
    await max_.post("/dead-letters/redrive", {"letter": await places(max_)})
    assert "Dead letters sent again: 0 of 1." in (await max_.get("/dead-letters")).text
    assert await audited(site) == []


def has_source(site: Console, connector: str) -> None:
    text = f"sources: [{{name: zendesk-eu, connector: {connector}, verify: none}}]"
    ingest = site.services[0]
    ingest._in_force.take(connector, read_sources(parse("sources.yaml", text, {}), ingest._connectors))


async def test_a_webhook_that_can_be_read_by_now_is_shown_as_it_would_be_read_and_goes_on(site: Console) -> None:
    body = '{"text": "<b>退款</b>一直没到", "title": "x", "customer": {"id": "c"}}'.encode()
    await put(site, replace(HOOK, value=body, headers=[("http_webhook-id", b"m1")]))
    max_ = await lead(site)
    (place,) = await places(max_)
    has_source(site, "zendesk")
    page = (await max_.get(f"/dead-letters/{place}")).text
    assert "still cannot be read" in page
    assert "letter=" not in page
    await max_.post("/dead-letters/redrive", {"letter": place})
    assert await site.world.records(RECEIVED) == []
    assert await audited(site) == []

    has_source(site, "standard")
    page = (await max_.get("/dead-letters/redrive", letter=place)).text
    assert "Would be sent: 1." in page
    assert "&lt;b&gt;退款&lt;/b&gt;一直没到" in page
    await max_.post("/dead-letters/redrive", {"letter": place})
    (sent,) = await site.world.records(RECEIVED)
    assert json.loads(sent.value)["text"] == "<b>退款</b>一直没到"
    assert await audited(site) == [("max@example.com", "lead", "dead-letter.redriven", HOOK.id)]
    assert "Dead letters sent again: 1." in (await max_.get("/dead-letters")).text


async def test_ingest_that_is_away_is_said_and_nothing_is_recorded(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(site, HOOK)
    max_ = await lead(site)
    (place,) = await places(max_)
    console: Any = site.services[3]
    monkeypatch.setattr(console._apis[2], "url", "http://127.0.0.1:9")
    assert "cannot be asked just now" in (await max_.get(f"/dead-letters/{place}")).text
    await max_.post("/dead-letters/redrive", {"letter": place})
    assert await audited(site) == []


@pytest.mark.parametrize("path", ["", "/redrive", "/0-0", "/0-0/bytes"])
async def test_nobody_below_a_lead_sees_any(site: Console, path: str) -> None:
    await put(site, LETTER)
    assert (await (await site.nobody()).get(f"/dead-letters{path}")).headers["location"].startswith("/login?next=")
    for person in ("li@example.com", "vera@example.com"):
        answer = await (await site.sign_in(person)).get(f"/dead-letters{path}")
        assert answer.status_code == 403
        assert "wrong-type" not in answer.text
        assert 'href="/dead-letters"' not in answer.text, "nor is it in the navigation"
    assert (await (await site.sign_in("ada@example.com")).get("/dead-letters")).status_code == 200


async def test_nobody_below_a_lead_and_no_foreign_form_sends_any(site: Console) -> None:
    await put(site, LETTER)
    max_ = await lead(site)
    (place,) = await places(max_)
    assert (
        await (await site.sign_in("li@example.com")).post("/dead-letters/redrive", {"letter": place})
    ).status_code == 403
    assert (await max_.post("/dead-letters/redrive", {"letter": place, "csrf": "0" * 64})).status_code == 403
    assert (await (await site.nobody()).post("/dead-letters/redrive", {"letter": place})).status_code == 303
    assert await site.world.records(RECEIVED) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dead-letters?before=x", 400),
        ("/dead-letters?before=0-1..", 400),
        ("/dead-letters?before=" + "9" * 30 + "-1", 400),
        ("/dead-letters?before=99-5", 200),
        ("/dead-letters/redrive", 200),
        ("/dead-letters/redrive?letter=x", 400),
        ("/dead-letters/redrive?" + "&".join(f"letter=0-{n}" for n in range(CHOSEN_MAX + 1)), 400),
        ("/dead-letters/0-5", 404),
        ("/dead-letters/99-5", 404),
        ("/dead-letters/nonsense", 404),
        ("/dead-letters/0-5/bytes", 404),
        ("/dead-letters/%00", 400),
    ],
)
async def test_bad_addresses(site: Console, path: str, status: int) -> None:
    answer = await (await lead(site)).get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_another_workspaces_letters_are_not_seen(site: Console) -> None:
    await put(site, LETTER)
    async with site.world.transactions.begin() as driver:
        await driver.execute("INSERT INTO shared.workspace (name) VALUES ('acme')")
        ada = await site.sign_in("ada@example.com")
        await driver.execute("UPDATE shared.session SET workspace = 'acme'")
    assert await places(ada) == []
