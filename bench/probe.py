"""Posts at an even pace and watches the database for what comes of it: from the 202 to the case being there to read.

Open loop: a post goes out when its time has come, whether or not the last one was answered. Both ends of the time are
taken by this one process: when the 202 was read, and when `published.feedback` first showed the event with its case
(asked for the ids that are still missing, every few milliseconds: what it sees is that much late). Prints one JSON
object.
"""

import argparse
import asyncio
import json
import re
from dataclasses import asdict, dataclass
from time import perf_counter

import asyncpg
import uvloop

from bench.events import pieces

HOST = "127.0.0.1"
CONNECTIONS = 16
LOOK_S = 0.005
REST = 3
"""Asking takes CPU from what is measured: every millisecond, some 400 questions a second were answered. So it rests for
three times as long as the last answer took, and longer the later things come."""
SETTLE_S = 20.0
VISIBLE = "SELECT id::text FROM published.feedback WHERE workspace = 'default' AND id = ANY($1::uuid[]) AND case_id IS NOT NULL"
BY_KEY = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
"""By the table's key, whatever Postgres took to be the best way while the table was empty: reading all of it for each
look, it spent more on the probe than on what is measured."""

_id = re.compile(rb'"id":"([0-9a-f-]{36})"').search


@dataclass(frozen=True, slots=True)
class Seen:
    p50_ms: float
    p99_ms: float
    most_ms: float
    posted: int
    missing: int
    refused: int
    looks_per_s: float


class _Probe:
    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self.answered: dict[str, float] = {}
        """Without a case yet: id → when the 202 was read."""
        self.waits: list[tuple[float, float]] = []
        """(when the 202 was read, when the case was seen)"""
        self.refused = 0
        self.looks = 0
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def connect(self) -> None:
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await asyncio.open_connection(HOST, self._port))

    async def post(self, body: bytes) -> None:
        reader, writer = await self._idle.get()
        head = (
            f"POST /v1/feedback HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        found = _id(await reader.readexactly(length))
        if answer.startswith(b"HTTP/1.1 202") and found is not None:
            self.answered[found[1].decode()] = perf_counter()
        else:
            self.refused += 1
        self._idle.put_nowait((reader, writer))

    async def watch(self, database: str) -> None:
        """For ever."""
        connection = await asyncpg.connect(database, server_settings=BY_KEY)
        statement, rest_s = await connection.prepare(VISIBLE), LOOK_S
        while True:
            if self.answered:
                asked = perf_counter()
                rows = await statement.fetch(list(self.answered))
                now = perf_counter()
                rest_s = max(LOOK_S, REST * (now - asked))
                self.looks += 1
                self.waits += [(self.answered.pop(event), now) for (event,) in rows]
            await asyncio.sleep(rest_s)


async def run(port: int, key: str, database: str, rate: float, seconds: float, warmup: float, start: int) -> Seen:
    probe = _Probe(port, key)
    await probe.connect()
    watching = asyncio.create_task(probe.watch(database))
    events = pieces(2000, distinct_customers=True)
    began = perf_counter()
    posts: set[asyncio.Task[None]] = set()
    total = int(rate * (warmup + seconds))
    for number in range(total):
        await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
        task = asyncio.create_task(probe.post(events[number % len(events)].body(start + number)))
        posts.add(task)
        task.add_done_callback(posts.discard)
    async with asyncio.timeout(SETTLE_S):
        await asyncio.gather(*posts)
    elapsed, deadline = perf_counter() - began, perf_counter() + SETTLE_S
    while probe.answered and perf_counter() < deadline:
        if watching.done():
            watching.result()
        await asyncio.sleep(0.01)
    watching.cancel()
    counted = sorted(seen - at for at, seen in probe.waits if at >= began + warmup)
    return Seen(
        p50_ms=counted[len(counted) // 2] * 1000,
        p99_ms=counted[min(len(counted) - 1, len(counted) * 99 // 100)] * 1000,
        most_ms=counted[-1] * 1000,
        posted=total,
        missing=len(probe.answered),
        refused=probe.refused,
        looks_per_s=probe.looks / elapsed,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--warmup", type=float, default=2)
    parser.add_argument("--start", type=int, default=0)
    print(json.dumps(asdict(uvloop.run(run(**vars(parser.parse_args()))))))


if __name__ == "__main__":
    main()
