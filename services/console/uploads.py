"""The files that people bring to the console, kept in this process's data folder until they are imported.

A folder for each: `content` as it came, `upload.json` (whose it is, and how it is to be read once somebody has said so),
and what `shared.files` writes beside: how far it has come, and the refused rows. A file is somebody's customers: it goes
when it is imported, and whatever else is left after `KEPT`. Another machine, or a process with another data folder, has
none of it.
"""

import asyncio
import json
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from services.console.visit import Visit
from shared.errors import Transient
from shared.files.checkpoint import Checkpoint
from shared.files.columns import Ranges
from shared.files.look import Options
from shared.web.problems import Problem, malformed, not_found

FOLDER = "uploads"
MAX_BYTES = 512 << 20
"""A million rows of seven columns take 200 MB. Larger ones are the command's."""
KEPT = timedelta(days=14)
NAME_MAX_CHARS = 200
FIELD_MAX_BYTES = 4_096
FIELDS_MAX = 10
WRITTEN_AT_ONCE_BYTES = 1 << 20
SILENT_MAX_S = 60
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Begun:
    """How it is read, from the first row that was sent to the last."""

    by: str
    at: datetime
    options: Options
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Upload:
    folder: Path
    workspace: str
    name: str
    """What the file is called where it came from."""
    by: str
    at: datetime
    size: int
    begun: Begun | None = None
    why: str = ""
    """Why it stopped."""

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def content(self) -> Path:
        return self.folder / "content"

    @property
    def named(self) -> Path:
        """For what is called like it."""
        return Path(self.name)

    @property
    def refusals(self) -> Path | None:
        """Where the refused rows are; of several files of them, which somebody's hand on this disk makes, the last."""
        found = self.checkpoint.refusals
        path = self.folder / Path(found).name if found else None
        return path if path is not None and path.is_file() else None

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.at(self.folder / "state.json")


class Uploads:
    """All that there are here."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def of(self, workspace: str) -> list[Upload]:
        """The newest first."""
        found = [_read(path) for path in self._folders()]
        ours = [one for one in found if one is not None and one.workspace == workspace]
        return sorted(ours, key=lambda one: one.at, reverse=True)

    def find(self, workspace: str, upload_id: str) -> Upload:
        """Raises 404."""
        found = _read(self._folder / upload_id) if _ID.fullmatch(upload_id) else None
        if found is None or found.workspace != workspace:
            raise not_found(
                "There is no such file here. A file lies in the data folder of the console that took it, and goes when it"
                f" is removed, or after {KEPT.days} days; another console has it, or it has to be uploaded again."
            )
        return found

    def keep(self, upload: Upload) -> None:
        """As it is now."""
        waiting = upload.folder / "upload.tmp"
        said = asdict(upload)
        del said["folder"]
        waiting.write_text(json.dumps(said, default=str), encoding="utf-8")
        waiting.replace(upload.folder / "upload.json")

    def remove(self, upload: Upload) -> None:
        shutil.rmtree(upload.folder, ignore_errors=True)

    def sweep(self, now: datetime, spared: Callable[[str], bool]) -> None:
        """What was left too long goes, and what was never whole."""
        for path in self._folders():
            found = _read(path)
            at = found.at.timestamp() if found is not None else path.stat().st_mtime
            if at < (now - KEPT).timestamp() and not spared(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if _ID.fullmatch(path.name)]

    async def receive(self, request: Request, visit: Visit, prove: Callable[[object], None]) -> Upload:
        """The file of a form, to the disk as it comes. `prove` is given the form's token, which stands before the file.
        Raises `Problem`, `Transient`, `ClientDisconnect`."""
        folder = self._folder / uuid.uuid4().hex
        try:
            folder.mkdir(parents=True, mode=0o700)
            with (folder / "content").open("wb") as file:
                form = _Form(request.headers.get("content-type", ""), prove)
                await form.read(request, file)
            upload = Upload(folder, visit.workspace, form.called(), visit.person.email, visit.now, form.size)
            self.keep(upload)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Transient(f"the file cannot be kept in the data folder: {error.strerror}", retry_after=60) from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return upload


def _read(folder: Path) -> Upload | None:
    try:
        said = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
        begun = said["begun"] and _begun(said["begun"])
        return Upload(folder, **{**said, "at": datetime.fromisoformat(said["at"]), "begun": begun})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _begun(said: Mapping[str, Any]) -> Begun:
    options = Options(**said["options"])
    options = replace(
        options, mapping=tuple(options.mapping), places=tuple((place, member) for place, member in options.places)
    )
    ranges = {name: (low, high) for name, (low, high) in said["ranges"].items()}
    return Begun(said["by"], datetime.fromisoformat(said["at"]), options, ranges)


# ── a form, as it comes ──


@dataclass(slots=True)
class _Part:
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    is_file: bool = False


class _Form:
    """Its fields and one file, which is never held in memory."""

    def __init__(self, content_type: str, prove: Callable[[object], None]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise malformed("An upload is a form with a file (multipart/form-data).")
        callbacks: Any = {
            f"on_{name}": getattr(self, f"_{name}")
            for name in (
                "part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "part_end",
                "end",
            )
        }  # fmt: skip
        self._parser = MultipartParser(options[b"boundary"], callbacks)
        self._prove = prove
        self._part = _Part()
        self._fields: dict[bytes, bytes] = {}
        self._waiting = bytearray()
        self._name: bytes | None = None
        self._is_whole = False
        self.size = 0

    async def read(self, request: Request, file: BinaryIO) -> None:
        """What is too large is read to its end and dropped: a browser shows no answer before it has sent all."""
        try:
            async for chunk in _chunks(request):
                self._parser.write(chunk)
                if self.size > MAX_BYTES:
                    self._waiting.clear()
                elif len(self._waiting) >= WRITTEN_AT_ONCE_BYTES:
                    await asyncio.to_thread(file.write, bytes(self._waiting))
                    self._waiting.clear()
        except MultipartParseError:
            raise malformed("The form could not be read.") from None
        if not self._is_whole:
            raise malformed("The form ended in the middle.")
        if self.size > MAX_BYTES:
            raise Problem(
                413,
                "payload-too-large",
                "The file is too large.",
                f"At most {MAX_BYTES:,} bytes are taken here. `flywheel import` takes files of any size.",
            )
        if not self._name:
            raise Problem(422, "no-file", "No file was chosen.", "Choose a CSV, XLSX or JSONL file first.")
        if not self.size:
            raise Problem(422, "empty-file", "The file is empty.", "Choose one with rows in it.")
        await asyncio.to_thread(file.write, bytes(self._waiting))

    def called(self) -> str:
        """The name alone, whatever path some browser sends; fit to be shown and to be part of another name."""
        name = re.split(r"[/\\]", (self._name or b"").decode("utf-8", "replace"))[-1]
        return "".join(char for char in name if char.isprintable()).strip(". ")[-NAME_MAX_CHARS:] or "file"

    # What the parser finds. It calls with a buffer, and from where to where.

    def _part_begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]
        self._bounded(self._part.header)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]
        self._bounded(self._part.value)

    def _header_end(self) -> None:
        part = self._part
        part.headers[bytes(part.header).lower()] = bytes(part.value)
        part.header.clear()
        part.value.clear()

    def _headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.name = options.get(b"name", b"")
        part.is_file = b"filename" in options
        if not part.is_file:
            return
        if self._name is not None:
            raise malformed("One file at a time.")
        self._prove(self._fields.get(b"csrf", b"").decode("ascii", "replace"))
        self._name = options[b"filename"]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self.size += end - start
            self._waiting += data[start:end]
        else:
            self._part.value += data[start:end]
            self._bounded(self._part.value)

    def _part_end(self) -> None:
        if not self._part.is_file:
            self._fields[self._part.name] = bytes(self._part.value)
            if len(self._fields) > FIELDS_MAX:
                raise malformed("The form has too many fields.")

    def _end(self) -> None:
        if self._name is None:
            self._prove(self._fields.get(b"csrf", b"").decode("ascii", "replace"))
        self._is_whole = True

    def _bounded(self, value: bytearray) -> None:
        if len(value) > FIELD_MAX_BYTES:
            raise malformed("A field of the form is too long.")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Past the bound of other bodies. Raises `Problem` 408, `ClientDisconnect`."""
    more = True
    while more:
        try:
            async with asyncio.timeout(SILENT_MAX_S):
                message = await request.receive()
        except TimeoutError:
            raise Problem(
                408, "request-timeout", "The file took too long to arrive.", headers={"Connection": "close"}
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.get("body", b"")
