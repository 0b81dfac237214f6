"""The benchmark runs, and what it counts is exact. How fast anything is, is no test's business."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from bench import built, http, router
from bench.events import RULES, keywords, pieces
from bench.options import Options
from bench.table import Part, plain, render

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_events_are_what_is_said_of_them() -> None:
    made = pieces(2000)
    texts = [json.loads(piece.body(number))["text"] for number, piece in enumerate(made)]
    words = keywords()
    assert len(set(words)) == RULES
    for piece, text in zip(made, texts, strict=True):
        assert [rule for rule, word in enumerate(words) if word in text] == ([] if piece.rule is None else [piece.rule])
    assert 550 < mean(len(piece.body(number)) for number, piece in enumerate(made)) < 650
    assert 0.37 < mean(piece.rule is not None for piece in made) < 0.43
    assert sum(not text.isascii() for text in texts) == len(texts) / 2
    assert pieces(50) == made[:50]
    assert len({made[0].body(number) for number in range(100)}) == 100


def test_a_figure_is_the_median_and_a_ratio_is_of_medians() -> None:
    part = Part("x", "so many", "bare")
    for bare, ours in ((100.0, 30.0), (300.0, 90.0), (200.0, 80.0)):
        part.add("bare", {"events/s": bare})
        part.add("ours", {"events/s": ours})
    part.aim("ours ÷ bare", part.ratio("ours", "bare", "events/s"), at_least=0.35)
    part.count("ours", 10, 9)
    shown = render([part], {"cores": 2})
    assert "200 [100–300]" in shown
    assert "80.0 [30.0–90.0]" in shown
    assert "| 0.40 × " in shown
    assert "met" in shown
    assert "NOT EXACT" in shown
    assert plain([part], {})["parts"][0]["counts"][0]["exact"] is False


def test_a_loss_is_not_made_good_by_a_double() -> None:
    part = Part("x", "so many")
    part.count("ours", 10, 9)
    part.count("ours", 10, 11)
    part.count("theirs", 10, 12, unknown=2)
    assert [(count.wanted, count.found, count.exact) for count in part.counts] == [(20, 20, False), (10, 12, True)]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, with nothing in it; what is built goes to `.cache` beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(built, "CACHE", tmp_path / ".cache")
    return folder


def stand_in(tool: Path, script: str) -> None:
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.mark.usefixtures("tools")
def test_a_peer_whose_tool_is_not_there_is_left_out_and_said_to_be() -> None:
    part = Part("x", "so many")
    assert built.bento(part, Options()) is None
    assert built.streams(part, Options()) is None
    assert part.notes == ["Bento is left out: no go on the path", "Kafka Streams is left out: no mvn on the path"]
    assert "- Bento is left out: no go on the path" in render([part], {})


def test_a_peer_that_cannot_be_built_is_left_out_by_the_line_that_tells_why(tools: Path) -> None:
    stand_in(tools / "go", "echo fetching >&2; echo 'bento: dial tcp: no such host' >&2; exit 1")
    stand_in(tools / "mvn", "echo '[ERROR] No such plugin'; echo '[ERROR] [Help 1] an address'; exit 1")
    part = Part("x", "so many")
    assert built.bento(part, Options()) is None
    assert built.streams(part, Options()) is None
    assert part.notes == [
        "Bento is left out: go failed: bento: dial tcp: no such host",
        "Kafka Streams is left out: mvn failed: No such plugin",
    ]
    assert not list(built.CACHE.iterdir())


def test_a_peer_is_built_once(tools: Path) -> None:
    stand_in(tools / "go", f'while [ "$1" != -o ]; do shift; done; : >"$2"; echo built >>{tools}/times')
    part = Part("x", "so many")
    program = built.bento(part, Options())
    assert program is not None
    assert program.exists()
    assert built.bento(part, Options()) == program
    assert (tools / "times").read_text() == "built\n"
    assert not part.notes


def test_a_peer_that_was_left_out_has_no_target() -> None:
    for aim, ours, peer, measure, wanted in (
        (http.aim, http.KAFKA, http.BENTO, "requests/s", ("ours ÷ Bento, requests/s", 2.0, 1.3)),
        (router.aim, router.OURS, router.STREAMS, "events/s", ("ours ÷ Kafka Streams", 2.0, 1.2)),
    ):
        part = Part("x", "so many")
        part.add(ours, {measure: 10.0})
        aim(part)
        without = [target.what for target in part.targets]
        part.targets.clear()
        part.add(peer, {measure: 5.0})
        aim(part)
        [added] = [target for target in part.targets if target.what not in without]
        assert (added.what, added.value, added.wanted) == wanted


def test_it_runs_and_counts_exactly(tmp_path: Path) -> None:
    """On the embedded log, so that it needs nothing; the Kafka parts are the same code with another address."""
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "bench", "--only", "http,batch,closer", "--quick", "--without-kafka"]
    done = subprocess.run(
        [*command, "--json", str(found)], cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    parts = {part["name"]: part for part in json.loads(found.read_text())["parts"]}
    assert list(parts) == ["http", "batch", "closer"]
    for part in parts.values():
        assert part["counts"]
        assert all(count["exact"] for count in part["counts"]), part["counts"]
        assert all(variant["measures"] for variant in part["variants"])
    assert [v["name"] for v in parts["http"]["variants"]] == ["bare uvicorn", "ours, embedded log"]
    assert "### Targets" in done.stdout
