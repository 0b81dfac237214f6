"""Zendesk Support: tickets of the full JSON export, one a line, and of the CSV export.

That there are both says support.zendesk.com/hc/en-us/articles/4408886165402. A line is a ticket as the API has it; the
names of the CSV's columns are from memory. The CSV holds no words but the subject, which is then what was said. Good and
bad are the yes/no "were you happy?", as the connector has it; whoever was asked and did not answer gave no score. What
agents wrote (`comments`), and what is counted of them, is not the customer's, and is left out.
"""

from shared.files.cells import Cell
from shared.files.tools import Form, Get
from shared.files.tools._text import word

TITLE = "Zendesk"

_GOOD = {"good": 1, "good with comment": 1, "bad": 0, "bad with comment": 0, "1": 1, "0": 0}


def _happy(get: Get) -> Cell:
    return _GOOD.get(word(get("satisfaction_rating.score")))


def _happy_in_csv(get: Get) -> Cell:
    return _GOOD.get(word(get("satisfaction score")))


FORMS = (
    Form(
        needs=frozenset({"id", "subject", "description", "requester_id"}),
        members={
            "id": "external_id",
            "subject": "title",
            "raw_subject": None,
            "description": "text",
            "created_at": "occurred_at",
            "updated_at": None,
            "url": None,
            "requester_id": "customer.id",
            "requester.id": "customer.id",
            "requester.email": "customer.email",
            "requester.name": "customer.name",
            "requester.locale": "customer.locale",
            "organization.name": "customer.account_id",
            "satisfaction_rating.score": "score.hmd",
            "satisfaction_rating.comment": "attributes.satisfaction_comment",
            "satisfaction_rating.id": None,
            "comments": None,
            "custom_fields": None,
            "fields": None,
            "collaborator_ids": None,
            "follower_ids": None,
            "email_cc_ids": None,
        },
        body={"channel": "ticket"},
        reads={"satisfaction_rating.score": _happy},
    ),
    Form(
        needs=frozenset({"id", "requester", "requester id", "subject", "satisfaction score"}),
        members={
            "summation column": None,
            "id": "external_id",
            "requester": "customer.name",
            "requester id": "customer.id",
            "requester email": "customer.email",
            "requester external id": "attributes.requester_external_id",
            "organization": "customer.account_id",
            "subject": "text",
            "created at": "occurred_at",
            "satisfaction score": "score.hmd",
            "via": "attributes.via",
        },
        body={"channel": "ticket"},
        reads={"satisfaction score": _happy_in_csv},
    ),
)
