"""How to reach the cluster, for two clients that name the same things differently.

Security is passed through from the environment, small and typed: `KAFKA_SECURITY_PROTOCOL` (PLAINTEXT, SSL,
SASL_PLAINTEXT, SASL_SSL), `KAFKA_SASL_MECHANISM` (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), `KAFKA_SASL_USERNAME`,
`KAFKA_SASL_PASSWORD`, `KAFKA_SSL_CAFILE`, `KAFKA_SSL_CERTFILE`, `KAFKA_SSL_KEYFILE`. `KAFKA_GROUP_PROTOCOL` is
`classic` (cooperative-sticky) or `consumer` (KIP-848: the broker's own settings rule its timeouts).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException

from shared.errors import Misuse
from shared.log import POLL_MAX_S
from shared.log.kafka.errors import library_log
from shared.topics import MAX_MESSAGE_BYTES

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
GROUP_PROTOCOLS = ("classic", "consumer")

# A router that dies in a transaction hides what others write behind it until the broker aborts that: keep it short.
TRANSACTION_TIMEOUT_MS = 8_000
# Together under `shared.log.SESSION_TIMEOUT_S`, the rebalance included.
SESSION_TIMEOUT_MS = 7_000
HEARTBEAT_MS = 500
POLL_MAX_MS = int(POLL_MAX_S * 1000)


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    group_protocol: str = "classic"
    transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("KAFKA_SECURITY_PROTOCOL", self.security_protocol, PROTOCOLS),
            ("KAFKA_SASL_MECHANISM", self.sasl_mechanism, MECHANISMS),
            ("KAFKA_GROUP_PROTOCOL", self.group_protocol, GROUP_PROTOCOLS),
        ):
            if value not in allowed:
                raise Misuse(f"{name} is {value!r}; it may be {', '.join(allowed)}")
        if self.uses_sasl and not (self.sasl_username and self.sasl_password):
            raise Misuse(f"{self.security_protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")

    @classmethod
    def from_env(cls, bootstrap: str, env: Mapping[str, str]) -> "KafkaSettings":
        """Raises `Misuse` with what is wrong."""
        return cls(
            bootstrap,
            security_protocol=env.get("KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT",
            sasl_mechanism=env.get("KAFKA_SASL_MECHANISM") or "SCRAM-SHA-512",
            sasl_username=env.get("KAFKA_SASL_USERNAME", ""),
            sasl_password=env.get("KAFKA_SASL_PASSWORD", ""),
            ssl_cafile=env.get("KAFKA_SSL_CAFILE") or None,
            ssl_certfile=env.get("KAFKA_SSL_CERTFILE") or None,
            ssl_keyfile=env.get("KAFKA_SSL_KEYFILE") or None,
            group_protocol=env.get("KAFKA_GROUP_PROTOCOL") or "classic",
        )

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    def aiokafka(self) -> dict[str, Any]:
        """What every aiokafka client is given."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": "flywheel",
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
            options["ssl_context"] = context
        if self.uses_sasl:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def librdkafka(self) -> dict[str, Any]:
        """What every confluent-kafka client is given."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": "flywheel",
            "security.protocol": self.security_protocol,
            "logger": library_log,
            # 2.16 begins anew from the bootstrap address when every broker was down, and ends the handles it had. One of
            # those spun for ever, and a call that was given six seconds waited on it for ever: keep what is known. The
            # price: told once of no broker at all, which is what a lone broker says when it has just come back, the client
            # forgets the one it had and never asks again. Whoever keeps one for long looks after that (`LOST_S`).
            "metadata.recovery.strategy": "none",
            # Connected only where there is something to ask, 2.16 spins while a broker is away: half a core for each client.
            "enable.sparse.connections": False,
            # Back within a second of a broker's return, whose absence may have lasted.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            "socket.connection.setup.timeout.ms": 5_000,
        }
        if self.uses_sasl:
            options |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        for name, value in (
            ("ssl.ca.location", self.ssl_cafile),
            ("ssl.certificate.location", self.ssl_certfile),
            ("ssl.key.location", self.ssl_keyfile),
        ):
            if value:
                options[name] = value
        return options


LOST_S = 10.0
"""After so long without a partition, or an answer, it is asked whether a client still knows a broker."""
LOOK_TIMEOUT_S = 2.0


def knows_a_broker(client: Any) -> bool:
    """Of a `confluent_kafka` client. Blocks for `LOOK_TIMEOUT_S` at most."""
    try:
        return bool(client.list_topics(timeout=LOOK_TIMEOUT_S).brokers)
    except KafkaException:
        return False


def group_reader(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """Of a transactional consumer: how it reads."""
    config = settings.librdkafka() | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "max.poll.interval.ms": POLL_MAX_MS,
        "enable.partition.eof": True,  # tells how far control records reach
        "fetch.queue.backoff.ms": 5,  # 1,000 by default, which is a second of nothing whenever the queue was full
        "group.protocol": settings.group_protocol,
    }
    if settings.group_protocol == "classic":
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
        }
    return config


def group_writer(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Of a transactional consumer: how it writes."""
    return settings.librdkafka() | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": settings.transaction_timeout_ms,
        "partitioner": "murmur2_random",  # as Java's and aiokafka's; this client's own default is CRC32
        "compression.type": "lz4",
        "linger.ms": 5,
        "batch.num.messages": 100_000,
        "message.max.bytes": MAX_MESSAGE_BYTES + 1024 * 1024,
        "queue.buffering.max.messages": 1_000_000,
        "delivery.report.only.error": True,
        "topic.metadata.propagation.max.ms": 3_000,
        "retry.backoff.ms": 10,
    }
