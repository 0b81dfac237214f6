"""Google Play: the monthly `reviews_….csv` of *Download reports* and of its Cloud Storage bucket.

That it is UTF-16 says support.google.com/googleplay/android-developer/answer/6135870; its columns are as several public
readers of it name them. A review without words has no link, and so no id of its own: such a row is known by the file.
A review that was edited stands in a later month again, under the same `reviewId`: it is another utterance, as it is when
Google's API tells of it, so when it was last changed belongs to its id.
"""

from urllib.parse import parse_qs, urlsplit

from shared.files.cells import Cell, as_text
from shared.files.tools import Form, Get

TITLE = "Google Play"

_LINK, _CHANGED = "review link", "review last update millis since epoch"


def _id(get: Get) -> Cell:
    which = parse_qs(urlsplit(as_text(get(_LINK))).query).get("reviewId") or parse_qs(
        urlsplit(as_text(get(_LINK))).fragment.partition("?")[2]
    ).get("reviewId")
    return f"{which[0]}/{as_text(get(_CHANGED)).strip()}" if which else None


FORMS = (
    Form(
        needs=frozenset({"package name", "star rating", "review text"}),
        members={
            "review text": "text",
            "review title": "title",
            "star rating": "score.stars",
            "reviewer language": "language",
            "review last update date and time": "occurred_at",
            "review submit date and time": "attributes.submitted_at",
            "review submit millis since epoch": None,
            _CHANGED: None,
            "developer reply millis since epoch": None,
            _LINK: "url",
        },
        body={"channel": "review", "solicited": False},
        derived={"review id": ("external_id", _id)},
    ),
)
