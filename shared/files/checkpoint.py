"""How far an import has come, so that running it again goes on. One file for each file, target and way of reading it;
written after what it says is true, so that the worst a kill does is to send some rows again."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from shared.errors import Misuse
from shared.files.reading import Empty, Item, Look, Ready, Refused, Repeated


@dataclass
class Counts:
    """Of rows of data."""

    new: int = 0
    known: int = 0
    """Here already."""
    repeated: int = 0
    """The same stands in the file before."""
    refused: int = 0
    empty: int = 0
    """Nothing was said in them."""

    @property
    def rows(self) -> int:
        return sum(asdict(self).values())

    def note(self, item: Item) -> None:
        """Of a row that is only read."""
        match item:
            case Ready():
                self.new += 1
            case Refused():
                self.refused += 1
            case Repeated():
                self.repeated += 1
            case Empty():
                self.empty += 1

    def add(self, other: "Counts") -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass
class Checkpoint:
    path: Path
    row: int = 0
    """All rows up to this one are settled."""
    counts: Counts = field(default_factory=Counts)
    asks: bool = True
    """Whether the service said which rows it had already."""
    refusals: str = ""
    """Where the refused rows are, how much of that file counts, and its hash."""
    refusals_size: int = 0
    refusals_digest: str = ""
    finished: bool = False

    @classmethod
    def of(cls, folder: Path, look: Look, target: str) -> "Checkpoint":
        """Of this file, read so, and sent there."""
        read = [look.survey.sha256, target, look.source_name, *map(str, look.facts)]
        read += [f"{column.name}={column.member}" for column in look.columns]
        digest = sha256("\n".join(read).encode()).hexdigest()
        return cls.at(folder / f"{look.survey.sha256[:32]}-{digest[:12]}.json")

    @classmethod
    def at(cls, path: Path) -> "Checkpoint":
        """The one that there is, or a new one. Raises `Misuse` where there is one that is not ours to read."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, **{**said, "counts": Counts(**said["counts"])})
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, TypeError, KeyError):
            raise Misuse(f"{path} cannot be read: remove it to import the file from its start") from None

    @property
    def others(self) -> bool:
        """Whether this file was imported before, in another way."""
        pattern = f"{self.path.name.partition('-')[0]}-*.json"
        return any(path != self.path for path in self.path.parent.glob(pattern))

    def save(self) -> None:
        said: dict[str, Any] = asdict(self)
        del said["path"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        waiting = self.path.with_suffix(".tmp")
        waiting.write_text(json.dumps(said), encoding="utf-8")
        waiting.replace(self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """By this process alone. Raises `Misuse` where another imports the same file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Misuse("another process is importing this file now") from None
        try:
            yield
        finally:
            os.close(lock)

    @property
    def is_held(self) -> bool:
        """Whether some process sends it now."""
        try:
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False
