"""The front door of a deployment: the customer's page and people's actions, passed on to the closer as they came."""

import httpx2
from fastapi import APIRouter, Request, Response

from shared.errors import Transient

PASSED_ON = ("/loop/{path:path}", "/v1/cases", "/v1/cases/{path:path}", "/v1/sla/{path:path}")
MAX_BODY_BYTES = 1024 * 1024
# RFC 9110 §7.6.1: these belong to one connection; Host and lengths are made anew.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-encoding",
    }
)


class FrontDoor:
    def __init__(self, closer_url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=closer_url, timeout=15, follow_redirects=False)
        self.routes = APIRouter(include_in_schema=False)
        for path in PASSED_ON:
            self.routes.add_api_route(path, self._pass_on, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])

    async def _pass_on(self, request: Request) -> Response:
        """Raises `Transient` (503) when the closer cannot be reached."""
        query = request.url.query
        target = request.scope["raw_path"].decode("latin-1").partition("?")[0] + (f"?{query}" if query else "")
        headers = [(k, v) for k, v in request.headers.items() if k not in _HOP_BY_HOP]
        try:
            answer = await self._http.request(request.method, target, headers=headers, content=await _body(request))
        except httpx2.HTTPError as error:
            raise Transient(f"the closer cannot be reached: {type(error).__name__}", retry_after=2) from None
        response = Response(answer.content, status_code=answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in _HOP_BY_HOP:
                response.headers.append(name, value)
        return response

    async def close(self) -> None:
        await self._http.aclose()


async def _body(request: Request) -> bytes:
    from shared.web.problems import Problem

    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Problem(
                413, "payload-too-large", "Content too large", f"at most {MAX_BODY_BYTES} bytes are taken here"
            )
        chunks.append(chunk)
    return b"".join(chunks)
