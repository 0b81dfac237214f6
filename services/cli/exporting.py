"""`flywheel export`: a file from the console, written as it comes, and there only when it is whole."""

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from services.cli import client, show
from shared.errors import Misuse, Transient

if TYPE_CHECKING:
    import httpx2

WHAT = ("cases", "feedback")
FORMATS = ("csv", "jsonl", "xlsx")
OF_CASES, OF_FEEDBACK = {"state", "assignee", "breached"}, {"source", "kind"}
READ_TIMEOUT_S = 900
"""A workbook is made before its first byte is sent."""
TRIES = 30
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NAME = re.compile(r'filename="([\w.-]+)"')


def export(what: str, form: str, out: Path | None, filters: Mapping[str, str]) -> dict[str, Any]:
    """`file`: where it is; None where it went to stdout. Raises `Misuse`, `client.Refused`, `Transient`."""
    if what not in WHAT:
        raise Misuse(f"export takes cases or feedback, not {what!r}")
    form = form or (out.suffix[1:] if out is not None and out.suffix[1:] in FORMATS else "csv")
    if form not in FORMATS:
        raise Misuse(f"--format is one of {', '.join(FORMATS)}, not {form!r}")
    foreign = sorted((OF_FEEDBACK if what == "cases" else OF_CASES) & filters.keys())
    if foreign:
        raise Misuse(f"--{foreign[0]} is no filter of {what}")
    params = {name: _as_time(value) if name in {"from", "to"} else value for name, value in filters.items()}
    with _answer(f"/v1/export/{what}.{form}", params) as response:
        if str(out) == "-":
            size = _copied(response, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return {"file": None, "bytes": size}
        named = _NAME.search(response.headers.get("Content-Disposition", ""))
        path = out or Path(named[1] if named else f"{what}.{form}")
        with _whole_or_nothing(path) as file:
            size = _copied(response, file)
        return {"file": str(path), "bytes": size}


def _as_time(given: str) -> str:
    return f"{given}T00:00:00Z" if _DAY.fullmatch(given) else given


@contextlib.contextmanager
def _answer(path: str, params: Mapping[str, str]) -> Iterator["httpx2.Response"]:
    import httpx2

    url, headers = client.base_url("console"), {"Authorization": f"Bearer {client.api_key()}"}
    timeout = httpx2.Timeout(10, read=READ_TIMEOUT_S)
    try:
        for attempt in range(TRIES):
            with httpx2.stream("GET", url + path, params=params, headers=headers, timeout=timeout) as response:
                if response.status_code == 200:
                    yield response
                    return
                response.read()
                if response.status_code not in {429, 503} or attempt == TRIES - 1:
                    raise client.refusal(response)
                wait_s = min(30, int(response.headers.get("Retry-After") or 1))
            show.warn(f"the service answers {response.status_code}: asking again in {wait_s} s")
            time.sleep(wait_s)
    except httpx2.ConnectError as error:
        raise Transient(f"nobody answers at {url} ({error}): is `flywheel up` running?") from None
    except httpx2.HTTPError as error:
        raise Transient(f"the export broke off ({error or type(error).__name__}): ask again") from None


def _copied(response: "httpx2.Response", file: IO[bytes]) -> int:
    size = 0
    for part in response.iter_bytes():
        file.write(part)
        size += len(part)
    return size


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[IO[bytes]]:
    """Beside the file, and in its place once it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        waiting = Path(file.name)
        try:
            yield file
            file.flush()
            waiting.chmod(0o644)
            waiting.replace(path)
        except BaseException:
            waiting.unlink(missing_ok=True)
            raise
