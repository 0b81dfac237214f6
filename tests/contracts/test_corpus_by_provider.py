"""Every webhook of the corpus, by the connector of its tool: feedback, activity, work, answered, or ignored with a reason.

What is not readable would be kept aside, and is named here. `pytest -s` prints the table. Signatures and the server itself
are `test_connectors_corpus.py`'s, for the four tools whose payloads came with what signs them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from services.ingest.connectors import Connector, Ignored, WebhookRequest
from services.ingest.normalize import Builder
from services.ingest.understanding import understood
from services.ingest.webhooks import Judgement, _judge
from shared.events.feedback import METRIC_RANGES
from shared.events.identity import Pseudonyms
from tests.contracts.test_connectors import CASES, CONNECTORS, source_of

BUILDER = Builder("default", Pseudonyms("the corpus"))
NOW = datetime(2026, 11, 29, tzinfo=UTC)
NAMES = {"rudder_webhook": "rudderstack"}
"""Folder → connector, where they differ."""
BOUNDARY = "xYzZY"
NO_CONNECTOR = {
    "customerio": "e-mail and message metrics: no words of customers",
    "facebook_lead_ads": "forms of advertisements, which sell",
    "facebook_lead_ads_native": "the same, with another envelope",
    "gainsightpx": "not among the tools of this release; `generic` maps it",
    "mailjet": "not among the tools of this release; `generic` maps it",
    "revenuecat": "not among the tools of this release; `generic` maps it",
}
FORMS = ("twilio/*",)
MULTIPART = ("sendgrid/*.inbound.*",)
"""Recorded as JSON, posted as forms."""


UNREADABLE = {
    "canny/rudder.event.13.json": "an event without its type",
    "rudder_webhook/rudder.event.1.json": "two properties, and no call of RudderStack's",
    "segment/rudder.event.3.json": "a login of another service",
    "stripe/activepieces.new_customer.json": "the inner object, without the event around it",
    "stripe/activepieces.new_subscription.json": "the same",
    "twilio/activepieces.new_incoming_sms.json": "Twilio's REST answer, not what it posts",
}
"""Nothing that the tool posts. It would be kept aside, and can be read again once somebody says how."""


def _headers(tool: str, file: str) -> dict[str, str]:
    """What the payload's own tool says outside of it, and the corpus only in the file's name."""
    if tool == "github":
        return {"x-github-event": file.partition(".")[0]}
    return {}


def _multipart(fields: Mapping[str, str]) -> bytes:
    part = '--{}\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return (
        "".join(part.format(BOUNDARY, name, text) for name, text in fields.items()) + f"--{BOUNDARY}--\r\n"
    ).encode()


def _requests(folder: Path, tool: str) -> Iterator[tuple[str, WebhookRequest]]:
    for path in sorted(folder.glob("*.json")):
        body, kind = path.read_bytes(), "application/json"
        if any(path.match(pattern) for pattern in FORMS):
            body, kind = urlencode(json.loads(body)).encode(), "application/x-www-form-urlencoded"
        if any(path.match(pattern) for pattern in MULTIPART):
            body, kind = _multipart(json.loads(body)), f"multipart/form-data; boundary={BOUNDARY}"
        headers = {"content-type": kind, **_headers(tool, path.name)}
        yield path.name, WebhookRequest("POST", f"https://feedback.example.com/v1/webhooks/{tool}", headers, body)


def _became(connector: Connector, tool: str, request: WebhookRequest) -> list[str]:
    source = source_of(tool, {})
    if connector.check(source):  # it needs options
        source = source_of(tool, {"options": next(case.said for case in CASES if case.connector == tool)["options"]})
    found: Judgement = _judge(connector, request, source, NOW)
    if found.reply is not None:
        return ["answered"]
    if found.unreadable is not None:
        return ["unreadable"]
    result = understood(
        found.drafts, source, ranges=METRIC_RANGES, pii=None, builder=BUILDER, received_at=NOW, traceparent=""
    )
    if isinstance(found.drafts, Ignored) or result.ignored is not None:
        assert result.ignored, "ignored without a reason"
        return ["ignored"]
    return [draft.type for draft in result.drafts] + (["unreadable"] if result.bad else [])


def test_every_payload_of_every_tool(corpus: Path) -> None:
    table: dict[str, Counter[str]] = {}
    unreadable: set[str] = set()
    for folder in sorted((corpus / "webhooks").iterdir()):
        if not folder.is_dir() or folder.name in NO_CONNECTOR:
            continue
        tool = NAMES.get(folder.name, folder.name)
        assert tool in CONNECTORS, f"{folder.name}: say in NO_CONNECTOR why nothing reads it"
        counts = table.setdefault(tool, Counter())
        for file, request in _requests(folder, tool):
            became = _became(CONNECTORS[tool], tool, request)
            assert became, (tool, file)
            counts.update(became)
            if "unreadable" in became:
                unreadable.add(f"{folder.name}/{file}")
    kinds = sorted({kind for counts in table.values() for kind in counts})
    print("\n| tool | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
    for tool, counts in table.items():
        print(f"| {tool} | " + " | ".join(str(counts[kind] or "") for kind in kinds) + " |")
    assert unreadable == UNREADABLE.keys()


def test_who_has_no_connector_has_a_reason(corpus: Path) -> None:
    for name in NO_CONNECTOR:
        assert name not in CONNECTORS
        assert (corpus / "webhooks" / name).is_dir()
