"""A hosted form in a real browser: filled in by keyboard, without script, in two languages, and what becomes of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.browser import Watched, shot
from tests.deployment import Deployment

FORMS = """
forms:
  - name: shop
    title: {en: "How was your visit?", zh: "这次光临怎么样？"}
    intro: {en: "It takes a minute, and somebody reads it.", zh: "只要一分钟，有人会认真看。"}
    score: stars
  - {name: till, title: {en: "Were you happy with us?", zh: "您对我们满意吗？"}, score: hmd, text: "off", contact: "off", kiosk: true}
"""
LOOKS: dict[str, dict[str, Any]] = {
    "light-en": {"locale": "en-US", "color_scheme": "light"},
    "dark-zh": {"locale": "zh-CN", "color_scheme": "dark"},
    "phone-zh": {"locale": "zh-CN", "color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("form")
    made = Deployment.all_in_one(directory, {"FLYWHEEL_CONFIG": str(directory / "config")}, "--no-sample")
    made.flywheel("init", str(directory / "config"))
    with (directory / "config" / "sources.yaml").open("a") as file:
        file.write(FORMS)
    with made:
        yield made


@pytest.mark.parametrize("look", LOOKS)
def test_it_is_readable_by_everybody(browser: Browser, deployment: Deployment, look: str) -> None:
    context = browser.new_context(java_script_enabled=True, **LOOKS[look])  # axe is a script; the page has none
    watched = Watched(context, deployment.urls["ingest"])
    for name in ("shop", "till", "shop/thanks", "none"):
        watched.page.goto(f"{deployment.urls['ingest']}/f/{name}")
        found = [one for one in Axe().run(watched.page).response["violations"] if one["impact"] in SERIOUS]
        assert not found, (name, found)
        width = watched.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{name} scrolls sideways"
        shot(watched.page, f"form-{name.replace('/', '-')}-{look}", whole=True)
    faults = [fault for fault in watched.faults if "404" not in fault]
    assert not faults
    context.close()


def test_a_customer_fills_it_in_by_keyboard_and_a_team_has_it(browser: Browser, deployment: Deployment) -> None:
    context = browser.new_context(java_script_enabled=False, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{deployment.urls['ingest']}/f/shop?ref=table-7")
    keys = page.keyboard
    keys.press("Tab")
    keys.press("Space")  # one star
    keys.press("ArrowRight")
    keys.press("Tab")
    keys.type("收银台排队太久了，请多开一个窗口。")
    keys.press("Tab")
    keys.type("li@example.com")
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Enter")
    page.wait_for_url("**/thanks*")
    assert "谢谢您" in page.inner_text("h1")
    page.go_back()
    context.close()
    closer = deployment.http("closer")
    (case,) = deployment.until(lambda: closer.get("/v1/cases").json()["items"])
    feedback = deployment.http("console").get(f"/v1/feedback/{case['first_feedback_id']}/trace").json()
    assert "收银台排队太久了" in str(feedback) or case["source"] == "shop"
