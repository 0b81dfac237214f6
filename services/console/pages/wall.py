"""The board on a wall: a team each, in large type, and it refreshes itself.

However many watch, the board is read once for all of them; each gets it in their own language. Who is signed out, or taken
out of teams.yaml, sees no more of it within `LOOK_AGAIN_S`. Without script the browser loads the page anew.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from services.console.board import CLOCKS, Board
from services.console.pages import Site
from services.console.pages.sla import read_board
from services.console.visit import SignInNeeded, Visit
from shared.errors import Transient
from shared.telemetry import get_logger

REFRESH_S = 2.0
LOOK_AGAIN_S = 30.0
RETRY_MS = 2_000
RELOAD_S = 10
"""Without script."""

_log = get_logger("console")


class Watched:
    """A board for everybody who watches: whoever finds it old reads it anew, and the others wait for that reading."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._boards: dict[str, tuple[float, Board]] = {}
        self._reading = asyncio.Lock()

    async def board(self, visit: Visit) -> Board:
        """At most `REFRESH_S` old. Raises `Transient`."""
        async with self._reading:
            clock = asyncio.get_running_loop().time
            found = self._boards.get(visit.workspace)
            if found is None or clock() - found[0] >= REFRESH_S:
                now = self._site.runtime.clock.now()
                found = (clock(), await read_board(self._site, visit.workspace, visit.teams.names, now))
                self._boards[visit.workspace] = found
        return found[1]


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()
    watched = Watched(site)

    @routes.get("/sla/wall")
    async def wall(request: Request) -> Response:
        visit = await site.door.visit(request)
        board = await watched.board(visit)
        return site.pages.page(visit, "wall.html", board=board, clocks=CLOCKS, reload_s=RELOAD_S)

    @routes.get("/sla/wall/events")
    async def events(request: Request) -> Response:
        """Server-sent events: `board` is the page's part as it is now."""
        visit = await site.door.visit(request)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(
            _events(site, watched, request, visit), headers=headers, media_type="text/event-stream"
        )

    return routes


async def _events(site: Site, watched: Watched, request: Request, visit: Visit) -> AsyncIterator[bytes]:
    clock, stopping = asyncio.get_running_loop().time, site.runtime.stopping
    looked_at = clock()
    yield f"retry: {RETRY_MS}\n\n".encode()
    while not stopping.is_set():
        try:
            if clock() - looked_at >= LOOK_AGAIN_S:
                visit, looked_at = await site.door.visit(request), clock()
            yield _frame(site, visit, await watched.board(visit))
        except SignInNeeded:
            return
        except Transient as error:
            _log.warning("wall.waiting", reason=str(error))
            yield b": still here\n\n"  # the wall says how old it is
        try:
            await asyncio.wait_for(stopping.wait(), REFRESH_S)
        except TimeoutError:
            continue


def _frame(site: Site, visit: Visit, board: Board) -> bytes:
    page = site.pages.page(replace(visit, now=board.at), "_wall.html", board=board, clocks=CLOCKS)
    data = b"\n".join(b"data: " + line for line in bytes(page.body).splitlines())
    return b"event: board\n" + data + b"\n\n"
