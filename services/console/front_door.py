"""The front door of a deployment: the customer's page and people's actions, passed on to the closer as they came."""

from urllib.parse import unquote

import httpx2
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from shared.errors import Transient
from shared.telemetry import get_logger
from shared.web.problems import Problem, not_found

PASSED_ON = (
    "/loop/{path:path}",
    "/v1/cases",
    "/v1/cases/{path:path}",
    "/v1/feedback/{feedback_id}/correction",
    "/v1/reownings",
    "/v1/reownings/{path:path}",
    "/v1/sla/{path:path}",
    "/v1/erasures",
    "/v1/accounts",
    "/v1/accounts/{path:path}",
    "/v1/initiatives",
    "/v1/initiatives/{path:path}",
    "/v1/signals",
    "/v1/signals/{path:path}",
    "/v1/notifications",
    "/v1/deliveries",
    "/v1/deliveries/{path:path}",
)
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


# The customer's page is the closer's; this is all that can be said without it.
_AWAY = {
    "en": ("We cannot show this page just now", "Nothing is lost. Please try again in a few minutes."),
    "zh": ("页面暂时打不开", "什么都没有丢。请过几分钟再试。"),
}
_AWAY_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>
"""
_log = get_logger("console")


class FrontDoor:
    def __init__(self, closer_url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=closer_url, timeout=15, follow_redirects=False)
        self.routes = APIRouter(include_in_schema=False)
        for path in PASSED_ON:
            self.routes.add_api_route(path, self._pass_on, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])

    async def _pass_on(self, request: Request) -> Response:
        """Raises `Transient` (503) when the closer cannot be reached."""
        query = request.url.query
        path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        if any(unquote(part) in (".", "..") for part in path.split("/")):
            # The client below would go up the path, and out of what is passed on.
            raise not_found("no page or route has dots for a name")
        target = path + (f"?{query}" if query else "")
        headers = [(k, v) for k, v in request.headers.items() if k not in _HOP_BY_HOP]
        try:
            answer = await self._http.request(request.method, target, headers=headers, content=await _body(request))
        except httpx2.HTTPError as error:
            reason = f"the closer cannot be reached: {type(error).__name__}"
            if request.url.path.startswith("/loop/"):
                _log.warning("front_door.away", reason=reason)
                return _away(request.headers.get("accept-language", ""))
            raise Transient(reason, retry_after=2) from None
        response = Response(answer.content, status_code=answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in _HOP_BY_HOP:
                response.headers.append(name, value)
        return response

    async def close(self) -> None:
        await self._http.aclose()


def _away(accept_language: str) -> HTMLResponse:
    preferred = accept_language.strip()[:2].lower()
    language = preferred if preferred in _AWAY else "en"
    title, text = _AWAY[language]
    headers = {"Retry-After": "10", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'"}
    return HTMLResponse(_AWAY_PAGE.format(language=language, title=title, text=text), status_code=503, headers=headers)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Problem(
                413, "payload-too-large", "Content too large", f"at most {MAX_BODY_BYTES} bytes are taken here"
            )
        chunks.append(chunk)
    return b"".join(chunks)
