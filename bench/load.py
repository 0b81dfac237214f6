"""The HTTP load generator, a process of its own: so many connections, each with one request under way.

It must cost less than what it measures: one asyncio protocol a connection on uvloop, a body by one `join`, an answer
known by its length and status; about 7 µs a request. Answers that are not 2xx are counted, a connection that ends is
opened again and counted.

`python -m bench.load --port N --connections 64 --seconds 5 …` prints one JSON object.
"""

import argparse
import asyncio
import hmac
import json
import os
import re
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter, time
from typing import cast

import uvloop

from bench.events import batch, numeral, pieces
from bench.machine import cpu_seconds

SETTLE_S = 10.0
HOST = "127.0.0.1"

_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, for how long, and whose CPU to look at."""

    port: int
    path: str
    connections: int
    seconds: float
    warmup: float
    start: int
    """The first number; every request has its own."""
    key: str
    pid: int
    batch: int
    """Events a request; 0: one, as a JSON object."""
    sign: str = ""
    """A secret (`whsec_…`): each is a Standard Webhook."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates and latencies within the window; `answered` counts the warm-up too."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    """Answers that were not 2xx, and connections that ended."""
    answered: int
    """2xx over the whole run."""
    server_cpu_us: float | None
    """A request."""
    load_cpu_us: float | None
    statuses: dict[str, int]


def _signed(load: Load) -> Iterator[bytes]:
    """The same bodies, each signed for itself."""
    key = b64decode(load.sign.removeprefix("whsec_"))
    bodies = [piece.parts for piece in pieces(2000)]
    number = load.start
    while True:
        for parts in bodies:
            body, stamp = numeral(number).join(parts), int(time())
            mac = hmac.digest(key, b"msg_%d.%d.%s" % (number, stamp, body), "sha256")
            yield (
                f"POST {load.path} HTTP/1.1\r\nHost: {HOST}:{load.port}\r\nContent-Type: application/json\r\n"
                f"webhook-id: msg_{number}\r\nwebhook-timestamp: {stamp}\r\n"
                f"webhook-signature: v1,{b64encode(mac).decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode() + body
            number += 1


def _requests(load: Load) -> Iterator[bytes]:
    """Never the same twice."""
    form = b"application/x-ndjson" if load.batch else b"application/json"
    bodies = [batch(pieces(load.batch))] if load.batch else [piece.parts for piece in pieces(2000)]
    heads = []
    for parts in bodies:
        length = sum(map(len, parts)) + 12 * (len(parts) - 1)
        head = (
            f"POST {load.path} HTTP/1.1\r\nHost: {HOST}:{load.port}\r\nAuthorization: Bearer {load.key}\r\n"
            f"Content-Type: {form.decode()}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()
        heads.append((head + parts[0], *parts[1:]))
    number = load.start
    while True:
        for parts in heads:
            yield numeral(number).join(parts)
            number += 1


class _Tally:
    def __init__(self) -> None:
        self.latencies = array("d")
        self.statuses: Counter[int] = Counter()
        self.answered = 0
        self.measuring = False
        self.stopping = False
        self.busy = 0


class _Connection(asyncio.Protocol):
    """One request under way at a time."""

    __slots__ = ("_buffer", "_lost", "_next", "_sent", "_size", "_tally", "_transport")

    def __init__(self, tally: _Tally, following: Callable[[], bytes], lost: Callable[[], None]) -> None:
        self._tally = tally
        self._next = following
        self._lost = lost
        self._buffer = b""
        self._size = -1
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's by class
        self._tally.busy += 1
        self._send()

    def _send(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._next())

    def data_received(self, data: bytes) -> None:
        tally = self._tally
        if len(data) == self._size and not self._buffer and data.startswith(b"HTTP/1.1 202"):
            status = 202
        else:
            self._buffer += data
            head = self._buffer.find(b"\r\n\r\n")
            found = _length(self._buffer, 0, head + 2) if head > 0 else None
            if found is None or len(self._buffer) < head + 4 + int(found[1]):
                return
            status = int(self._buffer[9:12])
            self._size = len(self._buffer)
            self._buffer = b""
        if 200 <= status < 300:
            tally.answered += 1
        if tally.measuring:
            tally.latencies.append(perf_counter() - self._sent)
            if status != 202:
                tally.statuses[status] += 1
        if tally.stopping:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.busy -= 1
        if not self._tally.stopping:
            self._tally.statuses[0] += 1
            self._lost()


async def run(load: Load) -> Outcome:
    loop = asyncio.get_running_loop()
    tally = _Tally()
    following = (_signed if load.sign else _requests)(load).__next__
    opening: set[asyncio.Task[object]] = set()

    def connect() -> None:
        task: asyncio.Task[object] = loop.create_task(
            loop.create_connection(lambda: _Connection(tally, following, connect), HOST, load.port)
        )
        opening.add(task)
        task.add_done_callback(opening.discard)

    for _ in range(load.connections):
        connect()
    await asyncio.sleep(load.warmup)
    before, own_before, began = cpu_seconds(load.pid), cpu_seconds(os.getpid()), perf_counter()
    tally.measuring = True
    await asyncio.sleep(load.seconds)
    tally.measuring = False
    elapsed = perf_counter() - began
    after, own_after = cpu_seconds(load.pid), cpu_seconds(os.getpid())
    tally.stopping = True
    async with asyncio.timeout(SETTLE_S):
        while tally.busy:
            await asyncio.sleep(0.01)
    latencies = sorted(tally.latencies)
    count = len(latencies)
    if not count:
        raise RuntimeError(f"no request was answered: {dict(tally.statuses)}")

    def share(start: float | None, stop: float | None) -> float | None:
        return None if start is None or stop is None else (stop - start) / count * 1e6

    return Outcome(
        requests_per_s=count / elapsed,
        p50_ms=latencies[count // 2] * 1000,
        p99_ms=latencies[min(count - 1, count * 99 // 100)] * 1000,
        refused=sum(n for status, n in tally.statuses.items() if not 200 <= status < 300),
        answered=tally.answered,
        server_cpu_us=share(before, after),
        load_cpu_us=share(own_before, own_after),
        statuses={str(status): n for status, n in tally.statuses.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/feedback")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--key", default="none")
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--sign", default="")
    print(json.dumps(asdict(uvloop.run(run(Load(**vars(parser.parse_args())))))))


if __name__ == "__main__":
    main()
