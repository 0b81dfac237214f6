"""The breaker: a poisoned record here and there is answered, a defect of ours stops the process."""

import pytest

from services.router.breaker import IN_A_ROW, WINDOW, Breaker, TooManyCrashes


def test_a_defect_stops_after_fifty_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(IN_A_ROW - 1):
        breaker.note(True)
    with pytest.raises(TooManyCrashes):
        breaker.note(True)


def test_forty_nine_of_fifty_go_on_for_ever() -> None:
    breaker = Breaker()
    for number in range(100 * IN_A_ROW):
        breaker.note(number % IN_A_ROW != 0)


def test_fifty_in_a_row_among_many_good_ones_wait_for_the_half() -> None:
    breaker = Breaker()
    breaker.note(True)
    for _ in range(WINDOW):
        breaker.note(False)
    for _ in range(WINDOW // 2):
        breaker.note(True)
    with pytest.raises(TooManyCrashes):
        breaker.note(True)
