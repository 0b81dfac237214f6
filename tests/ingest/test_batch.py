"""`POST /v1/feedback/batch`: good items go in by one append, bad ones are named by their place."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest

from shared.events.identity import delivery_id
from tests.ingest.conftest import Server, Start, feedback, fields, problem

PATH = "/v1/feedback/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(items: Sequence[Any]) -> bytes:
    return b"\n".join(json.dumps(item, ensure_ascii=False).encode() for item in items)


async def test_good_items_go_in_and_bad_ones_are_named(start: Start) -> None:
    server = await start(gated=True)
    gate: Any = await server.runtime.log.producer()
    raw = b"\n".join(
        [
            json.dumps(feedback(external_id="a")).encode(),
            b"",
            json.dumps(feedback(external_id="b", channel="pigeon", scores=[{"metric": "nps", "value": 11}])).encode(),
            b"   ",
            b'{"source":"s","source":"t","text":"t"}',
            json.dumps(feedback(external_id="c")).encode() + b"\r",
            b'{"source":"s","text":"' + b"x" * 1_048_577 + b'"}',
            b'{"source":"s","text":"\\u0000"}',
            b"nonsense",
            b"",
        ]
    )
    response = await server.post(PATH, raw=raw, headers=NDJSON)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert answer["accepted"] == 2
    assert answer["ids"] == [delivery_id("ext", "default", "app-store", name) for name in "ac"]
    assert [(item["index"], [e["field"] for e in item["errors"]]) for item in answer["rejected"]] == [
        (1, ["channel"]),
        (2, [""]),
        (4, [""]),
        (5, ["text"]),
        (6, [""]),
    ]
    assert gate.calls == [2], "one append for the whole batch"
    assert sorted(json.loads(r.value)["external_id"] for r in await server.received()) == ["a", "c"]


@pytest.mark.parametrize("bad", ['{"source":"s","text":"t","attributes":{"n":NaN}}', '{"source":"s","text":"\\ud800"}'])
async def test_what_no_json_reader_agrees_on_spoils_only_itself(server: Server, bad: str) -> None:
    good = [json.dumps(feedback(external_id=name)) for name in "ab"]
    for raw, headers in ((f"[{good[0]},{bad},{good[1]}]", {}), (f"{good[0]}\n{bad}\n{good[1]}", NDJSON)):
        response = await server.post(PATH, raw=raw.encode(), headers=headers)
        assert response.status_code == 202, response.text
        assert (response.json()["accepted"], [item["index"] for item in response.json()["rejected"]]) == (2, [1])


async def test_every_form_of_a_batch(server: Server) -> None:
    items = [feedback(external_id=str(number)) for number in range(3)]
    array, ndjson = json.dumps(items).encode(), lines(items)
    ids = [delivery_id("ext", "default", "app-store", str(number)) for number in range(3)]
    for raw, headers in (
        (array, {}),
        (ndjson, NDJSON),
        (gzip.compress(array), {"Content-Encoding": "gzip"}),
        (gzip.compress(ndjson), {"Content-Encoding": "gzip", **NDJSON}),
    ):
        response = await server.post(PATH, raw=raw, headers=headers)
        assert response.status_code == 202, response.text
        assert response.json() == {"accepted": 3, "rejected": [], "ids": ids}
    assert len(await server.received()) == 12, "repeats are the router's to tell"


REFUSED: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("an object", b"{}", {}, 400, "malformed"),
    ("nothing", b"", {}, 400, "malformed"),
    ("an empty array", b"[]", {}, 422, "invalid-feedback"),
    ("no lines", b"\n \n", NDJSON, 422, "invalid-feedback"),
    ("5,001 lines", b'{"source":"s","text":"t"}\n' * 5001, NDJSON, 422, "invalid-feedback"),
    ("5,001 items", b"[" + b",".join([b'{"source":"s","text":"t"}'] * 5001) + b"]", {}, 422, "invalid-feedback"),
    ("20,001 lines, most of them blank", b"\n" * 20_000 + b'{"source":"s","text":"t"}', NDJSON, 422, "invalid-feedback"),
    ("16 MiB of line breaks", b"\n" * (16 * 1024 * 1024), NDJSON, 422, "invalid-feedback"),
    ("all bad", lines([{"source": "s"}, {"text": "t"}]), NDJSON, 422, "invalid-feedback"),
]  # fmt: skip


async def test_refused(server: Server) -> None:
    wrong: dict[str, Any] = {}
    for name, raw, headers, status, slug in REFUSED:
        response = await server.post(PATH, raw=raw, headers=headers)
        if (response.status_code, response.json().get("type")) != (status, f"/problems/{slug}"):
            wrong[name] = (response.status_code, response.text[:300])
    assert wrong == {}
    assert await server.received() == []


async def test_a_body_over_the_limit_is_refused_before_it_is_read(server: Server) -> None:
    head = [
        "POST /v1/feedback/batch HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {server.key}",
        "Content-Type: application/json",
        f"Content-Length: {16 * 1024 * 1024 + 1}",
    ]
    answer = await server.raw("\r\n".join(head).encode() + b"\r\n\r\n[")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/payload-too-large" in answer


async def test_all_bad_names_each_field_of_each_item(server: Server) -> None:
    response = await server.post(PATH, [{"source": "s"}, {"text": "t"}])
    assert fields(problem(response, 422, "invalid-feedback")) == ["0.text", "1.source"]


MANY = {f"k{number}": 1 for number in range(19_900)}
MUCH_WRONG: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("20,000 unknown fields", {"source": "s", "text": "t"} | MANY, [("", "has more than 100 fields")]),
    ("of the customer", feedback(customer=MANY), [("customer", "has more than 100 fields")]),
    ("of a score", feedback(scores=[MANY]), [("scores.0", "has more than 100 fields")]),
    ("20,000 scores that are none", feedback(scores=[0] * 19_900), [("scores", "must have at most 50 items")]),
    ("more than a person reads", feedback(scores=[{"a": 1, "b": 2}] * 50), [("", "more than 100 things are wrong with it")]),
    ("26", feedback(**{f"k{number}": 1 for number in range(26)}), [(f"k{number}", "is not a known field") for number in range(20)]),
]  # fmt: skip


async def test_what_is_wrong_a_thousand_times_is_named_once(server: Server) -> None:
    items = [feedback(), *(item for _, item, _ in MUCH_WRONG)]
    rejected = (await server.post(PATH, items)).json()["rejected"]
    said = {
        name: [(error["field"], error["message"]) for error in found["errors"]]
        for (name, _, _), found in zip(MUCH_WRONG, rejected, strict=True)
    }
    assert said == {name: errors for name, _, errors in MUCH_WRONG}


async def test_every_bad_item_is_named_however_many_there_are(server: Server) -> None:
    bad = {"a": 1, "b": 2, "c": 3}
    rejected = (await server.post(PATH, [feedback(), *[bad] * 4_000])).json()["rejected"]
    assert [item["index"] for item in rejected] == list(range(1, 4_001))
    assert all(item["errors"] for item in rejected)
    assert sum(len(item["errors"]) for item in rejected) < 1_000 + 4_001


async def test_a_batch_of_slow_items_does_not_keep_others_waiting(server: Server) -> None:
    """Few items, and each takes milliseconds: others are looked at by time, not by count."""
    slow = feedback(attributes={"rows": [float(number) for number in range(19_000)], "\u00e9": "\ud800"})
    raw = b"\n".join([json.dumps(slow).encode()] * 90)
    task = asyncio.create_task(server.post(PATH, raw=raw, headers=NDJSON))
    answered = 0
    while not task.done():
        assert (await server.http.get("/healthz")).status_code == 200
        answered += 1
    problem(await task, 422, "invalid-feedback")
    assert answered > 5


async def test_five_thousand_at_once(server: Server) -> None:
    items = [feedback(external_id=str(number), customer={"id": f"c-{number % 97}"}) for number in range(5000)]
    response = await server.post(PATH, raw=lines(items), headers=NDJSON)
    assert response.json()["accepted"] == 5000
    records = await server.received()
    assert {json.loads(record.value)["id"] for record in records} == set(response.json()["ids"])
    by_customer: dict[bytes | None, list[int]] = {}
    for record in records:
        by_customer.setdefault(record.key, []).append(int(json.loads(record.value)["external_id"]))
    assert len(by_customer) == 97
    assert all(numbers == sorted(numbers) for numbers in by_customer.values()), "in order for each customer"


@pytest.mark.parametrize("query", ["?history=true", "?history=false", ""])
async def test_history_is_marked_in_the_value_and_in_a_header(server: Server, query: str) -> None:
    response = await server.post(PATH + query, [feedback()])
    assert response.status_code == 202
    (record,) = await server.received()
    history = query == "?history=true"
    assert json.loads(record.value).get("history") == (True if history else None)
    assert dict(record.headers).get("ce_history") == (b"1" if history else None)


async def test_history_is_true_or_false(server: Server) -> None:
    assert fields(problem(await server.post(PATH + "?history=maybe", [feedback()]), 422, "invalid-feedback")) == [
        "history"
    ]


async def test_one_key_for_a_batch_names_each_item(server: Server) -> None:
    """A batch sent again with its key is made of repeats; its items are no repeats of each other."""
    sent = [feedback(), feedback(), feedback(external_id="e")]
    first = (await server.post(PATH, sent, headers={"Idempotency-Key": "k"})).json()["ids"]
    again = (await server.post(PATH, sent, headers={"Idempotency-Key": "k"})).json()["ids"]
    other = (await server.post(PATH, sent, headers={"Idempotency-Key": "l"})).json()["ids"]
    single = (await server.send(feedback(), Idempotency_Key="k")).json()["id"]
    assert first == again
    assert len({*first, *other, single}) == 6, "only the external id is the same under another key"
