"""Accounts: the companies whose people speak, the next renewal first; and of one, or of one customer, what is known, what
was said and what was done lately, side by side.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from fastapi import APIRouter, Request, Response

from services.console.lately import account_lately, customer_lately
from services.console.pages import Site
from services.console.render import query
from shared.web.problems import malformed, not_found

PAGE = 50
Q_MAX_CHARS = 200

_LISTED = """
WITH page AS (
    SELECT * FROM published.accounts WHERE workspace = :workspace{where} ORDER BY {order} LIMIT :limit
)
SELECT page.*, c.open_cases, f.heard_at, d.activity, d.attributes, d.at AS did_at
FROM page
CROSS JOIN LATERAL (SELECT count(*) AS open_cases FROM published.cases
    WHERE workspace = :workspace AND account_id = page.id AND unfinished) AS c
LEFT JOIN LATERAL (SELECT received_at AS heard_at FROM published.feedback
    WHERE workspace = :workspace AND account_id = page.id ORDER BY received_at DESC LIMIT 1) AS f ON true
LEFT JOIN LATERAL (SELECT activity, attributes, at FROM published.activity
    WHERE workspace = :workspace AND account_id = page.id ORDER BY at DESC LIMIT 1) AS d ON true
ORDER BY {ordered}
"""
_ORDERS = {"renewal": ("renews", "id"), "id": ("id",)}
_Q = " AND position(lower(:q) IN lower(name || ' ' || id)) > 0"
_AFTER = {
    "renewal": " AND (renews, id) > (CAST(:renews AS date), CAST(:after AS text))",
    "id": " AND id > :after",
}


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/accounts")
    async def accounts(request: Request, q: str = "", order: str = "", after: str = "") -> Response:
        visit = await site.door.visit(request)
        q, order = q.strip()[:Q_MAX_CHARS], order if order in _ORDERS else "renewal"
        values: dict[str, Any] = {"workspace": visit.workspace, "limit": PAGE + 1}
        values |= ({"q": q} if q else {}) | (_read_cursor(after, order) if after else {})
        statement = _LISTED.format(
            where=(_Q if q else "") + (_AFTER[order] if after else ""),
            order=", ".join(_ORDERS[order]),
            ordered=", ".join(f"page.{column}" for column in _ORDERS[order]),
        )
        rows = await site.queries.rows(statement, **values)
        parts = {"q": q, "order": order if order != "renewal" else ""}
        return site.pages.page(
            visit,
            "accounts.html",
            rows=rows[:PAGE],
            q=q,
            order=order,
            orders=tuple(_ORDERS),
            more=query(parts, after=_cursor(rows[PAGE - 1])) if len(rows) > PAGE else None,
            first=query(parts) if after else None,
            today=visit.now.astimezone(visit.zone).date(),
        )

    @routes.get("/accounts/{account_id:path}")
    async def account(request: Request, account_id: str) -> Response:
        visit = await site.door.visit(request)
        found = await account_lately(site.queries, visit.workspace, account_id)
        if not found.is_heard_of:
            raise not_found("nobody has named this account yet")
        today = visit.now.astimezone(visit.zone).date()
        return site.pages.page(visit, "account.html", account=found, today=today)

    @routes.get("/customers/{customer:path}")
    async def customer(request: Request, customer: str) -> Response:
        visit = await site.door.visit(request)
        found = await customer_lately(site.queries, visit.workspace, customer)
        if not found.is_heard_of:
            raise not_found("nothing is kept of a customer with this id")
        return site.pages.page(visit, "customer.html", customer=found)

    return routes


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{row['renews'].isoformat()}~{row['id']}"


def _read_cursor(after: str, order: str) -> dict[str, Any]:
    """Raises 400."""
    day, _, account_id = after.partition("~")
    try:
        renews = date.fromisoformat(day)
    except ValueError:
        raise malformed("after: take it from the link to the next page") from None
    return {"after": account_id} | ({"renews": renews} if order == "renewal" else {})
