"""Where the running service is, and how a verb speaks to it.

The address: `FLYWHEEL_URL` (or `INGEST_URL`, `ROUTER_URL`, `CLOSER_URL` for a deployment without a front door),
else what `flywheel up` wrote into its data folder, else http://127.0.0.1:8080. The key: `FLYWHEEL_API_KEY`, else
the data folder's `api-key`.

The HTTP client is loaded by who speaks: `flywheel up` and `--help` start without it.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shared.config import STARTER, Config, config_of, read_dir
from shared.errors import FlywheelError, Misuse, Transient
from shared.settings import DEFAULT_DATA_DIR

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL = "http://127.0.0.1:8080"
RUNNING = "running.json"
RETRY_S, RETRY_LEAST_S, RETRY_MOST_S = 2.0, 0.1, 30.0
_PASSING = {408, 429, 500, 502, 503, 504}
"""What a service answers that is starting, stopping or waiting for its database: no reason to give a stream up."""
Part = Literal["ingest", "router", "closer", "console"]


class Refused(FlywheelError):
    """The service said no: its problem document, for people."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        fields = "".join(f"\n  {e.get('field', '?')}: {e.get('message', '')}" for e in problem.get("errors") or [])
        super().__init__(f"{problem.get('detail') or problem.get('title') or 'refused'} ({status}){fields}")
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Running:
    """What `flywheel up` says of itself in its data folder."""

    url: str
    pid: int
    database_url: str

    @classmethod
    def find(cls) -> "Running | None":
        path = data_dir() / RUNNING
        try:
            found = cls(**json.loads(path.read_text()))
            os.kill(found.pid, 0)
            return found
        except (OSError, ValueError, TypeError):
            return None


def data_dir() -> Path:
    return Path(os.environ.get("FLYWHEEL_DATA_DIR") or DEFAULT_DATA_DIR)


def database_url() -> str:
    """The database to go to directly (keys, dead letters). Raises `Misuse` when there is none to be found."""
    found = os.environ.get("DATABASE_URL")
    if found:
        return found
    running = Running.find()
    if running is None:
        raise Misuse("no database found: set DATABASE_URL, or start `flywheel up` first")
    return running.database_url


def knows_a_database() -> bool:
    """Whether there is one to go to: it is named, or a service of ours runs."""
    return bool(os.environ.get("DATABASE_URL")) or Running.find() is not None


def base_url(part: Part, otherwise: str = DEFAULT_URL) -> str:
    environ = os.environ
    given = environ.get("FLYWHEEL_URL") or environ.get(f"{part.upper()}_URL")
    if given:
        return given.rstrip("/")
    running = Running.find()
    return running.url if running else otherwise


def api_key() -> str:
    given = os.environ.get("FLYWHEEL_API_KEY")
    if given:
        return given
    try:
        return (data_dir() / "api-key").read_text().strip()
    except OSError:
        raise Misuse(
            "no API key: set FLYWHEEL_API_KEY, or run in the folder (or with the --data-dir) of `flywheel up`"
        ) from None


def explicit_config() -> Config | None:
    """The configuration that `--config` or FLYWHEEL_CONFIG names, where one does."""
    given = os.environ.get("FLYWHEEL_CONFIG")
    return config_of(read_dir(Path(given)), os.environ) if given else None


def local_config() -> Config:
    return explicit_config() or config_of(read_dir(STARTER), os.environ)


def is_up(part: Part) -> bool:
    import httpx2

    try:
        return httpx2.get(f"{base_url(part)}/healthz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def call(part: Part, method: str, path: str, *, content_type: str = "application/json", **request: Any) -> Any:
    """One request, its JSON. Raises `Refused`, or `Transient` when nobody answers."""
    import httpx2

    headers = {"Authorization": f"Bearer {api_key()}", **request.pop("headers", {})}
    if "content" in request:
        headers["Content-Type"] = content_type
    url = base_url(part) + path
    try:
        response = httpx2.request(method, url, headers=headers, timeout=30, **request)
    except httpx2.HTTPError as error:
        raise Transient(f"nobody answers at {base_url(part)} ({error}): is `flywheel up` running?") from None
    return _json(response)


# ── server-sent events ──


@dataclass(slots=True)
class _Place:
    """Where we are in a stream, over all its connections."""

    last: str = ""
    """The last id: what comes next stands behind it."""
    retry_s: float = RETRY_S
    is_open: bool = False
    was_open: bool = False
    failures: int = 0

    def opened(self) -> None:
        self.is_open = self.was_open = True
        self.failures = 0

    def note(self, event: Mapping[str, str]) -> None:
        """An id counts without data too: it says where the stream begins."""
        if "\0" not in event.get("id", ""):
            self.last = event.get("id", self.last)
        if (asked := event.get("retry", "")).isascii() and asked.isdigit():
            self.retry_s = min(int(asked[:9]) / 1000, RETRY_MOST_S)

    def pause_s(self) -> float:
        """How long to wait for the next try: as the server asked, then ever longer."""
        pause = min(max(self.retry_s, RETRY_LEAST_S) * 2.0**self.failures, RETRY_MOST_S)
        self.failures = min(self.failures + 1, 10)
        return pause


def page(part: Part, path: str, wanted: Mapping[str, Any]) -> Any:
    """A page of a list; what is None is not asked for. Raises as `call`."""
    return call(part, "GET", path, params={name: value for name, value in wanted.items() if value is not None})


def events(part: Part, path: str, params: dict[str, str], tell: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Server-sent events, for ever: `{"id": …, "event": …, "data": …}`.

    A stream that ends or breaks is taken up again behind its last id once the service is back; `tell` hears once each
    time that we wait. Raises `Transient` when nobody answers from the start, `Refused` for what waiting does not mend.
    """
    import httpx2

    place, url = _Place(), DEFAULT_URL
    while True:
        url, why = base_url(part, otherwise=url), "the stream ended"
        try:
            yield from _connection(url + path, params, place)
        except httpx2.HTTPError as error:
            why = f"the connection to {url} was lost ({error})"
            if not place.was_open:
                raise Transient(f"nobody answers at {url} ({error}): is `flywheel up` running?") from None
        except Refused as error:
            why = str(error)
            if not place.was_open or error.status not in _PASSING:
                raise
        if place.is_open:
            place.is_open = False
            tell(f"{why}: waiting for the service, then going on behind the last event (Ctrl-C ends)")
        time.sleep(place.pause_s())


def _connection(url: str, params: dict[str, str], place: _Place) -> Iterator[dict[str, str]]:
    import httpx2

    headers = {"Authorization": f"Bearer {api_key()}", "Accept": "text/event-stream"}
    if place.last:
        headers["Last-Event-ID"] = place.last
    with httpx2.stream("GET", url, params=params, headers=headers, timeout=httpx2.Timeout(10, read=60)) as response:
        if response.status_code != 200:
            response.read()
            _json(response)
            raise Refused(response.status_code, {"title": "this is no stream of events"})
        place.opened()
        for event in blocks(response.iter_text()):
            place.note(event)
            if "data" in event:
                yield event


def blocks(chunks: Iterable[str]) -> Iterator[dict[str, str]]:
    """The fields of each block of a stream that came whole. A line ends where SSE says so and nowhere else: a text may
    hold what Python, too, takes for the end of one."""
    event: dict[str, str] = {}
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        for line in (line.removesuffix("\r") for line in lines):
            if not line:
                yield event
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                event[name] = f"{event[name]}\n{value}" if name == "data" and name in event else value


def _json(response: "httpx2.Response") -> Any:
    if response.status_code >= 400:
        raise refusal(response)
    return _body(response)


def refusal(response: "httpx2.Response") -> Refused:
    """What an answer that says no says."""
    body = _body(response)
    return Refused(response.status_code, body if isinstance(body, dict) else {})


def _body(response: "httpx2.Response") -> Any:
    try:
        return response.json() if response.content else {}
    except ValueError:
        return {"detail": response.text[:200]}
