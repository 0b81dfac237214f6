"""What the closer counts. Each with a sentence; no label holds what a stranger wrote."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "closer_events_total",
    "Records of the log, by what became of them: opened, joined, answered, counted (nobody is owed an answer), "
    "repeat, conflict, decision, passed (a watcher's copy), dead_letter.",
    ["outcome"],
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
ANSWERS = Counter("closer_answers_total", "What customers said on their page.", ["answer"])
