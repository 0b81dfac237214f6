"""Kafka's own console consumer, as a subscriber who has nothing of ours runs it.

Its script where one is on the path, else its class from the jars that `tests.brokers` fetches, else in a container.
"""

import shutil
import subprocess
from collections.abc import Sequence
from typing import Literal

from tests.brokers import IMAGE, JARS, Unavailable, docker_works, fetch_jars, give_up

QUIET_MS = 8_000
"""It ends when nothing has come for so long; its start, and joining its group, stand within."""
TIMEOUT_S = 90.0


def read(bootstrap: str, topic: str, isolation: Literal["read_committed", "read_uncommitted"]) -> list[bytes]:
    """The values of everything that is on the topic."""
    arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"]
    arguments += ["--isolation-level", isolation, "--timeout-ms", str(QUIET_MS)]
    done = subprocess.run([*_command(), *arguments], check=False, capture_output=True, timeout=TIMEOUT_S)
    said = done.stderr.decode(errors="replace")
    assert "Processed a total of" in said, said[-2000:]
    return done.stdout.splitlines()


def _command() -> Sequence[str]:
    for script in ("kafka-console-consumer.sh", "kafka-console-consumer"):
        if (found := shutil.which(script)) is not None:
            return [found]
    try:
        fetch_jars()
    except Unavailable as unavailable:
        if not docker_works():
            give_up(unavailable)
        return ["docker", "run", "--rm", "--network", "host", IMAGE, "/opt/kafka/bin/kafka-console-consumer.sh"]
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", "-Xmx256m", quiet, "-cp", f"{JARS}/*", "org.apache.kafka.tools.consumer.ConsoleConsumer"]
