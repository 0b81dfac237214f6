"""The style sheet and the scripts, by a name that holds their hash: kept for ever, and never old."""

import mimetypes
from functools import cache

from fastapi import APIRouter, Response

from services.console.pages import Site
from services.console.render import STATIC, static_url
from shared.web.problems import not_found


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/static/{digest}/{name}")
    async def static(digest: str, name: str) -> Response:
        body = _files().get(name)
        if body is None or static_url(name) != f"/static/{digest}/{name}":
            raise not_found()
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(body, media_type=kind, headers=headers)

    return routes


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in {".css", ".js", ".svg"}}
