"""A log that is away while a spool is switched on: what clients are told, in which order it arrives, what is left."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.ingest import spooling
from services.ingest.app import Ingest
from services.ingest.spool import Spool
from services.ingest.spooling import Spooling
from shared.errors import Rejected, Transient
from shared.events.envelope import Envelope
from shared.log import Message
from tests.ingest.conftest import Server, Start, feedback, problem
from tests.ingest.test_api import until
from tests.ingest.test_spool import message, numbers

MIB = 1024 * 1024


class Away:
    """A log that is there, or away at once, or says nothing; and has some that it will never take."""

    def __init__(self) -> None:
        self.has: list[Message] = []
        self.away = self.mute = False
        self.never: set[bytes] = set()
        self.asked = 0

    async def append(self, messages: Sequence[Message]) -> None:
        self.asked += 1
        if self.mute:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.away:
            raise Transient("nobody there")
        if self.never & {one.value for one in messages}:
            raise Rejected("it never fits")
        self.has += messages

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "TRY_AGAIN_S", 0.02)
    monkeypatch.setattr(spooling, "AFTER_S", 0.2)


async def drained(one: Spooling) -> None:
    task = asyncio.create_task(one.drain())
    await until(lambda: not one.is_used)
    task.cancel()


async def test_the_disk_is_not_touched_while_the_log_is_there(tmp_path: Path) -> None:
    log, spool = Away(), Spool(tmp_path, MIB)
    one = Spooling(log, spool)
    await one.append([message(1)])
    assert numbers(log.has) == [1]
    assert not list(tmp_path.glob("0/*.spool"))
    await one.close()


@pytest.mark.parametrize("how", ["away", "mute"])
async def test_later_ones_wait_behind_those_that_wait_and_then_go_straight_again(tmp_path: Path, how: str) -> None:
    log, spool = Away(), Spool(tmp_path, MIB)
    one = Spooling(log, spool)
    setattr(log, how, True)
    await one.append([message(1)])
    setattr(log, how, False)
    asked = log.asked
    await asyncio.gather(*(one.append([message(n)]) for n in range(2, 50)))
    assert log.asked == asked, "the log is there again, and yet nobody passes those that wait"
    draining = asyncio.create_task(one.drain())
    n = 50
    while one.is_used:
        await one.append([message(n)])
        n += 1
    await one.append([message(n)])
    assert numbers(log.has) == list(range(1, n + 1))
    assert spool.is_empty
    draining.cancel()
    await one.close()


async def test_it_drains_through_a_log_that_comes_and_goes(tmp_path: Path) -> None:
    log, spool = Away(), Spool(tmp_path, 64 * MIB)
    one = Spooling(log, spool)
    log.away = True
    draining = asyncio.create_task(one.drain())
    for n in range(2_000):
        if n % 100 == 0:
            log.away = not log.away
        await one.append([message(n, 2_000)])
    log.away = False
    await until(lambda: not one.is_used)
    found = list(dict.fromkeys(numbers(log.has)))
    assert found == list(range(2_000))
    draining.cancel()
    await one.close()


async def test_one_that_the_log_never_takes_holds_up_nobody_and_is_kept(tmp_path: Path) -> None:
    log, spool = Away(), Spool(tmp_path, MIB)
    one = Spooling(log, spool)
    log.away = True
    for n in range(5):
        await one.append([message(n)])
    log.away, log.never = False, {message(2).value}
    await drained(one)
    assert numbers(log.has) == [0, 1, 3, 4]
    assert message(2).value in (tmp_path / "0" / "refused").read_bytes()
    with pytest.raises(Rejected):
        await one.append([message(2)])
    await one.close()


async def test_what_a_process_left_behind_goes_first_when_it_is_there_again(tmp_path: Path) -> None:
    log = Away()
    one = Spooling(log, Spool(tmp_path, MIB))
    log.away = True
    await one.append([message(1)])
    await one.close()
    log.away = False
    two = Spooling(log, Spool(tmp_path, MIB))
    await two.append([message(2)])
    assert not log.has
    await drained(two)
    assert numbers(log.has) == [1, 2]
    await two.close()


# ── as clients see it ──


async def spooling_server(start: Start, tmp_path: Path, **env: str) -> tuple[Server, Any]:
    server = await start(gated=True, env={"INGEST_SPOOL_DIR": str(tmp_path / "spool"), **env})
    return server, await server.runtime.log.producer()


async def test_feedback_and_webhooks_are_taken_while_the_log_says_nothing(start: Start, tmp_path: Path) -> None:
    server, gate = await spooling_server(start, tmp_path)
    gate.shut()
    answers = [await server.send(feedback(external_id=f"e{n}", customer={"id": "c"})) for n in range(20)]
    batch = await server.post("/v1/feedback/batch", [feedback(external_id=f"b{n}") for n in range(30)])
    hook = await server.post("/v1/webhooks/open", {"id": "h1", "text": "也收下"}, headers={"webhook-id": "h1"})
    assert {answer.status_code for answer in (*answers, batch)} == {202}
    assert hook.is_success
    assert REGISTRY.get_sample_value("ingest_spool_records") == 20 + 30 + 1 - 0
    assert not await server.received()
    gate.open()
    async with asyncio.timeout(20):
        while len(await server.received()) < 51:
            await asyncio.sleep(0.05)
    ids = [Envelope.from_headers(record.headers).id for record in await server.received()]
    sent = [answer.json()["id"] for answer in answers]
    assert [found for found in dict.fromkeys(ids) if found in sent] == sent, "one customer's, in their order"
    await until(lambda: REGISTRY.get_sample_value("ingest_spool_records") == 0)


async def test_a_full_spool_is_a_503_with_when_to_come_again(start: Start, tmp_path: Path) -> None:
    server, gate = await spooling_server(start, tmp_path, INGEST_SPOOL_MAX_MIB="0.02")
    gate.shut()
    assert (await server.send(feedback(text="x" * 12_000, external_id="a"))).status_code == 202
    refused = await server.send(feedback(text="x" * 12_000, external_id="b"))
    problem(refused, 503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 5
    gate.open()
    assert isinstance(server.service, Ingest)
    await until(lambda: server.service._spool is not None and server.service._spool.is_empty)
    assert (await server.send(feedback(text="x" * 12_000, external_id="b"))).status_code == 202


async def test_readiness_does_not_send_people_away_while_there_is_room(start: Start, tmp_path: Path) -> None:
    server, _ = await spooling_server(start, tmp_path)
    server.service._log_away = "gone"
    assert server.service.not_ready() == []
    assert server.service._spool is not None
    server.service._spool.bytes = 2 * 1024 * MIB
    assert "gone" in server.service.not_ready()[0]
    server.service._spool.bytes = 0


async def test_an_orderly_end_leaves_nothing_unsaid(start: Start, tmp_path: Path) -> None:
    """Requests under way when it is told to stop are answered, by the disk where the log says nothing."""
    server, gate = await spooling_server(start, tmp_path)
    gate.shut()
    sending = [asyncio.create_task(server.send(feedback(external_id=f"e{n}"))) for n in range(50)]
    await gate.reached.wait()
    began = time.monotonic()
    server.runtime.stopping.set()
    answers = await asyncio.gather(*sending)
    assert {answer.status_code for answer in answers} <= {202, 503}
    assert time.monotonic() - began < 10
    gate.open()
    taken = sum(answer.status_code == 202 for answer in answers)
    await until(lambda: server.service._spool is not None and server.service._spool._file is None)
    left = Spool(tmp_path / "spool", MIB)
    assert left.records >= taken - len(await server.received())
    left.close()
