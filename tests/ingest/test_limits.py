"""How often is too often: the bucket as a table, and what a client hears."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.limits import Bucket, Buckets, Rate, parse_rate, take
from services.ingest.settings import read_ingest_settings
from shared.clock import ManualClock
from shared.errors import Misuse
from tests.ingest.conftest import HEADER_SECRET, Start, feedback, problem
from tests.ingest.test_api import until, waiters


@pytest.mark.parametrize(
    ("text", "rate"), [("1000/s", Rate(1000, 1)), ("600/m", Rate(600, 60)), (" 5/h ", Rate(5, 3600))]
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "10", "10/d", "-1/s", "1.5/s", "x/s", "9999999999/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("tokens", "passed_s", "cost", "admitted", "left", "wait"),
    [
        (10, 0, 1, True, 9, 0),
        (1, 0, 1, True, 0, 0),
        (0.9, 0, 1, False, 0.9, 1),
        (0, 0.2, 1, True, 1, 0),
        (0, 0.05, 1, False, 0.5, 1),
        (10, 0, 5000, True, -4990, 0),
        (-4990, 0, 1, False, -4990, 500),
        (0, 1000, 1, True, 9, 0),
        (0, -5, 1, False, 0, 1),
    ],
    ids=["full", "the last one", "less than one", "refilled", "not yet", "a batch goes into debt", "and waits for it", "never more than full", "a clock that steps back gives nothing"],
)  # fmt: skip
def test_the_bucket(tokens: float, passed_s: float, cost: int, admitted: bool, left: float, wait: int) -> None:
    bucket, admission = take(Rate(10, 1), Bucket(tokens, 100.0), 100.0 + passed_s, cost)
    assert admission.admitted is admitted
    assert bucket.tokens == pytest.approx(left)
    assert admission.retry_after_s == wait


@given(st.integers(1, 50), st.lists(st.floats(0, 0.5), max_size=200))
def test_never_more_than_the_rate_and_one_bucket(count: int, pauses: list[float]) -> None:
    buckets, now, admitted = Buckets(Rate(count, 1)), 0.0, 0
    for pause in pauses:
        now += pause
        admitted += buckets.take("k", now).admitted
    assert admitted <= count * (now + 1) + 1


def test_50_the_buckets_are_bounded() -> None:
    buckets = Buckets(Rate(10, 1), maximum=1000)
    for number in range(100_000):
        buckets.take(f"k-{number}", 0.0)
    assert len(buckets) == 1000


async def test_49_a_key_that_comes_too_often(start: Start) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    server = await start(env={"INGEST_RATE_PER_KEY": "5/s"}, clock=clock)
    other = await server.new_key("feedback:write")
    assert [(await server.send(feedback())).status_code for _ in range(5)] == [202] * 5
    refused = await server.send(feedback())
    problem(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit"] == '"key";r=0;t=1'
    assert refused.headers["ratelimit-policy"] == '"key";q=5;w=1'
    assert refused.headers["ratelimit-remaining"] == "0"
    assert (await server.send(feedback(), Authorization=f"Bearer {other}")).status_code == 202, "others are unaffected"
    assert len(await server.received()) == 6
    clock.advance(timedelta(seconds=1))
    batch = [feedback() for _ in range(50)]
    assert (await server.post("/v1/feedback/batch", batch)).status_code == 202, "a batch is admitted whole"
    assert (await server.send(feedback())).headers["retry-after"] == "10", "and paid for"


async def test_51_whoever_says_to_come_from_elsewhere_has_the_same_limit(start: Start) -> None:
    server = await start(env={"INGEST_RATE_PER_KEY": "2/s"}, clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    for number, status in enumerate((202, 202, 429, 429)):
        elsewhere = {
            "X-Forwarded-For": f"10.0.0.{number}",
            "Forwarded": f"for=10.0.0.{number}",
            "X-Real-IP": f"::{number}",
        }
        assert (await server.post("/v1/feedback", feedback(), headers=elsewhere)).status_code == status


async def test_a_source_that_comes_too_often(start: Start) -> None:
    server = await start(env={"INGEST_RATE_PER_SOURCE": "2/s"}, clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    for status in (200, 200, 429):
        response = await server.http.post("/v1/webhooks/open", json=feedback(source=None))
        assert response.status_code == status
    assert (await server.http.post("/v1/webhooks/partner", json={})).status_code == 401, "others are unaffected"


async def test_a_stranger_cannot_use_up_what_is_a_sources(start: Start) -> None:
    server = await start(env={"INGEST_RATE_PER_SOURCE": "1/s"}, clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    path, body = "/v1/webhooks/by-header", {"ticket_id": 1, "ticket_description": "slow"}
    for _ in range(5):
        assert (await server.http.post(path, json=body)).status_code == 401
    answers = [await server.http.post(path, json=body, headers={"X-Our-Word": HEADER_SECRET}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]


async def test_a_repeat_in_flight_is_charged_once(start: Start) -> None:
    """It is not taken at once, and is admitted again on the long way."""
    server = await start(
        env={"INGEST_RATE_PER_KEY": "4/s"}, clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), gated=True
    )
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    first = asyncio.create_task(server.send(feedback(external_id="e")))
    await gate.reached.wait()
    others = [asyncio.create_task(server.send(feedback(external_id="e"))) for _ in range(2)]
    await until(lambda: sum(map(len, waiters(server))) == 3)
    problem(await server.send(feedback(external_id="e", text="other")), 409, "idempotency-conflict")
    gate.open()
    assert [(await task).status_code for task in (first, *others)] == [202, 202, 202]


async def test_without_a_setting_nobody_is_limited(start: Start) -> None:
    server = await start(clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    assert {(await server.send(feedback())).status_code for _ in range(50)} == {202}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INGEST_RATE_PER_KEY", "many"),
        ("INGEST_RATE_PER_SOURCE", "0/s"),
        ("INGEST_ACK_TIMEOUT_S", "soon"),
        ("INGEST_ACK_TIMEOUT_S", "0"),
        ("INGEST_IN_FLIGHT_MAX_MIB", "-1"),
        ("INGEST_IN_FLIGHT_MAX_MIB", "nan"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(Misuse, match=name):
        read_ingest_settings({name: value})
