"""The measures as people and tools meet them: every number opens the rows that it counted, and says when it may not be whole."""

import asyncio
import csv
import html
import io
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.closer.channels.email import FileChannel
from services.closer.commands import Decline, Resolve
from services.console import freshness, queries
from services.console.bases import BYS, By, Part
from services.console.metrics import BY_NAME, MEASURES, Measure, Ratio, Share
from services.console.pages import measure_rows, measures
from shared.events.envelope import rfc3339
from shared.log import Message
from shared.topics import RECEIVED
from tests.closer.test_accounts import did, noted
from tests.closer.test_deliver import act, deliverer, once
from tests.closer.test_page import routed_back, token_of
from tests.closer.world import feedback
from tests.console.site import Console, Visitor

LINK = re.compile(r'<a href="(/measures/\w+/rows\?[^"]*)">([\d,]+)</a>')


def said(site: Console, who: str | None, ago: timedelta = timedelta(hours=1), **changes: Any) -> dict[str, Any]:
    customer = {"id": who, "email": f"{who}@example.com"} if who else None
    return feedback(customer=customer, received_at=rfc3339(site.world.clock.now() - ago), **changes)


def scored(metric: str, value: int) -> dict[str, Any]:
    return {"scores": [{"metric": metric, "value": value}]}


async def a_desk(site: Console) -> None:
    """Of everything that is measured, something: two teams, three sources, tags, tiers and languages; told, not told, late,
    reopened, confirmed, merged, imported; and more than a page of it."""
    world = site.world
    told = [said(site, f"told-{n}", theme=f"t-{n}", tags=["refund", "late"][: 1 + n % 2]) for n in range(4)]
    slow = [
        said(site, f"slow-{n}", timedelta(days=2), team="sales", source="shop", priority="urgent") for n in range(3)
    ]
    crowd = [said(site, f"crowd-{n}", source="survey", language="zh", tags=[], follow_up=False) for n in range(53)]
    voices = [
        said(site, "up", timedelta(hours=5), **scored("nps", 3)),
        said(site, "up", **scored("nps", 9), follow_up=False),
        said(site, "down", **scored("csat", 1), team="sales"),
        said(site, None, scores=[{"metric": "ces", "value": 6}, {"metric": "hmd", "value": 1}, {"metric": "csat", "value": 5}]),
        said(site, None, **scored("stars", 4), tags=["late"]),
    ]  # fmt: skip
    for index, value in enumerate(told):
        value["customer"]["tier"] = ["gold", None][index % 2]
        value["channel"] = ["call", "chat"][index % 2]
    await world.take(
        *told, *slow, *crowd, *voices, said(site, "old", history=True), said(site, "earlier", timedelta(days=9))
    )
    deeds = [
        {"activity": "contact.abandoned", "attributes": {"waited_s": 90, "channel": "call"}},
        {"activity": "help.searched", "attributes": {"query": "refund", "results": 0}},
        {"activity": "help.searched", "attributes": {"query": "parcel", "results": 3}},
    ]
    await did(world, *(noted(**deed) for deed in deeds))
    world.clock.advance(timedelta(minutes=5))
    for value in told:
        await act(world, value["id"], Resolve("It is on its way.", "en"))
    await act(world, slow[0]["id"], Decline("We cannot.", "en"))
    assert await once(deliverer(world, FileChannel(site.runtime.settings.data_dir, "feedback@example.com"))) > 0
    cases = [str((await world.case(value["id"]))["id"]) for value in told]
    visitor = await site.nobody()
    for case, answer in zip(cases, ("yes", "no"), strict=False):
        assert (await visitor.http.post(f"/loop/{token_of(case)}", data={"solved": answer})).status_code == 200
    await routed_back(cast(Any, site))
    world.clock.advance(timedelta(minutes=5))
    await world.timers.fire_due()
    again = [said(site, "told-0", timedelta(0), theme="another"), said(site, "slow-1", timedelta(0), team="sales")]
    await world.take(*again)
    world.clock.advance(timedelta(minutes=1))
    one = await site.sign_in()
    into = str((await world.case(again[0]["id"]))["id"])
    merged = str((await world.case(voices[2]["id"]))["id"])
    assert (await one.post(f"/cases/{merged}/merge", {"into": into})).status_code == 303


async def everything(visitor: Visitor, path: str) -> list[str]:
    """The rows of a list, over all of its pages."""
    rows: list[str] = []
    following: str | None = path
    while following:
        answer = await visitor.get(following)
        assert answer.status_code == 200, f"{following}: {answer.text}"
        found = re.findall(r"<tr><td .*?</tr>", answer.text, re.S)
        assert len(found) <= measure_rows.PAGE
        rows += found
        more = re.search(r'<a href="([^"]*)" rel="next">', answer.text)
        following = html.unescape(more[1]) if more else None
    return rows


def numbers(page: str) -> list[tuple[str, int]]:
    """Every number that is a link: where to, and what it says."""
    return [(html.unescape(path), int(text.replace(",", ""))) for path, text in LINK.findall(page)]


def names(paths: Iterable[str]) -> set[tuple[str, str]]:
    return {(path.split("/")[2], re.findall(r"part=(\w+)", path)[0]) for path in paths}


@pytest.mark.parametrize("by", ["", *BYS])
async def test_every_number_opens_exactly_the_rows_that_it_counted(site: Console, by: str) -> None:
    await a_desk(site)
    one = await site.sign_in()
    page = await one.get("/measures", by=by)
    assert page.status_code == 200
    found = [(path, number) for path, number in numbers(page.text) if not by or "by=" in path]
    assert len({path for path, _ in found}) == len(found), "one link for each number"
    for path, number in found:
        rows = await everything(one, path)
        assert len(rows) == number, path
        assert all(re.search(r'href="/(feedback|cases)/[0-9a-f-]{36}"', row) for row in rows)
    counted = {name for name, number in found if number}
    if not by:
        assert names(path for path, _ in found) == {
            (measure.name, part)
            for measure in MEASURES
            if not isinstance(measure.aggregate, Ratio)
            for part in ("numerator", "denominator")
            if part == "denominator" or isinstance(measure.aggregate, Share)
        }
        empty = names(path for path, number in found if not number)
        assert empty == {("assumed_rate", "numerator")}, "nobody has said nothing for a fortnight yet"
        assert any(number > measure_rows.PAGE for _, number in found)
    else:
        assert len(counted) > 20


@pytest.mark.parametrize("by", [None, "team", "tag"])
async def test_rows_looked_for_in_ends_of_the_span_are_those_of_the_whole_span(
    site: Console, monkeypatch: pytest.MonkeyPatch, by: By | None
) -> None:
    """The same rows in the same order, page by page: of a customer's row, what they said elsewhere lately is no part."""
    await a_desk(site)
    now = site.world.clock.now()
    product = {"team": "product", "source": "product", "tags": ["product"], "language": "fr"}
    elsewhere = [said(site, f"both-{n}", timedelta(days=1 + n), **product) for n in range(5)]
    between = said(site, "between", timedelta(days=1, hours=12), **product)
    lately = [said(site, f"both-{n}", team="sales", tags=["sales"], language="de") for n in range(5)]
    for value in (*elsewhere, between):
        value["customer"]["tier"] = "silver"
    await site.world.take(*elsewhere, between, *lately)
    span = (now - timedelta(days=28), now)

    async def rows(measure: Measure, part: Part, group: tuple[By, str | None] | None) -> list[Any]:
        found: list[Any] = []
        after = None
        while more := await site.queries.listed(measure, part, "default", span, group, after, 4):
            found += more
            after = (more[-1]["at"], more[-1]["id"], more[-1]["part"])
        return found

    groups = {row["group_name"] for row in await site.queries.measures("default", *span, by)}
    for name in ("feedback", "closed_loop_rate", "flywheel_rate_not_told", "repeat_contact_rate", "csat"):
        for group in [(by, group) for group in groups] if by else [None]:
            cut = await rows(BY_NAME[name], "denominator", group)
            with monkeypatch.context() as patch:
                patch.setattr(queries, "SHARES_LOOKED_AT", (1,))
                whole = await rows(BY_NAME[name], "denominator", group)
            assert cut == whole, (name, group)
            assert len(whole) == await site.queries.how_many(BY_NAME[name], "denominator", "default", span, group)


async def test_how_many_rows_there_are_is_counted_when_it_is_asked(site: Console) -> None:
    await a_desk(site)
    one = await site.sign_in()
    page = (await one.get("/measures/feedback/rows")).text
    link = re.search(r'<a id="listed" href="([^"]*)"', page)
    assert link, "it has more than a page"
    (number,) = [number for path, number in numbers((await one.get("/measures")).text) if "/feedback/rows" in path]
    assert f'<span id="listed">{number} in all</span>' in (await one.get(html.unescape(link[1]))).text
    few = (await one.get("/measures/csat/rows")).text
    assert '<span id="listed">2 in all</span>' in few, "what is all there is counted already"


async def test_page_json_csv_and_gauges_say_the_same(site: Console) -> None:
    await a_desk(site)
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    tool = await site.nobody(Authorization=f"Bearer {key}")
    span = {"from": "2026-11-16T00:00:00Z", "to": "2026-11-24T00:00:00Z"}
    document = (await tool.get("/v1/measures", **span)).json()
    ((group,),) = [document["items"]]
    assert group["group"] is None
    said_so = group["measures"]
    assert said_so["closed_loop_rate"]["of"] == "customers owed an answer"
    answer = await tool.get("/v1/measures.csv", **span)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    table = {row["measure"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert list(table) == list(said_so) == list(BY_NAME)
    page = (await (await site.sign_in()).get("/measures", **span)).text
    shown = {(path.split("/")[2], "numerator" in path): number for path, number in numbers(page)}
    for name, one in said_so.items():
        for column in ("value", "p50", "p90", "numerator", "denominator"):
            assert table[name][column] == ("" if one.get(column) is None else str(one[column]))
        assert shown.get((name, True)) == one.get("numerator")
        if "denominator" in one:
            assert shown[name, False] == one["denominator"]
    await site.service._measuring.refresh()
    last_week = (await tool.get("/v1/measures")).json()["items"][0]["measures"]
    gauges = await _gauges(tool)
    for name, one in last_week.items():
        assert gauges["flywheel_measure"].get((name, "")) == one.get("value")
        assert gauges["flywheel_measure"].get((f"{name}_p90", "")) == one.get("p90")
        assert gauges["flywheel_measure_denominator"].get((name, ""), one.get("value")) == one.get(
            "denominator", one.get("value")
        )
    by_team = {item["group"]: item["measures"] for item in (await tool.get("/v1/measures", by="team")).json()["items"]}
    assert set(by_team) == {"support", "sales"}
    for team, measured in by_team.items():
        assert gauges["flywheel_measure"][("feedback", team)] == measured["feedback"]["value"]


async def _gauges(tool: Visitor) -> dict[str, dict[tuple[str, str], float]]:
    text = (await tool.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["flywheel_measure"].documentation.startswith("A measure over the last 7 days")
    return {
        name: {(sample.labels["measure"], sample.labels["team"]): sample.value for sample in family.samples}
        for name, family in families.items()
        if name.startswith("flywheel_measure") and "timestamp" not in name
    }


async def test_nothing_is_counted_in_the_background_while_nobody_looks(site: Console) -> None:
    measuring = site.service._measuring
    tool = await site.nobody()
    assert not measuring._asked.is_set()
    assert "flywheel_measure{" not in (await tool.get("/metrics")).text
    assert measuring._asked.is_set(), "whoever looks begins it"
    await measuring.refresh()
    assert 'flywheel_measure{measure="feedback",team=""} 0.0' in (await tool.get("/metrics")).text
    site.world.clock.advance(timedelta(hours=1))
    assert "flywheel_measure{" not in (await tool.get("/metrics")).text, "what is old is shown to nobody"


async def test_where_counting_takes_long_the_page_says_as_of_when(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.world.take(said(site, "c-1"))
    await site.service._measuring.refresh()
    counted_at = site.world.clock.now()
    await site.world.take(said(site, "c-2"))
    site.world.clock.advance(timedelta(minutes=2))
    one = await site.sign_in()
    assert "As of" not in (await one.get("/measures")).text, "it took no time, so it is counted anew"
    monkeypatch.setattr(measures, "LIVE_S", -1.0)
    page = (await one.get("/measures", by="team")).text
    assert f'As of <time datetime="{counted_at.isoformat(timespec="seconds")}"' in page
    kept = dict(numbers(page))
    assert [
        number for path, number in kept.items() if path.startswith("/measures/feedback/") and "by=" not in path
    ] == [1]
    assert "As of" not in (await one.get("/measures", span="24h")).text


async def test_a_span_is_chosen_by_the_address_and_compared_with_the_one_before(site: Console) -> None:
    await site.world.take(
        *(said(site, f"now-{n}", timedelta(hours=2)) for n in range(3)),
        said(site, "yesterday", timedelta(hours=30)),
        said(site, "long-ago", timedelta(days=20)),
    )
    one = await site.sign_in()
    for params, counted, compared in (
        ({"span": "24h"}, 3, "2 more than in the span before (1)"),
        ({}, 4, "4 more than in the span before (0)"),
        ({"span": "nonsense"}, 4, "4 more than in the span before (0)"),
        ({"span": "30d"}, 5, "5 more than in the span before (0)"),
        ({"from": "2026-11-22", "to": "2026-11-22"}, 1, "1 more than in the span before (0)"),
        ({"from": "2026-11-03", "to": "2026-11-03"}, 1, "1 more than in the span before (0)"),
    ):
        page = (await one.get("/measures", **params)).text
        card = re.findall(r'<section aria-labelledby="m-feedback">.*?</section>', page, re.S)[0]
        assert [number for _, number in numbers(card)] == [counted], params
        assert compared in card
    assert "none in the span before" in page
    assert "–" in page, "of nothing there is no share"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/measures?from=yesterday", 400, "from: a day as 2026-11-23"),
        ("/measures?from=2026-11-20T00:00:00", 400, "from: a day as"),
        ("/measures?to=9999-12-31", 400, "to: a day as"),
        ("/measures?from=2026-11-20&to=2026-11-01", 400, "from: must lie before to"),
        ("/measures.csv?from=0001-01-01", 400, "from: a day as"),
        ("/measures/nps/rows?part=numerator", 400, "part: denominator"),
        ("/measures/closed_loop_rate/rows?part=both", 400, "part: denominator"),
        ("/measures/nps/rows?after=1", 400, "after: take it from the link"),
        ("/measures/nps/rows?after=2026-11-20T00:00:00Z~1~", 400, "after: take it from the link"),
        ("/measures/flywheel_rate/rows", 404, "counts rows"),
        ("/measures/love/rows", 404, "counts rows"),
    ],
)
async def test_what_is_no_address_of_ours_is_said(site: Console, path: str, status: int, says: str) -> None:
    answer = await (await site.sign_in("vera@example.com")).get(path)
    assert answer.status_code == status
    assert says in answer.text
    assert "<h1>" in answer.text


async def test_a_span_that_takes_too_long_to_count_is_refused_with_what_to_do(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_desk(site)
    monkeypatch.setattr(queries, "COUNT_MAX_S", 0.001)
    one = await site.sign_in()
    for path in ("/measures", "/measures.csv", "/measures/closed_loop_rate/rows"):
        answer = await one.get(path)
        assert answer.status_code == 422
        assert "Choose a shorter span" in answer.text


async def test_time_that_is_up_while_the_driver_is_between_two_messages_is_refused_in_the_same_words(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_desk(site)
    one = await site.sign_in()
    monkeypatch.setattr(queries, "COUNT_MAX_S", 0.2)
    prepare = asyncpg.Connection.prepare
    kept: list[str] = []

    async def prepare_and_wait(self: asyncpg.Connection, query: str, **options: Any) -> Any:
        statement = await prepare(self, query, **options)
        if "published." in query and await_the_end:
            kept.append(query)
            await asyncio.sleep(2 * queries.COUNT_MAX_S)
        return statement

    monkeypatch.setattr(asyncpg.Connection, "prepare", prepare_and_wait)
    await_the_end = True
    answer = await one.get("/measures/closed_loop_rate/rows")
    assert kept
    assert answer.status_code == 422
    assert "Choose a shorter span" in answer.text
    await_the_end = False
    monkeypatch.setattr(queries, "COUNT_MAX_S", 20.0)
    assert (await one.get("/measures/closed_loop_rate/rows")).status_code == 200


async def test_whoever_would_count_beside_too_many_others_is_told_to_come_again(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections are shared with those who take feedback in."""
    one = await site.sign_in()
    monkeypatch.setattr(queries, "WAIT_S", 0.05)
    mine = site.service._measuring._queries
    async with mine._counting(), mine._counting():
        for path in ("/measures", "/measures.csv", "/measures/feedback/rows"):
            answer = await one.get(path)
            assert answer.status_code == 429
            assert "Others are counting already." in answer.text
        assert (await one.get("/cases")).status_code == 200
    assert (await one.get("/measures")).status_code == 200


@pytest.mark.parametrize("path", ["/measures", "/measures.csv", "/measures/nps/rows?by=team&group=support"])
async def test_whoever_is_not_signed_in_is_sent_to_do_so(site: Console, path: str) -> None:
    answer = await (await site.nobody()).get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={quote(path)}"


async def test_a_tool_needs_a_key_that_may(site: Console) -> None:
    writes = (await site.runtime.keys.create("default", "writer", ["feedback:write"])).key
    for path in ("/v1/measures", "/v1/measures.csv"):
        assert (await (await site.nobody()).get(path)).status_code == 401
        assert (await (await site.nobody(Authorization=f"Bearer {writes}")).get(path)).status_code == 403


async def test_another_workspaces_rows_are_its_own(site: Console) -> None:
    await site.world.take(said(site, "c-1"))
    await site.world.rows("INSERT INTO shared.workspace (name) VALUES ('acme')")
    key = (await site.runtime.keys.create("acme", "reader", ["cases:read"])).key
    found = (await (await site.nobody(Authorization=f"Bearer {key}")).get("/v1/measures")).json()
    assert found["items"][0]["measures"]["feedback"]["value"] == 0


async def test_what_strangers_name_is_escaped_and_is_no_formula(site: Console) -> None:
    tag, tier = "<script>alert(1)</script>", "=HYPERLINK(1)"
    value = said(site, "c-1", tags=[tag])
    value["customer"]["tier"] = tier
    await site.world.take(value, said(site, "c-2", tags=["a&b=c"]))
    one = await site.sign_in()
    page = (await one.get("/measures", by="tag")).text
    assert "<script>alert" not in page
    for path, number in numbers(page):
        if "by=tag" in path and path.startswith("/measures/feedback/"):
            assert len(await everything(one, path)) == number == 1
    answer = await one.get("/measures.csv", by="tier")
    assert answer.content.startswith("\ufeff".encode())
    groups = {row["group"] for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
    assert groups == {f"'{tier}", ""}


# ── what may not be whole ──


async def a_silent_source(site: Console) -> datetime:
    """Spoke every hour for two days, and gave a score each time; then not for two more. Another one still speaks."""
    hourly = [
        said(site, f"z-{n}", timedelta(hours=48 + n), source="zendesk", **scored("nps", 9), follow_up=n % 2 == 0)
        for n in range(48)
    ]
    steady = [
        said(site, f"a-{n}", timedelta(hours=n), source="app", team="sales", **scored("csat", 5)) for n in range(72)
    ]
    await site.world.take(*hourly, *steady, said(site, "once", timedelta(days=3), source="fair"))
    return datetime.fromisoformat(hourly[0]["received_at"])


async def test_a_figure_that_rests_on_a_silent_source_says_so_in_its_own_place(site: Console) -> None:
    last = await a_silent_source(site)
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    tool = await site.nobody(Authorization=f"Bearer {key}")
    everywhere = (await tool.get("/v1/measures")).json()["items"][0]["measures"]
    silence = {"source": "zendesk", "silent_since": rfc3339(last), "longest_pause_s": 3600}
    assert everywhere["nps"]["stale"] == [silence]
    assert everywhere["closed_loop_rate"]["stale"] == [silence]
    assert "stale" not in everywhere["csat"], "it never gave such a score"
    by_team = {item["group"]: item["measures"] for item in (await tool.get("/v1/measures", by="team")).json()["items"]}
    assert by_team["support"]["feedback"]["stale"] == [silence]
    assert not any("stale" in one for one in by_team["sales"].values()), "it gave them nothing"
    before = (await tool.get("/v1/measures", to=rfc3339(last - timedelta(minutes=1)))).json()["items"][0]["measures"]
    assert not any("stale" in one for one in before.values()), "the span ends before"
    page = (await (await site.sign_in()).get("/measures", by="source")).text
    cards = dict(re.findall(r'<section aria-labelledby="m-(\w+)">(.*?)</section>', page, re.S))
    assert "nothing has come from zendesk since" in cards["nps"]
    assert "nothing has come from" not in cards["csat"]
    assert cards["feedback"].count("zendesk is silent") == 1
    lines = csv.DictReader(io.StringIO((await tool.get("/v1/measures.csv")).text))
    assert {row["measure"] for row in lines if "zendesk" in row["stale"]} == {
        n for n, m in everywhere.items() if "stale" in m
    }
    await site.world.take(said(site, "z-back", timedelta(0), source="zendesk"))
    site.world.clock.advance(timedelta(seconds=freshness.KEPT_S))
    again = (await tool.get("/v1/measures")).json()["items"][0]["measures"]
    assert not any("stale" in one for one in again.values()), "it speaks again"


async def test_a_consumer_that_lags_is_said_and_of_a_teams_topic_to_that_team(site: Console) -> None:
    world = site.world
    await world.take(said(site, "c-1"), said(site, "c-2", team="sales"))
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    tool = await site.nobody(Authorization=f"Bearer {key}")
    await world.rows(  # as the closer tells the log every few seconds
        "UPDATE log.position q SET position = p.next_offset FROM log.partition p WHERE p.topic_id = q.topic_id"
        " AND p.partition = q.partition AND q.group_name = 'closer'"
    )
    now = await world.database.now()
    world.clock.advance(now - world.clock.now())
    span = {"from": rfc3339(now - timedelta(days=400))}
    assert "stale" not in (await tool.get("/v1/measures", **span)).text
    await world.send(Message("feedback.routed.sales", b"k", b"{}", []))
    world.clock.advance(timedelta(seconds=50))
    assert "stale" not in (await tool.get("/v1/measures", **span)).text, "under a minute"
    world.clock.advance(timedelta(seconds=30))
    by_team = {
        item["group"]: item["measures"] for item in (await tool.get("/v1/measures", by="team", **span)).json()["items"]
    }
    (lag,) = by_team["sales"]["nps"]["stale"]
    assert (lag["consumer"], lag["team"]) == ("closer", "sales")
    assert abs(datetime.fromisoformat(lag["behind_since"]) - now) < timedelta(seconds=30)
    assert "stale" not in by_team["support"]["nps"]
    await world.send(Message(RECEIVED, b"k", b"{}", []))
    world.clock.advance(timedelta(minutes=2))
    everywhere = (await tool.get("/v1/measures", **span)).json()["items"][0]["measures"]
    assert {why["consumer"] for why in everywhere["nps"]["stale"]} == {"router", "closer"}
    page = (await (await site.sign_in()).get("/measures", span="24h")).text
    assert "Routing is behind. What came in since" in page
    assert "Closing is behind with sales." in page


async def test_when_the_log_is_away_nobody_can_tell(site: Console) -> None:
    await site.world.take(said(site, "c-1"))
    await site.world.log.close()
    page = (await (await site.sign_in()).get("/measures")).text
    assert "the log is away, so nobody can tell how far behind Routing is" in page
