"""The console in a real browser, over a real process with the sample feedback: every page that there is, and the story of
one case from the queue to the customer's yes, by keyboard alone, in both languages."""

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, BrowserContext, Page

from services.console import pages
from services.console.pages import Page as PageModule
from services.console.pages import Site
from services.console.render import words
from services.console.visit import Language
from shared import registry
from shared.events.dead_letter import DeadLetter
from shared.log.choose import open_log
from shared.log.partitioning import partition_of
from shared.settings import read_settings
from shared.topics import DEFAULT_PARTITIONS
from tests.browser import Watched, shot
from tests.deployment import Deployment
from tests.mailbox import Mailbox, plain

ITSELF = {"iframes": False}  # a sandboxed frame answers no message, and axe complains of that in the page's console
SERIOUS = ("serious", "critical")
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
LOCALES = {"en": "en-GB", "zh-CN": "zh-CN"}
PICTURED = {"/cases": ("light", "dark", "zh", "phone"), "/sla": ("dark",), "/measures": ("light",)}
"""The looks that the documents show."""
# Pages that are files, streams or not a person's: each with the reason why no browser opens it here.
NOT_PAGES = {
    "/static/{digest}/{name}": "a file",
    "/login": "seen by whoever is not signed in; it has a test of its own",
    "/next": "leads to a case",
    "/dead-letters/{place}/bytes": "a file",
    "/measures.csv": "a file",
    "/feedback/{feedback_id}/almost": "a part of a case's page: seen there, in the story of one case",
    "/export/cases.{form}": "a file",
    "/export/feedback.{form}": "a file",
    "/sla/wall/events": "a stream",
    "/imports/{upload_id}/refused": "a file",
    "/mails/{file}": "there only where mails are written as files: tests/console/test_mails.py",
    "/mails/{file}/html": "a frame of that page",
}


def every_page() -> list[str]:
    """The paths of all GET pages, from the routes as they are made: a new page is opened without being named."""
    nothing: Any = None
    site = Site(**dict.fromkeys(Site.__dataclass_fields__, nothing))
    routes = [route for page in registry.load(pages, PageModule).values() for route in page.routes_for(site).routes]
    gets = [route.path for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]
    return [path for path in gets if path not in NOT_PAGES]


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("console")
    with Deployment.all_in_one(directory, {"SMTP_URL": mailbox.url}) as made:
        made.until((made.data_dir / "sample-loaded").exists, seconds=120)
        yield made


@pytest.fixture
def base(deployment: Deployment) -> str:
    return deployment.urls["console"]


def signed_in(browser: Browser, deployment: Deployment, **options: Any) -> tuple[BrowserContext, Watched]:
    """A browser of its own, let in by a link of its own, as `flywheel login` makes one."""
    context = browser.new_context(**DESK | options)
    watched = Watched(context, deployment.urls["console"])
    link = json.loads(deployment.flywheel("login", "--json").stdout)["url"]
    watched.page.goto(link)
    assert watched.page.url.endswith("/cases"), watched.page.url
    return context, watched


@pytest.fixture(scope="module")
def ids(deployment: Deployment) -> dict[str, str]:
    """Something real for each part of an address."""
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright keeps a loop running in this thread
        place = elsewhere.submit(lambda: asyncio.run(_dead_letter(deployment))).result()
    closer = deployment.http("closer")
    cases = deployment.until(lambda: closer.get("/v1/cases", params={"state": "open"}).json()["items"])
    case = next(case for case in cases if case["customer"])
    account: dict[str, Any] = {
        "name": "Acme 有限公司",
        "tier": "gold",
        "renewal_on": "2027-03-31",
        "owner": "li@example.com",
    }
    account["revenue"] = {"amount": 120_000, "currency": "EUR"}
    account["outcome"] = {"wanted": "Half the calls", "by": "2027-01-31", "reached": False}
    assert closer.put("/v1/accounts/acme", json=account).status_code == 201
    _shadow(deployment)
    return {
        "case_id": case["id"],
        "feedback_id": case["first_feedback_id"],
        "place": place,
        "account_id": "acme",
        "customer": case["customer"],
        "name": "closed_loop_rate",
        "upload_id": _upload(deployment),
        "signal_id": _signal(deployment),
        "initiative_id": _initiative(deployment, case["id"]),
    }


def _shadow(deployment: Deployment) -> None:
    """Rules that would give everything to sales, and something that they were asked about."""
    file, router = deployment.data_dir / "everything.yaml", deployment.http("router")
    rule = "{name: everything, when: {text: {matches: .}}, then: [{assign: sales}]}"
    file.write_text(f"rules: [{rule}]\n", encoding="utf-8")
    deployment.flywheel("rules", "shadow", str(file), "--reason", "what if?")
    deployment.until(lambda: "router_shadow_rules 1.0" in router.get("/metrics").text)
    body = {"source": "mail", "text": "希望增加深色模式"}
    assert deployment.http("ingest").post("/v1/feedback", json=body).status_code == 202
    deployment.until(lambda: router.get("/v1/rules/shadow").json()["samples"])


def _signal(deployment: Deployment) -> str:
    """Three people whose accounts were hacked within the hour: what the starter calls a wave."""
    for number in range(3):
        body = {"source": "mail", "text": "我的账号被盗了", "customer": {"id": f"hacked-{number}", "name": "王芳"}}
        assert deployment.http("ingest").post("/v1/feedback", json=body).status_code == 202
    (one,) = deployment.until(lambda: deployment.http("closer").get("/v1/signals").json()["items"])
    return str(one["id"])


def _initiative(deployment: Deployment, case: str) -> str:
    """With a case, and its work shipped in its own tool."""
    body = {"title": "深色模式 Dark mode", "cases": [case], "work": [{"source": "/jira", "work_id": "JIRA-7"}]}
    closer = deployment.http("closer")
    found = closer.post("/v1/initiatives", json=body).json()
    event = {
        "specversion": "1.0",
        "id": "jira-7",
        "source": "/jira",
        "type": "work.shipped",
        "data": {"work_id": "JIRA-7"},
    }
    headers = {"Content-Type": "application/cloudevents+json"}
    assert deployment.http("ingest").post("/v1/events", json=event, headers=headers).status_code == 202
    deployment.until(lambda: closer.get(f"/v1/initiatives/{found['id']}").json()["shipped_upstream"])
    return str(found["id"])


def _upload(deployment: Deployment) -> str:
    """A file that somebody has brought, and one row of which would be refused."""
    link = json.loads(deployment.flywheel("login", "--json").stdout)["url"]
    rows = "".join(f"R{number},好用 {number},{99 if number == 7 else number % 11}\n" for number in range(30))
    with httpx2.Client(base_url=deployment.urls["console"], follow_redirects=True) as browser:
        csrf = re.search(r'name="csrf" value="(\w+)"', browser.get(link).text)
        assert csrf
        file = ("去年.csv", f"编号,评论内容,推荐意愿\n{rows}".encode("gb18030"))
        page = browser.post("/imports", data={"csrf": csrf[1]}, files={"file": file})
        assert page.status_code == 200, page.text
        return page.url.path.rpartition("/")[2]


async def _dead_letter(deployment: Deployment) -> str:
    """One that nobody can read, as the closer would have left it; its place."""
    url = json.loads((deployment.data_dir / "running.json").read_text())["database_url"]
    log = await open_log(read_settings(deployment.env, data_dir=deployment.data_dir).with_database(url))
    producer = await log.producer()
    try:
        headers = [("ce_source", b"app-store")]
        letter = DeadLetter(
            "feedback.routed.support/0/0",
            "closer",
            "not-handled",
            "DataError",
            1,
            "feedback.routed.support",
            b"k",
            b"\xff{",
            headers,
        )
        await producer.append(letter.messages())
        return f"{partition_of(b'k', DEFAULT_PARTITIONS)}-0"
    finally:
        await producer.close()
        await log.close()


def serious(page: Page) -> list[str]:
    """What axe finds."""
    found = [one for one in Axe().run(page, options=ITSELF).response["violations"] if one["impact"] in SERIOUS]
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found]


@pytest.mark.timeout(600)  # every page there is, four times, each looked through by axe
def test_every_page_in_light_and_dark_in_both_languages_and_on_a_phone(
    deployment: Deployment,
    browser: Browser,
    ids: dict[str, str],
    base: str,
) -> None:
    """No error in the console, nothing asked of anybody else, nothing that axe calls serious, no sideways scrolling."""
    paths = every_page()
    assert len(paths) >= 4
    looks: list[tuple[str, Any]] = [
        ("light", {"color_scheme": "light", "locale": LOCALES["en"]}),
        ("dark", {"color_scheme": "dark", "locale": LOCALES["en"]}),
        ("zh", {"color_scheme": "light", "locale": LOCALES["zh-CN"]}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "locale": LOCALES["zh-CN"]}),
    ]
    context, watched = signed_in(browser, deployment)
    state = context.storage_state()
    context.close()
    wrong = list[str]()
    for look, options in looks:
        context = browser.new_context(**DESK | {"storage_state": state} | options)
        watched = Watched(context, base)
        for path in paths:
            unknown = set(re.findall(r"\{(\w+)", path)) - ids.keys()
            assert not unknown, f"{path}: say in `ids` or NOT_PAGES what stands for {unknown}"
            address = re.sub(r"\{(\w+)(:\w+)?\}", lambda part: ids[part[1]], path)
            answer = watched.page.goto(base + address, wait_until="load")
            if answer is None or answer.status != 200:
                wrong.append(f"{look} {address}: {answer.status if answer else 'no answer'}")
                continue
            if "html" not in answer.headers["content-type"]:
                continue
            if look in PICTURED.get(path, ()):
                shot(watched.page, f"{path.strip('/')}-{look}")
            if look != "zh":  # the phone's pages are Chinese, and the light ones as wide
                wrong += [f"{look} {address}: {fault}" for fault in serious(watched.page)]
            if look == "phone" and watched.page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
                wrong.append(f"phone {address}: wider than the screen")
        wrong += [f"{look}: {fault}" for fault in watched.faults]
        context.close()
    assert not wrong, "\n".join(wrong)


def press_until(page: Page, key: str, selector: str, at_most: int = 80) -> None:
    """By keyboard alone: until that element has the focus."""
    for _ in range(at_most):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
    raise AssertionError(f"{at_most} × {key} and {selector} has not got the focus")


STORY = {
    "en": (
        "The export crashes whenever I open the March report.",
        "Fixed in 4.2: reports open again.",
        "The customer confirmed",
    ),
    "zh-CN": ("一打开三月份的报表就崩溃，导不出来。", "4.2 版已修复，报表可以正常打开了。", "客户已确认"),
}


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_one_case_from_the_queue_to_the_customers_yes_by_keyboard_alone(
    deployment: Deployment,
    browser: Browser,
    mailbox: Mailbox,
    base: str,
    language: str,
) -> None:
    said, answer, confirmed = STORY[language]
    address = f"story-{language.lower()}@example.com"
    sent = deployment.http("ingest").post(
        "/v1/feedback",
        json={"source": "app-store", "text": said, "language": language, "customer": {"email": address}},
    )
    feedback_id = sent.json()["id"]
    console = deployment.http("console")

    def case() -> Any:
        found = console.get(f"/v1/feedback/{feedback_id}/trace")
        return found.json()["case"] if found.status_code == 200 else None

    deployment.until(case)
    context, watched = signed_in(browser, deployment, locale=LOCALES[language])
    page, keyboard = watched.page, watched.page.keyboard
    assert page.locator("html").get_attribute("lang") == language

    keyboard.press("/")
    keyboard.type(said)
    deployment.until(lambda: deployment.http("closer").get("/v1/cases", params={"q": said}).json()["items"])
    keyboard.press("Enter")
    page.wait_for_url("**q=**")
    press_until(page, "Tab", "td.said a")
    keyboard.press("Enter")
    page.wait_for_url("**/cases/*-*")
    assert said in page.inner_text("main")

    press_until(page, "Tab", "article.words summary")  # why it is ours, and what almost made it another's
    keyboard.press("Enter")
    page.wait_for_selector(".almost .reasons, .almost .empty")
    assert not serious(page)

    keyboard.press("m")  # take it
    page.wait_for_selector(".notice")
    assert case()["state"] == "in_progress"

    keyboard.press("r")
    keyboard.type(answer)
    press_until(page, "Tab", "button[formtarget=preview]")
    keyboard.press("Enter")
    mail = page.frame_locator("iframe[name=preview]")
    mail.get_by_text(answer).wait_for()
    shot(page, f"case-{language}", whole=True)
    page.locator("button[formtarget=preview]").focus()
    press_until(page, "Shift+Tab", "button.primary:not([name])")
    keyboard.press("Enter")
    page.wait_for_selector(".notice")

    answered = mailbox.wait_for(address, 2)[1]
    link = re.search(r"https?://\S+?/loop/[\w.~-]+", plain(answered))
    assert link, plain(answered)
    customer = Watched(browser.new_context(locale=LOCALES[language]), base)
    customer.page.goto(link[0])
    shot(customer.page, f"customer-{language}")
    assert not serious(customer.page)
    press_until(customer.page, "Tab", "button[value=yes], input[value=yes]")
    with customer.page.expect_navigation():
        customer.page.keyboard.press("Enter")
    assert not serious(customer.page), "thanks"
    deployment.until(lambda: case()["state"] == "confirmed")

    page.reload()
    assert confirmed in page.inner_text("main")
    assert not watched.faults, watched.faults
    assert not customer.faults, customer.faults
    context.close()
    customer.page.context.close()


def test_all_of_it_works_without_script(
    deployment: Deployment, browser: Browser, ids: dict[str, str], base: str
) -> None:
    context, watched = signed_in(browser, deployment, java_script_enabled=False)
    page = watched.page
    page.locator("td.said a").first.click()
    case = page.url
    page.get_by_role("button", name="Take it").click()
    assert page.locator(".notice").is_visible()
    page.fill("#words", "Done without script.")
    page.get_by_role("button", name="Show the mail").click()
    page.frame_locator("iframe[name=preview]").get_by_text("Done without script.").wait_for()
    page.get_by_role("button", name="Send", exact=True).click()
    page.goto(case)
    assert "Done without script." in page.inner_text("main")
    assert not watched.faults, watched.faults
    context.close()


def test_two_agents_at_one_case_see_each_other(
    deployment: Deployment, browser: Browser, ids: dict[str, str], base: str
) -> None:
    """Both are the operator here, so one of them comes by the API, as another tool would."""
    context, watched = signed_in(browser, deployment, locale="en-GB")
    path = f"/v1/cases/{ids['case_id']}/presence"
    deployment.http("closer").post(path, json={"doing": "editing"})
    watched.page.goto(f"{base}/cases/{ids['case_id']}")
    watched.page.get_by_text("is writing an answer").wait_for()
    watched.page.fill("#words", "I write too")
    deployment.until(
        lambda: [one["doing"] for one in deployment.http("closer").post(path, json={}).json()["others"]] == ["editing"]
    )
    assert not watched.faults, watched.faults
    context.close()


def test_signing_in_is_said_in_the_browsers_language(deployment: Deployment, browser: Browser, base: str) -> None:
    for language, says in (("en", "Sign in"), ("zh-CN", "登录")):
        context = browser.new_context(locale=LOCALES[language])
        watched = Watched(context, base)
        watched.page.goto(f"{base}/cases?view=mine")
        assert says in watched.page.inner_text("h1")
        assert not serious(watched.page)
        assert not watched.faults
        context.close()


def test_an_error_is_a_page_like_the_others(deployment: Deployment, browser: Browser, base: str) -> None:
    for language in get_args(Language):
        context, watched = signed_in(browser, deployment, locale=LOCALES[language])
        answer = watched.page.goto(f"{base}/cases/00000000-0000-4000-8000-000000000000")
        assert answer is not None
        assert answer.status == 404
        assert watched.page.inner_text("h1") == words(language)["error.s404"]
        assert not serious(watched.page)
        assert all("404" in fault for fault in watched.faults), watched.faults
        context.close()


def test_clocks_count_while_somebody_looks(deployment: Deployment, browser: Browser, base: str) -> None:
    context, watched = signed_in(browser, deployment, locale="en-GB")
    page = watched.page
    page.clock.install()
    page.goto(f"{base}/cases?sort=newest")
    clock = page.locator("time[data-due]").first
    page.clock.run_for(20_000)
    before = clock.inner_text()
    assert before.endswith("left")
    page.clock.fast_forward("02:00:00")
    page.clock.run_for(20_000)
    after = clock.inner_text()
    assert after != before
    page.clock.fast_forward(100 * 24 * 3_600_000)
    page.clock.run_for(20_000)
    assert clock.inner_text().endswith("late")
    assert not watched.faults, watched.faults
    context.close()


def test_all_on_a_page_are_chosen_at_once(deployment: Deployment, browser: Browser, base: str) -> None:
    context, watched = signed_in(browser, deployment, locale="en-GB")
    page = watched.page
    each, every = page.locator("input[name=id]"), page.locator("input[data-all]")
    every.check()
    assert each.count() == page.locator("input[name=id]:checked").count() > 1
    each.first.uncheck()
    assert not every.is_checked()
    assert every.evaluate("one => one.indeterminate")
    assert not serious(page)
    assert not watched.faults, watched.faults
    context.close()


def test_the_wall_is_as_sound_after_it_has_changed(deployment: Deployment, browser: Browser, base: str) -> None:
    context, watched = signed_in(browser, deployment, locale="zh-CN")
    page = watched.page
    page.goto(f"{base}/sla/wall")
    before = page.inner_text(".wall .cards")
    sent = {"source": "wall", "text": "墙上的数字会变。", "customer": {"id": "wall"}}
    assert deployment.http("ingest").post("/v1/feedback", json=sent).status_code == 202
    page.wait_for_function("before => document.querySelector('.wall .cards')?.innerText !== before", arg=before)
    assert not serious(page)
    shot(page, "wall-zh")
    assert not watched.faults, watched.faults
    context.close()
