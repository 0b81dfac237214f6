"""Ingest listens: it accepts what customers say and do, and never loses what it acknowledged.

What it promises: 202 only after the log has the event durably; the same delivery has the same id however often and
wherever it comes; an input is never answered 5xx, and a correctly signed webhook never 4xx. What it leaves to the
router: whether an event is a repeat or a conflict, and whose it is. 503 means *unknown*: send the same id again.

In the order an event meets them: `door` (who, how often), `api` and `webhooks` (the routes), `connectors` and `cloudevents`
(other people's shapes), `tidy` (sloppy drafts made to fit), `understanding` (drafts → events), `normalize` (content → id,
key, bytes), `publish` (many requests, one write), `spooling` and `spool` (where they wait while the log is away, if that is
switched on). `quarantine` reads again what could not be read; `forms` and `form_pages` are for people who have no tool;
`trial` says what would become of a payload. `sources` is sources.yaml, `limits` the token bucket, `breaker` tells a wrong
mapping from odd senders, `pii` takes out what is not to be kept; `check` tells any process whether ingest could work by a
configuration.
"""
