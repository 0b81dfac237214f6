"""docker-compose.yml: what it must be, and that what it starts works, run here without Docker."""

import importlib.resources
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import jsonschema
import pytest

from tests.brokers import Cluster, free_port
from tests.deploy import compose
from tests.deploy.expressions import metrics_named
from tests.deploy.test_dockerfile import data_dir
from tests.deployment import FLYWHEEL, PYTHON, REPOSITORY, Deployment, Proc
from tests.mailbox import Mailbox, plain

OURS = {"ingest": 8081, "router": 8082, "closer": 8083, "console": 8080}
PROGRAMS = {"python": [PYTHON], "flywheel": FLYWHEEL}
KEEP = ("ingest", "console")
"""What of ours keeps something on its disk."""
SECRETS = {"POSTGRES_PASSWORD": "1f9a", "FLYWHEEL_SECRET": "the same on every process"}
SPOOL = compose.given_by(compose.ENV_EXAMPLE.read_text().replace("# INGEST_SPOOL", "INGEST_SPOOL"))["INGEST_SPOOL_DIR"]


# ── what it must be ──


def test_it_is_valid_by_the_compose_specification() -> None:
    """The schema comes with check-jsonschema, which keeps it up to date."""
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(compose.read(SECRETS))


@pytest.mark.parametrize("name", sorted(compose.raw()["services"]))
def test_every_service(name: str) -> None:
    service = compose.read(SECRETS)["services"][name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices", "container_name"} & service.keys()
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))
    assert re.fullmatch(r"[a-z/-]+:v?\d[\w.-]*", service["image"]) or service["image"] == "feedback-flywheel:local"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "nothing is open to the network until somebody says so"


@pytest.mark.parametrize("name", OURS)
def test_ours_can_write_nothing_and_be_nobody_else(name: str) -> None:
    service = compose.read(SECRETS)["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ([f"{name}:{data_dir()}"] if name in KEEP else [])
    assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    assert {on["condition"] for on in service["depends_on"].values()} == {"service_healthy"}


def test_only_what_people_and_tools_need_is_published() -> None:
    published = {name for name, one in compose.read(SECRETS)["services"].items() if "ports" in one}
    assert published == {"console", "ingest", "mailpit"}


def test_what_is_kept_is_on_a_named_volume() -> None:
    read = compose.read(SECRETS)
    kept = {"kafka", "postgres", *KEEP}
    used = {volume.partition(":")[0] for name in kept for volume in read["services"][name]["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(read["volumes"])


@pytest.mark.parametrize("name", KEEP)
def test_the_data_folder_is_on_a_volume_of_its_own_and_not_in_memory(name: str) -> None:
    """docs/files.md promises that an import goes on after a restart, docs/operate.md the same of the spool."""
    service = compose.read(SECRETS)["services"][name]
    assert "FLYWHEEL_DATA_DIR" not in service["environment"], "where it is, the image says"
    assert f"{name}:{data_dir()}" in service["volumes"]
    assert not any(Path(data_dir()).is_relative_to(memory) for memory in service["tmpfs"])


def test_the_spool_is_off_until_a_line_of_the_example_puts_it_on_the_volume() -> None:
    assert compose.read(SECRETS)["services"]["ingest"]["environment"]["INGEST_SPOOL_DIR"] == ""
    assert Path(SPOOL).is_relative_to(data_dir())


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_inside_and_a_missing_one_says_how_to_make_it(name: str) -> None:
    others = {other: value for other, value in SECRETS.items() if other != name}
    with pytest.raises(compose.Missing, match=rf"{name}: make one with `openssl rand"):
        compose.read(others)


def test_whatever_looks_like_a_secret_comes_from_outside() -> None:
    for name, service in compose.raw()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable):
                assert str(value).startswith("${"), f"{name}: {variable}"
            assert not re.search(r"://[^/$@]*:[^/$@]+@", str(value)), f"{name}: a password in {variable}"


def test_the_example_names_every_variable_and_gives_no_secret() -> None:
    text = compose.ENV_EXAMPLE.read_text()
    named = set(re.findall(r"\$\{(\w+)", compose.COMPOSE.read_text()))
    assert named == set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE))
    assert compose.given_by(text) == dict.fromkeys(SECRETS, "")


# ── that it works ──


class Composed:
    """The four services by the commands, environments and health checks of the file. Only where each of them is found
    differs: there every container has a name and ports of its own, here all share one machine."""

    def __init__(self, directory: Path, env: dict[str, str], database: str, kafka: str) -> None:
        self.ports = {name: free_port() for name in OURS}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.volumes = {name: directory / "volumes" / name for name in KEEP}
        for volume in self.volumes.values():
            volume.mkdir(parents=True)
        self._elsewhere = {
            "@postgres:5432/flywheel": database,
            "kafka:9092": kafka,
            "/config": str(REPOSITORY / "deploy" / "config"),
            **{f"{name}:{port}": f"127.0.0.1:{self.ports[name]}" for name, port in OURS.items()},
            **{f"127.0.0.1:{port}": f"127.0.0.1:{self.ports[name]}" for name, port in OURS.items()},
        }
        self.public_url = f"http://localhost:{self.ports['console']}"  # another name than the services have for it
        services = compose.read({**env, "PUBLIC_URL": self.public_url, "INGEST_SPOOL_DIR": SPOOL})["services"]
        self.services = {name: services[name] for name in OURS}
        self.procs = {
            name: Proc(name, self._command(one["command"]), self._environment(name), directory / f"{name}.log")
            for name, one in self.services.items()
        }

    def _here(self, text: str) -> str:
        for there, here in self._elsewhere.items():
            text = text.replace(there, here)
        return text

    def _command(self, command: list[str]) -> list[str]:
        """The image's `python` and `flywheel` are this checkout's."""
        program, *arguments = (self._here(word) for word in command)
        return [*PROGRAMS[program], *arguments]

    def _environment(self, name: str) -> dict[str, str]:
        """Nothing but what the file gives, and of the image's the path and the data folder. Where no volume is, there
        is none."""
        given = {key: self._here(value) for key, value in self.services[name]["environment"].items()}
        volume = str(self.volumes.get(name, "/proc/nowhere"))
        kept = {key: value.replace(data_dir(), volume) for key, value in given.items() if value.startswith(data_dir())}
        return {
            "PATH": os.environ["PATH"],
            **given,
            **kept,
            "FLYWHEEL_DATA_DIR": volume,
            f"{name.upper()}_PORT": str(self.ports[name]),
        }

    def healthy(self, name: str) -> bool:
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        timeout = float(self.services[name]["healthcheck"]["timeout"].removesuffix("s"))
        return self._run(name, command, timeout).returncode == 0

    def exec(self, name: str, *command: str) -> str:
        """`docker compose exec name command…`"""
        done = self._run(name, list(command), 60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, name: str, command: list[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(command),
            env=self._environment(name),
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.fixture
def composed(
    tmp_path: Path, database_url: str, own_kafka: Cluster, mailbox: Mailbox
) -> Iterator[tuple[Composed, Deployment]]:
    _the_user_of_the_file(database_url)
    database = database_url.removeprefix("postgresql://postgres")
    made = Composed(tmp_path, {**SECRETS, "SMTP_URL": mailbox.url}, database, own_kafka.bootstrap)
    running = Deployment(made.procs, made.urls, {}, tmp_path)
    try:
        for name, proc in made.procs.items():
            assert not made.healthy(name), "before it runs"
            proc.start()
        for name in OURS:
            running.until(partial(made.healthy, name))
        yield made, running
    finally:
        running.close()


def _the_user_of_the_file(database_url: str) -> None:
    """As the image of Postgres makes it: with the password, and a superuser."""
    import asyncio

    async def make() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'flywheel'"):
                await connection.execute(
                    f"CREATE ROLE flywheel SUPERUSER LOGIN PASSWORD '{SECRETS['POSTGRES_PASSWORD']}'"
                )
        finally:
            await connection.close()

    asyncio.run(make())


@pytest.mark.kafka
def test_the_four_as_the_file_starts_them(composed: tuple[Composed, Deployment], mailbox: Mailbox) -> None:
    made, running = composed
    made_key = json.loads(made.exec("console", "flywheel", "keys", "create", "--scope", "admin", "--json"))
    running.api_key = made_key["key"]

    # One event, to its case and its mail.
    body = {"source": "web", "text": "希望增加深色模式", "customer": {"id": "c-1", "email": "wang@example.cn"}}
    received = running.http("ingest").post("/v1/feedback", json=body)
    assert received.status_code == 202, received.text
    heard = mailbox.wait_for("wang@example.cn", 1)[0]
    assert heard["From"]
    trace = running.http("console").get(f"/v1/feedback/{received.json()['id']}/trace").json()
    assert trace["routing"]["team"] == "product"

    # And its answer, through the front door, with a link that begins with PUBLIC_URL.
    case = trace["case"]["id"]
    answered = running.http("console").post(f"/v1/cases/{case}/resolve", json={"answer": "有了。"})
    assert answered.status_code == 200, answered.text
    link = re.search(r"https?://\S+/loop/[\w.~-]+", plain(mailbox.wait_for("wang@example.cn", 2)[1]))
    assert link
    assert link[0].startswith(made.public_url)
    assert httpx2.get(link[0]).status_code == 200

    # What is to outlive the containers is on their volumes.
    assert [folder.name for folder in made.volumes["ingest"].iterdir()] == [Path(SPOOL).name]
    assert "data folder" in made.exec("console", "flywheel", "doctor")

    # The first login, from outside.
    login = made.exec("console", "flywheel", "login").strip()
    assert login.startswith(f"{made.public_url}/login?token="), login
    with httpx2.Client(follow_redirects=True) as browser:
        assert browser.get(login).status_code == 200
    # Each is known by the name that the file calls it by, and by no stranger's.
    for name, url in made.urls.items():
        assert httpx2.get(f"{url}/openapi.json", headers={"Host": f"{name}:{OURS[name]}"}).status_code == 200
        assert httpx2.get(f"{url}/openapi.json", headers={"Host": "evil.example"}).status_code == 400

    # Whatever the rules and the dashboard ask for is there to be asked for.
    offered = "\n".join(httpx2.get(f"{url}/metrics").text for url in made.urls.values())
    for where, names in metrics_named().items():
        for metric in names:
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            assert re.search(rf"^# TYPE ({metric}|{base}) ", offered, re.MULTILINE), f"{where}: {metric}"

    for name, proc in made.procs.items():
        assert proc.terminate() == 0, proc.tail()
        assert not made.healthy(name), "after its end"


def test_a_health_check_says_what_is_wrong() -> None:
    def looked(url: str) -> "subprocess.CompletedProcess[str]":
        command: list[Any] = [sys.executable, "-m", "shared.healthcheck", url]
        return subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=20)

    nobody = looked(f"http://127.0.0.1:{free_port()}/readyz")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "refused" in nobody.stderr
    assert looked("ftp://127.0.0.1/").returncode == 1
