"""App Store: customer reviews as App Store Connect's API names them, flattened to a table or to lines.

App Store Connect has no file of reviews to download; what people have comes from its API by a script or a tool, and
keeps the names of `customerReviews` there (rating, title, body, reviewerNickname, createdDate, territory). Tables that
rename them (App Store Connect's labels in other exporters) are guessed as any other: their names are not ours to know.
"""

from shared.files.tools import Form

TITLE = "App Store"

FORMS = (
    Form(
        needs=frozenset({"rating", "body", "reviewernickname", "createddate"}),
        members={
            "id": "external_id",
            "type": None,
            "rating": "score.stars",
            "title": "title",
            "body": "text",
            "reviewernickname": "customer.name",
            "createddate": "occurred_at",
            "territory": "attributes.territory",
        },
        body={"channel": "review", "solicited": False},
    ),
)
