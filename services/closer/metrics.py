"""What the closer counts. Each with a sentence; no label holds what a stranger wrote.

What an alert waits for stands at 0 from the start: Prometheus sees no increase in a series that begins with its first.
"""

from prometheus_client import Counter, Gauge, Histogram

from services.closer.sla import CLOCKS, TARGETS
from shared.events.case import UNFINISHED

EVENTS = Counter(
    "closer_events_total",
    "Records of the log, by what became of them: opened, joined, answered, counted (nobody is owed an answer), "
    "repeat, conflict, erased (of a customer who was), decision, passed (a watcher's copy), dead_letter.",
    ["outcome"],
)
REHOMED = Counter("closer_rehomed_total", "Cases that went to the default team because their own is gone.")
NEWS = Counter(
    "closer_news_total",
    "What was told of tickets and issues in their own tools, by kind and what became of it. moved: moved (the case went along), "
    "taught (the case has ended, or there is none), there (nothing to do), unknown (no team of ours is known by that name), "
    "overtaken (the ticket was moved on since). shipped, declined: answered (an initiative was shipped by it, its customers are "
    "told), told (cases and initiatives have a step of it). Any: nothing (nothing here is linked to it).",
    ["kind", "outcome"],
)
BATCH_SECONDS = Histogram(
    "closer_batch_seconds",
    "One batch of records from the first statement to the commit.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
LAG = Gauge("closer_lag", "Records of the log that wait for this process.")
FENCED = Counter("closer_fenced_total", "Batches dropped because another closer had taken the partition over.")
WAITS = Counter("closer_waits_total", "Times that the work stood still because the database or the log was away.")
CASES = Gauge("closer_cases", "Cases, by state; refreshed every few seconds.", ["state"])
OVERDUE = Gauge("closer_sla_overdue", "Unfinished cases with a breached deadline; refreshed every few seconds.")
DUE_LATE_SECONDS = Gauge("closer_sla_late_seconds", "How long the oldest deadline that has passed waits to be said.")
WARNED = Counter("closer_sla_warned_total", "Deadlines warned of.", ["target", "clock"])
BREACHED = Counter("closer_sla_breached_total", "Deadlines breached.", ["target", "clock"])
NOTIFICATIONS = Counter(
    "closer_notifications_total",
    "Messages to customers, by kind and outcome: sent, retry, failed, unknown, withheld.",
    ["kind", "outcome"],
)
UNKNOWN = Counter(
    "closer_notify_unknown_total", "Messages whose outcome nobody can know; each is listed in the notifications."
)
NOTIFICATIONS_WAITING = Gauge("closer_notifications_waiting", "Messages to customers that are to be sent.")
DELIVERIES = Counter(
    "closer_deliveries_total",
    "What teams' subscriptions were told, by channel and outcome of a try: sent, retry, failed (given up: listed, and "
    "sent again by `flywheel deliveries redrive`), withheld (erased, or nobody subscribes any more).",
    ["channel", "outcome"],
)
DELIVERIES_WAITING = Gauge("closer_deliveries_waiting", "What teams' subscriptions are still to be told.")
DESTINATIONS_FAILING = Gauge(
    "closer_destinations_failing", "Subscriptions whose destination fails again and again: they are tried seldom."
)
NOTIFICATIONS_OLDEST_SECONDS = Gauge(
    "closer_notifications_oldest_seconds",
    "How long the oldest message that is to be sent has waited, retries included.",
)
OUTBOX_STUCK_SECONDS = Gauge(
    "closer_outbox_stuck_seconds", "How long the next row of the outbox has been the next; 0 while rows leave."
)
SIGNALS = Counter(
    "closer_signals_total",
    "Signals, by what became of them: raised, resolved, withheld (so many of one definition are up already).",
    ["outcome"],
)
SIGNALS_UP = Gauge("closer_signals_up", "Signals that are raised and have not passed; refreshed every few seconds.")
ANSWERS = Counter("closer_answers_total", "What customers said on their page.", ["answer"])

for _target in TARGETS:
    for _clock in CLOCKS:
        WARNED.labels(_target, _clock)
        BREACHED.labels(_target, _clock)
for _state in UNFINISHED:
    CASES.labels(_state)
for _outcome in ("opened", "dead_letter"):
    EVENTS.labels(_outcome)
for _outcome in ("raised", "resolved", "withheld"):
    SIGNALS.labels(_outcome)
