"""Who is heard of, who is not, and what of sources.yaml is shown."""

import re
from datetime import timedelta

import pytest

from shared.config import config_of
from shared.events.envelope import rfc3339
from shared.log import Message
from shared.topics import RECEIVED
from tests.closer.world import START, feedback
from tests.console.site import Console, Visitor, with_people

SOURCES = """
sources:
  - {name: zendesk-eu, connector: zendesk, secrets: ["${ZENDESK_SECRET}"]}
  - {name: partner, connector: standard, verify: header, header: x-secret, secrets: ["a-literal-secret", "a-second-secret"]}
  - {name: theirs, connector: slack, workspace: acme, secrets: ["s"]}
"""


async def rows(visitor: Visitor) -> dict[str, str]:
    """Source → its row, as text."""
    page = await visitor.get("/sources")
    assert page.status_code == 200, page.text
    found = re.findall(r'<tr><th scope="row"><bdi>(.*?)</bdi></th>(.*?)</tr>', page.text, re.DOTALL)
    return {name: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)) for name, row in found}


async def said(site: Console, source: str, *hours_ago: float) -> None:
    await site.world.take(
        *(
            feedback(
                source=source,
                customer={"id": f"{source}-{ago}"},
                received_at=(START - timedelta(hours=ago)).isoformat().replace("+00:00", ".000Z"),
            )
            for ago in hours_ago
        )
    )


async def test_who_is_heard_of_and_who_has_fallen_silent(site: Console) -> None:
    await said(site, "hourly", *range(0, 40))
    await said(site, "nightly", *range(0, 24 * 14, 24))
    await said(site, "broken", *range(10, 60))
    await said(site, "new", 1, 2)
    found = await rows(await site.sign_in())
    assert list(found) == ["hourly", "nightly", "new", "broken"], "the last heard first"
    assert " heard " in found["hourly"]
    assert " heard " in found["nightly"]
    assert "silent for 10h 00m" in found["broken"]
    assert "too little to tell" in found["new"]
    site.world.clock.advance(timedelta(hours=30))
    found = await rows(await site.sign_in())
    assert "silent for 1d 6h" in found["hourly"]
    assert " heard " in found["nightly"], "thirty hours are less than one and a half of its days"


async def test_counts_of_the_day_and_the_week(site: Console) -> None:
    await said(site, "app", 0, 0.5, 22.9, 24.5, 100, 24 * 8)
    await said(site, "loop", 1)
    found = await rows(await site.sign_in())
    assert re.search(r"2026-11-23 09:30 3 By hour .* 5 ", found["app"]), found["app"]
    assert "answers on the customer" in found["loop"]
    page = (await (await site.sign_in()).get("/sources")).text
    assert '<svg class="spark"' in page
    assert "09:00: 2; " in page, "the sparkline is said in words"


async def test_what_stands_in_sources_yaml_is_shown_and_no_secret(site: Console) -> None:
    await site.service.configure(config_of({**with_people().files, "sources.yaml": SOURCES}))
    await said(site, "zendesk-eu", 0)
    await said(site, "app", 0)
    one = await site.sign_in()
    found = await rows(one)
    assert list(found) == ["zendesk-eu", "partner", "app"], "another workspace's is not ours to see"
    assert "zendesk · signed" in found["zendesk-eu"]
    assert "sources.yaml:3 " in found["zendesk-eu"]
    assert f"{site.url}/v1/webhooks/zendesk-eu" in found["zendesk-eu"]
    assert "never heard of" in found["partner"]
    assert "standard · a secret header x-secret · 2 secrets" in found["partner"]
    assert "by API" in found["app"]
    page = (await one.get("/sources")).text
    assert "a-literal-secret" not in page
    assert "a-second-secret" not in page
    assert "docs/connect/slack.md" in page
    assert "SLACK_SIGNING_SECRET" in page, "the three steps are there to be read"


@pytest.mark.parametrize("text", ["", "sources:", "sources: []", "metrics: {}"])
async def test_without_sources_there_is_how_to_connect_one(site: Console, text: str) -> None:
    await site.service.configure(config_of({**with_people().files, "sources.yaml": text}))
    page = await (await site.sign_in("wang@example.cn")).get("/sources")
    assert page.status_code == 200
    assert "接入工具" in page.text
    assert "/v1/webhooks/" in page.text


async def test_a_name_that_somebody_chose_is_data(site: Console) -> None:
    await said(site, "<script>alert(1)</script>\u202e", 0)
    page = (await (await site.sign_in("vera@example.com")).get("/sources")).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;<" in page
    assert "<script>alert" not in page


async def test_nobody_sees_it_who_is_not_signed_in(site: Console) -> None:
    assert (await (await site.nobody()).get("/sources")).headers["location"] == "/login?next=/sources"


# ── as usual, or not ──

WEEKS = 5


async def spoke(site: Console, source: str, an_hour: int, until: int = 0) -> None:
    """So many in each hour of five weeks, as the closer has summed them up; nothing in the last `until` hours."""
    await site.world.rows(
        "INSERT INTO closer.heard (workspace, source, hour, events)"
        f" SELECT 'default', '{source}', date_trunc('hour', TIMESTAMPTZ '{START.isoformat()}', 'UTC') - n * interval '1 hour',"
        f" {an_hour} FROM generate_series({until + 1}, {WEEKS * 168}) AS n"
    )
    last = START - timedelta(hours=until + 1)
    await site.world.rows(f"INSERT INTO closer.source VALUES ('default', '{source}', '{last.isoformat()}')")


async def three_that_differ(site: Console) -> None:
    await site.service.configure(config_of({**with_people().files, "sources.yaml": SOURCES}))
    await spoke(site, "zendesk-eu", 20)
    await spoke(site, "crm", 20, until=8)
    await said(site, "crm", *(hour + 0.9 for hour in range(8)), *(hour + 0.8 for hour in range(8)))
    await spoke(site, "<b>theirs</b>", 5, until=8)
    await said(site, "<b>theirs</b>", *(hour + n / 40 for hour in range(8) for n in range(21, 40)))


async def test_what_came_is_held_against_what_these_hours_usually_bring(site: Console) -> None:
    await three_that_differ(site)
    found = await rows(await site.sign_in())
    assert "heard" in found["zendesk-eu"]
    assert "120, usually 120" in found["zendesk-eu"]
    assert " quiet " in found["crm"]
    assert "12, usually 120" in found["crm"]
    assert "much more than usual" in found["&lt;b&gt;theirs&lt;/b&gt;"]
    assert "never heard of" in found["partner"]
    page = (await (await site.sign_in("wang@example.cn")).get("/sources")).text
    assert "12 条，平时约 120 条" in page
    assert "偏少" in page


async def test_the_same_for_tools_and_on_the_gauges_without_a_strangers_word(site: Console) -> None:
    await three_that_differ(site)
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    tool = await site.nobody(Authorization=f"Bearer {key}")
    items = {item["source"]: item for item in (await tool.get("/v1/sources")).json()["items"]}
    assert list(items)[:2] == ["zendesk-eu", "partner"], "those of sources.yaml first"
    assert {name: (one["state"], one["connector"]) for name, one in items.items()} == {
        "zendesk-eu": ("heard", "zendesk"),
        "partner": ("never", "standard"),
        "crm": ("quiet", None),
        "<b>theirs</b>": ("doubled", None),
    }
    assert (items["crm"]["volume"]["came"], items["crm"]["volume"]["expected"]) == (12, 120.0)
    assert items["partner"]["volume"] is None
    text = (await tool.get("/metrics")).text
    assert "flywheel_source_state{" not in text, "nothing is counted yet"
    assert "# TYPE flywheel_source_state gauge" in text, "but it is there to be asked for"
    await site.service._measuring.refresh()
    text = (await tool.get("/metrics")).text
    assert 'flywheel_source_state{source="zendesk-eu",state="heard"} 1.0' in text
    assert 'flywheel_source_state{source="zendesk-eu",state="quiet"} 0.0' in text
    assert 'flywheel_source_state{source="partner",state="never"} 1.0' in text
    assert 'flywheel_source_share{source="zendesk-eu"} 1.0' in text
    assert 'flywheel_source_state{source="",state="quiet"} 1.0' in text
    assert 'flywheel_source_state{source="",state="doubled"} 1.0' in text
    assert "theirs" not in text
    assert "crm" not in text
    nobody = await (await site.nobody()).get("/v1/sources")
    assert nobody.status_code == 401


async def test_who_is_named_nowhere_and_gone_for_a_week_is_counted_no_more(site: Console) -> None:
    await said(site, "campaign", *range(24 * 8, 24 * 12))
    await said(site, "app", *range(30, 60))
    await site.service._measuring.refresh()
    text = (await (await site.nobody()).get("/metrics")).text
    assert 'flywheel_source_state{source="",state="silent"} 1.0' in text


async def test_a_figure_says_what_it_rests_on(site: Console) -> None:
    await three_that_differ(site)
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    tool = await site.nobody(Authorization=f"Bearer {key}")
    stale = (await tool.get("/v1/measures")).json()["items"][0]["measures"]["feedback"]["stale"]
    assert {one["source"]: one["state"] for one in stale} == {"crm": "quiet", "<b>theirs</b>": "doubled"}
    page = (await (await site.sign_in()).get("/measures")).text
    assert "only 12 came from crm since" in page
    assert "May be too many: 114 came from &lt;b&gt;theirs&lt;/b&gt; since" in page


async def test_a_consumer_that_lags_makes_no_source_silent(site: Console) -> None:
    """What it has not counted yet may be what the source said."""
    world = site.world
    now = await world.database.now()
    world.clock.advance(now - world.clock.now())
    await world.take(
        *(
            feedback(source="app", customer={"id": f"c-{ago}"}, received_at=rfc3339(now - timedelta(hours=ago)))
            for ago in range(1, 40)
        )
    )
    await world.rows(  # as the closer tells the log every few seconds
        "UPDATE log.position q SET position = p.next_offset FROM log.partition p WHERE p.topic_id = q.topic_id"
        " AND p.partition = q.partition AND q.group_name = 'closer'"
    )
    await world.send(Message(RECEIVED, b"k", b"{}", []))
    world.clock.advance(timedelta(hours=5))
    key = (await site.runtime.keys.create("default", "reader", ["cases:read"])).key
    ((one,),) = [(await (await site.nobody(Authorization=f"Bearer {key}")).get("/v1/sources")).json()["items"]]
    assert one["state"] == "heard"
    assert 3_600 <= one["silence_s"] < 3_700, "as of when what waits was written"
