"""How a test (or a benchmark) comes by a real Kafka, in the order that the contract names.

1. `KAFKA_BOOTSTRAP_SERVERS`: somebody's broker; nothing is started and nothing is stopped.
2. A Docker engine that answers: one container of `IMAGE`.
3. Java and Maven: Kafka's own jars, copied once into a cache, and one KRaft node as a child process.

With none of them the tests that need Kafka skip and say so; with `REQUIRE_KAFKA=1` that is a failure.
Faults (kill -9, SIGSTOP, a restart on the same port and data) need a broker of our own, so they never use
the first. A child dies with us, `kill -9` included: it hangs on a pipe whose other end is ours.

`python -m tests.brokers [--nodes 3]` starts one, prints the bootstrap address, and stops it at Ctrl-C.
"""

import argparse
import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

VERSION = "4.1.1"
IMAGE = f"apache/kafka:{VERSION}"
CLUSTER_ID = "Rmx5d2hlZWwtVGVzdC1LYQ"
HERE = Path(__file__).resolve().parent
POM = HERE / "kafka" / "pom.xml"
JARS = HERE.parent / ".cache" / f"kafka-{VERSION}-{sha256(POM.read_bytes()).hexdigest()[:8]}"
CLASSES = JARS / "classes.jsa"
"""What a broker loads, in the form that Java maps: half of its start is reading it from the jars."""
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_PORTS = (12_000 + 5_000 * _WORKER + number % 5_000 for number in itertools.count(37 * os.getpid()))
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
HOST = "127.0.0.1"

# Fast where the defaults are for production: no wait before the first rebalance, few internal partitions,
# timed-out transactions looked for every second, KIP-848 members that die noticed as fast as classic ones.
PROPERTIES = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "7000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "2000",
    "log.retention.check.interval.ms": "5000",
    # A killed broker may come back as soon as its old session has ended; 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}

# Runs the command, prints its pid, and when our end of the pipe goes away, however we die, kills it and its data.
SUPERVISE = """
exec 3<&0
"$@" </dev/null 3<&- >>"$BROKER_LOG" 2>&1 &
child=$!
echo $child
( read -r word <&3; kill -9 $child; [ "$word" = keep ] || rm -rf "$BROKER_HOME" ) >/dev/null 2>&1 &
watch=$!
wait $child
kill $watch 2>/dev/null
"""


# Most brokers here live for less than a minute, in which Java's second compiler takes a core and gives little back: a
# transaction took twice as long.
QUICK = ("-XX:TieredStopAtLevel=1",)
THOROUGH = ()
"""As Java does it by itself: for who measures how much a broker can do."""


class Unavailable(Exception):
    """No Kafka can be had here; the text says what was looked for."""


def free_port() -> int:
    """None that was given out of late. Below those that the kernel gives to whoever connects, and for each worker (pytest-xdist)
    others: between this look and whoever binds it, nobody else takes it."""
    for port in _PORTS:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port
    raise AssertionError("no port is free")


def wait_until_ready(bootstrap: str, nodes: int = 1, timeout_s: float = START_TIMEOUT_S) -> None:
    """Until that many nodes are in the cluster and answer."""
    deadline = time.monotonic() + timeout_s
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    while True:
        with contextlib.suppress(KafkaException):
            if len(admin.list_topics(timeout=2).brokers) >= nodes:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no Kafka on {bootstrap} within {timeout_s:.0f} s")


class Broker(Protocol):
    """One node that is ours to hurt."""

    bootstrap: str

    def start(self) -> None:
        """Also after `stop` and `kill`: on the same port, with the same data."""

    def stop(self) -> None:
        """As an operator stops it."""

    def kill(self) -> None:
        """kill -9."""

    def pause(self) -> None:
        """As a long garbage collection does: it accepts connections and answers nothing."""

    def resume(self) -> None: ...

    def close(self) -> None:
        """Gone for good, with its data."""


class JavaBroker:
    """Kafka's own classes in a JVM of our own; a node of a cluster where `voters` are given."""

    def __init__(
        self,
        node: int = 1,
        port: int | None = None,
        voters: Sequence[tuple[int, int]] = (),
        extra: dict[str, str] | None = None,
        java: Sequence[str] = QUICK,
    ) -> None:
        self.port = port or free_port()
        self.bootstrap = f"{HOST}:{self.port}"
        self.pid = 0
        self._node = node
        self._extra = extra or {}
        self._options = list(java)
        self._voters = list(voters) or [(node, free_port())]
        self._home = Path(tempfile.mkdtemp(prefix="flywheel-kafka-"))
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._home / "broker.log"

    def _properties(self) -> str:
        controller = dict(self._voters)[self._node]
        copies = str(min(3, len(self._voters)))
        in_sync = "2" if len(self._voters) >= 3 else "1"
        lines = {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in self._voters),
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._home / "data"),
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            **PROPERTIES,
            **self._extra,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _java(self, options: Sequence[str], heap: str, main: str, *arguments: str) -> list[str]:
        ours = [f"-Xmx{heap}", f"-Xms{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        if CLASSES.exists():
            ours.append(f"-XX:SharedArchiveFile={CLASSES}")
        return ["java", *ours, *options, "-cp", f"{JARS}/*", main, *arguments]

    def start(self) -> None:
        properties = self._home / "server.properties"
        if not properties.exists():
            properties.write_text(self._properties())
            tool = self._java(
                QUICK, "64m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)
            )
            subprocess.run(tool, check=True, capture_output=True, timeout=START_TIMEOUT_S)
        # A session of its own: Ctrl-C at a terminal is for us, and we stop the broker in our own time.
        self._supervisor = subprocess.Popen(
            ["sh", "-c", SUPERVISE, "sh", *self._java(self._options, "512m", "kafka.Kafka", str(properties))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "BROKER_LOG": str(self.log), "BROKER_HOME": str(self._home)},
        )
        assert self._supervisor.stdout is not None
        self.pid = int(self._supervisor.stdout.readline())

    def _end(self, sign: signal.Signals) -> None:
        supervisor = self._supervisor
        if supervisor is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sign)
            os.kill(self.pid, signal.SIGCONT)
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(BrokenPipeError):
            supervisor.stdin.write(b"keep\n")
            supervisor.stdin.close()  # whatever is left now is killed
        supervisor.stdout.close()
        supervisor.wait(STOP_TIMEOUT_S)
        self._supervisor = None

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        # A thread that runs on another core may still answer after that; stopped is what the kernel says is stopped.
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not all(map(_is_stopped, Path(f"/proc/{self.pid}/task").glob("*/stat"))):
            assert time.monotonic() < deadline, "the broker does not stop"
            time.sleep(0.001)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


def _is_stopped(thread: Path) -> bool:
    try:
        return thread.read_text().rpartition(")")[2].split()[0] in "tT"
    except FileNotFoundError:  # it has ended
        return True


class DockerBroker:
    """The same node in a container."""

    def __init__(self) -> None:
        self.port = free_port()
        self.bootstrap = f"{HOST}:{self.port}"
        self._name = f"flywheel-kafka-{uuid4().hex[:8]}"
        self._created = False

    def _docker(self, *arguments: str) -> None:
        subprocess.run(["docker", *arguments], check=True, capture_output=True, timeout=300)

    def start(self) -> None:
        if self._created:
            self._docker("start", self._name)
            return
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": f"PLAINTEXT://:{self.port},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            **PROPERTIES,
        }
        variables = [f"KAFKA_{name.upper().replace('.', '_')}={value}" for name, value in settings.items()]
        options = [part for variable in variables for part in ("-e", variable)]
        publish = f"{HOST}:{self.port}:{self.port}"
        self._docker("run", "-d", "--name", self._name, "-p", publish, *options, IMAGE)
        self._created = True

    def stop(self) -> None:
        self._docker("stop", self._name)

    def kill(self) -> None:
        self._docker("kill", self._name)

    def pause(self) -> None:
        self._docker("pause", self._name)

    def resume(self) -> None:
        self._docker("unpause", self._name)

    def close(self) -> None:
        if self._created:
            self._docker("rm", "-f", "-v", self._name)


class Cluster:
    """Brokers that are one cluster, started together: `with Cluster(3) as cluster: cluster.brokers[0].kill()`."""

    def __init__(self, nodes: int = 1, extra: dict[str, str] | None = None, java: Sequence[str] = QUICK) -> None:
        self.brokers: list[Broker]
        if nodes == 1 and docker_works() and not extra:
            self.brokers = [DockerBroker()]
        else:
            fetch_jars()
            voters = [(node, free_port()) for node in range(1, nodes + 1)]
            self.brokers = [JavaBroker(node, voters=voters, extra=extra, java=java) for node, _ in voters]
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        try:
            for broker in self.brokers:
                broker.start()
            wait_until_ready(self.bootstrap, len(self.brokers))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for broker in self.brokers:
            broker.close()


@functools.cache
def docker_works() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=20).returncode == 0


@functools.cache
def fetch_jars() -> None:
    """Kafka's jars, once, from wherever this machine's Maven gets its things. Complete or not there at all."""
    if not JARS.exists():
        _copy_jars()
    if not CLASSES.exists():
        _archive_classes()


def _copy_jars() -> None:
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"no {' and no '.join(missing)} on the path")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS.parent) as unfinished:
        goal = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*goal, f"-DoutputDirectory={unfinished}/jars", "-DincludeScope=runtime"],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise Unavailable(f"Maven could not fetch Kafka: {done.stdout.strip()[-500:]}")
        with contextlib.suppress(OSError):  # another process was first
            (Path(unfinished) / "jars").rename(JARS)


def _archive_classes() -> None:
    """By one broker that starts and stops."""
    unfinished = CLASSES.with_suffix(f".{os.getpid()}")
    broker = JavaBroker(java=[f"-XX:ArchiveClassesAtExit={unfinished}"])
    try:
        broker.start()
        wait_until_ready(broker.bootstrap)
        broker.stop()
        unfinished.rename(CLASSES)
    finally:
        broker.close()
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def running_kafka() -> Iterator[str]:
    """A bootstrap address, found or started."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        wait_until_ready(given)
        yield given
        return
    with Cluster() as cluster:
        yield cluster.bootstrap


def give_up(reason: object) -> None:
    """No Kafka: say so, or fail where it was required."""
    message = (
        f"no Kafka for the tests: KAFKA_BOOTSTRAP_SERVERS is not set, no Docker engine answers, and {reason}. "
        "Any one of the three will do."
    )
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a real Kafka, started when the first test asks and stopped after the last."""
    with contextlib.ExitStack() as stack:
        try:
            bootstrap = stack.enter_context(running_kafka())
        except Unavailable as unavailable:
            give_up(unavailable)
            raise
        yield bootstrap


@pytest.fixture
def own_kafka() -> Iterator[Cluster]:
    """A broker of this test's own, to be killed and paused: what another test left on it is not there."""
    yield from one_broker()


@pytest.fixture
def three_brokers() -> Iterator[Cluster]:
    """Of this test's own; each topic is on all of them, and two must have a record before it is acknowledged."""
    yield from brokers(3)


def one_broker() -> Iterator[Cluster]:
    """What `own_kafka` does, for a fixture that lives longer."""
    yield from brokers(1)


def brokers(nodes: int) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(Cluster(nodes))
        except Unavailable as unavailable:
            give_up(unavailable)
            raise
        yield cluster


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.brokers", description="A Kafka until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=1)
    nodes = parser.parse_args().nodes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Cluster(nodes) as cluster:
            print(cluster.bootstrap, flush=True)
            signal.pause()
    except Unavailable as unavailable:
        sys.exit(f"no Kafka here: no Docker engine answers, and {unavailable}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
