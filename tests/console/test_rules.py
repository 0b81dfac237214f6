"""The rules in force, and what they make of a text or of feedback that came in earlier."""

import html
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.console.pages.rules import PAGE, Wrong, as_received, wrong_with
from services.router.shadow import Sample, Tally
from services.router.shadow_kept import KeptShadows
from shared.config import STARTER, Config, config_of, read_dir
from tests.closer.world import feedback
from tests.console.site import PEOPLE, Console, Visitor

METRICS = {"nps": (0.0, 10.0)}


def plain(page: str) -> str:
    """What a person reads, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def outcome(page: str) -> str:
    found = re.search(r'<section id="outcome".*?</section>', page, re.DOTALL)
    assert found, page
    return plain(found[0])


def with_rules(rules: str) -> Config:
    return config_of({**read_dir(STARTER), "teams.yaml": PEOPLE, "routing.yaml": rules})


async def asked(visitor: Visitor, **form: str) -> str:
    await visitor.get("/rules")
    answer = await visitor.post("/rules", form)
    assert answer.status_code == 200, answer.text
    return outcome(answer.text)


async def test_the_rules_in_force_can_be_read(site: Console) -> None:
    vera = await site.sign_in("vera@example.com")
    answer = await vera.get("/rules")
    assert answer.status_code == 200
    page = plain(answer.text)
    assert site.world.config.version in page
    assert "What no rule assigns goes to support." in page
    assert "4. billing" in page
    assert "the text contains “charged twice”, “charged me twice”" in page
    assert "Then assign to support · tag billing" in page
    assert "one of these holds: score nps ≤ 6 score csat ≤ 2" in page
    assert "Automatic reply: I am out of office until Monday channel: email → discarded: true" in page
    assert "- assign: product\n" in html.unescape(answer.text), "its YAML"
    assert (
        answer.text.count('<article class="rule"')
        == page.count("YAML")
        == len(site.world.config.written["routing.yaml"].data["rules"])
    )


async def test_a_text_is_tried_and_told_with_its_reasons_and_the_rules_that_almost_did(site: Console) -> None:
    told = await asked(
        await site.sign_in("vera@example.com"),
        text="The app crashes when I ask for a refund",
        metric="nps",
        value="9",
        source="app-store",
        language="en",
    )
    assert "Team support" in told
    assert "the rule billing" in told
    assert "Tags billing" in told
    assert "Kind Complaint" in told
    assert "Priority Normal" in told
    assert "Language en" in told
    assert "Answer is owed" in told
    assert 'Rule "billing" holds because the text contains "refund*": assigned to support, tagged billing.' in told
    assert re.search(r"The words are those of a complaint\. .*refund", told), "with the words that matched"
    assert "does-not-work another stood before it It holds too because the text says" in told
    assert "unhappy-score one condition short It is short of one condition, score nps ≤ 6: it is 9." in told
    assert await site.world.value("SELECT count(*) FROM closer.feedback") == 0, "nothing is stored"


async def test_a_score_alone_and_a_discarded_one(site: Console) -> None:
    one = await site.sign_in()
    told = await asked(one, metric="nps", value="2")
    assert "Tags unhappy" in told
    assert "There is a score and no text" in told
    assert "None. No other rule holds" in told


async def test_what_is_discarded_goes_to_nobody(site: Console) -> None:
    rules = "rules: [{name: robots, when: {source: robot}, then: [{discard: 'a <robot>'}]}]"
    await configured(site, with_rules(rules))
    told = await asked(await site.sign_in(), text="beep", source="robot")
    assert "Nobody; discarded: a <robot>" in told


async def test_what_is_held_back_says_until_when_and_why(site: Console) -> None:
    window = "{until: 2026-11-23T12:00:00Z, because: 'a <planned> maintenance'}"
    rule = f"{{name: r, when: {{all: []}}, then: [{{assign: product}}, {{suppress: {window}}}]}}"
    await configured(site, with_rules(f"rules: [{rule}]"))
    value = feedback()
    await site.world.take(value)
    one = await site.sign_in("li@example.com")
    told = outcome((await one.get("/rules", feedback=value["id"])).text)
    assert re.search("Held back until 2026-11-23 13:00 ?: a <planned> maintenance", told), (
        "in Berlin, where their team is"
    )
    assert "It came within that time" in told
    assert "hold back what comes before 2026-11-23T12:00:00Z: a <planned> maintenance" in plain(
        (await one.get("/rules")).text
    )


async def test_the_words_of_a_lexicon_stand_beside_the_rules_that_name_it(site: Console) -> None:
    lexicons = "lexicons: {money: [refund, 退款], one: '<i>'}\n"
    rule = "{name: r, when: {text: {says: {lexicon: money}}}, then: [{set_tier: vip}]}"
    await configured(site, with_rules(f"{lexicons}rules: [{rule}]"))
    page = (await (await site.sign_in()).get("/rules")).text
    told = plain(page)
    assert "the text says {lexicon: money}, and not to deny it" in told
    assert "Then treat as tier vip" in told
    assert "2 lexicons money refund, 退款 one" in told
    assert "&lt;i&gt;" in page


async def configured(site: Console, config: Config) -> None:
    for service in site.services:
        await service.configure(config)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "Write a text, or give a score."),
        ({"text": " \n "}, "Write a text, or give a score."),
        ({"text": "x" * 30_001}, "more than 30000 characters"),
        ({"value": "5"}, "Choose what the value is a score of."),
        ({"metric": "nonsense", "value": "5"}, "Choose what the value is a score of."),
        ({"metric": "nps", "value": "11"}, "nps takes a number from 0 to 10."),
        ({"metric": "nps", "value": "many"}, "nps takes a number from 0 to 10."),
        ({"metric": "nps", "value": "nan"}, "nps takes a number from 0 to 10."),
    ],
)
async def test_what_cannot_be_tried_is_said_and_what_was_typed_stays(
    site: Console, form: dict[str, str], says: str
) -> None:
    one = await site.sign_in()
    answer = await one.post("/rules", {"source": "app-store", **form})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert says in plain(answer.text)
    assert 'value="app-store"' in answer.text
    assert 'id="outcome"' not in answer.text


async def test_what_somebody_wrote_is_text_and_no_markup(site: Console) -> None:
    one = await site.sign_in()
    answer = await one.post("/rules", {"text": "</textarea><script>alert(1)</script> refund", "source": '"><b>'})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<b>" not in answer.text


async def test_a_cases_page_holds_the_rules_that_almost_decided(site: Console) -> None:
    value = feedback(text="Please add dark mode, the app crashes", attributes={"form": "ideas"})
    await site.world.take(value)
    one = await site.sign_in("li@example.com")
    part = await one.get(f"/feedback/{value['id']}/almost")
    told = plain(part.text)
    assert "<html" not in part.text
    assert "does-not-work another stood before it" in told
    assert "Other rules decided this when it came in (version abc123): it went to support." in told
    assert (await one.get("/feedback/00000000-0000-4000-8000-000000000000/almost")).status_code == 404


async def test_stored_feedback_is_explained_and_another_version_is_said(site: Console) -> None:
    value = feedback(text="Please <b>add</b> dark mode, the app crashes", attributes={"form": "ideas"})
    await site.world.take(value)
    one = await site.sign_in("li@example.com")
    answer = await one.get("/rules", feedback=value["id"])
    assert answer.status_code == 200
    told = outcome(answer.text)
    assert "<b>add" not in answer.text
    assert "Please <b>add</b> dark mode" in told
    assert (
        "Other rules decided this when it came in (version abc123): it went to support. The rule was “refunds”." in told
    )
    assert "Team product" in told
    assert "wants-a-feature" in told
    assert "does-not-work another stood before it" in told
    same = feedback(text="Where is my refund?", ruleset_version=site.world.config.version, customer={"id": "c-2"})
    await site.world.take(same)
    told = outcome((await one.get("/rules", feedback=same["id"])).text)
    assert "These are the rules that decided it when it came in." in told
    assert "Other rules" not in told


async def test_an_answer_from_the_customers_page_was_no_rules_business(site: Console) -> None:
    loop = {"team": "product", "solved": False, "case_id": "1"}
    value = feedback(source="loop", text="Still no refund", attributes={"loop": loop}, team="product", rule=None)
    await site.world.take(value)
    told = outcome((await (await site.sign_in()).get("/rules", feedback=value["id"])).text)
    assert "Decided by the case that it answers" in told
    assert "No rule was asked." in told


async def test_rules_that_ask_for_what_is_not_kept_are_named(site: Console) -> None:
    value = feedback()
    await site.world.take(value)
    rules = "rules: [{name: a, when: {any: [{field: [customer, role], equals: ceo}, {field: external_id, exists: true}]}, then: [{assign: sales}]}]"
    await configured(site, with_rules(rules))
    told = outcome((await (await site.sign_in()).get("/rules", feedback=value["id"])).text)
    assert "Rules ask for customer.role, external_id, which is not kept for this page" in told


@pytest.mark.parametrize(
    ("wanted", "status"), [("9f0c9d4e-0000-4000-8000-000000000000", 404), ("nonsense", 422), ("<script>", 422)]
)
async def test_no_such_feedback(site: Console, wanted: str, status: int) -> None:
    answer = await (await site.sign_in()).get("/rules", feedback=wanted)
    assert answer.status_code == status
    assert "<script>" not in answer.text
    assert answer.headers["content-type"].startswith("text/html")


async def test_another_workspaces_feedback_is_none(site: Console) -> None:
    value = feedback()
    await site.world.take(value)
    async with site.world.transactions.begin() as driver:
        await driver.execute("INSERT INTO shared.workspace (name) VALUES ('acme')")
        await driver.execute("UPDATE closer.feedback SET workspace = 'acme' WHERE id = $1", value["id"])
    assert (await (await site.sign_in()).get("/rules", feedback=value["id"])).status_code == 404


async def test_what_rules_in_the_shadow_would_have_decided_otherwise(site: Console) -> None:
    one = await site.sign_in("li@example.com")
    assert "Rules in the shadow" not in (await one.get("/rules")).text, "none ever ran"
    kept, live, at = KeptShadows(site.world.database), site.world.config.version, datetime(2026, 11, 30, 9, tzinfo=UTC)
    value = feedback(text="Please <b>add</b> dark mode")
    await site.world.take(value)
    await kept.start("rules: []", at, "li@example.com", "<i>fewer</i>")
    assert "Feedback compared 0" in plain((await one.get("/rules")).text)
    running = await kept.running()
    assert running is not None
    tally = Tally(Counter({("team", "support", "support"): 2, ("team", "support", "product"): 1}))
    tally.counts.update(
        {("team", "sales", "(discarded)"): 1, ("rule", "refunds", "(no rule)"): 1, ("skipped", "", ""): 7}
    )
    sides = (
        {"team": "support", "discarded": None, "rule": "refunds"},
        {"team": "product", "discarded": None, "rule": None},
    )
    tally.keep(Sample(value["id"], "support", "product", ("team", "tags"), *sides))
    tally.keep(Sample("<script>", "support", "product", ("team",), *sides))
    await kept.add(running.id, live, tally, UUID(int=1), 1, at)
    page = (await one.get("/rules")).text
    told = plain(page)
    assert "decide nothing" in told
    assert "Since 2026-11-30" in told
    assert f"Compared with version {live}" in told
    assert "Feedback compared 4 not compared: 0 failed, 7 for want of time" in told
    assert "Would be decided otherwise 2 (50.0 %) 2 go elsewhere, 0 stay with something else" in told
    assert "support product 1" in told
    assert "sales nobody, discarded 1" in told
    assert "refunds no rule 1" in told
    assert "Please <b>add</b> dark mode support refunds product no rule team, tags" in told
    assert f'<a href="/feedback/{value["id"]}"' in page
    assert "<i>" not in page
    assert "<script>" not in page
    chinese = await site.sign_in("li@example.com", None, **{"Accept-Language": "zh-CN"})
    assert "2 条改归别处，0 条归属不变但其他有变" in plain((await chinese.get("/rules")).text)
    await kept.refuse(running.id, "routing.yaml:3:5: there is no team <b>")
    assert "cannot be asked by the configuration in force routing.yaml:3:5: there is no team <b>" in plain(
        (await one.get("/rules")).text
    )
    await kept.end(at, "adopted")
    assert "They came into force 2026-11-30" in plain((await one.get("/rules")).text)


async def test_many_rules_are_paged_and_found_by_name_and_content(site: Console) -> None:
    rules = "\n".join(
        f"  - {{name: rule-{n}, when: {{text: {{contains: Word{n}}}}}, then: [{{assign: sales}}]}}"
        for n in range(PAGE + 20)
    )
    await configured(site, with_rules(f"rules:\n{rules}"))
    one = await site.sign_in()
    first = (await one.get("/rules")).text
    assert first.count('<article class="rule"') == PAGE
    more = re.search(r'href="(/rules\?from=\d+)" rel="next"', first)
    assert more
    second = (await one.get(more[1])).text
    assert second.count('<article class="rule"') == 20
    assert f"{PAGE + 1}. rule-{PAGE}" in plain(second)
    for q in ("rule-117", "word117"):
        found = (await one.get("/rules", q=q)).text
        assert re.findall(r"<h3>([^<]*)</h3>", found) == ["118. rule-117"]
    assert "No rule contains “&lt;i&gt;”." in (await one.get("/rules", q="<i>")).text
    assert (await one.get("/rules", **{"from": "nonsense"})).status_code == 200


async def test_who_may(site: Console) -> None:
    nobody = await site.nobody()
    assert (await nobody.get("/rules")).headers["location"].startswith("/login?next=")
    assert (await nobody.post("/rules", {"text": "x"})).headers["location"].startswith("/login")
    one = await site.sign_in("vera@example.com")
    assert (await one.post("/rules", {"text": "x", "csrf": "0" * 64})).status_code == 403


async def test_a_router_that_is_away_is_said(site: Console) -> None:
    site.service._apis[1].url = "http://127.0.0.1:9"
    answer = await (await site.sign_in()).get("/rules")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("changes", "there"),
    [
        ({"language": "de"}, {"language": None}),
        ({"reasons": [{"code": "language.declared", "text": "x"}], "language": "zh-CN"}, {"language": "zh-CN"}),
        ({"customer": {"email": "Ann@Example.com"}}, {"customer": {"email": "Ann@Example.com"}}),
        ({"customer": {"id": "c-1", "tier": "vip"}}, {"customer": {"id": "c-1", "tier": "vip"}}),
        ({"customer": None}, {"customer": None}),
        ({"occurred_at": "2026-11-20T10:00:00+01:00"}, {"occurred_at": "2026-11-20T09:00:00.000Z"}),
        (
            {"scores": [{"metric": "nps", "value": 3}], "text": None},
            {"scores": [{"metric": "nps", "value": 3}], "text": None},
        ),
    ],
)
async def test_stored_feedback_is_asked_about_as_it_came(
    site: Console, changes: dict[str, Any], there: dict[str, Any]
) -> None:
    value = feedback(**changes)
    await site.world.take(value)
    stored = await site.queries.feedback("default", value["id"])
    assert stored is not None
    body = as_received(stored)
    assert {name: body.get(name) for name in there} == there
    assert isinstance(stored["received_at"], datetime)


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ({"text": "x"}, []),
        ({"metric": "nps", "value": "9.5"}, []),
        ({"text": "x", "metric": "nps"}, []),
        ({"text": "x" * 30_001, "value": "1"}, [Wrong("too_long", {"n": "30000"}), Wrong("no_metric")]),
        ({"metric": "nps", "value": "inf"}, [Wrong("range", {"metric": "nps", "least": "0", "most": "10"})]),
    ],
)
def test_what_is_wrong_with_what_was_typed(typed: dict[str, str], wrong: list[Wrong]) -> None:
    assert list(wrong_with({"text": "", "metric": "", "value": ""} | typed, METRICS)) == wrong
