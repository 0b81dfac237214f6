"""The dashboard, as code: `python deploy/grafana/dashboard.py > deploy/grafana/dashboard.json`, then import it in Grafana.

Panels stand in the order of the loop: heard, of whom, routed, waiting, cases, promises, told, dead letters, processes. Only metrics
that our processes offer are asked for, and what deploy/prometheus/rules.yml records of them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 24, 7
COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    title: str
    means: str
    asked: tuple[tuple[str, str], ...]
    """(PromQL, legend)."""
    unit: str = "short"


def counted(metric: str, by: str, which: str = "") -> tuple[str, str]:
    """Per minute: a piece of feedback a second is a lot."""
    return f"60 * sum by ({by}) (rate({metric}{which}[$__rate_interval]))", f"{{{{{by}}}}}"


def quantile(of: str, histogram: str) -> tuple[str, str]:
    buckets = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return f"histogram_quantile({of}, {buckets})", f"p{float(of) * 100:g}"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Heard": (
        Panel(
            "Events in, a minute",
            "By what became of them at the door.",
            (counted("ingest_events_total", "outcome"),),
        ),
        Panel(
            "Until the log has them",
            "A 202 waits for this.",
            (quantile("0.5", "ingest_append_seconds"), quantile("0.99", "ingest_append_seconds")),
            "s",
        ),
        Panel(
            "Unknown, a minute",
            "Groups that the log did not answer for: their senders were told 503 and send the same ids again.",
            (("60 * sum(rate(ingest_append_failures_total[$__rate_interval]))", "unknown"),),
        ),
    ),
    "Sources": (
        Panel(
            "Sources that are not as usual",
            "Half of what the hours of the week usually bring, or less; twice as much, or more; silent for longer than ever.",
            (('sum by (state) (max by (source, state) (flywheel_source_state{state!~"heard|unsure"}))', "{{state}}"),),
        ),
        Panel(
            "Came, of what usually comes",
            "In the last hours, of each source of sources.yaml that has habits. 1: as usual.",
            (("max by (source) (flywheel_source_share)", "{{source}}"),),
        ),
    ),
    "Routed": (
        Panel("Decided, a minute", "By what the router made of them.", (counted("router_records_total", "outcome"),)),
        Panel(
            "Waiting",
            "Records behind, at the router and at the closer.",
            (("sum(router_lag)", "router"), ("sum(closer_lag)", "closer")),
        ),
        Panel(
            "A batch takes",
            "Half of them take less, from read to committed.",
            (
                (quantile("0.5", "router_batch_seconds")[0], "router"),
                (quantile("0.5", "closer_batch_seconds")[0], "closer"),
            ),
            "s",
        ),
    ),
    "Cases": (
        Panel("Unfinished cases", "By state.", (("max by (state) (closer_cases)", "{{state}}"),)),
        Panel("Overdue", "Unfinished cases with a broken promise.", (("max(closer_sla_overdue)", "overdue"),)),
        Panel(
            "Feedback at the closer, a minute",
            "Opened a case, joined one, answered, or counted.",
            (counted("closer_events_total", "outcome"),),
        ),
    ),
    "Promises": (
        Panel(
            "Warned, an hour",
            "Promises about to be broken.",
            (("sum by (target, clock) (increase(closer_sla_warned_total[1h]))", "{{target}}, {{clock}}"),),
        ),
        Panel(
            "Broken, an hour",
            "By target, on the team's clock (business) and on the customer's (wall).",
            (("sum by (target, clock) (increase(closer_sla_breached_total[1h]))", "{{target}}, {{clock}}"),),
        ),
        Panel(
            "Budget of customers told too late",
            "1: what the objective allows. 14.4 over an hour or 6 over six wakes somebody.",
            (
                ("flywheel:closure_burn:rate1h", "1 h"),
                ("flywheel:closure_burn:rate6h", "6 h"),
                ("flywheel:closure_burn:rate3d", "3 d"),
            ),
        ),
    ),
    "Told": (
        Panel(
            "Mails, an hour",
            "By what became of them.",
            (("sum by (outcome) (increase(closer_notifications_total[1h]))", "{{outcome}}"),),
        ),
        Panel(
            "Mails that wait",
            "To be sent, and how long the oldest has waited.",
            (
                ("max(closer_notifications_waiting)", "mails"),
                ("max(closer_notifications_oldest_seconds) / 60", "oldest, minutes"),
            ),
        ),
        Panel(
            "Customers' answers, an hour",
            "What they said on their page: yes, no, unsubscribe.",
            (("sum by (answer) (increase(closer_answers_total[1h]))", "{{answer}}"),),
        ),
    ),
    "What went wrong": (
        Panel(
            "Dead letters, an hour",
            "Kept with their bytes and the reason: `flywheel dlq list`.",
            (
                ('sum(increase(router_records_total{outcome="dead-letter"}[1h]))', "router"),
                ('sum(increase(closer_events_total{outcome="dead_letter"}[1h]))', "closer"),
                ('sum(increase(ingest_events_total{outcome="quarantined"}[1h]))', "webhooks"),
            ),
        ),
        Panel(
            "Fates unknown, an hour",
            "Mails that may or may not have arrived: `flywheel notifications --status unknown`.",
            (("sum(increase(closer_notify_unknown_total[1h]))", "unknown"),),
        ),
        Panel(
            "Ready, and stuck",
            "1: the service can do its work. The outbox, in minutes without a row that left.",
            (
                ("max by (service) (flywheel_ready)", "{{service}}"),
                ("max(closer_outbox_stuck_seconds) / 60", "outbox, minutes"),
            ),
        ),
    ),
}


def panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row, members in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        for column, panel in enumerate(members):
            number += 1
            yield drawn(panel, number, column * WIDTH // COLUMNS, y + 1)
        y += HEIGHT + 1


def drawn(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.means,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH // COLUMNS, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.asked)
        ],
    }


def dashboard() -> dict[str, Any]:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "feedback-flywheel",
        "title": "Feedback Flywheel",
        "tags": ["feedback-flywheel"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [source]},
        "panels": list(panels()),
    }


def text() -> str:
    return json.dumps(dashboard(), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201
