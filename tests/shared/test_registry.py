"""Plug-ins are found by folder, and a folder with anything unsound in it is refused whole, with names."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

from shared.registry import BrokenPlugin, load

GOOD = "NAME = 'good'\nLIMIT = 3\ndef work(value, times): return value * times\n"


class Worker(Protocol):
    NAME: str
    LIMIT: int
    SPEED: int = 1
    """With a default, which a plug-in may leave out."""

    def work(self, value: str, times: int) -> str: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "plugged"
    place.mkdir()
    (place / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield place
    for name in [name for name in sys.modules if name.split(".")[0] == "plugged"]:
        del sys.modules[name]


def package() -> ModuleType:
    importlib.invalidate_caches()
    return importlib.import_module("plugged")


def test_what_is_in_the_folder_is_found(folder: Path) -> None:
    (folder / "one.py").write_text(GOOD.replace("good", "first"))
    (folder / "two.py").write_text(GOOD)
    (folder / "_helper.py").write_text("raise RuntimeError('never imported')")
    found = load(package(), Worker)
    assert sorted(found) == ["first", "good"]
    assert found["good"].work("ab", 2) == "abab"


def test_one_module_of_each_folder_is_found_by_the_folders_name(folder: Path) -> None:
    for name in ("ingest", "router", "console"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    (folder / "all.py").write_text("raise RuntimeError('never imported')")
    (folder / "ingest" / "check.py").write_text(GOOD.replace("NAME = 'good'", "NAME = 'ingest'"))
    assert sorted(load(package(), Worker, within="check")) == ["ingest"]
    (folder / "router" / "check.py").write_text("NAME = 'router'\nLIMIT = 3\n")
    with pytest.raises(BrokenPlugin, match=r"router: work\(value, times\) is missing"):
        load(package(), Worker, within="check")


def test_an_empty_folder_has_none(folder: Path) -> None:
    assert load(package(), Worker) == {}


UNSOUND = [
    ("a constant is missing", {"one": GOOD.replace("LIMIT = 3", "")}, "one: LIMIT is missing"),
    ("a function is missing", {"one": "NAME = 'x'\nLIMIT = 1"}, "one: work(value, times) is missing"),
    ("a function of another shape", {"one": GOOD.replace("times)", "n)", 1)}, "one: work must take (value, times)"),
    ("something that is no function", {"one": "NAME = 'x'\nLIMIT = 1\nwork = 7"}, "one: work(value, times) is missing"),
    ("no name", {"one": GOOD.replace("'good'", "''")}, "one: NAME must be a word"),
    ("two with one name", {"one": GOOD, "two": GOOD}, "two: the name 'good' is taken by one"),
    ("one that breaks", {"one": "1 / 0"}, "one: cannot be imported: ZeroDivisionError"),
    ("one with a typing error", {"one": "def work(:"}, "one: cannot be imported: SyntaxError"),
]


@pytest.mark.parametrize(("files", "said"), [row[1:] for row in UNSOUND], ids=[row[0] for row in UNSOUND])
def test_unsound(folder: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.raises(BrokenPlugin) as caught:
        load(package(), Worker)
    assert said in str(caught.value)


def test_everything_wrong_is_told_at_once(folder: Path) -> None:
    (folder / "one.py").write_text("LIMIT = 1")
    (folder / "two.py").write_text("1 / 0")
    with pytest.raises(BrokenPlugin) as caught:
        load(package(), Worker)
    assert len(str(caught.value).splitlines()) == 4
