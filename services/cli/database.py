"""The database that a verb goes to directly: that of the running service, or the one that is named.

Only what writes brings the schema up to date: who looks at a deployment from a newer checkout changes nothing there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.cli import client
from shared.database import Database
from shared.database.migrate import require, upgrade

T = TypeVar("T")


def reading(work: Callable[[Database], Awaitable[T]]) -> T:
    """Raises `Misuse` where the schema is another than ours."""
    return asyncio.run(_with(work, require))


def writing(work: Callable[[Database], Awaitable[T]]) -> T:
    """The same, once the schema is ours."""
    return asyncio.run(_with(work, upgrade))


async def _with(work: Callable[[Database], Awaitable[T]], prepare: Callable[[str], Awaitable[object]]) -> T:
    url = client.database_url()
    await prepare(url)
    database = Database(url, application_name="flywheel-cli", pool_size=1)
    try:
        return await work(database)
    finally:
        await database.close()
