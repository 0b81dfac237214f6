"""A real HTTP server that keeps what is posted to it, in a thread of its own, and answers as it is told."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Posted:
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HookServer:
    """`with HookServer() as hooks: … hooks.url … hooks.posted`. `answers` are given one after the other, then `answer`."""

    def __init__(self, answer: Callable[[Posted], Reply] | None = None, host: str = "127.0.0.1") -> None:
        self.answer = answer or (lambda _: Reply())
        self.answers: list[Reply] = []
        self.gate: threading.Event | None = None
        """Where set, nobody is answered before it is."""
        self._posted: list[Posted] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((host, 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.port = self._server.server_port
        self.url = f"http://{host}:{self.port}"

    @property
    def posted(self) -> list[Posted]:
        with self._lock:
            return list(self._posted)

    def wait_for(self, count: int, seconds: float = 30.0) -> list[Posted]:
        deadline = time.monotonic() + seconds
        while len(found := self.posted) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} posts after {seconds:.0f} s"
            time.sleep(0.02)
        return found

    def take(self, posted: Posted) -> Reply:
        with self._lock:
            self._posted.append(posted)
            planned = self.answers.pop(0) if self.answers else None
        if self.gate is not None:
            self.gate.wait(30)
        return planned or self.answer(posted)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.gate is not None:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(hooks: HookServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            reply = hooks.take(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None: ...

    return Handler
