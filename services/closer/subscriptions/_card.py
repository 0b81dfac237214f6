"""A case as Slack shows it: one message, and what is said in its thread. Pure.

Whatever somebody wrote is data: cleaned, cut, and escaped as Slack asks (`&`, `<`, `>`), so that no word of a customer's
calls a channel, names a colleague or hides a link. Times are Slack's own dates, which each reader sees in their zone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.closer import sla
from services.closer.case import Case, legal_verbs
from services.closer.render import clean, quote
from services.closer.sla import CLOCKS, ClockName
from services.closer.subscriptions import CaseNow, Step
from shared.config.teams import Member
from shared.events.envelope import rfc3339
from shared.events.signal import SignalChanged

TITLE_MAX_CHARS = 150
WORDS_MAX_CHARS = 500
QUOTE_MAX_CHARS = 2000
"""After escaping: a text object holds 3000, the title too."""

_STATES: Mapping[str, str] = {"in_progress": "in progress", "waiting_on_customer": "waiting on the customer"}
_TARGETS: Mapping[str, str] = {"acknowledge": "Acknowledge", "resolve": "Resolve", "tell_customer": "Tell the customer"}
_WHOSE: Mapping[ClockName, str] = {"business": "team's clock", "wall": "customer's clock"}


def card(now: CaseNow, telling: str, team: str, public_url: str) -> dict[str, Any]:
    """`text` and `blocks` of the case's message. `telling`: what its buttons say when they are pressed."""
    case = now.case
    title = escaped(quote(now.title or "", TITLE_MAX_CHARS).replace("\n", " ") or _unnamed(case))
    words = clean(now.words or "")
    blocks = [_section(f"*{title}*" + (f"\n{quoted(words)}" if words else "")), _facts(case, team)]
    if case.team == team and (due := _due(case)):
        blocks.append(_section("\n".join(due)))
    buttons = [*(_buttons(case, telling) if case.team == team else ()), _link(f"{public_url}/cases/{case.id}")]
    blocks.append({"type": "actions", "block_id": "case", "elements": buttons})
    return {"text": f"{title} ({case.priority}, {_STATES.get(case.state, case.state)})", "blocks": blocks}


def signal_card(signal: SignalChanged, public_url: str) -> dict[str, Any]:
    """`text` and `blocks` of a signal's message."""
    is_up = signal.what == "raised"
    name = escaped(quote(signal.name + (f": {signal.group}" if signal.group else ""), TITLE_MAX_CHARS))
    title = f":rotating_light: {name}" if is_up else f":white_check_mark: {name} (passed)"
    facts = [("Team", signal.team), ("Cases", str(signal.cases)), ("Customers", str(signal.customers))]
    if signal.tags:
        facts.append(("Mostly", ", ".join(one.tag for one in signal.tags)))
    fields = [_text(f"*{label}*\n{escaped(quote(value, TITLE_MAX_CHARS))}") for label, value in facts]
    blocks = [
        _section(f"*{title}*\n{escaped(signal.reason)}"),
        {"type": "section", "fields": fields},
        {"type": "actions", "block_id": "signal", "elements": [_link(f"{public_url}/signals/{signal.signal_id}")]},
    ]
    return {"text": f"{name}: {'up' if is_up else 'passed'}", "blocks": blocks}


def reply(step: Step, case: Case, members: Sequence[Member]) -> str | None:
    """What is said of it in the thread; None: the card shows it, and nobody need be told."""
    written = clean(str(step.private.get("text") or ""))
    words = f"\n{quoted(written)}" if written else ""
    match step.what:
        case "joined" if "solved" in step.data:
            return f"The customer answered: {'solved' if step.data['solved'] else 'not solved'}.{words}"
        case "joined" if "from" in step.data:
            return f"Another case was merged into this one.{words}"
        case "joined":
            return f"The customer wrote again.{words}"
        case "clock.warned":
            return f":hourglass: Soon due: {_clock(step)}."
        case "clock.breached":
            return f":rotating_light: Overdue: {_clock(step)}.{_called(case.assignee, members)}"
        case "released":
            return f":arrow_forward: Held back no more ({escaped(step.reason)}): {escaped(quote(step.data['because'], WORDS_MAX_CHARS))}."
        case "work.shipped" | "work.declined":
            return f":package: {escaped(clean(step.reason))}."
        case "thanked":
            return f":heart: The customer says thank you.{_called(step.private.get('to'), members)}{words}"
        case "resolved" | "declined":
            answer = clean(str(step.private.get("answer") or ""))
            done = "Resolved" if step.what == "resolved" else "Declined"
            return f"{done} by {escaped(step.actor)}; the customer gets:\n{quoted(answer)}"
        case "confirmed":
            return f":white_check_mark: The customer says that it is solved.{words}"
        case "reopened" if "solved" in step.data:
            return f":repeat: The customer says that it is not solved: reopened.{words}"
        case "reopened":
            return f":repeat: Reopened by {escaped(step.actor)}.{words}"
        case "merged":
            return f"Merged into another case, and goes on there.{words}"
        case "notification.failed" | "notification.withheld" if step.data.get("kind") != "heard":
            return f":warning: The customer is not told: {escaped(step.reason)}."
        case _:
            return None


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(text: str) -> str:
    """As a quotation, every line of it, cut; with what stands around it never more than a text object holds."""
    text = quote(text, WORDS_MAX_CHARS)
    lines = "\n".join(f">{escaped(line)}" for line in text.split("\n"))
    return lines if len(lines) <= QUOTE_MAX_CHARS else quoted(quote(text, len(text) // 2))


def _unnamed(case: Case) -> str:
    return f"{case.kind or 'feedback'}: {case.theme}".capitalize()


def _facts(case: Case, team: str) -> dict[str, Any]:
    facts = [("Priority", case.priority), ("State", _STATES.get(case.state, case.state))]
    facts.append(("Assigned to", case.assignee or "nobody"))
    if case.team != team:
        facts.append(("Now with", case.team))
    return {"type": "section", "fields": [_text(f"*{name}*\n{escaped(value)}") for name, value in facts]}


def _due(case: Case) -> list[str]:
    """A line for each promise that still runs, with what both of its clocks say."""
    if case.clocks is None:
        return []
    lines = []
    for target, due in sla.due(case.clocks).items():
        at = {"business": due.business, "wall": due.wall}
        clocks = (
            f"{_WHOSE[clock]} {_date(at[clock]) if at[clock] else 'stands still'}"
            + (" *overdue*" if f"{target}.{clock}.breached" in case.clocks.fired else "")
            for clock in CLOCKS
        )
        lines.append(f"*{_TARGETS[target]}* by: {', '.join(clocks)}")
    return lines


def _clock(step: Step) -> str:
    due_at = step.data.get("due_at")
    by = f", {_date(datetime.fromisoformat(due_at))}" if due_at else ""
    return f"{_TARGETS.get(step.data['target'], step.data['target']).lower()}, {_WHOSE[step.data['clock']]}{by}"


def _called(address: str | None, members: Sequence[Member]) -> str:
    """Whoever has the case, or is thanked for it, is called by name, and nobody else."""
    wanted = (address or "").lower()
    found = next((one.slack for one in members if one.slack and one.email.lower() == wanted), None)
    return f" <@{found}>" if found else ""


def _date(at: datetime | None) -> str:
    if at is None:
        return ""
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{rfc3339(at)}>"


def _buttons(case: Case, telling: str) -> list[dict[str, Any]]:
    legal = legal_verbs(case.state)
    found = []
    if "acknowledge" in legal:
        found.append(_button("Acknowledge", "acknowledge", telling) | {"style": "primary"})
    if "assign" in legal or "reassign" in legal:
        found.append(_button("Assign to me", "assign", telling))
    return found


def _button(label: str, action: str, telling: str) -> dict[str, Any]:
    return {"type": "button", "action_id": action, "value": telling, "text": {"type": "plain_text", "text": label}}


def _link(url: str) -> dict[str, Any]:
    return {"type": "button", "action_id": "open", "url": url, "text": {"type": "plain_text", "text": "Open"}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, Any]:
    """`verbatim`: what looks like a link or a name in it stays as it is."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}
