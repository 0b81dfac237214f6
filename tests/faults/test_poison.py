"""Row 17 of the fault matrix: what nobody can process, written past our door to the topics that router and closer read.

Every one of it becomes one dead letter with its bytes and a reason, and feedback goes on beside it, in its order. That a
process whose every record fails stops instead is said by `tests/router/test_breaker.py`, and what a defect of the
router's own makes of a record by `tests/router/test_judge.py`: no bytes are known that cause one.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from confluent_kafka import Message, Producer

from tests.brokers import Cluster
from tests.deployment import Deployment
from tests.faults import ledger as book
from tests.faults.conftest import Say
from tests.faults.settled import settled

FULL = os.environ.get("FLYWHEEL_FAULTS") == "full"
OF_EACH = 100 if FULL else 5
SEED = int(os.environ.get("FLYWHEEL_SEED") or 20261122)
MOST_TRIES = 3
RECEIVED, ROUTED = "feedback.received", "feedback.routed.support"


@pytest.mark.kafka
@pytest.mark.timeout(900 if FULL else 240)
def test_row_17_poison_on_both_topics(tmp_path: Path, database_url: str, own_kafka: Cluster, say: Say) -> None:
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    env = {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap}
    with Deployment.apart(tmp_path, database_url, env) as deployment:
        with book.Drivers(ledger, lambda: deployment.urls["ingest"], lambda: deployment.api_key) as drivers:
            drivers.wait_for(50)
            injected = _injected(own_kafka.bootstrap)
            began, behind = time.monotonic(), len(ledger.ids)
            drivers.wait_for(behind + 50)
        asyncio.run(settled(database_url, ledger))
        took = time.monotonic() - began
        kept = deployment.until(lambda: _all_kept(own_kafka.bootstrap, len(injected)))
        ids = {one.headers["ce_id"] for one in injected if one.headers}
        counts = book.judge(database_url, ledger, kafka=own_kafka.bootstrap, but=ids)
        for name in ("router", "closer"):
            assert deployment.procs[name].alive, deployment.procs[name].tail()
    assert Counter(_said(letter, "original_topic") for letter in kept).keys() >= {RECEIVED, ROUTED}
    assert Counter(_sent(letter) for letter in kept) == Counter(one.value for one in injected)
    assert all(_said(letter, "reason") and int(_said(letter, "attempts")) <= MOST_TRIES for letter in kept)
    reasons = {f"{_said(letter, 'service')}/{_said(letter, 'reason')}" for letter in kept}
    poison = {"injected": len(injected), "dead_letters": len(kept), "reasons": len(reasons)}
    say("row 17, poison on both topics", counts | poison, all_others_through_s=f"{took:.1f}")


class Poison(NamedTuple):
    topic: str
    headers: Mapping[str, str]
    value: bytes


def _injected(bootstrap: str) -> list[Poison]:
    """All of it, in every partition and in any order."""
    every = [one for topic in (RECEIVED, ROUTED) for _ in range(OF_EACH) for one in _poison(topic)]
    random.Random(SEED).shuffle(every)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": 4 * 1024 * 1024})
    for number, one in enumerate(every):
        producer.produce(one.topic, one.value, b"%d" % number, headers=list(one.headers.items()))
        producer.poll(0)
    assert producer.flush(30) == 0
    return every


def _poison(topic: str) -> Iterator[Poison]:
    kind = "feedback.received" if topic == RECEIVED else "feedback.routed"
    changes: dict[str, Callable[[bytes], bytes]] = {
        "bad JSON": lambda value: b"\xff\xfe{" + value,
        "truncated": lambda value: value[:-3],
        "another schema": lambda value: value.replace(b'"Hello"', b'{"deep": [1]}'),
        "NUL": lambda value: value.replace(b"Hello", b"Hel\\u0000lo"),
        "1 MB": lambda value: b"\0" * 1_000_000 + value,
        # Legal, and read by everybody; a database has no such number, so the closer meets it as a defect of its own.
        "crash": lambda value: value.replace(b'{"n": 1}', b'{"n": 1' + b"0" * 140_000 + b"}"),
    }
    for change in changes.values():
        ours = str(uuid4())
        yield Poison(topic, _headers(ours, kind), change(_value(ours, topic)))
    yield Poison(topic, {}, f"no event {uuid4()}".encode())


def _headers(feedback_id: str, kind: str) -> dict[str, str]:
    return {
        "ce_specversion": "1.0",
        "ce_id": feedback_id,
        "ce_type": kind,
        "ce_source": "poison",
        "ce_time": "2026-11-23T09:29:58Z",
        "ce_workspace": "default",
        "ce_bodyhash": feedback_id,
    }


def _value(feedback_id: str, topic: str) -> bytes:
    """What would be no poison."""
    feedback = {
        "id": feedback_id,
        "workspace": "default",
        "received_at": "2026-11-23T09:29:58Z",
        "source": "poison",
        "text": "Hello",
        "customer": {"id": f"poison-{feedback_id}"},
        "attributes": {"n": 1},
    }
    routing = {
        "role": "owner",
        "team": "support",
        "watchers": [],
        "tags": [],
        "theme": "general",
        "kind": "question",
        "sentiment": {"label": "neutral", "score": 0.0},
        "priority": "normal",
        "language": "en",
        "confidence": 1.0,
        "decided_by": "default",
        "rule": None,
        "ruleset_version": "1",
        "follow_up": True,
        "history": False,
        "reasons": [],
    }
    return json.dumps(feedback if topic == RECEIVED else {**feedback, "routing": routing}).encode()


def _all_kept(bootstrap: str, count: int) -> list[Message] | None:
    """The dead letters, once there are as many."""
    kept = book.on_kafka(bootstrap, "feedback.dead-letter")
    return kept if len(kept) >= count else None


def _said(letter: Message, name: str) -> str:
    said = dict(letter.headers() or [])[f"dlq_{name}"]
    return said.decode() if isinstance(said, bytes) else str(said)


def _sent(letter: Message) -> bytes:
    """As it was before a router took it for feedback, and added to it."""
    value = letter.value() or b""
    assert isinstance(value, bytes)
    whole, routing, _ = value.partition(b',"routing":')
    return whole + b"}" if routing else value
