"""Slack, as far as its documented Web API goes for what we use: a real HTTP server that keeps channels in memory.

chat.postMessage, chat.update, chat.postEphemeral, conversations.history, conversations.replies, users.info: arguments as
a form, the token in the Authorization header, `{"ok": false, "error": …}` for what is wrong, 429 with Retry-After when told.
It refuses what Slack refuses: a text or a block that is too long, an unknown block, a message of another channel.
And it presses buttons: `press` signs as Slack does (v0, over the raw bytes).
"""

import hmac
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, quote_plus

from tests.hook_server import HookServer, Posted, Reply

TOKEN = "xoxb-1-2-abc"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL = "C0123ABC"


@dataclass
class Message:
    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    thread_ts: str | None = None
    edited: int = 0
    versions: list[str] = field(default_factory=list)
    """What it showed, one after the other."""

    @property
    def shown(self) -> str:
        """All that can be read in it, as it was sent."""
        return "\n".join([self.text, *_texts(self.blocks)])

    @property
    def buttons(self) -> dict[str, str]:
        """action_id → value, of those that come back to us."""
        elements = [one for block in self.blocks if block["type"] == "actions" for one in block["elements"]]
        return {one["action_id"]: one["value"] for one in elements if "url" not in one}


class SlackServer:
    """`with SlackServer() as slack: … slack.url … slack.messages`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.whispers: list[tuple[str, str]] = []
        """(user, text)."""
        self.calls: list[str] = []
        """The methods, in order."""
        self.users: dict[str, str | None] = {}
        """Id → e-mail address."""
        self.members = {CHANNEL}
        self.scopes = {"chat:write", "channels:history", "users:read.email"}
        self.refuse: dict[str, str] = {}
        """Method → the error that it answers with."""
        self.plan: list[Callable[[str], Reply | None]] = []
        """Asked before each call, the first that is there: a reply instead; None: as usual."""
        self.lose: set[str] = set()
        """Methods that are done, and whose answer is lost once."""
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._hooks = HookServer(self._answer)
        self.url = f"{self._hooks.url}/api"

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self._hooks.__exit__(None, None, None)

    # ── what tests look at ──

    @property
    def cards(self) -> list[Message]:
        with self._lock:
            return [one for one in self.messages if one.thread_ts is None]

    def thread(self, card: Message) -> list[str]:
        with self._lock:
            return [one.text for one in self.messages if one.thread_ts == card.ts]

    # ── the API ──

    def _answer(self, posted: Posted) -> Reply:
        method = posted.path.removeprefix("/api/")
        with self._lock:
            self.calls.append(method)
            planned = self.plan.pop(0)(method) if self.plan else None
            if planned is not None:
                return planned
            arguments = {name: values[0] for name, values in parse_qs(posted.body.decode()).items()}
            said = self._do(method, arguments, posted.headers)
            if method in self.lose:
                self.lose.discard(method)
                return Reply(500, b"upstream connect error")
        return Reply(200, json.dumps(said).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _do(self, method: str, arguments: dict[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return _error("invalid_auth")
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return _error("invalid_form_data")
        if method in self.refuse:
            return _error(self.refuse[method])
        needed = {"conversations.history": "channels:history", "conversations.replies": "channels:history"}
        if method == "users.info":
            return self._user(arguments["user"])
        if needed.get(method, "chat:write") not in self.scopes:
            return _error("missing_scope")
        if arguments.get("channel", "") not in self.members:
            return _error("channel_not_found")
        match method:
            case "chat.postMessage":
                return self._post(arguments)
            case "chat.update":
                return self._update(arguments)
            case "chat.postEphemeral":
                self.whispers.append((arguments["user"], arguments["text"]))
                return {"ok": True, "message_ts": self._ts()}
            case "conversations.history":
                return self._history(arguments, None)
            case "conversations.replies":
                return self._history(arguments, arguments["ts"])
        return _error("unknown_method")

    def _user(self, user: str) -> dict[str, Any]:
        if user not in self.users:
            return _error("user_not_found")
        profile: dict[str, Any] = {"real_name": user}
        if "users:read.email" in self.scopes:
            profile["email"] = self.users[user]
        return {"ok": True, "user": {"id": user, "profile": profile}}

    def _post(self, arguments: dict[str, str]) -> dict[str, Any]:
        blocks = json.loads(arguments.get("blocks", "[]"))
        wrong = _wrong(arguments["text"], blocks)
        if wrong:
            return _error(wrong)
        thread = arguments.get("thread_ts")
        if thread is not None and not any(one.ts == thread for one in self.messages):
            return _error("thread_not_found")
        metadata = json.loads(arguments["metadata"]) if "metadata" in arguments else None
        made = Message(arguments["channel"], self._ts(), arguments["text"], blocks, metadata, thread)
        made.versions.append(made.shown)
        self.messages.append(made)
        return {"ok": True, "channel": made.channel, "ts": made.ts}

    def _update(self, arguments: dict[str, str]) -> dict[str, Any]:
        blocks = json.loads(arguments.get("blocks", "[]"))
        wrong = _wrong(arguments["text"], blocks)
        if wrong:
            return _error(wrong)
        found = next((m for m in self.messages if (m.ts, m.channel) == (arguments["ts"], arguments["channel"])), None)
        if found is None:
            return _error("message_not_found")
        found.text, found.blocks, found.edited = arguments["text"], blocks, found.edited + 1
        found.versions.append(found.shown)
        return {"ok": True, "channel": found.channel, "ts": found.ts}

    def _history(self, arguments: dict[str, str], thread: str | None) -> dict[str, Any]:
        """The newest first, page by page, with metadata only when it is asked for."""
        oldest = float(arguments.get("oldest", 0))
        found = [m for m in self.messages if m.channel == arguments["channel"] and float(m.ts) >= oldest]
        found = [m for m in found if (m.thread_ts is None if thread is None else thread in (m.ts, m.thread_ts))]
        found.reverse()
        start, limit = int(arguments.get("cursor", 0)), min(int(arguments.get("limit", 100)), 2)
        whole = arguments.get("include_all_metadata") == "true"
        page = [
            {"type": "message", "ts": m.ts, "text": m.text} | ({"metadata": m.metadata} if whole and m.metadata else {})
            for m in found[start : start + limit]
        ]
        more = str(start + limit) if len(found) > start + limit else ""
        return {"ok": True, "messages": page, "response_metadata": {"next_cursor": more}}

    def _ts(self) -> str:
        return f"1800000000.{next(self._numbers):06d}"


def pressed(
    message: Message, action: str, user: str, at: float, *, secret: str = SIGNING_SECRET, value: str | None = None
) -> tuple[bytes, dict[str, str]]:
    """The request that Slack makes when somebody presses that button: body and headers."""
    payload = {
        "type": "block_actions",
        "team": {"id": "T0001", "domain": "acme"},
        "user": {"id": user, "username": user.lower(), "name": f"name of {user}", "team_id": "T0001"},
        "api_app_id": "A0001",
        "token": "deprecated",
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        },
        "trigger_id": "1.2.3",
        "channel": {"id": message.channel, "name": "support"},
        "message": {"ts": message.ts, "text": message.text},
        "response_url": "https://hooks.slack.example/actions/T0001/1/x",
        "actions": [
            {
                "action_id": action,
                "block_id": "case",
                "type": "button",
                "value": message.buttons.get(action, "") if value is None else value,
                "action_ts": f"{at:.6f}",
            }
        ],
    }
    body = b"payload=" + quote_plus(json.dumps(payload)).encode()
    return body, signed(body, at, secret)


def signed(body: bytes, at: float, secret: str = SIGNING_SECRET) -> dict[str, str]:
    mac = hmac.digest(secret.encode(), f"v0:{int(at)}:".encode() + body, "sha256").hex()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": str(int(at)),
        "X-Slack-Signature": f"v0={mac}",
    }


def _error(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _wrong(text: str, blocks: list[dict[str, Any]]) -> str | None:
    """What Slack would say of it."""
    if not text:
        return "no_text"
    if len(text) > 40_000 or len(blocks) > 50:
        return "msg_too_long"
    for block in blocks:
        if block["type"] not in ("section", "actions", "header", "context", "divider"):
            return "invalid_blocks"
        fields = block.get("fields", [])
        if len(fields) > 10 or any(not 1 <= len(one["text"]) <= 2000 for one in fields):
            return "invalid_blocks"
        if block["type"] == "section" and "text" not in block and not fields:
            return "invalid_blocks"
        if "text" in block and not 1 <= len(block["text"]["text"]) <= 3000:
            return "invalid_blocks"
        for element in block.get("elements", []):
            if len(element["text"]["text"]) > 75 or len(element.get("value", "")) > 2000:
                return "invalid_blocks"
    return None


def _texts(blocks: list[dict[str, Any]]) -> list[str]:
    found = []
    for block in blocks:
        found += [block["text"]["text"]] if "text" in block else []
        found += [one["text"] for one in block.get("fields", [])]
        found += [one["text"]["text"] for one in block.get("elements", [])]
    return found
