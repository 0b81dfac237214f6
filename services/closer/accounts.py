"""Accounts: the companies whose people speak. State, kept by whoever knows them (a CRM, a spreadsheet), not an event.

`PUT` replaces an account whole, or makes it, and says the same twice; a list of them is written whole or not at all.
Feedback, cases and activity name an account by `customer.account_id`, and need not wait for it: an account that nobody has
put yet is only a name. Where an event has no tier, the account's counts when a case opens (`desk`).

What is personal here is a colleague's address, `owner`; of customers there is nothing.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from sqlalchemy import text

from services.closer.lists import DEFAULT_LIMIT, MAX_LIMIT, MAX_Q_CHARS, foreign_cursor, plain, read_limit
from services.closer.shown import AccountPage, AccountShown, AccountsWritten
from services.closer.transactions import Transactions
from shared.auth import Principal, needs
from shared.clock import YEARS, Clock
from shared.database import Database
from shared.events.characters import id_issue, is_visible
from shared.links import Links
from shared.telemetry import get_logger
from shared.web.problems import FieldError, Problem, invalid, invalid_field, malformed, not_found
from shared.web.routes import answers

MAX_ITEMS = 100
CURSOR = "accounts-cursor"
Order = Literal["id", "renewal"]

_log = get_logger("closer")


# ── bodies ──


def _something(value: str) -> str:
    if not is_visible(value):
        raise ValueError("must hold something to read")
    return value


def _one_id(value: str) -> str:
    if issue := id_issue(value):
        raise ValueError(issue)
    return value


def _day(value: Any) -> Any:
    """A day as RFC 3339 writes it: pydantic would take a number for seconds."""
    if value is None or type(value) is date:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) and int(value[:4]) in YEARS:
        return value
    raise ValueError(f"must be a day such as 2027-03-31, in the years {YEARS.start} to {YEARS.stop - 1}")


_Words = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_something)]
_Day = Annotated[date, BeforeValidator(_day)]
_Email = Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=320)]
_Id = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_one_id)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Revenue(_Body):
    amount: Annotated[float, Field(strict=True, ge=0, le=1e15, description="A year's, in the currency's units.")]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(description="ISO 4217: EUR, CNY, USD …")


class Outcome(_Body):
    """What they bought it for."""

    wanted: Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_something)]
    by: _Day | None = None
    reached: StrictBool = False


class AccountBody(_Body):
    name: _Words
    tier: _Words | None = None
    revenue: Revenue | None = None
    renewal_on: _Day | None = None
    owner: _Email | None = Field(default=None, description="Who of us looks after them: an e-mail address.")
    outcome: Outcome | None = None


class NamedAccount(AccountBody):
    id: _Id


class Accounts(_Body):
    items: Annotated[list[NamedAccount], Field(min_length=1, max_length=MAX_ITEMS)]


# ── what is written ──

_PUT = """
INSERT INTO closer.account AS a (workspace, id, name, tier, revenue, currency, renewal_on, owner, outcome, outcome_by,
                                 outcome_reached, created_at, updated_at)
SELECT $1, n.*, $2, $2 FROM unnest($3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::date[], $9::text[],
                                   $10::text[], $11::date[], $12::boolean[]) AS n
ON CONFLICT (workspace, id) DO UPDATE SET
    name = excluded.name, tier = excluded.tier, revenue = excluded.revenue, currency = excluded.currency,
    renewal_on = excluded.renewal_on, owner = excluded.owner, outcome = excluded.outcome,
    outcome_by = excluded.outcome_by, outcome_reached = excluded.outcome_reached, updated_at = excluded.updated_at
WHERE (a.name, a.tier, a.revenue, a.currency, a.renewal_on, a.owner, a.outcome, a.outcome_by, a.outcome_reached)
    IS DISTINCT FROM (excluded.name, excluded.tier, excluded.revenue, excluded.currency, excluded.renewal_on,
                      excluded.owner, excluded.outcome, excluded.outcome_by, excluded.outcome_reached)
RETURNING id, xmax = 0 AS is_new
"""
"""What is there already as it is said is left as it is."""

_COLUMNS = (
    "id, name, tier, revenue, currency, renewal_on, owner, outcome, outcome_by, outcome_reached, created_at, updated_at"
)


def _row(account: NamedAccount) -> tuple[Any, ...]:
    revenue, outcome = account.revenue, account.outcome
    return (
        account.id,
        account.name,
        account.tier,
        Decimal(repr(revenue.amount)) if revenue is not None else None,
        revenue.currency if revenue is not None else None,
        account.renewal_on,
        account.owner,
        outcome.wanted if outcome is not None else None,
        outcome.by if outcome is not None else None,
        outcome.reached if outcome is not None else False,
    )


def shown(row: Any) -> dict[str, Any]:
    """As it was put, and since when it is so."""
    found = plain(row)
    revenue = None
    if row["revenue"] is not None:
        amount = float(row["revenue"])
        revenue = {"amount": int(amount) if amount.is_integer() else amount, "currency": row["currency"]}
    outcome = None
    if row["outcome"] is not None:
        by = row["outcome_by"]
        outcome = {
            "wanted": row["outcome"],
            "by": by.isoformat() if by is not None else None,
            "reached": row["outcome_reached"],
        }
    return {
        "id": row["id"],
        "name": row["name"],
        "tier": row["tier"],
        "revenue": revenue,
        "renewal_on": row["renewal_on"].isoformat() if row["renewal_on"] is not None else None,
        "owner": row["owner"],
        "outcome": outcome,
        "created_at": found["created_at"],
        "updated_at": found["updated_at"],
    }


# ── routes ──


def routes_for(transactions: Transactions, database: Database, links: Links, clock: Clock) -> APIRouter:
    routes = APIRouter(tags=["accounts"])
    reading = Annotated[Principal, Depends(needs("cases:read"))]
    writing = Annotated[Principal, Depends(needs("cases:write"))]
    account_path = Annotated[str, Path(description="The account's id, as events have it in `customer.account_id`.")]

    async def write(principal: Principal, items: Sequence[NamedAccount]) -> dict[str, bool]:
        """Id → whether it is new, of those that are not as they were."""
        rows = sorted(map(_row, items))  # two who write the same ones wait for each other in one order
        async with transactions.begin() as driver:
            found = await driver.fetch(_PUT, principal.workspace, clock.now(), *zip(*rows, strict=True))
        changed = {row["id"]: bool(row["is_new"]) for row in found}
        _log.info("accounts.put", accounts=len(items), changed=len(changed), actor=principal.key_id)
        return changed

    @routes.get("/v1/accounts", **answers(AccountPage))
    async def list_accounts(
        principal: reading,
        q: Annotated[str | None, Query(description="A part of the name or the id.")] = None,
        order: Annotated[Order, Query(description="`renewal`: the next renewal first, none last.")] = "id",
        cursor: str | None = None,
        limit: Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")] = None,
    ) -> dict[str, Any]:
        """Accounts, by their ids or by their renewal."""
        if q is not None and len(q) > MAX_Q_CHARS:
            raise malformed(f"q: at most {MAX_Q_CHARS} characters")
        return await _page(database, links, principal.workspace, q or None, order, cursor, read_limit(limit))

    @routes.put("/v1/accounts", **answers(AccountsWritten))
    async def put_accounts(principal: writing, body: Accounts) -> dict[str, Any]:
        """Write up to 100 accounts, each replaced whole: all of them, or, where one is wrong, none."""
        if twice := _twice(body.items):
            raise invalid(twice)
        changed = await write(principal, body.items)
        created = sum(changed.values())
        return {"created": created, "changed": len(changed) - created, "unchanged": len(body.items) - len(changed)}

    @routes.get("/v1/accounts/{account_id:path}", **answers(AccountShown))
    async def one_account(account_id: account_path, principal: reading) -> dict[str, Any]:
        """One account."""
        return await _one(database, principal.workspace, account_id)

    @routes.put(
        "/v1/accounts/{account_id:path}",
        response_model=None,
        responses={200: {"model": AccountShown}, 201: {"model": AccountShown, "description": "It is new."}},
    )
    async def put_account(
        account_id: account_path, principal: writing, body: AccountBody, response: Response
    ) -> dict[str, Any]:
        """Make the account, or replace it whole: what is not said is not known any more. The same twice changes nothing."""
        if issue := id_issue(account_id):
            raise invalid_field("id", issue)
        changed = await write(principal, [NamedAccount(id=account_id, **dict(body))])
        if changed.get(account_id):
            response.status_code = 201
        return await _one(database, principal.workspace, account_id)

    @routes.delete("/v1/accounts/{account_id:path}", status_code=204)
    async def delete_account(account_id: account_path, principal: writing) -> Response:
        """Forget what is known of the account. What its people said and did stays theirs."""
        async with transactions.begin() as driver:
            gone = await driver.fetchval(
                "DELETE FROM closer.account WHERE workspace = $1 AND id = $2 RETURNING id",
                principal.workspace,
                account_id,
            )
        if gone is None:
            raise _no_account()
        _log.info("accounts.deleted", actor=principal.key_id)
        return Response(status_code=204)

    return routes


async def _one(database: Database, workspace: str, account_id: str) -> dict[str, Any]:
    """Raises 404."""
    statement = f"SELECT {_COLUMNS} FROM published.accounts WHERE workspace = :workspace AND id = :id"  # noqa: S608
    async with database.transaction() as connection:
        values = {"workspace": workspace, "id": account_id}
        row = (await connection.execute(text(statement), values)).mappings().first()
    if row is None:
        raise _no_account()
    return shown(row)


async def _page(
    database: Database, links: Links, workspace: str, q: str | None, order: Order, cursor: str | None, limit: int
) -> dict[str, Any]:
    where, values = ["workspace = :workspace"], dict[str, Any](workspace=workspace, limit=limit + 1)
    if q is not None:
        where.append("position(lower(:q) IN lower(name || ' ' || id)) > 0")
        values["q"] = q
    filters = sha256(f"{order}\0{q or ''}".encode()).hexdigest()[:16]
    if cursor is not None:
        renews, after = _after(links, cursor, filters)
        values["after"] = after
        if order == "renewal":
            where.append("(renews, id) > (CAST(CAST(:renews AS text) AS date), CAST(:after AS text))")
            values["renews"] = renews
        else:
            where.append("id > :after")
    by = "renews, id" if order == "renewal" else "id"
    statement = (
        f"SELECT {_COLUMNS}, renews FROM published.accounts WHERE {' AND '.join(where)}"  # noqa: S608
        f" ORDER BY {by} LIMIT :limit"
    )
    async with database.transaction() as connection:
        rows = (await connection.execute(text(statement), values)).mappings().all()
    last = rows[limit - 1] if len(rows) > limit else None
    key = f"{filters}/{last['renews'].isoformat()}/{last['id']}" if last is not None else None
    return {
        "items": [shown(row) for row in rows[:limit]],
        "next_cursor": links.sign(CURSOR, key) if key is not None else None,
    }


def _after(links: Links, cursor: str, filters: str) -> tuple[str, str]:
    parts = (links.read(CURSOR, cursor, None) or "").split("/", 2)
    if len(parts) != 3 or parts[0] != filters:
        raise foreign_cursor()
    return parts[1], parts[2]


def _twice(items: Sequence[NamedAccount]) -> list[FieldError]:
    seen: set[str] = set()
    errors: list[FieldError] = []
    for number, item in enumerate(items):
        if item.id in seen:
            errors.append({"field": f"items.{number}.id", "message": "stands twice"})
        seen.add(item.id)
    return errors


def _no_account() -> Problem:
    return not_found("no account has this id")
