"""Typeform: *Results → Responses → Download*, as CSV or XLSX.

`#`, the form's own questions, `Response Type`, `Start Date (UTC)`, `Stage Date (UTC)`, `Submit Date (UTC)`, `Network ID`,
`Tags`, `Ending`: as public readers of it name them. Its times are UTC and say so in the header. The questions are a
company's own, and guessed by their words; `--map` says it where they do not. `Network ID` stands for an address on the
internet, and is left out.
"""

from shared.files.tools import Form

TITLE = "Typeform"

FORMS = (
    Form(
        needs=frozenset({"#", "submit date (utc)", "network id"}),
        members={
            "#": "external_id",
            "submit date (utc)": "occurred_at",
            "start date (utc)": None,
            "stage date (utc)": None,
            "network id": None,
            "response type": "attributes.response_type",
            "tags": "attributes.tags",
            "ending": None,
        },
        body={"channel": "survey", "solicited": True},
    ),
)
