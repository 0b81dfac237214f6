"""Ingest listens: it accepts what customers say and do, and never loses what it acknowledged.

What it promises: 202 only after the log has the event durably; the same delivery has the same id however often and
wherever it comes; an input is never answered 5xx, and a correctly signed webhook never 4xx. What it leaves to the
router: whether an event is a repeat or a conflict, and whose it is. 503 means *unknown*: send the same id again.

In the order an event meets them: `door` (who, how often), `api` and `webhooks` (the routes), `connectors` and
`cloudevents` (other people's shapes), `tidy` (sloppy drafts made to fit), `normalize` (content → id, key, bytes),
`publish` (many requests, one write). `sources` is sources.yaml, `limits` the token bucket; `check` tells
any process whether ingest could work by a configuration.
"""
