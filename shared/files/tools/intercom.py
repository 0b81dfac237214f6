"""Intercom: conversations as its API has them, one a line, and messages as Intercom Export (Prodsight) writes them to CSV.

Intercom itself gives no file of what was said: its CSVs hold reports, without words. Names are those of the API's
conversation (`source`, `conversation_rating`), and of prodsight.ai's help ("What does the Intercom conversation export
contain?"), whose times are UTC. Only what customers wrote is theirs: a row that an admin or a bot began says nothing. A
conversation's opening words and its rating are one row here; its later parts are lists, and are left out.
"""

from shared.files.cells import Cell
from shared.files.tools import Form, Get
from shared.files.tools._text import plain, word

TITLE = "Intercom"

_CUSTOMERS = frozenset({"user", "lead", "contact"})


def _opening(get: Get) -> Cell:
    return plain(get("source.body")) if word(get("source.author.type")) in _CUSTOMERS else None


def _subject(get: Get) -> Cell:
    return get("source.subject") if word(get("source.author.type")) in _CUSTOMERS else None


def _message(get: Get) -> Cell:
    return plain(get("message_body")) if word(get("message_author_type")) in _CUSTOMERS else None


FORMS = (
    Form(
        needs=frozenset({"id", "source.body", "source.author.type"}),
        members={
            "id": "external_id",
            "type": None,
            "source.body": "text",
            "source.subject": "title",
            "source.url": "url",
            "source.author.id": "customer.id",
            "source.author.email": "customer.email",
            "source.author.name": "customer.name",
            "created_at": "occurred_at",
            "updated_at": None,
            "conversation_rating.rating": "score.csat",
            "conversation_rating.remark": "attributes.remark",
            "conversation_parts.conversation_parts": None,
            "contacts.contacts": None,
            "source.attachments": None,
        },
        body={"channel": "chat"},
        reads={"source.body": _opening, "source.subject": _subject},
    ),
    Form(
        needs=frozenset({"message_id", "message_body", "message_author_type"}),
        members={
            "message_id": "external_id",
            "message_body": "text",
            "message_created_at": "occurred_at",
            "message_author_user_id": "customer.id",
            "message_author_id": None,
            "message_author_name": "customer.name",
            "message_author_email": "customer.email",
            "message_author_companies": "customer.account_id",
            "conversation_created_at": None,
        },
        body={"channel": "chat"},
        reads={"message_body": _message},
    ),
)
