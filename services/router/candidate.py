"""`python -m services.router.candidate`: learns in a process of its own, so that nobody's feedback waits for it.

The job comes on stdin and the model goes to stdout; nothing else is read or written. A lower priority of the system's, since
a model may come a minute later and a decision may not.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from services.router.examples import Row, row_of
from services.router.learn import Candidate, Comparison, candidate
from services.router.model.trained import Trained
from services.router.rules import load
from shared.config import config_of
from shared.errors import Rejected

NICE = 10
LONGEST_S = 540.0
"""Less than the teacher's lease: whoever is still at it then has hung."""


class Job(Struct):
    files: dict[str, str]
    """The configuration in force, as it is written."""
    rows: list[dict[str, object]]
    in_force: list[dict[str, object]] | None
    """Of the model that judges now; None where there is none."""


class _Found(Struct):
    model: bytes = b""
    held_back: int = 0
    new: dict[str, float] = {}
    old: dict[str, float] = {}
    nothing: str = ""
    """Why there is nothing to learn."""


async def elsewhere(
    files: Mapping[str, str], env: Mapping[str, str], rows: Sequence[Row], in_force: Sequence[Row] | None
) -> Candidate:
    """`learn.candidate`, in another process. Raises `Rejected` where there is nothing to learn; a process that dies, or hangs,
    is `OSError`. Cancelled, it is gone, and where we are killed it goes by itself."""
    job = await asyncio.to_thread(_packed, files, rows, in_force)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.router.candidate",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
        start_new_session=True,  # a Ctrl-C is ours, and we end it
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            out, _ = await process.communicate(job)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise OSError(f"the process that learns ended with {process.returncode}")
    try:
        found = msgspec.msgpack.decode(out, type=_Found)
    except msgspec.MsgspecError as error:
        raise OSError(f"the process that learns answered what cannot be read: {error}") from None
    if found.nothing:
        raise Rejected(found.nothing)
    model = await asyncio.to_thread(Trained.from_bytes, found.model)
    return Candidate(model, Comparison(found.held_back, found.new, found.old))


def _packed(files: Mapping[str, str], rows: Sequence[Row], in_force: Sequence[Row] | None) -> bytes:
    old = None if in_force is None else [_plain(row) for row in in_force]
    return msgspec.msgpack.encode(Job(dict(files), [_plain(row) for row in rows], old))


def _plain(row: Row) -> dict[str, object]:
    return row.model_dump(exclude_defaults=True)


def main() -> None:
    os.nice(NICE)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answer, sys.stdout = sys.stdout.buffer, sys.stderr  # whoever prints does not speak in the answer
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    ruleset = load(config_of(job.files, os.environ))
    rows, in_force = _rows(job.rows), None if job.in_force is None else _rows(job.in_force)
    try:
        model, told = candidate(rows, in_force, ruleset)
        found = _Found(model.to_bytes(), told.held_back, dict(told.new), dict(told.old))
    except Rejected as error:
        found = _Found(nothing=str(error))
    answer.write(msgspec.msgpack.encode(found))
    answer.flush()


def _end_with(parent: int) -> None:
    """Nobody waits for what is learnt when the router was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _rows(given: Sequence[Mapping[str, object]]) -> list[Row]:
    return [row_of(one) for one in given]


if __name__ == "__main__":
    main()
