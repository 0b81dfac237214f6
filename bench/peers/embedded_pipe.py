"""The ceiling of the router on the embedded log: its own transactional consumer, poll → splice → transact, and
nothing else."""

import argparse
from collections.abc import Mapping, Sequence

import uvloop

from bench.peers.splice import automaton, endings
from shared.log import Message, TopicPartition
from shared.log.postgres import PostgresLog

TRANSACTION = 2000


class Listener:
    async def assigned(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return positions

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass


async def run(database: str, group: str, source: str, output: str) -> None:
    log = await PostgresLog.open(database)
    consumer = await log.transactional(group, [source], Listener())
    find = automaton().iter
    ending = {rule: (output + team, tail) for rule, (team, tail) in endings().items()}
    while True:
        records = await consumer.poll(TRANSACTION, 0.5)
        if not records:
            continue
        outputs = []
        positions: dict[TopicPartition, int] = {}
        for topic, partition, offset, _, key, value, headers in records:
            hits = [rule for _, rule in find(value.decode("latin-1"))]
            to, tail = ending[min(hits) if hits else None]
            outputs.append(Message(to, key, value[:-1] + tail, headers))
            positions[TopicPartition(topic, partition)] = offset + 1
        await consumer.transact(outputs, positions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True, help="the prefix of a topic for each team")
    given = parser.parse_args()
    uvloop.run(run(given.database, given.group, given.input, given.output))


if __name__ == "__main__":
    main()
