"""`POST /v1/events`: CloudEvents 1.0 as the `cloudevents` library writes them, and as they must not be."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.bindings import http as oracle
from cloudevents.core.v1.event import CloudEvent

from services.ingest.normalize import MODELS
from shared.events.envelope import Envelope
from shared.events.feedback import Activity
from shared.events.identity import delivery_id
from tests.ingest.conftest import Server, feedback, fields, problem

PATH = "/v1/events"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCHED = {"Content-Type": "application/cloudevents-batch+json"}
SOURCE = '/läden/"eins"'
TIME = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
DATA: dict[str, dict[str, Any]] = {
    "feedback.received": feedback(source=None),
    "customer.activity": {"customer": {"id": "c-9"}, "activity": "login", "attributes": {"n": 1}},
    "work.shipped": {"work_id": "JIRA-7", "title": "Dark mode", "feedback_ids": ["a", "b"]},
    "work.declined": {"work_id": "JIRA-8", "note": "We will not."},
    "work.moved": {"work_id": "812", "team": "财务组", "team_id": "77"},
}
TRACE = "00-" + "12" * 16 + "-" + "34" * 8 + "-01"


def written(kind: str, number: int) -> CloudEvent:
    attributes = {
        "specversion": "1.0",
        "id": f"e-{kind}-{number}",
        "source": SOURCE,
        "type": kind,
        "time": TIME,
        "datacontenttype": "application/json",
        "traceparent": TRACE,
        "partitionkey": "müller",
    }
    return CloudEvent(attributes=attributes, data=DATA[kind])


async def test_structured_and_binary_as_the_oracle_writes_them(server: Server) -> None:
    expected: dict[str, str] = {}
    for kind in DATA:
        for number, write in enumerate((oracle.to_structured_event, oracle.to_binary_event)):
            event = written(kind, number)
            message = write(event)
            response = await server.post(PATH, raw=message.body, headers=message.headers)
            assert response.status_code == 202, response.text
            answer = response.json()
            assert answer["id"] == delivery_id("ce", "default", SOURCE, event.get_id())
            expected[answer["id"]] = kind
    records = await server.received()
    assert len(records) == 2 * len(DATA)
    for record in records:
        envelope, value = Envelope.from_headers(record.headers), json.loads(record.value)
        kind = expected.pop(envelope.id)
        assert (envelope.type, envelope.source, envelope.traceparent) == (kind, SOURCE, TRACE)
        assert envelope.time == value["occurred_at"] == "2026-05-01T12:30:00.000Z"
        assert (value["id"], value["workspace"], value["source"]) == (envelope.id, "default", SOURCE)
        if kind != "feedback.received":
            assert value.pop("type") == kind
        for name in ("id", "workspace", "received_at"):
            value.pop(name)
        assert value == DATA[kind] | {"source": SOURCE, "occurred_at": "2026-05-01T12:30:00.000Z"}
        if kind != "feedback.received":
            MODELS[kind].model_validate(value)


WHO = {"id": "visit-81", "account_id": "acme"}
SELF_SERVICE: dict[str, dict[str, Any]] = {
    "help.searched": {"query": "cancel my order", "results": 0},
    "help.viewed": {"article": "kb/refunds", "helpful": False},
    "contact.abandoned": {"waited_s": 312.5, "channel": "call"},
}


async def test_self_service_is_activity_on_the_log(server: Server) -> None:
    for kind, said in SELF_SERVICE.items():
        data = {"customer": WHO, **said, "attributes": {"page": "/help"}}
        response = await server.post(PATH, event(data, type=kind, id=kind), headers=STRUCTURED)
        assert response.status_code == 202, response.text
    found = {}
    for record in await server.received():
        assert Envelope.from_headers(record.headers).type == "customer.activity"
        value = json.loads(record.value)
        assert value.pop("type") == "customer.activity"
        for name in ("id", "workspace", "received_at"):
            value.pop(name)
        activity = Activity.model_validate(value)
        assert activity.customer.account_id == "acme"
        found[activity.activity] = activity.attributes
    assert found == {kind: {**said, "page": "/help"} for kind, said in SELF_SERVICE.items()}


async def test_a_customers_events_of_every_type_share_a_partition(server: Server) -> None:
    for kind, data in (
        ("feedback.received", feedback(customer={"email": "Ann@Example.com"})),
        ("customer.activity", {"customer": {"email": " ann@example.COM".strip()}, "activity": "order"}),
    ):
        assert (await server.post(PATH, event(data, type=kind, id=kind), headers=STRUCTURED)).status_code == 202
    one, other = await server.received()
    assert one.key == other.key
    assert one.partition == other.partition


async def test_a_batch(server: Server) -> None:
    items = [event(feedback(), id="1"), event(feedback(), id="2", type="no.such.type"), event(feedback(), id="3"), 7]
    response = await server.post(PATH, items, headers=BATCHED)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert answer["ids"] == [delivery_id("ce", "default", "/shop/checkout", name) for name in "13"]
    assert [(item["index"], item["errors"][0]["field"]) for item in answer["rejected"]] == [(1, "type"), (3, "")]
    assert len(await server.received()) == 2


async def test_a_repeat_has_the_same_id_and_the_source_of_the_data_stays(server: Server) -> None:
    body = event(feedback(source="app-store", external_id="x"))
    ids = {(await server.post(PATH, body, headers=STRUCTURED)).json()["id"] for _ in range(2)}
    assert ids == {delivery_id("ce", "default", "/shop/checkout", "e-1")}
    for record in await server.received():
        assert json.loads(record.value)["source"] == "app-store"


QUOTED: list[tuple[str, str, str]] = [
    ("as it is", "a-1", "a-1"),
    ("quoted", '"a-1"', "a-1"),
    ("quoted, with an escape", '"a\\"1\\\\"', 'a"1\\'),
    ("quoted, and encoded within", '"a%20b%22"', 'a b"'),
    ("encoded quotes", "%22a-1%22", '"a-1"'),
    ("a quote at one end", '"a-1', '"a-1'),
    ("encoded once", "%2541", "%41"),
]  # fmt: skip


async def test_a_header_may_be_quoted(server: Server) -> None:
    wrong: dict[str, Any] = {}
    for name, written, meant in QUOTED:
        headers = {"ce-specversion": '"1.0"', "ce-type": "feedback.received", "ce-source": "/s", "ce-id": written}
        response = await server.post(PATH, feedback(), headers=headers)
        if response.json().get("id") != delivery_id("ce", "default", "/s", meant):
            wrong[name] = response.text
    assert wrong == {}


async def test_data_in_base64(server: Server) -> None:
    encoded = base64.b64encode(json.dumps(feedback()).encode()).decode()
    assert (await server.post(PATH, event(data_base64=encoded), headers=STRUCTURED)).status_code == 202


def event(data: Any = None, **changes: Any) -> dict[str, Any]:
    given = {"specversion": "1.0", "id": "e-1", "source": "/shop/checkout", "type": "feedback.received"} | changes
    return {name: value for name, value in given.items() if value is not None} | (
        {} if data is None else {"data": data}
    )


REFUSED: list[tuple[str, dict[str, str], Any, int, str | None]] = [
    ("no specversion", STRUCTURED, event(feedback(), specversion=None), 422, "specversion"),
    ("specversion 0.3", STRUCTURED, event(feedback(), specversion="0.3"), 422, "specversion"),
    ("no id", STRUCTURED, event(feedback(), id=None), 422, "id"),
    ("an empty id", STRUCTURED, event(feedback(), id=""), 422, "id"),
    ("an id that is a number", STRUCTURED, event(feedback(), id=7), 422, "id"),
    ("an id with a newline", STRUCTURED, event(feedback(), id="a\nb"), 422, "id"),
    ("an empty source", STRUCTURED, event(feedback(), source=" "), 422, "source"),
    ("an unknown type", STRUCTURED, event(feedback(), type="order.placed"), 422, "type"),
    ("a time without a zone", STRUCTURED, event(feedback(), time="2026-01-01T00:00:00"), 422, "time"),
    ("a time that is a number", STRUCTURED, event(feedback(), time=20260101), 422, "time"),
    ("a time in digits", STRUCTURED, event(feedback(), time="20260101"), 422, "time"),
    ("a time that is not needed", STRUCTURED, event(feedback(occurred_at="2026-01-01T00:00:00Z"), time="20260101"), 422, "time"),
    ("a day that there is not", STRUCTURED, event(feedback(), time="2026-02-30T00:00:00Z"), 422, "time"),
    ("an extension with a capital", STRUCTURED, event(feedback(), traceId="x"), 422, "traceId"),
    ("an extension that is an object", STRUCTURED, event(feedback(), extra={"a": 1}), 422, "extra"),
    ("data of another type", STRUCTURED, event(feedback(), datacontenttype="text/xml"), 422, "datacontenttype"),
    ("no data", STRUCTURED, event(), 422, "data"),
    ("data that is an array", STRUCTURED, event([1]), 422, "data"),
    ("data and data_base64", STRUCTURED, event(feedback(), data_base64="e30="), 422, "data_base64"),
    ("data_base64 that is none", STRUCTURED, event(data_base64="%%%"), 422, "data_base64"),
    ("28 NUL within data_base64", STRUCTURED, event(data_base64=base64.b64encode(b'{"text":"\\u0000"}').decode()), 422, "data.text"),
    ("bad feedback", STRUCTURED, event(feedback(channel="pigeon")), 422, "data.channel"),
    ("33 a member that is ours", STRUCTURED, event(feedback(routing={})), 422, "data.routing"),
    ("activity of nobody", STRUCTURED, event({"customer": {"name": "x"}, "activity": "login"}, type="customer.activity"), 422, "data"),
    ("a search of nobody", STRUCTURED, event({"customer": {}, "query": "refund", "results": 0}, type="help.searched"), 422, "data"),
    ("a search for nothing", STRUCTURED, event({"customer": WHO, "query": "", "results": 0}, type="help.searched"), 422, "data.query"),
    ("a search that does not say how many", STRUCTURED, event({"customer": WHO, "query": "x"}, type="help.searched"), 422, "data.results"),
    ("results in words", STRUCTURED, event({"customer": WHO, "query": "x", "results": "0"}, type="help.searched"), 422, "data.results"),
    ("fewer than no results", STRUCTURED, event({"customer": WHO, "query": "x", "results": -1}, type="help.searched"), 422, "data.results"),
    ("half a result", STRUCTURED, event({"customer": WHO, "query": "x", "results": 0.5}, type="help.searched"), 422, "data.results"),
    ("a member of another type", STRUCTURED, event({"customer": WHO, "query": "x", "results": 0, "article": "a"}, type="help.searched"), 422, "data.article"),
    ("more beside a search than is kept", STRUCTURED, event({"customer": WHO, "query": "x", "results": 0, "attributes": {str(n): n for n in range(11)}}, type="help.searched"), 422, "data.attributes"),
    ("no article", STRUCTURED, event({"customer": WHO, "helpful": True}, type="help.viewed"), 422, "data.article"),
    ("helpful in words", STRUCTURED, event({"customer": WHO, "article": "a", "helpful": "yes"}, type="help.viewed"), 422, "data.helpful"),
    ("a wait of less than nothing", STRUCTURED, event({"customer": WHO, "waited_s": -1, "channel": "call"}, type="contact.abandoned"), 422, "data.waited_s"),
    ("a wait without its channel", STRUCTURED, event({"customer": WHO, "waited_s": 90}, type="contact.abandoned"), 422, "data.channel"),
    ("a wait by pigeon", STRUCTURED, event({"customer": WHO, "waited_s": 90, "channel": "pigeon"}, type="contact.abandoned"), 422, "data.channel"),
    ("work that more feedback is about than is kept", STRUCTURED, event({"work_id": "x", "feedback_ids": ["f"] * 1_001}, type="work.shipped"), 422, "data.feedback_ids"),
    ("work without an id", STRUCTURED, event({"title": "x"}, type="work.shipped"), 422, "data.work_id"),
    ("an array, structured", STRUCTURED, [event(feedback())], 422, ""),
    ("an object, batched", BATCHED, event(feedback()), 400, None),
    ("binary without its headers", {}, feedback(), 422, "specversion"),
    ("binary, twice encoded", {"ce-specversion": "1.0", "ce-id": "%FF", "ce-source": "s", "ce-type": "feedback.received"}, feedback(), 422, "ce-id"),
    ("another media type", {"Content-Type": "application/xml"}, feedback(), 415, None),
]  # fmt: skip


async def test_refused(server: Server) -> None:
    wrong: dict[str, Any] = {}
    for name, headers, body, status, field in REFUSED:
        response = await server.post(PATH, body, headers=headers)
        named = [error["field"] for error in response.json().get("errors", [])]
        if response.status_code != status or (field is not None and field not in named):
            wrong[name] = (response.status_code, response.text)
    assert wrong == {}
    assert await server.received() == []


async def test_29_the_attributes_are_read_by_the_same_parser(server: Server) -> None:
    raw = json.dumps(event(feedback())).encode().replace(b'"id": "e-1"', b'"id": "e-1", "id": "e-2"')
    problem(await server.post(PATH, raw=raw, headers=STRUCTURED), 400, "malformed")


async def test_all_bad_in_a_batch(server: Server) -> None:
    response = await server.post(PATH, [event(feedback(), type="x"), event(feedback(), id="")], headers=BATCHED)
    assert fields(problem(response, 422, "invalid-feedback")) == ["0.type", "1.id"]
