"""What the router counts. Names are stable; each has its sentence here."""

from prometheus_client import Counter, Gauge, Histogram

records = Counter("router_records", "Records of feedback.received, by what they became.", ["outcome"])
records.labels("dead-letter")  # an alert waits for it, and sees no increase in what begins with its first
batch_seconds = Histogram(
    "router_batch_seconds",
    "From a batch read to its transaction committed.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
batch_records = Histogram(
    "router_batch_records", "Records in a batch.", buckets=(1, 10, 50, 100, 500, 1000, 2000, 5000)
)
in_flight = Gauge("router_in_flight", "Records read and not yet committed.")
lag = Gauge("router_lag", "Records of feedback.received that wait, in the partitions that are ours.", ["partition"])
failed_transactions = Counter(
    "router_failed_transactions", "Batches that were not committed, and were read again.", ["why"]
)
rebuild_seconds = Histogram(
    "router_rebuild_seconds",
    "From a partition assigned to its ids known again.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30),
)
rebuilt_ids = Counter("router_rebuilt_ids", "Records read back to know their ids again.")
seen_ids = Gauge("router_seen_ids", "Ids known within the window, in the partitions that are ours.")
partitions = Gauge("router_partitions", "Partitions that are ours.")
ruleset_rules = Gauge("router_rules", "Rules in force.")
corrections = Counter(
    "router_corrections",
    "Corrections by what they became: kept as an example; gone, wordless or unreadable: nothing to learn from.",
    ["outcome"],
)
forgotten = Counter("router_examples_forgotten", "Examples of customers who were erased.")
trials = Counter("router_model_trials", "Models that were learnt, by whether they were taken into use.", ["outcome"])
shadow_records = Counter(
    "router_shadow_records",
    "Feedback that rules in the shadow were asked about, by what they said: same, moved (to another team, to or from nobody),"
    " otherwise (the same team with something else); failed: they raised; skipped: their share of the time was over.",
    ["outcome"],
)
shadow_records.labels("failed")
shadow_records.labels("skipped")
shadow_seconds = Histogram(
    "router_shadow_seconds",
    "What rules in the shadow took of a batch, once it was committed.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1),
)
shadow_rules = Gauge("router_shadow_rules", "Rules in the shadow; 0 while none run there, or none that can be asked.")
