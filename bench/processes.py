"""Servers and programs as processes of their own: started, waited for, measured, ended by their pid."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.machine import cpu_seconds, rss_bytes

REPOSITORY = Path(__file__).resolve().parents[1]
READY_S = 60.0
STOP_S = 20.0
# What would steer our services and is not of this run.
_STEERING = ("DATABASE_URL", "KAFKA_", "SMTP_URL", "PUBLIC_URL", "FLYWHEEL_", "INGEST_", "ROUTER_", "CLOSER_")


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
    return {**kept, "PYTHONUNBUFFERED": "1", **ours}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Program:
    """One process. `with Program(…) as program:` ends it however the block ends."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.started_at = time.monotonic()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(command), env=environment(env), cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True
            )

    @classmethod
    def module(cls, module: str, *arguments: object, env: Mapping[str, str], log: Path) -> Self:
        return cls([sys.executable, "-m", module, *map(str, arguments)], env, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_s(self) -> float | None:
        return cpu_seconds(self.pid)

    @property
    def rss(self) -> int | None:
        return rss_bytes(self.pid)

    def check(self) -> None:
        """Raises when it has ended, with the end of its log."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-30:]
            raise RuntimeError(f"{self._process.args!r} ended ({self._process.returncode}):\n" + "\n".join(lines))

    def wait(self, timeout_s: float) -> None:
        """Until it has ended well."""
        if self._process.wait(timeout_s):
            self.check()

    def wait_answering(self, url: str) -> float:
        """Until that address answers below 500; seconds since the start."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return time.monotonic() - self.started_at
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return time.monotonic() - self.started_at
            except OSError:
                pass
            time.sleep(0.03)
        raise TimeoutError(f"{url} was not ready within {READY_S:.0f} s; see {self._log}")

    def stop(self) -> None:
        """SIGTERM, as a supervisor does; SIGKILL when that is not enough."""
        if self._process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def run_json(module: str, *arguments: object, env: Mapping[str, str], timeout_s: float = 600) -> Any:
    """A program of ours that prints one JSON object and ends."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment(env),
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)
