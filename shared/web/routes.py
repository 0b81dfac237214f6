"""The routes that FastAPI parses, held to what the hot path is held to.

`problems.install` makes every route of the application a `StrictRoute`: bodies are read by `read_body` and decoded by `strict_json`, forms are counted and
hold no NUL, and neither does the path or the query, which would otherwise reach the database and break there.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Misuse
from shared.web import strict_json
from shared.web.body import JSON, accepted, read_body, wrong_type
from shared.web.problems import malformed

MAX_BODY_BYTES = 1024 * 1024


def answers(model: type[BaseModel], description: str = "") -> dict[str, Any]:
    """For a route's decorator: what it answers, for OpenAPI only. The answer itself goes out as it was made."""
    said = {"model": model} | ({"description": description} if description else {})
    return {"response_model": None, "responses": {200: said}}


class StrictRequest(Request):
    """Starlette's request; only what is read from it is checked."""

    async def body(self) -> bytes:
        # Kept in the scope: other request objects on it (dependencies make some) read the same body.
        found: bytes | None = self.scope.get("flywheel.body")
        if found is None:
            found = await read_body(self.scope, self.receive, max_bytes=MAX_BODY_BYTES, content_types=None)
            self.scope["flywheel.body"] = found
        return found

    async def stream(self) -> AsyncGenerator[bytes, None]:
        yield await self.body()
        yield b""

    async def json(self) -> Any:
        return strict_json.loads(await self.body())

    async def _get_form(self, **limits: Any) -> FormData:
        form = await super()._get_form(**limits)
        for name, value in form.multi_items():
            if "\0" in name or (isinstance(value, str) and "\0" in value):
                raise malformed("A form field holds a NUL character.")
        return form


class StrictRoute(APIRoute):
    """A route whose handler gets a `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_json = self.body_field is not None and not isinstance(self.body_field.field_info, Form)

        async def handler(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if b"%00" in request.scope["query_string"] or b"%00" in request.scope.get("raw_path", b""):
                raise malformed("The address holds a NUL character.")
            if takes_json and await strict.body() and not accepted(_content_type(strict), JSON):
                raise wrong_type(JSON)
            return await handle(strict)

        return handler


def _content_type(request: Request) -> bytes:
    return b",".join(value for name, value in request.scope["headers"] if name == b"content-type")


def make_strict(router: APIRouter) -> None:
    """Every route of it, also of the routers that it includes. A route asks its class for a handler when it is included.

    Raises `Misuse` for `max_body_size`, whose refusal is plain text sent past every handler: ours is `MAX_BODY_BYTES`,
    and `read_body` where a route wants another.
    """
    router.route_class = StrictRoute
    for route in router.routes:
        if getattr(route, "max_body_size", None) is not None:
            raise Misuse(f"{route}: max_body_size answers in plain text; use read_body")
        if type(route) is APIRoute:
            route.__class__ = StrictRoute
        elif isinstance(included := getattr(route, "original_router", None), APIRouter):
            make_strict(included)
