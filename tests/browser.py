"""A real browser: Debian's Chromium, driven by Playwright.

CHROMIUM names another one. Without any, the tests that need one skip and say so; with `REQUIRE_BROWSER=1`, which CI sets,
that is a failure. `FLYWHEEL_SCREENSHOTS=DIR` keeps the pictures that the tests take (`make screenshots`: docs/images).
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

WAIT_MS = 15_000


def executable() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    reason = "no browser: `apt-get install chromium fonts-noto-cjk`, or set CHROMIUM"
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable(), args=["--no-sandbox", "--disable-gpu", "--force-prefers-reduced-motion"]
        )
        yield launched
        launched.close()


class Watched:
    """A page, and whatever it did that a page of ours must not."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        context.set_default_timeout(WAIT_MS)
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda said: self._fault("console", said.text, said.type in ("error", "warning")))
        self.page.on("pageerror", lambda error: self._fault("script", str(error)))
        self.page.on(
            "request", lambda asked: self._fault("outside", asked.url, not asked.url.startswith((base, "data:")))
        )
        self.page.on("response", lambda said: self._fault("answer", f"{said.status} {said.url}", said.status >= 500))

    def _fault(self, kind: str, what: str, is_one: bool = True) -> None:
        if is_one:
            self.faults.append(f"{kind}: {what}")


def shot(page: Page, name: str, *, whole: bool = False) -> None:
    """Kept where somebody asked for pictures."""
    directory = os.environ.get("FLYWHEEL_SCREENSHOTS")
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=whole)
