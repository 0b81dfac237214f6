"""Postmark: mail that customers send to an inbound address.

Which mail is feedback, what of it was said, and what names it: `_mail`. Postmark's JSON has the headers in `Headers`,
so the delivery is the mail's own `Message-ID`; `MessageID` is Postmark's name for it, and the delivery where it has
none. `StrippedTextReply` is Postmark's own guess of what was said, in English alone, and not used. What becomes of
our own mail (`RecordType` Bounce, Open, Click, SpamComplaint …) is ignored.

Postmark signs nothing: verify by a password in the address that it is given, `https://user:password@…` (`verify:
basic`), as its documents say. Shapes: Postmark's documents and django-anymail's tests.
"""

from collections.abc import Sequence
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors import _mail as mail
from services.ingest.connectors._fields import id_of, object_in, objects_in, signs_nothing, text_of
from services.ingest.sources import Source

NAME = "postmark"
SIGNS = False

check = mail.check
answer = no_challenge
reply = plain_reply
verify = signs_nothing


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = text_of(payload.get("RecordType"))
    if kind:
        return Ignored(f"not an inbound mail: {kind}"[:100])
    if not (isinstance(payload.get("Headers"), list) or "TextBody" in payload or "HtmlBody" in payload):
        raise Unreadable("neither an inbound mail nor a record")
    headers = [
        (name, " ".join(value.split()))
        for one in objects_in(payload, "Headers")
        if isinstance(name := one.get("Name"), str) and isinstance(value := one.get("Value"), str)
    ]
    # What stands in members of their own does not stand in `Headers`.
    headers += [(name, said) for name, said in _members(payload) if said]
    return mail.drafts_of(
        mail.Mail(
            headers,
            text=text_of(payload.get("TextBody")),
            html=text_of(payload.get("HtmlBody")),
            attachments=len(objects_in(payload, "Attachments")),
            recipient=text_of(payload.get("OriginalRecipient")),
            named=id_of(payload.get("MessageID")),
        ),
        source,
    )


def _members(payload: dict[str, Any]) -> list[tuple[str, str | None]]:
    full = object_in(payload, "FromFull")
    address, name = text_of(full.get("Email")), text_of(full.get("Name"))
    sender = mail.written(name, address) if address else text_of(payload.get("From"))
    return [
        ("From", sender),
        ("To", text_of(payload.get("To"))),
        ("Reply-To", text_of(payload.get("ReplyTo"))),
        ("Subject", text_of(payload.get("Subject"))),
        ("Date", text_of(payload.get("Date"))),
    ]
