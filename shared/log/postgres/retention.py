"""What is too old goes: by offset, in small deletes, so that nobody waits for it.

First the partition's first offset moves, in a moment; then the records below it go, a few thousand at a time. A
crash between the two leaves records that the next run finds.
"""

from datetime import datetime

from shared.log.postgres.connection import Connections

DELETE_RECORDS = 5_000
TRIM_EVERY_S = 60.0
TRIM_LOCK = 0x5452494D  # "TRIM"

_MOVE_FIRST = """
UPDATE log.partition p SET first_offset = f.first
FROM (SELECT p.topic_id, p.partition,
             log.offset_at(p.topic_id, p.partition, floor(extract(epoch FROM $1::timestamptz - t.retention) * 1000)::bigint) AS first
      FROM log.topic t JOIN log.partition p ON p.topic_id = t.id WHERE t.retention IS NOT NULL) f
WHERE p.topic_id = f.topic_id AND p.partition = f.partition AND f.first > p.first_offset
"""
_BELOW = "SELECT topic_id, partition, first_offset FROM log.partition WHERE first_offset > 0"
_DELETE = """
DELETE FROM log.record WHERE topic_id = $1 AND partition = $2 AND "offset" < least($3, $4 + (
    SELECT r."offset" FROM log.record r WHERE r.topic_id = $1 AND r.partition = $2 ORDER BY r."offset" LIMIT 1))
"""


async def trim(connections: Connections, now: datetime) -> int:
    """Deletes what every topic's retention has passed by `now`; how many records."""
    await connections.execute(_MOVE_FIRST, now)
    deleted = 0
    for topic_id, partition, first in await connections.rows(_BELOW):
        while gone := await connections.execute(_DELETE, topic_id, partition, first, DELETE_RECORDS):
            deleted += gone
    return deleted
