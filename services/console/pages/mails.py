"""Mails: what customers were told, newest first, and what became of each; without a mail server also the mails themselves.

`SMTP_URL` unset, a mail is a file in the data folder (`services/closer/channels/email.py`), and here it can be read. It is
shown only where the case that it is about belongs to the reader's workspace.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse

from services.console.pages import Site
from services.console.pages.case import PREVIEW_HEADERS
from services.console.render import query
from services.console.visit import Visit
from shared.web.problems import malformed, not_found

PAGE = 50
STATUSES = ("pending", "sending", "sent", "withheld", "failed", "unknown")
MAIL_MAX_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{40}\.eml\Z")
"""As the channel names them: no separator, no dot but one."""
_CASE = re.compile(r"<case\.([0-9a-f-]{36})@")
HEADERS = ("From", "To", "Subject", "Content-Language", "Message-ID", "References", "List-Unsubscribe", "traceparent")

# Each status in its own index's order, and of all of them the newest.
_NEWEST = """
WITH newest AS (
    SELECT n.* FROM unnest(CAST(:statuses AS text[])) AS s (status) CROSS JOIN LATERAL (
        SELECT case_id, kind, generation, channel, language, status, reason, created_at, sent_at, attempts, due_at, provider_id
        FROM published.notifications WHERE workspace = :workspace AND status = s.status{after}
        ORDER BY created_at DESC, case_id DESC, kind DESC, generation DESC LIMIT :limit) AS n
    ORDER BY created_at DESC, case_id DESC, kind DESC, generation DESC LIMIT :limit
)
SELECT n.*, c.customer_name, c.customer_email, c.customer, c.language AS case_language, f.title, left(f.text, 200) AS text
FROM newest n
LEFT JOIN published.cases c ON c.workspace = :workspace AND c.id = n.case_id
LEFT JOIN published.feedback f ON f.workspace = :workspace AND f.id = c.first_feedback_id
ORDER BY n.created_at DESC, n.case_id DESC, n.kind DESC, n.generation DESC
"""
_AFTER = (
    " AND (created_at, case_id, kind, generation)"
    " < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid), :after_kind, CAST(:after_generation AS integer))"
)
_CASE_OF = "SELECT 1 FROM published.cases WHERE workspace = :workspace AND id = CAST(:id AS uuid)"


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/mails")
    async def mails(request: Request, status: str = "", after: str = "") -> Response:
        visit = await site.door.visit(request)
        wanted = status if status in STATUSES else ""
        values: dict[str, Any] = _read_cursor(after) if after else {}
        rows = await site.queries.rows(
            _NEWEST.format(after=_AFTER if after else ""),
            workspace=visit.workspace,
            statuses=[wanted] if wanted else list(STATUSES),
            limit=PAGE + 1,
            **values,
        )
        parts = {"status": wanted}
        return site.pages.page(
            visit,
            "mails.html",
            statuses=STATUSES,
            wanted=wanted,
            rows=rows[:PAGE],
            more=query(parts, after=_cursor(rows[PAGE - 1])) if len(rows) > PAGE else None,
            first=query(parts) if after else None,
            as_files=site.runtime.settings.smtp_url is None,
        )

    @routes.get("/mails/{file}")
    async def written(request: Request, file: str) -> Response:
        visit = await site.door.visit(request)
        mail, case_id = await _written(site, visit, file)
        text = mail.get_body(("plain",))
        return site.pages.page(
            visit,
            "mail.html",
            file=file,
            case_id=case_id,
            headers=[(name, str(mail[name])) for name in HEADERS if mail[name]],
            subject=str(mail["Subject"] or ""),
            tongue=str(mail["Content-Language"] or "und"),
            text=text.get_content() if text is not None else "",
            has_html=mail.get_body(("html",)) is not None,
        )

    @routes.get("/mails/{file}/html")
    async def as_html(request: Request, file: str) -> Response:
        """For the frame: a page of its own that may do nothing."""
        visit = await site.door.visit(request)
        mail, _ = await _written(site, visit, file)
        html = mail.get_body(("html",))
        if html is None:
            raise not_found()
        return HTMLResponse(html.get_content(), headers=PREVIEW_HEADERS)

    return routes


async def _written(site: Site, visit: Visit, file: str) -> tuple[EmailMessage, str]:
    """The mail, and the case that it is about. Raises 404, whatever the reason: nobody learns what files there are."""
    settings = site.runtime.settings
    if settings.smtp_url is not None or not _NAME.match(file):
        raise _no_mail()
    try:
        content = await asyncio.to_thread((settings.data_dir / "mail" / file).read_bytes)
    except OSError:
        raise _no_mail() from None
    mail = message_from_bytes(content[:MAIL_MAX_BYTES], policy=policy.default)
    case = _CASE.search(str(mail["References"] or ""))
    if case is None or not await site.queries.rows(_CASE_OF, workspace=visit.workspace, id=_uuid(case[1])):
        raise _no_mail()
    return mail, case[1]


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise _no_mail() from None


def _no_mail() -> Exception:
    return not_found("There is no written mail of this name here. Where there is a mail server, none is written.")


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{row['created_at'].isoformat()}~{row['case_id']}~{row['kind']}~{row['generation']}"


def _read_cursor(after: str) -> dict[str, Any]:
    """Raises 400."""
    try:
        moment, case_id, kind, generation = after.split("~")
        return {
            "after_at": datetime.fromisoformat(moment).astimezone(UTC),
            "after_id": str(UUID(case_id)),
            "after_kind": kind,
            "after_generation": min(int(generation), 2**31 - 1),
        }
    except (ValueError, OverflowError):
        raise malformed("after: take it from the link to the next page") from None
