"""Whether anything of somebody is in any table: by the tables that there are, so that a new one need not be named here."""

from collections.abc import Iterable
from typing import Any

TOPICS = ("log.record",)
"""The embedded log is the topics: they age out, as Kafka's do."""
_TABLES = """
SELECT n.nspname || '.' || quote_ident(c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
LEAST_TABLES = 40


async def tables_with(connection: Any, traces: Iterable[str]) -> dict[str, int]:
    """Table → how many of its rows hold one of these (in lower case), in letters or, where a column is bytes, as those."""
    tables = [row["name"] for row in await connection.fetch(_TABLES)]
    assert len(tables) > LEAST_TABLES
    spelt = []
    for trace in traces:
        spelt += [trace, *(one.encode().hex() for one in (trace, trace.upper(), trace.capitalize()))]
    found = {}
    for table in tables:
        if table in TOPICS:
            continue
        count = await connection.fetchval(
            f"SELECT count(*) FROM {table} t WHERE EXISTS ("
            "SELECT FROM unnest($1::text[]) AS one WHERE position(one IN lower(t::text)) > 0)",
            spelt,
        )
        if count:
            found[table] = count
    return found
