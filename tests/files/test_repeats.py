"""Ids that a file has brought already, against a plain dict."""

from hypothesis import given
from hypothesis import strategies as st

from shared.files.repeats import Repeats


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2))))
def test_it_says_what_a_dict_would_say(pairs: list[tuple[int, int]]) -> None:
    repeats, known = Repeats(), dict[int, int]()
    for identity, content in pairs:
        said = repeats.note(str(identity).encode(), str(content).encode())
        wanted = "new" if identity not in known else "same" if known[identity] == content else "other"
        assert said == wanted
        known.setdefault(identity, content)


def test_nothing_is_forgotten_as_it_grows() -> None:
    repeats = Repeats()
    for number in range(20_000):
        assert repeats.note(b"%d" % number, b"x") == "new"
    assert all(repeats.note(b"%d" % number, b"x") == "same" for number in range(20_000))
