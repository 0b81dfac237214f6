"""How fast the loop turns, beside what else could be had for the work, in one run on one machine.

`python -m bench` starts real servers (Postgres from its wheel, Kafka as the tests find it), each in a process of its
own, our services as they ship: keys checked, bodies validated, identity, acks=all, telemetry on. Beside each stands a
ceiling (the least program that does the same transport) and a peer (what a user would write or install). Rounds are
interleaved, A B C A B C …, and a figure is the median of them with its least and its most; only ratios within one run
mean anything. `docs/BENCHMARK.md` tells how to read the table.

In the order of a run: `events` (the work), `stage` (Postgres, Kafka, databases), `processes` (start, CPU, end), `load`
(the HTTP load generator), one module a part (`http`, `batch`, `router`, `closer`, `latency`, `takeover`), `peers`
(ceilings and peers), `built` (those that Go and Java build), `table` (medians, ratios, targets).
"""
