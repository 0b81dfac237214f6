"""A file's rows, sent in batches as history, so that they are counted and nobody is mailed.

A row's identity makes it safe to send again, so whatever fails is sent again: a 503 says *unknown*. Rows go in chunks; a
chunk's rows are spread over lanes by their customer, and a lane sends one batch at a time, so that several are on their
way and each customer's rows still arrive in the file's order. A chunk is settled when all of it is answered and all
before it are: then its refusals are written and after them the checkpoint.

To whom they go, in whose name, and what is told to people, is the caller's (`Way`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shared.errors import FlywheelError, Transient
from shared.events.identity import customer_of
from shared.files.checkpoint import Checkpoint, Counts
from shared.files.columns import Ranges
from shared.files.reading import Item, Look, Ready, Refused
from shared.files.refused import Refusals, place_for
from shared.files.rows import Heard

if TYPE_CHECKING:
    import httpx2

LANES = 4
CHUNK_ROWS = 2_000
CHUNK_BYTES = 4 << 20
ASKED_AT_ONCE = 500
"""Whether they are known."""
SAVE_EVERY_S = 1.0
TIMEOUT_S = 60.0
PATIENCE_S = 600.0
"""How long the service may be away before we stop, at a place from which to go on."""
PAUSE_LEAST_S, PAUSE_MOST_S = 0.2, 30.0
PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})

Known = Callable[["httpx2.AsyncClient", Sequence[tuple[str, str]]], Awaitable[set[int] | None]]
T = TypeVar("T")


class Away(Transient):
    """The service stays away for too long."""


class NobodyThere(Transient):
    """There was nobody from the start."""


@dataclass(frozen=True, slots=True)
class Way:
    """To whom the rows go, and in whose name."""

    url: Callable[[], str]
    """Of who takes feedback; asked each time, for a service may come back elsewhere."""
    bearer: Callable[[], str]
    """For the `Authorization` of one request. What it raises ends the import."""
    known: Known
    """Which of these (source, external id) are here already. None: that may not be asked. Raises `Transient`."""
    refusal: Callable[["httpx2.Response"], FlywheelError]
    """What an answer that says no for good says."""
    waits: Callable[[str], None]
    """Told why the service is waited for, and "" when it is back."""
    proxied: bool = True
    """Whether the environment's proxies are asked."""


async def send(look: Look, ranges: Ranges, checkpoint: Checkpoint, way: Way, heard: Heard) -> None:
    """All that is not settled yet; the checkpoint says what came of it, however this ends. Raises `Transient` when the
    service stays away, what `Way.refusal` makes when it will not have any of it, `Misuse` when another process sends it."""
    with checkpoint.held():
        await _Sender(look, ranges, checkpoint, way, heard).run()


async def in_thread(work: Callable[..., T], *given: Any) -> T:
    """Waited for by whoever is cancelled, too: so that nothing is closed under its hands."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise


@dataclass
class _Chunk:
    """Rows that stand together, and what became of them."""

    last_row: int
    counts: Counts
    refused: list[Refused]
    waiting: int = 0
    """Batches of it that are not answered yet."""


@dataclass
class _Batch:
    chunk: _Chunk
    rows: list[Ready] = field(default_factory=list)


class _Sender:
    def __init__(self, look: Look, ranges: Ranges, checkpoint: Checkpoint, way: Way, heard: Heard) -> None:
        self._look = look
        self._way = way
        self._ranges = ranges
        self._checkpoint = checkpoint
        self._heard = heard
        self._refusals = self._gone_on_with()
        self._chunks: deque[_Chunk] = deque()
        self._lanes: list[asyncio.Queue[_Batch | None]] = [asyncio.Queue(1) for _ in range(LANES)]
        self._saved_at = 0.0
        self._begins_behind = checkpoint.row
        self._answered = False  # whether there is a service at all: one that goes away later comes back
        self._waits = False

    def _gone_on_with(self) -> Refusals:
        """The file of refusals as the checkpoint knows it; another where somebody has begun to mend that one."""
        said = self._checkpoint
        if said.refusals:
            found = Refusals(Path(said.refusals), self._look, said.refusals_size)
            if found.digest == said.refusals_digest:
                return found
        return Refusals(place_for(self._look.path.absolute(), self._look.kind), self._look)

    async def run(self) -> None:
        import httpx2

        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=self._way.proxied) as http:
                try:
                    async with asyncio.TaskGroup() as group:
                        for lane in self._lanes:
                            group.create_task(self._work(lane, http))
                        await self._read()
                        for lane in self._lanes:
                            await lane.put(None)
                except* FlywheelError as several:
                    error: BaseException = several
                    while isinstance(error, BaseExceptionGroup):
                        error = error.exceptions[0]
                    raise error from None
            self._checkpoint.finished = True
        finally:
            self._save()

    async def _read(self) -> None:
        """The file into chunks, as fast as the lanes take them."""
        items = self._look.reading(self._ranges, self._heard)
        while (some := await in_thread(self._next, items)) is not None:
            if not some:
                continue
            chunk = _Chunk(some[-1].number, Counts(), [])
            batches: dict[int, _Batch] = {}
            for item in some:
                match item:
                    case Ready():
                        batches.setdefault(_lane_of(item), _Batch(chunk)).rows.append(item)
                    case Refused():
                        chunk.refused.append(item)
                    case _:
                        chunk.counts.note(item)
            chunk.waiting = len(batches)
            self._chunks.append(chunk)
            for lane, batch in batches.items():
                await self._lanes[lane].put(batch)
            self._settle()

    def _next(self, items: Iterator[Item]) -> list[Item] | None:
        """In a thread; None at the end. What is settled is read again, for its ids, and not sent."""
        found: list[Item] = []
        size = read = 0
        for item in items:
            read += 1
            if item.number > self._begins_behind:
                found.append(item)
                size += len(item.raw) if isinstance(item, Ready) else 0
            if read >= CHUNK_ROWS or size >= CHUNK_BYTES:
                break
        return found if read else None

    async def _work(self, lane: "asyncio.Queue[_Batch | None]", http: "httpx2.AsyncClient") -> None:
        while (batch := await lane.get()) is not None:
            rows = await self._unknown(batch, http)
            await self._post(batch.chunk, rows, http)
            batch.chunk.waiting -= 1
            self._settle()

    # ── one batch ──

    async def _unknown(self, batch: _Batch, http: "httpx2.AsyncClient") -> list[Ready]:
        """Those that are not here already: they would be recognised, but only within the window of the log."""
        rows: list[Ready] = []
        waiting = iter(batch.rows)
        while some := list(islice(waiting, ASKED_AT_ONCE)):
            known = await self._known(some, http)
            batch.chunk.counts.known += len(known)
            rows += [row for index, row in enumerate(some) if index not in known]
        return rows

    async def _known(self, rows: Sequence[Ready], http: "httpx2.AsyncClient") -> set[int]:
        import httpx2

        if not self._checkpoint.asks:
            return set()
        try:
            known = await self._way.known(http, [(row.body["source"], row.body["external_id"]) for row in rows])
        except (httpx2.HTTPError, Transient):
            return set()
        self._answered = True
        if known is None:  # what is here already is counted as new
            self._checkpoint.asks = False
        return known or set()

    async def _post(self, chunk: _Chunk, rows: Sequence[Ready], http: "httpx2.AsyncClient") -> None:
        if not rows:
            return
        answer = await self._answer(b"\n".join(row.raw for row in rows), http)
        if answer.status_code == 422 and len(rows) > 1:
            # All were bad, and no answer names more than a hundred: by halves each gets its own reason.
            half = len(rows) // 2
            await self._post(chunk, rows[:half], http)
            await self._post(chunk, rows[half:], http)
            return
        bad = [{"index": 0, **answer.json()}] if answer.status_code == 422 else answer.json()["rejected"]
        chunk.refused += [self._refused(rows[one["index"]], one.get("errors") or []) for one in bad]
        chunk.counts.new += len(rows) - len(bad)

    def _refused(self, row: Ready, errors: Sequence[Mapping[str, Any]]) -> Refused:
        named = [{**one, "field": str(one["field"]).removeprefix("0.")} for one in errors]
        reason = self._look.reason(named, row.body)
        own = str(row.body["external_id"])
        identity = own if own.startswith(self._look.identity) else ""
        return Refused(row.number, reason or "refused by the service", identity, row.cells, row.members)

    async def _answer(self, content: bytes, http: "httpx2.AsyncClient") -> "httpx2.Response":
        """202 or 422. Whatever may pass is waited out, and the same is sent again."""
        import httpx2

        began, pause_s = time.monotonic(), PAUSE_LEAST_S
        while True:
            url, wait_s = self._way.url(), pause_s
            try:
                answer = await http.post(
                    f"{url}/v1/feedback/batch?history=true",
                    content=content,
                    headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {self._way.bearer()}"},
                )
                if answer.status_code in {202, 422}:
                    self._answered = True
                    if self._waits:
                        self._waits = False
                        self._way.waits("")
                    return answer
                if answer.status_code not in PASSING:
                    raise self._way.refusal(answer)
                why = f"the service answers {answer.status_code}"
                asked = answer.headers.get("Retry-After", "")
                wait_s = max(pause_s, float(asked)) if asked.isdigit() else pause_s
            except httpx2.HTTPError as error:
                why = f"nobody answers at {url} ({error or type(error).__name__})"
                if not self._answered:
                    raise NobodyThere(why) from None
            if time.monotonic() - began > PATIENCE_S:
                raise Away(why)
            if not self._waits:
                self._waits = True
                self._way.waits(why)
            await asyncio.sleep(min(wait_s, PAUSE_MOST_S))
            pause_s = min(pause_s * 2, PAUSE_MOST_S)

    # ── what is settled ──

    def _settle(self) -> None:
        while self._chunks and not self._chunks[0].waiting:
            chunk = self._chunks.popleft()
            chunk.counts.refused = len(chunk.refused)
            self._refusals.add(sorted(chunk.refused, key=lambda one: one.number))
            self._checkpoint.counts.add(chunk.counts)
            self._checkpoint.row = chunk.last_row
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        said = self._checkpoint
        if self._refusals.size:
            said.refusals, said.refusals_size = str(self._refusals.path), self._refusals.size
            said.refusals_digest = self._refusals.digest
        said.save()
        self._saved_at = time.monotonic()


def _lane_of(row: Ready) -> int:
    """A customer's rows follow each other; the others are spread."""
    customer = row.body.get("customer") or {}
    who = customer_of(customer.get("id"), customer.get("email"))
    return (hash(who) if who else row.number) % LANES
