"""`/f/{name}`: a form for whoever has no tool; also in a frame, on a screen in a shop, and as a QR code. No script, no cookie.

A page carries a name for what will be sent from it, signed, so that a button pressed twice, or a page loaded again, is one
delivery. What a machine fills in is thanked for and counted, and goes nowhere. Whatever is wrong, a person gets the page back
with what they wrote.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qsl, quote
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from services.ingest.door import EVENTS, REQUESTS, InForce, log
from services.ingest.forms import HONEYPOT, REF_MAX_CHARS, TEMPLATES, Filled, Form, body_of, choices, filled
from services.ingest.limits import RateLimits
from services.ingest.normalize import Builder, read_feedback, without
from services.ingest.publish import Publisher
from shared.clock import Clock
from shared.errors import Rejected, Transient
from shared.events.acceptable import Invalid
from shared.events.envelope import rfc3339
from shared.events.identity import delivery_id
from shared.links import Links
from shared.telemetry import traceparent_of
from shared.web.body import read_body
from shared.web.routes import StrictRoute
from shared.web.strict_json import Malformed, Unacceptable

BODY_MAX_BYTES = 256 * 1024
FIELDS_MAX = 50
ONCE_LASTS_S = 24 * 3600
CLEARS_AFTER_S = 180
"""A page of a kiosk that nobody sends."""
THANKS_FOR_S = 8
RETRY_AFTER_S = 5
_PURPOSE = "form"
_NAMES = {
    "en": "English",
    "zh": "中文",
    "ja": "日本語",
    "ko": "한국어",
    "es": "Español",
    "de": "Deutsch",
    "fr": "Français",
}
_NAMES |= {"pt": "Português", "it": "Italiano", "ru": "Русский", "ar": "العربية", "nl": "Nederlands", "pl": "Polski"}


class _Looks(NamedTuple):
    render: Callable[..., str]
    css: str
    css_hash: str


@cache
def _looks() -> _Looks:
    """Loaded with the first page: most who take feedback in host no form."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = Markup((TEMPLATES / "form.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return _Looks(pages.get_template("form.html").render, css, b64encode(sha256(css.encode()).digest()).decode())


@cache
def _no_form() -> Form:
    return Form(name="none", title={"en": "-", "zh": "-"}, text="required")


def routes_for(
    in_force: InForce, publisher: Publisher, builder: Callable[[str], Builder], clock: Clock, links: Links
) -> APIRouter:
    routes = APIRouter(prefix="/f", include_in_schema=False, route_class=StrictRoute)
    limits = RateLimits()

    def form_of(name: str) -> Form | None:
        return in_force.forms.get(name)

    @routes.api_route("/{name}", methods=["GET", "HEAD"])
    async def show(request: Request, name: str, lang: str = "", ref: str = "") -> Response:
        form = form_of(name)
        if form is None:
            return _unknown(request, lang)
        return _shown(form, _language(form, request, lang), Filled(), links.sign(_PURPOSE, str(uuid4())), ref)

    @routes.post("/{name}")
    async def take(request: Request, name: str, lang: str = "") -> Response:
        form = form_of(name)
        if form is None:
            return _unknown(request, lang)
        language = _language(form, request, lang)
        fields = await _fields(request)
        said, ref = filled(form, fields), fields.get("ref", "")
        once = links.read(_PURPOSE, fields.get("once", ""), ONCE_LASTS_S)
        token = fields.get("once", "") if once is not None else links.sign(_PURPOSE, once := str(uuid4()))
        if said.is_machine:
            EVENTS.labels("form", "ignored").inc()
            return _thanked(form, language)
        if said.wrong:
            return _shown(form, language, said, token, ref, status=422)
        admission = limits.take(form.rate_of_all, form.name, clock.monotonic())
        if not admission.admitted:
            REQUESTS.labels("form", "limited").inc()
            wait = admission.retry_after_s
            return _shown(form, language, said, token, ref, "too_many", status=429, retry_after_s=wait)
        try:
            # By the door that bytes come in by: it refuses what a browser may send and no table holds.
            content = without(
                read_feedback(msgspec.json.encode(body_of(form, said, ref)), in_force.ranges), in_force.pii
            )
        except (Invalid, Malformed, Unacceptable) as error:
            return _shown(form, language, _judged(said, error), token, ref, status=422)
        delivery = delivery_id("hook", form.workspace, form.name, f"form/{once}")
        received_at = rfc3339(clock.now())
        trace = traceparent_of(request.headers.get("traceparent"))
        event = builder(form.workspace).build(content, delivery, received_at, trace)
        try:
            await publisher.publish(event, received_at, told=False)
        except (Transient, Rejected) as error:
            log.warning("form.unavailable", form=form.name, reason=str(error))
            REQUESTS.labels("form", "unavailable").inc()
            return _shown(form, language, said, token, ref, "away", status=503, retry_after_s=RETRY_AFTER_S)
        REQUESTS.labels("form", "accepted").inc()
        EVENTS.labels("form", "accepted").inc()
        return _thanked(form, language)

    @routes.get("/{name}/thanks")
    async def thanks(request: Request, name: str, lang: str = "") -> Response:
        form = form_of(name)
        if form is None:
            return _unknown(request, lang)
        return _html(form, "thanks", _language(form, request, lang), again_after=THANKS_FOR_S if form.kiosk else 0)

    @routes.get("/{name}/qr.svg")
    async def qr(request: Request, name: str, ref: str = "") -> Response:
        """To be printed: it leads to the form, by the name under which it was asked for."""
        import segno

        form = form_of(name)
        if form is None:
            return _unknown(request, "")
        address = str(request.url.replace(path=f"/f/{name}", query=f"ref={quote(ref[:REF_MAX_CHARS])}" if ref else ""))
        written = io.BytesIO()
        segno.make(address, error="m").save(written, kind="svg", scale=8, border=4, light="#ffffff")
        headers = {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(written.getvalue(), media_type="image/svg+xml", headers=headers)

    return routes


async def _fields(request: Request) -> dict[str, str]:
    """The first of each name. What is no form of ours is an empty one, and is answered as such. Raises `Problem` 413."""
    raw = await read_body(request.scope, request.receive, max_bytes=BODY_MAX_BYTES, content_types=None)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def _language(form: Form, request: Request, wanted: str) -> str:
    return form.language(wanted, request.headers.get("accept-language", ""))


def _judged(said: Filled, error: Exception) -> Filled:
    """Whatever is found wrong, at a field that a person knows."""
    fields = [one["field"] for one in error.errors] if isinstance(error, Invalid) else []
    is_address = any(field.startswith("customer.email") for field in fields)
    wrong = {"email": "wrong_address"} if is_address else {"text": "cannot_keep"}
    return Filled(said.text, said.score, said.name, said.email, said.is_machine, wrong)


def _thanked(form: Form, language: str) -> Response:
    return RedirectResponse(f"/f/{form.name}/thanks?lang={quote(language)}", 303, headers={"Cache-Control": "no-store"})


def _shown(
    form: Form,
    language: str,
    said: Filled,
    once: str,
    ref: str,
    notice: str | None = None,
    *,
    status: int = 200,
    retry_after_s: int = 0,
) -> Response:
    parts = {"said": said, "once": once, "ref": ref[:REF_MAX_CHARS], "notice": notice}
    answer = _html(form, "form", language, parts, status=status, again_after=CLEARS_AFTER_S if form.kiosk else 0)
    if retry_after_s:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _unknown(request: Request, wanted: str) -> Response:
    return _html(_no_form(), "unknown", _language(_no_form(), request, wanted), status=404)


def _html(
    form: Form,
    kind: str,
    language: str,
    parts: Mapping[str, object] | None = None,
    *,
    status: int = 200,
    again_after: int = 0,
) -> HTMLResponse:
    page = form.says(language)
    here = f"/f/{form.name}?lang={quote(language)}"
    looks = _looks()
    text = looks.render(
        kind=kind,
        form=form,
        page=page,
        say=page.words,
        here=here,
        kiosk=form.kiosk,
        css=looks.css,
        choices=choices(form.score) if form.score is not None else (),
        languages=form.languages,
        names=_NAMES,
        honeypot=HONEYPOT,
        **(parts or {}),
    )
    ancestors = " ".join(form.embed) or "'none'"
    policy = f"default-src 'none'; style-src 'sha256-{looks.css_hash}'; form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
    headers = {
        "Cache-Control": "no-store",
        "Content-Language": language,
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Language",
        "X-Content-Type-Options": "nosniff",
    }
    if again_after:
        # Only where the next one must not find what the last one wrote: nobody else's page moves by itself (WCAG 2.2.1).
        headers["Refresh"] = f"{again_after}; url={here}"
    return HTMLResponse(text, status, headers=headers)
