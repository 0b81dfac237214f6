"""The closer keeps the promise: a case, a clock, the customer told.

What it promises:
* A routed event has its effect once, whatever is killed, replayed or taken over; the log is read on from the effect.
* A customer has one unfinished case a team and theme; more feedback joins it.
* Every deadline is warned of and breached once, on two clocks, and never early.
* What happens to a case is on its timeline, and on `feedback.cases` at least once, in the case's order.
* A customer is told once, in their language; what we cannot know to have arrived is listed, not sent again.

Its modules in the order an event meets them: `records` reads it, `handler` takes it in, `desk` finds whose it is, `case` decides, `sla` (with
`calendar` and `policy`) says what is due, `store` writes it all at once; `timers` says what has passed; `notify` says
what the customer is owed, `render` puts it in words, `deliver` sends it through `channels`; `page` and `answers` are the
customer's side, `api` (with
`lists`) is the team's. `app` wires them; `check` tells any process whether the closer could work by a configuration.
"""
