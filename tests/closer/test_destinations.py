"""One destination that fails is spared, and tried again; what waits for it uses up no try."""

import pytest

from services.closer.destinations import FIRST_S, LONGEST_S, TRIPS_AFTER, Destination, Pace


@pytest.fixture
def destination() -> Destination:
    return Destination(Pace(at_once=4, pause_s=0.0))


def fail(destination: Destination, now: float, times: int = 1, retry_after_s: float | None = None) -> None:
    for _ in range(times):
        destination.began(now)
        destination.failed(now, retry_after_s)


def test_a_destination_has_room_for_so_many_at_once(destination: Destination) -> None:
    for left in (3, 2, 1, 0):
        destination.began(0.0)
        assert destination.room(0.0) == left
    destination.answered()
    assert destination.room(0.0) == 1


def test_a_few_failures_change_nothing_and_more_in_a_row_close_it_for_a_while(destination: Destination) -> None:
    fail(destination, 0.0, TRIPS_AFTER - 1)
    assert destination.room(0.0) == 4
    fail(destination, 0.0)
    assert destination.is_failing
    assert destination.room(FIRST_S - 0.1) == 0
    assert destination.room(FIRST_S) == 1, "then it is tried with one"
    destination.began(FIRST_S)
    assert destination.room(FIRST_S) == 0


def test_each_failure_more_closes_it_for_longer_up_to_a_bound(destination: Destination) -> None:
    fail(destination, 0.0, TRIPS_AFTER)
    now, waits = 0.0, []
    for _ in range(12):
        start = now
        while not destination.room(now):
            now += 0.5
        waits.append(now - start)
        fail(destination, now)
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert waits[-1] == LONGEST_S == max(waits)


def test_what_was_under_way_when_it_was_closed_closes_it_no_longer(destination: Destination) -> None:
    for _ in range(TRIPS_AFTER + 3):
        destination.began(0.0)
    for _ in range(TRIPS_AFTER + 3):
        destination.failed(1.0, None)
    assert (destination.room(FIRST_S), destination.room(1.0 + FIRST_S)) == (0, 1)


def test_one_answer_opens_it_whole(destination: Destination) -> None:
    fail(destination, 0.0, TRIPS_AFTER + 3)
    later = 10_000.0
    destination.began(later)
    destination.answered()
    assert not destination.is_failing
    assert destination.room(later) == 4


def test_it_is_left_alone_for_as_long_as_it_asks(destination: Destination) -> None:
    fail(destination, 0.0, 1, retry_after_s=30.0)
    assert (destination.room(29.0), destination.room(30.0)) == (0, 4)
    fail(destination, 100.0, TRIPS_AFTER, retry_after_s=5000.0)
    assert (destination.room(5099.0), destination.room(5100.0)) == (0, 1)


def test_one_that_takes_one_at_a_time_is_given_pauses() -> None:
    destination = Destination(Pace(at_once=1, pause_s=1.2))
    destination.began(0.0)
    destination.answered()
    assert (destination.room(1.1), destination.room(1.2)) == (0, 1)
