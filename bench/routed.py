"""What the router would have written: the events as records of `feedback.routed.<team>`, decided by its own code."""

from collections.abc import Sequence
from pathlib import Path

from services.router.judge import judge
from services.router.rules import load
from services.router.seen import SeenIds
from shared.config import config_of, read_dir
from shared.log import Message, Record

WINDOW_MS = 7 * 24 * 3600 * 1000
DECIDED_AT = "2026-11-20T09:00:00.000Z"


def messages(received: Sequence[Message], config: Path) -> list[Message]:
    ruleset = load(config_of(read_dir(config)))
    seen = SeenIds(WINDOW_MS, 0)
    found: list[Message] = []
    for offset, (topic, key, value, headers) in enumerate(received):
        outcome = judge(Record(topic, 0, offset, offset, key, value, headers), seen, ruleset, DECIDED_AT)
        assert outcome.what == "routed", outcome
        found += outcome.messages
    return found
