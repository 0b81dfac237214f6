"""uvicorn, made ours: its stop answers whoever stands in the door, and its front knows for whom and what is busy."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from shared.web.at_once import AtOnce, HotPath, served
from shared.web.hosts import Hosts, is_open, misdirected
from shared.web.problems import send_problem


class Server(uvicorn.Server):
    """uvicorn, with our signals instead of its own, and a door that is closed behind whoever stands in it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The system completes connections before we accept them; closing the socket would reset those that wait."""
        doors = [socket.socket(fileno=os.dup(one.fileno())) for server in self.servers for one in server.sockets]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for door in doors:
            waiting: list[socket.socket] = []
            with door, contextlib.suppress(BlockingIOError):
                door.setblocking(False)
                while len(waiting) < self.config.backlog:
                    waiting.append(door.accept()[0])
            for connection in waiting:
                with contextlib.suppress(OSError):  # gone by itself
                    await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Front:
    """The busiest POSTs go straight to their handler; everything else through the framework. Both know for whom."""

    def __init__(self, hot: Mapping[str, HotPath], app: ASGIApp, hosts: Hosts | None) -> None:
        self._hot = {path: one.app for path, one in hot.items()}
        self._app = app
        self._hosts = hosts
        self.at_once = {path: self._for_us(one.at_once) for path, one in hot.items() if one.at_once is not None}

    def _for_us(self, at_once: AtOnce) -> AtOnce:
        hosts = self._hosts
        return at_once if hosts is None else lambda asked: asked.fields.get(b"host", b"") in hosts and at_once(asked)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._hosts is not None and scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"host":
                    if value not in self._hosts and not is_open(scope["path"]):
                        await send_problem(scope, send, misdirected())
                        return
                    break
        if scope["type"] == "http" and scope["method"] == "POST":
            handler = served(self._hot, scope["path"])
            if handler is not None:
                await handler(scope, receive, send)
                return
        await self._app(scope, receive, send)
