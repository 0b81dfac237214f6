"""`flywheel import`: what a person is told of a file, and of its rows while they are sent (`shared.files.sending`)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from services.cli import client, show
from shared.errors import FlywheelError, Transient
from shared.events.feedback import METRIC_RANGES
from shared.files.checkpoint import Checkpoint, Counts
from shared.files.columns import Ranges
from shared.files.reading import Look, Refused
from shared.files.rows import Heard
from shared.files.sending import PASSING, Away, NobodyThere, Way, send

if TYPE_CHECKING:
    import httpx2

FOLDER = "imports"
"""Of the data folder: the checkpoints."""
SHOWN_REFUSALS = 10


def known_ranges() -> Ranges:
    """The metrics of the running service; the built-in ones where nobody can be asked."""
    try:
        found = client.call("router", "GET", "/v1/rules")["metrics"] if client.is_up("router") else {}
    except FlywheelError:
        return METRIC_RANGES
    return {name: (low, high) for name, (low, high) in found.items()} or METRIC_RANGES


# ── what the verb does ──


def rehearsed(look: Look, ranges: Ranges) -> dict[str, Any]:
    """What would be done. Nothing is sent."""
    counts, refused = Counts(), list[Refused]()
    with show.progress(f"reading {look.path.name}") as heard:
        for item in look.reading(ranges, heard):
            counts.note(item)
            if isinstance(item, Refused) and len(refused) < SHOWN_REFUSALS:
                refused.append(item)
    return _summary(look, counts, dry_run=True, refusals=[{"row": one.number, "reason": one.reason} for one in refused])


def sent(look: Look, ranges: Ranges, again: bool) -> dict[str, Any]:
    """Sends what is not settled yet. Raises `Transient`, `client.Refused`, `Misuse`."""
    checkpoint = Checkpoint.of(
        client.data_dir() / FOLDER, look, f"{client.base_url('ingest')} {sha256(client.api_key().encode()).hexdigest()}"
    )
    if again:
        checkpoint = Checkpoint(checkpoint.path)
    already = checkpoint.finished
    if checkpoint.others and not checkpoint.row:
        show.warn("this file was imported before in another way: rows that are here already stay as they are")
    if not already:
        if checkpoint.row:
            show.warn(f"going on behind row {checkpoint.row}")
        try:
            with show.progress(f"importing {look.path.name}") as heard:
                _send(look, ranges, checkpoint, heard)
        except (KeyboardInterrupt, FlywheelError):
            show.warn(f"settled up to row {checkpoint.row}: run the same command again to go on")
            raise
    counts = checkpoint.counts
    if already:
        counts = replace(counts, new=0, known=counts.known + counts.new)
    return _summary(look, counts, already=already, asks=already or checkpoint.asks, refused_file=checkpoint.refusals)


def _send(look: Look, ranges: Ranges, checkpoint: Checkpoint, heard: Heard) -> None:
    try:
        asyncio.run(send(look, ranges, checkpoint, way(), heard))
    except NobodyThere as error:
        raise Transient(f"{error}: is `flywheel up` running?") from None
    except Away as error:
        raise Transient(f"{error}: run the same command again to go on from row {checkpoint.row}") from None


def _summary(
    look: Look,
    counts: Counts,
    *,
    dry_run: bool = False,
    already: bool = False,
    asks: bool = True,
    refused_file: str = "",
    refusals: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "file": str(look.path),
        "dry_run": dry_run,
        "already": already,
        "rows": counts.rows,
        **asdict(counts),
        "known": counts.known if asks and not dry_run else None,
        "refused_file": refused_file or None,
        "refusals": list(refusals),
        "facts": [fact._asdict() for fact in look.facts],
        "columns": [{"column": one.name, "member": one.member, "why": one.why} for one in look.columns],
        "notes": list(look.notes),
    }


# ── to whom ──


def way() -> Way:
    """To the running service, with our key."""
    key = client.api_key()
    return Way(lambda: client.base_url("ingest"), lambda: key, _known, client.refusal, _waits)


async def _known(http: "httpx2.AsyncClient", items: Sequence[tuple[str, str]]) -> set[int] | None:
    """None: the key may not ask, or the service is older."""
    url, headers = client.base_url("console"), {"Authorization": f"Bearer {client.api_key()}"}
    answer = await http.post(f"{url}/v1/imports/known", json={"items": items}, headers=headers)
    if answer.status_code in PASSING:
        raise Transient(f"the service answers {answer.status_code}")
    return set(answer.json()["known"]) if answer.status_code == 200 else None


def _waits(why: str) -> None:
    if why:
        show.warn(f"{why}: waiting, then sending the same again")
