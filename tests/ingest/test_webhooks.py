"""`/v1/webhooks/{source}` over a real socket: who is believed, and that who is believed is never refused."""

import asyncio
import base64
import gzip
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook  # the oracle

from services.ingest.door import REQUESTS
from services.ingest.webhooks import IN_A_THREAD_BYTES
from shared.clock import ManualClock
from shared.events.dead_letter import whole
from shared.events.envelope import Envelope
from shared.events.identity import delivery_id
from tests.ingest.conftest import (
    HEADER_SECRET,
    SOURCES,
    STANDARD_NEXT_SECRET,
    STANDARD_SECRET,
    ZENDESK_SECRET,
    AskedInOneTurn,
    Server,
    Start,
    feedback,
    problem,
)

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
OTHER_SECRET = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
CORPUS_ZENDESK = "webhooks/zendesk"


@pytest.fixture
async def server(start: Start) -> Server:
    """With a clock that stands still, so that timestamps are exact."""
    return await start(clock=ManualClock(NOW))


def standard(
    body: bytes, message_id: str = "msg_1", *, at: datetime = NOW, secret: str = STANDARD_SECRET
) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


def zendesk(body: bytes, *, at: str = "2026-05-04T09:00:00Z", secret: str = ZENDESK_SECRET) -> dict[str, str]:
    mac = hmac.digest(secret.encode(), at.encode() + body, "sha256")
    return {
        "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
        "x-zendesk-webhook-signature-timestamp": at,
    }


def body_of(payload: Any) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode()


async def post(server: Server, source: str, body: bytes, headers: Mapping[str, Any]) -> httpx2.Response:
    """No API key: webhooks are believed by their signature."""
    return await server.http.post(f"/v1/webhooks/{source}", content=body, headers=dict(headers))


FEEDBACK = body_of(feedback(source=None))


async def test_feedback_is_accepted_and_stored_as_the_sources(server: Server) -> None:
    response = await post(server, "partner", FEEDBACK, standard(FEEDBACK))
    assert response.status_code == 200, response.text
    delivery = delivery_id("hook", "default", "partner", "msg_1")
    assert response.json() == {"outcome": "accepted", "id": delivery, "ids": [delivery]}
    (record,) = await server.received()
    envelope, value = Envelope.from_headers(record.headers), json.loads(record.value)
    assert (envelope.id, envelope.source, value["source"]) == (delivery, "partner", "partner")
    assert value["received_at"] == "2026-05-04T09:00:00.000Z"


async def test_38_a_replay_is_the_same_delivery(server: Server) -> None:
    headers = standard(FEEDBACK)
    answers = [await post(server, "partner", FEEDBACK, headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    hashes = {Envelope.from_headers(record.headers).bodyhash for record in await server.received()}
    assert len(hashes) == 1, "so that the router can tell that it is a repeat"


async def test_39_the_same_id_with_another_body_is_never_a_conflict_on_a_webhook(start: Start) -> None:
    server = await start(clock=ManualClock(NOW), gated=True)
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    other = body_of(feedback(source=None, text="other"))
    first = asyncio.create_task(post(server, "partner", FEEDBACK, standard(FEEDBACK)))
    await gate.reached.wait()
    second = asyncio.create_task(post(server, "partner", other, standard(other)))
    async with asyncio.timeout(10):
        while sum(gate.calls) < 2:
            await asyncio.sleep(0.005)
    gate.open()
    assert [(await task).status_code for task in (first, second)] == [200, 200]
    records = await server.received()
    assert len({Envelope.from_headers(r.headers).id for r in records}) == 1
    assert len({Envelope.from_headers(r.headers).bodyhash for r in records}) == 2


async def test_the_plain_ones_of_one_turn_are_taken_at_once_and_the_others_go_the_long_way(start: Start) -> None:
    sources = SOURCES.replace("- {name: partner,", "- {name: partner, rate: 5/s,")
    server = await start(clock=ManualClock(NOW), sources=sources)

    def asked(
        number: int, body: bytes = FEEDBACK, source: str = "partner", also: Mapping[str, str] = {}
    ) -> AskedInOneTurn:
        headers = {**standard(body, f"msg_{number}"), **also}
        fields = {name.encode(): value.encode() for name, value in headers.items()}
        return AskedInOneTurn(f"/v1/webhooks/{source}".encode(), fields, body)

    good = [asked(number) for number in range(5)]
    others = [
        asked(1),  # in flight
        asked(6, body_of({"type": "user.created", "data": {}})),  # not feedback
        asked(7, b"{"),
        asked(8, body_of(feedback(source=None, scores=[{"metric": "nope", "value": 1}], text=None))),
        asked(9, also={"webhook-signature": MAC}),
        asked(10, b"[]", "open"),
        AskedInOneTurn(b"/v1/webhooks/zendesk-eu", {}, FEEDBACK),
    ]
    at_once = server.service.hot_paths["/v1/webhooks/"].at_once
    assert at_once is not None
    assert not at_once(asked(20, source="nobody"))
    assert not at_once(asked(21, also={"content-encoding": "gzip"}))
    assert not at_once(asked(22, b'{"text":"' + b"x" * IN_A_THREAD_BYTES + b'"}'))
    accepted = REQUESTS.labels("webhooks", "accepted")._value
    before = accepted.get()
    assert all(at_once(one) for one in (*good[:2], *others, *good[2:]))
    late = asked(30)
    assert at_once(late)
    async with asyncio.timeout(10):
        while not all(one.became for one in (*good, *others, late)):
            await asyncio.sleep(0.01)
    assert [one.became for one in others] == [["declined"]] * len(others)
    # The one in flight has used up nothing of the source's rate.
    assert [one.became for one in good] == [[delivery_id("hook", "default", "partner", f"msg_{n}")] for n in range(5)]
    assert late.became == ["declined"], "more than the source may send"
    assert accepted.get() == before + len(good)
    assert len(await server.received()) == len(good)


async def test_what_was_taken_at_once_and_not_stored_is_refused_as_everything_else(start: Start) -> None:
    server = await start(env={"INGEST_ACK_TIMEOUT_S": "0.2"}, clock=ManualClock(NOW), gated=True)
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    response = await post(server, "partner", FEEDBACK, standard(FEEDBACK))
    problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    gate.open()


# ── who is not believed: promises.md §3 D ──

SIGNED = standard(FEEDBACK)
LATE, EARLY = NOW - timedelta(seconds=301), NOW + timedelta(seconds=301)
MAC = SIGNED["webhook-signature"]
NOT_BELIEVED: list[tuple[str, bytes, dict[str, str]]] = [
    ("35 nothing", FEEDBACK, {}),
    ("35 no signature", FEEDBACK, SIGNED | {"webhook-signature": ""}),
    ("35 not base64", FEEDBACK, SIGNED | {"webhook-signature": "v1,%%%"}),
    ("35 no scheme", FEEDBACK, SIGNED | {"webhook-signature": MAC.removeprefix("v1,")}),
    ("35 another provider's scheme", FEEDBACK, zendesk(FEEDBACK, secret=STANDARD_SECRET)),
    ("35 cut short", FEEDBACK, SIGNED | {"webhook-signature": MAC[:-8]}),
    ("36 one byte changed", FEEDBACK.replace(b"blank", b"blink"), SIGNED),
    ("36 written again", json.dumps(json.loads(FEEDBACK), indent=1).encode(), SIGNED),
    ("37 301 s old", FEEDBACK, standard(FEEDBACK, at=LATE)),
    ("37 301 s ahead", FEEDBACK, standard(FEEDBACK, at=EARLY)),
    ("37 no timestamp", FEEDBACK, {k: v for k, v in SIGNED.items() if k != "webhook-timestamp"}),
    ("37 a fraction", FEEDBACK, SIGNED | {"webhook-timestamp": f"{NOW.timestamp()}"}),
    ("37 10^30", FEEDBACK, SIGNED | {"webhook-timestamp": "1" + "0" * 30}),
    ("37 in other digits", FEEDBACK, SIGNED | {"webhook-timestamp": "-5"}),
    ("41 a dot in the id", FEEDBACK, standard(FEEDBACK, "a.1")),
    ("41 no id", FEEDBACK, SIGNED | {"webhook-id": ""}),
    ("42 a secret that is not ours", FEEDBACK, standard(FEEDBACK, secret=OTHER_SECRET)),
    ("42 a good one behind ten others", FEEDBACK, SIGNED | {"webhook-signature": f"{'v1,AAAA ' * 10}{MAC}"}),
    ("44 an asymmetric scheme", FEEDBACK, SIGNED | {"webhook-signature": MAC.replace("v1,", "v1a,")}),
]  # fmt: skip


async def test_who_is_not_believed(server: Server) -> None:
    wrong: dict[str, Any] = {}
    answers = set()
    for name, body, headers in NOT_BELIEVED:
        response = await post(server, "partner", body, headers)
        document = response.json()
        document.pop("request_id", None)
        answers.add(json.dumps(document, sort_keys=True))
        if response.status_code != 401 or document["type"] != "/problems/signature-invalid":
            wrong[name] = (response.status_code, response.text)
    assert wrong == {}
    assert len(answers) == 1, "35: the same answer for every cause"
    assert await server.received() == []
    assert await server.dead_letters() == []


async def test_37_within_the_tolerance(server: Server) -> None:
    for number, at in enumerate((LATE + timedelta(seconds=1), NOW, EARLY - timedelta(seconds=1))):
        headers = standard(FEEDBACK, f"m{number}", at=at)
        assert (await post(server, "partner", FEEDBACK, headers)).status_code == 200


async def test_41_the_dot_cannot_be_moved(server: Server) -> None:
    """`a.1` + `2` and `a` + `1.2` sign the same bytes: with this signature neither may pass for the other."""
    stamp = str(int(NOW.timestamp()))
    mac = hmac.digest(base64.b64decode(STANDARD_SECRET[6:]), f"a.1.{stamp}.".encode() + FEEDBACK, "sha256")
    signature = "v1," + base64.b64encode(mac).decode()
    for message_id, timestamp in (("a.1", stamp), ("a", f"1.{stamp}")):
        headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        problem(await post(server, "partner", FEEDBACK, headers), 401, "signature-invalid")


async def test_42_both_secrets_are_good_while_one_is_replaced(server: Server) -> None:
    for number, secret in enumerate((STANDARD_SECRET, STANDARD_NEXT_SECRET)):
        headers = standard(FEEDBACK, f"m{number}", secret=secret)
        assert (await post(server, "partner", FEEDBACK, headers)).status_code == 200
    both = standard(FEEDBACK, "m3")
    both["webhook-signature"] = f"v1,AAAA v2,BBBB {both['webhook-signature']}"
    assert (await post(server, "partner", FEEDBACK, both)).status_code == 200


async def test_under_whatever_name_a_tunnel_gives_us(server: Server) -> None:
    """The signature says who it is; everything else is served under our own names only."""
    strange = {"Host": "abcd.ngrok-free.app"}
    assert (await post(server, "partner", FEEDBACK, standard(FEEDBACK) | strange)).status_code == 200
    problem(await post(server, "partner", FEEDBACK, strange), 401, "signature-invalid")
    assert (await server.post("/v1/feedback", feedback(), headers=strange)).status_code == 400
    for hosts in (b"", b"Host: a\r\nHost: b\r\n"):
        answer = await server.raw(b"POST /v1/webhooks/open HTTP/1.1\r\n" + hosts + b"Content-Length: 2\r\n\r\n{}")
        assert answer.startswith(b"HTTP/1.1 400 "), answer


async def test_43_one_sources_signature_opens_no_other(server: Server) -> None:
    problem(await post(server, "other-partner", FEEDBACK, standard(FEEDBACK)), 401, "signature-invalid")


async def test_an_unknown_source(server: Server) -> None:
    for name in ("nobody", "Partner", "%2e%2e"):
        response = await server.http.post(f"/v1/webhooks/{name}", content=b"{}")
        assert response.status_code in {400, 404}
    problem(await post(server, "nobody", b"{}", {}), 404, "unknown-source")


async def test_looking_at_the_address(server: Server) -> None:
    for method in ("GET", "HEAD"):
        response = await server.http.request(method, "/v1/webhooks/partner")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
    problem(await server.http.get("/v1/webhooks/nobody"), 404, "unknown-source")


BY_OTHER_MEANS: list[tuple[str, dict[str, Any], int]] = [
    ("by-header", {"X-Our-Word": HEADER_SECRET}, 200),
    ("by-header", {"X-Our-Word": "another"}, 401),
    ("by-header", {}, 401),
    ("by-header-in-letters", {"X-Our-Word": b"sch\xc3\xb6n"}, 200),
    ("by-header-in-letters", {"X-Our-Word": b"sch\xf6n"}, 200),
    ("by-header-in-letters", {"X-Our-Word": b"schon"}, 401),
    ("by-header-in-letters", {"X-Our-Word": b"sch?n"}, 401),
    ("by-basic", {"Authorization": "Basic " + base64.b64encode(b"zen:desk").decode()}, 200),
    ("by-basic", {"Authorization": "Basic " + base64.b64encode(b"zen:dusk").decode()}, 401),
    ("by-basic", {"Authorization": "Bearer zen:desk"}, 401),
    ("by-basic", {"Authorization": "Basic %%%"}, 401),
    ("open", {}, 200),
]


async def test_sources_that_are_verified_by_other_means(server: Server) -> None:
    wrong = []
    for source, headers, status in BY_OTHER_MEANS:
        response = await post(server, source, FEEDBACK, headers)
        if response.status_code != status:
            wrong.append((source, headers, response.status_code, response.text))
        asked = response.headers.get("www-authenticate", "")
        assert asked.startswith("Basic realm=") is (source == "by-basic" and status == 401)
    assert wrong == []


# ── who is believed is never refused ──

LARGE = b'{"text":"' + b"x" * (15 * 1024 * 1024)
BELIEVED: list[tuple[str, bytes, str]] = [
    ("not JSON", b"not JSON", "quarantined"),
    ("nothing", b"", "quarantined"),
    ("not UTF-8", b'{"text":"\xff"}', "quarantined"),
    ("an array", b"[]", "quarantined"),
    ("a number", b"7", "quarantined"),
    ("deep", b"[" * 100_000 + b"]" * 100_000, "quarantined"),
    ("data that is no object, of a type of ours", body_of({"type": "customer.activity", "data": [1]}), "quarantined"),
    ("data that is no object, and words beside it", body_of({"type": "x.y", "data": None, "text": "a"}), "quarantined"),
    ("data that is no object, of another type", body_of({"type": "invoice.paid", "data": [1]}), "ignored"),
    ("a ping without data", body_of({"type": "ping", "data": None}), "ignored"),
    ("activity of nobody", body_of({"type": "customer.activity", "data": {"activity": "login"}}), "quarantined"),
    ("a ping", body_of({"type": "ping", "data": {}}), "ignored"),
    ("nothing said", body_of({"title": "x"}), "ignored"),
    ("text that shows nothing", body_of({"text": " \u200b "}), "quarantined"),
    ("a byte order mark", b"\xef\xbb\xbf" + FEEDBACK, "accepted"),
    ("a key twice", b'{"text":"a","text":"b"}', "accepted"),
    ("NUL", b'{"text":"a\\u0000b"}', "accepted"),
    ("a lone surrogate", b'{"text":"a\\ud800b"}', "accepted"),
    ("NaN", b'{"text":"a","attributes":{"n":NaN,"m":1e999}}', "accepted"),
    ("unknown fields", body_of({"text": "a", "tenant_id": "t", "routing": {}}), "accepted"),
    ("a score that is true", body_of({"text": "a", "scores": [{"metric": "hmd", "value": True}, {"metric": "csat", "value": 5}]}), "accepted"),
    ("a score out of range", body_of({"text": "a", "scores": [{"metric": "nps", "value": 11}]}), "accepted"),
    ("only scores that have no range", body_of({"scores": [{"metric": "joy", "value": 1}]}), "quarantined"),
    ("an address that is none", body_of({"text": "a", "customer": {"id": "c", "email": "nobody"}}), "accepted"),
    ("a text of 40,000", body_of({"text": "好" * 40_000}), "accepted"),
    ("a deep attribute", b'{"text":"a","attributes":{"a":' + b"[" * 60 + b"]" * 60 + b"}}", "accepted"),
    ("attributes of 1 MB", body_of({"text": "a", "attributes": {"a": "x" * 1_000_000, "b": list(range(9000))}}), "accepted"),
    ("an activity", body_of({"type": "customer.activity", "data": {"activity": "login", "customer": {"id": "c"}}}), "accepted"),
    ("15 MB that nobody can read", LARGE, "quarantined"),
]  # fmt: skip


async def test_who_is_believed_is_never_refused(server: Server) -> None:
    wrong: dict[str, Any] = {}
    quarantined: list[bytes] = []
    for number, (name, body, outcome) in enumerate(BELIEVED):
        stamp = str(int(NOW.timestamp()))
        mac = hmac.digest(base64.b64decode(STANDARD_SECRET[6:]), f"m{number}.{stamp}.".encode() + body, "sha256")
        headers = {
            "webhook-id": f"m{number}",
            "webhook-timestamp": stamp,
            "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        }
        response = await post(server, "partner", body, headers)
        if response.status_code != 200 or response.json()["outcome"] != outcome:
            wrong[name] = (response.status_code, response.text)
        elif outcome != "accepted" and not response.json()["reason"]:
            wrong[name] = "no reason is given"
        if outcome == "quarantined":
            quarantined.append(body)
    assert wrong == {}
    assert len(await server.received()) == sum(outcome == "accepted" for _, _, outcome in BELIEVED)
    letters = whole(await server.dead_letters())
    assert sorted(letter.value for letter in letters) == sorted(quarantined), "the original bytes, every one"
    assert {(letter.service, letter.reason) for letter in letters} == {("ingest", "unreadable-webhook")}


NO_CHARACTERS: list[tuple[str, bytes, str]] = [
    ("a ticket's id", b'{"ticket_id":"\\ud800","ticket_description":"x"}', "accepted"),
    ("another ticket's id", b'{"ticket_id":"\\ud801","ticket_description":"x"}', "accepted"),
    ("a comment's id", b'{"ticket_id":1,"comment_id":"\\ud800","latest_public_comment":"x"}', "accepted"),
    ("a type that is quoted", b'{"type":"zen:event-type:\\ud83d","detail":{},"event":{}}', "ignored"),
]  # fmt: skip


async def test_half_of_a_surrogate_pair_is_no_reason_to_fail(server: Server) -> None:
    """In what names a delivery and in what is said back; a 500 would come again with every retry."""
    answers = {name: await post(server, "zendesk-eu", body, zendesk(body)) for name, body, _ in NO_CHARACTERS}
    said = {name: (answer.status_code, answer.json()["outcome"]) for name, answer in answers.items()}
    assert said == {name: (200, outcome) for name, _, outcome in NO_CHARACTERS}
    assert len({Envelope.from_headers(r.headers).id for r in await server.received()}) == 3, "each is its own delivery"


async def test_a_dead_letter_says_where_from_and_keeps_no_secret(server: Server) -> None:
    credentials = "Basic " + base64.b64encode(b"zen:desk").decode()
    headers = {"Authorization": credentials, "Cookie": "a=b", "Content-Type": "text/plain"}
    assert (await post(server, "by-basic", b"what?", headers)).json()["outcome"] == "quarantined"
    assert (await post(server, "by-header", b"what?", {"X-Our-Word": HEADER_SECRET})).status_code == 200
    letters = whole(await server.dead_letters())
    assert {letter.original_topic for letter in letters} == {"webhooks/by-basic", "webhooks/by-header"}
    kept = {name: value for letter in letters for name, value in letter.headers}
    assert kept["http_content-type"] == b"text/plain"
    assert not {"http_authorization", "http_cookie", "http_x-our-word"} & set(kept)


async def test_gzip_is_read_and_both_ways_to_sign_it_are_good(server: Server) -> None:
    zipped = gzip.compress(FEEDBACK)
    stamp = "2026-05-04T09:00:00Z"
    payload = body_of({"ticket_id": 7, "ticket_description": "It is slow."})
    for signed in (payload, gzip.compress(payload)):
        mac = hmac.digest(ZENDESK_SECRET.encode(), stamp.encode() + signed, "sha256")
        headers = {
            "content-encoding": "gzip",
            "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
            "x-zendesk-webhook-signature-timestamp": stamp,
        }
        sent = signed if signed.startswith(b"\x1f") else gzip.compress(payload)
        response = await post(server, "zendesk-eu", sent, headers)
        assert response.json()["outcome"] == "accepted", response.text
    broken = zipped[:-10]
    response = await post(server, "zendesk-eu", broken, zendesk(broken) | {"content-encoding": "gzip"})
    assert response.json()["outcome"] == "quarantined"


TICKET = body_of({"ticket_id": 7, "ticket_description": "It is slow."})
HALVES = gzip.compress(TICKET[:20]) + gzip.compress(TICKET[20:])
TOO_MUCH = b'{"ticket_id":7,"ticket_description":"' + b"x" * (16 * 1024 * 1024) + b'"}'
GZIPPED: list[tuple[str, bytes, bytes, int, str]] = [
    ("two members, signed as they were", TICKET, HALVES, 200, "accepted"),
    ("two members, signed as they are sent", HALVES, HALVES, 200, "accepted"),
    ("a member of nothing between them", TICKET, gzip.compress(TICKET) + gzip.compress(b""), 200, "accepted"),
    ("over 16 MiB, signed as it was", TOO_MUCH, gzip.compress(TOO_MUCH), 413, ""),
    ("over 16 MiB, signed as it is sent", gzip.compress(TOO_MUCH, mtime=0), gzip.compress(TOO_MUCH, mtime=0), 413, ""),
    ("over 16 MiB in two members", TOO_MUCH, gzip.compress(TOO_MUCH[:-9]) + gzip.compress(TOO_MUCH[-9:]), 413, ""),
    ("16 MiB exactly", TOO_MUCH[39:], gzip.compress(TOO_MUCH[39:]), 200, "quarantined"),
    ("something behind it, signed as it was", TICKET, gzip.compress(TICKET) + b"x", 200, "accepted"),
    ("something behind it, signed as it is sent", gzip.compress(TICKET, mtime=0) + b"x", gzip.compress(TICKET, mtime=0) + b"x", 200, "quarantined"),
    ("the second member cut short", HALVES[:-4], HALVES[:-4], 200, "quarantined"),
    ("not gzip, signed", TICKET, TICKET, 200, "quarantined"),
    ("more members than anybody writes", gzip.compress(b"") * 2_000, gzip.compress(b"") * 2_000, 413, ""),
    ("signed by nobody", b"other", HALVES, 401, ""),
]  # fmt: skip


async def test_what_gzip_holds_is_read_whole(server: Server) -> None:
    wrong: dict[str, Any] = {}
    for name, signed, sent, status, outcome in GZIPPED:
        response = await post(server, "zendesk-eu", sent, zendesk(signed) | {"content-encoding": "gzip"})
        if (response.status_code, response.json().get("outcome", "")) != (status, outcome):
            wrong[name] = (response.status_code, response.text)
    assert wrong == {}
    assert {json.loads(record.value)["text"] for record in await server.received()} == {"It is slow."}


async def test_a_little_gzip_of_nobodys_does_not_keep_others_waiting(server: Server) -> None:
    """16 kB of it hold 16 MiB, and there is no signature."""
    bomb = gzip.compress(bytes(16 * 1024 * 1024))
    tasks = [asyncio.create_task(post(server, "partner", bomb, {"content-encoding": "gzip"})) for _ in range(4)]
    answered = 0
    while not all(task.done() for task in tasks):
        assert (await server.http.get("/healthz")).status_code == 200
        answered += 1
    assert {(await task).status_code for task in tasks} == {401}
    assert answered > 5


async def test_over_16_mib_is_the_one_413(server: Server) -> None:
    head = f"POST /v1/webhooks/partner HTTP/1.1\r\nHost: localhost\r\nContent-Length: {16 * 1024 * 1024 + 1}\r\n\r\nx"
    assert (await server.raw(head.encode())).startswith(b"HTTP/1.1 413 ")


async def test_a_large_body_does_not_keep_others_waiting(server: Server) -> None:
    """Verified and parsed beside the event loop: a small request that comes after it is answered before it."""
    body = body_of({"text": "a", "attributes": {"rows": [{"a": number} for number in range(900_000)]}})
    assert len(body) > 10 * 1024 * 1024
    finished: list[str] = []

    async def large() -> None:
        response = await post(server, "partner", body, standard(body, "large"))
        assert response.json()["outcome"] == "accepted"
        finished.append("large")

    async def small() -> None:
        assert (await server.http.get("/healthz")).status_code == 200
        finished.append("small")

    task = asyncio.create_task(large())
    while not task.done():
        await small()
    await task
    assert finished.count("small") > 3


# ── real payloads, where they are at hand ──


async def test_every_zendesk_payload_of_the_corpus_is_answered(server: Server, corpus: Path) -> None:
    outcomes: dict[str, str] = {}
    for path in sorted((corpus / CORPUS_ZENDESK).glob("*.json")):
        response = await post(server, "zendesk-eu", path.read_bytes(), zendesk(path.read_bytes()))
        assert response.status_code == 200, (path.name, response.text)
        outcomes[path.stem] = response.json()["outcome"]
    assert len(outcomes) >= 5
    assert set(outcomes.values()) == {"accepted", "ignored"}, outcomes
    assert outcomes["ticket.created"] == outcomes["zulip.trigger_ticket_create_update"] == "accepted"


async def test_the_signature_vectors_of_the_corpus(start: Start, corpus: Path) -> None:
    vectors = {
        vector["provider"]: vector
        for vector in json.loads((corpus / "webhooks" / "vectors.json").read_bytes())
        if vector["provider"] in {"standard-webhooks", "svix", "zendesk"}
    }
    assert len(vectors) == 3
    lines = ["sources:"]
    for provider, vector in vectors.items():
        connector = "zendesk" if provider == "zendesk" else "standard"
        lines.append(f"  - {{name: {provider}, connector: {connector}, secrets: ['{vector['secret']}']}}")
    for provider, vector in vectors.items():
        headers = {name.lower(): value for name, value in vector["headers"].items()}
        stamp = headers.get("webhook-timestamp") or headers.get("svix-timestamp")
        iso = headers.get("x-zendesk-webhook-signature-timestamp")
        at = datetime.fromisoformat(iso) if iso else datetime.fromtimestamp(int(stamp or 0), UTC)
        server = await start(clock=ManualClock(at), sources="\n".join(lines))
        file = vector.get("body_file")
        body = (corpus / "webhooks" / file).read_bytes() if file else vector["body"].encode()
        response = await post(server, provider, body, headers)
        assert response.status_code == 200, (provider, response.text)
        problem(await post(server, provider, body + b" ", headers), 401, "signature-invalid")
