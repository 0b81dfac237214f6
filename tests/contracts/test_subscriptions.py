"""What every channel that tells teams promises (`services/closer/subscriptions`), held against each with its recorded cases.

To add a channel: its file, a folder of cases in `payloads/subscriptions/<channel>/`, and its far side here. A channel
without either fails this suite.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from services.closer import subscriptions
from services.closer.addresses import Allowed
from services.closer.case import Case
from services.closer.digest import Digest
from services.closer.settings import CloserSettings
from services.closer.subscriptions import CaseNow, Event, Plugin, Subscription, Telling, Way, only_of, quiet_of
from shared import registry
from shared.errors import Rejected, Transient
from shared.settings import read_settings
from tests.brokers import free_port
from tests.hook_server import HookServer, Posted, Reply
from tests.mailbox import Mailbox, plain
from tests.slack_server import Message, SlackServer

PAYLOADS = Path(__file__).parent / "payloads" / "subscriptions"
PLUGINS = registry.load(subscriptions, Plugin)
NOW = datetime(2026, 11, 23, 9, 30, 5, tzinfo=UTC)
CASES = [(path.parent.name, path.stem) for path in sorted(PAYLOADS.glob("*/*.json"))]


@dataclass
class FarSide:
    """Where a channel's messages go: what is there, told apart as a receiver does, and how it refuses."""

    url: str
    messages: Callable[[], Mapping[str, Any]]
    """What it takes for different messages, by what tells them apart."""
    refuse_for_good: Callable[[], None]
    refuse_for_now: Callable[[], None]


@contextlib.contextmanager
def hooks() -> Iterator[FarSide]:
    with HookServer() as server:
        yield FarSide(
            server.url,
            lambda: {one.headers["webhook-id"]: one for one in server.posted},
            lambda: setattr(server, "answer", lambda _: Reply(410)),
            lambda: setattr(server, "answer", lambda _: Reply(503)),
        )


@contextlib.contextmanager
def slack() -> Iterator[FarSide]:
    with SlackServer() as server:
        yield FarSide(
            server.url,
            lambda: {one.ts: one for one in server.messages},
            lambda: server.refuse.update({"chat.postMessage": "is_archived"}),
            lambda: server.refuse.update({"chat.postMessage": "internal_error"}),
        )


class _Refusing(Mailbox):
    answer = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return self.answer or await super().handle_DATA(server, session, envelope)


@contextlib.contextmanager
def mails() -> Iterator[FarSide]:
    with _Refusing() as server:
        yield FarSide(
            server.url,
            lambda: {str(one["Message-ID"]): one for one in server.all()},
            lambda: setattr(server, "answer", "550 no such mailbox"),
            lambda: setattr(server, "answer", "451 try again later"),
        )


FAR_SIDES: Mapping[str, Callable[[], Any]] = {"webhook": hooks, "slack": slack, "email": mails}


def recorded(channel: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PAYLOADS / channel / f"{name}.json").read_text(encoding="utf-8"))
    return found


def subscribed(channel: str, case: Mapping[str, Any], url: str) -> Subscription:
    plugin = PLUGINS[channel]
    filled = {
        name: value.replace("{url}", url) if isinstance(value, str) else value for name, value in case["entry"].items()
    }
    entry = plugin.Entry.model_validate(filled)
    return Subscription(
        "0123", "support", (), channel, plugin.TELLS, plugin.destination(entry)[1],
        frozenset(getattr(entry, "events", ())), quiet_of(plugin), entry, only_of(entry),
    )  # fmt: skip


def telling(case: Mapping[str, Any]) -> Telling:
    content: Event | CaseNow | Digest
    if "digest" in case:
        content = msgspec.convert(case["digest"], Digest)
    elif "event" in case:
        event = case["event"]
        content = Event(event["type"], datetime.fromisoformat(event["at"]), msgspec.json.encode(event["value"]))
    else:
        found = msgspec.convert(case["case"], Case)
        content = CaseNow(found, case["title"], case["words"], (), None, 0, 0, found.sequence)
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    return Telling("0123456789ab8def8123456789abcdef", 1, NOW, trace, content)


def opened(channel: str, url: str, tmp_path: Path) -> Way:
    env = {"FLYWHEEL_SECRET": "x" * 32} | ({"SMTP_URL": url} if url.startswith("smtp:") else {})
    settings = read_settings(env, data_dir=tmp_path)
    closer = CloserSettings("a@example.com", "hold", 500, 4, Allowed.read("127.0.0.1"), url)
    made: Way = PLUGINS[channel].open_way(settings, closer)
    return made


@pytest.mark.parametrize("channel", PLUGINS)
def test_every_channel_has_recorded_cases_and_a_far_side(channel: str) -> None:
    assert list((PAYLOADS / channel).glob("*.json")), f"payloads/subscriptions/{channel}/ holds no recorded case"
    assert channel in FAR_SIDES, f"tests/contracts/test_subscriptions.py knows no far side of {channel}"


@pytest.mark.parametrize(("channel", "name"), CASES)
async def test_a_recorded_case_arrives_as_expected(channel: str, name: str, tmp_path: Path) -> None:
    case = recorded(channel, name)
    with FAR_SIDES[channel]() as far:
        way = opened(channel, far.url, tmp_path)
        subscription = subscribed(channel, case, far.url)
        await way.send(subscription, telling(case), NOW)
        await way.close()
        ((_, found),) = far.messages().items()
    _compare(found, case["expected"], subscription)


def _compare(found: Posted | Message | EmailMessage, expected: Mapping[str, Any], subscription: Subscription) -> None:
    if isinstance(found, EmailMessage):
        assert {name: str(found[name]) for name in ("To", "Subject", "Content-Language")} == {
            "To": expected["to"],
            "Subject": expected["subject"],
            "Content-Language": expected["language"],
        }
        text = plain(found).replace("\r\n", "\n")
        assert [part for part in expected["shown"] if part not in text] == []
        return
    if isinstance(found, Message):
        assert found.text == expected["text"]
        assert all(part in found.shown for part in expected["shown"])
        assert list(found.buttons) == expected["buttons"]
        return
    assert found.path == expected["path"]
    assert {name: found.headers[name] for name in expected["headers"]} == expected["headers"]
    assert json.loads(found.body) == expected["body"]
    for secret in subscription.entry.secret:
        ours = Webhook(secret).sign(found.headers["webhook-id"], NOW, found.body.decode())
        assert ours in found.headers["webhook-signature"].split(" ")


@pytest.mark.parametrize(("channel", "name"), CASES)
async def test_the_same_again_is_taken_for_the_same(channel: str, name: str, tmp_path: Path) -> None:
    case = recorded(channel, name)
    with FAR_SIDES[channel]() as far:
        way = opened(channel, far.url, tmp_path)
        subscription, first = subscribed(channel, case, far.url), telling(case)
        for attempt in (1, 2, 3):
            await way.send(subscription, replace(first, attempt=attempt), NOW)
        assert len(far.messages()) == 1
        await way.send(subscription, replace(first, id="f" * 32), NOW)
        assert len(far.messages()) == 2
        await way.close()


@pytest.mark.parametrize(("channel", "name"), CASES)
async def test_what_fails_for_now_is_transient_and_what_fails_for_good_is_rejected(
    channel: str, name: str, tmp_path: Path
) -> None:
    case = recorded(channel, name)
    with FAR_SIDES[channel]() as far:
        nowhere = f"{far.url.partition('://')[0]}://127.0.0.1:{free_port()}"
        away, way = opened(channel, nowhere, tmp_path), opened(channel, far.url, tmp_path)
        with pytest.raises(Transient):
            await away.send(subscribed(channel, case, nowhere), telling(case), NOW)
        subscription = subscribed(channel, case, far.url)
        far.refuse_for_now()
        with pytest.raises(Transient):
            await way.send(subscription, telling(case), NOW)
        far.refuse_for_good()
        with pytest.raises(Rejected):
            await way.send(subscription, telling(case), NOW)
        await away.close()
        await way.close()


@pytest.mark.parametrize(("channel", "name"), CASES)
def test_what_people_are_shown_holds_no_secret_and_a_call_that_nobody_signed_is_not_taken(
    channel: str, name: str
) -> None:
    case = recorded(channel, name)
    subscription = subscribed(channel, case, "https://hooks.example.com")
    for member in ("secret", "token", "signing_secret"):
        for secret in (
            [case["entry"][member]] if isinstance(case["entry"].get(member), str) else case["entry"].get(member, [])
        ):
            assert secret not in subscription.destination
    assert not PLUGINS[channel].signed(subscription.entry, {}, b"payload={}", NOW)
    assert PLUGINS[channel].pressed(b"nothing of ours") is None
