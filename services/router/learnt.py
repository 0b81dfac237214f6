"""Where models are kept that are learnt while no service runs: under the data folder, each with the rows that it was learnt
from, so that it can be built again; and which of them is in force. A service has them in its database (`kept`), and takes up
what comes into force here at its next start.

`in-force` holds a version a line and why, the newest last: taking one into use is a line more, taking it back a line less, and
without any the lexicons judge alone. `adopted` is what of it a service has taken up. Each file is written whole or not at all.

numpy is loaded when there is a model to read.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from services.router.examples import Row, row_of
from services.router.kept import FILE as OF_A_FILE
from services.router.kept import KeptModels
from services.router.model.judge import Judge
from shared.errors import Misuse, Rejected
from shared.telemetry import get_logger
from shared.web import strict_json

if TYPE_CHECKING:
    from services.router.model.trained import Trained

FOLDER = "models"
IN_FORCE = "in-force"
ADOPTED = "adopted"
_MODEL, _ROWS = ".model", ".jsonl"

_log = get_logger("router")


def place(data_dir: Path) -> Path:
    return data_dir / FOLDER


def write(path: Path, data: bytes) -> None:
    """Raises `Misuse`."""
    beside = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None


def read(path: Path) -> "Trained | None":
    """None where there is none. Raises `Misuse` for what is no model."""
    data = _bytes(path)
    if data is None:
        return None
    from services.router.model.trained import Trained

    try:
        return Trained.from_bytes(data)
    except Rejected as error:
        raise Misuse(f"{path}: {error}") from None


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None


class Turn(NamedTuple):
    """A model came into force."""

    version: str
    why: str


def _turns_in(data: bytes | None) -> list[Turn]:
    lines = (data or b"").decode("utf-8", "replace").splitlines()
    return [Turn(*(*line.split(maxsplit=1), "")[:2]) for line in lines if line.strip()]


class Versions:
    """The models of one folder. Everything here raises `Misuse` for what cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, model: "Trained", rows: bytes) -> Path:
        write(self._folder / (model.version + _ROWS), rows)
        write(file := self._folder / (model.version + _MODEL), model.to_bytes())
        return file

    def kept(self) -> list[str]:
        """The oldest first."""
        found = sorted(self._folder.glob(f"*{_MODEL}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [path.name.removesuffix(_MODEL) for path in found]

    def turns(self) -> list[str]:
        """What came into force and has not been taken back, the newest last."""
        return [turn.version for turn in self._turns()]

    def last_turn(self) -> Turn | None:
        turns = self._turns()
        return turns[-1] if turns else None

    def _turns(self) -> list[Turn]:
        return _turns_in(_bytes(self._folder / IN_FORCE))

    def in_force(self) -> str | None:
        turn = self.last_turn()
        return turn.version if turn is not None else None

    def promote(self, version: str, why: str) -> None:
        if version not in self.kept():
            raise Misuse(f"there is no model {version!r}: `flywheel learn status` lists them")
        self._write([*self._turns(), Turn(version, " ".join(why.split()))])

    def roll_back(self) -> str | None:
        """What is in force then."""
        turns = self._turns()
        if not turns:
            raise Misuse("no model is in force: there is nothing to take back")
        self._write(turns[:-1])
        return turns[-2].version if len(turns) > 1 else None

    def _write(self, turns: Sequence[Turn]) -> None:
        write(self._folder / IN_FORCE, "".join(f"{turn.version} {turn.why}".strip() + "\n" for turn in turns).encode())

    def adopted(self) -> list[str] | None:
        """The turns that a service has taken up; None where none ever did."""
        data = _bytes(self._folder / ADOPTED)
        return None if data is None else [turn.version for turn in _turns_in(data)]

    def is_adopted(self) -> None:
        """All that stands here is a service's to go by from now on."""
        write(self._folder / ADOPTED, _bytes(self._folder / IN_FORCE) or b"")

    def model(self, version: str) -> "Trained":
        found = read(self._folder / (version + _MODEL))
        if found is None:
            raise Misuse(f"the model {version} is not there any more")
        return found

    def rows(self, version: str) -> Path:
        """The file that it was learnt from."""
        return self._folder / (version + _ROWS)

    def judge(self) -> Judge | None:
        version = self.in_force()
        return self.model(version) if version is not None else None


async def adopt(folder: Versions, kept: KeptModels, at: datetime) -> None:
    """What was decided in the folder since a service last looked comes into force: a model taken into use, or taken back. What
    was decided in the database after that stands, and so does it where nothing new was decided here. Raises `Misuse`,
    `Rejected`, `Transient`."""
    turns, before = await asyncio.to_thread(lambda: (folder.turns(), folder.adopted()))
    if turns == (before or []):
        return
    turn = await asyncio.to_thread(folder.last_turn)
    known = turn is not None and await kept.has(turn.version)
    if turn is None:
        await _take_back(before or [], kept, at)
    elif before is None and known:
        # Taken up before it was noted here what was: which of the two came later cannot be told, and the database's goes on.
        if (in_force := await kept.in_force()) != turn.version:
            _log.warning("model.folder_passed_over", folder=turn.version, in_force=in_force)
    else:
        if not known:
            model = await asyncio.to_thread(folder.model, turn.version)
            rows = await asyncio.to_thread(rows_of, folder.rows(turn.version))
            await kept.keep(model, await kept.file(rows, at), at, OF_A_FILE)
        if await kept.in_force() != turn.version:
            await kept.promote(turn.version, at, f"while no service ran: {turn.why or 'learnt'}")
    await asyncio.to_thread(folder.is_adopted)


async def _take_back(turns: Sequence[str], kept: KeptModels, at: datetime) -> None:
    """In the folder none of these is in force any more."""
    while await kept.in_force() in turns:
        await kept.roll_back(at)


def rows_of(path: Path) -> list[Row]:
    """What `Versions.rows` names. Raises `Misuse`, `Rejected`."""
    return [row_of(strict_json.loads(line)) for line in (_bytes(path) or b"").splitlines() if line.strip()]
