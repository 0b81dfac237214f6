"""Where the log is read on: rows that move with the effect, and only from where whoever moves them believes them to be."""

from collections.abc import Mapping

from services.closer.transactions import Driver
from shared.errors import Fenced
from shared.log import TopicPartition


async def stored_positions(
    driver: Driver, log: str, positions: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where each partition is to be read. One that was never read is entered at the position given."""
    wanted = sorted(positions)
    await driver.execute(
        "INSERT INTO closer.position (log, topic, partition, position)"
        " SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[]) ON CONFLICT DO NOTHING",
        log,
        [tp.topic for tp in wanted],
        [tp.partition for tp in wanted],
        [positions[tp] for tp in wanted],
    )
    rows = await driver.fetch(
        "SELECT topic, partition, position FROM closer.position"
        " WHERE log = $1 AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))",
        log,
        [tp.topic for tp in wanted],
        [tp.partition for tp in wanted],
    )
    return {TopicPartition(row["topic"], row["partition"]): row["position"] for row in rows}


async def move(
    driver: Driver, log: str, expected: Mapping[TopicPartition, int], following: Mapping[TopicPartition, int]
) -> None:
    """From the positions that we believe in to the next ones. Raises `Fenced` when somebody else has moved one: then what
    we hold was done by them, or is theirs to do."""
    wanted = sorted(following)
    done = await driver.execute(
        "UPDATE closer.position p SET position = n.following"
        " FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[]) AS n (topic, partition, expected, following)"
        " WHERE p.log = $1 AND p.topic = n.topic AND p.partition = n.partition AND p.position = n.expected",
        log,
        [tp.topic for tp in wanted],
        [tp.partition for tp in wanted],
        [expected[tp] for tp in wanted],
        [following[tp] for tp in wanted],
    )
    if int(done.rpartition(" ")[2]) != len(wanted):
        raise Fenced("the stored position has moved: another closer works on this partition")
