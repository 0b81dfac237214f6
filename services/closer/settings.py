"""CLOSER_*: read once, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Literal, cast
from urllib.parse import urlsplit

from services.closer.addresses import ALLOW, NOTHING, Allowed
from shared.errors import Misuse
from shared.settings import Settings

SLACK_API_URL = "https://slack.com/api"
OnUnknown = Literal["hold", "resend"]


@dataclass(frozen=True, slots=True)
class CloserSettings:
    mail_from: str
    """`Name <address>` of our mails. CLOSER_MAIL_FROM; without it `feedback@` and the host of PUBLIC_URL."""
    on_unknown: OnUnknown
    """A mail whose outcome we cannot know: `hold` it and list it (at most once), or `resend` it (at least once)."""
    batch_records: int
    """How many records of the log one transaction takes."""
    deliveries: int
    """How many sends may be under way at once; also how many a `kill -9` may leave unknown."""
    webhook_allow: Allowed = NOTHING
    """Where webhooks of teams may go although it is not public. CLOSER_WEBHOOK_ALLOW; see `addresses`."""
    slack_api_url: str = SLACK_API_URL
    """SLACK_API_URL: where Slack is reached (https://slack-gov.com/api, for some)."""


def read_closer_settings(settings: Settings) -> CloserSettings:
    """Raises `Misuse`, naming the variable."""
    env = settings.env
    host = urlsplit(settings.public_url).hostname or "localhost"
    mail_from = env.get("CLOSER_MAIL_FROM") or f"feedback@{host if '.' in host and ':' not in host else 'localhost'}"
    address = parseaddr(mail_from)[1]
    if "@" not in address or not mail_from.isprintable():
        raise Misuse(f'CLOSER_MAIL_FROM={mail_from!r} is not an address: write "Name <feedback@example.com>"')
    on_unknown = env.get("CLOSER_ON_UNKNOWN") or "hold"
    if on_unknown not in {"hold", "resend"}:
        raise Misuse(f"CLOSER_ON_UNKNOWN={on_unknown!r}: write hold (at most once) or resend (at least once)")
    return CloserSettings(
        mail_from=mail_from,
        on_unknown=cast(OnUnknown, on_unknown),
        batch_records=_number(env, "CLOSER_BATCH_RECORDS", 500, 1, 5000),
        deliveries=_number(env, "CLOSER_DELIVERIES", 10, 1, 100),
        webhook_allow=Allowed.read(env.get(ALLOW, "")),
        slack_api_url=_url(env, "SLACK_API_URL", SLACK_API_URL),
    )


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    url = env.get(name) or default
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise Misuse(f"{name}={url!r}: write an address such as {default}")
    return url.rstrip("/")


def _number(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise Misuse(f"{name}={text!r}: write a number from {low} to {high}")
    return int(text)
