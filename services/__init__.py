"""The four services, the command line, and the process that holds them all.

ingest listens, router decides, closer keeps the promise, console shows the loop. They meet on topics, never in
code: only `cli` and `all` see more than one of them.
"""
