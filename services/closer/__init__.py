"""The closer keeps the promise: a case, a clock, the customer told.

What it promises:
* A routed event has its effect once, whatever is killed, replayed or taken over; the log is read on from the effect.
* A customer has one unfinished case a team and theme; more feedback joins it.
* Every deadline is warned of and breached once, on two clocks, and never early.
* What a rule holds back troubles nobody before its time is over, or somebody takes notice of it; and is all there then.
* What happens to a case is on its timeline, and on `feedback.cases` at least once, in the case's order.
* A team that subscribes is told at least once, under one id; what is given up is listed, and one verb sends it again.
* A digest comes once a period to each of its readers, whoever makes it and however often that stops.
* A customer is told once, in their language; what we cannot know to have arrived is listed, not sent again.
* Who is erased is in no table any more, hears nothing, and comes back by nothing that was said before.

Its modules in the order an event meets them: `records` reads it, `handler` takes it in, `desk` finds whose it is, `case`
decides, `sla` (with `calendar` and `policy`) says what is due, `store` writes it all at once; `timers` says what has
passed; `notify` says what the customer is owed, `render` puts it in words, `deliver` sends it through `channels`;
`subscribers` says which teams hear, `tellings` what they are owed, `tell` sends it through `subscriptions` (with
`destinations`, `addresses` and `outbound`) and `callbacks` takes what they press; `digests` counts what a period (`periods`)
came to, `digest` is that and `digest_mail` says it; `thanks` says whose work a customer praises; `page` and `answers` are the customer's
side, `api` (with `lists`, `deliveries` and `digest_api`) is the team's. `accounts` are what is known of their companies, `activity` what
they did. `initiatives` are changes that answer many cases, `shipping` answers them (with `merging`), `initiative_api` takes what people do to
them; `news` is what is told of tickets in their own tools, `moves` and `works` what follows. What comes too often: `signals` defines it, `counting` notes it with the effect, `filling` counts what there was before,
`windows` and `rates` say how much is much, `signaller` has `judging` raise and pass it, `signal_lists` shows it. `corrections` and
`reowning` are people's word against the router's; `rotas` says whose turn it is, `gone` what becomes of a team that goes. `erasures` takes
the wish of somebody to be erased, `erasing` does it, `forgetting` says what stays, `erased` knows what comes of them later. Who
works without being asked takes `turns`. `app` wires them; `check` tells any process whether the closer could work by a
configuration.
"""
