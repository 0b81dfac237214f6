"""So many slow clients, a process of its own: each sends the beginning of a request and then nothing, and comes back when it
is shut out.

`python -m bench.slow --port N --sockets 5000` prints a line when all are there, and stays until it is ended.
"""

import argparse
import asyncio

import uvloop

HOST = "127.0.0.1"
HEAD = b"POST /v1/feedback HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Le"
AT_ONCE = 200
"""Being opened: more than a listening socket's queue takes are refused by the system, not by the server."""
BACK_AFTER_S = 0.2


async def _one(port: int, opening: asyncio.Semaphore, there: asyncio.Semaphore) -> None:
    first = True
    while True:
        try:
            async with opening:
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(HEAD)
            if first:
                there.release()
                first = False
            await reader.read()
            writer.close()
        except OSError:
            await asyncio.sleep(BACK_AFTER_S)


async def run(port: int, sockets: int) -> None:
    opening, there = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for _ in range(sockets):
            group.create_task(_one(port, opening, there))
        for _ in range(sockets):
            await there.acquire()
        print("there", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slow")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sockets", type=int, default=5000)
    given = parser.parse_args()
    uvloop.run(run(given.port, given.sockets))


if __name__ == "__main__":
    main()
