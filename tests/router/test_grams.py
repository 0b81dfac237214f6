"""A text's features: the same text, the same numbers; and where they stand in it."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.model.grams import CHARS_BLOCK, FEATURES, MAX_AT_ONCE, MAX_CHARS, MAX_TEXTS, Grams, grams
from shared.folding import folded_utf8


def gram(text: str) -> Grams:
    (found,) = grams([folded_utf8(text)])
    return found


def pieces(text: str) -> set[str]:
    found = gram(text)
    return {found.text(*span) for span in spans(found, range(len(found.ids)))}


def spans(found: Grams, features: Iterable[int]) -> list[tuple[int, int]]:
    starts, stops = found.spans(np.array([*features]))
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def test_words_pairs_and_runs() -> None:
    found = pieces("Not good")
    assert {"not", "good", "not good"} <= found
    assert {"no", "oo", "ood", "t go", " not"} <= found
    assert "o" not in found  # a letter says nothing


def test_where_the_script_has_no_words_characters_are_words() -> None:
    found = pieces("很好用")
    assert {"很", "好", "用", "很好", "好用", "很好用"} <= found
    assert "很好用 " not in found


def test_mixed_scripts_and_signs() -> None:
    found = pieces("app闪退😡!")
    assert {"app", "闪", "闪退", "😡", "!"} <= found


@given(st.text(max_size=300))
def test_every_number_is_met_in_the_text_and_is_in_its_block(text: str) -> None:
    found = gram(text)
    assert list(found.ids) == sorted(set(found.ids.tolist()))
    assert (found.ids >= 0).all()
    assert (found.ids < FEATURES).all()
    assert (found.ids[: found.words[0]] < CHARS_BLOCK).all()
    assert (found.ids[found.words[0] :] >= CHARS_BLOCK).all()
    assert len(found.weights) == len(found.ids) == len(found.places) == found.starts[-1]
    for start, stop in spans(found, range(len(found.ids))):
        assert 0 <= start < stop <= len(found.points)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6), st.integers(0, 5))
def test_a_text_has_the_same_numbers_whatever_stands_beside_it(texts: list[str], which: int) -> None:
    which %= len(texts)
    alone = gram(texts[which])
    (together,) = grams([folded_utf8(text) for text in texts])
    here = slice(together.starts[which], together.starts[which + 1])
    assert together.ids[here].tolist() == alone.ids.tolist()
    assert together.weights[here].tolist() == alone.weights.tolist()
    assert together.words[which] - together.starts[which] == alone.words[0]
    begin = together.texts[which]
    there = spans(together, range(here.start, here.stop))
    assert [(start - begin, stop - begin) for start, stop in there] == spans(alone, range(len(alone.ids)))


def test_the_whole_words_that_a_piece_stands_in() -> None:
    found = gram("the (refunded) money, 我的app很好 😡")
    every = np.arange(len(found.ids))
    pieces = [found.text(*span) for span in spans(found, every)]
    starts, stops = found.whole_words(every)
    whole = dict(zip(pieces, (found.text(*span) for span in zip(starts, stops, strict=True)), strict=True))
    assert whole["(re"] == whole["und"] == whole["ed)"] == "refunded"
    assert whole["e (r"] == "the (refunded"
    assert (whole["pp很"], whole["的a"], whole["很好"], whole["😡"]) == ("app很", "的app", "很好", "😡")
    assert whole[") "] == whole[", "] == ""


def test_more_texts_than_are_read_at_once_come_in_parts() -> None:
    texts = [b"x" * 7_000] * 10 + [b"a"] * (MAX_TEXTS + 5)
    found = list(grams(texts))
    assert sum(len(some.starts) - 1 for some in found) == len(texts)
    assert max(len(some.points) for some in found) <= MAX_AT_ONCE
    assert max(len(some.starts) - 1 for some in found) <= MAX_TEXTS


def test_a_word_has_one_number_wherever_it_stands() -> None:
    """Its hash is made of sums over what stands before it."""
    alone = {int(number) for number in gram("refund").ids if number < CHARS_BLOCK}
    later = {int(number) for number in gram("x " * 2_000 + "refund please").ids if number < CHARS_BLOCK}
    assert len(alone) == 1
    assert alone <= later


def test_other_words_have_other_numbers() -> None:
    (found,) = grams([f"word{number}".encode() for number in range(MAX_TEXTS)])
    assert len(set(found.ids[found.starts[:-1]].tolist())) > 990


def test_how_often_counts_by_its_logarithm() -> None:
    once, often = gram("slow"), gram("slow slow slow slow")
    number = once.ids[0]
    weight = dict(zip(often.ids.tolist(), often.weights.tolist(), strict=True))[int(number)]
    assert weight == pytest.approx(1 + 1.386, abs=1e-3)


def test_it_is_linear_in_the_text_and_ends() -> None:
    """By what is made of it, not by a clock: no text makes more features than five a character."""
    for length in (10, 1_000, MAX_CHARS, 30_000):
        found = gram(("很慢 slow! " * 5_000)[:length])
        assert len(found.points) <= min(length, MAX_CHARS) + 3
        assert len(found.ids) <= 5 * min(length, MAX_CHARS) + 20
    long = gram("beginning " + "x " * 15_000 + "ending")
    whole = long.text(0, len(long.points))
    assert "beginning" in whole
    assert "ending" in whole


def test_nothing_is_read_without_failing() -> None:
    assert len(gram("").ids) > 0
    assert list(grams([])) == []
