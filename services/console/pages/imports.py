"""A file of feedback: brought here, looked at, and sent; as `flywheel import` does it, for those who lead a team.

Nothing is sent before somebody has seen what the file is taken for. What they say instead stands in the address, so that
the preview can be reloaded and shown to a colleague; it is kept with the file once rows are sent.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData, QueryParams
from starlette.responses import FileResponse, RedirectResponse

from services.console.imports import Standing
from services.console.pages import Site
from services.console.render import FILE_HEADERS
from services.console.uploads import KEPT, MAX_BYTES, Upload
from services.console.visit import Visit
from shared.files.columns import IGNORE, MEMBERS, Ranges
from shared.files.look import Options, default_source
from shared.files.tools import NONE, tools
from shared.web.problems import malformed, not_found

ENCODINGS = ("utf-8", "utf-16", "gb18030", "shift-jis", "windows-1252", "big5", "euc-kr")
DELIMITERS = ("comma", "semicolon", "tab", "bar")
HEADER_ROW = {"yes": True, "no": False}
SAID = ("encoding", "delimiter", "sheet", "source", "zone", "date_format", "tool")
SAID_MAX_CHARS = 255
PLACE_MAX_DIGITS = 4
_PLACE = re.compile(rf"c([0-9]{{1,{PLACE_MAX_DIGITS}}})")


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    async def lead(request: Request) -> Visit:
        visit = await site.door.visit(request)
        visit.need("lead")
        return visit

    async def acting(request: Request, upload_id: str) -> tuple[Visit, FormData, Upload]:
        """Who does what with which file."""
        visit = await lead(request)
        form = await site.door.form(request, visit)
        return visit, form, site.imports.uploads.find(visit.workspace, upload_id)

    @routes.get("/imports")
    async def imports(request: Request) -> Response:
        visit = await lead(request)
        site.imports.sweep(visit.now)
        found = site.imports.every(visit)
        return site.pages.page(
            visit, "imports.html", found=found, max_bytes=MAX_BYTES, days=KEPT.days, host=site.imports.host
        )

    @routes.post("/imports")
    async def bring(request: Request) -> Response:
        visit = await lead(request)
        site.door.same_site(request)
        site.imports.sweep(visit.now)  # what was left too long makes room
        upload = await site.imports.uploads.receive(request, visit, lambda given: site.door.prove(visit, given))
        await site.imports.brought(upload, visit)
        return RedirectResponse(f"/imports/{upload.id}", 303)

    @routes.get("/imports/{upload_id}")
    async def one(request: Request, upload_id: str) -> Response:
        visit = await lead(request)
        upload = site.imports.uploads.find(visit.workspace, upload_id)
        standing = site.imports.standing(upload)
        if standing.state != "new":
            return _standing(site, visit, upload, standing)
        return await _preview(site, visit, upload, request)

    @routes.post("/imports/{upload_id}")
    async def again(request: Request, upload_id: str) -> Response:
        """What was said, into the address."""
        _, form, upload = await acting(request, upload_id)
        return _back(upload, said_in(form))

    @routes.post("/imports/{upload_id}/send")
    async def send(request: Request, upload_id: str) -> Response:
        visit, form, upload = await acting(request, upload_id)
        options = options_of(said := said_in(form))
        if options != options_of(dict(parse_qsl(str(form.get("seen", ""))))):
            response = _back(upload, said)
            site.door.tell(response, "import_changed")
            return response
        await site.imports.send(upload, visit, options, await _ranges(site, visit))
        return _back(upload)

    @routes.post("/imports/{upload_id}/go-on")
    async def go_on(request: Request, upload_id: str) -> Response:
        visit, _, upload = await acting(request, upload_id)
        await site.imports.go_on(upload, visit)
        return _back(upload)

    @routes.post("/imports/{upload_id}/stop")
    async def stop(request: Request, upload_id: str) -> Response:
        visit, _, upload = await acting(request, upload_id)
        await site.imports.stop(upload, visit)
        return _back(upload)

    @routes.post("/imports/{upload_id}/remove")
    async def remove(request: Request, upload_id: str) -> Response:
        visit, _, upload = await acting(request, upload_id)
        await site.imports.remove(upload, visit)
        return RedirectResponse("/imports", 303)

    @routes.get("/imports/{upload_id}/refused")
    async def refused(request: Request, upload_id: str) -> Response:
        visit = await lead(request)
        upload = site.imports.uploads.find(visit.workspace, upload_id)
        path = upload.refusals
        if path is None:
            raise not_found("No row of this file was refused.")
        name = quote(f"{default_source(upload.named)}.refused{path.suffix}")
        disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return FileResponse(path, media_type="application/octet-stream", headers={**FILE_HEADERS, **disposition})

    return routes


def _back(upload: Upload, said: Mapping[str, str] | None = None) -> Response:
    return RedirectResponse(f"/imports/{upload.id}" + (f"?{urlencode(said)}" if said else ""), 303)


def _standing(site: Site, visit: Visit, upload: Upload, standing: Standing) -> Response:
    return site.pages.page(
        visit, "importing.html", upload=upload, standing=standing, days=KEPT.days, host=site.imports.host
    )


async def _preview(site: Site, visit: Visit, upload: Upload, request: Request) -> Response:
    ranges, said = await _ranges(site, visit), said_in(request.query_params)
    rehearsal = await site.imports.rehearsal(upload, visit.person, options_of(said), ranges)
    is_part = "hx-request" in request.headers
    return site.pages.page(
        visit,
        "import.html",
        status=422 if rehearsal.problem and not is_part else 200,
        upload=upload,
        rehearsal=rehearsal,
        said=said,
        seen=urlencode(said),
        encodings=ENCODINGS,
        delimiters=DELIMITERS,
        tools={name: tool.TITLE for name, tool in tools().items()} | {NONE: None},
        members=[*(name for name in MEMBERS if name != "attributes"), *(f"score.{name}" for name in ranges), IGNORE],
        days=KEPT.days,
    )


async def _ranges(site: Site, visit: Visit) -> Ranges:
    """Of the metrics that there are here."""
    found = await site.router.call(visit, "GET", "/v1/rules")
    return {name: (low, high) for name, (low, high) in found["metrics"].items()}


def said_in(given: QueryParams | FormData) -> dict[str, str]:
    """What a person says of a file, of all that stands in an address or a form. Raises 400. Pure."""
    said = {
        name: value.strip()
        for name, value in given.items()
        if isinstance(value, str) and value.strip() and (name in SAID or name == "header" or _PLACE.fullmatch(name))
    }
    if any(len(value) > SAID_MAX_CHARS for value in said.values()):
        raise malformed(f"What is said of a file has at most {SAID_MAX_CHARS} characters.")
    if said.get("header", "yes") not in HEADER_ROW:
        raise malformed("header: yes or no")
    return said


def options_of(said: Mapping[str, str]) -> Options:
    """Pure."""
    places = [(int(found[1]), value) for name, value in said.items() if (found := _PLACE.fullmatch(name))]
    return Options(
        encoding=said.get("encoding"),
        delimiter=said.get("delimiter"),
        sheet=said.get("sheet"),
        header=HEADER_ROW.get(said.get("header", "")),
        source=said.get("source"),
        zone=said.get("zone"),
        date_format=said.get("date_format"),
        places=tuple(sorted(places)),
        tool=said.get("tool"),
    )
