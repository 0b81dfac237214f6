"""`flat`: what an event costs to judge, by how many rules there are, how long its text is, and whether a model judges.

No log and no process beside it: the same records through `services.router.judge`, in one process, and its CPU time, so that
whoever else is on the machine counts little. The variants take turns.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from bench import received
from bench.events import keywords, pieces, routing_yaml, team_of
from bench.options import Options
from bench.stage import SECRET, Stage
from bench.table import Part
from services.router.examples import example_of, row_of
from services.router.judge import judge_all
from services.router.model.learner import train
from services.router.rules import load
from services.router.ruleset import Ruleset
from services.router.seen import SeenIds
from shared.config import STARTER, config_of, read_dir
from shared.log import Record
from shared.runtime import spare_the_collector

MANY_RULES = 3_000
AT_ONCE = 100
SHORT, LONG = 3_000, 30_000
"""Characters."""
WINDOW_MS = 7 * 24 * 3600 * 1000
DECIDED_AT = "2026-11-20T09:00:00.000Z"
FEW, MANY, LEARNT = "200 rules", "3,000 rules", "200 rules and a model"
LONG_TEXT, SHORT_TEXT = "30,000 characters", "3,000 characters"
COST, A_CHARACTER, LOAD = "CPU µs an event", "CPU ns a character", "loaded, CPU s"


def measure(stage: Stage, options: Options) -> Part:
    count = 500 if options.quick else 5_000
    part = Part("flat", f"{count} events, judged {AT_ONCE} at once", FEW)
    few, many = _ruleset(routing_yaml()), _ruleset(_many_rules())
    usual = _records(count)
    short, long = _texts(SHORT, count // 50), _texts(LONG, count // 500 or 1)
    variants = [(FEW, few, usual), (MANY, many, usual), (LEARNT, _taught(few, usual), usual)]
    spare_the_collector()  # as whoever routes does once it is built
    for round_number in range(options.rounds):
        for name, ruleset, records in variants:
            part.add(name, {COST: _cost_us(records, ruleset)})
        for name, chars, records in ((SHORT_TEXT, SHORT, short), (LONG_TEXT, LONG, long)):
            part.add(name, {A_CHARACTER: _cost_us(records, few) * 1000 / chars})
        began = time.process_time()
        _ruleset(_many_rules())
        part.add(MANY, {LOAD: time.process_time() - began})
        options.progress(f"flat round {round_number + 1}")
    part.aim_at_most("3,000 rules ÷ 200", part.ratio(MANY, FEW, COST), 1.5, "×")
    part.aim_at_most("30,000 characters ÷ 3,000, each", part.ratio(LONG_TEXT, SHORT_TEXT, A_CHARACTER), 1.5, "×")
    part.aim_at_most("3,000 rules loaded", part.median(MANY, LOAD), 1.0, "s")
    return part


def _ruleset(routing: str) -> Ruleset:
    return load(config_of({**read_dir(STARTER), "routing.yaml": routing}))


def _many_rules() -> str:
    """The 200, and behind them so many whose words nobody writes; half of them Chinese."""
    rules = json.loads(routing_yaml())["rules"]
    for number in range(len(rules), MANY_RULES):
        word = keywords()[number % len(keywords())]
        words = [f"{word}{number}" if word.isascii() else f"{word}第{number}号"]
        rules.append(
            {
                "name": f"rule-{number}",
                "when": {"text": {"contains": words}},
                "then": [{"assign": team_of(number)}, {"tag": [f"theme-{number % 20}"]}],
            }
        )
    return json.dumps({"rules": rules}, ensure_ascii=False)


def _records(count: int) -> list[Record]:
    messages = received.messages(pieces(count), count, SECRET)
    return [Record(topic, 0, at, at, key, value, headers) for at, (topic, key, value, headers) in enumerate(messages)]


def _texts(chars: int, count: int) -> list[Record]:
    """The same events with the texts of many, one after the other."""
    records = _records(500)
    whole = " ".join(json.loads(record.value)["text"] for record in records)
    found = []
    for number in range(count):
        event = json.loads(records[number % len(records)].value)
        start = number * 97 % (len(whole) - chars)
        value = json.dumps(event | {"text": whole[start : start + chars]}, ensure_ascii=False).encode()
        found.append(records[number % len(records)]._replace(value=value, offset=number))
    return found


def _taught(ruleset: Ruleset, records: Sequence[Record]) -> Ruleset:
    """A model of all four heads. What it says is of no use: what it costs is the same."""
    answers = {
        "team": ("product", "support", "sales"),
        "kind": ("bug", "request", "complaint", "comment"),
        "sentiment": ("positive", "neutral", "negative"),
        "priority": ("urgent", "high", "normal", "low"),
    }
    rows = [
        row_of(
            {"text": json.loads(record.value)["text"]}
            | {head: names[number % len(names)] for head, names in answers.items()}
        )
        for number, record in enumerate(records[:1_000])
    ]
    return replace(ruleset, judge=train([example_of(row, ruleset) for row in rows]))


def _cost_us(records: Sequence[Record], ruleset: Ruleset) -> float:
    seen = SeenIds(WINDOW_MS, 0)
    began = time.process_time()
    for start in range(0, len(records), AT_ONCE):
        judge_all(records[start : start + AT_ONCE], seen, ruleset, DECIDED_AT)
    return (time.process_time() - began) / len(records) * 1e6
