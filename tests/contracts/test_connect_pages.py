"""What docs/connect says is done: its sources.yaml is taken up, and what it posts becomes feedback."""

import asyncio
import base64
import json
import os
import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.events.envelope import CUSTOMER_ACTIVITY, FEEDBACK_RECEIVED, Envelope
from tests.ingest.conftest import Start

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "connect").glob("*.md"))
TOOLS = ("bash", "curl", "openssl")
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OF_A_FORM = {
    "TEAMS_TOKEN": base64.b64encode(b"a secret of the tests for teams").decode(),
    "WECOM_AES_KEY": AES_KEY,
    "WECHAT_AES_KEY": AES_KEY,
}
"""Secrets that must look as the tool makes them."""
IN_WORDS_OF_ITS_OWN: dict[str, bytes] = {
    "teams": b'{"type": "message", "text": "\\u2705"}',
    "wecom": b"success",
    "wechat_mp": b"success",
    "dingtalk": b'{"msgtype": "text", "text": {"content": "\\u2705"}}',
}
"""What a tool wants to read, or shows to people: it has no id in it."""
OF_DEEDS = {"aftership", "rudderstack", "segment", "shopify", "stripe"}
"""Their pages post what a customer does: these tools tell of nothing that anybody says."""


def block(page: str, kind: str) -> str:
    found = re.search(rf"^ *```{kind}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    assert found, f"no {kind} block"
    return found[1]


def test_every_page_is_found() -> None:
    assert {page.stem for page in PAGES} >= {"github", "intercom", "slack", "typeform", "zendesk"}


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
async def test_what_a_page_posts_is_taken_up(database_url: str, tmp_path: Path, path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    sources = block(page, "yaml")
    secret = f"a secret of the tests for {path.stem}"
    if "whsec_" in block(page, "sh"):
        secret = "whsec_" + base64.b64encode(secret.encode()).decode()
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", sources), secret)
    secrets |= {name: OF_A_FORM[name] for name in secrets if name in OF_A_FORM}
    async with AsyncExitStack() as stack:
        server = await Start(database_url, tmp_path, stack)(env=secrets, sources=sources)
        posting = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            block(page, "sh"),
            env={**os.environ, **secrets, "FLYWHEEL_URL": server.url, "PUBLIC_URL": "https://feedback.example.com"},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await posting.communicate()
        if path.stem in IN_WORDS_OF_ITS_OWN:
            assert said == IN_WORDS_OF_ITS_OWN[path.stem]
            answer = {}
        else:
            answer = json.loads(said)
            assert answer["outcome"] == "accepted", answer
        (record,) = await server.received()
    envelope = Envelope.from_headers(record.headers)
    assert envelope.type == (CUSTOMER_ACTIVITY if path.stem in OF_DEEDS else FEEDBACK_RECEIVED)
    assert envelope.id == answer.get("id", envelope.id)
    assert b"left_out" not in record.value
