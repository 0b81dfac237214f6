"""What customers were told, and the mails themselves where they are files."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.channels import Channel
from services.closer.channels.email import FileChannel
from services.closer.deliver import Deliverer
from shared.errors import Rejected, Transient
from shared.links import Links
from shared.retry import RetryPolicy
from tests.closer.test_deliver import FROM, RETRY, SETTINGS, Sink, once
from tests.closer.world import SECRET, feedback
from tests.console.site import Console, Visitor, console
from tests.console.test_cases import opened

_STATUS = re.compile(r'<span class="status (\w+)">')


def deliverer(site: Console, channel: Channel, retry: RetryPolicy = RETRY) -> Deliverer:
    return Deliverer(
        site.world.unit, {"email": channel}, Links(SECRET), "https://feedback.example.com", SETTINGS, retry
    )


def files(site: Console) -> FileChannel:
    return FileChannel(site.runtime.settings.data_dir / "mail", FROM)


async def statuses(visitor: Visitor, status: str = "") -> list[str]:
    page = await visitor.get("/mails", status=status)
    assert page.status_code == 200, page.text
    return _STATUS.findall(page.text)


async def test_each_status_has_its_mails_and_all_of_them_the_newest_first(site: Console) -> None:
    one = await site.sign_in()
    assert "No mail of this kind" in (await one.get("/mails")).text
    for name, channel in (
        ("sent", files(site)),
        ("failed", Sink(answers=[Rejected("the mail server answered 550")])),
        ("retried", Sink(answers=[Transient("the mail server: busy")])),
    ):
        await opened(site, feedback(customer={"id": name, "email": f"{name}@example.com"}))
        await once(deliverer(site, channel))
        site.world.clock.advance(timedelta(seconds=1))
    await opened(site, feedback(customer={"id": "nobody"}))
    assert await statuses(one) == ["withheld", "pending", "failed", "sent"]
    for status, found in (("pending", 1), ("sent", 1), ("failed", 1), ("withheld", 1), ("sending", 0), ("unknown", 0)):
        assert await statuses(one, status) == [status] * found
    assert len(await statuses(one, "no-such-status")) == 4
    page = (await one.get("/mails")).text
    assert "the mail server answered 550" in page
    assert "no e-mail address is known" in page
    assert "retried@example.com" in page
    assert page.count("read it") == 1


async def test_pages_show_every_mail_once(site: Console) -> None:
    await opened(site, *(feedback(customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(60)))
    await opened(site, *(feedback(customer={"id": f"d-{n}"}) for n in range(60)))
    one = await site.sign_in()
    for status, count in (("", 120), ("pending", 60)):
        seen: list[str] = []
        path: str | None = f"/mails?status={status}"
        for _ in range(4):
            page = (await one.get(path)).text if path else ""
            seen += re.findall(r'<td class="said"><a href="/cases/([0-9a-f-]{36})"', page)
            more = re.search(r'href="(/mails[^"]*)" rel="next"', page)
            path = more[1].replace("&amp;", "&") if more else None
        assert path is None
        assert len(seen) == len(set(seen)) == count
    for after in ("nonsense", "2026-11-23~x~heard~1", "a~b~c", "~~~"):
        assert (await one.get("/mails", after=after)).status_code == 400


async def written(site: Console, **changes: Any) -> str:
    """The name of a mail that was written."""
    await opened(site, feedback(**changes))
    await once(deliverer(site, files(site)))
    path = next((site.runtime.settings.data_dir / "mail").iterdir())
    return path.name


async def test_a_written_mail_can_be_read_as_the_customer_gets_it(site: Console) -> None:
    name = await written(site, text="<script>alert(1)</script> 退款呢？", language="zh-CN")
    vera = await site.sign_in("vera@example.com")
    assert f'href="/mails/{name}"' in (await vera.get("/mails")).text
    page = await vera.get(f"/mails/{name}")
    assert page.status_code == 200
    assert "ann@example.com" in page.text
    assert f'src="/mails/{name}/html"' in page.text
    assert "sandbox" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 退款呢？" in page.text
    assert "<script>alert" not in page.text
    frame = await vera.get(f"/mails/{name}/html")
    assert frame.status_code == 200
    assert "退款呢？" in frame.text
    assert "<script>alert" not in frame.text
    assert frame.headers["content-security-policy"].startswith("default-src 'none';")
    assert "sandbox" in frame.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "0" * 40 + ".eml",
        "..%2Fsecret",
        "%2E%2E%2F" + "0" * 40 + ".eml",
        "../" + "0" * 40 + ".eml",
        "secret",
        ".eml",
        "0" * 39 + "g.eml",
        "0" * 40 + ".eml%0a",
        "A" * 40 + ".eml",
    ],
)
async def test_no_other_file_is_read(site: Console, name: str) -> None:
    directory = site.runtime.settings.data_dir
    await written(site)
    (directory / "secret").write_text("hidden words")
    (directory / ("0" * 40 + ".eml")).write_text("hidden words")
    one = await site.sign_in()
    for path in (f"/mails/{name}", f"/mails/{name}/html"):
        answer = await one.http.get(path)
        assert answer.status_code == 404, path
        assert "hidden words" not in answer.text


async def test_a_mail_of_another_workspace_is_not_shown(site: Console) -> None:
    name = await written(site)
    path = site.runtime.settings.data_dir / "mail" / name
    one = await site.sign_in()
    assert (await one.get(f"/mails/{name}")).status_code == 200
    async with site.world.transactions.begin() as driver:
        await driver.execute("INSERT INTO shared.workspace (name, created_at) VALUES ('acme', now())")
        await driver.execute("UPDATE closer.case SET workspace = 'acme'")
    assert (await one.get(f"/mails/{name}")).status_code == 404
    for reference in ("", "<case.not-a-uuid@example.com>", "<case.------------------------------------@x>"):
        path.write_text(f"References: {reference}\n\nsecret words")
        answer = await one.get(f"/mails/{name}")
        assert (answer.status_code, "secret words" in answer.text) == (404, False)


async def test_where_there_is_a_mail_server_no_file_is_shown(database_url: str, tmp_path: Path) -> None:
    async with console(database_url, tmp_path) as site:
        name = await written(site)
        object.__setattr__(site.runtime.settings, "smtp_url", "smtp://127.0.0.1:2525")
        one = await site.sign_in()
        page = (await one.get("/mails")).text
        assert "read it" not in page
        assert "No mail server" not in page
        assert (await one.get(f"/mails/{name}")).status_code == 404


async def test_nobody_reads_mails_who_is_not_signed_in(site: Console) -> None:
    name = await written(site)
    nobody = await site.nobody()
    for path in ("/mails", f"/mails/{name}", f"/mails/{name}/html"):
        answer = await nobody.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


async def test_each_status_is_read_in_its_index_s_order(site: Console) -> None:
    from sqlalchemy import text

    from services.console.pages import mails

    statement = mails._NEWEST.format(after="")
    async with site.world.database.transaction() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        values = {"workspace": "default", "statuses": list(mails.STATUSES), "limit": 51}
        plan = "\n".join(row[0] for row in await connection.execute(text("EXPLAIN " + statement), values))
    assert "Index Scan Backward using notification_newest" in plan, plan
