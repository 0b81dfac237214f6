"""One Slack message a case, kept as the case is; what matters is said in its thread. Nothing is posted twice.

The message is posted once and then updated: however much has happened since, one update shows the case as it is. Its
buttons come back to `POST /v1/cases/callbacks/slack`, signed. A message carries our id in its metadata (an id, and
nothing else: every app of the workspace may read it). So when a try may have arrived, we look for it before we post:
that needs the scope `channels:history` (`groups:history` in a private channel), without which it is posted again.

Scopes: chat:write; channels:history; users:read and users:read.email, to know who pressed without `slack:` in teams.yaml.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast
from urllib.parse import parse_qs, urlencode

import msgspec
from msgspec import Struct

from services.closer.settings import CloserSettings
from services.closer.subscriptions import SECRET, CaseNow, Pressed, SignalNow, Subscription, Telling, Told, like
from services.closer.subscriptions import Entry as AnyEntry
from services.closer.subscriptions._card import card, escaped, reply, signal_card
from shared.config.teams import Member
from shared.errors import Rejected, Transient
from shared.settings import Settings

TELLS: Literal["events", "cases"] = "cases"
QUIET = frozenset({"noted", "clock.escalated", "notification.sending", "notification.sent"})

TOLERANCE_S = 300
"""How old a signed request may be, as Slack advises."""
ANSWER_S = 10.0
ANSWER_MAX_BYTES = 1024 * 1024
PAGES_LOOKED_THROUGH = 5
METADATA = "flywheel_case"
_AGAIN = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_MEND: Mapping[str, str] = {
    "not_in_channel": "invite the app into the channel",
    "channel_not_found": "is `to` the channel's id, and is the app in that workspace?",
    "is_archived": "the channel is archived",
    "invalid_auth": "the token is wrong",
    "token_revoked": "the token was revoked",
    "missing_scope": "the app lacks a scope",
    "message_not_found": "somebody has deleted the message",
}
_ERROR = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}")


class Entry(AnyEntry):
    """`{channel: slack, token: "${SLACK_BOT_TOKEN}", signing_secret: "${SLACK_SIGNING_SECRET}", to: "C0123"}`"""

    token: Annotated[
        str, like(r"xox[a-z][-.][A-Za-z0-9.-]+", "must be a bot token: xoxb-…, from OAuth & Permissions"), SECRET
    ]
    signing_secret: Annotated[
        str, like(r"\S{16,128}", "must be the app's signing secret, from Basic Information"), SECRET
    ]
    to: Annotated[str, like(r"[CGD][A-Z0-9]{2,20}", "must be a channel's id, such as C0123ABCD: its name may change")]


def check(entry: Entry, members: Sequence[Member], env: Mapping[str, str] | None) -> Sequence[tuple[str, str]]:
    return ()


def destination(entry: Entry) -> tuple[str, str]:
    return entry.to, entry.name or entry.to


# ── what comes back ──


class _User(Struct):
    id: str
    name: str = ""
    username: str = ""


class _Action(Struct):
    action_id: str
    value: str = ""


class _Payload(Struct):
    type: str
    user: _User
    actions: list[_Action] = []


_payload = msgspec.json.Decoder(_Payload)


def signed(entry: Entry, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """By Slack's scheme v0, over the raw bytes."""
    given, timestamp = headers.get("x-slack-signature", ""), headers.get("x-slack-request-timestamp", "")
    sane = re.fullmatch(r"[0-9]{1,12}", timestamp) is not None and _SIGNATURE.fullmatch(given) is not None
    fresh = sane and abs(now.timestamp() - int(timestamp)) <= TOLERANCE_S
    message = b"v0:" + timestamp.encode("latin-1", "replace") + b":" + body
    expected = "v0=" + hmac.digest(entry.signing_secret.encode(), message, "sha256").hex()
    return hmac.compare_digest(expected.encode(), given.encode("latin-1", "replace")) and fresh


def pressed(body: bytes) -> Pressed | None:
    try:
        found = _payload.decode(parse_qs(body.decode())["payload"][0])
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, KeyError):
        return None
    action = next((one for one in found.actions if one.action_id in ("acknowledge", "assign")), None)
    if found.type != "block_actions" or action is None:
        return None
    name = found.user.name or found.user.username or found.user.id
    return Pressed(action.value, cast(Literal["acknowledge", "assign"], action.action_id), found.user.id, name)


# ── what goes out ──


def open_way(settings: Settings, closer: CloserSettings) -> "Slack":
    return Slack(closer.slack_api_url, settings.public_url)


class Slack:
    at_once = 1
    """Two at once could come in the wrong order."""
    pause_s = 1.2
    """Slack takes about one message a second for a channel, and fifty updates a minute."""

    def __init__(self, api_url: str, public_url: str) -> None:
        from services.closer.outbound import trusted  # brings an HTTP client, which nobody else here needs

        self._http = trusted()
        self._api_url = api_url
        self._public_url = public_url

    async def send(self, subscription: Subscription, telling: Telling, now: datetime) -> Told:
        """The card, then the card brought up to date, then the next thing to be said in its thread."""
        shown = telling.content
        if isinstance(shown, SignalNow):
            return await self._send_signal(subscription, telling, shown)
        assert isinstance(shown, CaseNow)
        if shown.remote is None:
            return await self._post_card(subscription, telling, shown)
        if shown.shown < shown.wanted:
            channel, _, ts = shown.remote.partition("/")
            arguments = self._card(subscription, telling, shown) | {"channel": channel, "ts": ts}
            await self._call(subscription, "chat.update", arguments)
            return Told(shown=_sequence(shown), said=_silent_until(subscription, shown, shown.said))
        said = _silent_until(subscription, shown, shown.said)
        step = next((one for one in shown.steps if one.sequence > said), None)
        if step is None:
            return Told(said=said)
        text = reply(step, shown.case, subscription.members)
        assert text is not None, "those of which nothing is said were passed over"
        await self._post(subscription, telling, step.sequence, shown.remote, {"text": text})
        return Told(said=_silent_until(subscription, shown, step.sequence))

    async def _send_signal(self, subscription: Subscription, telling: Telling, shown: SignalNow) -> Told:
        """Posted when it is raised; brought up to date when it has passed."""
        content, remote = signal_card(shown.value, self._public_url), shown.remote
        if remote is None:
            remote = await self._post(subscription, telling, 0, None, content)
        else:
            channel, _, ts = remote.partition("/")
            await self._call(subscription, "chat.update", content | {"channel": channel, "ts": ts})
        return Told(remote, shown.wanted, shown.wanted)

    async def _post_card(self, subscription: Subscription, telling: Telling, shown: CaseNow) -> Told:
        remote = await self._post(subscription, telling, 0, None, self._card(subscription, telling, shown))
        return Told(remote, _sequence(shown), _silent_until(subscription, shown, shown.said))

    def _card(self, subscription: Subscription, telling: Telling, shown: CaseNow) -> dict[str, Any]:
        return card(shown, telling.id, subscription.team, self._public_url)

    async def _post(
        self, subscription: Subscription, telling: Telling, sequence: int, thread: str | None, content: dict[str, Any]
    ) -> str:
        """`channel/ts` of the message, which may stand there already."""
        entry: Entry = subscription.entry
        channel, _, thread_ts = (thread or entry.to).partition("/")
        ours = {"telling": telling.id, "sequence": sequence}
        if telling.attempt > 1:
            found = await self._find(subscription, channel, thread_ts, ours, telling.since)
            if found is not None:
                return f"{channel}/{found}"
        arguments = content | {
            "channel": channel,
            "metadata": {"event_type": METADATA, "event_payload": ours},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if thread_ts:
            arguments["thread_ts"] = thread_ts
        answer = await self._call(subscription, "chat.postMessage", arguments)
        return f"{answer['channel']}/{answer['ts']}"

    async def _find(
        self, subscription: Subscription, channel: str, thread_ts: str, ours: dict[str, Any], since: datetime
    ) -> str | None:
        """The `ts` of the message with that metadata."""
        arguments: dict[str, Any] = {"channel": channel, "limit": 200, "include_all_metadata": True}
        if thread_ts:
            method, arguments["ts"] = "conversations.replies", thread_ts
        else:
            method, arguments["oldest"] = "conversations.history", (since - timedelta(minutes=1)).timestamp()
        for _ in range(PAGES_LOOKED_THROUGH):
            try:
                answer = await self._call(subscription, method, arguments)
            except Rejected:  # we may not look
                return None
            for message in answer.get("messages", ()):
                metadata = message.get("metadata") or {}
                if metadata.get("event_type") == METADATA and metadata.get("event_payload") == ours:
                    return str(message["ts"])
            arguments["cursor"] = (answer.get("response_metadata") or {}).get("next_cursor")
            if not arguments["cursor"]:
                return None
        return None

    async def address_of(self, subscription: Subscription, who: str) -> str | None:
        answer = await self._call(subscription, "users.info", {"user": who})
        found = ((answer.get("user") or {}).get("profile") or {}).get("email")
        return found if isinstance(found, str) else None

    async def whisper(self, subscription: Subscription, who: str, text: str) -> None:
        entry: Entry = subscription.entry
        arguments = {"channel": entry.to, "user": who, "text": escaped(text)}
        await self._call(subscription, "chat.postEphemeral", arguments)

    async def _call(self, subscription: Subscription, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As a form, which every method takes; what is no text in it is JSON."""
        form = {name: value if isinstance(value, str) else _json(value) for name, value in arguments.items()}
        headers = {
            "authorization": f"Bearer {subscription.entry.token}",
            "content-type": "application/x-www-form-urlencoded",
        }
        answer = await self._http.post(
            f"{self._api_url}/{method}",
            urlencode(form).encode(),
            headers,
            within_s=ANSWER_S,
            max_bytes=ANSWER_MAX_BYTES,
        )
        if answer.status != 200:
            raise Transient(f"Slack answered {answer.status}", retry_after=answer.retry_after_s)
        try:
            found = msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise Transient("Slack's answer could not be read") from None
        if found.get("ok") is not True:
            raise _refused(found.get("error"), answer.retry_after_s)
        return found

    async def close(self) -> None:
        await self._http.close()


def _refused(error: object, retry_after_s: float | None) -> Transient | Rejected:
    said = error if isinstance(error, str) and _ERROR.fullmatch(error) else "no reason that can be read"
    if said in _AGAIN:
        return Transient(f"Slack says {said}", retry_after=retry_after_s)
    return Rejected(f"Slack says {said}" + (f": {_MEND[said]}" if said in _MEND else ""))


def _silent_until(subscription: Subscription, shown: CaseNow, said: int) -> int:
    """Past all that follows and of which nothing is said, up to the next that is, or to the end."""
    for step in shown.steps:
        if step.sequence > said and reply(step, shown.case, subscription.members) is not None:
            return step.sequence - 1
    return max(said, _sequence(shown))


def _sequence(shown: CaseNow) -> int:
    return max(shown.case.sequence, shown.wanted)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
