"""HTTP to the outside, for channels that tell teams: one request, an answer of bounded size within bounded time.

`guarded` is for addresses that a configuration names. A host is resolved once; unless all of its addresses may be
connected to (`addresses`), nothing is; and the connection goes to the very address that was looked at, so a name that
changes in between gains nothing. TLS and the Host header keep the name. No redirect is followed, no proxy is asked:
either would take the decision elsewhere. Nothing is shared between two hosts, not even where they have one address.

Imported by who sends, when there is somebody to send to: an HTTP client takes its time to load.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx2

from services.closer.addresses import Allowed, may_connect
from shared.errors import Rejected, Transient

AGENT = "feedback-flywheel"
CONNECT_S = 5.0
RETRY_AFTER_MAX_S = 24 * 3600.0
KEEP_OPEN_S = 30.0
_LIMITS = httpx2.Limits(max_keepalive_connections=4, keepalive_expiry=KEEP_OPEN_S)

Resolve = Callable[[str, int], Awaitable[list[str]]]


class NotAllowed(Transient):
    """The host leads to where nothing is sent. Its name may lead elsewhere tomorrow, so it is tried again."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    """At most as much as was asked for."""
    retry_after_s: float | None


async def resolve(host: str, port: int) -> list[str]:
    """Every address of the host. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class _Guarded(httpx2.AsyncBaseTransport):
    def __init__(self, allowed: Allowed, resolve: Resolve, verify: ssl.SSLContext | bool) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._context = httpx2.create_ssl_context(verify=verify, trust_env=False)
        self._hosts: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpx2.ConnectError(f"the name cannot be resolved: {error.strerror}") from None
        refused = may_connect(host, addresses, self._allowed)
        if refused is not None:
            raise NotAllowed(f"{host} leads to {refused}, which is no public address")
        request.extensions = {**request.extensions, "sni_hostname": host}
        url, last = request.url, httpx2.TransportError("the name leads nowhere")
        for address in addresses:
            request.url = url.copy_with(host=address)
            try:
                return await self._transport(host).handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                last = error
        raise last

    def _transport(self, host: str) -> httpx2.AsyncHTTPTransport:
        found = self._hosts.get(host)
        if found is None:
            found = httpx2.AsyncHTTPTransport(verify=self._context, trust_env=False, limits=_LIMITS)
            self._hosts[host] = found
        return found

    async def aclose(self) -> None:
        for transport in self._hosts.values():
            await transport.aclose()


class Outbound:
    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._http = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            headers={"user-agent": AGENT, "accept-encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        )

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, within_s: float, max_bytes: int
    ) -> Answer:
        """Raises `Transient`: it may have arrived, or not; `Rejected` where that is no address."""
        answer: Answer | None = None
        try:
            async with (
                asyncio.timeout(within_s),
                self._http.stream("POST", url, content=body, headers=dict(headers)) as response,
            ):
                answer = Answer(response.status_code, b"", _retry_after(response.headers.get("retry-after", "")))
                read = await _at_most(response, max_bytes)
            return Answer(answer.status, read, answer.retry_after_s)
        except TimeoutError:
            if answer is not None:
                return answer  # what it has to say of it is no use to us
            raise Transient(f"no answer within {within_s:.0f} s") from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Rejected(f"no address that can be asked: {type(error).__name__}") from None
        except httpx2.HTTPError as error:
            if answer is not None:
                return answer
            raise Transient(f"no answer: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._http.aclose()


def guarded(allowed: Allowed, *, resolve: Resolve = resolve, verify: ssl.SSLContext | bool = True) -> Outbound:
    """To where a configuration says."""
    return Outbound(_Guarded(allowed, resolve, verify))


def trusted() -> Outbound:
    """To where an operator's own setting says."""
    return Outbound(httpx2.AsyncHTTPTransport(trust_env=False, limits=_LIMITS))


async def _at_most(response: httpx2.Response, max_bytes: int) -> bytes:
    """As it came, not unpacked. One that goes on beyond that is not read to its end, and its connection is given up."""
    chunks, size = [], 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        size += len(chunk)
        if size >= max_bytes:
            break
    return b"".join(chunks)[:max_bytes]


def _retry_after(value: str) -> float | None:
    """In seconds; a date is rarely sent, and is passed over."""
    return min(float(value), RETRY_AFTER_MAX_S) if value.isascii() and value.isdigit() and len(value) < 10 else None
