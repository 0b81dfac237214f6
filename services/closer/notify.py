"""(what happened to a case, what we know of the customer) → a notification, or the reason why there is none.

Two mails are owed for one's own feedback: "we heard you" when the case opens, once per case however much feedback
joins it; and "here is what we did", or why not, once per generation. They need no opt-in, and neither quiet hours
nor a frequency cap holds them back; an unsubscribe does. Each decision not to send is a value, to be recorded.
"""

from collections.abc import Collection
from typing import Literal

from msgspec import Struct

from services.closer.case import Case, Event, NotificationKind
from shared.events.identity import customer_of

Reason = Literal["erased", "history", "unsubscribed", "no-address"]
MailLanguage = Literal["en", "zh"]
LANGUAGES: tuple[MailLanguage, ...] = ("en", "zh")
_KINDS: dict[str, NotificationKind] = {"opened": "heard", "resolved": "answered", "declined": "declined"}


class Contact(Struct, frozen=True, gc=False):
    """What is known of the customer at this moment."""

    email: str | None = None
    name: str | None = None
    locale: str | None = None
    unsubscribed: bool = False


class Notification(Struct, frozen=True, gc=False):
    kind: NotificationKind
    dedup_key: str
    """The same for every attempt: workspace/case/kind/generation."""
    channel: str
    language: MailLanguage
    to: str
    name: str | None
    workspace: str
    case_id: str
    generation: int


class Withheld(Struct, frozen=True, gc=False):
    kind: NotificationKind
    dedup_key: str
    reason: Reason
    workspace: str
    case_id: str
    generation: int


def notify(
    case: Case, event: Event, contact: Contact, channel: str = "email", *, generation: int | None = None
) -> Notification | Withheld | None:
    """What the event owes the customer; None: nothing. `case` as it is after the event; or it was merged into the one
    that is answered, and `generation` is the answer's number among those that its customer was given.

    A case is only opened where an answer is owed (`follow_up`), so every opening is one to acknowledge."""
    kind = kind_of(event)
    if kind is None:
        return None
    # "We heard you" belongs to the case, not to its generation: it is opened once.
    generation = 1 if kind == "heard" else generation or case.generation
    key = dedup_key(case.workspace, case.id, kind, generation)
    if case.erased:
        return Withheld(kind, key, "erased", case.workspace, case.id, generation)
    if case.history:
        return Withheld(kind, key, "history", case.workspace, case.id, generation)
    if contact.unsubscribed:
        return Withheld(kind, key, "unsubscribed", case.workspace, case.id, generation)
    if not contact.email:
        return Withheld(kind, key, "no-address", case.workspace, case.id, generation)
    return Notification(
        kind=kind,
        dedup_key=key,
        channel=channel,
        language=language_of(case.language, contact.locale),
        to=contact.email,
        name=contact.name,
        workspace=case.workspace,
        case_id=case.id,
        generation=generation,
    )


def kind_of(event: Event) -> NotificationKind | None:
    """Which mail the event owes, if any."""
    if event.what == "joined" and event.data.get("heard"):
        return "heard"  # a case of history that feedback of today has woken: nobody was told yet
    return _KINDS.get(event.what)


def names_of(customer: str | None, email: str | None) -> tuple[str, ...]:
    """Under which an unsubscribe is recorded: who unsubscribed, and the address, whoever else is reached at it."""
    address = customer_of(None, email)
    return tuple({name: None for name in (customer, address) if name is not None})


def another(names: Collection[str], others: Collection[str]) -> bool:
    """Whether somebody stands behind these names, and it is none of the others."""
    return bool(names) and not set(names).intersection(others)


def dedup_key(workspace: str, case_id: str, kind: NotificationKind, generation: int) -> str:
    return f"{workspace}/{case_id}/{kind}/{generation}"


def language_of(written: str, locale: str | None) -> MailLanguage:
    """The language that the customer wrote in, else the one of their locale, else English."""
    for tag in (written, locale or ""):
        primary = tag.replace("_", "-").split("-")[0].lower()
        for language in LANGUAGES:
            if primary == language:
                return language
    return "en"
