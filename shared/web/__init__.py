"""The web shell that every service stands in: how bytes come in, and how "no" is said.

What it promises, whatever the application inside it does:

* `protocol`, `framing`: a connection that does not speak HTTP/1.1 properly, or not at all, is answered and closed within
  seconds, and costs no more than its socket until then.
* `hosts`: it answers under names that are ours, so that no page of another's borrows a browser to reach it.
* `body`: no more bytes are taken than were allowed, before or after gunzip.
* `strict_json`: what is accepted can be stored and read again everywhere: no NaN, no NUL, no lone surrogate, no
  duplicate key, no depth that breaks the next parser.
* `routes`: the same for the routes that FastAPI parses.
* `problems`: every refusal is `application/problem+json` with a stable `type`, and never shows the input or our insides.

What it leaves to the caller: who may (`shared.auth`), and what the decoded value means.
"""
