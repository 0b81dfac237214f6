"""A digest by e-mail: one mail a period to each reader, counts and quotes instead of a message for each thing.

It goes the way that customers' mails go (`SMTP_URL`; without it an `.eml` under the data dir). Where the server's answer
was lost it is sent again under the same Message-ID, by which mail programs tell the two to be the same.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.closer import channels
from services.closer.channels import Channel, Outgoing, Unknown
from services.closer.channels import Plugin as ChannelPlugin
from services.closer.digest import Digest
from services.closer.digest_mail import language_for, written
from services.closer.settings import CloserSettings
from services.closer.subscriptions import DigestEntry, Subscription, Telling, Tells, Told, never_signed, no_button
from shared import registry
from shared.config.teams import Member
from shared.errors import Rejected, Transient
from shared.settings import Settings

TELLS: Tells = "digests"
Entry = DigestEntry
signed = never_signed
pressed = no_button


def check(entry: DigestEntry, members: Sequence[Member], env: Mapping[str, str] | None) -> Sequence[tuple[str, str]]:
    if not entry.readers(members):
        return [("to", "the team has no members: name addresses, or give it some")]
    return ()


def destination(entry: DigestEntry) -> tuple[str, str]:
    to = "members" if entry.to == "members" else ", ".join(sorted(entry.to))
    return f"{entry.every} {to}", entry.name or f"{entry.every} to {to}"


def open_way(settings: Settings, closer: CloserSettings) -> "Mails":
    found: Mapping[str, Any] = registry.load(channels, ChannelPlugin)
    return Mails(found["email"].open_channel(settings, closer), settings.public_url)


class Mails:
    at_once = 2
    pause_s = 0.0

    def __init__(self, channel: Channel, public_url: str) -> None:
        self._channel = channel
        self._public_url = public_url

    async def send(self, subscription: Subscription, telling: Telling, now: datetime) -> Told:
        digest = telling.content
        assert isinstance(digest, Digest)
        to, entry = digest.owed.to, subscription.entry
        if to not in entry.readers(subscription.members):
            raise Rejected("whoever it was for is not among its readers any more")
        mail = written(subscription, digest, self._public_url)
        outgoing = Outgoing(
            id=telling.id,
            case_id=None,
            to=to,
            language=language_for(subscription, to),
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            unsubscribe_url=None,
            traceparent=telling.traceparent,
        )
        try:
            await self._channel.send(outgoing)
        except Unknown as error:
            raise Transient(str(error)) from error
        return Told()

    async def close(self) -> None:
        await self._channel.close()
