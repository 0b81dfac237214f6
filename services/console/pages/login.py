"""Coming in by a one-time link, going out, and the two things that a browser remembers: its language and its theme."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from services.console.pages import Site, back_to
from services.console.visit import LANGUAGE_COOKIE, LANGUAGES, THEME_COOKIE, THEMES, SignInNeeded, language_of, theme_of
from shared.telemetry import get_logger

_log = get_logger("console")


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/")
    async def start(request: Request) -> Response:
        await site.door.visit(request)
        return RedirectResponse("/cases", 303)

    @routes.get("/login")
    async def come_in(
        request: Request, token: str = "", onward: Annotated[str, Query(alias="next")] = "/cases"
    ) -> Response:
        """The link works once. It is printed where only its reader can see it, so opening it is enough."""
        begun = await site.door.sessions.begin(token) if token else None
        if begun is not None:
            session_token, session = begun
            person = site.door.person(session)
            if person is not None:
                await site.door.audit.record(session.workspace, person, "signed-in")
                _log.info("console.signed_in", person=person.email, role=person.role)
                response = RedirectResponse(back_to(onward), 303)
                site.door.let_in(response, session_token)
                return response
        try:
            await site.door.visit(request)
        except SignInNeeded:
            return site.pages.outside(
                language_of(request), theme_of(request), "login.html", 403 if token else 200, refused=bool(token)
            )
        return RedirectResponse(back_to(onward), 303)  # a link that was used by this very browser, opened again

    @routes.post("/logout")
    async def go_out(request: Request) -> Response:
        visit = await site.door.visit(request)
        await site.door.form(request, visit)
        await site.door.sessions.end(request.cookies[site.door.cookie])
        await site.door.audit.record(visit.workspace, visit.person, "signed-out")
        response = RedirectResponse("/login", 303)
        site.door.let_out(response)
        return response

    @routes.post("/settings")
    async def settings(request: Request) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        response = RedirectResponse(back_to(str(form.get("back", ""))), 303)
        language, theme = form.get("language"), form.get("theme")
        if language in LANGUAGES:
            site.door.remember(response, LANGUAGE_COOKIE, str(language))
        if theme in THEMES:
            site.door.remember(response, THEME_COOKIE, str(theme))
        return response

    return routes
