"""A source is measured by its own habits."""

from datetime import UTC, datetime, timedelta

import pytest

from services.console.rhythm import rhythm

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
H = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ago", "hours", "pause", "state"),
    [
        pytest.param(None, 0, None, "never", id="it stands in sources.yaml and has not said a word"),
        pytest.param(H, 4, H, "unsure", id="four hours are no habit"),
        pytest.param(H * 900, 1, None, "unsure", id="it spoke once"),
        pytest.param(H / 2, 200, H, "heard", id="it spoke just now"),
        pytest.param(H * 13, 200, H * 14, "heard", id="a night, as every night"),
        pytest.param(H * 21, 200, H * 14, "heard", id="a long night"),
        pytest.param(H * 21.01, 200, H * 14, "silent", id="longer than one and a half of its longest"),
        pytest.param(H * 1.9, 200, H, "heard", id="an hour that was busy all month may be quiet once"),
        pytest.param(H * 2.1, 200, H, "silent", id="but not two"),
        pytest.param(H * 24 * 40, 0, None, "silent", id="nothing for more than four weeks"),
    ],
)
def test_silence(ago: timedelta | None, hours: int, pause: timedelta | None, state: str) -> None:
    last_at = NOW - ago if ago is not None else None
    found = rhythm(last_at, hours * 2, hours, NOW - timedelta(days=27) if hours else None, pause, NOW)
    assert found.state == state
    assert found.silence == ago


def test_the_usual_gap_is_the_average_and_of_one_event_there_is_none() -> None:
    first = NOW - timedelta(hours=10)
    assert rhythm(NOW, 11, 9, first, H, NOW).usual_gap == H
    assert rhythm(NOW, 1, 1, first, None, NOW).usual_gap is None


def test_an_event_of_a_clock_ahead_of_ours_is_no_negative_silence() -> None:
    assert rhythm(NOW + H, 10, 9, NOW, H, NOW).silence == timedelta(0)
