"""The peer of the router: Quix Streams, `processing_guarantee="exactly-once"`, as its documentation writes it.

JSON in and out by its own serializers, the same 200 keywords by Aho-Corasick over the text, a checkpoint (one Kafka
transaction) every 2,000 messages. Runs in `.cache/bench-venv`; imports nothing of this project.
"""

import argparse
import json
from typing import Any

import ahocorasick
from quixstreams import Application

TRANSACTION = 2000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True, help="the prefix of a topic for each team")
    parser.add_argument("--words", required=True, help="a file: a JSON list of [keyword, team]")
    parser.add_argument("--default", required=True)
    given = parser.parse_args()
    with open(given.words, encoding="utf-8") as file:
        words = json.load(file)
    found = ahocorasick.Automaton()
    for rule, (word, team) in enumerate(words):
        found.add_word(word, (rule, team))
    found.make_automaton()

    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_every=TRANSACTION,
        commit_interval=5.0,
        auto_create_topics=False,
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        producer_extra_config={"compression.type": "lz4", "linger.ms": 5, "retry.backoff.ms": 10},
        loglevel="WARNING",
    )
    source = app.topic(given.input, value_deserializer="json", key_deserializer="bytes")
    teams = sorted({team for _, team in words} | {given.default})
    outputs = {team: app.topic(given.output + team, value_serializer="json", key_serializer="bytes") for team in teams}

    def route(event: dict[str, Any]) -> dict[str, Any]:
        hits = [hit for _, hit in found.iter(event.get("text") or "")]
        rule, team = min(hits) if hits else (None, given.default)
        event["routing"] = {"role": "owner", "team": team, "rule": None if rule is None else f"rule-{rule:03d}"}
        return event

    frame = app.dataframe(source)
    frame = frame.apply(route)
    frame = frame.to_topic(lambda event, key, timestamp, headers: outputs[event["routing"]["team"]])
    app.run()


if __name__ == "__main__":
    main()
