"""The system under test as users run it: processes, started by the commands that the README gives.

`Deployment.all_in_one` is `flywheel up`; `Deployment.apart` is `python -m services.ingest | router | closer |
console`. Both can be killed, terminated and started again, service by service. Nothing of ours is imported into
the test's process for it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.brokers import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
FLYWHEEL = [PYTHON, "-c", "from services.cli import main; main()"]
READY_S = 90.0
STOP_S = 20.0
"""A process that does not end by itself does so by force, after 9.5 s by its own clock: its exit code says which it was.
Ours, which other tests' load stretches, only finds the one that does neither."""
APART = ("router", "ingest", "closer", "console")


@dataclass
class Proc:
    """One of our processes, its log, and how it was started."""

    name: str
    command: list[str]
    env: Mapping[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.running is None or self.running.poll() is not None, f"{self.name} is running"
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, env=dict(self.env), cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.running is not None
        return self.running.pid

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and gone."""
        if self.running is not None:
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
            self.running.wait(STOP_S)

    def terminate(self) -> int:
        """SIGTERM and wait for the orderly end; the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """The exit code of one that was asked to stop. Asked once: when it no longer listens, a second signal kills it."""
        assert self.running is not None
        return self.running.wait(STOP_S)

    def tail(self, lines: int = 40, characters: int = 10_000) -> str:
        return "\n".join(line[:characters] for line in self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class Deployment:
    procs: dict[str, Proc]
    urls: dict[str, str]
    """Service → base address."""
    env: Mapping[str, str]
    data_dir: Path
    api_key: str = ""
    _clients: list[httpx2.Client] = field(default_factory=list)

    @classmethod
    def all_in_one(cls, directory: Path, env: Mapping[str, str] | None = None, *options: str) -> Self:
        """`flywheel up` on a port and a data folder of its own; `env` may bring DATABASE_URL or Kafka."""
        port = free_port()
        data = directory / "data"
        base = f"http://127.0.0.1:{port}"
        environ = _environ(directory, {"FLYWHEEL_DATA_DIR": str(data), "FLYWHEEL_URL": base, **(env or {})})
        command = [*FLYWHEEL, "up", "--port", str(port), *options]
        urls = dict.fromkeys(APART, base)
        return cls({"all": Proc("all", command, environ, directory / "all.log")}, urls, environ, data)

    @classmethod
    def apart(cls, directory: Path, database_url: str, env: Mapping[str, str] | None = None) -> Self:
        """Four processes on one database (and on Kafka where `env` says so)."""
        data = directory / "data"
        ports = {name: free_port() for name in APART}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        environ = _environ(
            directory,
            {
                "FLYWHEEL_DATA_DIR": str(data),
                "DATABASE_URL": database_url,
                "PUBLIC_URL": urls["console"],
                "FLYWHEEL_SECRET": "the same on every process",
                **{f"{name.upper()}_PORT": str(port) for name, port in ports.items()},
                **{f"{name.upper()}_URL": url for name, url in urls.items()},
                **(env or {}),
            },
        )
        procs = {
            name: Proc(name, [PYTHON, "-m", f"services.{name}"], environ, directory / f"{name}.log") for name in APART
        }
        return cls(procs, urls, environ, data)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # shown with the failure, for the folder may be gone by then
            for proc in self.procs.values():
                print(f"--- {proc.name}, {'alive' if proc.alive else 'ended'}\n{proc.tail(30, 400)}")
        self.close()

    def twin(self, name: str) -> Proc:
        """A second process of that service, on a port of its own; begun, and ready after `wait_ready`."""
        first, port = self.procs[name], free_port()
        twin = Proc(
            f"{name}-twin",
            first.command,
            {**first.env, f"{name.upper()}_PORT": str(port)},
            first.log.with_name(f"{name}-twin.log"),
        )
        self.procs[twin.name] = twin
        self.urls[twin.name] = f"http://127.0.0.1:{port}"
        twin.start()
        return twin

    def start(self) -> None:
        for proc in self.procs.values():
            proc.start()
        self.wait_ready()
        if "all" in self.procs:
            self.api_key = self.until(lambda: (self.data_dir / "api-key").read_text().strip(), OSError)
        elif not self.api_key:
            import json

            made = self.flywheel("keys", "create", "--scope", "admin", "--name", "test", "--json")
            self.api_key = str(json.loads(made.stdout)["key"])

    def wait_ready(self) -> None:
        for service, url in self.urls.items():
            proc = self.procs.get(service) or self.procs["all"]

            def ready(url: str = url, proc: Proc = proc) -> bool:
                assert proc.alive, f"{proc.name} ended:\n{proc.tail()}"
                return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200

            self.until(ready, httpx2.HTTPError)

    def until(self, look: Callable[[], Any], *passing: type[BaseException], seconds: float = READY_S) -> Any:
        """Look until it is truthy; what was seen. Errors named in `passing` count as not yet."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                found = look()
                if found:
                    return found
                last = found
            except passing as error:
                last = error
            time.sleep(0.05)
        logs = "\n".join(f"--- {proc.name}\n{proc.tail()}" for proc in self.procs.values())
        raise AssertionError(f"waited {seconds:.0f} s in vain; last: {last!r}\n{logs}")

    def http(self, service: str) -> httpx2.Client:
        """A client of that service with the admin key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        client = httpx2.Client(base_url=self.urls[service], headers=headers, timeout=15)
        self._clients.append(client)
        return client

    def flywheel(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line, in the environment of the processes."""
        environ = {**self.env, **({"FLYWHEEL_API_KEY": self.api_key} if self.api_key else {}), **env}
        return subprocess.run(
            [*FLYWHEEL, *arguments],
            env=environ,
            cwd=REPOSITORY,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for proc in self.procs.values():
            if proc.alive:
                proc.signal(signal.SIGCONT)
                proc.signal(signal.SIGTERM)
        for proc in self.procs.values():
            if proc.running is not None:
                try:
                    proc.running.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    proc.kill()


def _environ(directory: Path, ours: Mapping[str, str]) -> dict[str, str]:
    """This machine's environment without what would steer our processes, and then what the test says."""
    directory.mkdir(parents=True, exist_ok=True)
    steering = (
        "DATABASE_URL",
        "KAFKA_",
        "SMTP_URL",
        "PUBLIC_URL",
        "FLYWHEEL_",
        "INGEST_",
        "ROUTER_",
        "CLOSER_",
        "CONSOLE_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return {**kept, "PYTHONUNBUFFERED": "1", **ours}
