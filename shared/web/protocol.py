"""HTTP/1.1 as we speak it: uvicorn's httptools protocol, with the deadlines and limits that it leaves to a proxy.

What a connection may count on, and what it may not do:

* Deadlines (`Limits`). No byte of a request, a header that trickles, a body that trickles, an answer that nobody reads:
  each ends the connection within seconds. They run from the first byte and are not moved by the next one; only a body
  buys time, by coming at `body_min_bytes_per_s`. An application at work has no deadline here.
* Framing. What two parsers could read in two ways is refused: two lengths, a length with a transfer coding, two hosts,
  addresses that a proxy and our router might see differently.
* Every refusal is a problem document and the end of the connection. It is read to its end for a moment before that
  (`linger_s`), since closing on unread bytes would reset the connection and take our answer with it.

It must cost nothing to those who behave. There is no timer per connection: deadlines are plain numbers, and one sweep
per server looks at all of them twice a second. A request that comes in one piece sets none but the one that follows it.
"""

import asyncio
import resource
from collections.abc import Mapping
from math import inf
from typing import Any, ClassVar

import httptools
import uvicorn
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from shared.web.at_once import AtOnce, served
from shared.web.body import timed_out
from shared.web.cycle import Cycle
from shared.web.framing import (
    MAX_CONNECTIONS,
    METHODS,
    Limits,
    Refused,
    bad_framing,
    check_address,
    check_host,
    headers_too_large,
    method_not_allowed,
    no_host,
    problem_of,
    target_of,
)
from shared.web.problems import Problem, malformed, problem_response, send_problem
from shared.web.sweeper import sweeper

MAX_PIPELINED = 16
MAX_LINGERING_BYTES = 8 * 1024 * 1024
MAX_CHUNK_OVERHEAD = 8
"""Bytes of framing for each byte of a body: one byte in each chunk costs five."""

_refused = Counter("flywheel_http_refused", "Connections that we ended, by the problem's slug or `idle`.", ["why"])


# Where a connection is in what it sends us. What we send it is uvicorn's business.
_IDLE, _HEAD, _BODY, _DONE, _LINGER = range(5)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Made by `protocol_class`, which sets its limits."""

    limits: ClassVar[Limits] = Limits()
    at_once: ClassVar[Mapping[str, AtOnce]] = {}
    """By path, as in `HotPath`."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limit_concurrency = None  # it counts idle connections too, so slow sockets would shut out the others
        self.deadline = inf
        self.write_deadline = inf
        self._phase = _IDLE
        self._last = False  # the next answer is the connection's last: the process stops
        self._deaf = False  # nothing that still comes is heard; the connection ends with the answers it is owed
        self._timed = False  # whether this phase of this message has its deadline
        self._wire_bytes = 0  # of this message, in the pieces before the present one
        self._piece_bytes = 0
        self._shared_piece = False  # the present piece began with an earlier message
        self._body_bytes = 0
        self._body_since = 0.0
        self._hosts = 0
        self._offered_upgrade = False
        self._keep_alive = True
        self._at_once: AtOnce | None = None  # who will be asked first, once this message is whole
        self._pending = b""  # its body until then
        self._owed = False  # an answer that no cycle will give
        self._asgi: Any = {"version": self.asgi_version, "spec_version": "2.3"}

    # ── the connection ──

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.deadline = self.loop.time() + self.limits.idle_s
        sweeper(self.server_state, self.limits.sweep_s).wake(self.loop)
        if len(self.connections) > self.limits.max_connections:
            self._make_room()

    def _make_room(self) -> None:
        _refused.labels("crowded").inc()
        for other in self.connections:
            if isinstance(other, GuardedProtocol) and other is not self and other.is_waiting():
                other.transport.abort()
                return
        self.transport.abort()

    def shutdown(self) -> None:
        """We are asked to stop. A request that has begun, or is on its way while we speak, still gets its answer; it is the
        connection's last. uvicorn would close what holds no whole request, and reset it where bytes are unread."""
        self._last = True
        if self._busy() or self._phase not in {_IDLE, _DONE}:
            if self.cycle is not None:
                self.cycle.keep_alive = False
        else:
            self.loop.call_later(self.limits.last_word_s, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self._phase == _IDLE and not self._busy():
            self.transport.close()

    def is_waiting(self) -> bool:
        """Whether it holds nothing but its socket: no request is whole."""
        return self._phase in {_IDLE, _HEAD} and not self._busy()

    def data_received(self, data: bytes) -> None:
        if self._phase == _LINGER or self._deaf:
            self._wire_bytes += len(data)
            if self._wire_bytes > MAX_LINGERING_BYTES:
                self.transport.abort()
            return
        self._piece_bytes = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(problem_of(error, data if self._wire_bytes == 0 else b""))
            return
        if self._phase != _DONE:
            self._unfinished()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # We upgrade to nothing, so it is an ordinary request (RFC 9110 §7.8): Java's client asks for h2c by default.
            # The parser takes the rest for another protocol, body and all; it is told the same again without the offer.
            head = [self.parser.get_method(), b" ", self.url, f" HTTP/{self.parser.get_http_version()}\r\n".encode()]
            for name, value in self.headers:
                if name == b"connection":
                    value = b"close" if b"close" in value.lower() else b"keep-alive"
                if name not in {b"upgrade", b"http2-settings"}:
                    head += [name, b": ", value, b"\r\n"]
            self._offered_upgrade = False
            self.parser = httptools.HttpRequestParser(self)
            self._feed(b"".join([*head, b"\r\n", data[upgrade.args[0] :]]))

    def _unfinished(self) -> None:
        """A piece has ended in the middle of a message: only then are there deadlines to set and bytes to count."""
        if self._shared_piece:
            self._shared_piece = False  # how much of it is ours nobody says; one piece uncounted harms nobody
        else:
            self._wire_bytes += self._piece_bytes
        limits = self.limits
        if self._phase == _HEAD:
            if self._wire_bytes > limits.max_header_bytes:
                self._refuse(headers_too_large(limits))
            elif not self._timed:
                self._timed = True
                self.deadline = self.loop.time() + limits.header_s
        elif self._phase == _BODY:
            if self._at_once is not None:
                self._unask()
            if not self._timed:
                self._timed = True
                self._body_since = self.loop.time()
                self.cycle.transport = _Lingering(self)  # type: ignore[assignment]
            if self._wire_bytes > 4 * limits.max_header_bytes + (1 + MAX_CHUNK_OVERHEAD) * self._body_bytes:
                self._refuse(bad_framing("There is more framing than body."))
                return
            self.deadline = self._body_since + limits.body_s + self._body_bytes / limits.body_min_bytes_per_s

    # ── the parser's callbacks ──

    def on_message_begin(self) -> None:
        self._shared_piece = self._phase != _IDLE
        self._phase = _HEAD
        self._timed = False
        self._wire_bytes = self._body_bytes = self._hosts = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase != _HEAD:
            return  # a trailer: never merged into the header (RFC 9110 §6.5.1)
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            check_host(value, self._hosts, self.limits.allowed_hosts)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        self._check_head(method, version)
        if parser.should_upgrade():
            self._offered_upgrade = True  # not begun yet: see `_feed`
            return
        self._phase = _BODY
        self._timed = False
        self._keep_alive = version != "1.0" and parser.should_keep_alive() and not self._last
        if self.at_once and method == b"POST" and self._keep_alive and self._is_alone() and b"?" not in self.url:
            self._at_once = served(self.at_once, self.url.decode("latin-1"))
        if self._at_once is None:
            self._begin(method, version)

    def _is_alone(self) -> bool:
        return not self._busy() and not self.expect_100_continue and not self.flow.write_paused

    def _begin(self, method: bytes = b"POST", version: str = "1.1") -> None:
        """An application answers the present message, in a task of its own; the body may still come."""
        busy = self._busy()
        cycle = self.cycle = self._cycle(method, version, self.url, self.headers)
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self._application()))
        else:
            self._start_asgi_task(cycle, self._application())

    def _application(self) -> Any:
        return self.app if len(self.tasks) < self.limits.max_requests else _too_busy

    def _cycle(self, method: bytes, version: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> Cycle:
        path, raw_path, query = target_of(url)
        return Cycle(
            {
                "type": "http",
                "asgi": self._asgi,
                "http_version": version,
                "server": self.server,
                "client": self.client,
                "scheme": self.scheme,  # type: ignore[typeddict-item]
                "root_path": "",
                "method": method.decode("ascii"),
                "path": path,
                "raw_path": raw_path,
                "query_string": query,
                "headers": headers,
                "state": self.app_state.copy(),
            },
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            self._keep_alive,
            self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._at_once is not None:
            self._pending = self._pending + body if self._pending else body
            return
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._offered_upgrade:
            return
        self._phase = _DONE
        self.deadline = inf
        if self._at_once is not None:
            self._ask_at_once(self._at_once)
            return
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # ── answers at once ──

    def _ask_at_once(self, at_once: AtOnce) -> None:
        self._at_once = None
        asked = _Asked(self, self.url, self.headers, self._pending)
        self._pending = b""
        self._owed = True
        if len(asked.fields) != len(self.headers) or not at_once(asked):
            asked.decline()

    def _unask(self) -> None:
        """The body comes in pieces, and may take its time."""
        self._at_once = None
        self._begin()
        self.cycle.body += self._pending
        self._pending = b""

    def write_answer(self, head: bytes, body: bytes) -> None:
        self._owed = False
        if self.transport.is_closing():
            return
        lines = [head]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        ends = self._last and not self.pipeline
        lines += (b"connection: close\r\n\r\n" if ends else b"\r\n", body)
        self.transport.write(b"".join(lines))
        if ends:
            self.transport.close()
        self.on_response_complete()

    def run_whole(self, app: Any, url: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """The message that was asked about is answered by this application, before any that came after it."""
        self._owed = False
        cycle = self._cycle(b"POST", "1.1", url, headers)
        cycle.body += body
        cycle.more_body = False
        cycle.message_event.set()
        if not self.pipeline:
            self.cycle = cycle
        if not self.transport.is_closing():
            self._start_asgi_task(cycle, app)

    def _check_head(self, method: bytes, version: str) -> None:
        limits = self.limits
        if len(self.headers) > limits.max_headers:
            raise Refused(headers_too_large(limits))
        if self._wire_bytes + self._piece_bytes > limits.max_header_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.max_header_bytes:
                raise Refused(headers_too_large(limits))
        if method not in METHODS:
            raise Refused(method_not_allowed())
        if self._hosts == 0 or version != "1.1":
            self._check_old_version(version)
        url = self.url
        if url[:1] != b"/" or b"//" in url or b"/." in url or b"%" in url:
            check_address(url)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refused(malformed("Too many requests stand in line on one connection."))

    def _check_old_version(self, version: str) -> None:
        if version == "1.1":
            raise Refused(no_host())
        if version != "1.0":
            raise Refused(malformed("This is not HTTP/1.1."))
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            raise Refused(bad_framing("HTTP/1.0 has no Transfer-Encoding."))

    # ── answers ──

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._phase == _LINGER:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._deaf:
            self.transport.close()
        elif self._phase == _BODY:
            self.linger()  # the rest of its body is not wanted any more
        elif self._phase == _DONE:
            self._phase = _IDLE
            self.deadline = self.loop.time() + self.limits.idle_s

    def _busy(self) -> bool:
        """Whether an answer to an earlier message is still owed."""
        return self._owed or bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _refuse(self, problem: Problem) -> None:
        """Answer and end. A body that was begun is answered in place of its application, if that has not answered."""
        _refused.labels(problem.slug).inc()
        if self._at_once is not None:
            self._at_once = None  # nobody has been asked yet
        elif self._phase == _BODY and not self.pipeline:
            answered = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if answered:
                self.transport.abort()
                return
        elif self._busy():
            # Earlier messages are still owed their answers; this one, if it stood in line, will never be whole.
            if self._phase == _BODY:
                self.pipeline.popleft()
            self._deaf = True
            return
        status, headers, body = problem_response(problem)
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            if name != b"connection":
                lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        self.linger()

    def linger(self) -> None:
        """Say that this was all, and take what is still under way, so that the answer arrives."""
        if self.transport.is_closing():
            return
        self._phase = _LINGER
        self._wire_bytes = 0
        self.deadline = self.loop.time() + self.limits.linger_s
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # ── deadlines ──

    def pause_writing(self) -> None:
        self.write_deadline = self.loop.time() + self.limits.write_s
        super().pause_writing()

    def resume_writing(self) -> None:
        self.write_deadline = inf
        super().resume_writing()

    def overdue(self, now: float) -> None:
        """A deadline has passed."""
        if self.write_deadline <= now:
            _refused.labels("unread").inc()
            self.transport.abort()
        elif self._phase == _IDLE:
            _refused.labels("idle").inc()
            self.transport.close()
        elif self._phase == _LINGER:
            self.transport.abort()
        elif self._phase == _HEAD and self._busy():
            self.deadline = now + self.limits.header_s  # it holds no more than the answer that it waits for
        elif self._phase == _BODY and self.pipeline:
            self.deadline = now + self.limits.body_s
        else:
            self._refuse(timed_out())


class _Asked:
    """`at_once.Asked`: the message as it was, whatever has come on its connection since."""

    __slots__ = ("_headers", "_protocol", "body", "fields", "target")

    def __init__(self, protocol: GuardedProtocol, url: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._protocol = protocol
        self.target = url
        self._headers = headers
        self.fields = dict(headers)
        self.body = body

    def answer(self, head: bytes, body: bytes) -> None:
        self._protocol.write_answer(head, body)

    def decline(self) -> None:
        self.hand_over(self._protocol._application())

    def hand_over(self, app: Any) -> None:
        self._protocol.run_whole(app, self.target, self._headers, self.body)


class _Lingering:
    """The transport of an answer that may come before the end of its question: `close` waits for the rest."""

    def __init__(self, protocol: GuardedProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        if self._protocol._phase == _BODY:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


# ── refusals ──


async def _too_busy(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(
        scope,
        send,
        Problem(
            503,
            "unavailable",
            "Too many requests are in hand.",
            "Nothing was done: send the same again, with the same id.",
            headers={"Retry-After": "1", "Connection": "close"},
        ),
    )


# ── the server ──


def protocol_class(limits: Limits, at_once: Mapping[str, AtOnce]) -> type[GuardedProtocol]:
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits, "at_once": at_once})


def server_config(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    graceful_s: int | None = None,
    limits: Limits | None = None,
    at_once: Mapping[str, AtOnce] | None = None,
    backlog: int = 2048,
) -> uvicorn.Config:
    """How each of our servers is set up. `graceful_s`: how long requests in hand may finish after the stop."""
    if limits is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files * 3 // 4)
        limits = Limits(max_connections=most)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol_class(limits, at_once or {}),
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=backlog,
        timeout_graceful_shutdown=graceful_s,
    )
