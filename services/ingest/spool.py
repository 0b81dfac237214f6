"""The spool on disk: events that wait for the log, in the order in which they were accepted.

A folder for each process, which it holds by a lock; a new process takes one that nobody holds, with what is in it. In it
are segments, files of frames: length, CRC-32, one message. What is given at about the same time shares one write and one
fsync, and nobody is told before that has returned. A process that dies leaves at most a torn frame at the end of a segment,
of which nobody was told; whoever opens the folder goes on in a new segment. The place up to which it was read is written
down without fsync: what is read twice after a crash has the same ids, and is a repeat to the router.
"""

import asyncio
import fcntl
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

import msgspec

from shared.errors import Misuse, Transient
from shared.log import Message
from shared.telemetry import get_logger

SEGMENT_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 2 * 1024 * 1024
FOLDERS_MAX = 1_000
FULL_RETRY_S = 10.0
_FRAME = Struct("<II")
_SUFFIX = ".spool"

_log = get_logger("ingest")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Place(NamedTuple):
    segment: int
    offset: int


class Batch(NamedTuple):
    messages: list[Message]
    end: Place
    bytes: int
    """Of the files, and to be given back when the batch is done."""


class Spool:
    """Of one process. Whoever made it calls everything from one event loop, and reads one batch at a time."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Takes a folder below `root` and reads how much is in it. Raises `Misuse` when it cannot be used."""
        try:
            self._folder, self._lock = _claimed(root)
            self._segments = {number: self._path(number).stat().st_size for number in _numbers(self._folder)}
            self._place = self._recalled()
            for number in [number for number in self._segments if number < self._place.segment]:
                self._remove(number)
        except OSError as error:
            raise Misuse(f"INGEST_SPOOL_DIR: {root} cannot be used: {error.strerror}") from None
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._writing = max(self._segments, default=self._place.segment)
        """Never written to again: it may end in a torn frame."""
        self._pending: list[tuple[bytes, int, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self.bytes = sum(self._segments.values()) - min(self._place.offset, self._segments.get(self._place.segment, 0))
        """What waits, on disk."""
        self._damaged: set[int] = set()
        self.records = sum(1 for _ in self._read(self._place, None))

    @property
    def is_full(self) -> bool:
        """To the last tenth: whoever is asked whether they can go on must say so before they cannot."""
        return self.bytes + self._pending_bytes > 0.9 * self._max_bytes

    @property
    def is_empty(self) -> bool:
        return not self.records and not self._pending and self._writer is None

    # ── writing ──

    async def append(self, messages: Sequence[Message]) -> None:
        """Returns when they are on disk, behind all that were given before. Raises `Transient`: no room, or the disk failed."""
        blob = b"".join(map(_framed, messages))
        if self.bytes + self._pending_bytes + len(blob) > self._max_bytes:
            raise Transient("the log is away and the spool is full", retry_after=FULL_RETRY_S)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._pending.append((blob, len(messages), done))
        self._pending_bytes += len(blob)
        if self._writer is None:
            self._writer = loop.create_task(self._write_all(), name="ingest-spool")
        await done

    async def _write_all(self) -> None:
        try:
            while self._pending:
                group, self._pending, self._pending_bytes = self._pending, [], 0
                error: Exception | None = None
                try:
                    size = await asyncio.to_thread(self._write, b"".join(blob for blob, _, _ in group))
                except OSError as failed:
                    # What of it is on disk nobody knows, so nothing is written behind it.
                    _log.error("spool.failed", reason=str(failed))
                    self._abandon_segment()
                    error = failed
                else:
                    self._segments[self._writing] = self._segments.get(self._writing, 0) + size
                    self.bytes += size
                    self.records += sum(count for _, count, _ in group)
                    if self._segments[self._writing] >= SEGMENT_BYTES:
                        self._close_segment()
                for _, _, done in group:
                    if done.done():
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(Transient(f"the spool cannot be written: {error}", retry_after=FULL_RETRY_S))
        finally:
            self._writer = None

    def _write(self, blob: bytes) -> int:
        if self._file is None:
            self._writing += 1
            self._file = self._path(self._writing).open("xb", buffering=0)
            _sync_folder(self._folder)
        left = memoryview(blob)
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())
        return len(blob)

    def _close_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _abandon_segment(self) -> None:
        """Cut to what was told of, where the disk lets us; the senders of the rest send it again."""
        try:
            if self._file is not None:
                self._file.truncate(self._segments.get(self._writing, 0))
        except OSError as error:
            _log.warning("spool.torn", path=str(self._path(self._writing)), reason=str(error))
        self._close_segment()

    # ── reading ──

    async def read(self) -> Batch | None:
        """The oldest that wait, about `BATCH_BYTES` of them; the same again until `done`. None: nothing waits."""
        return await asyncio.to_thread(self._batch, dict(self._segments))

    def _batch(self, known: Mapping[int, int]) -> Batch | None:
        messages: list[Message] = []
        size, end = 0, self._place
        for message, place, length in self._read(self._place, known):
            messages.append(message)
            size, end = size + length, place
            if size >= BATCH_BYTES:
                break
        return Batch(messages, end, size) if messages else None

    async def done(self, batch: Batch) -> None:
        """The log has it: it waits no more."""
        self._place = batch.end
        self.records -= len(batch.messages)
        self.bytes -= batch.bytes
        behind = [number for number in self._segments if number < self._place.segment]
        if self.is_empty:
            # What was torn waits for nobody.
            self._close_segment()
            behind, self.bytes = list(self._segments), 0
        for number in behind:
            del self._segments[number]
        await asyncio.to_thread(self._forget, behind, self._place)

    def keep(self, message: Message) -> str:
        """What the log will never take, in a file that nobody reads but people: whose name this returns."""
        path = self._folder / "refused"
        with path.open("ab") as file:
            file.write(_framed(message))
            os.fsync(file.fileno())
        return str(path)

    def close(self) -> None:
        self._close_segment()
        self._lock.close()

    def _forget(self, segments: Sequence[int], place: Place) -> None:
        try:
            (self._folder / "place.new").write_text(f"{place.segment} {place.offset}\n")
            (self._folder / "place.new").replace(self._folder / "place")
            for number in segments:
                self._remove(number)
        except OSError as error:
            # Read again after a restart, and repeats then.
            _log.warning("spool.place_lost", reason=str(error))

    def _remove(self, number: int) -> None:
        if number in self._damaged:
            self._path(number).rename(self._path(number).with_suffix(".damaged"))
        else:
            self._path(number).unlink(missing_ok=True)

    def _read(self, place: Place, known: Mapping[int, int] | None) -> Iterator[tuple[Message, Place, int]]:
        """Each message with the place behind it and its length; `known`: up to where each segment is surely written."""
        for number in sorted(known if known is not None else self._segments):
            if number < place.segment:
                continue
            at = place.offset if number == place.segment else 0
            with self._path(number).open("rb") as file:
                file.seek(at)
                while known is None or at < known[number]:
                    head = file.read(_FRAME.size)
                    if len(head) < _FRAME.size:
                        break
                    length, checksum = _FRAME.unpack(head)
                    payload = file.read(length)
                    if len(payload) < length:
                        break
                    if zlib.crc32(payload) != checksum:
                        self._set_aside(number, at)
                        break
                    at += _FRAME.size + length
                    yield _decode(payload), Place(number, at), _FRAME.size + length

    def _set_aside(self, number: int, offset: int) -> None:
        """No process of ours leaves that behind: the disk did, or the power went. What follows cannot be told apart any more,
        so the file is kept for people."""
        if number not in self._damaged:
            self._damaged.add(number)
            _log.error("spool.damaged", path=str(self._path(number)), offset=offset)

    def _recalled(self) -> Place:
        try:
            segment, offset = (self._folder / "place").read_text().split()
            return Place(int(segment), int(offset))
        except (FileNotFoundError, ValueError):
            return Place(0, 0)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"


def _framed(message: Message) -> bytes:
    payload = _encode(message)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _claimed(root: Path) -> tuple[Path, BinaryIO]:
    """The first folder that nobody holds, so that what a process left behind is taken up before a new one is made."""
    for number in range(FOLDERS_MAX):
        folder = root / str(number)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _sync_folder(root)
        return folder, lock
    raise Misuse(f"INGEST_SPOOL_DIR: {FOLDERS_MAX} processes hold a folder in {root} already")


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
