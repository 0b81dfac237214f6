"""Delighted: survey responses, as its API names them and as its console's CSV does.

The API's names are from delighted.com/docs/api/listing-survey-responses; times there are seconds since 1970. Of the
console's CSV only the properties that Delighted adds itself (`Delighted Source`, `Delighted Link Name` …) are as public
readers name them; its other names are from memory, and what is called otherwise is guessed. The kinds of survey are those
of the connector (`services/ingest/connectors/delighted.py`): a file without kinds is taken for NPS.
"""

from shared.files.tools import ByKind, Form

TITLE = "Delighted"

_METRICS = {"nps": "nps", "csat": "csat", "ces7": "ces", "stars": "stars", "thumbs": "hmd"}
_BODY = {"channel": "survey", "solicited": True}

FORMS = (
    Form(
        needs=frozenset({"survey_type", "score", "comment", "permalink"}),
        members={
            "id": "external_id",
            "person": "customer.id",
            "person.id": "customer.id",
            "person.email": "customer.email",
            "person.name": "customer.name",
            "survey_type": "attributes.survey_type",
            "comment": "text",
            "permalink": "url",
            "created_at": "occurred_at",
            "updated_at": None,
        },
        body=_BODY,
        by_kind=ByKind("score", "survey_type", _METRICS),
    ),
    Form(
        needs=frozenset({"score", "comment"}),
        begins="delighted ",
        members={
            "id": "external_id",
            "response id": "external_id",
            "comment": "text",
            "email": "customer.email",
            "name": "customer.name",
            "survey type": "attributes.survey_type",
            "permalink": "url",
        },
        body=_BODY,
        by_kind=ByKind("score", "survey type", _METRICS),
    ),
)
