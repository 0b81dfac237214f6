"""What the documents say is there, is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]


def test_every_promise_names_a_test_that_exists() -> None:
    promises = (ROOT / "README.md").read_text().partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("|") and "`tests/" in line]
    assert len(rows) >= 15
    for row in rows:
        file = ""
        for found in re.findall(r"`((?:tests/[\w/]+\.py)?(?:::\w+)?)`", row.rpartition(" | ")[2]):
            path, _, name = found.partition("::")
            file = path or file
            tree = ast.parse((ROOT / file).read_text())
            names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert not name or name in names, f"{file} has no {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:services|shared|deploy|tests|bench|docs)/[\w./-]+)`", text))
    named |= set(re.findall(r"\]\(((?!http)[\w./-]+)\)", text))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_no_place_of_any_machine_stands_in_what_is_committed() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / lock).read_text()
