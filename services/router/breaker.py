"""When dead letters stop being an answer: a bad deploy must not empty the topic into them. Pure."""

from collections import deque

WINDOW = 200
IN_A_ROW = 50


class TooManyCrashes(Exception):
    """One record after another fails without a reason: that is a defect of ours, not of theirs. The process stops,
    nothing of the batch is written, and the position stays."""


class Breaker:
    """One partition's, over its last `WINDOW` records."""

    def __init__(self) -> None:
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._crashes = 0
        self._in_a_row = 0

    def note(self, crashed: bool) -> None:
        """Raises `TooManyCrashes` when more than half of the last ones crashed, and the last fifty all did."""
        if not crashed and not self._crashes:
            return  # nothing to remember: what came before is as good as nothing
        if len(self._last) == WINDOW:
            self._crashes -= self._last[0]
        self._last.append(crashed)
        self._crashes += crashed
        self._in_a_row = self._in_a_row + 1 if crashed else 0
        if self._in_a_row >= IN_A_ROW and self._crashes * 2 > len(self._last):
            raise TooManyCrashes(
                f"{self._in_a_row} records in a row could not be routed, each for an unexpected error: see the log"
            )
