"""What is said on the topics: CloudEvents 1.0, binary mode, JSON values. All pure.

`envelope`: the `ce_*` headers. `identity`: which delivery this is, and whose. `feedback`: the event as it came
in and as it was routed. `case`: what happened to a case.

Readers keep what they don't know; changes are additive only; a break is a new type.
"""
