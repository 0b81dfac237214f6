"""What becomes of an uploaded file: rehearsed for its preview, and sent, both beside the requests that ask for it.

A rehearsal is in memory only: it is made again where it is gone. A sending lives on the disk, by its checkpoint: whatever
ends this process, somebody goes on with it from the page, in their own name. Rows are read in threads a little at a time
(of rehearsals one at once), and go to ingest by its public API with a pass, as whatever else is done here.
"""

import asyncio
import contextlib
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from services.console.service import Api, refused
from services.console.uploads import Begun, Upload, Uploads
from services.console.visit import Door, Visit
from shared.errors import FlywheelError, Rejected, Transient
from shared.files.checkpoint import Counts
from shared.files.columns import Column, Ranges
from shared.files.look import Options, Unsettled, look
from shared.files.reading import Fact, Item, Look, Ready, Refused
from shared.files.sending import Away, Way, in_thread, send
from shared.people import Person
from shared.sessions import Action
from shared.tasks import keep
from shared.telemetry import get_logger
from shared.web.problems import Problem

if TYPE_CHECKING:
    import httpx2

SHOWN_ROWS = 5
SHOWN_REFUSALS = 10
READ_AT_ONCE_S = 0.1
"""In a thread: then others may read."""
WAITED_FOR_S = 2.0
"""How long a page waits for a rehearsal, before it shows how far that is."""
MOST_REHEARSALS = 8
_log = get_logger("imports")

Known = Callable[[str, Sequence[tuple[str, str]]], Awaitable[list[int]]]
State = Literal["new", "sending", "elsewhere", "stopped", "done"]


class Found(NamedTuple):
    """What is said of a file before its rows."""

    kind: str
    facts: Sequence[Fact]
    columns: Sequence[Column]
    notes: Sequence[str]
    sheets: Sequence[str]


class Sample(NamedTuple):
    number: int
    body: dict[str, Any]


class Wrong(NamedTuple):
    number: int
    reason: str


@dataclass(slots=True)
class Rehearsal:
    """What would come of it, as far as it was read."""

    found: Found | None = None
    problem: str = ""
    """Why it cannot be imported so."""
    share: float = 0.0
    counts: Counts = field(default_factory=Counts)
    rows: list[Sample] = field(default_factory=list)
    refusals: list[Wrong] = field(default_factory=list)
    is_done: bool = False

    def note(self, item: Item) -> None:
        self.counts.note(item)
        if isinstance(item, Ready) and len(self.rows) < SHOWN_ROWS:
            self.rows.append(Sample(item.number, item.body))
        elif isinstance(item, Refused) and len(self.refusals) < SHOWN_REFUSALS:
            self.refusals.append(Wrong(item.number, item.reason))


@dataclass(slots=True)
class Sending:
    by: str
    share: float = 0.0
    waits: str = ""
    """Why, while the service is away."""
    task: "asyncio.Task[None] | None" = None


class Standing(NamedTuple):
    """Where an upload stands."""

    state: State
    counts: Counts
    row: int
    has_refusals: bool
    sending: Sending | None


class Imports:
    def __init__(self, uploads: Uploads, ingest: Api, door: Door, known: Known) -> None:
        self.uploads = uploads
        self.host = socket.gethostname()
        self._ingest = ingest
        self._door = door
        self._known = known
        self._reads = asyncio.Lock()
        self._rehearsals: OrderedDict[tuple[str, str], tuple[Options, Rehearsal, asyncio.Task[None]]] = OrderedDict()
        self._sendings: dict[str, Sending] = {}

    async def drain(self) -> None:
        """Whatever is sent stops where it can be gone on with."""
        tasks = [task for *_, task in self._rehearsals.values()]
        tasks += [one.task for one in self._sendings.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def standing(self, upload: Upload) -> Standing:
        checkpoint, sending = upload.checkpoint, self._sendings.get(upload.id)
        state: State = "new"
        if sending is not None:
            state = "sending"
        elif checkpoint.finished:
            state = "done"
        elif upload.begun is not None:
            state = "elsewhere" if checkpoint.is_held else "stopped"
        return Standing(state, checkpoint.counts, checkpoint.row, bool(checkpoint.refusals), sending)

    def every(self, visit: Visit) -> list[tuple[Upload, Standing]]:
        return [(upload, self.standing(upload)) for upload in self.uploads.of(visit.workspace)]

    def sweep(self, now: datetime) -> None:
        self.uploads.sweep(now, spared=self._sendings.__contains__)

    async def brought(self, upload: Upload, visit: Visit) -> None:
        """Stands in the audit trail, or is not here."""
        try:
            await self._record(visit.workspace, visit.person, "import.uploaded", upload)
        except BaseException:
            self.uploads.remove(upload)
            raise

    async def remove(self, upload: Upload, visit: Visit) -> None:
        """Raises 409 while it is sent."""
        self._must_rest(upload)
        await self._record(visit.workspace, visit.person, "import.removed", upload)
        self._must_rest(upload)
        for key in [key for key in self._rehearsals if key[0] == upload.id]:
            self._rehearsals.pop(key)[2].cancel()
        self.uploads.remove(upload)

    def _must_rest(self, upload: Upload) -> None:
        if self.standing(upload).state in ("sending", "elsewhere"):
            raise Problem(409, "being-imported", "The file is being imported now.", "Stop that first, or wait.")

    # ── rehearsing ──

    async def rehearsal(self, upload: Upload, person: Person, options: Options, ranges: Ranges) -> Rehearsal:
        """As far as it is within `WAITED_FOR_S`. One for each person and file: other options begin another."""
        key = (upload.id, person.email)
        made = self._rehearsals.get(key)
        if made is None or made[0] != options:
            if made is not None:
                made[2].cancel()
            rehearsal = Rehearsal()
            task = keep(self._rehearse(upload, options, ranges, rehearsal), "console-rehearsal")
            made = self._rehearsals[key] = (options, rehearsal, task)
            while len(self._rehearsals) > MOST_REHEARSALS:
                self._rehearsals.popitem(last=False)[1][2].cancel()
        self._rehearsals.move_to_end(key)
        await asyncio.wait({made[2]}, timeout=WAITED_FOR_S)
        return made[1]

    async def _rehearse(self, upload: Upload, options: Options, ranges: Ranges, rehearsal: Rehearsal) -> None:
        def heard(share: float) -> None:
            rehearsal.share = share

        try:
            found = await in_thread(look, upload.content, options, ranges, upload.name)
            try:
                rehearsal.found = _found(found)
                items = found.reading(ranges, heard)
                more = True
                while more:
                    async with self._reads:
                        more = await in_thread(_some, items, rehearsal)
            finally:
                found.close()
        except Unsettled as error:
            rehearsal.found, rehearsal.problem = _found(error.found), str(error)
        except (FlywheelError, OSError) as error:
            rehearsal.problem = str(error)
        except Exception:  # noqa: BLE001 - a defect ends one preview, and not the process
            _log.exception("import.rehearsal_failed", upload=upload.id)
            rehearsal.problem = "this file cannot be read, by a mistake of ours: the log says more"
        rehearsal.is_done = True

    # ── sending ──

    async def send(self, upload: Upload, visit: Visit, options: Options, ranges: Ranges) -> None:
        """Begins, in this person's name. Raises 409."""
        if upload.begun is not None:
            raise Problem(409, "begun-before", "This file was begun with before.", "Go on with it, or upload it again.")
        await self._begin(replace(upload, begun=Begun(visit.person.email, visit.now, options, ranges)), visit)

    async def go_on(self, upload: Upload, visit: Visit) -> None:
        """Behind the last row that is settled, read as before. Raises 409."""
        if self.standing(upload).state == "stopped":
            await self._begin(upload, visit)
        else:
            raise Problem(409, "not-stopped", "This import has not stopped.", "Look at where it stands.")

    async def stop(self, upload: Upload, visit: Visit) -> None:
        """At a place from which to go on. Raises 409."""
        sending = self._sendings.get(upload.id)
        if sending is None or sending.task is None:
            raise Problem(
                409,
                "not-sending",
                "This process is not importing this file.",
                "It has ended already, or another process of the console does it: it ends with that one.",
            )
        sending.task.cancel()
        await asyncio.gather(sending.task, return_exceptions=True)
        await self._record(visit.workspace, visit.person, "import.stopped", upload)

    async def _begin(self, upload: Upload, visit: Visit) -> None:
        self._must_rest(upload)
        sending = self._sendings[upload.id] = Sending(visit.person.email)
        try:
            await self._record(visit.workspace, visit.person, "import.started", upload)
            upload = replace(upload, why="")
            self.uploads.keep(upload)
        except BaseException:
            del self._sendings[upload.id]
            raise
        sending.task = keep(self._send(upload, visit.person, sending), "console-import")
        sending.task.add_done_callback(lambda _: self._sendings.pop(upload.id, None))

    async def _send(self, upload: Upload, person: Person, sending: Sending) -> None:
        why = ""
        try:
            await self._send_all(upload, person, sending)
        except asyncio.CancelledError:
            raise
        except Away as error:
            why = f"{error}; it stayed so for too long"
        except (FlywheelError, OSError) as error:
            why = str(error)
        except Exception:  # noqa: BLE001 - a defect ends one import, and not the process
            _log.exception("import.failed", upload=upload.id)
            why = "a mistake of ours: the log says more"
        if why:
            with contextlib.suppress(OSError):
                self.uploads.keep(replace(upload, why=why))
            _log.warning("import.stopped", upload=upload.id, reason=why)

    async def _send_all(self, upload: Upload, person: Person, sending: Sending) -> None:
        assert upload.begun is not None
        begun, checkpoint = upload.begun, upload.checkpoint

        def heard(share: float) -> None:
            sending.share = share

        def waits(why: str) -> None:
            sending.waits = why

        async def known(_: "httpx2.AsyncClient", items: Sequence[tuple[str, str]]) -> set[int]:
            return set(await self._known(upload.workspace, items))

        way = Way(
            lambda: self._ingest.url, self._bearer(upload.workspace, person), known, _refusal, waits, proxied=False
        )
        found = await in_thread(look, upload.content, begun.options, begun.ranges, upload.name)
        try:
            await send(found, begun.ranges, checkpoint, way, heard)
        finally:
            found.close()
        upload.content.unlink(missing_ok=True)
        counts = checkpoint.counts
        said = f"{counts.new} new, {counts.known} here already, {counts.repeated} twice, {counts.refused} refused"
        _log.info("import.finished", upload=upload.id, person=person.email, rows=counts.rows, refused=counts.refused)
        try:
            await self._record(upload.workspace, person, "import.finished", upload, said)
        except Transient as error:  # it is finished all the same
            _log.warning("import.not_recorded", upload=upload.id, reason=str(error))

    def _bearer(self, workspace: str, person: Person) -> Callable[[], str]:
        """Passes in their name, for as long as teams.yaml allows them what it did."""
        was = self._door.listed(person.email)

        def bearer() -> str:
            now = self._door.listed(person.email)
            if was is not None and (now is None or not now.is_at_least(was.role)):
                raise Rejected(f"{person.email} may not import any more, by teams.yaml")
            return self._ingest.bearer(workspace, person)

        return bearer

    async def _record(self, workspace: str, person: Person, action: Action, upload: Upload, said: str = "") -> None:
        detail = f"{upload.name}: {said}" if said else upload.name
        await self._door.audit.record(workspace, person, action, upload.id, detail)


def _found(found: Look) -> Found:
    return Found(found.kind, found.facts, found.columns, found.notes, found.sheets)


def _some(items: Iterator[Item], rehearsal: Rehearsal) -> bool:
    """In a thread: some more rows. False: there are none."""
    until = time.monotonic() + READ_AT_ONCE_S
    for item in items:
        rehearsal.note(item)
        if time.monotonic() > until:
            return True
    return False


def _refusal(answer: "httpx2.Response") -> FlywheelError:
    try:
        document = answer.json()
    except ValueError:
        document = {}
    return refused(answer.status_code, document if isinstance(document, dict) else {})
