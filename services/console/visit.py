"""Who visits a page, and whether they may: the session behind the cookie, the person behind the session, and the proof that
a form is one of ours.

A page is somebody's, or it sends them to sign in. What they may follows from their role in the configuration in force, asked
anew at each request. A form carries a token that only a page of this session knows; the cookie is `SameSite=Lax` besides,
so another site can neither read our pages nor post in a person's name.
"""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import Response

from services.console.check import Crew
from shared.errors import FlywheelError
from shared.people import OPERATOR, People, Person, Role
from shared.runtime import Runtime
from shared.sessions import SESSION_LASTS, Audit, SavedViews, Session, Sessions
from shared.web.languages import liked, primary
from shared.web.problems import Problem

Language = Literal["en", "zh-CN"]
LANGUAGES: tuple[Language, ...] = ("en", "zh-CN")
Theme = Literal["auto", "light", "dark"]
THEMES: tuple[Theme, ...] = ("auto", "light", "dark")
LANGUAGE_COOKIE, THEME_COOKIE, NOTICE_COOKIE = "flywheel_language", "flywheel_theme", "flywheel_notice"
NOTICE_LASTS_S = 60
UTC = ZoneInfo("UTC")
SETTINGS_LAST_S = 365 * 86_400


class SignInNeeded(FlywheelError):
    """Nobody is signed in."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What came of the last action, shown once."""

    code: str
    """A key of the words under `notice.`."""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of one person."""

    person: Person
    workspace: str
    teams: Crew
    people: People
    language: Language
    theme: Theme
    zone: ZoneInfo
    """Where their first team works."""
    csrf: str = field(repr=False)
    now: datetime
    path: str
    """With its query, for a form that comes back here."""
    notice: Notice | None = None

    def need(self, role: Role) -> None:
        """Raises 403."""
        if not self.person.is_at_least(role):
            raise Problem(403, "forbidden", "Your role does not allow this.", f"It needs the role {role}.")


class Door:
    """Turns requests into visits."""

    def __init__(self, runtime: Runtime) -> None:
        self.sessions = Sessions(runtime.database, runtime.clock)
        self.audit = Audit(runtime.database, runtime.clock)
        self.saved_views = SavedViews(runtime.database, runtime.clock)
        self._crew: Crew | None = None
        self._clock = runtime.clock
        self._key = hashlib.sha256(b"flywheel csrf\0" + runtime.settings.secret.encode()).digest()
        self._secure = runtime.settings.public_url.startswith("https://")

    def configure(self, crew: Crew) -> None:
        self._crew = crew

    # ── coming and going ──

    @property
    def cookie(self) -> str:
        """`__Host-` binds it to this host and to HTTPS; where there is none, a browser would not keep it."""
        return "__Host-flywheel" if self._secure else "flywheel"

    def let_in(self, response: Response, token: str) -> None:
        self._set(response, self.cookie, token, int(SESSION_LASTS.total_seconds()))

    def let_out(self, response: Response) -> None:
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

    def remember(self, response: Response, name: str, value: str) -> None:
        """A taste of this browser: its language, its theme."""
        self._set(response, name, value, SETTINGS_LAST_S)

    def tell(self, response: Response, code: str, **values: Any) -> None:
        """On the next page."""
        self._set(response, NOTICE_COOKIE, quote(json.dumps([code, values])), NOTICE_LASTS_S)

    def _set(self, response: Response, name: str, value: str, lasts_s: int) -> None:
        response.set_cookie(name, value, max_age=lasts_s, path="/", secure=self._secure, httponly=True, samesite="lax")

    # ── who ──

    async def visit(self, request: Request) -> Visit:
        """Raises `SignInNeeded`."""
        token = request.cookies.get(self.cookie)
        session = await self.sessions.find(token) if token else None
        person = self.person(session) if session is not None else None
        if token is None or session is None or person is None or self._crew is None:
            raise SignInNeeded("sign in first")
        crew = self._crew
        return Visit(
            person=person,
            workspace=session.workspace,
            teams=crew,
            people=crew.people,
            language=language_of(request, person.languages),
            theme=theme_of(request),
            zone=next((crew.zones[team] for team in person.teams if team in crew.zones), UTC),
            csrf=hmac.new(self._key, token.encode(), hashlib.sha256).hexdigest(),
            now=self._clock.now(),
            path=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            notice=_notice(request),
        )

    def person(self, session: Session) -> Person | None:
        """As the configuration in force has them; None: it has them no more."""
        known = self._crew.people.find(session.person) if self._crew is not None else None
        if session.role is None:
            return known
        name = known.name if known is not None else "Operator" if session.person == OPERATOR else ""
        teams = known.teams if known is not None else ()
        return Person(session.person, session.role, name, teams, known.languages if known is not None else ())

    async def form(self, request: Request, visit: Visit) -> FormData:
        """The form's fields. Raises 403 when it is none of ours."""
        self.same_site(request)
        form = await request.form()
        self.prove(visit, form.get("csrf") or request.headers.get("x-csrf") or "")
        return form

    def same_site(self, request: Request) -> None:
        """Raises 403."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise _not_ours()

    def prove(self, visit: Visit, given: object) -> None:
        """That the token of a form is the one of its page. Raises 403."""
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), visit.csrf.encode()):
            raise _not_ours()

    def listed(self, email: str) -> Person | None:
        """As teams.yaml has them now."""
        return self._crew.people.find(email) if self._crew is not None else None


def language_of(request: Request, spoken: tuple[str, ...] = ()) -> Language:
    """The one chosen, else the person's, else the browser's."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    for tag in (*spoken, *liked(request.headers.get("accept-language", ""))):
        if primary(tag) in ("zh", "en"):
            return "zh-CN" if primary(tag) == "zh" else "en"
    return "en"


def theme_of(request: Request) -> Theme:
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def _notice(request: Request) -> Notice | None:
    try:
        code, values = json.loads(unquote(request.cookies.get(NOTICE_COOKIE, "")))
        return Notice(str(code), dict(values))
    except (ValueError, TypeError):
        return None


def _not_ours() -> Problem:
    return Problem(
        403, "foreign-form", "This form is not from your session.", "Reload the page, and send it again from there."
    )


Visiting = Callable[[Request], Awaitable[Visit]]
