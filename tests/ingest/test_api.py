"""`POST /v1/feedback` over a real socket: what is stored, what is refused and how, one id for one delivery."""

import asyncio
import json
from datetime import datetime
from functools import partial
from typing import Any

from services.ingest.door import REQUESTS
from shared.events.envelope import Envelope
from shared.events.feedback import FeedbackReceived
from shared.events.identity import Pseudonyms, delivery_id
from shared.web.at_once import TAKEN_TOGETHER
from tests.ingest.conftest import AskedInOneTurn, Server, Start, feedback, fields, problem


async def test_what_comes_in_is_what_stands_on_the_log(server: Server) -> None:
    body = feedback(
        external_id="rev-123",
        title="Blank",
        language="zh-CN",
        solicited=False,
        occurred_at="2026-03-01T08:00:00+08:00",
        attributes={"os": "ios", "build": 17, "deep": {"b": [1, 2.5, None], "a": True}},
    )
    response = await server.send(body, traceparent="00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")
    assert response.status_code == 202
    answer = response.json()
    assert set(answer) == {"id", "received_at"}
    assert answer["id"] == delivery_id("ext", "default", "app-store", "rev-123")

    (record,) = await server.received()
    value = json.loads(record.value)
    assert value == body | {
        "id": answer["id"],
        "received_at": answer["received_at"],
        "workspace": "default",
        "occurred_at": "2026-03-01T00:00:00.000Z",
    }
    stored = FeedbackReceived.model_validate(value)
    assert stored.customer is not None
    envelope = Envelope.from_headers(record.headers)
    assert (envelope.id, envelope.type, envelope.source) == (answer["id"], "feedback.received", "app-store")
    assert (envelope.workspace, envelope.time) == ("default", "2026-03-01T00:00:00.000Z")
    assert envelope.traceparent == "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    assert sorted(dict(record.headers)) == sorted(dict(envelope.headers()))
    assert record.key == Pseudonyms("a secret of the tests").key("default", "c-1")
    everywhere = (record.key or b"") + b"".join(v for _, v in record.headers)
    assert b"example.com" not in everywhere.lower()


async def test_received_at_is_the_databases_time_and_so_is_ce_time_without_another(server: Server) -> None:
    before = await server.runtime.database.now()
    answer = (await server.send(feedback())).json()
    after = await server.runtime.database.now()
    at = datetime.fromisoformat(answer["received_at"])
    assert before.timestamp() - 0.5 <= at.timestamp() <= after.timestamp() + 0.5
    (record,) = await server.received()
    assert Envelope.from_headers(record.headers).time == answer["received_at"]


async def test_scores_alone_are_enough_and_invisible_text_is_none(server: Server) -> None:
    assert (await server.send(feedback(text="\u200b \u3164\ufeff\u2800"))).status_code == 202
    (record,) = await server.received()
    assert "text" not in json.loads(record.value)


async def test_a_configured_metric_has_its_range(server: Server) -> None:
    good = await server.send(feedback(scores=[{"metric": "effort10", "value": 10}]))
    bad = await server.send(feedback(scores=[{"metric": "effort10", "value": 10.5}]))
    assert good.status_code == 202
    assert fields(problem(bad, 422, "invalid-feedback")) == ["scores.0.value"]


# ── refused bodies: what JSON may be is `tests/promises/test_c_json.py` ──

PROBLEM = "application/problem+json"
REFUSED: list[tuple[str, bytes, int, str, str | None]] = [
    ("contract: no source", json.dumps({"text": "t"}).encode(), 422, "invalid-feedback", "source"),
    ("contract: neither text nor scores", json.dumps({"source": "s"}).encode(), 422, "invalid-feedback", "text"),
    ("contract: text that shows nothing", json.dumps({"source": "s", "text": " \u200b\u2060\t"}).encode(), 422, "invalid-feedback", "text"),
    ("contract: text of 30,001", json.dumps({"source": "s", "text": "好" * 30_001}).encode(), 422, "invalid-feedback", "text"),
    ("contract: nps 11", json.dumps({"source": "s", "scores": [{"metric": "nps", "value": 11}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("contract: csat 0", json.dumps({"source": "s", "scores": [{"metric": "csat", "value": 0}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("contract: ces 8", json.dumps({"source": "s", "scores": [{"metric": "ces", "value": 8}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("contract: hmd -1", json.dumps({"source": "s", "scores": [{"metric": "hmd", "value": -1}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("contract: hmd is yes or no", json.dumps({"source": "s", "scores": [{"metric": "hmd", "value": 0.5}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("contract: stars 6", json.dumps({"source": "s", "scores": [{"metric": "stars", "value": 6}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("a score that is a word", json.dumps({"source": "s", "scores": [{"metric": "nps", "value": "9"}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("a score that is true", json.dumps({"source": "s", "scores": [{"metric": "hmd", "value": True}]}).encode(), 422, "invalid-feedback", "scores.0.value"),
    ("solicited, in words", json.dumps({"source": "s", "text": "a", "solicited": "yes"}).encode(), 422, "invalid-feedback", "solicited"),
    ("contract: an unknown metric", json.dumps({"source": "s", "scores": [{"metric": "joy", "value": 1}]}).encode(), 422, "invalid-feedback", "scores.0.metric"),
    ("contract: an unknown channel", json.dumps(feedback(channel="pigeon")).encode(), 422, "invalid-feedback", "channel"),
    ("contract: a time without a zone", json.dumps(feedback(occurred_at="2026-01-01T00:00:00")).encode(), 422, "invalid-feedback", "occurred_at"),
    ("a time that is a number", json.dumps(feedback(occurred_at=20260101)).encode(), 422, "invalid-feedback", "occurred_at"),
    ("a time in digits", json.dumps(feedback(occurred_at="20260101")).encode(), 422, "invalid-feedback", "occurred_at"),
    ("a time without seconds", json.dumps(feedback(occurred_at="2026-01-01T00:00Z")).encode(), 422, "invalid-feedback", "occurred_at"),
    ("67 an address with a line break", json.dumps(feedback(customer={"email": "a@b.c\r\nBcc: x@y.z"})).encode(), 422, "invalid-feedback", "customer.email"),
    ("68 a list of addresses", json.dumps(feedback(customer={"email": "a@b.c,d@e.f"})).encode(), 422, "invalid-feedback", "customer.email"),
]  # fmt: skip


async def test_refused(server: Server) -> None:
    """The whole table on one server: what each row was answered, where it is not what the row says."""
    wrong: dict[str, Any] = {}
    for name, raw, status, slug, field in REFUSED:
        response = await server.post("/v1/feedback", raw=raw)
        document = response.json()
        named = [error["field"] for error in document.get("errors", [])]
        kind = response.headers["content-type"]
        if (response.status_code, document.get("type"), kind) != (status, f"/problems/{slug}", PROBLEM):
            wrong[name] = (response.status_code, document)
        elif field is not None and field not in named:
            wrong[name] = named
    assert wrong == {}
    assert await server.received() == []


async def test_people_are_not_told_in_regular_expressions(server: Server) -> None:
    wrong = feedback(language="zh_CN", customer={"email": "nobody"}, occurred_at="2026-01-01T09:00:00")
    errors = (await server.post("/v1/feedback", raw=json.dumps(wrong).encode())).json()["errors"]
    assert {error["field"]: error["message"] for error in errors} == {
        "language": "must be a language tag, such as zh-CN",
        "customer.email": "must be one plain e-mail address",
        "occurred_at": "must have a zone, such as 2026-01-01T09:00:00+08:00 or …Z",
    }


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("30,000 characters", feedback(text="好" * 30_000)),
    ("depth 32", feedback(attributes=json.loads('{"a":' * 30 + "1" + "}" * 30))),
    ("the ends of the ranges", feedback(scores=[{"metric": m, "value": v} for m, v in (("nps", 0), ("nps", 10), ("csat", 1), ("ces", 7), ("hmd", 0), ("stars", 5))])),
    ("any script", feedback(text="とても遅い。Sehr langsam. ¿Por qué? 太慢了 🐢", external_id="отзыв-7/é (1)")),
    ("null is as good as absent", feedback() | {"title": None, "url": None, "customer": {"id": "c", "name": None}}),
]  # fmt: skip


async def test_accepted(server: Server) -> None:
    wrong: dict[str, Any] = {}
    ids: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, body in ACCEPTED:
        response = await server.send(body)
        if response.status_code == 202:
            ids[response.json()["id"]] = (name, body)
        else:
            wrong[name] = response.text
    for record in await server.received():
        value = json.loads(record.value)
        name, body = ids.pop(value["id"])
        if (value["text"], value.get("attributes", {})) != (body["text"], body.get("attributes", {})):
            wrong[name] = value
    assert (wrong, ids) == ({}, {})


async def test_a_problem_shows_nothing_of_what_was_sent(server: Server) -> None:
    marked = "zz-a-mark-that-nobody-else-writes-zz"
    body = feedback(channel=marked, customer={"email": marked}, occurred_at=marked, text=marked)
    response = await server.send(body)
    assert fields(problem(response, 422, "invalid-feedback")) == ["customer.email", "channel", "occurred_at"]
    assert marked not in response.text


# ── who may ──


async def test_who_may(server: Server) -> None:
    reading = await server.new_key("feedback:read", "cases:write")
    admin = await server.new_key("admin")
    nobody = {"Authorization": "Bearer fw_" + "A" * 43}
    problem(await server.http.post("/v1/feedback", json=feedback()), 401, "unauthorized")
    problem(await server.http.post("/v1/feedback", json=feedback(), headers=nobody), 401, "unauthorized")
    problem(await server.send(feedback(), Authorization=f"Bearer {reading}"), 403, "forbidden")
    assert (await server.send(feedback(), Authorization=f"Bearer {admin}")).status_code == 202


async def test_48_a_key_in_the_address_is_refused(server: Server) -> None:
    for query in (f"api_key={server.key}", f"x={server.key}"):
        problem(await server.post(f"/v1/feedback?{query}", feedback()), 401, "unauthorized")


async def test_a_header_twice_is_refused(server: Server) -> None:
    raw = json.dumps(feedback()).encode()
    for name in ("Authorization", "Idempotency-Key"):
        lines = [
            "POST /v1/feedback HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(raw)}",
            f"Authorization: Bearer {server.key}",
            "Idempotency-Key: one",
            f"{name}: {'Bearer ' + server.key if name == 'Authorization' else 'two'}",
        ]
        answer = await server.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401")), answer
    assert await server.received() == []


# ── identity ──


async def test_identity(server: Server) -> None:
    """external_id wins over Idempotency-Key; with neither each post is new."""
    by_ext = await server.send(feedback(external_id="e"), Idempotency_Key="k")
    by_key = await server.send(feedback(), Idempotency_Key="k")
    again = await server.send(feedback(), Idempotency_Key="k")
    fresh = {(await server.send(feedback())).json()["id"] for _ in range(3)}
    assert by_ext.json()["id"] == delivery_id("ext", "default", "app-store", "e")
    assert by_key.json()["id"] == again.json()["id"] == delivery_id("key", "default", "app-store", "k")
    assert len(fresh) == 3


async def test_38_the_body_hash_tells_a_repeat_from_a_conflict(server: Server) -> None:
    """It does not depend on the order of keys, on nulls or on how a number or a time is written."""
    same = [
        feedback(external_id="e", scores=[{"metric": "nps", "value": 9}], occurred_at="2026-01-01T00:00:00Z"),
        dict(reversed(feedback(external_id="e", scores=[{"value": 9.0, "metric": "nps"}]).items()))
        | {"occurred_at": "2026-01-01T01:00:00+01:00", "title": None, "attributes": {}},
    ]
    other = feedback(external_id="e", text="something else")
    ids = [(await server.send(body)).json()["id"] for body in (*same, other)]
    assert len(set(ids)) == 1
    records = await server.received()
    assert len({record.partition for record in records}) == 1
    hashes = [Envelope.from_headers(record.headers).bodyhash for record in records]
    assert hashes[0] == hashes[1] != hashes[2]


async def test_40_a_thousand_copies_at_once_have_one_id(server: Server) -> None:
    body = feedback(external_id="same")
    answers = await asyncio.gather(*(server.send(body) for _ in range(1000)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    records = await server.received()
    assert len({record.partition for record in records}) == 1
    assert {Envelope.from_headers(record.headers).id for record in records} == {answers[0].json()["id"]}


async def test_39_the_same_id_with_another_body_in_flight_is_a_conflict(start: Start) -> None:
    server = await start(gated=True)
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    first = asyncio.create_task(server.send(feedback(external_id="e")))
    await gate.reached.wait()
    problem(await server.send(feedback(external_id="e", text="other")), 409, "idempotency-conflict")
    same = [asyncio.create_task(server.send(feedback(external_id="e"))) for _ in range(5)]
    await until(lambda: sum(map(len, waiters(server))) == 6)
    gate.open()
    answers = [await task for task in (first, *same)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1, "one answer, received_at and all"
    assert len(await server.received()) == 1, "the copies shared the append"
    assert (await server.send(feedback(external_id="e", text="other"))).status_code == 202, "nothing is in flight now"


def waiters(server: Server) -> list[list[Any]]:
    return [entry[2].waiters for entry in server.service._publisher._ids.values()]


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


# ── what is said about it ──


async def test_outcomes_are_counted_without_a_word_of_the_input(server: Server) -> None:
    def count(outcome: str) -> float:
        return float(REQUESTS.labels("feedback", outcome)._value.get())

    before = {outcome: count(outcome) for outcome in ("accepted", "invalid", "malformed", "unauthorized")}
    await server.send(feedback())
    await server.send(feedback(channel="pigeon"))
    await server.post("/v1/feedback", raw=b"{")
    await server.http.post("/v1/feedback", json=feedback())
    assert {outcome: count(outcome) - n for outcome, n in before.items()} == dict.fromkeys(before, 1)
    metrics = (await server.http.get("/metrics")).text
    assert 'ingest_requests_total{outcome="accepted",route="feedback"}' in metrics
    assert "pigeon" not in metrics


async def test_openapi_describes_the_routes_that_are_served(server: Server) -> None:
    document = (await server.http.get("/openapi.json")).json()
    assert {"/v1/feedback", "/v1/feedback/batch", "/v1/events", "/v1/webhooks/{source}"} <= set(document["paths"])
    post = document["paths"]["/v1/feedback"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Feedback"}
    assert set(post["responses"]) >= {"202", "default"}
    batch = document["paths"]["/v1/feedback/batch"]["post"]["requestBody"]["content"]
    assert set(batch) == {"application/json", "application/x-ndjson"}


async def test_a_route_documented_by_the_framework_is_the_same_route(server: Server) -> None:
    """Without the short cut before the framework the answers are the same."""
    path = "/v1/feedback"
    problem(await server.http.put(path, json={}), 405, "method-not-allowed")
    assert (await server.http.get("/readyz")).status_code == 200


async def test_what_comes_in_one_turn_is_taken_together_and_each_by_itself(server: Server) -> None:
    await server.send(feedback(external_id="first"))  # from now on the key is known
    known = {b"authorization": f"Bearer {server.key}".encode(), b"content-type": b"application/json"}
    one = partial(AskedInOneTurn, b"/v1/feedback")
    unknown = known | {b"authorization": b"Bearer fw_" + b"x" * 43}
    asked = [
        one(known, json.dumps(feedback(external_id=f"e-{number}")).encode()) for number in range(2 * TAKEN_TOGETHER + 3)
    ]
    not_plain = [
        one(known, b"{"),
        one(unknown, asked[0].body),
        one(known | {b"content-type": b"text/plain"}, asked[0].body),
        one(known, b""),  # looked at, it raises
        one(known, asked[1].body),  # in flight already
    ]
    at_once = server.service.hot_paths["/v1/feedback"].at_once
    assert at_once is not None
    accepted = REQUESTS.labels("feedback", "accepted")._value
    before = accepted.get()
    assert all(at_once(asks) for asks in (*asked[:2], *not_plain, *asked[2:]))
    async with asyncio.timeout(10):
        while not all(asks.became for asks in (*asked, *not_plain)):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert [asks.became for asks in not_plain] == [["declined"]] * len(not_plain)
    ids = [delivery_id("ext", "default", "app-store", f"e-{number}") for number in range(len(asked))]
    assert [asks.became for asks in asked] == [[event_id] for event_id in ids]
    assert accepted.get() == before + len(asked)
    assert len(await server.received()) == len(asked) + 1
