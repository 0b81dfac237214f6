"""What was asked, what was answered first, and what became of it: the judge of every fault.

A driver writes each id's first outcome to disk, synced, before anything is judged: `ok` (2xx), `refused` (4xx) or
`unknown` (5xx, a timeout, a reset). An unknown id is sent again *as it was* until it is ok, which is what a 503 asks
for. A customer's next piece is sent only when the one before is ok, so per customer the order is known.

The judge reads the log and the database by other means than the services do (SQL, and confluent's consumer with
`read_committed`), and recomputes what must be there.
"""

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from tests.mailbox import Mailbox

GIVE_UP_S = 90.0
_TEXTS = (
    "希望增加批量导出",
    "The export is broken since Monday.",
    "How much is the team plan?",
    "快递还没到,等了一个星期",
    "Feature request: keyboard shortcuts",
    "Die Rechnung stimmt nicht.",
)


@dataclass
class Ledger:
    """The outcomes, on disk first."""

    path: Path
    first: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """external id → feedback id, once ok."""
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """customer → external ids in the order sent."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, external_id: str, outcome: str) -> None:
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps([external_id, outcome]) + "\n")
            file.flush()
            os.fsync(file.fileno())
            self.first.setdefault(external_id, outcome)

    def landed(self, external_id: str, feedback_id: str) -> None:
        with self._lock:
            before = self.ids.setdefault(external_id, feedback_id)
        assert before == feedback_id, "a repeat was given another id"

    def __str__(self) -> str:
        return f"{len(self.ids)} acknowledged; first outcomes {dict(Counter(self.first.values()))}"


class Drivers:
    """Threads that post until told to stop; `with Drivers(…):` around the faults."""

    def __init__(self, ledger: Ledger, url: Callable[[], str], key: Callable[[], str], *, threads: int = 8) -> None:
        self._ledger = ledger
        self._url = url
        self._key = key
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self) -> "Drivers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(GIVE_UP_S + 10)
            assert not thread.is_alive(), "a driver hangs"
        if self._failed and kind is None:
            raise self._failed[0]

    def wait_for(self, count: int) -> None:
        """Until that many pieces are acknowledged in all; however slowly, as long as more are."""
        deadline, before = 0.0, -1
        while (now := len(self._ledger.ids)) < count:
            assert not self._failed, self._failed
            if now != before:
                deadline, before = time.monotonic() + GIVE_UP_S, now
            assert time.monotonic() < deadline, f"only {self._ledger} of {count}"
            time.sleep(0.01)

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        with httpx2.Client(timeout=5) as http:
            try:
                for seq in range(1_000_000):
                    if self._stop.is_set():
                        return
                    self._post(http, number, seq, dice)
            except BaseException as error:
                self._failed.append(error)

    def _post(self, http: httpx2.Client, number: int, seq: int, dice: random.Random) -> None:
        customer = f"customer-{number}-{seq % 5}"
        external_id = f"{number}-{seq}"
        body = {
            "source": "faults",
            "external_id": external_id,
            "text": f"{dice.choice(_TEXTS)} {seq}",
            "customer": {"id": customer, "email": f"{customer}@example.com"},
        }
        self._ledger.order[customer].append(external_id)
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                headers = {"Authorization": f"Bearer {self._key()}"}
                answer = http.post(f"{self._url()}/v1/feedback", json=body, headers=headers)
                status = answer.status_code
            except httpx2.HTTPError:
                status = 0
            if status == 202:
                self._ledger.note(external_id, "ok")
                self._ledger.landed(external_id, answer.json()["id"])
                if dice.random() < 0.1:
                    continue_with_a_repeat(http, self._url(), self._key(), body, self._ledger)
                return
            self._ledger.note(external_id, "refused" if 400 <= status < 500 else "unknown")
            assert not 400 <= status < 500, f"refused: {answer.text}"
            assert time.monotonic() < deadline, f"{external_id} was never acknowledged"
            time.sleep(0.05)


def continue_with_a_repeat(http: httpx2.Client, url: str, key: str, body: Any, ledger: Ledger) -> None:
    """A tenth is delivered twice, as upstream tools do; what becomes of the second post does not matter."""
    try:
        answer = http.post(f"{url}/v1/feedback", json=body, headers={"Authorization": f"Bearer {key}"})
        if answer.status_code == 202:
            ledger.landed(body["external_id"], answer.json()["id"])
    except httpx2.HTTPError:
        pass


# ── what is on the log ──

Routed = tuple[str, str, int, int]
"""(feedback id, topic, partition, offset)"""


async def routed_on_postgres(connection: asyncpg.Connection) -> list[Routed]:
    rows = await connection.fetch(
        """SELECT t.name, r.partition, r."offset", r.headers, r.value
           FROM log.record r JOIN log.topic t ON t.id = r.topic_id
           WHERE t.name LIKE 'feedback.routed.%' ORDER BY t.name, r.partition, r."offset" """
    )
    decode = msgspec.msgpack.decode  # a map, or a list of pairs where a name comes twice: `dict` takes both
    return [(dict(decode(row[3]))["ce_id"].decode(), row[0], row[1], row[2]) for row in rows if _is_owners(row[4])]


def routed_on_kafka(bootstrap: str) -> list[Routed]:
    """Read to the end by a consumer of its own, committed records only."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "judge",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    judge = Consumer(settings)
    try:
        topics = judge.list_topics(timeout=10).topics
        places = [
            TopicPartition(name, partition, 0)
            for name, topic in topics.items()
            if name.startswith("feedback.routed.")
            for partition in topic.partitions
        ]
        judge.assign(places)
        return list(_to_the_ends(judge, len(places)))
    finally:
        judge.close()


def _to_the_ends(judge: Consumer, places: int) -> Iterator[Routed]:
    ends: set[tuple[str, int]] = set()
    deadline = time.monotonic() + GIVE_UP_S
    while len(ends) < places:
        assert time.monotonic() < deadline, "the judge could not read to the end"
        message = judge.poll(1.0)
        if message is None:
            continue
        if message.error():
            ends.add((str(message.topic()), int(message.partition() or 0)))
            continue
        if not _is_owners(message.value()):
            continue
        yield _text(message, "ce_id"), str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)


def _is_owners(value: Any) -> bool:
    """A watching team's copy is none of the effects that are counted."""
    return bool(json.loads(value)["routing"]["role"] == "owner")


def _text(message: Message, header: str) -> str:
    value = dict(message.headers() or [])[header]
    assert isinstance(value, bytes)
    return value.decode()


# ── the verdict ──


def judge_log(ledger: Ledger, routed: Sequence[Routed]) -> None:
    """Every acknowledged id is routed exactly once, nothing else is, and each customer's order is kept."""
    times = Counter(feedback_id for feedback_id, *_ in routed)
    acknowledged = set(ledger.ids.values())
    lost = acknowledged - set(times)
    assert not lost, f"{len(lost)} acknowledged and never routed, e.g. {sorted(lost)[:3]}"
    assert not set(times) - acknowledged, "routed, but never acknowledged and never retried to the end"
    doubled = [feedback_id for feedback_id, count in times.items() if count > 1]
    assert not doubled, f"{len(doubled)} routed more than once, e.g. {doubled[:3]}"
    where = {feedback_id: (topic, partition, offset) for feedback_id, topic, partition, offset in routed}
    for customer, sent in ledger.order.items():
        by_place: dict[tuple[str, int], list[int]] = defaultdict(list)
        for external_id in sent:
            if external_id in ledger.ids:
                topic, partition, offset = where[ledger.ids[external_id]]
                by_place[topic, partition].append(offset)
        for place, offsets in by_place.items():
            assert offsets == sorted(offsets), f"{customer} is out of order in {place}"


async def judge_database(connection: asyncpg.Connection, ledger: Ledger) -> None:
    """Every acknowledged id has one effect; every case's sequence is whole; one unfinished case a key."""
    seen = {row[0] for row in await connection.fetch("SELECT id::text FROM published.feedback WHERE source = 'faults'")}
    assert seen == set(ledger.ids.values())
    effects = await connection.fetch(
        "SELECT data->>'feedback_id' AS id, count(*) FROM published.timeline WHERE what IN ('opened', 'joined') GROUP BY 1"
    )
    assert {row["id"] for row in effects} <= seen
    twice = [row["id"] for row in effects if row["count"] > 1]
    assert not twice, f"{len(twice)} took effect twice, e.g. {twice[:3]}"
    owed = await connection.fetchval("SELECT count(*) FROM published.feedback WHERE follow_up AND source = 'faults'")
    assert len(effects) == owed, "not every one that is owed an answer has its case"
    gaps = await connection.fetch(
        "SELECT case_id FROM published.timeline GROUP BY case_id HAVING max(sequence) <> count(*) OR min(sequence) <> 1"
    )
    assert not gaps, f"{len(gaps)} cases have a gap in their sequence"
    keys = await connection.fetch(
        "SELECT case_key FROM published.cases WHERE state IN"
        " ('open','acknowledged','in_progress','waiting_on_customer','reopened') GROUP BY workspace, case_key HAVING count(*) > 1"
    )
    assert not keys


async def judge_mail(connection: asyncpg.Connection, mailbox: Mailbox) -> int:
    """No customer was mailed twice about one thing; each mail whose fate is unknown is listed. How many those are.

    The database is asked first: what it calls sent has arrived, and what arrives later it calls `sending` still.
    """
    rows = await connection.fetch("SELECT status, count(*) FROM published.notifications GROUP BY status")
    status = {row["status"]: int(row["count"]) for row in rows}
    ids = Counter(str(mail["Message-ID"]) for mail in mailbox.all())
    doubled = [name for name, count in ids.items() if count > 1]
    assert not doubled, f"{len(doubled)} mails came twice, e.g. {doubled[:3]}"
    listed = status.get("unknown", 0) + status.get("sending", 0)
    assert status.get("sent", 0) <= len(ids) <= status.get("sent", 0) + listed, (len(ids), status)
    return listed
