"""The test's Postgres at a TCP address of its own, that can go away while the server itself stays."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Forwarding:
    """`url` leads to it for as long as it is open."""

    def __init__(self, database_url: str, port: int) -> None:
        self._socket = database_url.partition("host=")[2] + "/.s.PGSQL.5432"
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        name = database_url.partition("@/")[2].partition("?")[0]
        self.url = f"postgresql://postgres:hidden@127.0.0.1:{port}/{name}"

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
