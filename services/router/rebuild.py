"""Reading a partition's window back, so that a taker-over knows what its predecessor knew.

From the time of the record at the committed position, back by the window: a router that lags judges by the records'
times, not by its clock. Where nothing stands at the position yet, the last record before it dates what will come.
Committed records only, their headers only. `SLACK_MS` more than the window, because times may step back.
"""

from services.router.seen import HEADERS, SLACK_MS, SeenIds, workspace_of
from shared.log import Reader, TopicPartition

FIRST_STRIDE = 64


async def rebuilt(reader: Reader, tp: TopicPartition, position: int, window_ms: int) -> tuple[SeenIds, int]:
    """The ids of the window that ends at `position`, and how many records were read for them. Raises `Transient`."""
    first, end = await reader.bounds(tp)
    seen = SeenIds(window_ms, position)
    if position <= first:
        return seen, 0
    now_ms = await _time_after(reader, tp, position, end) or await _time_before(reader, tp, position, first)
    if now_ms is None:
        return seen, 0
    start = await reader.offset_at(tp, max(0, now_ms - window_ms - SLACK_MS))
    return seen, await caught_up(seen, reader, tp, max(first, min(start, position)), position)


async def caught_up(seen: SeenIds, reader: Reader, tp: TopicPartition, start: int, position: int) -> int:
    """Takes in the records from `start` up to `position`; how many there were."""
    count = 0
    if start < position:
        workspace = workspace_of(tp.topic)[1]
        async for found in reader.scan_headers(tp, start, position, HEADERS):
            seen.add(found, workspace)
            count += len(found.offsets)
    seen.position = position
    return count


async def _time_after(reader: Reader, tp: TopicPartition, position: int, end: int) -> int | None:
    """Of the first record at or after the position. Aborted transactions may have left long gaps."""
    stride = FIRST_STRIDE
    while position < end:
        async for found in reader.scan_headers(tp, position, min(end, position + stride), ()):
            if found.times_ms:
                return found.times_ms[0]
        position, stride = position + stride, stride * 4
    return None


async def _time_before(reader: Reader, tp: TopicPartition, position: int, first: int) -> int | None:
    """Of the last record before the position."""
    stride = FIRST_STRIDE
    while position > first:
        start = max(first, position - stride)
        last = None
        async for found in reader.scan_headers(tp, start, position, ()):
            if found.times_ms:
                last = found.times_ms[-1]
        if last is not None:
            return last
        position, stride = start, stride * 4
    return None
