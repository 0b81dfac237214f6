"""What was asked, what was answered first, and what became of it: the judge of every fault.

A driver writes each outcome to disk, synced, before anything is judged: `ok` (2xx), `refused` (4xx), `door` (nobody
listens there, so nobody was asked) or `unknown` (5xx, a timeout, a reset). An unknown id is sent again *as it was* until
it is ok, which is what a 503 asks for. A customer's next piece is sent only when the one before is ok, so per customer
the order is known.

The judge reads the log and the database by other means than the services do (SQL, and confluent's consumer with
`read_committed`), and recomputes what must be there. What it counted, all of it nothing where all is well, is a row of
the table at the end of a run (`tests/conftest.py`).
"""

import asyncio
import json
import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
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
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of every try, so an id that was sent three times counts three times."""
    repeats: int = 0
    """Pieces that were delivered again though they were acknowledged, and were given the same answer."""
    drives: int = 0
    """How often drivers were set on it: each time with ids of their own."""
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
            self.outcomes[outcome] += 1

    def repeated(self) -> None:
        with self._lock:
            self.repeats += 1

    def landed(self, external_id: str, feedback_id: str) -> None:
        with self._lock:
            before = self.ids.setdefault(external_id, feedback_id)
        assert before == feedback_id, "a repeat was given another id"

    def __str__(self) -> str:
        return f"{len(self.ids)} acknowledged; first outcomes {dict(Counter(self.first.values()))}"

    @property
    def counts(self) -> dict[str, int]:
        """What was asked and answered, for the table."""
        every = {name: self.outcomes[name] for name in ("refused", "unknown", "door")}
        return {"ok": len(self.ids), **every, "repeats": self.repeats}


class Drivers:
    """Threads that post until told to stop; `with Drivers(…):` around the faults."""

    def __init__(self, ledger: Ledger, url: Callable[[], str], key: Callable[[], str], *, threads: int = 8) -> None:
        self._ledger = ledger
        self._url = url
        self._key = key
        self._drive = ledger.drives
        ledger.drives += 1
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
        external_id = f"{self._drive}-{number}-{seq}"
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
            except httpx2.ConnectError:
                self._ledger.note(external_id, "door")
                assert time.monotonic() < deadline, f"nobody listens, and {external_id} was never acknowledged"
                time.sleep(0.05)
                continue
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
    except httpx2.HTTPError:
        return
    if answer.status_code == 202:
        ledger.landed(body["external_id"], answer.json()["id"])
        ledger.repeated()


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
    return [
        (_text(message, "ce_id"), *place_of(message))
        for message in on_kafka(bootstrap, "feedback.routed.")
        if _is_owners(message.value())
    ]


def on_kafka(bootstrap: str, prefix: str) -> list[Message]:
    """Everything on the topics whose names begin so, partition by partition in its order."""
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
            if name.startswith(prefix)
            for partition in topic.partitions
        ]
        judge.assign(places)
        return list(_to_the_ends(judge, len(places)))
    finally:
        judge.close()


def place_of(message: Message) -> tuple[str, int, int]:
    return str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)


def _to_the_ends(judge: Consumer, places: int) -> Iterator[Message]:
    ends: set[tuple[str, int]] = set()
    deadline = time.monotonic() + GIVE_UP_S
    while len(ends) < places:
        assert time.monotonic() < deadline, "the judge could not read to the end"
        message = judge.poll(1.0)
        if message is None:
            continue
        if message.error():
            ends.add(place_of(message)[:2])
        else:
            yield message


def _is_owners(value: Any) -> bool:
    """A watching team's copy is none of the effects that are counted, nor is what nobody can read."""
    try:
        return bool(json.loads(value)["routing"]["role"] == "owner")
    except (ValueError, KeyError, TypeError):
        return False


def _text(message: Message, header: str) -> str:
    value = dict(message.headers() or [])[header]
    assert isinstance(value, bytes)
    return value.decode()


# ── the verdict ──


def judge(
    url: str, ledger: Ledger, *, kafka: str | None = None, mailbox: Mailbox | None = None, but: Container[str] = ()
) -> dict[str, int]:
    """All of it at once, where the log is Kafka or else the database: what was asked, answered and found, counted.
    `but`: ids that the test itself wrote to the log."""

    async def judged() -> dict[str, int]:
        connection = await asyncpg.connect(url)
        try:
            routed = await routed_on_postgres(connection) if kafka is None else routed_on_kafka(kafka)
            counts = judge_log(ledger, [one for one in routed if one[0] not in but])
            counts |= await judge_database(connection, ledger)
            if mailbox is not None:
                counts |= {"dup_mail": 0, "mail_unknown": await judge_mail(connection, mailbox)}
            return counts
        finally:
            await connection.close()

    return ledger.counts | asyncio.run(judged())


def judge_log(ledger: Ledger, routed: Sequence[Routed]) -> dict[str, int]:
    """Every acknowledged id is routed exactly once, nothing else is, and each customer's order is kept."""
    times = Counter(feedback_id for feedback_id, *_ in routed)
    acknowledged = set(ledger.ids.values())
    found = {
        "lost": sorted(acknowledged - set(times)),
        "ghost": sorted(set(times) - acknowledged),
        "dup": [feedback_id for feedback_id, count in times.items() if count > 1],
        "disorder": _out_of_order(ledger, routed),
    }
    assert not any(found.values()), _examples(found)
    return dict.fromkeys(found, 0)


def _out_of_order(ledger: Ledger, routed: Sequence[Routed]) -> list[str]:
    """Where what a customer said stands otherwise than they said it."""
    where = {feedback_id: (topic, partition, offset) for feedback_id, topic, partition, offset in routed}
    found = []
    for customer, sent in ledger.order.items():
        by_place: dict[tuple[str, int], list[int]] = defaultdict(list)
        for external_id in sent:
            if (place := where.get(ledger.ids.get(external_id, ""))) is not None:
                by_place[place[0], place[1]].append(place[2])
        found += [f"{customer} in {place}" for place, offsets in by_place.items() if offsets != sorted(offsets)]
    return found


def _examples(found: Mapping[str, Sequence[Any]]) -> str:
    return "; ".join(f"{name}: {len(some)}, e.g. {list(some)[:3]}" for name, some in found.items() if some)


async def judge_database(connection: asyncpg.Connection, ledger: Ledger) -> dict[str, int]:
    """Every acknowledged id has one effect; every case's sequence is whole; one unfinished case a key."""
    seen = {row[0] for row in await connection.fetch("SELECT id::text FROM published.feedback WHERE source = 'faults'")}
    effects = {
        row[0]: int(row[1])
        for row in await connection.fetch(
            "SELECT data->>'feedback_id', count(*) FROM published.timeline WHERE what IN ('opened', 'joined') GROUP BY 1"
        )
    }
    owed = {
        row[0]
        for row in await connection.fetch(
            "SELECT id::text FROM published.feedback WHERE follow_up AND source = 'faults'"
        )
    }
    gaps = await connection.fetch(
        "SELECT case_id FROM published.timeline GROUP BY case_id HAVING max(sequence) <> count(*) OR min(sequence) <> 1"
    )
    keys = await connection.fetch(
        "SELECT case_key FROM published.cases WHERE state IN"
        " ('open','acknowledged','in_progress','waiting_on_customer','reopened') GROUP BY workspace, case_key HAVING count(*) > 1"
    )
    acknowledged = set(ledger.ids.values())
    found: dict[str, Sequence[Any]] = {
        "lost_effect": sorted((acknowledged - seen) | (owed - set(effects))),
        "ghost_effect": sorted((seen - acknowledged) | (set(effects) - owed)),
        "dup_effect": [feedback_id for feedback_id, count in effects.items() if count > 1],
        "gap": gaps,
        "dup_case": keys,
    }
    assert not any(found.values()), _examples(found)
    return dict.fromkeys(found, 0)


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
