"""D. Signatures, replays, one id for one delivery. Who is not believed, to the second and for each provider, is a table of
`tests/ingest/test_webhooks.py` and `tests/contracts/test_connectors.py`, where the clock stands still."""

import asyncio
import json
from datetime import UTC, datetime

import httpx2
from standardwebhooks import Webhook  # the oracle

from tests.promises.site import WEBHOOK_SECRET, Site
from tests.promises.table import Row, asked, body, feedback, post, refused, rows

FEEDBACK = json.dumps({"text": "It is slow."}).encode()


def signed(message_id: str, raw: bytes = FEEDBACK) -> dict[str, str]:
    at = datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(WEBHOOK_SECRET).sign(message_id, at, raw.decode()),
    }


MANY = b"webhook-id: m\r\nwebhook-timestamp: 1\r\nwebhook-signature: %s\r\n"
TABLE = [
    Row(42, "ten thousand signatures in a header", post(FEEDBACK, MANY % (b"v1,AAAA " * 10_000), b"/v1/webhooks/partner"), 431, "headers-too-large", closed=True),
    Row(42, "as many signatures as a header holds", post(FEEDBACK, MANY % (b"v1,AAAA " * 2_000), b"/v1/webhooks/partner"), 401, "signature-invalid"),
]  # fmt: skip


@rows(TABLE)
async def test_refused(site: Site, row: Row) -> None:
    await refused(site, row)


async def test_38_a_replay_within_the_window_is_the_same_answer_and_no_new_event(site: Site) -> None:
    headers = signed("a-replay")
    answers = [site.http.post("/v1/webhooks/partner", content=FEEDBACK, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 1
    await has_one_effect(site, answers[0].json()["id"])


async def test_39_the_same_id_with_another_body_later_is_a_conflict_on_record_and_no_new_event(site: Site) -> None:
    first, second = [
        await asked(site, post(body(external_id="two-bodies", text=text))) for text in ("one thing", "another")
    ]
    assert (first.status, second.status) == (202, 202)
    delivery = json.loads(first.body)["id"]
    assert json.loads(second.body)["id"] == delivery
    await has_one_effect(site, delivery)
    assert [decision["decision"] for decision in await said(site, "feedback.decisions", delivery)] == ["conflict"]


async def test_40_a_thousand_copies_at_once_are_one_event(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.key}"}
    sent = feedback(external_id="a-thousand-times")
    async with httpx2.AsyncClient(base_url=site.url, headers=headers, timeout=60) as http:
        answers = await asyncio.gather(*(http.post("/v1/feedback", json=sent) for _ in range(1_000)))
    assert {answer.status_code for answer in answers} == {202}
    (delivery,) = {answer.json()["id"] for answer in answers}
    await has_one_effect(site, delivery)


async def said(site: Site, topics: str, delivery: str) -> list[dict[str, str]]:
    """What stands on these topics of this delivery."""
    found = await site.sql(
        "SELECT r.value FROM log.record r JOIN log.topic t ON t.id = r.topic_id"
        " WHERE t.name LIKE $2 AND position($1 IN r.value) > 0",
        delivery.encode(),
        topics,
    )
    return [json.loads(row["value"]) for row in found]


async def has_one_effect(site: Site, delivery: str) -> None:
    """Each copy on the log was decided, one was routed, and the closer has it once."""
    copies = len(await site.received(delivery))
    async with asyncio.timeout(30):
        while True:
            routed = await said(site, "feedback.routed.%", delivery)
            repeats = await said(site, "feedback.decisions", delivery)
            taken = await site.sql("SELECT id FROM closer.feedback WHERE id::text = $1", delivery)
            if len(routed) + len(repeats) >= copies and taken:
                break
            await asyncio.sleep(0.05)
    assert (len(routed), len(repeats), len(taken)) == (1, copies - 1, 1)
