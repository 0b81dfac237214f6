"""Slack: what people write to channels that the app is in, replies in threads, reactions as votes, slash commands.

A message is an utterance: its channel and its time name it, so what Slack sends again (`X-Slack-Retry-Num`) is the same
delivery, and so are the `message` and the `app_mention` that tell of the same words as two events. A reply names its
thread in `attributes.thread_ts`, which is the `message_ts` of the words that opened it. A reaction is a vote, a
`customer.activity` that names the message in the same two attributes; taking it back is another. Bots, edits, deletions
and what happens to channels are ignored: what was first said stands.

`options: {workspace: acme}` links to the message on acme.slack.com. `options: {staff: [T024BE7LD, U061F7AUR]}` names
workspaces and people whose words are not a customer's: in a channel that is shared with customers, our own workspace.

Signature: `v0=` and the hex of HMAC-SHA256 over `v0:timestamp:body`. A button, a menu or a form of the app's own is
acknowledged with an empty 200: any other body would be shown as an error.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Outcome,
    Reply,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    plain_reply,
    within_tolerance,
)
from services.ingest.connectors._fields import (
    id_of,
    media_signs,
    object_in,
    objects_in,
    present,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "slack"
SIGNS = True

_TIMESTAMP = re.compile(r"[0-9]{1,11}\Z")
_WORKSPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_SAID = frozenset({"", "file_share", "me_message", "thread_broadcast"})
"""Subtypes of messages that somebody wrote. All others tell what happened to a channel or a message."""
_NOT_SAID = {
    "bot_message": "a bot's message",
    "message_changed": "an edited message: what was first said stands",
    "message_deleted": "a deleted message: what was said stands",
    "message_replied": "a notice of a reply, which comes by itself",
}
_SLACKBOT = "USLACKBOT"
_UP = frozenset(
    {"+1", "thumbsup", "heavy_plus_sign", "heart", "100", "raised_hands", "clap", "arrow_up", "fire", "tada"}
)
_DOWN = frozenset({"-1", "thumbsdown", "heavy_minus_sign", "arrow_down", "x", "no_entry", "rage", "disappointed"})


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "workspace", "staff")
    workspace, staff = source.options.get("workspace"), source.options.get("staff", [])
    if workspace is not None and not (isinstance(workspace, str) and _WORKSPACE.match(workspace)):
        issues.append("options: workspace must be the first part of the address, such as acme for acme.slack.com")
    if not (isinstance(staff, list) and all(isinstance(one, str) for one in staff)):
        issues.append("options: staff must be a list of ids of workspaces (T…) and people (U…)")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    timestamp = request.header("x-slack-request-timestamp")
    stamp = datetime.fromtimestamp(int(timestamp), UTC) if _TIMESTAMP.match(timestamp) else None
    version, _, signature = request.header("x-slack-signature").partition("=")
    check_mac(
        [secret.encode() for secret in source.secrets],
        f"v0:{timestamp}:".encode("utf-8", "surrogateescape") + request.body,
        [hex_bytes(signature) if version == "v0" else b""],
        fresh=within_tolerance(stamp, now),
    )


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    if request.method in {"GET", "HEAD"}:
        return Reply(200) if request.query.get("ssl_check") == "1" else None
    if not signed:
        return None
    if _is_form(request):
        form = dict(request.form)
        # A button or a form of the app's own, or a look at our certificate.
        return Reply(200) if "payload" in form or form.get("ssl_check") == "1" else None
    payload = request.object
    challenge = payload.get("challenge")
    if payload.get("type") != "url_verification" or not isinstance(challenge, str):
        return None
    return Reply(200, json.dumps({"challenge": challenge}).encode())


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    if _is_form(request):
        return _command(dict(request.form), source)
    payload = request.object
    event = object_in(payload, "event")
    kind = text_of(event.get("type"))
    if kind in {"message", "app_mention"}:
        return _message(payload, event, source)
    if kind in {"reaction_added", "reaction_removed"}:
        return _vote(payload, event, source, withdrawn=kind == "reaction_removed")
    told = kind or text_of(payload.get("type"))
    if told is None or told == "event_callback":
        raise Unreadable("neither an event nor a command")
    return Ignored(f"not feedback: {told}")


def reply(outcome: Outcome) -> Reply:
    """Whoever typed a slash command sees `text`, and nobody else does; events do not look at it."""
    said = json.loads(plain_reply(outcome).body)
    text = "✅" if outcome.what == "accepted" else outcome.reason
    return Reply(200, json.dumps({"response_type": "ephemeral", "text": text, **said}).encode())


def _is_form(request: WebhookRequest) -> bool:
    return request.content_type == "application/x-www-form-urlencoded" or not request.body.lstrip().startswith(b"{")


# ── messages and commands ────────────────────────────────────────────────────────────────────────


def _message(payload: Mapping[str, Any], event: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    user, subtype = id_of(event.get("user")), text_of(event.get("subtype")) or ""
    if subtype not in _SAID:
        return Ignored(_NOT_SAID.get(subtype) or f"not feedback: {subtype}")
    if event.get("bot_id") or user == _SLACKBOT:
        return Ignored("a bot's message")
    if _is_staff(source, user, event.get("user_team") or event.get("team")):
        return Ignored("a colleague's message")
    files = objects_in(event, "files")
    said = _readable(_without_call(text_of(event.get("text")) or "", _our_bots(payload)))
    text = said or media_signs(one.get("mimetype") for one in files)
    if not text:
        return Ignored("a message without words")
    channel, ts = id_of(event.get("channel")), text_of(event.get("ts"))
    if not channel or not ts:
        if not said and not user:
            return Ignored("a message without words, of nobody")
        raise Unreadable("a message without a channel and a time")
    thread = text_of(event.get("thread_ts"))
    profile = object_in(event, "user_profile")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": user, "name": text_of(profile.get("real_name"))}),
        "occurred_at": time_of(ts),
        "url": _link(source, channel, ts, thread),
        "attributes": present(
            {
                "channel_id": channel,
                "message_ts": ts,
                "thread_ts": thread if thread != ts else None,
                "team_id": id_of(payload.get("team_id")),
                "files": len(files) or None,
            }
        ),
    }
    return [Draft(f"message/{channel}/{ts}", present(body))]


def _command(form: Mapping[str, str], source: Source) -> Sequence[Draft] | Ignored:
    """`/feedback The export is slow`: whoever types that means to be heard. Colleagues are told that they are not."""
    command = form.get("command")
    if not command:
        raise Unreadable("neither an event nor a command")
    if _is_staff(source, form.get("user_id"), form.get("team_id")):
        return Ignored("a colleague's command")
    text = _readable(form.get("text", "").strip())
    if not text:
        return Ignored("a command without words")
    trigger = id_of(form.get("trigger_id"))
    if not trigger:
        raise Unreadable("a command without its trigger_id")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": False,
        "customer": present({"id": form.get("user_id"), "name": form.get("user_name")}),
        "attributes": present(
            {"command": command, "channel_id": form.get("channel_id"), "team_id": form.get("team_id")}
        ),
    }
    return [Draft(f"command/{trigger}", body)]


# ── votes ────────────────────────────────────────────────────────────────────────────────────────


def _vote(
    payload: Mapping[str, Any], event: Mapping[str, Any], source: Source, *, withdrawn: bool
) -> Sequence[Draft] | Ignored:
    item, user = object_in(event, "item"), id_of(event.get("user"))
    # A skin tone is no other opinion.
    reaction = (text_of(event.get("reaction")) or "").partition("::")[0]
    channel, ts = id_of(item.get("channel")), text_of(item.get("ts"))
    if not (user and reaction and channel and ts):
        return Ignored("a reaction to what is no message, or of nobody")
    if user in _our_bots(payload):
        return Ignored("our own reaction")
    if _is_staff(source, user):
        return Ignored("a colleague's reaction")
    when = text_of(event.get("event_ts"))
    which = text_of(payload.get("event_id")) or when
    if not which:
        raise Unreadable("a reaction without an event's id")
    attributes = {
        "reaction": reaction,
        "vote": "up" if reaction in _UP else "down" if reaction in _DOWN else None,
        "channel_id": channel,
        "message_ts": ts,
    }
    body = {
        "customer": {"id": user},
        "activity": "vote withdrawn" if withdrawn else "vote",
        "occurred_at": time_of(when),
        "attributes": present(attributes),
    }
    return [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _is_staff(source: Source, *who: Any) -> bool:
    staff = source.options.get("staff", [])
    return any(one in staff for one in who if isinstance(one, str))


def _our_bots(payload: Mapping[str, Any]) -> set[str]:
    """The app's own users. Before there were `authorizations` an app was told of them in `authed_users`."""
    bots = {id_of(one.get("user_id")) for one in objects_in(payload, "authorizations") if one.get("is_bot") is True}
    older = payload.get("authed_users")
    if not bots and isinstance(older, list):
        bots = {id_of(user) for user in older}
    return {bot for bot in bots if bot}


def _link(source: Source, channel: str, ts: str, thread: str | None) -> str | None:
    workspace = source.options.get("workspace")
    if not workspace:
        return None
    link = f"https://{workspace}.slack.com/archives/{channel}/p{ts.replace('.', '')}"
    return f"{link}?thread_ts={thread}&cid={channel}" if thread and thread != ts else link


_MARK = re.compile(r"<([^<>]*)>")
_CALL = re.compile(r"<@([A-Z0-9]+)(?:\|[^<>]*)?>[\s,:，：、]*")


def _without_call(text: str, bots: set[str]) -> str:
    """Without the names of our bot that it begins with: by them it was called, and they say nothing."""
    while (call := _CALL.match(text)) and call[1] in bots:
        text = text[call.end() :]
    return text


def _readable(text: str) -> str:
    """Slack's mark-up as its reader sees it. What people type comes escaped, so a bare < is Slack's own."""
    shown = _MARK.sub(_shown, text)
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def _shown(mark: re.Match[str]) -> str:
    target, _, label = mark[1].partition("|")
    kind, name = target[:1], label or target[1:]
    if kind in {"@", "#"}:
        return name if name.startswith(kind) else kind + name
    if kind == "!":
        return label or "@" + target[1:].partition("^")[0]
    address = target.removeprefix("mailto:").removeprefix("tel:")
    return f"{label} ({address})" if label and label != address else address
