"""Accept-Language as browsers send it, and as they do not."""

import pytest

from shared.web.languages import liked, primary


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("", []),
        ("zh-CN,zh;q=0.9,en;q=0.8", ["zh-CN", "zh", "en"]),
        ("en;q=0.5, de-AT;q=0.8, fr", ["fr", "de-AT", "en"]),
        ("en;q=0, zh;q=0.1", ["zh"]),
        ("de, en", ["de", "en"]),
        ("x;q=b, y;q=9, zh ; q=0.1", ["x", "y", "zh"]),
        (",,;q=1,", []),
        ("a," * 5_000, ["a"] * 20),
    ],
)
def test_the_most_liked_comes_first(header: str, tags: list[str]) -> None:
    assert liked(header) == tags


def test_the_language_of_a_tag() -> None:
    assert [primary(tag) for tag in ("zh-Hans-CN", "EN", " de ", "")] == ["zh", "en", "de", ""]
