"""Every text of the corpus through the pure router: none crashes it, each gets a team and a reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.quality import Ours, f1, split, tasks
from services.router.judge import judge
from services.router.rules import load
from services.router.seen import SeenIds
from shared.config import STARTER, config_of, read_dir
from shared.events.envelope import Envelope
from shared.events.feedback import FeedbackRouted
from shared.log import Record

NOW = "2026-11-22T10:00:00.000Z"


@pytest.mark.parametrize(
    "file", ["routing.jsonl", "kind.jsonl", "sentiment.jsonl", "departments_zh.jsonl", "replies_zh.jsonl"]
)
def test_every_line_is_routed_with_a_reason(corpus: Path, file: str) -> None:
    rules = load(config_of(read_dir(STARTER)))
    seen = SeenIds(1_000_000_000, 0)
    teams: Counter[str] = Counter()
    lines = (corpus / "text" / file).read_text().rstrip("\n").split("\n")
    for offset, line in enumerate(lines):
        row = json.loads(line)
        text = row["text"]
        value = {"id": f"id-{offset}", "workspace": "default", "received_at": NOW, "source": "corpus", "text": text}
        headers = Envelope(f"id-{offset}", "feedback.received", "corpus", NOW, "default").headers()
        outcome = judge(
            Record("feedback.received", 0, offset, offset, b"k", json.dumps(value).encode(), headers), seen, rules, NOW
        )
        if outcome.what == "discarded":
            teams["discarded"] += 1
            continue
        assert outcome.what == "routed", (offset, outcome.detail)
        routed = FeedbackRouted.model_validate_json(outcome.messages[0].value)
        assert routed.text == text
        assert routed.routing.team in rules.teams
        assert {reason.code for reason in routed.routing.reasons} & {"rule.matched", "default.team", "model.team"}
        assert all(reason.text for reason in routed.routing.reasons)
        teams[routed.routing.team] += 1
    assert sum(teams.values()) == len(lines) > 0
    print(file, dict(teams))


def test_whom_the_words_speak_for_is_mostly_right_before_anybody_has_taught_us(corpus: Path) -> None:
    """`make quality` has the figures; this is the floor. The default team alone is right for nobody else's."""
    ours = Ours(config_of(read_dir(STARTER)))
    _, held = split(next(task for task in tasks(corpus) if task.name == "team").rows, tune=False)
    said = [ours.says("team", row.text, ours.ruleset).answer for row in held]
    assert f1(held, said) >= 0.55
    assert f1(held, said) > f1(held, ["support"] * len(held))
