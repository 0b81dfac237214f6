"""What the documents say is there, is there."""

import ast
import base64
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from services.closer.subscriptions import Event
from services.closer.subscriptions.webhook import body_of, signature
from tests.brokers import free_port

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/operate.md", "docs/console.md", "docs/privacy.md"]


def test_every_promise_names_a_test_that_exists() -> None:
    promises = (ROOT / "README.md").read_text().partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("|") and "`tests/" in line]
    assert len(rows) >= 15
    for row in rows:
        file = ""
        for found in re.findall(r"`((?:tests/[\w/]+\.py)?(?:::\w+)?)`", row.rpartition(" | ")[2]):
            path, _, name = found.partition("::")
            file = path or file
            tree = ast.parse((ROOT / file).read_text())
            names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert not name or name in names, f"{file} has no {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:services|shared|deploy|tests|bench|docs)/[\w./-]+)`", text))
    missing = [name for name in named if not (ROOT / name).exists()]
    beside = set(re.findall(r"\]\(((?!http)[\w./-]+)\)", text))
    missing += [name for name in beside if not ((ROOT / document).parent / name).exists()]
    assert not missing


def test_every_picture_is_shown_somewhere() -> None:
    shown = set()
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text(encoding="utf-8")
        shown |= {
            (document.parent / name).resolve() for name in re.findall(r"\[[^]]*\]\(([\w./-]*images/[\w.-]+)\)", text)
        }
    assert shown == {path.resolve() for path in (ROOT / "docs" / "images").iterdir()}


def test_no_place_of_any_machine_stands_in_what_is_committed() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / lock).read_text()


def test_the_receiver_of_the_documents_takes_what_we_sign_and_nothing_else(tmp_path: Path) -> None:
    """As a reader would try it: copied out, and started."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "subscribe.md").read_text(), re.DOTALL)
    file, port = tmp_path / "receiver.py", free_port()
    file.write_text(program)
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    env = {**os.environ, "PRODUCT_WEBHOOK_SECRET": secret, "PORT": str(port)}
    body = body_of(
        Event("feedback.routed", datetime(2026, 11, 23, tzinfo=UTC), b'{"text": "\xe4\xbd\xa0\xe5\xa5\xbd"}')
    )

    def post(signed: bytes, number: int) -> int:
        now = int(time.time())
        headers = {
            "webhook-id": f"msg_{number}",
            "webhook-timestamp": str(now),
            "webhook-signature": signature([secret], f"msg_{number}", now, signed),
        }
        return httpx2.post(f"http://127.0.0.1:{port}/", content=body, headers=headers).status_code

    with subprocess.Popen(
        [sys.executable, str(file)], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    assert post(body, 1) == 204
                    break
                except httpx2.HTTPError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert (post(body, 1), post(body + b" ", 2), post(body, 3)) == (204, 401, 204)
        finally:
            running.terminate()
        assert running.stdout is not None
        assert running.stdout.read().decode().splitlines() == ["feedback.routed 你好"] * 2, "a repeat is passed over"
