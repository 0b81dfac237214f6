"""What every way out promises (`services/closer/channels`), held against each with its recorded messages.

To add a channel: its file, a folder of messages in `payloads/channels/<name>/`, and its far side here. A channel
without either fails this suite.
"""

import contextlib
import email
import email.policy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from services.closer import channels
from services.closer.channels import Channel, Outgoing, Plugin
from services.closer.settings import CloserSettings
from shared import registry
from shared.errors import Rejected, Transient
from shared.settings import Settings, read_settings
from tests.brokers import free_port
from tests.mailbox import Mailbox

PAYLOADS = Path(__file__).parent / "payloads" / "channels"
CLOSER = CloserSettings("Feedback team <feedback@example.com>", "hold", 500, 4)
PLUGINS = registry.load(channels, Plugin)


@dataclass
class FarSide:
    """Where a channel's messages go: how to reach it, what it has, and how to make it vanish."""

    settings: Settings
    received: Callable[[], list[EmailMessage]]
    away: Settings


@contextlib.contextmanager
def smtp(tmp_path: Path) -> Iterator[FarSide]:
    with Mailbox() as box:
        yield FarSide(
            settings({"SMTP_URL": box.url}, tmp_path),
            box.all,
            settings({"SMTP_URL": f"smtp://127.0.0.1:{free_port()}"}, tmp_path),
        )


@contextlib.contextmanager
def files(tmp_path: Path) -> Iterator[FarSide]:
    def received() -> list[EmailMessage]:
        found = sorted((tmp_path / "mail").glob("*.eml"))
        return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in found]

    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "mail").write_text("a file where the folder should be")
    yield FarSide(settings({}, tmp_path), received, settings({}, blocked))


def settings(env: dict[str, str], data_dir: Path) -> Settings:
    return read_settings({"FLYWHEEL_SECRET": "x" * 32, **env}, data_dir=data_dir)


FAR_SIDES: dict[str, dict[str, Callable[[Path], Any]]] = {"email": {"smtp": smtp, "files": files}}
CASES = [
    (channel, way, path.stem)
    for channel, ways in FAR_SIDES.items()
    for way in ways
    for path in sorted((PAYLOADS / channel).glob("*.json"))
]


def recorded(channel: str, name: str) -> tuple[Outgoing, dict[str, Any]]:
    case = json.loads((PAYLOADS / channel / f"{name}.json").read_text(encoding="utf-8"))
    return Outgoing(**case["message"]), case["expected"]


def opened(channel: str, where: Settings) -> Channel:
    made: Channel = PLUGINS[channel].open_channel(where, CLOSER)
    return made


@pytest.mark.parametrize("channel", PLUGINS)
def test_every_channel_has_recorded_messages_and_a_far_side(channel: str) -> None:
    assert list((PAYLOADS / channel).glob("*.json")), f"payloads/channels/{channel}/ holds no recorded message"
    assert FAR_SIDES.get(channel), f"tests/contracts/test_channels.py knows no far side of {channel}"


@pytest.mark.parametrize(("channel", "way", "name"), CASES)
async def test_a_recorded_message_arrives_as_expected(channel: str, way: str, name: str, tmp_path: Path) -> None:
    message, expected = recorded(channel, name)
    with FAR_SIDES[channel][way](tmp_path) as far:
        sender = opened(channel, far.settings)
        assert await sender.send(message)
        await sender.close()
        (mail,) = far.received()
    for header, value in expected["headers"].items():
        assert mail[header] == value, header
    (plain,) = [part for part in mail.walk() if part.get_content_type() == "text/plain"]
    assert plain.get_content().splitlines() == expected["text"]


@pytest.mark.parametrize(("channel", "way", "name"), CASES)
async def test_the_same_id_is_recognised_on_the_far_side(channel: str, way: str, name: str, tmp_path: Path) -> None:
    """A repeatable channel leaves one; another leaves two that a mail program can tell to be the same."""
    message, _ = recorded(channel, name)
    with FAR_SIDES[channel][way](tmp_path) as far:
        sender = opened(channel, far.settings)
        for _try in range(2):
            await sender.send(message)
        mails = far.received()
        assert len(mails) == (1 if sender.repeatable else 2)
        assert len({mail["Message-ID"] for mail in mails}) == 1
        await sender.send(replace(message, id=message.id + "0"))
        assert len({mail["Message-ID"] for mail in far.received()}) == 2


@pytest.mark.parametrize(("channel", "way", "name"), CASES)
async def test_a_far_side_that_is_away_is_transient(channel: str, way: str, name: str, tmp_path: Path) -> None:
    message, _ = recorded(channel, name)
    with FAR_SIDES[channel][way](tmp_path) as far:
        with pytest.raises(Transient):
            await opened(channel, far.away).send(message)
        assert far.received() == []


@pytest.mark.parametrize(("channel", "way", "name"), CASES)
@pytest.mark.parametrize("change", [{"to": "not an address"}, {"subject": "a\r\nBcc: x@evil.example"}])
async def test_what_can_never_be_sent_is_rejected_before_it_leaves(
    channel: str, way: str, name: str, change: dict[str, str], tmp_path: Path
) -> None:
    message, _ = recorded(channel, name)
    with FAR_SIDES[channel][way](tmp_path) as far:
        with pytest.raises(Rejected):
            await opened(channel, far.settings).send(replace(message, **change))
        assert far.received() == []
