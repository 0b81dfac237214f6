"""The spool on disk: order, durability, its bound, what is left after a death, a disk that fails."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.ingest import spool as spools
from services.ingest.spool import Spool
from shared.errors import Misuse, Transient
from shared.log import Message

MIB = 1024 * 1024


def message(number: int, size: int = 10) -> Message:
    headers = [("ce_id", str(number).encode()), ("ce_id", b"twice")]
    return Message("feedback.received", None if number % 2 else b"key", str(number).encode().rjust(size), headers)


def numbers(messages: list[Message]) -> list[int]:
    return [int(one.value) for one in messages]


async def everything(spool: Spool) -> list[Message]:
    found: list[Message] = []
    while (batch := await spool.read()) is not None:
        found += batch.messages
        await spool.done(batch)
    return found


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path, 64 * MIB)) as one:
        yield one


async def test_what_went_in_comes_out_as_it_was_in_its_order(spool: Spool) -> None:
    assert spool.is_empty
    await asyncio.gather(*(spool.append([message(2 * n), message(2 * n + 1)]) for n in range(500)))
    assert (spool.records, spool.is_empty) == (1_000, False)
    found = await everything(spool)
    assert found == [message(n) for n in range(1_000)]
    assert (spool.records, spool.bytes, spool.is_empty) == (0, 0, True)


async def test_what_is_given_together_shares_one_fsync(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        calls.append(fd)
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    await asyncio.gather(*(spool.append([message(n)]) for n in range(300)))
    assert len(calls) <= 4  # the folder's, the first one's alone, all the others'


async def test_nobody_is_told_before_it_is_on_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        sync(fd)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    await spool.append([message(1, 5_000)])
    assert synced[-1] > 5_000


async def test_a_batch_comes_again_until_it_is_done(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "BATCH_BYTES", 1_000)
    for n in range(20):
        await spool.append([message(n, 200)])
    first = await spool.read()
    assert first == await spool.read()
    assert first is not None
    await spool.done(first)
    second = await spool.read()
    assert second is not None
    assert numbers(first.messages) + numbers(second.messages) == list(range(len(first.messages) + len(second.messages)))


async def test_a_full_spool_says_so_and_has_room_again(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, 10_000)) as spool:
        await spool.append([message(1, 4_000)])
        await spool.append([message(2, 4_000)])
        assert spool.is_full is False
        with pytest.raises(Transient, match="full"):
            await spool.append([message(3, 4_000)])
        await spool.append([message(4, 1_200)])
        assert bool(spool.is_full)
        assert numbers(await everything(spool)) == [1, 2, 4]
        await spool.append([message(5, 9_000)])
        assert numbers(await everything(spool)) == [5]


async def test_segments_are_cut_and_what_was_read_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 5_000)
    monkeypatch.setattr(spools, "BATCH_BYTES", 5_000)
    with closing(Spool(tmp_path, MIB)) as spool:
        for n in range(50):
            await spool.append([message(n, 1_000)])
        files = list(tmp_path.glob("0/*.spool"))
        assert len(files) >= 9
        for _ in range(5):
            batch = await spool.read()
            assert batch is not None
            await spool.done(batch)
        assert len(list(tmp_path.glob("0/*.spool"))) < len(files) - 3
        await everything(spool)
        assert not list(tmp_path.glob("0/*.spool"))


async def test_who_comes_after_goes_on_where_the_last_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "BATCH_BYTES", 500)
    with closing(Spool(tmp_path, MIB)) as spool:
        for n in range(30):
            await spool.append([message(n, 100)])
        batch = await spool.read()
        assert batch is not None
        await spool.done(batch)
        done = len(batch.messages)
    with closing(Spool(tmp_path, MIB)) as spool:
        assert spool.records == 30 - done
        await spool.append([message(30, 100)])
        assert numbers(await everything(spool)) == list(range(done, 31))
    with closing(Spool(tmp_path, MIB)) as spool:
        assert spool.is_empty


@pytest.mark.parametrize("left", range(1, 40, 6))
async def test_a_torn_end_is_what_nobody_was_told_of(tmp_path: Path, left: int) -> None:
    with closing(Spool(tmp_path, MIB)) as spool:
        await spool.append([message(1)])
        await spool.append([message(2)])
    (segment,) = tmp_path.glob("0/*.spool")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[:left])
    with closing(Spool(tmp_path, MIB)) as spool:
        assert spool.records == 2
        await spool.append([message(3)])
        assert numbers(await everything(spool)) == [1, 2, 3]
        assert (spool.bytes, spool.is_empty) == (0, True)
    assert not list(tmp_path.glob("0/*.spool"))


async def test_what_the_disk_spoiled_is_kept_for_people_and_holds_up_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Spool(tmp_path, MIB)) as spool:
        for n in range(3):
            await spool.append([message(n)])
    (segment,) = tmp_path.glob("0/*.spool")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)
    with closing(Spool(tmp_path, MIB)) as spool:
        await spool.append([message(3)])
        assert numbers(await everything(spool)) == [0, 3]
    (kept,) = tmp_path.glob("0/*.damaged")
    assert kept.read_bytes() == raw
    assert "spool.damaged" in capsys.readouterr().out


async def test_a_process_that_is_killed_loses_nothing_that_it_was_told_of(tmp_path: Path) -> None:
    """Told on its output, line by line, then killed in the middle of it."""
    program = f"""
import asyncio, sys
from pathlib import Path
from services.ingest.spool import Spool
from tests.ingest.test_spool import message
async def main():
    spool = Spool(Path({str(tmp_path)!r}), 1 << 30)
    async def one(start):
        for n in range(start, 10**9, 8):
            await spool.append([message(n, 2000)])
            print(n, flush=True)
    await asyncio.gather(*map(one, range(8)))
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(400)]
        process.kill()
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    with closing(Spool(tmp_path, 1 << 30)) as spool:
        found = numbers(await everything(spool))
    assert set(told) <= set(found)
    assert len(found) == len(set(found))
    for start in range(8):
        of_one = [n for n in found if n % 8 == start]
        assert of_one == sorted(of_one)


async def test_each_process_has_a_folder_and_takes_up_what_nobody_holds(tmp_path: Path) -> None:
    one, two = Spool(tmp_path, MIB), Spool(tmp_path, MIB)
    await one.append([message(1)])
    await two.append([message(2)])
    one.close()
    with closing(Spool(tmp_path, MIB)) as heir:
        assert numbers(await everything(heir)) == [1]
    assert numbers(await everything(two)) == [2]
    two.close()


class Failing:
    """A disk that is full, or cannot sync, for as long as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        sync = os.fsync

        def fsync(fd: int) -> None:
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            sync(fd)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_fails_is_told_and_what_follows_is_good(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    disk = Failing(monkeypatch)
    await spool.append([message(1)])
    disk.error = code
    answers: list[Any] = await asyncio.gather(*(spool.append([message(n)]) for n in (2, 3)), return_exceptions=True)
    assert all(isinstance(answer, Transient) and "cannot be written" in str(answer) for answer in answers)
    disk.error = None
    await spool.append([message(4)])
    assert numbers(await everything(spool)) == [1, 4]
    assert spool.is_empty


def test_a_place_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misuse, match="INGEST_SPOOL_DIR"):
        Spool(tmp_path / "file", MIB)
