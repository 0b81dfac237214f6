"""Coming in, going out, and what each role may."""

from datetime import timedelta

import pytest

from services.console.pages import back_to
from shared.links import Links
from shared.people import OPERATOR, Pass, read_pass, sign_pass
from shared.sessions import Sessions
from tests.closer.world import SECRET, feedback
from tests.console.site import PEOPLE, Console, with_people


@pytest.mark.parametrize("path", ["/", "/cases", "/feedback", "/cases/9f0c9d4e-0000-4000-8000-000000000000"])
async def test_whoever_is_not_signed_in_is_sent_to_do_so_and_then_gets_where_they_wished(
    site: Console, path: str
) -> None:
    nobody = await site.nobody()
    answer = await nobody.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    link = await Sessions(site.world.database, site.world.clock).link("default", OPERATOR, "admin")
    answer = await nobody.http.get(answer.headers["location"], params={"token": link})
    if path != "/":
        answer = await nobody.http.get(f"/login?token={link}&next={path}")  # the link was used by the line before
    assert answer.headers["location"] == ("/cases" if path == "/" else path)


async def test_a_link_works_once_and_for_a_day(site: Console) -> None:
    sessions = Sessions(site.world.database, site.world.clock)
    link = await sessions.link("default", OPERATOR, "admin")
    first, second = await site.nobody(), await site.nobody()
    assert (await first.get("/login", token=link)).status_code == 303
    refused = await second.get("/login", token=link)
    assert (refused.status_code, "works once" in refused.text) == (403, True)
    old = await sessions.link("default", OPERATOR, "admin")
    site.world.clock.advance(timedelta(hours=25))
    assert (await second.get("/login", token=old)).status_code == 403


async def test_a_session_ends_by_signing_out_and_after_a_fortnight(site: Console) -> None:
    one = await site.sign_in()
    cookie = dict(one.http.cookies)
    assert (await one.post("/logout")).headers["location"] == "/login"
    one.http.cookies.update(cookie)
    assert (await one.get("/cases")).status_code == 303, "the session is over, whoever has the cookie"
    other = await site.sign_in()
    site.world.clock.advance(timedelta(days=15))
    assert (await other.get("/cases")).status_code == 303


async def test_the_cookie_is_for_us_alone(site: Console) -> None:
    link = await Sessions(site.world.database, site.world.clock).link("default", OPERATOR, "admin")
    answer = await (await site.nobody()).get("/login", token=link)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert link not in cookie


async def test_neither_links_nor_sessions_can_be_read_from_the_database(site: Console) -> None:
    one = await site.sign_in()
    token = one.http.cookies["flywheel"]
    async with site.world.transactions.begin() as driver:
        for table in ("login", "session"):
            for row in await driver.fetch(f"SELECT t::text AS line FROM shared.{table} t"):
                assert token not in row["line"]
                assert token.encode().hex() not in row["line"]


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [("", {}), ("0" * 64, {}), ("ours", {"sec-fetch-site": "cross-site"}), ("ours", {"sec-fetch-site": "same-site"})],
)
async def test_a_form_from_elsewhere_changes_nothing(site: Console, csrf: str, headers: dict[str, str]) -> None:
    value = feedback()
    await site.world.take(value)
    case = (await site.world.case(value["id"]))["id"]
    one = await site.sign_in()
    form = {} if csrf == "ours" else {"csrf": csrf}
    answer = await one.post(f"/cases/{case}/acknowledge", form, **headers)
    assert answer.status_code == 403
    assert "not from your session" in answer.text
    assert (await site.world.case(value["id"]))["state"] == "open"


async def test_the_token_of_one_session_is_worth_nothing_in_another(site: Console) -> None:
    one, other = await site.sign_in(), await site.sign_in("li@example.com")
    assert one.csrf != other.csrf
    assert (await other.post("/settings", {"csrf": one.csrf, "theme": "dark"})).status_code == 403


async def test_a_viewer_sees_and_does_nothing(site: Console) -> None:
    value = feedback()
    await site.world.take(value)
    case = (await site.world.case(value["id"]))["id"]
    vera = await site.sign_in("vera@example.com")
    page = await vera.get(f"/cases/{case}")
    assert page.status_code == 200
    assert "Where is my refund?" in page.text
    assert "/acknowledge" not in page.text
    assert (await vera.post(f"/cases/{case}/acknowledge")).status_code == 403
    assert (await vera.post("/cases/bulk", {"verb": "acknowledge", "id": str(case)})).status_code == 403
    assert (await site.world.case(value["id"]))["state"] == "open"


async def test_who_acted_stands_on_the_case_and_on_no_topic(site: Console) -> None:
    value = feedback()
    await site.world.take(value)
    case = (await site.world.case(value["id"]))["id"]
    li = await site.sign_in("li@example.com")
    assert (await li.post(f"/cases/{case}/acknowledge")).status_code == 303
    async with site.world.transactions.begin() as driver:
        actors = await driver.fetch("SELECT actor FROM closer.timeline WHERE what = 'acknowledged'")
        sent = await driver.fetch("SELECT value FROM shared.outbox")
    assert [row["actor"] for row in actors] == ["li@example.com"]
    assert sent
    assert all(b"li@example.com" not in row["value"] for row in sent)
    assert any(b'"actor":"person:' in row["value"] for row in sent)


async def test_whoever_is_taken_out_of_the_configuration_is_out_at_the_next_click(site: Console) -> None:
    li = await site.sign_in("li@example.com")
    assert (await li.get("/cases")).status_code == 200
    await site.service.configure(with_people(PEOPLE.replace("{email: li@example.com, name: Li}, ", "")))
    assert (await li.get("/cases")).status_code == 303
    await site.service.configure(with_people(PEOPLE.replace("name: Li}", "name: Li, role: viewer}")))
    assert (await li.get("/cases")).status_code == 200
    assert (await li.post("/cases/bulk", {"verb": "acknowledge"})).status_code == 403


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        ("/cases?view=mine", "/cases?view=mine"),
        ("//evil.example", "/cases"),
        ("https://evil.example", "/cases"),
        ("/\\evil.example", "/cases"),
        ("\\/evil.example", "/cases"),
        ("/a\r\nSet-Cookie: x=y", "/cases"),
        ("", "/cases"),
        (None, "/cases"),
    ],
)
def test_nobody_is_sent_to_another_site(wanted: str | None, goes: str) -> None:
    assert back_to(wanted) == goes


def test_a_pass_is_good_for_its_signer_alone_and_is_no_link() -> None:
    who = Pass("default", "person:1", "li@example.com", "agent")
    links = Links(SECRET)
    assert read_pass(links, sign_pass(links, who)) == who
    assert read_pass(Links("another secret"), sign_pass(links, who)) is None
    assert read_pass(links, "fwp_" + links.sign("loop", '["default", "person:1", "li", "admin"]')) is None


async def test_the_language_and_the_theme_are_the_persons_the_browsers_or_chosen(site: Console) -> None:
    wang = await site.sign_in("wang@example.cn")
    assert '<html lang="zh-CN"' in (await wang.get("/cases")).text
    assert (
        '<html lang="zh-CN"' in (await (await site.nobody(**{"Accept-Language": "zh-TW,en;q=0.5"})).get("/login")).text
    )
    await wang.post("/settings", {"language": "en", "theme": "dark", "back": "/cases"})
    page = (await wang.get("/cases")).text
    assert '<html lang="en" data-theme="dark">' in page


async def test_the_console_reads_views_and_can_do_nothing_else(site: Console) -> None:
    """Not by our good manners: the database refuses."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    await site.sign_in()
    assert await site.queries.rows("SELECT count(*) AS n FROM published.cases")
    for statement in (
        "SELECT * FROM closer.case",
        "SELECT * FROM shared.api_key",
        "DELETE FROM shared.session",
        "UPDATE closer.case SET state = 'confirmed'",
        "CREATE TABLE published.mine (a int)",
    ):
        with pytest.raises(DBAPIError) as refused:
            await site.queries.rows(statement)
        assert isinstance(
            getattr(refused.value.orig, "__cause__", None),
            asyncpg.InsufficientPrivilegeError | asyncpg.ReadOnlySQLTransactionError,
        )
