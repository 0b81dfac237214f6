"""AppFollow: reviews of App Store, Google Play and others.

Names as its API's reference has them (support.appfollow.io/hc/en-us/articles/360020832317); that its CSV has the same is
from memory. `date` is the day that the store shows, `created` is AppFollow's own business.
"""

from shared.files.tools import Form

TITLE = "AppFollow"

FORMS = (
    Form(
        needs=frozenset({"review_id", "rating", "content", "ext_id"}),
        members={
            "review_id": "external_id",
            "content": "text",
            "title": "title",
            "rating": "score.stars",
            "author": "customer.name",
            "date": "occurred_at",
            "user_id": "attributes.user_id",
            "store": "attributes.store",
            "time": None,
            "created": None,
            "updated": None,
            "content_translated": None,
            "internal_id": None,
        },
        body={"channel": "review", "solicited": False},
    ),
)
