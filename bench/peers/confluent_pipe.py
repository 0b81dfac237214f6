"""The ceiling of the router on Kafka: confluent-kafka alone, consume → splice → produce → positions, transactions of
2,000, the group's metadata in each. No identity, no repeats, no reasons."""

import argparse
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.peers.splice import automaton, endings

TRANSACTION = 2000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True, help="the prefix of a topic for each team")
    given = parser.parse_args()
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap,
            "group.id": given.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": given.bootstrap,
            "transactional.id": f"{given.group}-{uuid.uuid4().hex}",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "retry.backoff.ms": 10,
        }
    )
    producer.init_transactions(10)
    consumer.subscribe([given.input])
    find = automaton().iter
    ending = {rule: (given.output + team, tail) for rule, (team, tail) in endings().items()}
    produce = producer.produce
    while True:
        messages = consumer.consume(TRANSACTION, 0.05)
        if not messages:
            continue
        positions: dict[tuple[Any, Any], int] = {}
        producer.begin_transaction()
        for message in messages:
            value = message.value() or b""
            hits = [rule for _, rule in find(value.decode("latin-1"))]
            topic, tail = ending[min(hits) if hits else None]
            produce(topic, value[:-1] + tail, message.key(), headers=message.headers())
            positions[message.topic(), message.partition()] = (message.offset() or 0) + 1
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 10)
        producer.commit_transaction(10)


if __name__ == "__main__":
    main()
