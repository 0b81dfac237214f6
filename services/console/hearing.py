"""What is known of a source: whether it stands in sources.yaml, when it spoke, and whether that is as it usually does. ●"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.console.rhythm import Rhythm, rhythm
from services.console.volume import Standing, Volume, standing, volume
from shared.config import Config
from shared.events.envelope import rfc3339

FILE = "sources.yaml"
LOOP = "loop"
"""What our own page says: no source that could break."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """Of sources.yaml."""

    name: str
    connector: str
    verify: str
    header: str
    secrets: int
    line: int


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    last_at: datetime | None
    rhythm: Rhythm
    volume: Volume | None
    """None: it has no habits, or what came lately is not known yet."""

    @property
    def standing(self) -> Standing:
        return standing(self.rhythm, self.volume)

    @property
    def unusual(self) -> Volume | None:
        """What came, where that is what is to be said of it."""
        return self.volume if self.standing in ("quiet", "doubled") else None


def entries_of(config: Config | None, workspace: str) -> dict[str, Entry]:
    """As it is written: what is no entry is ingest's to refuse, and is passed over here."""
    document = config.written[FILE] if config is not None else None
    written = document.data.get("sources") if document is not None and isinstance(document.data, Mapping) else None
    found: dict[str, Entry] = {}
    for index, one in enumerate(written or ()):
        if document is None or not isinstance(one, Mapping) or one.get("workspace", "default") != workspace:
            continue
        line, _ = document.marks.get(("sources", index), (0, 0))
        name, secrets = str(one.get("name", "")), one.get("secrets") or ()
        found[name] = Entry(
            name,
            str(one.get("connector", "")),
            str(one.get("verify", "signature")),
            str(one.get("header") or ""),
            len(secrets),
            line,
        )
    return found


def sources_of(heard: Iterable[Row], hours: Iterable[Row], now: datetime, end: datetime) -> dict[str, Source]:
    """`heard`: `Queries.heard`. `hours`: `Queries.hours` before `end`. `now`: as of when all is known that was said."""
    habits = {row["source"]: volume(dict(zip(row["ago"], row["events"], strict=True)), end) for row in hours}
    return {
        row["source"]: Source(
            row["source"],
            row["last_at"],
            rhythm(row["last_at"], row["events"], row["hours"], row["first_hour"], row["longest"], now),
            habits.get(row["source"]),
        )
        for row in heard
    }


def unheard(name: str, now: datetime) -> Source:
    """It stands in sources.yaml, and nothing has come of it."""
    return Source(name, None, rhythm(None, 0, 0, None, None, now), None)


def to_json(source: Source, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """As `GET /v1/sources` says it."""
    entry, came = entries.get(source.name), source.volume
    return {
        "source": source.name,
        "connector": entry.connector if entry else None,
        "state": source.standing,
        "last_at": rfc3339(source.last_at) if source.last_at else None,
        "silence_s": _seconds(source.rhythm.silence),
        "longest_pause_s": _seconds(source.rhythm.longest_pause),
        "volume": came_of(came) if came else None,
    }


def came_of(volume: Volume) -> dict[str, Any]:
    span = {"from": rfc3339(volume.start), "to": rfc3339(volume.end)}
    return {**span, "came": volume.came, "expected": round(volume.expected, 1)}


def _seconds(span: Any) -> int | None:
    return int(span.total_seconds()) if span is not None else None
