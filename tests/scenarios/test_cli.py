"""The command line as a person meets it: exit code 0, 1 or 2, data alone on stdout with `--json`, and never a stack
trace for a mistake. What needs no service is asked first, in this process; then one `flywheel up` is asked."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.cli import run
from shared.config import STARTER
from shared.log import Message
from shared.log.choose import open_log
from shared.settings import read_settings
from tests.brokers import free_port
from tests.deployment import FLYWHEEL, REPOSITORY, Deployment
from tests.editing import edit

STEERING = ("FLYWHEEL_", "DATABASE_URL", "KAFKA_", "SMTP_URL", "INGEST_", "ROUTER_", "CLOSER_", "CONSOLE_")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Flywheel = Callable[..., Said]


@pytest.fixture
def flywheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flywheel:
    """A verb where nothing runs."""
    for name in list(os.environ):
        if name.startswith(STEERING):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_URL", f"http://127.0.0.1:{free_port()}")
    asked_in = dict(os.environ)

    def ask(*arguments: str, **env: str) -> Said:
        capsys.readouterr()
        os.environ.update(env)
        try:
            code = run(arguments)
        finally:
            os.environ.clear()
            os.environ.update(asked_in)  # `--config` and `--data-dir` are kept there for the length of a call
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Said(code, told.out, told.err)

    return ask


@pytest.fixture
def asked(flywheel: Flywheel, up: Deployment) -> Flywheel:
    """A verb where `up` runs."""
    env = {name: value for name, value in up.env.items() if name.startswith("FLYWHEEL_")}

    def ask(*arguments: str, **more: str) -> Said:
        return flywheel(*arguments, **{**env, "FLYWHEEL_CONFIG": "", "FLYWHEEL_API_KEY": up.api_key, **more})

    return ask


@pytest.fixture
def config(flywheel: Flywheel, tmp_path: Path) -> Path:
    assert flywheel("init", "config").code == 0
    return tmp_path / "config"


# ── exit codes and mistakes ──

MISUSED: list[tuple[list[str], str]] = [
    ([], "Usage:"),
    (["rules"], "Usage:"),
    (["bogus"], "No such command"),
    (["rules", "bogus"], "No such command"),
    (["send", "--nope"], "No such option"),
    (["init"], "Missing argument"),
    (["assign", "some-case"], "Missing option"),
    (["cases", "--limit", "0"], "--limit"),
    (["cases", "--limit", "many"], "--limit"),
    (["up", "--port", "99999"], "--port"),
    (["up", "--port", "0", "--host", "256.1.1.1"], "--host"),
    (["send", "--text", "x", "--score", "nps"], "nps=3"),
    (["send", "--text", "x", "--score", "nps=good"], "nps=3"),
    (["cases", "--config"], "--config needs a folder"),
    (["--data-dir"], "--data-dir needs a folder"),
    (["--config", "nowhere", "rules", "check"], "flywheel init"),
    (["rules", "check", "--config=nowhere"], "flywheel init"),
    (["rules", "explain"], "--text or --from"),
    (["rules", "explain", "--text", " "], "nothing to read"),
    (["rules", "explain", "--text", "x", "--from", "y"], "--text or --from"),
    (["rules", "explain", "--from", "nowhere.jsonl"], "No such file"),
    (["sla", "explain", "--team", "nobody", "--at", "2026-01-01T00:00:00Z"], "product, support, sales"),
    (["sla", "explain", "--team", "support", "--at", "tomorrow"], "2026-10-01T09:00:00+08:00"),
    (["sla", "explain", "--team", "support", "--at", "2026-01-01T00:00:00"], "zone"),
    (["sla", "explain", "--team", "support", "--at", "2026-01-01T00:00:00Z", "--priority", "p1"], "urgent"),
    (["cases"], "no API key"),
    (["keys", "list"], "no database"),
    (["dlq", "list"], "no database"),
]


@pytest.mark.parametrize(("arguments", "says"), MISUSED, ids=[" ".join(row[0]) or "nothing" for row in MISUSED])
def test_misuse_is_2_and_says_what_is_wanted(flywheel: Flywheel, arguments: list[str], says: str) -> None:
    said = flywheel(*arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_what_fails_is_1_and_says_what_to_do(flywheel: Flywheel, tmp_path: Path) -> None:
    away = flywheel("cases", FLYWHEEL_API_KEY="fw_x")
    assert (away.code, away.out) == (1, "")
    assert "is `flywheel up` running?" in away.err
    (tmp_path / "file").write_text("")
    nowhere = flywheel("init", "file/below")
    assert (nowhere.code, nowhere.out) == (1, "")
    assert nowhere.err == "flywheel: file/below: Not a directory\n"


def test_help_is_0_and_on_stdout(flywheel: Flywheel) -> None:
    for arguments in (["--help"], ["rules", "--help"], ["send", "--help"], ["dlq", "redrive", "--help"]):
        said = flywheel(*arguments)
        assert (said.code, said.err) == (0, "")
        assert "Usage: flywheel" in said.out


def test_help_names_what_every_verb_takes(flywheel: Flywheel) -> None:
    for arguments in (["--help"], ["up", "--help"]):
        said = flywheel(*arguments)
        assert "--config DIR" in said.out
        assert "--data-dir DIR" in " ".join(said.out.split())
    assert "DATABASE_URL" in said.out


def test_a_process_ends_with_the_same_code_and_a_closed_pipe_is_no_failure(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
    options: dict[str, Any] = {"cwd": REPOSITORY, "env": env, "text": True}
    bogus = subprocess.run([*FLYWHEEL, "bogus"], capture_output=True, check=False, timeout=60, **options)
    assert (bogus.returncode, bogus.stdout) == (2, "")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a refund"}\n' * 2_000)
    command = [*FLYWHEEL, "rules", "explain", "--config", str(STARTER), "--from", str(rows), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as explaining:
        assert explaining.stdout is not None
        assert explaining.stderr is not None
        assert json.loads(explaining.stdout.readline())["team"] == "support"
        explaining.stdout.close()
        assert (explaining.stderr.read(), explaining.wait(30)) == ("", 0)


# ── configuration ──


def test_init_writes_what_loads_and_overwrites_nothing(flywheel: Flywheel, config: Path) -> None:
    assert sorted(path.name for path in config.iterdir()) == ["routing.yaml", "sla.yaml", "sources.yaml", "teams.yaml"]
    again = flywheel("init", "config")
    assert again.code == 2
    assert "not empty" in again.err
    checked = flywheel("rules", "check", "--config", "config", "--json")
    assert checked.code == 0
    assert set(checked.json) == {"version", "rules", "examples"}
    assert flywheel("rules", "test", "--config", "config").out.startswith("config is good: version")


def test_config_stands_before_and_after_the_verb(flywheel: Flywheel, config: Path) -> None:
    edit(config, "sla.yaml", "acknowledge: 8h", "acknowledge: 5h")
    asked = ["sla", "explain", "--team", "support", "--at", "2026-11-23T09:00:00Z", "--json"]
    for arguments in (
        ["--config", "config", *asked],
        [*asked, "--config", "config"],
        ["sla", "--config=config", *asked[1:]],
    ):
        said = flywheel(*arguments)
        assert said.json["acknowledge"]["wall"] == "2026-11-23T14:00:00.000Z", arguments
    assert flywheel(*asked).json["acknowledge"]["wall"] == "2026-11-23T17:00:00.000Z", "and is forgotten after it"


MISTAKES: list[tuple[str, str, str, str]] = [
    ("routing.yaml", "then: [{assign: product}, {tag: [bug]}]", "then: [{assign: produkt}, {tag: [bug]}]", 'did you mean "product"?'),
    ("routing.yaml", "then: [{assign: product}, {tag: [bug]}]", "then: [{asign: product}, {tag: [bug]}]", 'did you mean "assign"?'),
    ("routing.yaml", "  - name: delivery", "  - name: billing", "two rules"),
    ("routing.yaml", "  - name: delivery\n    when", "  - name: delivery\n   when", "not YAML"),
    ("routing.yaml", "expect: {team: sales, kind: question}", "expect: {team: product}", "the example fails"),
    ("teams.yaml", "default_team: support", "default_team: nobody", "not among the teams"),
    ("teams.yaml", "mon-fri: [\"09:00-17:30\"]", "mon-frx: [\"09:00-17:30\"]", "not a day"),
    ("sla.yaml", "acknowledge: 8h", "acknowledge: soon", "not a duration"),
    ("sla.yaml", "acknowledge: 8h", "acknowlege: 8h", 'did you mean "acknowledge"?'),
    ("sla.yaml", "{priority: urgent}", "{priority: urgnt}", 'did you mean "urgent"?'),
    ("sla.yaml", "name: default, acknowledge", "name: default, when: {team: nobody}, acknowledge", "not a team"),
    ("sources.yaml", "sources: []", "sources: [{name: z, connector: zendek, secrets: [x]}]", "zendesk"),
    ("sources.yaml", "sources: []", "sources: [{name: z, connector: zendesk}]", "verify: none"),
    ("sources.yaml", "sources: []", "sources: [{name: z, connector: zendesk, secrets: [\"${NOT_SET}\"]}]", "NOT_SET is not set"),
    ("teams.yaml", "zone: UTC, days: {mon-fri: [\"09:00-17:30\"]", "zone: \"${NOT_SET}\", days: {mon-fri: [\"09:00-17:30\"]", "NOT_SET is not set"),
    ("routing.yaml", "then: [{assign: product}, {tag: [bug]}]", "then: [{assign: \"${NOT_SET}\"}, {tag: [bug]}]", "NOT_SET is not set"),
    ("sla.yaml", "acknowledge: 8h", "acknowledge: \"${NOT_SET}\"", "NOT_SET is not set"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "before", "after", "says"), MISTAKES, ids=[f"{r[0]}: {r[3]}" for r in MISTAKES])
def test_a_mistake_is_shown_where_it_stands(
    flywheel: Flywheel, config: Path, file: str, before: str, after: str, says: str
) -> None:
    original = (config / file).read_text(encoding="utf-8")
    edit(config, file, before, after)
    said = flywheel("rules", "check", "--config", "config", "--json")
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    lines = said.err.removeprefix("flywheel: ").splitlines()
    assert len(lines) == len(set(lines)), "each once"
    place = lines[0].split(": ")[0].split(":")
    wanted = original.split(before)[0].count("\n") + 1
    assert place[0] == file
    assert wanted <= int(place[1]) <= wanted + after.count("\n") + 1
    assert int(place[2]) >= 1


def test_variables_are_filled_in_in_each_file(flywheel: Flywheel, config: Path) -> None:
    edit(config, "sources.yaml", "sources: []", 'sources: [{name: z, connector: zendesk, secrets: ["${SECRET}"]}]')
    edit(
        config,
        "teams.yaml",
        'zone: UTC, days: {mon-fri: ["09:00-17:30"]',
        'zone: "${ZONE}", days: {mon-fri: ["09:00-17:30"]',
    )
    edit(
        config, "routing.yaml", "then: [{assign: product}, {tag: [bug]}]", 'then: [{assign: "${OWNER}"}, {tag: [bug]}]'
    )
    edit(config, "sla.yaml", "acknowledge: 8h", 'acknowledge: "${SOON}"')
    env = {"SECRET": "s3cret-of-the-tool", "ZONE": "Asia/Shanghai", "OWNER": "product", "SOON": "2h"}
    for missing in env:
        said = flywheel("rules", "check", "--config", "config", **{n: v for n, v in env.items() if n != missing})
        assert (said.code, f"{missing} is not set" in said.err) == (2, True)
    assert flywheel("rules", "check", "--config", "config", **env).code == 0
    decided = flywheel("rules", "explain", "--config", "config", "--text", "It crashes", "--json", **env).json
    assert decided["team"] == "product"
    due = ["sla", "explain", "--config", "config", "--team", "sales", "--at", "2026-11-23T09:00:00+08:00", "--json"]
    assert flywheel(*due, **env).json["acknowledge"]["business"] == "2026-11-23T03:00:00.000Z"


def test_explain_decides_whole_and_a_line_each(flywheel: Flywheel, tmp_path: Path) -> None:
    rows = [{"text": "希望增加深色模式"}, {"text": "I was charged twice"}, {"scores": [{"metric": "nps", "value": 2}]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    said = flywheel("rules", "explain", "--from", "rows.jsonl", "--json")
    decisions = [json.loads(line) for line in said.out.splitlines()]
    assert [(d["team"], d["language"], d["decided_by"]) for d in decisions] == [
        ("product", "zh", "rule"),
        ("support", "en", "rule"),
        ("support", "und", "rule"),
    ]
    wanted = {"team", "tags", "kind", "sentiment", "priority", "language", "confidence", "decided_by", "reasons"}
    assert all(wanted <= set(decision) for decision in decisions)
    one = flywheel("rules", "explain", "--text", "希望增加深色模式")
    assert 'Rule "wants-a-feature" holds' in one.out


LINES: list[tuple[str, str]] = [
    ('{"text": "  \\u200b "}', "text: is required where there are no scores"),
    ('{"scores": [{"metric": "nps", "value": 99}]}', "scores.0.value: must be from 0 to 10 for nps"),
    ('{"scores": [{"metric": "npz", "value": 9}]}', "scores.0.metric: is not a known metric"),
    ('{"texxt": "hello", "text": "x"}', "texxt: is not a known field"),
    ('{"text": 5}', "text: "),
    ('{"text": "a", "text": "b"}', "occurs twice"),
    ('{"text": "a\\u0000"}', "text: A NUL"),
    ('{"text": ', "the line is not JSON (column"),
    ("[1]", "an object is wanted"),
]


def _explains_the_others(ask: Flywheel, tmp_path: Path) -> None:
    rows = [
        b'\xef\xbb\xbf{"text": "first"}',
        *(line.encode() for line, _ in LINES),
        b"\xff",
        b'{"text": "I was charged twice"}',
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    said = ask("rules", "explain", "--from", "rows.jsonl", "--json")
    assert said.code == 1
    assert [json.loads(line)["team"] for line in said.out.splitlines()] == ["support", "support"]
    told = said.err.splitlines()
    for number, (line, (_, says)) in enumerate(zip(told, [*LINES, ("", "not UTF-8")], strict=True), 2):
        assert line.startswith(f"flywheel: rows.jsonl:{number}: "), line
        assert says in line


def test_explain_names_each_line_that_would_not_be_taken_and_explains_the_others(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    _explains_the_others(flywheel, tmp_path)
    long = flywheel("rules", "explain", "--text", "x" * 30_001)
    assert (long.code, long.out) == (2, "")
    assert "--text: " in long.err


def test_a_running_service_explains_by_its_own_metrics(asked: Flywheel, up: Deployment, tmp_path: Path) -> None:
    _explains_the_others(asked, tmp_path)
    config = Path(up.env["FLYWHEEL_CONFIG"])
    rows = tmp_path / "own.jsonl"
    rows.write_text('{"scores": [{"metric": "mood", "value": 9}]}')
    assert asked("rules", "explain", "--from", str(rows)).code == 1
    with (config / "sources.yaml").open("a") as file:
        file.write("\nmetrics: {mood: {min: 1, max: 10}}\n")
    up.until(lambda: asked("rules", "explain", "--from", str(rows)).code == 0)


def test_the_chinese_national_day_and_its_make_up_days(flywheel: Flywheel, config: Path) -> None:
    """2026: off from 1 to 7 October, worked on Sunday 20 September and Saturday 10 October."""
    edit(
        config,
        "teams.yaml",
        'hours: {zone: UTC, days: {mon-fri: ["09:00-12:00", "13:00-18:00"]}}',
        'hours: {zone: Asia/Shanghai, days: {mon-fri: ["09:00-12:00", "13:00-18:00"]}, holidays: CN}',
    )
    asked = ["sla", "explain", "--config", "config", "--team", "product", "--at", "2026-09-30T15:00:00+08:00"]
    found = flywheel(*asked, "--json").json
    assert found["acknowledge"]["wall"] == "2026-09-30T15:00:00.000Z"
    assert found["acknowledge"]["business"] == "2026-10-08T07:00:00.000Z", "three hours before, five after"
    assert found["resolve"]["business"] == "2026-10-10T07:00:00.000Z", "the third working day is a Saturday"
    days = {day["date"]: day for day in found["days"]}
    assert [date for date, day in days.items() if not day["counted"]] == [
        *(f"2026-10-0{day}" for day in range(1, 8)),
        "2026-10-11",
    ]
    assert days["2026-10-10"]["periods"] == ["09:00-12:00", "13:00-18:00"]
    told = flywheel(*asked).out
    assert "Thu 2026-10-08 15:00" in told, "people are shown the team's own time"
    assert "2026-10-01 thu  closed" in told


def test_the_doctor_says_what_is_wrong_and_makes_nothing(flywheel: Flywheel, tmp_path: Path) -> None:
    fresh = flywheel("doctor", "--json", "--data-dir", "there")
    assert fresh.code == 0
    assert {finding["status"] for finding in fresh.json["findings"]} == {"ok", "warning"}
    assert not (tmp_path / "there").exists()
    port = free_port()
    for env, check, says in (
        ({"DATABASE_URL": f"postgresql://me:hush@127.0.0.1:{port}/x"}, "database", "does DATABASE_URL name it?"),
        ({"DATABASE_URL": "mysql://x"}, "database", "must start with postgresql://"),
        ({"SMTP_URL": f"smtp://me:hush@127.0.0.1:{port}"}, "mail", "check SMTP_URL"),
        ({"SMTP_URL": "nonsense"}, "mail", "smtp://user:password@host"),
        ({"FLYWHEEL_CONFIG": "nowhere"}, "configuration", "flywheel init"),
    ):
        said = flywheel("doctor", "--json", **env)
        failed = {f["check"]: f["message"] for f in said.json["findings"] if f["status"] == "failed"}
        assert said.code == 1
        assert says in failed[check]
        assert "hush" not in said.out


# ── with a service ──


def test_a_port_that_is_taken_is_said_before_anything_is_started(flywheel: Flywheel, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = flywheel("up", "--port", str(port), "--data-dir", "new")
    assert (said.code, said.out) == (2, "")
    assert f"port {port}" in said.err
    assert "--port" in said.err
    assert not (tmp_path / "new" / "postgres").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_says_what_it_waits_for_and_may_be_given_up(tmp_path: Path, number: signal.Signals) -> None:
    env = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    process = Deployment.all_in_one(tmp_path, env, "--no-sample").procs["all"]
    process.start()
    assert process.running is not None
    try:
        deadline = time.monotonic() + 60
        while "KAFKA_BOOTSTRAP_SERVERS names" not in process.tail() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "Waiting" in process.tail()
        process.signal(number)
        assert process.running.wait(20) == 0
    finally:
        process.kill()
    assert "Stopped." in process.tail()
    assert "Traceback" not in process.tail()
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "its Postgres is not left behind"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("up")
    (directory / "config").mkdir()
    for file in STARTER.iterdir():
        (directory / "config" / file.name).write_bytes(file.read_bytes())
    env = {"FLYWHEEL_CONFIG": str(directory / "config")}
    with Deployment.all_in_one(directory, env, "--no-sample") as deployment:
        yield deployment


def test_a_second_start_is_told_what_is_in_its_way(up: Deployment, flywheel: Flywheel) -> None:
    running = str(up.procs["all"].pid)
    port = up.urls["console"].rpartition(":")[2]
    both = flywheel("up", "--port", port, "--data-dir", str(up.data_dir))
    place = flywheel("up", "--port", "0", "--data-dir", str(up.data_dir))
    socket_only = flywheel("up", "--port", port, "--data-dir", "elsewhere")
    assert {both.code, place.code, socket_only.code} == {2}
    assert f"port {port}" in both.err
    assert all(f"(process {running})" in said.err and "--data-dir" in said.err for said in (both, place))
    assert "process" not in socket_only.err


def test_a_refusal_of_the_service_is_told_with_its_fields(asked: Flywheel) -> None:
    for arguments, code, says in (
        (["send", "--text", " "], 2, "text: is required"),
        (["send", "--text", "x", "--score", "nps=11"], 2, "scores.0.value: must be from 0 to 10 for nps"),
        (["send", "--text", "x", "--email", "nobody"], 2, "customer.email: must be one plain e-mail address"),
        (["cases", "--state", "asleep"], 2, "waiting_on_customer"),
        (["cases", "--cursor", "x"], 2, "next_cursor"),
        (["trace", "nope"], 1, "404"),
        (["case", "nope"], 1, "404"),
        (["tail", "nobody"], 1, "There is no team 'nobody'"),
        (["keys", "create", "--scope", "everything"], 2, "feedback:write"),
        (["keys", "revoke", "nope"], 2, "flywheel keys list"),
        (["dlq", "show", "nope"], 2, "flywheel dlq list"),
    ):
        said = asked(*arguments)
        assert (said.code, said.out) == (code, ""), arguments
        assert says in said.err


def test_an_edited_configuration_is_taken_up_or_refused_in_sight(up: Deployment, asked: Flywheel) -> None:
    config = Path(up.env["FLYWHEEL_CONFIG"])
    log = up.procs["all"].log
    edit(config, "routing.yaml", "[{assign: support}, {tag: [delivery]}]", "[{assign: logistik}, {tag: [delivery]}]")
    up.until(lambda: "The configuration is refused" in log.read_text())
    assert 'there is no team "logistik"' in log.read_text()
    assert "delivery" in _explained(up)["tags"]
    assert _explained(up)["team"] == "support"

    edit(
        config,
        "routing.yaml",
        "[{assign: logistik}, {tag: [delivery]}]",
        '[{assign: "${NOBODY_SET_IT}"}, {tag: [delivery]}]',
    )
    up.until(lambda: "NOBODY_SET_IT is not set" in log.read_text())
    edit(
        config,
        "routing.yaml",
        '[{assign: "${NOBODY_SET_IT}"}, {tag: [delivery]}]',
        "[{assign: logistik}, {tag: [delivery]}]",
    )
    assert _explained(up)["team"] == "support"

    edit(config, "teams.yaml", "  - name: sales\n", "  - {name: logistics}\n  - name: sales\n")
    edit(config, "routing.yaml", "[{assign: logistik}, {tag: [delivery]}]", "[{assign: logistics}, {tag: [delivery]}]")
    delivery = "expect: {{team: {}, tags: [delivery]"
    edit(config, "routing.yaml", delivery.format("support"), delivery.format("logistics"), times=4)
    up.until(lambda: _explained(up)["team"] == "logistics")

    command = [*FLYWHEEL, "tail", "logistics", "--from-beginning", "--json"]
    env = {**up.env, "FLYWHEEL_API_KEY": up.api_key}
    with subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        sent = asked("send", "--text", "Where is my parcel?", "--json").json
        assert json.loads(tail.stdout.readline())["id"] == sent["id"]
        tail.send_signal(signal.SIGINT)
        assert (tail.stdout.read(), tail.wait(20)) == ("", 0)


def _explained(up: Deployment) -> dict[str, Any]:
    with up.http("router") as router:
        found: dict[str, Any] = router.post("/v1/rules/explain", json={"text": "my parcel"}).json()
        return found


def test_dead_letters_are_listed_shown_and_redriven(up: Deployment, asked: Flywheel) -> None:
    asyncio.run(_poison(up, b"\xff\xfe not json"))
    letter = up.until(lambda: _letters(asked))[0]
    assert (letter["service"], letter["original_topic"], letter["attempts"]) == ("router", "feedback.received", 1)
    shown = asked("dlq", "show", letter["id"], "--json").json
    assert base64.b64decode(shown["value_base64"]) == b"\xff\xfe not json"
    dry = asked("dlq", "redrive", "--dry-run", "--json").json
    assert dry == {"dry_run": True, "redriven": [letter["id"]], "not_redriven": []}
    assert asked("dlq", "redrive", letter["id"]).out == f"sent {letter['id']}\n"
    again = up.until(lambda: len(found := _letters(asked)) == 2 and found)
    assert sorted(row["attempts"] for row in again) == [1, 2]


def test_topics_that_are_not_as_they_should_be_are_shown_and_set(up: Deployment, asked: Flywheel) -> None:
    assert asked("topics", "apply").out == "nothing to do: all topics are there, and as they should be\n"
    asyncio.run(_sql(up, "UPDATE log.topic SET retention = '1 hour' WHERE name = 'feedback.received'"))
    told = [row["message"] for row in asked("doctor", "--json").json["findings"] if row["check"] == "log"]
    assert "flywheel topics apply" in told[0]
    dry = asked("topics", "apply", "--dry-run", "--json").json
    assert [(row["topic"], row["setting"], row["wanted"]) for row in dry["changed"]] == [
        ("feedback.received", "retention", "7 days")
    ]
    assert asked("topics", "apply").out.startswith("set feedback.received retention: 1 hours → 7 days")
    assert asked("topics", "apply", "--json").json == {"dry_run": False, "created": [], "changed": [], "left": []}


def test_mails_whose_fate_nobody_knows_are_counted_by_the_doctor_and_listed(up: Deployment, asked: Flywheel) -> None:
    def told() -> tuple[str, str]:
        findings = asked("doctor", "--json").json["findings"]
        return next((row["status"], row["message"]) for row in findings if row["check"] == "unknown mails")

    assert told() == ("ok", "none")
    lost = "DELETE FROM closer.notification WHERE status = 'unknown'"
    asyncio.run(
        _sql(
            up,
            "INSERT INTO closer.notification (case_id, kind, generation, workspace, channel, language, status, reason,"
            " created_at) VALUES (gen_random_uuid(), 'heard', 1, 'default', 'email', 'en', 'unknown', 'no answer', now())",
        )
    )
    status, message = told()
    assert (status, message.partition(" ")[0]) == ("warning", "1")
    command = message.partition("`")[2].partition("`")[0].split()
    (row,) = asked(*command[1:], "--json").json["items"]
    assert (row["status"], row["reason"]) == ("unknown", "no answer")
    assert row["case_id"] in asked(*command[1:]).out
    asyncio.run(_sql(up, lost))


async def _sql(up: Deployment, statement: str) -> None:
    connection = await asyncpg.connect(json.loads((up.data_dir / "running.json").read_text())["database_url"])
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def test_a_webhooks_dead_letter_is_left_for_its_tool(up: Deployment, asked: Flywheel) -> None:
    config = Path(up.env["FLYWHEEL_CONFIG"])
    edit(config, "sources.yaml", "sources: []", "sources: [{name: open, connector: standard, verify: none}]")
    with up.http("ingest") as ingest:
        up.until(lambda: ingest.post("/v1/webhooks/open", content=b"{oops").status_code == 200)
    letter = up.until(lambda: [row for row in _letters(asked) if row["service"] == "ingest"])[0]
    everything = asked("dlq", "redrive", "--dry-run", "--json").json
    assert letter["id"] in everything["not_redriven"]
    assert letter["id"] not in everything["redriven"]
    named = asked("dlq", "redrive", letter["id"])
    assert (named.code, named.err) == (1, "")
    assert "its tool" in named.out


def _letters(asked: Flywheel) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked("dlq", "list", "--json").json["items"]
    return found


async def _poison(up: Deployment, value: bytes) -> None:
    database_url = json.loads((up.data_dir / "running.json").read_text())["database_url"]
    log = await open_log(read_settings({}, data_dir=up.data_dir).with_database(database_url))
    producer = await log.producer()
    await producer.append([Message("feedback.received", b"key", value, [])])
    await producer.close()
    await log.close()


def test_a_key_is_shown_once_works_and_is_taken_back_at_once(up: Deployment, asked: Flywheel) -> None:
    made = asked("keys", "create", "--scope", "cases:read", "--json").json
    assert made["key"] not in asked("keys", "list", "--json").out
    assert asked("cases", "--json", FLYWHEEL_API_KEY=made["key"]).json["items"] is not None
    refused = asked("send", "--text", "x", FLYWHEEL_API_KEY=made["key"])
    assert (refused.code, refused.out) == (1, "")
    assert "feedback:write" in refused.err
    assert asked("keys", "revoke", made["id"]).code == 0
    up.until(lambda: asked("cases", FLYWHEEL_API_KEY=made["key"]).code == 1)
