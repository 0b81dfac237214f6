"""SurveyMonkey: *Export all → All individual responses*, as CSV or XLSX.

Two rows of header: the question, then `Response`, `Open-Ended Response` or a choice of it. The first nine columns are as
public readers of it name them. In which order it writes day and month is the account's, so the column tells, or a person
does. An address on the internet is nothing that a team needs, and is left out.
"""

from shared.files.cells import Cell, as_text
from shared.files.tools import Form, Get

TITLE = "SurveyMonkey"


def _name(get: Get) -> Cell:
    return " ".join(filter(None, (as_text(get(part)).strip() for part in ("first name", "last name")))) or None


FORMS = (
    Form(
        needs=frozenset({"respondent id", "collector id"}),
        members={
            "respondent id": "external_id",
            "collector id": "attributes.collector_id",
            "start date": None,
            "end date": "occurred_at",
            "date created": "occurred_at",
            "date modified": None,
            "ip address": None,
            "email address": "customer.email",
            "first name": None,
            "last name": None,
        },
        body={"channel": "survey", "solicited": True},
        derived={"name": ("customer.name", _name)},
        has_two_headers=True,
    ),
)
