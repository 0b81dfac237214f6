"""Where the running service is, and how a verb speaks to it.

The address: `FLYWHEEL_URL` (or `INGEST_URL`, `ROUTER_URL`, `CLOSER_URL` for a deployment without a front door),
else what `flywheel up` wrote into its data folder, else http://127.0.0.1:8080. The key: `FLYWHEEL_API_KEY`, else
the data folder's `api-key`.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2

from shared.config import STARTER, Config, config_of, read_dir
from shared.errors import FlywheelError, Misuse, Transient
from shared.settings import DEFAULT_DATA_DIR

DEFAULT_URL = "http://127.0.0.1:8080"
RUNNING = "running.json"
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


def base_url(part: Part) -> str:
    environ = os.environ
    given = environ.get("FLYWHEEL_URL") or environ.get(f"{part.upper()}_URL")
    if given:
        return given.rstrip("/")
    running = Running.find()
    return running.url if running else DEFAULT_URL


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
    try:
        return httpx2.get(f"{base_url(part)}/healthz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def call(part: Part, method: str, path: str, *, content_type: str = "application/json", **request: Any) -> Any:
    """One request, its JSON. Raises `Refused`, or `Transient` when nobody answers."""
    headers = {"Authorization": f"Bearer {api_key()}", **request.pop("headers", {})}
    if "content" in request:
        headers["Content-Type"] = content_type
    url = base_url(part) + path
    try:
        response = httpx2.request(method, url, headers=headers, timeout=30, **request)
    except httpx2.HTTPError as error:
        raise Transient(f"nobody answers at {base_url(part)} ({error}): is `flywheel up` running?") from None
    return _json(response)


def events(part: Part, path: str, params: dict[str, str]) -> Iterator[dict[str, str]]:
    """Server-sent events, for ever: `{"id": …, "event": …, "data": …}`. Resumes where it broke off."""
    last = ""
    while True:
        headers = {"Authorization": f"Bearer {api_key()}", "Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        try:
            timeout = httpx2.Timeout(10, read=60)
            with httpx2.stream(
                "GET", base_url(part) + path, params=params, headers=headers, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    response.read()
                    _json(response)
                event: dict[str, str] = {}
                for line in response.iter_lines():
                    if not line:
                        if "data" in event:
                            last = event.get("id", last)
                            yield event
                        event = {}
                    elif not line.startswith(":"):
                        name, _, value = line.partition(":")
                        value = value.removeprefix(" ")
                        event[name] = f"{event[name]}\n{value}" if name == "data" and name in event else value
        except httpx2.ConnectError as error:
            raise Transient(f"nobody answers at {base_url(part)} ({error}): is `flywheel up` running?") from None
        except httpx2.HTTPError:
            continue  # the connection broke: go on behind the last event


def _json(response: httpx2.Response) -> Any:
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {"detail": response.text[:200]}
    if response.status_code >= 400:
        raise Refused(response.status_code, body if isinstance(body, dict) else {})
    return body
