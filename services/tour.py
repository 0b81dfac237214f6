"""The first two minutes: sample feedback through the real HTTP API, and the loop of one event, step by step.

An HTTP client like any other: it uses nothing that a user could not.
"""

import asyncio
import email
import email.policy
import json
import re
from pathlib import Path
from typing import Any

import httpx2

from services.cli import show
from shared.errors import FlywheelError

SAMPLE = Path(__file__).resolve().parents[1] / "deploy" / "sample" / "feedback.jsonl"
TOLD_ABOUT = "resp-3a07"
"""The external id of the piece whose loop is shown."""
PATIENCE_S = 20.0


class _Service:
    def __init__(self, url: str, key: str) -> None:
        self._http = httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10)

    async def __aenter__(self) -> "_Service":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def post(self, path: str, **request: Any) -> Any:
        response = await self._http.post(path, **request)
        if not response.is_success:
            raise FlywheelError(f"{path} answered {response.status_code}: {response.text[:300]}")
        return response.json() if response.headers.get("content-type", "").startswith("application/json") else None

    async def until(self, path: str, good: Any) -> Any:
        """Ask until the answer is good. Raises `FlywheelError` when the service fails or patience ends."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    response = await self._http.get(path)
                    if response.status_code == 200 and good(response.json()):
                        return response.json()
                    if response.status_code != 404 and not response.is_success:
                        raise FlywheelError(f"{path} answered {response.status_code}: {response.text[:300]}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise FlywheelError(f"{path} was not as expected within {PATIENCE_S:.0f} s") from None


async def load_sample(url: str, key: str) -> str:
    """Post every piece; the id of the one that the tour tells about. Each has an external id, so that posting
    again changes nothing."""
    lines = [line for line in SAMPLE.read_text(encoding="utf-8").split("\n") if line]
    async with _Service(url, key) as service:
        answer = await service.post(
            "/v1/feedback/batch",
            content="\n".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
    print(f"{len(lines)} pieces of sample feedback posted to {url}/v1/feedback/batch, {answer['accepted']} accepted")
    told = next(index for index, line in enumerate(lines) if json.loads(line)["external_id"] == TOLD_ABOUT)
    return str(answer["ids"][told])


async def show_the_loop(url: str, key: str, feedback_id: str, mail_dir: Path | None) -> None:
    """One piece from its post to the customer's yes. The mail is read where it was written, else left unanswered."""
    async with _Service(url, key) as service:
        path = f"/v1/feedback/{feedback_id}/trace"
        trace = await service.until(path, lambda t: any(n["status"] == "sent" for n in t["notifications"]))
        case = trace["case"]["id"]
        print(f"\nThe loop of one of them\n\n  “{trace['feedback']['text']}”\n")
        await service.post(f"/v1/cases/{case}/acknowledge", json={})
        await service.post(f"/v1/cases/{case}/assign", json={"to": "li@example.com"})
        await service.post(f"/v1/cases/{case}/resolve", json={"answer": _ANSWER, "language": "zh"})
        trace = await service.until(path, lambda t: t["case"]["state"] == "notified")
        link = await asyncio.to_thread(_link_in_mail, mail_dir, case) if mail_dir else None
        if link:
            await service.post(link, data={"solved": "yes", "words": "太好了，谢谢你们！"})
            trace = await service.until(path, lambda t: t["case"]["state"] == "confirmed")
    show.steps(trace)
    print(f"\n  the case is {trace['case']['state']}")


_ANSWER = "深色模式已经上线：在“设置 → 外观”里打开即可。谢谢您告诉我们。"


def _link_in_mail(mail_dir: Path, case: str) -> str | None:
    """The path of the newest link in the mails about that case."""
    for path in sorted(mail_dir.glob("*.eml"), key=lambda p: p.stat().st_mtime, reverse=True):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        part = mail.get_body(("plain",))
        if case in f"{mail['References']}{mail['Message-ID']}{mail['X-Flywheel-Case']}" and part is not None:
            found = re.search(r"https?://[^/\s]+(/loop/[A-Za-z0-9._~-]+)", part.get_content())
            if found:
                return found[1]
    return None
