"""Webhooks that cannot be read: kept, a few of very many, read again once that is mended; and by which secrets, how often, how much of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from services.ingest.breaker import Breaker, Limits
from services.ingest.sources import read_sources
from shared.clock import ManualClock
from shared.config.document import ConfigError, parse
from shared.dead_letters import DeadLetters
from shared.events.envelope import Envelope
from tests.ingest.conftest import STANDARD_NEXT_SECRET, STANDARD_SECRET, Server, Start, feedback, problem
from tests.ingest.test_webhooks import FEEDBACK, NOW, body_of, post, standard

OPEN = "sources: [{name: open, connector: zendesk, verify: none%s}]\n"
UNREADABLE = b'{"ticket_id": {"no": "id"}, "ticket_description": '


def reload(server: Server, text: str) -> None:
    sources = read_sources(parse("sources.yaml", text, {}), server.service._connectors)
    server.service._in_force.take(f"version of {len(text)} {hash(text)}", sources)


async def letters(server: Server) -> list[str]:
    page = await DeadLetters(server.runtime.log).page(50)
    return [str(one.place) for one in page.items]


async def redrive(server: Server, places: list[str], **more: Any) -> httpx2.Response:
    key = await server.new_key("feedback:write", "feedback:read")
    body = {"letters": places, **more}
    return await server.post("/v1/quarantine/redrive", body, headers={"Authorization": f"Bearer {key}"})


# ── read again ──


async def test_what_was_mended_is_shown_first_and_then_goes_on_with_its_own_time(start: Start) -> None:
    clock = ManualClock(NOW)
    server = await start(clock=clock, sources="sources: [{name: partner, connector: zendesk, verify: none}]\n")
    body = body_of({"text": "收不到验证码", "customer": {"id": "c-1"}})
    answer = await post(server, "partner", body, {"webhook-id": "m1", "cookie": "a=b"})
    assert answer.json()["outcome"] == "quarantined"
    (place,) = await letters(server)
    still = (await redrive(server, [place], dry_run=True)).json()["letters"][0]
    assert (still["outcome"], still["ids"]) == ("unreadable", [])

    clock.advance(timedelta(days=1))
    reload(server, "sources: [{name: partner, connector: standard, verify: none}]\n")
    shown = (await redrive(server, [place], dry_run=True)).json()["letters"][0]
    assert shown["outcome"] == "accepted"
    assert [event["text"] for event in shown["events"]] == ["收不到验证码"]
    assert not await server.received()

    done = (await redrive(server, [place])).json()["letters"][0]
    again = (await redrive(server, [place])).json()["letters"][0]
    assert done["ids"] == again["ids"] == shown["ids"]
    one, two = await server.received()
    assert one.value == two.value, "a repeat, by id and to the byte"
    assert Envelope.from_headers(one.headers).id == done["ids"][0]
    received_at = datetime.fromisoformat(json.loads(one.value)["received_at"])
    kept = await DeadLetters(server.runtime.log).page(1)
    assert received_at == kept.items[0].at


async def test_what_the_tool_sent_again_meanwhile_is_the_same_event(start: Start) -> None:
    server = await start(sources="sources: [{name: partner, connector: zendesk, verify: none}]\n")
    body = body_of({"text": "slow"})
    await post(server, "partner", body, {"webhook-id": "m1"})
    reload(server, "sources: [{name: partner, connector: standard, verify: none}]\n")
    sent = (await post(server, "partner", body, {"webhook-id": "m1"})).json()
    done = (await redrive(server, await letters(server))).json()["letters"][0]
    assert done["ids"] == [sent["id"]]


async def test_what_has_no_name_of_its_own_is_named_by_its_letter(start: Start) -> None:
    server = await start(sources="sources: [{name: partner, connector: zendesk, verify: none}]\n")
    await post(server, "partner", body_of({"text": "slow"}), {})
    reload(server, "sources: [{name: partner, connector: standard, verify: none}]\n")
    one, two = [(await redrive(server, await letters(server))).json()["letters"][0]["ids"] for _ in range(2)]
    assert one == two


async def test_what_cannot_go_anywhere_says_why(start: Start) -> None:
    server = await start(sources=OPEN % "")
    await post(server, "open", UNREADABLE, {})
    (place,) = await letters(server)
    reload(server, "sources: []\n")
    found = (await redrive(server, [place, "0-999999", "99-0"])).json()["letters"]
    assert [one["outcome"] for one in found] == ["no_source", "gone", "gone"]
    problem(await redrive(server, ["first"]), 400, "malformed")
    problem(await redrive(server, []), 422, "invalid-request")
    only_write = await server.post("/v1/quarantine/redrive", {"letters": [place], "dry_run": True})
    problem(only_write, 403, "forbidden")


# ── the breaker ──


async def test_a_wrong_mapping_does_not_quarantine_everything(start: Start) -> None:
    clock = ManualClock(NOW)
    server = await start(clock=clock, sources=OPEN % ", breaker: {run: 5}")
    answers = [await post(server, "open", UNREADABLE + str(n).encode(), {}) for n in range(20)]
    assert [answer.status_code for answer in answers].count(200) == 5
    refused = answers[-1]
    problem(refused, 503, "cannot-be-read")
    assert refused.headers["retry-after"] == "60"
    assert len(await letters(server)) == 5
    good = {"ticket_id": 1, "ticket_description": "slow", "requester_id": 5}
    assert (await server.http.post("/v1/webhooks/open", json=good)).status_code == 200, "what can be read always is"
    assert (await post(server, "open", UNREADABLE + b"!", {})).status_code == 200, "and the run has ended"


async def test_while_it_is_open_one_a_minute_is_kept_and_another_configuration_closes_it(start: Start) -> None:
    clock = ManualClock(NOW)
    server = await start(clock=clock, sources=OPEN % ", breaker: {run: 2}")
    for n in range(10):
        await post(server, "open", UNREADABLE + str(n).encode(), {})
        clock.advance(timedelta(seconds=30))
    assert len(await letters(server)) == 2 + 4
    reload(server, OPEN % ", breaker: {run: 2}, options: {subdomain: acme}")
    assert (await post(server, "open", UNREADABLE + b"x", {})).status_code == 200
    reload(server, OPEN % ", breaker: off")
    assert {(await post(server, "open", UNREADABLE + b"y%d" % n, {})).status_code for n in range(20)} == {200}


def test_most_of_the_last_ones_open_it_too() -> None:
    breaker = Breaker(Limits(run=100, ratio=0.5, of=10))
    for n in range(30):
        breaker.note(readable=n % 3 > 0)
    assert breaker.is_open is False
    for n in range(10):
        breaker.note(readable=n % 2 > 0)
    assert bool(breaker.is_open)
    assert [breaker.verdict(at) for at in (0.0, 1.0, 59.0, 61.0)] == ["quarantine", "refuse", "refuse", "quarantine"]
    for _ in range(10):
        breaker.note(readable=True)
    assert not breaker.is_open
    assert breaker.unread == 0


# ── secrets, rates, what is kept ──


async def test_42_a_secret_that_was_replaced_is_good_until_its_time(start: Start) -> None:
    clock = ManualClock(NOW)
    until = (NOW + timedelta(minutes=4)).isoformat()
    server = await start(
        clock=clock,
        sources=f"""
sources:
  - name: partner
    connector: standard
    secrets: ["{STANDARD_NEXT_SECRET}"]
    retiring: [{{secret: "{STANDARD_SECRET}", until: {until}}}]
""",
    )
    signed = standard(FEEDBACK, "a", secret=STANDARD_SECRET)
    assert (await post(server, "partner", FEEDBACK, signed)).status_code == 200
    clock.advance(timedelta(minutes=4))
    problem(await post(server, "partner", FEEDBACK, signed), 401, "signature-invalid")
    assert (
        await post(server, "partner", FEEDBACK, standard(FEEDBACK, "b", secret=STANDARD_NEXT_SECRET))
    ).status_code == 200


async def test_a_source_has_its_own_rate(start: Start) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    two = "sources: [{name: a, connector: standard, verify: none, rate: 2/s}, {name: b, connector: standard, verify: none}]\n"
    server = await start(clock=clock, env={"INGEST_RATE_PER_SOURCE": "4/s"}, sources=two)
    for name, most in (("a", 2), ("b", 4)):
        answers = [await server.http.post(f"/v1/webhooks/{name}", json=feedback(source=None)) for _ in range(6)]
        assert [answer.status_code for answer in answers].count(200) == most


async def test_what_is_not_to_be_kept_never_reaches_the_log(start: Start) -> None:
    sources = """
pii: {mask: [text, title], drop: [customer.name]}
sources:
  - {name: open, connector: standard, verify: none}
  - {name: other, connector: standard, verify: none, pii: {drop: [attributes.phone]}}
"""
    server = await start(sources=sources)
    secret, customer = "13812345678", {"id": "c", "name": "A canary"}
    body = feedback(text=f"call {secret}", title=secret, customer=customer, attributes={"phone": secret})
    await server.send(body)
    await server.send({**body, "external_id": "x"})
    await server.post("/v1/feedback/batch", [body])
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "feedback.received",
        "data": {**body, "source": "s"},
    }
    await server.post("/v1/events", event, headers={"Content-Type": "application/cloudevents+json"})
    await post(server, "open", body_of({**body, "source": None}), {})
    values = [json.loads(record.value) for record in await server.received()]
    assert len(values) == 5
    for value in values:
        assert value["text"] == "call [phone]"
        assert (value["title"], value["customer"], value["attributes"]) == ("[phone]", {"id": "c"}, {"phone": secret})
    await post(server, "other", body_of({**body, "source": None}), {})
    (own,) = [value for record in await server.received() if (value := json.loads(record.value))["source"] == "other"]
    assert "attributes" not in own
    assert own["text"] == f"call {secret}", "its own policy, in the place of the common one"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", rate: many", "1000/s"),
        (", pii: {drop: [text]}", "cannot be dropped"),
        (", breaker: {run: 0}", "breaker"),
        (", retiring: [{secret: x}]", "until"),
        (", retiring: [{secret: x, until: 2026-01-01}]", "until"),
    ],
)
def test_refused(start: Start, more: str, said: str) -> None:
    from services.ingest import connectors as package
    from services.ingest.connectors import Connector
    from shared import registry

    with pytest.raises(ConfigError) as caught:
        read_sources(parse("sources.yaml", OPEN % more, {}), registry.load(package, Connector))
    assert said in str(caught.value)
    assert str(caught.value).startswith("sources.yaml:1:")
