"""What stands in somebody else's payload, read as forgivingly as may be: a value of another kind than is looked for is
none. Helpers of the connectors beside it, all pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

from services.ingest.connectors import Draft, Ignored, SignatureInvalid, Unreadable, WebhookRequest
from services.ingest.sources import Source
from shared.events.envelope import WORK_MOVED, rfc3339

ID_MAX_CHARS = 100
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?\Z")
_STAMP = re.compile(r"[0-9]{1,13}\Z")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?\Z", re.ASCII)
"""To the second, or to the minute as Zendesk's placeholders write it."""
_MORE_THAN_MICROSECONDS = re.compile(r"(\.\d{6})\d+")
_YEAR_10000 = 253_402_300_800
_MILLISECONDS_FROM = 100_000_000_000
"""More digits than seconds have, for the next three thousand years."""
_STARS = re.compile(r"[1-5](\.[0-9]{1,3})?\Z")
_UP = frozenset({"like", "love", "care", "👍", "❤", "🔥", "🙏", "🎉", "👏", "💯", "😍", "🥰"})
_DOWN = frozenset({"angry", "sad", "dislike", "👎", "😡", "😠", "💔", "😢"})
_MEDIA = {"audio": "🎤", "image": "📷", "video": "🎬", "document": "📄"}
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?\Z")
_SPACED_ZONE = re.compile(r" (?:UTC|([+-][0-9]{4}))\Z")
_PERSONAL = frozenset(
    {"email", "emailaddress", "mail", "phone", "phonenumber", "mobile", "mobilenumber", "telephone", "tel"}
    | {"firstname", "lastname", "fullname", "username", "nickname", "customername", "contactname", "requestername"}
    | {"address", "ip", "ipaddress", "birthday", "birthdate", "dateofbirth"}
)
"""The last words of names of what says who somebody is."""
_PERSONAL_WORDS_MAX = 3
_ALWAYS_PERSONAL = (
    *("email", "address", "phone", "phonenumber", "firstname", "lastname", "fullname"),
    *(
        "手机",
        "手机号",
        "手机号码",
        "电话",
        "电话号码",
        "邮箱",
        "邮箱地址",
        "邮件地址",
        "姓名",
        "地址",
        "身份证",
        "生日",
    ),
)
"""Also where nothing parts them from what stands before."""
_WORDS_OF_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\dA-Za-z_]+")
_NESTED_MAX = 24
"""Deeper than our events hold."""


def object_in(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Empty when there is none."""
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def objects_in(parent: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list; what else stands there is passed over."""
    found = parent.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty: providers write out what they do not know."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def kind_of(value: Any) -> str:
    """What it is, for people; never what it says."""
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "nothing")


def text_of(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def id_of(value: Any) -> str | None:
    """Ids come as numbers and as strings, from the same provider too. One that is longer than ids are is named by its
    digest: two that begin alike stay two."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    found = str(value).strip()
    return (digest_of(found) if len(found) > ID_MAX_CHARS else found) or None


def language_of(value: Any) -> str | None:
    """BCP 47, also where it is written with an underscore."""
    if not isinstance(value, str):
        return None
    tag = value.strip().replace("_", "-")
    return tag if _LANGUAGE.match(tag) else None


def time_of(seconds: Any) -> str | None:
    """A Unix time in seconds, as a number or as digits, with what it has below the second."""
    if isinstance(seconds, str):
        seconds = float(seconds) if _SECONDS.match(seconds) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < _YEAR_10000:
        return None
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def time_of_ms(milliseconds: Any) -> str | None:
    """A Unix time in milliseconds, as a number or as digits."""
    if isinstance(milliseconds, str):
        milliseconds = int(milliseconds) if _STAMP.match(milliseconds) else None
    is_number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool)
    return time_of(milliseconds / 1000) if is_number and abs(milliseconds) < _YEAR_10000 * 1000 else None


def iso_time(value: Any, zone: tzinfo | None = None) -> str | None:
    """A time as ISO 8601 writes it; one that names no zone is in `zone`, where the provider says which."""
    text = value.strip() if isinstance(value, str) else ""
    if not _ISO.match(text):
        return None
    try:
        at = datetime.fromisoformat(_MORE_THAN_MICROSECONDS.sub(r"\1", text))
        at = at if at.tzinfo is not None or zone is None else at.replace(tzinfo=zone)
        return rfc3339(at.astimezone(UTC)) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def signed_time(text: str) -> datetime | None:
    """The time in a header or a query that the signature covers: digits and nothing else, of seconds, or of
    milliseconds where they are too many for that."""
    if not _STAMP.match(text):
        return None
    number = int(text)
    return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)


def mail_time(value: Any) -> str | None:
    """As a mail's `Date` has it: `Tue, 15 Sep 2026 09:00:00 +0000`."""
    try:
        found = parsedate_to_datetime(value)
        if found.tzinfo is None and value.strip().endswith("-0000"):
            found = found.replace(tzinfo=UTC)  # UTC, of somebody who does not tell their zone
        return rfc3339(found.astimezone(UTC)) if found.tzinfo is not None else None
    except (TypeError, ValueError, OverflowError, AttributeError, IndexError):
        return None


def stars_of(value: Any) -> list[dict[str, Any]]:
    """One to five stars, as a number or in digits; no score where it is no such number."""
    if isinstance(value, str) and _STARS.match(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 5:
        return []
    return [{"metric": "stars", "value": int(value) if value == int(value) else value}]


def media_sign(kind: Any) -> str | None:
    """What stands where somebody sent a recording or a picture without a word: whoever takes the case up must see that
    there is something to hear or to see, and it is not for us to put words into a customer's mouth."""
    return _MEDIA.get(kind) if isinstance(kind, str) else None


def media_signs(kinds: Iterable[Any]) -> str | None:
    """The signs of several, each by its kind or its MIME type. What is neither heard nor seen is a document."""
    of_each = [kind.partition("/")[0] if isinstance(kind, str) else None for kind in kinds]
    return " ".join(media_sign(kind) or _MEDIA["document"] for kind in of_each) or None


def vote_of(reaction: Any) -> str | None:
    """Up, down, or neither: an emoji, in whatever colour, or Meta's word for one."""
    plain = reaction.strip().lower().rstrip("\ufe0f🏻🏼🏽🏾🏿") if isinstance(reaction, str) else ""
    return "up" if plain in _UP else "down" if plain in _DOWN else None


def ruby_time(value: Any) -> str | None:
    """A time as Ruby prints it, ` UTC` or ` -0700` behind it, or as ISO 8601 has it."""
    return iso_time(_SPACED_ZONE.sub(lambda zone: zone[1] or "Z", value.strip())) if isinstance(value, str) else None


def number_of(value: Any) -> int | float | None:
    """A number, or the digits of one: forms and spreadsheets know no other."""
    if isinstance(value, str) and _NUMBER.match(value.strip()):
        value = float(value) if "." in value else int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def each_of(items: Iterable[Any], read: Callable[[Any], Sequence[Draft] | Ignored]) -> Sequence[Draft] | Ignored:
    """The drafts of several that came together, each delivery once. One that cannot be read keeps none of the others
    from being heard: it is a draft of nothing, for which the caller keeps the whole aside."""
    drafts: dict[str, Draft] = {}
    ignored: list[Ignored] = []
    unread: list[Unreadable] = []
    for item in items:
        try:
            found = read(item)
        except Unreadable as error:
            unread.append(error)
            continue
        if isinstance(found, Ignored):
            ignored.append(found)
        else:
            for draft in found:
                drafts.setdefault(draft.delivery, draft)
    if unread and not drafts:
        raise unread[0]
    if unread:
        drafts[""] = Draft("", {})
    return list(drafts.values()) or next(iter(ignored), Ignored("nothing in it"))


def moved(
    which: str | None,
    work_id: str,
    *,
    team: str | None = None,
    team_id: str | None = None,
    at: str | None = None,
    url: str | None = None,
) -> list[Draft]:
    """A ticket has another team now. `which` names this move of it, None where nothing does: then each is new, and one that comes
    again finds the ticket there already. `work_id` is the ticket as its feedback's attributes name it (`ticket_id`,
    `conversation_id` or `work_id`)."""
    body = {"work_id": work_id, "team": team, "team_id": team_id, "occurred_at": at, "url": url}
    return [Draft(f"moved/{work_id}/{which}" if which else "", present(body), WORK_MOVED)]


def review_delivery(which: str, stars: Sequence[Any], *words: str | None) -> str:
    """A review that is edited keeps its id and is said anew; one that only comes again is not."""
    return f"review/{which}/{digest_of(chr(0).join([str(stars), *(said or '' for said in words)]))}"


def signs_nothing(request: WebhookRequest, source: Source, now: datetime) -> None:
    """`verify` of a tool that signs nothing: a source of it says in its own words how a webhook is believed."""
    raise SignatureInvalid("the signature is not valid")


def impersonal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says who somebody is, however deep it stands: that stands in `customer` and nowhere else."""
    found: dict[str, Any] = _impersonal(values, 0)
    return found


def _impersonal(value: Any, depth: int) -> Any:
    if isinstance(value, list | Mapping) and depth > _NESTED_MAX:
        return None
    if isinstance(value, list):
        return [_impersonal(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {
        str(name): _impersonal(one, depth + 1)
        for name, one in value.items()
        if isinstance(one, bool) or not _is_personal(str(name))
    }


def _is_personal(name: str) -> bool:
    """By its last words: `user.phone`, `customer_email`, `billingAddress`."""
    words = [word.lower() for word in _WORDS_OF_NAME.findall(name)]
    ends = {"".join(words[-count:]) for count in range(1, _PERSONAL_WORDS_MAX + 1)}
    return not ends.isdisjoint(_PERSONAL) or "".join(words).endswith(_ALWAYS_PERSONAL)


def words_in(value: Any) -> tuple[str, ...] | None:
    """A list of words of somebody's options, in small letters; None when it is no such list."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        return None
    return tuple(one.strip().lower() for one in value)


def digest_of(text: str) -> str:
    """Names words that have no id of their own."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def unknown_options(source: Source, *known: str) -> list[str]:
    there = ", ".join(known) or "none"
    return [f"options: {name} is not known here; there is: {there}" for name in source.options if name not in known]


class HandWritten:
    """JSON that a person wrote in a tool from its placeholders, and named as they liked: each is taken under the first
    name that has a value; the rest is kept."""

    def __init__(self, flat: dict[str, Any]) -> None:
        self.rest = flat

    def take(self, *names: str) -> Any:
        found = None
        for name in names:
            value = self.rest.pop(name, None)
            if found is None and value != "":
                found = value
        return found
