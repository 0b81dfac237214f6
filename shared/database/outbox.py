"""What a service says on the log because of what it stored: written with the effect, published after it.

`append` writes rows inside the caller's transaction. One relay for all processes (an advisory lock elects it)
publishes them in the order of their ids and deletes what is durable on the log. A crash between the two
publishes again, so readers see each row at least once; a row is never lost. Rows of one case are written under
that case's lock, so they leave in the order of its `sequence`. Ids become visible out of order only across
cases; since rows are deleted rather than passed by, none is skipped.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.database import Database, copy, is_transient, raw
from shared.errors import Transient
from shared.log import Headers, Message, Producer
from shared.telemetry import get_logger

RELAY_BATCH = 500
IDLE_POLL_S = 0.5
GATHER_S = 0.02
"""Between two rounds: what is written meanwhile leaves with the next."""
_LOCK = 0x4F424F58  # "OBOX"
_CHANNEL = "flywheel_outbox"
_COLUMNS = ("topic", "key", "value", "headers")

_log = get_logger("outbox")
_headers = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def row(message: Message) -> tuple[str, bytes | None, bytes, bytes]:
    return message.topic, message.key, message.value, msgspec.msgpack.encode(message.headers)


async def append(connection: AsyncConnection, messages: Sequence[Message]) -> None:
    """Written with the caller's transaction, or not at all."""
    if messages:
        await append_raw(await raw(connection), messages)


async def append_raw(connection: Any, messages: Sequence[Message]) -> None:
    """The same on asyncpg's connection, by COPY. The table's trigger wakes the relay at commit."""
    await copy(connection, "shared", "outbox", _COLUMNS, [row(message) for message in messages])


class Relay:
    """Publishes the outbox. Every process may run one; one at a time works."""

    def __init__(self, database: Database, producer: Producer) -> None:
        self._database = database
        self._producer = producer
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._listen_and_publish()
            except Exception as error:
                # The listening connection is no transaction's, so what it raises is the driver's own.
                if not isinstance(error, Transient) and not is_transient(error):
                    raise
                _log.warning("outbox.waiting", reason=str(error))
                await asyncio.sleep(IDLE_POLL_S)

    async def _listen_and_publish(self) -> None:
        async with self._database.engine.connect() as connection:
            driver = await raw(connection)
            await connection.commit()
            await driver.add_listener(_CHANNEL, self._woken)
            try:
                while True:
                    self._wake.clear()
                    while published := await self.publish_once():
                        if published < RELAY_BATCH:
                            await asyncio.sleep(GATHER_S)
                    try:
                        await asyncio.wait_for(self._wake.wait(), IDLE_POLL_S)
                    except TimeoutError:
                        if driver.is_closed():
                            raise Transient("the outbox's listening connection was lost") from None
            finally:
                if not driver.is_closed():
                    await driver.remove_listener(_CHANNEL, self._woken)

    def _woken(self, *_: object) -> None:
        self._wake.set()

    async def publish_once(self) -> int:
        """Publish the oldest rows and delete them; how many. 0 also while another process is the relay."""
        async with self._database.transaction() as connection:
            if not (await connection.execute(text(f"SELECT pg_try_advisory_xact_lock({_LOCK})"))).scalar_one():
                return 0
            rows = (
                await connection.execute(
                    text("SELECT id, topic, key, value, headers FROM shared.outbox ORDER BY id LIMIT :n"),
                    {"n": RELAY_BATCH},
                )
            ).all()
            if not rows:
                return 0
            await self._producer.append([Message(r.topic, r.key, r.value, _decoded(r.headers)) for r in rows])
            await connection.execute(
                text("DELETE FROM shared.outbox WHERE id = ANY(:ids)"), {"ids": [r.id for r in rows]}
            )
            return len(rows)


def _decoded(headers: bytes) -> Headers:
    return _headers.decode(headers)
