"""Signals as people see them: which are up and why, what they are made of; above the queue, on the board and in the case."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.closer.test_signals import BUGS, bug, judge_of, settled
from tests.closer.world import config_with
from tests.console.site import PEOPLE, Console, console


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Console]:
    config = config_with(tmp_path, routing=f"rules: []\nsignals:\n  {BUGS}", teams=PEOPLE)
    async with console(database_url, tmp_path, config) as made:
        await settled(judge_of(made.world))
        yield made


async def up(site: Console, product: str = "<b>kettle</b>", count: int = 5) -> str:
    """A signal of so many pieces of feedback; its id."""
    await site.world.take(*(bug(site.world, product, text=f"It does not boil, {n}") for n in range(count)))
    await settled(judge_of(site.world))
    return str(await site.world.value("SELECT id FROM closer.signal WHERE group_name = $1", product))


async def test_what_is_up_is_listed_with_why_and_opens_the_rows_that_were_counted(site: Console) -> None:
    visitor = await site.sign_in()
    assert "No signal is up." in (await visitor.get("/signals")).text
    signal = await up(site)
    page = (await visitor.get("/signals")).text
    for part in (f'href="/signals/{signal}"', "many-bugs", "&lt;b&gt;kettle&lt;/b&gt;", "5 within 1h 00m, more than 3"):
        assert part in page, part
    one = (await visitor.get(f"/signals/{signal}")).text
    cases = await site.world.rows("SELECT id FROM closer.case")
    assert len(cases) == 5
    for case in cases:
        assert f'href="/cases/{case["id"]}"' in one
    assert "It does not boil, 4" in one
    assert (await visitor.get("/signals/00000000-0000-4000-8000-000000000000")).status_code == 404


async def test_it_stands_above_the_queue_on_the_board_and_in_its_cases(site: Console) -> None:
    signal = await up(site)
    visitor = await site.sign_in()
    case = await site.world.value("SELECT id FROM closer.case LIMIT 1")
    for path in ("/sla", "/cases", "/cases?team=product", f"/cases/{case}"):
        assert f'href="/signals/{signal}"' in (await visitor.get(path)).text, path
    assert f'href="/signals/{signal}"' not in (await visitor.get("/cases", team="sales")).text, "nothing to them"


async def test_more_than_a_page_goes_on_where_it_stopped(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.console.pages.signals.PAGE", 3)
    signal = await up(site)
    visitor = await site.sign_in()
    first = (await visitor.get(f"/signals/{signal}")).text
    more = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    second = (await visitor.get(more)).text
    assert [page.count("It does not boil") for page in (first, second)] == [3, 2]
    for path in ("/signals", f"/signals/{signal}"):
        assert (await visitor.get(path, after="x")).status_code == 400


async def test_in_chinese(site: Console) -> None:
    await up(site, "水壶")
    visitor = await site.sign_in("wang@example.cn")
    visitor.http.headers["accept-language"] = "zh-CN"
    assert "1小时 00分内 5 条，超过 3 条" in (await visitor.get("/signals")).text
