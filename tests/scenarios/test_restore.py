"""What docs/operate.md says of backups, rehearsed: its own lines, on the database's real tools, with four processes on
Kafka; first back into the same server, then into a new one."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.database import embedded
from shared.database.embedded import EmbeddedPostgres
from tests.brokers import one_broker
from tests.deployment import REPOSITORY, Deployment

IN_POSTGRES = "docker compose exec -T postgres "
ON_A_NEW_SERVER = "# on a new server"


def lines(command: str) -> list[str]:
    """Those of the page's block that this command is in."""
    page = (REPOSITORY / "docs" / "operate.md").read_text(encoding="utf-8")
    (block,) = [body for body in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if command in body]
    return [*map(str, block.splitlines())]


class Server:
    """A Postgres as the compose file has it: with a superuser and a database called flywheel."""

    def __init__(self, directory: Path) -> None:
        self.postgres = EmbeddedPostgres.start(directory)
        self.url = f"postgresql://flywheel@/flywheel?host={self.postgres.socket_dir}"

    def type(self, line: str, folder: Path) -> None:
        """As in its container."""
        bin_dir = Path(embedded._binary("pg_dump")).parent
        env = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "PGHOST": str(self.postgres.socket_dir)}
        command = ["/bin/sh", "-c", line.removeprefix(IN_POSTGRES)]
        done = subprocess.run(command, check=False, env=env, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    made = Server(tmp_path / "old"), Server(tmp_path / "new")
    yield made
    for server in made:
        server.postgres.stop()


async def _new_role(server: Server, *statements: str) -> None:
    connection = await asyncpg.connect(server.postgres.url)
    try:
        for statement in ("CREATE ROLE flywheel SUPERUSER LOGIN", *statements):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.kafka
@pytest.mark.timeout(300)
async def test_a_restored_database_goes_on_and_what_came_since_the_backup_comes_back_by_itself(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    old, new = servers
    await _new_role(old, "CREATE DATABASE flywheel OWNER flywheel")
    await _new_role(new, "CREATE DATABASE flywheel OWNER flywheel")
    with ExitStack() as stack:
        broker = stack.enter_context(contextmanager(one_broker)())
        env = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}
        up = stack.enter_context(Deployment.apart(tmp_path / "deployment", old.url, env))

        before = case_of(up, send(up, "before"))
        back_up(old, tmp_path)
        since = case_of(up, send(up, "since"))
        assert resolved(up, before)["state"] == "resolved"
        restore(up, old, tmp_path, others=())
        assert case(up, before)["state"] == "open", "what people did since is not in the backup"
        up.until(lambda: case_of_customer(up, "since") == [since["id"]])
        assert case_of_customer(up, "before") == [before["id"]]

        back_up(old, tmp_path)
        resolved(up, since)
        restore(up, new, tmp_path, others=(ON_A_NEW_SERVER,))
        assert [case_of_customer(up, name) for name in ("before", "since")] == [[before["id"]], [since["id"]]]
        after = case_of(up, send(up, "after"))
        assert resolved(up, after)["state"] == "resolved"
        with up.http("console") as console:
            assert "Traceback" not in console.get("/readyz").text
            assert console.get("/v1/measures").status_code == 200, "the console's role reads what was restored"


def back_up(server: Server, folder: Path) -> None:
    (line,) = lines("pg_dump")
    server.type(line, folder)


def restore(up: Deployment, server: Server, folder: Path, others: Sequence[str]) -> None:
    for line in lines("pg_restore"):
        command, _, remark = line.partition("  #")
        if line.startswith("docker compose stop"):
            for proc in up.procs.values():
                assert proc.terminate() == 0
        elif line.startswith("docker compose start"):
            for proc in up.procs.values():
                proc.env = {**proc.env, "DATABASE_URL": server.url}
                proc.start()
            up.wait_ready()
        elif not remark or f"#{remark}" in others:
            assert line.startswith(IN_POSTGRES), line
            server.type(command, folder)


def send(up: Deployment, customer: str) -> str:
    body = {"source": "t", "external_id": customer, "text": "The app crashes.", "customer": {"id": customer}}
    with up.http("ingest") as ingest:
        answer = ingest.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def case_of(up: Deployment, feedback: str) -> dict[str, Any]:
    with up.http("console") as console:

        def look() -> Any:
            answer = console.get(f"/v1/feedback/{feedback}/trace")
            return answer.status_code == 200 and answer.json()["case"]

        found: dict[str, Any] = up.until(look)
    return found


def case_of_customer(up: Deployment, customer: str) -> list[str]:
    with up.http("closer") as closer:
        answer = closer.get("/v1/cases", params={"customer": customer})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]


def case(up: Deployment, found: dict[str, Any]) -> dict[str, Any]:
    with up.http("closer") as closer:
        return dict(closer.get(f"/v1/cases/{found['id']}").json())


def resolved(up: Deployment, found: dict[str, Any]) -> dict[str, Any]:
    with up.http("closer") as closer:
        answer = closer.post(f"/v1/cases/{found['id']}/resolve", json={"answer": "Mended.", "language": "en"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())
