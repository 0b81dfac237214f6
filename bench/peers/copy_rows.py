"""The ceiling of the closer: the same routed values by `COPY`, 500 a transaction, into a table without an index:
`(topic text, partition integer, "offset" bigint, key text, headers bytea, value text)`. They are read before the clock
starts; the first tenth does not count, as it does not for ours. Prints one JSON object."""

import argparse
import json
import os
from time import perf_counter

import asyncpg
import msgspec
import uvloop

from bench.machine import cpu_seconds
from bench.topics import scan

BATCH = 500
COLUMNS = ("topic", "partition", "offset", "key", "headers", "value")
TABLE = 'CREATE TABLE plain (topic text, partition integer, "offset" bigint, key text, headers bytea, value text)'


async def run(database: str, topics: list[str]) -> dict[str, float | None]:
    rows = [
        (r.topic, r.partition, r.offset, (r.key or b"").decode(), msgspec.msgpack.encode(r.headers), r.value.decode())
        async for records in scan({"DATABASE_URL": database}, topics)
        for r in records
    ]
    connection = await asyncpg.connect(database)
    await connection.execute(TABLE)
    began, skipped, cpu = perf_counter(), 0, cpu_seconds(os.getpid())
    for start in range(0, len(rows), BATCH):
        if not skipped and start >= len(rows) // 10:
            began, skipped, cpu = perf_counter(), start, cpu_seconds(os.getpid())
        async with connection.transaction():
            await connection.copy_records_to_table("plain", columns=COLUMNS, records=rows[start : start + BATCH])
    elapsed, after = perf_counter() - began, cpu_seconds(os.getpid())
    stored = await connection.fetchval("SELECT count(*) FROM plain")
    await connection.close()
    counted = len(rows) - skipped
    return {
        "rate": counted / elapsed,
        "stored": float(stored),
        "cpu_us": None if cpu is None or after is None else (after - cpu) / counted * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--topics", required=True)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(run(given.database, given.topics.split(",")))))


if __name__ == "__main__":
    main()
