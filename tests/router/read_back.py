"""Records as a taker-over reads them back."""

from collections.abc import Sequence

from services.router.seen import HEADERS
from shared.log import Columns, Headers


def read_back(records: Sequence[tuple[int, int, Headers]]) -> Columns:
    """Of (offset, time, headers)."""
    found = [dict(headers) for _, _, headers in records]
    return Columns(
        [offset for offset, _, _ in records],
        [timestamp_ms for _, timestamp_ms, _ in records],
        [[headers.get(name) for headers in found] for name in HEADERS],
    )
