"""Which log: Kafka where `KAFKA_BOOTSTRAP_SERVERS` is set, else the embedded one on the Postgres that is there anyway."""

from shared.errors import Misuse
from shared.log import Log
from shared.settings import Settings


async def open_log(settings: Settings) -> Log:
    """Raises `Transient` when it is away and must not be, `Misuse` when neither is configured."""
    if settings.kafka_bootstrap_servers:
        from shared.log.kafka import KafkaLog

        return await KafkaLog.open(settings.kafka_bootstrap_servers, settings.env, may_be_away=settings.log_may_be_away)
    if settings.database_url:
        from shared.log.postgres import PostgresLog

        return await PostgresLog.open(settings.database_url)
    raise Misuse("neither KAFKA_BOOTSTRAP_SERVERS nor DATABASE_URL is set")
