"""What holds of every rules file and of every event: the same file decides the same, however it was written down; and while
rules change a thousand times under load, each event is decided by one whole set."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.feedback import convert
from services.router.handler import Handler
from services.router.route import Discarded, route
from services.router.rules import load
from services.router.ruleset import Ruleset
from services.router.settings import DAY_MS, RouterSettings
from shared.clock import SystemClock
from shared.config.document import dump
from shared.log.postgres import PostgresLog
from shared.topics import all_topics, routed
from tests.router.rulesets import config, ruleset
from tests.router.test_handler import everything, message, new_id

words = st.lists(
    st.sampled_from(["bug", "refund*", "退款", "發票", "バグ", "no", "yes", "1", "charged twice"]), min_size=1
)
leaves = st.one_of(
    st.builds(lambda how, given: {"text": {how: given}}, st.sampled_from(["contains", "says"]), words),
    words.map(lambda given: {"text": {"contains": [*given, "refund"], "typos": 1}}),
    st.just({"text": {"contains": {"lexicon": "money"}}}),
    st.sampled_from(["on", "0755", "~", "a: b", "#x", "é 退", "1e3", "null"]).map(
        lambda value: {"field": "attributes.x", "equals": value}
    ),
    st.sampled_from([1, 2.5, True, -3]).map(lambda value: {"field": ["attributes", "a.b"], "equals": value}),
    st.booleans().map(lambda wanted: {"field": "customer.tier", "exists": wanted}),
    st.integers(0, 10).map(lambda most: {"score": {"metric": "nps", "at_most": most}}),
    st.sampled_from(["bug", "praise"]).map(lambda kind: {"kind": kind}),
    st.just({"time": {"zone": "Asia/Shanghai", "days": "sat-sun", "hours": ["18:00-24:00"]}}),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)
actions = st.lists(
    st.sampled_from(
        [{"assign": "sales"}, {"tag": ["t"]}, {"watch": "product"}, {"prioritise": "high"}, {"follow_up": False}]
    ),
    min_size=1,
    max_size=3,
)
files = st.lists(st.tuples(conditions, actions), max_size=5).map(
    lambda rules: {
        "lexicons": {"money": ["refund", "发票"]},
        "rules": [{"name": f"r{n}", "when": when, "then": then} for n, (when, then) in enumerate(rules)],
    }
)
events = st.fixed_dictionaries(
    {"text": st.text(alphabet="a bug refund 退款發票バグ.不是 not", min_size=1, max_size=60)},
    optional={"attributes": st.fixed_dictionaries({"x": st.sampled_from(["on", "~", 1]), "a.b": st.just(1)})},
)


def decided(rules: Ruleset, event: dict[str, Any]) -> bytes:
    decision = route(convert({"source": "x", **event}), rules)
    if isinstance(decision, Discarded):
        return msgspec.json.encode([decision.why, decision.rule, decision.reasons])
    return msgspec.json.encode(decision)


@settings(deadline=None, max_examples=40)
@given(files, st.lists(events, min_size=1, max_size=4))
def test_a_file_survives_a_round_trip_and_decides_the_same(file: Any, given: list[dict[str, Any]]) -> None:
    first = config(dump(file))
    read = first.written["routing.yaml"].data
    assert read == file
    second = config(dump(read))
    assert second.version == first.version
    before, after = load(first), load(second)
    assert [(rule.when, rule.done) for rule in before.rules] == [(rule.when, rule.done) for rule in after.rules]
    for event in given:
        assert decided(before, event) == decided(after, event) == decided(before, event)


# ── reloaded under load ──

RELOADS = 1_000
HALVES = """
rules:
  - {{name: tag, when: {{text: {{contains: word}}}}, then: [{{tag: [{side}]}}]}}
  - {{name: watch, when: {{all: []}}, then: [{{watch: [sales]}}, {{prioritise: {priority}}}]}}
  - {{name: owner, when: {{text: {{contains: word}}}}, then: [{{assign: {team}}}]}}
"""
SIDES = {"left": ("product", "urgent"), "right": ("support", "low")}


@pytest.fixture
async def log(database_url: str) -> Any:
    log = await PostgresLog.open(database_url)
    await log.ensure_topics(all_topics(["product", "support", "sales"]))
    yield log
    await log.close()


@pytest.mark.timeout(900)
async def test_reloaded_a_thousand_times_under_load_every_event_is_decided_by_one_whole_set(log: PostgresLog) -> None:
    texts = {side: HALVES.format(side=side, team=team, priority=priority) for side, (team, priority) in SIDES.items()}
    version = {load(config(text)).version: side for side, text in texts.items()}
    handler = Handler(log, SystemClock(), RouterSettings(20, 7 * DAY_MS))
    handler.ruleset = ruleset(texts["left"])
    at_work = asyncio.create_task(handler.run())
    producer = await log.producer()
    done = asyncio.Event()
    sent = 0

    async def load_it() -> None:
        nonlocal sent
        while not done.is_set():
            await producer.append([message(new_id(), "a word", key=f"k{sent + n}") for n in range(20)])
            sent += 20

    loading = asyncio.create_task(load_it())
    for number in range(RELOADS):
        text = texts["left" if number % 2 else "right"]
        handler.ruleset = await asyncio.to_thread(lambda given: load(config(given)), text)
    done.set()
    await loading
    await handler.drain()
    await at_work
    await producer.close()

    decided_by: dict[str, int] = dict.fromkeys(SIDES, 0)
    for team in ("product", "support"):
        for record in await everything(log, routed(team)):
            routing = json.loads(record.value)["routing"]
            side = version[routing["ruleset_version"]]
            assert (routing["team"], routing["priority"]) == SIDES[side]
            assert (routing["tags"], routing["watchers"]) == ([side], ["sales"])
            decided_by[side] += 1
    assert all(decided_by.values()), f"both were in force: {decided_by} of {sent}"
