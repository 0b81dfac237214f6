"""Every word in both languages, and none that nobody reads."""

import re
from pathlib import Path

from services.console import render
from services.console.render import words

TEMPLATES = Path(render.__file__).parent / "templates"
SOURCES = [*TEMPLATES.glob("*.html"), *TEMPLATES.parent.rglob("*.py")]


def test_both_languages_have_the_same_words_and_the_same_gaps() -> None:
    english, chinese = words("en"), words("zh-CN")
    assert english.keys() == chinese.keys()
    gaps = re.compile(r"\{(\w+)\}").findall
    assert {key: sorted(gaps(text)) for key, text in english.items()} == {
        key: sorted(gaps(text)) for key, text in chinese.items()
    }
    assert not [key for key, text in chinese.items() if not re.search("[\u4e00-\u9fff]", text)], "not translated"


def test_every_word_that_a_template_asks_for_is_there_and_every_one_is_asked_for() -> None:
    said = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    asked = set(re.findall(r"""\bt\(\s*["']([\w.-]+)["']\s*[,)]""", said))
    prefixes = set(re.findall(r"""\bt\(\s*"([\w.-]+)\.?"\s*~""", said)) | set(
        re.findall(r"""known\(\s*"([\w-]+)"\s*,""", said)
    )
    known = set(words("en"))
    assert asked <= known, f"no such word: {sorted(asked - known)}"
    named = set(re.findall(r'"([a-z_]+(?:\.[a-z_-]+)+)"', said))  # keys that are passed on
    unread = {key for key in known - asked - named if not any(key.startswith(prefix) for prefix in prefixes)}
    assert not unread, f"nobody reads: {sorted(unread)}"
