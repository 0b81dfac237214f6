"""Roads to a server that stays: one that can go away or fall silent, and one that loses answers."""

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Callable
from typing import Self


def socket_of(database_url: str) -> str:
    """Of the test's Postgres."""
    return database_url.partition("host=")[2] + "/.s.PGSQL.5432"


def by_port(database_url: str, port: int) -> str:
    """The same database, by a port of this machine."""
    name = database_url.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres:hidden@127.0.0.1:{port}/{name}"


class Forwarding:
    """The test's Postgres at a TCP address of its own; `url` leads to it for as long as it is open."""

    def __init__(self, database_url: str, port: int) -> None:
        self._socket = socket_of(database_url)
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.url = by_port(database_url, port)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._both, "127.0.0.1", self._port)

    def close(self) -> None:
        """As when a machine goes: every connection is cut, and no new one is taken."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def fall_silent(self) -> None:
        """As when a firewall in between forgets the connections that there are: they stay open, and nothing comes through."""
        self._silent |= self._writers

    async def _both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if writer not in self._silent:
                    writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def forwarding(database_url: str, port: int) -> AsyncIterator[Forwarding]:
    made = Forwarding(database_url, port)
    await made.open()
    try:
        yield made
    finally:
        made.close()


class Losing:
    """A road to a server of any kind, by which a share of its answers is lost: it has done what it was asked to, and nobody
    hears. It has a thread of its own, for tests that wait otherwise than by an event loop.

    `ends` says of what comes back whether it is the end of an answer that may be lost.
    """

    def __init__(
        self, server: str | tuple[str, int], port: int, ends: Callable[[bytes], bool], dice: random.Random
    ) -> None:
        self.share = 0.0
        """Of the answers, from now on."""
        self.lost = 0
        self._server = server
        self._port = port
        self._ends = ends
        self._dice = dice
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self) -> None:
        self._door = await asyncio.start_server(self._both, "127.0.0.1", self._port)

    async def _end(self) -> None:
        self._door.close()
        for writer in self._writers:
            writer.transport.abort()
        ours = asyncio.all_tasks() - {asyncio.current_task()}
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)

    async def _both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._server, str):
                there, back = await asyncio.open_unix_connection(self._server)
            else:
                there, back = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._ask(reader, back), self._answer(there, writer))
        back.transport.abort()
        self._writers -= {writer, back}

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                back.write(data)
        back.close()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(1 << 20):
                if self._ends(data) and self._dice.random() < self.share:
                    self.lost += 1
                    writer.transport.abort()
                    return
                writer.write(data)
        writer.close()
