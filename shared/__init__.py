"""What crosses a service boundary, and what makes any service run.

A thing may live here only if two services need it, it names no service, and its name is a noun of the
public contract or of the machinery. Nothing here imports a service.

In the order an event meets them: `events` and `topics` (what is said, and where), `log` (the road, with `dead_letters`
beside it), `database` (what is kept), `config` (what people decided), `files` (what comes in and goes out as one), `auth`
(who may), then what runs a process:
`clock`, `errors`, `retry`, `telemetry`, `tasks`, `web`, `patience`, `runtime`.
"""
