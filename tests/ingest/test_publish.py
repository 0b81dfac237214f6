"""What happens between a request and the log: shared writes, bounds, time-outs, a log that is away, an orderly end."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from services.ingest.publish import APPENDS_AT_ONCE, Publisher
from shared.database.embedded import EmbeddedPostgres
from shared.errors import Rejected, Transient
from shared.events.envelope import Envelope
from shared.log import Message
from tests.ingest.conftest import Server, Start, feedback, problem
from tests.ingest.test_api import until


class Outcomes:
    """A producer whose answers the test gives, one list of records at a time."""

    def __init__(self, *refused: bytes) -> None:
        self.refused = set(refused)
        self.appended: list[list[bytes]] = []
        self.error: Exception | None = None

    async def append(self, messages: Any) -> None:
        values = [message.value for message in messages]
        if self.error is not None:
            raise self.error
        if self.refused & set(values):
            raise Rejected("one of them never fits")
        self.appended.append(values)

    async def close(self) -> None: ...


def message(value: bytes) -> Message:
    return Message("t", b"k", value, [])


async def test_what_arrives_together_is_written_together(start: Start) -> None:
    server = await start(gated=True)
    gate: Any = await server.runtime.log.producer()
    answers = await asyncio.gather(*(server.send(feedback(external_id=str(n))) for n in range(300)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(gate.calls) == 300
    assert len(gate.calls) < 200


async def test_a_log_that_does_not_answer_is_a_503_that_says_unknown(start: Start) -> None:
    server = await start(gated=True, env={"INGEST_ACK_TIMEOUT_S": "0.3"})
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    response = await server.send(feedback(external_id="e"))
    document = problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert "same id" in document["detail"]
    gate.open()
    async with asyncio.timeout(10):
        while not await server.received():
            await asyncio.sleep(0.02)
    retried = await server.send(feedback(external_id="e"))
    assert retried.status_code == 202
    stored = {Envelope.from_headers(record.headers).id for record in await server.received()}
    assert stored == {retried.json()["id"]}, "unknown was right: it had landed, and the retry has the same id"


async def test_a_retry_while_the_first_is_still_unknown_shares_its_append(start: Start) -> None:
    server = await start(gated=True, env={"INGEST_ACK_TIMEOUT_S": "0.3"})
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    problem(await server.send(feedback(external_id="e")), 503, "unavailable")
    retry = asyncio.create_task(server.send(feedback(external_id="e")))
    await until(lambda: any(entry[2].waiters for entry in server.service._publisher._ids.values()))
    gate.open()
    assert (await retry).status_code in {202, 503}
    assert len(await server.received()) == 1


async def test_memory_is_bounded_while_the_log_is_away(start: Start) -> None:
    server = await start(gated=True, env={"INGEST_IN_FLIGHT_MAX_MIB": "0.05", "INGEST_ACK_TIMEOUT_S": "20"})
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    text = "x" * 20_000
    held = [asyncio.create_task(server.send(feedback(text=text))) for _ in range(2)]
    await until(lambda: server.service._publisher._records == 2)
    before = time.monotonic()
    response = await server.send(feedback(text=text))
    assert time.monotonic() - before < 5, "at once, not after the time-out"
    problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
    gate.open()
    assert [(await task).status_code for task in held] == [202, 202]
    assert (await server.send(feedback(text=text))).status_code == 202, "there is room again"
    assert server.service._publisher._bytes == 0


async def test_what_is_in_flight_at_the_end_is_finished(start: Start) -> None:
    server = await start(gated=True)
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    sent = [asyncio.create_task(server.send(feedback(external_id=str(n)))) for n in range(20)]
    await until(lambda: server.service._publisher._records == 20)
    server.runtime.stopping.set()
    gate.open()
    assert {(await task).status_code for task in sent} == {202}


async def test_one_that_never_fits_does_not_spoil_the_others() -> None:
    producer = Outcomes(b"bad")
    publisher = Publisher(producer, ack_timeout_s=5, max_bytes=1_000_000)
    values = [b"a", b"bad", b"b", b"c"]
    results = await asyncio.gather(*(publisher.publish_all([message(v)]) for v in values), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), Rejected, type(None), type(None)]
    assert sorted(value for group in producer.appended for value in group) == [b"a", b"b", b"c"]


async def test_everyone_of_a_failed_write_hears_unknown_and_their_room_is_free() -> None:
    producer = Outcomes()
    producer.error = Transient("away", retry_after=3)
    publisher = Publisher(producer, ack_timeout_s=5, max_bytes=1_000_000)
    results = await asyncio.gather(*(publisher.publish_all([message(b"x")]) for _ in range(5)), return_exceptions=True)
    assert [(type(r), getattr(r, "retry_after", None)) for r in results] == [(Transient, 3)] * 5
    assert publisher._bytes == publisher._records == 0
    producer.error = None
    await publisher.publish_all([message(b"x")])


async def test_a_defect_of_the_client_is_unknown_to_those_who_wait() -> None:
    producer = Outcomes()
    producer.error = ZeroDivisionError("a defect")
    publisher = Publisher(producer, ack_timeout_s=5, max_bytes=1_000_000)
    with pytest.raises(Transient):
        await publisher.publish_all([message(b"x")])
    assert publisher._bytes == 0


async def test_a_waiter_who_leaves_takes_nobody_along(start: Start) -> None:
    server = await start(gated=True)
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    publisher = server.service._publisher
    tasks = [asyncio.create_task(publisher.publish_all([message(b"x")])) for _ in range(2)]
    await gate.reached.wait()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert not tasks[1].done()


async def test_no_more_than_a_few_writes_at_once() -> None:
    release = asyncio.Event()
    running: list[int] = []

    class Slow(Outcomes):
        async def append(self, messages: Any) -> None:
            running.append(len(messages))
            await release.wait()

    publisher = Publisher(Slow(), ack_timeout_s=5, max_bytes=1_000_000)
    tasks = []
    for _ in range(APPENDS_AT_ONCE + 3):
        tasks.append(asyncio.create_task(publisher.publish_all([message(b"x")])))
        for _ in range(3):
            await asyncio.sleep(0)
    assert running == [1] * APPENDS_AT_ONCE
    release.set()
    await asyncio.gather(*tasks)
    assert running == [1] * APPENDS_AT_ONCE + [3], "what waited meanwhile went together"


async def test_the_server_is_away_and_comes_back(start: Start, tmp_path: Path) -> None:
    """A real Postgres, stopped under a running ingest and started again."""
    postgres = EmbeddedPostgres.start(tmp_path / "postgres")
    start.database_url = postgres.url
    try:
        server = await start()
        assert (await server.send(feedback(external_id="before"))).status_code == 202
        await asyncio.to_thread(postgres.stop)
        began = time.monotonic()
        response = await server.send(feedback(external_id="during"))
        problem(response, 503, "unavailable")
        assert re.fullmatch(r"[1-9]\d*", response.headers["retry-after"])
        assert time.monotonic() - began < 10
        await not_ready(server)
        postgres = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path / "postgres")
        async with asyncio.timeout(30):
            while (await server.send(feedback(external_id="during"))).status_code != 202:
                await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while (await server.http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        values = [json.loads(record.value) for record in await server.received()]
        assert {value["external_id"] for value in values} == {"before", "during"}
        assert len({value["id"] for value in values}) == 2
    finally:
        await start.stack.aclose()
        await asyncio.to_thread(postgres.stop)


async def not_ready(server: Server) -> None:
    async with asyncio.timeout(20):
        while True:
            response = await server.http.get("/readyz")
            if response.status_code == 503 and "ingest" in response.json()["reasons"]:
                return
            await asyncio.sleep(0.1)
