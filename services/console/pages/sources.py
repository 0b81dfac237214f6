"""Where feedback comes from: when each source was last heard of, how much it says, and whether that is as usual.

A webhook that broke looks like customers with nothing to say, so silence is said (`hearing.py`). What stands in sources.yaml
is shown as it is written there, never a secret; whoever never spoke is on the page too.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import APIRouter, Request, Response

from services.console.hearing import LOOP, Entry, Source, entries_of
from services.console.pages import Site
from services.console.rhythm import DAYS
from services.console.spark import segments
from services.console.visit import Visit
from shared.habits import WEEKS

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "connect"
SHOWN = 200
"""Besides those of sources.yaml."""
HOURS = 24

_WEEK = """
SELECT source, sum(events)::bigint AS events FROM published.heard
WHERE workspace = :workspace AND source = ANY(:sources) AND hour >= :since GROUP BY source
"""
_LAST_DAY = """
SELECT source, hour, sum(events)::bigint AS events FROM published.heard
WHERE workspace = :workspace AND source = ANY(:sources) AND hour >= :since GROUP BY source, hour
"""


@dataclass(frozen=True, slots=True)
class Shown:
    source: Source
    entry: Entry | None
    hours: tuple[int, ...]
    """Of the last `HOURS`, the oldest first."""
    week: int


@dataclass(frozen=True, slots=True)
class Guide:
    title: str
    path: str
    text: str


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/sources")
    async def sources(request: Request) -> Response:
        visit = await site.door.visit(request)
        return site.pages.page(
            visit,
            "sources.html",
            sources=await _shown(site, visit),
            hours=_hours(visit.now),
            days=DAYS,
            weeks=WEEKS,
            segments=segments,
            guides=guides(),
            url=f"{site.runtime.settings.public_url}/v1/webhooks/",
            answers=LOOP,
        )

    return routes


async def _shown(site: Site, visit: Visit) -> list[Shown]:
    entries, found = entries_of(site.config(), visit.workspace), await site.measuring.sources(visit.workspace)
    names = list(found)[: SHOWN + len(entries)]
    asked = {"workspace": visit.workspace, "sources": names}
    told = await site.queries.rows(_WEEK, **asked, since=visit.now - timedelta(days=7))
    week = {row["source"]: row["events"] for row in told}
    hours = _hours(visit.now)
    rows = await site.queries.rows(_LAST_DAY, **asked, since=hours[0])
    by_hour = {(row["source"], row["hour"]): row["events"] for row in rows}
    return [
        Shown(
            found[name],
            entries.get(name),
            tuple(by_hour.get((name, hour), 0) for hour in hours),
            week.get(name, 0),
        )
        for name in names
    ]


def _hours(now: datetime) -> list[datetime]:
    """This one and those before, the oldest first."""
    this = now.replace(minute=0, second=0, microsecond=0)
    return [this - timedelta(hours=back) for back in reversed(range(HOURS))]


def guides() -> list[Guide]:
    """How to connect each tool, as it stands in the folder: none where we were installed without it."""
    found = []
    for path in sorted(GUIDES.glob("*.md")):
        heading, _, text = path.read_text("utf-8").partition("\n")
        title = heading.removeprefix("# Connect ").strip()
        found.append(Guide(title, f"docs/connect/{path.name}", text.strip()))
    return found
