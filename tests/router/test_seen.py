"""Which delivery was seen: against a slow reference that keeps everything, through turns and commits."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.seen import SLACK_MS, SeenIds, identify
from shared.log import Headers
from tests.router.read_back import read_back

HOUR_MS = 3_600_000
SOUND: Headers = [("ce_type", b"feedback.received"), ("ce_workspace", b"default"), ("ce_source", b"s")]


def headers(name: str, body: str = "aa", redrive: int = 0) -> Headers:
    found: Headers = [*SOUND, ("ce_id", name.encode()), ("ce_bodyhash", body.encode())]
    return [*found, ("redrive", str(redrive).encode())] if redrive else found


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), True),
        (headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("3f2504e0-4f89-41d3-9a0c-0305e82c3302"), False),
        (headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("3F2504E0-4F89-41D3-9A0C-0305E82C3301"), False),
        (headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("3f2504e04f8941d39a0c0305e82c3301"), False),
        (headers("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("3f2504e-04f89-41d3-9a0c-0305e82c3301"), False),
        (headers("0f2504e0-4f89-41d3-9a0c-0305e82c3301"), headers("-f2504e0-4f89-41d3-9a0c-0305e82c3301"), False),
        (headers("x"), headers("x", redrive=1), False),
        (headers("x", redrive=2), headers("x", redrive=1), False),
        (headers("x", redrive=1), headers("x", redrive=1), True),
        (headers("y"), headers("u"), False),
    ],
)
def test_identity(left: Headers, right: Headers, same: bool) -> None:
    first, second = identify(dict(left), b"default"), identify(dict(right), b"default")
    assert first is not None
    assert second is not None
    assert (first[0] == second[0]) is same


@pytest.mark.parametrize(
    "given",
    [
        [],
        SOUND,
        [*SOUND, ("ce_id", b"")],
        [*SOUND, ("ce_id", "ü".encode())],
        headers("x", redrive=-1),
        [*headers("x"), ("redrive", b"one")],
        [header for header in headers("x") if header[0] != "ce_type"],
        [header for header in headers("x") if header[0] != "ce_source"],
        [*headers("x"), ("ce_type", b"feedback.routed")],
        [*headers("x"), ("ce_workspace", b"acme")],
    ],
)
def test_no_identity(given: Headers) -> None:
    """Nobody counts it, neither whoever meets it nor whoever reads it back."""
    assert identify(dict(given), b"default") is None
    seen = SeenIds(HOUR_MS, 0)
    seen.add(read_back([(0, 0, given)]), b"default")
    assert len(seen) == 0


UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c33"
ODD = st.sampled_from(
    [
        headers("x"),
        headers(UUID + "A1"),
        headers("-" * 36),
        headers(UUID[:8] + UUID[9:] + "-01"),
        headers(UUID + "0\u0660"),
        headers(UUID + "0"),
        headers(UUID + "01", redrive=2),
        headers(UUID + "01", redrive=-1),
        headers(UUID + "01", body="-1"),
        headers(UUID + "01", body="no hex at all"),
        headers(UUID + "01", body=""),
        headers(UUID + "01")[:-1],
        [*headers(UUID + "01"), ("ce_workspace", b"acme")],
        [*headers(UUID + "01"), ("ce_type", b"work.shipped")],
        [*headers(UUID + "01"), ("ce_type", b"feedback.routed")],
        [header for header in headers(UUID + "01") if header[0] != "ce_source"],
        [header for header in headers(UUID + "01") if header[0] != "ce_id"],
    ]
)
SOUND_ONES = st.builds(
    lambda last, body: headers(f"{UUID}{last:02x}", f"{body:032x}"), st.integers(0, 3), st.integers(0)
)


@settings(max_examples=300)
@given(st.one_of(st.lists(SOUND_ONES, max_size=8), st.lists(st.one_of(SOUND_ONES, ODD), max_size=8)))
def test_reading_many_back_at_once_says_what_meeting_each_says(given: list[Headers]) -> None:
    """The quick way over all of them must not know another id, or know it otherwise."""
    met, back = SeenIds(HOUR_MS, 0), SeenIds(HOUR_MS, 0)
    for offset, one in enumerate(given):
        if (identity := identify(dict(one), b"default")) is not None:
            met.earlier(identity, offset, offset)
    met.keep(len(given))
    back.add(read_back([(offset, offset, one) for offset, one in enumerate(given)]), b"default")
    assert len(back) == len(met)
    for one in given:
        if (identity := identify(dict(one), b"default")) is not None:
            expected = met.earlier(identity, 99, 99)
            met.forget()
            assert expected is not None
            assert back.earlier(identity, 99, 99) == expected
            back.forget()


def test_the_body_tells_a_repeat_from_a_conflict() -> None:
    seen = SeenIds(HOUR_MS, 0)
    for offset, (body, expected) in enumerate([("aa", None), ("aa", True), ("bb", False), ("bb", True), ("aa", False)]):
        identity = identify(dict(headers("x", body)), b"default")
        assert identity is not None
        earlier = seen.earlier(identity, offset, offset)
        assert (earlier.same_body if earlier else None) is expected
        if earlier is not None:
            assert earlier.offset == offset - 1  # the last one counts, not the first


def test_a_batch_that_was_not_committed_was_never_seen() -> None:
    seen = SeenIds(HOUR_MS, 0)
    identity = identify(dict(headers("x")), b"default")
    assert identity is not None
    assert seen.earlier(identity, 0, 0) is None
    seen.forget()
    assert seen.earlier(identity, 0, 0) is None
    seen.keep(1)
    seen.forget()
    assert seen.earlier(identity, 1, 1) is not None


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["aa", "bb"]),
        st.integers(-SLACK_MS // 4, HOUR_MS // 2),  # times may step back
        st.sampled_from(["go on", "go on", "keep", "forget", "take over"]),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS)
def test_verdicts_are_those_of_the_whole_history(steps: list[tuple[str, str, int, str]]) -> None:
    """The reference keeps every record and looks for the last one of the same id."""
    seen = SeenIds(HOUR_MS, 0)
    history: list[tuple[str, str, int]] = []
    committed = 0
    now_ms = 100 * HOUR_MS
    for name, body, step_ms, then in steps:
        now_ms += step_ms
        offset = len(history)
        identity = identify(dict(headers(name, body)), b"default")
        assert identity is not None
        found = seen.earlier(identity, offset, now_ms)
        last = next((i for i in range(offset - 1, -1, -1) if history[i][0] == name), None)
        if last is not None and now_ms - history[last][2] <= HOUR_MS:
            assert found is not None
            assert (found.offset, found.same_body) == (last, history[last][1] == body)
        else:
            assert found is None
        history.append((name, body, now_ms))
        if then == "keep":
            committed = len(history)
            seen.keep(committed)
        elif then == "forget":
            del history[committed:]
            now_ms = history[-1][2] if history else 100 * HOUR_MS
            seen.forget()
        elif then == "take over":
            del history[committed:]
            now_ms = history[-1][2] if history else 100 * HOUR_MS
            seen = SeenIds(HOUR_MS, committed)
            start = now_ms - HOUR_MS - SLACK_MS
            first = next((i for i, entry in enumerate(history) if entry[2] >= start), len(history))
            for begin in range(first, len(history), 7):
                part = enumerate(history[begin : begin + 7], begin)
                seen.add(read_back([(i, at, headers(n, b)) for i, (n, b, at) in part]), b"default")


def test_memory_is_let_go_when_the_window_has_passed() -> None:
    seen = SeenIds(HOUR_MS, 0)
    per_hour = 1000
    for offset in range(20 * per_hour):
        identity = identify(dict(headers(str(uuid.UUID(int=offset)))), b"default")
        assert identity is not None
        seen.earlier(identity, offset, offset * HOUR_MS // per_hour)
        if offset % 50 == 49:
            seen.keep(offset + 1)
    assert per_hour <= len(seen) <= 2.5 * per_hour
