"""What the router counts. Names are stable; each has its sentence here."""

from prometheus_client import Counter, Gauge, Histogram

records = Counter("router_records", "Records of feedback.received, by what they became.", ["outcome"])
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
