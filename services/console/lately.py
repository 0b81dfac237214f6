"""What a customer, or everybody at one account, said and did lately: the same on every page, and in the JSON.

An account is who events name by `customer.account_id`, whether or not anybody has put what is known of it. All that is asked
here is found by an index, and cut at `SHOWN`.

There is no index of feedback by customer, which every event would pay for. What a customer said is found by the timelines of
their cases; of feedback that made no case, by the accounts that they were seen at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.console.queries import Queries, Rows

SHOWN = 20

_WORDS = "id, received_at, source, channel, customer, customer_name, title, left(text, 300) AS text, language, scores, kind, case_id"
_ACCOUNT = "SELECT * FROM published.accounts WHERE workspace = :workspace AND id = :account"
_SAID_AT = f"""
SELECT {_WORDS} FROM published.feedback WHERE workspace = :workspace AND account_id = :account
ORDER BY received_at DESC LIMIT :limit
"""  # noqa: S608 - of our own words only
_DID_AT = """
SELECT customer, activity, source, at, attributes FROM published.activity
WHERE workspace = :workspace AND account_id = :account ORDER BY at DESC LIMIT :limit
"""
_CASE = "id, state, team, theme, priority, customer, customer_name, opened_at, unfinished, account_id"
_OPEN_AT = f"""
SELECT {_CASE} FROM published.cases WHERE workspace = :workspace AND account_id = :account AND unfinished
ORDER BY id DESC LIMIT :limit
"""  # noqa: S608
_CASES_OF = f"""
SELECT {_CASE} FROM published.cases WHERE workspace = :workspace AND customer = :customer ORDER BY id DESC LIMIT :limit
"""  # noqa: S608
_DID = """
SELECT account_id, activity, source, at, attributes FROM published.activity
WHERE workspace = :workspace AND customer = :customer ORDER BY at DESC LIMIT :limit
"""
_SAID = f"""
SELECT {_WORDS}, account_id FROM published.feedback WHERE workspace = :workspace AND id IN (
    SELECT CAST(data->>'feedback_id' AS uuid) FROM published.timeline
    WHERE case_id = ANY(CAST(:cases AS uuid[])) AND workspace = :workspace AND data ? 'feedback_id'
    UNION (SELECT f.id FROM unnest(CAST(:accounts AS text[])) AS a (id) CROSS JOIN LATERAL (
        SELECT id FROM published.feedback
        WHERE workspace = :workspace AND account_id = a.id AND customer = :customer
        ORDER BY received_at DESC LIMIT :limit) AS f))
ORDER BY received_at DESC LIMIT :limit
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    known: dict[str, Any] | None
    """What was put; None: it is only a name that events say."""
    said: Rows
    did: Rows
    cases: Rows
    """Unfinished ones."""

    @property
    def is_heard_of(self) -> bool:
        return bool(self.known or self.said or self.did or self.cases)


@dataclass(frozen=True, slots=True)
class Customer:
    id: str
    name: str | None
    accounts: Sequence[str]
    """Where they were seen, the latest first."""
    said: Rows
    did: Rows
    cases: Rows

    @property
    def is_heard_of(self) -> bool:
        return bool(self.said or self.did or self.cases)


async def account_lately(queries: Queries, workspace: str, account: str, limit: int = SHOWN) -> Account:
    values = {"workspace": workspace, "account": account}
    known = await queries.rows(_ACCOUNT, **values)
    said, did, cases = [
        await queries.rows(statement, **values, limit=limit) for statement in (_SAID_AT, _DID_AT, _OPEN_AT)
    ]
    return Account(account, known[0] if known else None, said, did, cases)


async def customer_lately(queries: Queries, workspace: str, customer: str, limit: int = SHOWN) -> Customer:
    values = {"workspace": workspace, "customer": customer, "limit": limit}
    cases = await queries.rows(_CASES_OF, **values)
    did = await queries.rows(_DID, **values)
    accounts = _named(cases, did)
    ids = [str(case["id"]) for case in cases]
    said = await queries.rows(_SAID, **values, cases=ids, accounts=accounts)
    name = next((row["customer_name"] for row in (*cases, *said) if row["customer_name"]), None)
    return Customer(customer, name, accounts, said, did, cases)


async def did_lately(queries: Queries, workspace: str, customer: str, limit: int) -> Rows:
    rows = await queries.rows(_DID, workspace=workspace, customer=customer, limit=limit)
    return [row | {"customer": customer} for row in rows]


def _named(*several: Rows) -> list[str]:
    return list(dict.fromkeys(row["account_id"] for rows in several for row in rows if row["account_id"]))
