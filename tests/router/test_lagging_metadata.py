"""A broker that has not heard of a team's topic yet refuses a transaction: that is the fault of no record."""

import asyncio
import json

from confluent_kafka import Producer

from services.router.handler import Handler
from services.router.settings import DAY_MS, RouterSettings
from shared.clock import SystemClock
from shared.log import TopicPartition
from shared.log.kafka import KafkaLog, KafkaSettings
from shared.topics import DEAD_LETTER, DECISIONS, RECEIVED, routed
from tests.mock_kafka import MockKafka, running
from tests.router.rulesets import ruleset
from tests.router.test_handler import RULES, message, new_id

PATIENCE_S = 60.0


class HeardMeanwhile(KafkaLog):
    """By the time that somebody asks which topics there are, the news has come round."""

    kafka: MockKafka
    asked = 0

    async def topics(self) -> dict[str, int]:
        self.asked += 1
        self.kafka.show(routed("support"))
        return await super().topics()


async def test_a_record_whose_topic_is_not_known_yet_is_no_dead_letter() -> None:
    with running() as kafka:
        for topic in (RECEIVED, DEAD_LETTER, DECISIONS, *map(routed, ("product", "support", "sales"))):
            kafka.create(topic)
        kafka.hide(routed("support"))
        good = message(new_id())
        sender = Producer({"bootstrap.servers": kafka.bootstrap})
        sender.produce(RECEIVED, good.value, good.key, headers=good.headers)  # type: ignore[arg-type]
        assert await asyncio.to_thread(sender.flush, PATIENCE_S) == 0
        log = HeardMeanwhile(KafkaSettings(kafka.bootstrap))
        log.kafka = kafka
        handler = Handler(log, SystemClock(), RouterSettings(50, 7 * DAY_MS))
        handler.ruleset = ruleset(RULES)
        at_work = asyncio.create_task(handler.run())
        reader = await log.reader()
        place = TopicPartition(routed("support"), 0)
        async with asyncio.timeout(PATIENCE_S):
            while not log.asked or not (await reader.bounds(place))[1]:
                assert not at_work.done(), at_work.exception()
                assert (await reader.bounds(TopicPartition(DEAD_LETTER, 0)))[1] == 0
                await asyncio.sleep(0.1)
        (record,) = [record async for records in reader.scan(place, 0, 1) for record in records]
        assert json.loads(record.value)["id"] == json.loads(good.value)["id"]
        at_work.cancel()
        await asyncio.gather(at_work, return_exceptions=True)
        await log.close()
