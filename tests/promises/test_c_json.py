"""C. JSON that two readers could read in two ways, that cannot be kept, or that costs too much. What the reader itself does
with each is `tests/shared/test_strict_json.py`'s, its price in processor time included."""

import json
import uuid
from typing import Any

import pytest

from tests.promises.site import Site
from tests.promises.table import JSON, Row, asked, body, feedback, named, post, refused, rows

INVALID = "invalid-feedback"
BATCH = b"/v1/feedback/batch"


def within(raw: bytes) -> bytes:
    """This value, as an attribute of good feedback."""
    return b'{"source":"s","text":"t","attributes":{"a":' + raw + b"}}"


def with_id(external_id: str) -> bytes:
    return post(body(external_id=external_id))


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


TABLE = [
    Row(24, "depth 100,000", post(nested(100_000)), 400, "malformed"),
    Row(24, "depth 900", post(within(nested(900))), 400, "malformed"),
    Row(24, "depth 33", post(within(nested(31))), 400, "malformed"),
    Row(24, "depth 100,000 in a batch", post(b"[" + nested(100_000) + b"]", path=BATCH), 400, "malformed"),
    Row(25, "an integer of 5,000 digits", post(within(b"9" * 5_000)), 400, "malformed"),
    Row(26, "1e400 for a score", post(b'{"source":"s","scores":[{"metric":"nps","value":1e400}]}'), 422, INVALID, "scores.0.value"),
    Row(26, "NaN in attributes", post(within(b"NaN")), 422, INVALID, "attributes.a"),
    Row(26, "-Infinity at the top", post(b"-Infinity"), 422, INVALID, ""),
    Row(27, "a lone surrogate", post(b'{"source":"s","text":"\\ud800"}'), 422, INVALID, "text"),
    Row(27, "a lone surrogate in a key", post(within(b'{"\\udc00":1}')), 422, INVALID),
    Row(28, "NUL in text", post(b'{"source":"s","text":"a\\u0000b"}'), 422, INVALID, "text"),
    Row(28, "NUL in a key", post(within(b'{"a\\u0000":1}')), 422, INVALID),
    Row(29, "a key twice", post(b'{"source":"s","source":"t","text":"t"}'), 400, "malformed"),
    Row(29, "a key twice, once escaped", post(b'{"source":"s","sourc\\u0065":"t","text":"t"}'), 400, "malformed"),
    Row(29, "a key twice, deep", post(within(b'{"b":1,"b":2}')), 400, "malformed"),
    Row(29, "an id twice", post(b'{"source":"s","text":"t","external_id":"a","external_id":"b"}'), 400, "malformed"),
    Row(30, "60,000 keys", post(within(json.dumps({str(i): 1 for i in range(60_000)}, separators=(",", ":")).encode())), 422, INVALID, ""),
    Row(30, "an array of 200,000", post(within(json.dumps([1] * 200_000, separators=(",", ":")).encode())), 422, INVALID, ""),
    Row(30, "a key of 1 MB", post(b'{"source":"s","' + b"k" * 1_048_576 + b'":1}'), 413, "payload-too-large"),
    Row(32, "an empty body", post(b""), 400, "malformed"),
    Row(32, "an array", post(b"[]"), 422, INVALID, ""),
    Row(32, "a string", post(b'"x"'), 422, INVALID, ""),
    Row(32, "trailing junk", post(body() + b" x"), 400, "malformed"),
    Row(33, "tenant_id", post(body(tenant_id="t")), 422, INVALID, "tenant_id"),
    Row(33, "status", post(body(status="closed")), 422, INVALID, "status"),
    Row(33, "sla_due_at", post(body(sla_due_at="2020-01-01T00:00:00Z")), 422, INVALID, "sla_due_at"),
    Row(33, "workspace", post(body(workspace="acme")), 422, INVALID, "workspace"),
    Row(33, "routing", post(body(routing={})), 422, INVALID, "routing"),
    Row(33, "id", post(body(id=str(uuid.UUID(int=1)))), 422, INVALID, "id"),
    Row(33, "a field of the customer", post(body(customer={"id": "c", "admin": True})), 422, INVALID, "customer.admin"),
    Row(34, "an empty id", with_id(""), 422, INVALID, "external_id"),
    Row(34, "an id of 10 kB", with_id("x" * 10_000), 422, INVALID, "external_id"),
    Row(34, "a newline in an id", with_id("a\nb"), 422, INVALID, "external_id"),
    Row(34, "an id that climbs", with_id("../../etc/passwd"), 422, INVALID, "external_id"),
    Row(34, "an emoji in an id", with_id("rev-🙂"), 422, INVALID, "external_id"),
    Row(34, "an id in another normal form", with_id("cafe\u0301"), 422, INVALID, "external_id"),
    Row(34, "an idempotency key of 256", post(body(), JSON + b"Idempotency-Key: " + b"x" * 256 + b"\r\n"), 422, INVALID, "Idempotency-Key"),
    Row(34, "an idempotency key that climbs", post(body(), JSON + b"Idempotency-Key: a/../b\r\n"), 422, INVALID, "Idempotency-Key"),
]  # fmt: skip


@rows(TABLE)
async def test_refused(site: Site, row: Row) -> None:
    with site.memory(at_most_mib=48):
        await refused(site, row)


INERT: list[tuple[int, str, dict[str, Any]]] = [
    (31, "keys that other languages trip over", {"attributes": {"__proto__": {"x": 1}, "constructor": "y", "toString": 1}}),
    (31, "keys that share a hash", {"attributes": {str(n * (2**61 - 1)): n for n in range(500)}}),
    (33, "what a door decides, in an attribute", {"attributes": {"history": True, "tenant_id": "acme", "status": "closed"}}),
    (66, "what another database would run", {"text": "'; DROP TABLE log.record; --", "touchpoint": "x' OR '1'='1"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "changes", [changes for _, _, changes in INERT], ids=[named(number, words) for number, words, _ in INERT]
)
async def test_kept_as_it_came(site: Site, changes: dict[str, Any]) -> None:
    reply = await asked(site, post(body(**changes)))
    assert reply.status == 202
    delivery = json.loads(reply.body)["id"]
    [value] = await site.received(delivery)
    for name, member in feedback(**changes).items():
        assert value[name] == member
    assert {"tenant_id", "status", "history"}.isdisjoint(value)
