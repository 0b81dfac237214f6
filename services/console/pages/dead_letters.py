"""Dead letters: what could not be processed, for those who lead a team to look at and to send again.

Sending again is two steps, and the first changes nothing: it shows what would go where, and what cannot go. A letter is
somebody else's bytes, maybe of somebody who means no good: shown escaped and cut, downloaded whole and as nothing that a
browser would open.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from services.console.pages import Site
from services.console.render import FILE_HEADERS
from services.console.visit import Visit
from shared.dead_letters import REDRIVEN, DeadLetters, Kept, Place, plan
from shared.errors import Transient
from shared.web.problems import Problem, malformed, not_found

PAGE = 50
_REDRIVE = "/v1/quarantine/redrive"
_SENDABLE = ("topic", "webhook")
CHOSEN_MAX = 200
SHOWN_CHARS = 20_000
DUMPED_BYTES = 4_096
DUMPED_PER_LINE = 16
# Their pictures: whoever looks for what a parser stumbled over must see it.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: 0x2421}

_SENT = """
SELECT DISTINCT ON (object) object, at, person FROM published.audit
WHERE workspace = :workspace AND action = :action AND object = ANY(:ids) ORDER BY object, id DESC
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/dead-letters")
    async def newest(request: Request, before: str = "") -> Response:
        visit = await _lead(site, request)
        page = await _letters(site, visit).page(PAGE, _bounds(before))
        return site.pages.page(
            visit,
            "dead_letters.html",
            rows=page.items,
            sent=await _sent(site, visit, [one.label.id for one in page.items]),
            every=_query([one.place for one in page.items if one.label.came_by in _SENDABLE]),
            older=".".join(f"{partition}-{offset}" for partition, offset in page.older.items()),
            is_first=not before,
        )

    @routes.get("/dead-letters/redrive")
    async def dry_run(request: Request, letter: list[str] = Query([])) -> Response:  # noqa: B008 - FastAPI's way
        """What would go where; nothing is sent."""
        visit = await _lead(site, request)
        places = _places(letter)
        planned = await _planned(site, visit, [kept async for kept in _letters(site, visit).several(places)])
        return site.pages.page(
            visit,
            "redrive.html",
            planned=planned,
            going=[one["place"] for one in planned if one["goes"]],
            gone=len(places) - len(planned),
            sent=await _sent(site, visit, [one["id"] for one in planned]),
        )

    @routes.post("/dead-letters/redrive")
    async def redrive(request: Request) -> Response:
        visit = await _lead(site, request)
        form = await site.door.form(request, visit)
        letters, places = _letters(site, visit), _places([str(one) for one in form.getlist("letter")])
        hooks: list[Kept] = []
        done = 0
        async for one in letters.redrive(letters.several(places), visit.person, site.door.audit):
            done += one.message is not None
            if one.why_not == "webhook":
                hooks.append(one.kept)
        done += await _read_again(site, visit, hooks)
        response = RedirectResponse("/dead-letters", 303)
        site.door.tell(response, "letters_left" if done < len(places) else "letters_sent", done=done, all=len(places))
        return response

    @routes.get("/dead-letters/{place}")
    async def one(request: Request, place: str) -> Response:
        visit = await _lead(site, request)
        kept = await _found(site, visit, place)
        headers = [(name, value.decode(errors="replace")) for name, value in kept.letter.headers]
        text, is_cut = shown(kept.letter.value)
        return site.pages.page(
            visit,
            "dead_letter.html",
            kept=kept,
            letter=kept.letter,
            headers=headers,
            source=dict(headers).get("ce_source", ""),
            planned=(await _planned(site, visit, [kept]))[0],
            sent=await _sent(site, visit, [kept.letter.id]),
            text=text,
            dump=hex_dump(kept.letter.value[:DUMPED_BYTES]) if text is None else None,
            is_cut=is_cut,
        )

    @routes.get("/dead-letters/{place}/bytes")
    async def raw(request: Request, place: str) -> Response:
        """The original, to the byte."""
        visit = await _lead(site, request)
        kept = await _found(site, visit, place)
        letter = kept.letter
        await site.door.audit.record(
            visit.workspace, visit.person, "dead-letter.downloaded", letter.id, str(kept.place)
        )
        named = {"Content-Disposition": f'attachment; filename="dead-letter-{kept.place}.bin"'}
        return Response(letter.value, media_type="application/octet-stream", headers=FILE_HEADERS | named)

    return routes


async def _lead(site: Site, request: Request) -> Visit:
    visit = await site.door.visit(request)
    visit.need("lead")
    return visit


def _letters(site: Site, visit: Visit) -> DeadLetters:
    return DeadLetters(site.runtime.log, visit.workspace)


async def _found(site: Site, visit: Visit, text: str) -> Kept:
    """Raises 404."""
    place = Place.read(text)
    kept = await _letters(site, visit).at(place) if place is not None else None
    if kept is None:
        raise not_found("No dead letter stands there, or it has aged out.")
    return kept


async def _sent(site: Site, visit: Visit, ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Letter id → when it was last sent again, and by whom."""
    rows = await site.queries.rows(_SENT, workspace=visit.workspace, action=REDRIVEN, ids=list(ids)) if ids else []
    return {row["object"]: row for row in rows}


async def _planned(site: Site, visit: Visit, letters: Sequence[Kept]) -> list[dict[str, Any]]:
    """What would become of each, without its bytes."""
    found = []
    read = await _dry_run(site, visit, [kept for kept in letters if kept.letter.came_by == "webhook"])
    for kept in letters:
        letter, (_, message, why_not) = kept.letter, plan(kept, visit.workspace)
        says = read.get(str(kept.place))
        found.append(
            {
                "place": kept.place,
                "id": letter.id,
                "reason": letter.reason,
                "original_topic": letter.original_topic,
                "topic": message.topic if message is not None else None,
                "service": letter.service,
                "redrive": letter.redrives + 1,
                "why_not": why_not,
                "read": says,
                "goes": message is not None or (says is not None and says["outcome"] == "accepted"),
            }
        )
    return found


# ── webhooks: ingest reads them again, by the connector and the mapping as they are now ──


async def _dry_run(site: Site, visit: Visit, hooks: Sequence[Kept]) -> Mapping[str, Mapping[str, Any]]:
    """Place → what ingest says of it; `away` where nobody can be asked."""
    if not hooks:
        return {}
    try:
        answer = await site.ingest.call(visit, "POST", _REDRIVE, _asked(hooks, dry_run=True))
    except (Transient, Problem):
        return {str(kept.place): {"outcome": "away", "reason": ""} for kept in hooks}
    return {one["letter"]: one for one in answer["letters"]}


async def _read_again(site: Site, visit: Visit, hooks: Sequence[Kept]) -> int:
    """How many could be read. Written to the audit trail before it is tried, as all redriving is. Raises `Transient`."""
    says = await _dry_run(site, visit, hooks)
    going = [kept for kept in hooks if says[str(kept.place)]["outcome"] == "accepted"]
    if not going:
        return 0
    rows = [(kept.letter.id, f"{kept.place} → {_REDRIVE}") for kept in going]
    await site.door.audit.record_all(visit.workspace, visit.person, REDRIVEN, rows)
    answer = await site.ingest.call(visit, "POST", _REDRIVE, _asked(going, dry_run=False))
    return sum(one["outcome"] == "accepted" for one in answer["letters"])


def _asked(hooks: Sequence[Kept], *, dry_run: bool) -> dict[str, Any]:
    return {"letters": [str(kept.place) for kept in hooks], "dry_run": dry_run}


# ── what stands in addresses and forms ──


def _places(given: Sequence[str]) -> list[Place]:
    """Each once. Raises 400."""
    found = [Place.read(text) for text in dict.fromkeys(given)]
    if len(found) > CHOSEN_MAX:
        raise malformed(f"letter: at most {CHOSEN_MAX} at once; `flywheel dlq redrive` sends all of them")
    if None in found:
        raise malformed("letter: take it from the list")
    return [place for place in found if place is not None]


def _query(places: Sequence[Place]) -> str:
    return f"?{urlencode([('letter', str(place)) for place in places])}" if places else ""


def _bounds(text: str) -> dict[int, int]:
    """Raises 400."""
    found = [Place.read(part) for part in text.split(".")] if text else []
    if None in found:
        raise malformed("before: take it from the link to the older ones")
    return {place.partition: place.offset for place in found if place is not None}


# ── somebody else's bytes ──


def shown(value: bytes) -> tuple[str | None, bool]:
    """The text, and whether there is more of it (or of the bytes) than is shown. None: it is no UTF-8."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None, len(value) > DUMPED_BYTES
    return text[:SHOWN_CHARS].translate(_CONTROLS), len(text) > SHOWN_CHARS


def hex_dump(value: bytes) -> str:
    """As `hexdump -C` writes it."""
    lines = []
    for start in range(0, len(value), DUMPED_PER_LINE):
        part = value[start : start + DUMPED_PER_LINE]
        readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * DUMPED_PER_LINE - 1}}  |{readable}|")
    return "\n".join(lines)
