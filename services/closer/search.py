"""Keeps what was said findable: the words of feedback, of colleagues' notes and of answers, a case at a time.

Behind the effects, not within them: a trigger notes which cases have new words, and this takes them up in batches, so that
what is searched costs the path of an event next to nothing and is found a moment later. Several processes may run one each.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from services.closer.transactions import Driver, Transactions
from services.closer.turns import Turns
from shared.search import words_of

BATCH = 200
IDLE_S = 0.5

_TAKE = """
DELETE FROM closer.unsearched WHERE ctid = ANY (ARRAY(SELECT ctid FROM closer.unsearched LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING case_id
"""
# In the order of their ids, so that two who index the same case do not wait for each other in a circle.
_LOCK = "SELECT case_id FROM closer.search WHERE case_id = ANY ($1::uuid[]) ORDER BY case_id FOR UPDATE"
_CASES = "SELECT id, workspace, customer, personal FROM closer.case WHERE id = ANY ($1::uuid[])"
_TIMELINES = (
    "SELECT case_id, data, personal FROM closer.timeline WHERE case_id = ANY ($1::uuid[]) ORDER BY case_id, sequence"
)
_FEEDBACK = """
SELECT id, value->>'title' AS title, value->>'text' AS text FROM closer.feedback
WHERE (workspace, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
"""
# One text for all words: to tell the driver each by itself takes longer than to find them. No word holds the mark between.
_BETWEEN = "\x1f"
_KEEP = """
INSERT INTO closer.search (case_id, workspace, words) VALUES ($1, $2, array_to_tsvector(string_to_array($3, chr(31))))
ON CONFLICT (case_id) DO UPDATE SET words = excluded.words
"""

_decode = msgspec.json.decode


class Indexer(Turns):
    name = "search"

    def __init__(self, transactions: Transactions) -> None:
        super().__init__()
        self._transactions = transactions

    async def turn(self) -> float:
        return 0 if await self.index() == BATCH else IDLE_S

    async def index(self) -> int:
        """One batch, in one transaction; how many notes it took."""
        async with self._transactions.begin() as driver:
            taken = [row["case_id"] for row in await driver.fetch(_TAKE, BATCH)]
            if taken:
                await _index(driver, sorted(set(taken)))
        return len(taken)


async def _index(driver: Driver, case_ids: list[Any]) -> None:
    await driver.fetch(_LOCK, case_ids)
    workspaces, texts = dict[Any, str](), dict[Any, list[str]]()
    for row in await driver.fetch(_CASES, case_ids):
        workspaces[row["id"]] = row["workspace"]
        texts[row["id"]] = [row["customer"] or "", *_strings(row["personal"])]
    said: list[tuple[Any, str]] = []
    for row in await driver.fetch(_TIMELINES, case_ids):
        texts[row["case_id"]] += _strings(row["personal"])
        feedback_id = _decode(row["data"]).get("feedback_id")
        if feedback_id:
            said.append((row["case_id"], feedback_id))
    words = await _said(driver, {feedback_id: workspaces[case_id] for case_id, feedback_id in said})
    for case_id, feedback_id in said:
        texts[case_id] += words.get(feedback_id, ())
    rows = [
        (case_id, workspaces[case_id], _BETWEEN.join(words_of(texts[case_id])))
        for case_id in case_ids
        if case_id in workspaces
    ]
    await driver.executemany(_KEEP, rows)


async def _said(driver: Driver, wanted: dict[str, str]) -> dict[str, list[str]]:
    """Feedback id → its title and text."""
    rows = await driver.fetch(_FEEDBACK, list(wanted.values()), list(wanted))
    return {str(row["id"]): [row["title"] or "", row["text"] or ""] for row in rows}


def _strings(personal: bytes | None) -> Iterable[str]:
    """Every text in a personal part: names, addresses, words, answers."""
    return _leaves(_decode(personal)) if personal is not None else ()


def _leaves(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _leaves(member)
