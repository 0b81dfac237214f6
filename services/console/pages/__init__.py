"""The pages: one file each, with its template beside it in `templates/` under the same name.

A file here defines `routes_for(site) -> APIRouter` and is found by being here (`shared.registry`). A page reads what it shows
from the published views, and asks the service whose business it is to change something. To add one: the file, its template,
its words in both languages, and its place in the navigation (`templates/base.html`). The browser's tests take the pages
from the route table, so a new one is looked at without being named.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from services.console.exports import Exports
from services.console.freshness import Freshness
from services.console.imports import Imports
from services.console.measuring import Measuring
from services.console.queries import Queries
from services.console.render import Pages
from services.console.service import Api
from services.console.visit import Door, SignInNeeded, language_of, theme_of
from shared.config import Config
from shared.errors import FlywheelError, Transient
from shared.runtime import Runtime
from shared.telemetry import get_logger
from shared.web.problems import Problem, to_problem
from shared.web.routes import StrictRoute

_log = get_logger("console")


@dataclass(frozen=True, slots=True)
class Site:
    """What pages are made of."""

    runtime: Runtime
    door: Door
    pages: Pages
    queries: Queries
    freshness: Freshness
    measuring: Measuring
    closer: Api
    router: Api
    ingest: Api
    imports: Imports
    exports: Exports
    config: Callable[[], Config | None]
    """In force; to be shown as it is written (`Config.written`), which holds no secret that came from a variable."""

    def routes(self) -> APIRouter:
        """A page's own routes: errors become pages."""
        return APIRouter(include_in_schema=False, route_class=type("PageRoute", (_PageRoute,), {"site": self}))


class Page(Protocol):
    """What a file of this package defines."""

    def routes_for(self, site: Site) -> APIRouter: ...


class _PageRoute(StrictRoute):
    """Whatever is wrong, a person gets a page."""

    site: Site

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except SignInNeeded:
                return _sign_in(request)
            except (FlywheelError, HTTPException, RequestValidationError) as error:
                problem = to_problem(error)
                if isinstance(error, Transient):
                    _log.warning("page.away", reason=str(error), path=request.url.path)
                return await self._explained(request, problem)

        return handle

    async def _explained(self, request: Request, problem: Problem) -> Response:
        site = self.site
        try:
            visit = await site.door.visit(request)
        except FlywheelError:
            language, theme = language_of(request), theme_of(request)
            response = site.pages.outside(language, theme, "error.html", problem.status, problem=problem)
        else:
            response = site.pages.page(visit, "error.html", problem.status, problem=problem)
        for name, value in problem.headers.items():
            response.headers[name] = value
        return response


def _sign_in(request: Request) -> Response:
    """Back to where they wished to go, once they are in."""
    where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    there = f"/login?next={quote(where)}" if request.method == "GET" and where != "/" else "/login"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": there})
    return RedirectResponse(there, 303)


def back_to(path: str | None, otherwise: str = "/cases") -> str:
    """A path of ours, and of nobody else: what came in a form or an address is not trusted to be one."""
    ours = (
        path is not None
        and path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isprintable()
    )
    return path if ours and path is not None else otherwise


def given(form: FormData, name: str) -> str | None:
    """What was typed there; None where nothing was."""
    value = form.get(name)
    return value.strip() or None if isinstance(value, str) else None
