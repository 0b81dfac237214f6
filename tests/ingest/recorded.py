"""What the tests of connectors share: recorded payloads, a source, and the corpus' real ones where it is there."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from services.ingest.connectors import Connector, Ignored, SignatureInvalid, Unreadable, WebhookRequest
from services.ingest.sources import Source

PAYLOADS = Path(__file__).resolve().parents[1] / "contracts" / "payloads"


def case(name: str) -> Any:
    """`name`: the tool and the file, `stripe/invoice_paid`."""
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def recorded(name: str) -> Any:
    """The drafts that come of it."""
    return case(name)["expected"]["drafts"]


def source_of(connector: Any, *secrets: str, **options: Any) -> Source:
    """Signed where there are secrets."""
    how = "signature" if secrets else "none"
    return Source(name="s", connector=connector.NAME, secrets=secrets, verify=how, options=options)


def outcomes(connector: Connector, folder: Path) -> Counter[str]:
    """What becomes of the payloads there: by the drafts' types, ignored, unreadable."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        try:
            drafts = connector.parse(WebhookRequest("POST", "https://x/", {}, path.read_bytes()), source_of(connector))
        except Unreadable:
            found["unreadable"] += 1
            continue
        found.update(["ignored"] if isinstance(drafts, Ignored) else [draft.type for draft in drafts])
    return found


def verify_vectors(corpus: Path, connectors: Mapping[str, Any], when: Mapping[str, datetime]) -> None:
    """Each of these providers' vectors holds at that time, and with a byte more it does not."""
    vectors = json.loads((corpus / "webhooks" / "vectors.json").read_bytes())
    ours = [vector for vector in vectors if vector["provider"] in connectors]
    assert {vector["provider"] for vector in ours} == set(connectors)
    for vector in ours:
        connector, now = connectors[vector["provider"]], when[vector["provider"]]
        file = vector.get("body_file")
        body = (corpus / "webhooks" / file).read_bytes() if file else vector["body"].encode()
        headers = {name.lower(): value for name, value in vector["headers"].items()}
        source = source_of(connector, vector["secret"])
        connector.verify(WebhookRequest("POST", "https://x/", headers, body), source, now)
        with pytest.raises(SignatureInvalid):
            connector.verify(WebhookRequest("POST", "https://x/", headers, body + b" "), source, now)
