"""RudderStack: what customers do, as the company's own code told it (`track`).

RudderStack's *Webhook* destination posts each event as it is, in the form that Segment has too, so it is read as
Segment's is: see `segment`. It signs nothing; it sends the headers that the destination is set up with, so a source
says `verify: header`. Not to be confused with its *webhook source*, which takes any JSON and is none of ours.
"""

from collections.abc import Sequence

from services.ingest.connectors import Draft, Ignored, WebhookRequest, no_challenge, plain_reply
from services.ingest.connectors._fields import signs_nothing, unknown_options
from services.ingest.connectors.segment import messages
from services.ingest.sources import Source

NAME = "rudderstack"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    return messages(request.json)
