"""deploy/asyncapi.json, read by AsyncAPI's own parser, with the schemas that it refers to.

The parser is pinned in tests/deploy/asyncapi/package-lock.json and kept under .cache once it was fetched. Without Node 20
and npm these tests skip and say so; with `REQUIRE_NODE=1`, which CI sets, that is a failure.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.router.asyncapi import files
from shared.config import STARTER
from tests.deployment import REPOSITORY

HERE = Path(__file__).parent / "asyncapi"
PINNED = ("package.json", "package-lock.json", ".npmrc")
ERROR = 0
"""The severity; what is above is advice."""
FETCH_S = 150

Check = Callable[[Path], dict[str, Any]]


def skip(reason: str) -> None:
    if os.environ.get("REQUIRE_NODE"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def check() -> Check:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        skip("no Node: install Node 20 or newer, with npm")
    version = subprocess.run([str(node), "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        skip(f"Node {version} is too old: install 20 or newer")
    home = _fetched(str(npm))

    def run(file: Path) -> dict[str, Any]:
        done = subprocess.run(
            [str(node), str(HERE / "check.mjs"), str(file)],
            cwd=home, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def _fetched(npm: str) -> Path:
    """Where the pinned parser is: fetched beside and moved there whole, so that nobody finds half of it."""
    digest = sha256(b"".join((HERE / name).read_bytes() for name in PINNED)).hexdigest()[:12]
    home = REPOSITORY / ".cache" / "asyncapi" / digest
    if home.exists():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as place:
        fresh = Path(place) / "fresh"
        fresh.mkdir()
        for name in PINNED:
            shutil.copy(HERE / name, fresh / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        done = subprocess.run(command, cwd=fresh, check=False, capture_output=True, text=True, timeout=FETCH_S)
        if done.returncode != 0:
            skip(f"npm could not fetch the parser: {done.stderr[-500:]}")
        if not home.exists():
            fresh.rename(home)
    return home


def test_the_committed_document_is_one(check: Check) -> None:
    found = check(STARTER.parent / "asyncapi.json")
    assert [one for one in found["said"] if one["severity"] == ERROR] == []
    assert found["version"] == "3.1.0"
    assert {"feedback.received", "feedback.routed.support", "feedback.cases"} <= set(found["channels"])


def test_whatever_the_teams_are_called_it_is_one(check: Check, tmp_path: Path) -> None:
    written(tmp_path, ["a", "with-a-hyphen", "with_an_underscore", "0"])
    found = check(tmp_path / "asyncapi.json")
    assert [one for one in found["said"] if one["severity"] == ERROR] == []
    assert "feedback.routed.with-a-hyphen" in found["channels"]


@pytest.mark.parametrize("broken", ["a member that is none", "a schema that is not there", "a channel of nothing"])
def test_a_document_that_is_none_is_told(check: Check, tmp_path: Path, broken: str) -> None:
    """So that the others say something."""
    written(tmp_path, ["a"])
    file = tmp_path / "asyncapi.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    match broken:
        case "a member that is none":
            document["info"]["licence"] = "Apache-2.0"
        case "a schema that is not there":
            (tmp_path / "schemas" / "case.changed.json").unlink()
        case _:
            document["operations"]["receive_feedback_cases"]["channel"]["$ref"] = "#/channels/nothing"
    file.write_text(json.dumps(document), encoding="utf-8")
    found = check(file)
    assert any(one["severity"] == ERROR for one in found["said"])
    assert found["version"] is None


def test_the_lock_names_no_host() -> None:
    """Whoever builds elsewhere fetches from their own registry; what they get is held to its hash."""
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in one and one["integrity"] for one in packages.values())


def written(folder: Path, teams: list[str]) -> None:
    for name, content in files(teams).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
