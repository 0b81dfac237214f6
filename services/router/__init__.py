"""Decides: who owns this feedback, and why.

Promises: **one delivery, one routed event.** Whether an event is a repeat follows from `feedback.received` alone;
what it becomes and how far we have read are written in one transaction of the log, and nowhere else. So a kill, a
takeover or a replay reaches the same verdict. Every decision carries its reasons and the version of the rules.
Left to the caller: topics that exist, and a configuration that was checked.

In the order an event meets them: `handler` (a batch, read → outputs and positions), `seen` (is it a repeat?),
`feedback` (can it be read?), `text` (folding, script, language), `matcher` (every known word in one pass; `typos`: those
with a letter wrong; `negation`: those that are denied),
`classify` over `lexicons` (sentiment, kind, urgency), `conditions` and `ruleset` (routing.yaml, loaded by `rules`),
`actions/` (what a rule does), `route` (the decision), `outputs` (the messages). Beside them `sse` and `api` answer
people, `almost` tells them why not another rule, `lint` which rules
are never asked, `difference` and `backtest` what other rules would change, `shadow` (kept by `shadow_kept`, run by
`shadowing`) what others that run beside them would decide otherwise, `hearing` takes what people correct (`corrections`) and who is erased (`erasures`) into the
database, `asyncapi` describes the topics; `check` tells any process whether the router could work by a configuration.
"""
