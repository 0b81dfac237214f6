"""Signed links: what was signed is read back; everything else is nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import ManualClock
from shared.errors import Misuse
from shared.links import MAX_TOKEN_CHARS, SKEW_S, Links

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "a secret of more than sixteen bytes"
URL_SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def links(clock: ManualClock | None = None, secret: str = SECRET) -> Links:
    return Links(secret, clock or ManualClock(NOW))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=500))
def test_what_was_signed_is_read_back(payload: str) -> None:
    token = links().sign("loop", payload)
    assert links().read("loop", token, 60) == payload
    assert set(token) <= URL_SAFE


def test_the_signature_has_at_least_128_bits() -> None:
    assert len(links().sign("loop", "case-1").rsplit(".", 1)[1]) * 6 >= 128


@given(st.data())
def test_row_53_every_other_spelling_is_unreadable(data: st.DataObject) -> None:
    """Also the ones that base64 would decode to the same bytes."""
    token = links().sign("loop", "case-1")
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(sorted(URL_SAFE)).filter(lambda c: c != token[at]))
    assert links().read("loop", token[:at] + other + token[at + 1 :], None) is None


def test_row_53_truncated_case_flipped_or_padded() -> None:
    token = links().sign("loop", "case-1")
    for length in range(len(token)):
        assert links().read("loop", token[:length], None) is None, length
    for changed in (token.swapcase(), token.upper(), token + "=", token + "A", " " + token, token + "\n", "é" + token):
        assert links().read("loop", changed, None) is None, changed


@pytest.mark.parametrize(
    ("why", "purpose", "secret"),
    [
        ("another purpose", "unsubscribe", SECRET),
        ("a purpose that begins alike", "loo", SECRET),
        ("no purpose", "", SECRET),
        ("another secret", "loop", SECRET + "!"),
        ("purpose and secret shifted", "loo", "p" + SECRET),
    ],
)
def test_row_53_made_for_something_else(why: str, purpose: str, secret: str) -> None:
    assert links(secret=secret).read(purpose, links().sign("loop", "case-1"), None) is None, why


def test_it_ages() -> None:
    clock = ManualClock(NOW)
    token = links(clock).sign("loop", "case-1")
    clock.advance(timedelta(seconds=60))
    assert links(clock).read("loop", token, 60) == "case-1"
    clock.advance(timedelta(seconds=1))
    assert links(clock).read("loop", token, 60) is None
    assert links(clock).read("loop", token, None) == "case-1"


def test_the_signers_clock_may_be_a_little_ahead_and_no_more() -> None:
    ahead = ManualClock(NOW + timedelta(seconds=SKEW_S))
    assert links().read("loop", links(ahead).sign("loop", "x"), 1) == "x"
    ahead.advance(timedelta(seconds=1))
    assert links().read("loop", links(ahead).sign("loop", "x"), 1) is None


@pytest.mark.parametrize("junk", ["", ".", "..", "...", "a.b.c", "\0", "☃", "=" * 10, "A" * (MAX_TOKEN_CHARS + 1)])
def test_junk_is_nothing(junk: str) -> None:
    assert links().read("loop", junk, None) is None


def test_misuse() -> None:
    with pytest.raises(Misuse):
        Links("")
    with pytest.raises(Misuse):
        links().sign("loop", "x" * MAX_TOKEN_CHARS)
