"""The customer's page: what you said, what we did, was it solved?

Opening it changes nothing, for mail scanners open every link; only the form does. The token in the address is the
secret: who has it may answer for this one case, and it is no cookie that a browser would send by itself, so no other
page can post in the customer's name. Wrong, changed and expired tokens look alike: 404. Whatever is wrong, a
person gets a page.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from services.closer import metrics
from services.closer.answers import Answers, Means, Shown
from services.closer.notify import language_of
from services.closer.render import PAGE_CSP, WORDS_MAX_CHARS, PageContext, PageKind, page, page_language
from shared.errors import Transient
from shared.telemetry import get_logger

RETRY_AFTER_S = 10
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_CSP,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


_log = get_logger("closer")
_THANKS: Mapping[Means, PageKind] = {"yes": "thanks_yes", "no": "thanks_no", "noted": "thanks_noted"}


def routes_for(answers: Answers) -> APIRouter:
    routes = APIRouter(prefix="/loop", include_in_schema=False, route_class=_PageRoute)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    async def show(request: Request, token: str, solved: str | None = None) -> HTMLResponse:
        shown = await answers.show(token)
        if shown is None:
            return _unknown(request)
        return _html(_asked(shown, "yes" if solved == "yes" else "no" if solved == "no" else None))

    @routes.post("/{token}")
    async def answer(
        request: Request,
        token: str,
        solved: Annotated[str, Form()] = "",
        words: Annotated[str, Form()] = "",
    ) -> HTMLResponse:
        shown = await answers.show(token)
        if shown is None:
            return _unknown(request)
        words = words.replace("\r\n", "\n").strip()
        if solved not in ("yes", "no") or len(words) > WORDS_MAX_CHARS:
            return _html(_asked(shown, None), status=422)
        means = await answers.say(token, solved=solved == "yes", words=words)
        if means is None:
            return _unknown(request)
        metrics.ANSWERS.labels(solved).inc()
        return _html(PageContext(_THANKS[means], language_of(shown.language, None)))

    @routes.api_route("/{token}/unsubscribe", methods=["GET", "HEAD"])
    async def ask_unsubscribe(request: Request, token: str) -> HTMLResponse:
        shown = await answers.show(token)
        if shown is None:
            return _unknown(request)
        return _html(PageContext("unsubscribe", language_of(shown.language, None)))

    @routes.post("/{token}/unsubscribe")
    async def unsubscribe(request: Request, token: str) -> HTMLResponse:
        """The page's button, and a mail program's one click (RFC 8058)."""
        shown = await answers.show(token)
        if shown is None or not await answers.unsubscribe(token):
            return _unknown(request)
        metrics.ANSWERS.labels("unsubscribe").inc()
        return _html(PageContext("unsubscribed", language_of(shown.language, None)))

    return routes


def _asked(shown: Shown, chosen: Literal["yes", "no"] | None) -> PageContext:
    answer = shown.answer
    return PageContext(
        kind="ask" if answer is not None else "waiting",
        language=language_of(shown.language, None),
        words=shown.words,
        answer=answer.text if answer is not None else None,
        answer_language=answer.language if answer is not None else None,
        declined=shown.declined,
        chosen=chosen,
    )


def _unknown(request: Request) -> HTMLResponse:
    language = page_language(request.headers.get("accept-language", ""))
    return _html(PageContext("unknown", language), status=404)


class _PageRoute(APIRoute):
    """Errors as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            language = page_language(request.headers.get("accept-language", ""))
            try:
                return await handler(request)
            except Transient as error:
                _log.warning("loop.away", reason=str(error), path=request.scope["route"].path)
                away = _html(PageContext("away", language), status=503)
                away.headers["Retry-After"] = str(max(1, round(error.retry_after or RETRY_AFTER_S)))
                return away
            except RequestValidationError:
                return _html(PageContext("unknown", language), status=422)
            except HTTPException as error:  # a form that cannot be read
                return _html(PageContext("unknown", language), status=error.status_code)

        return handle


def _html(context: PageContext, status: int = 200) -> HTMLResponse:
    return HTMLResponse(page(context), status_code=status, headers=HEADERS)
