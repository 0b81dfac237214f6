"""The command line as a person meets it: exit code 0, 1 or 2, data alone on stdout with `--json`, and never a stack
trace for a mistake. What needs no service is asked first, in this process; then one `flywheel up` is asked."""

import asyncio
import base64
import json
import os
import shutil
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
    (["rules", "diff", "nowhere"], "Missing argument"),
    (["rules", "diff", "nowhere", "there"], "flywheel init"),
    (["rules", "diff", "0123456789ab", "there"], "no database"),
    (["rules", "backtest", "--since", "yesterday"], "90m, 12h, 7d"),
    (["rules", "backtest", "--samples", "-1"], "--samples"),
    (["rules", "backtest"], "no database"),
    (["rules", "history"], "no database"),
    (["rules", "rollback"], "no database"),
    (["rules", "shadow"], "no database"),
    (["rules", "shadow", "--stop", "--adopt"], "give one of FILE, --stop and --adopt"),
    (["rules", "shadow", "--reason", "x"], "--reason and --author belong to FILE or --adopt"),
    (["rules", "shadow", "nowhere.yaml"], "nowhere.yaml: No such file"),
    (["sla", "explain", "--team", "nobody", "--at", "2026-01-01T00:00:00Z"], "product, support, sales"),
    (["sla", "explain", "--team", "support", "--at", "tomorrow"], "2026-10-01T09:00:00+08:00"),
    (["sla", "explain", "--team", "support", "--at", "2026-01-01T00:00:00"], "zone"),
    (["sla", "explain", "--team", "support", "--at", "2026-01-01T00:00:00Z", "--priority", "p1"], "urgent"),
    (["import"], "Missing argument"),
    (["import", "nowhere.csv", "--dry-run"], "nowhere.csv: No such file"),
    (["export", "customers"], "cases or feedback"),
    (["export", "cases", "--format", "pdf"], "csv, jsonl, xlsx"),
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
    assert set(checked.json) == {"version", "rules", "examples", "remarks"}
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
    ("routing.yaml", "then: [{assign: product}, {tag: [feature-request]}, {prioritise: normal}]", "then: [{assign: produkt}, {tag: [feature-request]}, {prioritise: normal}]", 'did you mean "product"?'),
    ("routing.yaml", "then: [{assign: product}, {tag: [feature-request]}, {prioritise: normal}]", "then: [{asign: product}, {tag: [feature-request]}, {prioritise: normal}]", 'did you mean "assign"?'),
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
    ("routing.yaml", "then: [{assign: product}, {tag: [feature-request]}, {prioritise: normal}]", "then: [{assign: \"${NOT_SET}\"}, {tag: [feature-request]}, {prioritise: normal}]", "NOT_SET is not set"),
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
        config,
        "routing.yaml",
        "then: [{assign: product}, {tag: [feature-request]}, {prioritise: normal}]",
        'then: [{assign: "${OWNER}"}, {tag: [feature-request]}, {prioritise: normal}]',
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
        ("support", "und", "default"),
    ]
    wanted = {"team", "tags", "kind", "sentiment", "priority", "language", "confidence", "decided_by", "reasons"}
    assert all(wanted <= set(decision) for decision in decisions)
    one = flywheel("rules", "explain", "--text", "希望增加深色模式")
    assert 'Rule "wants-a-feature" holds' in one.out


def test_what_is_tried_out_here_is_received_now(flywheel: Flywheel, tmp_path: Path) -> None:
    shutil.copytree(STARTER, tmp_path / "config")
    edit(tmp_path / "config", "routing.yaml", "{prioritise: normal}", '{suppress: {for: 2h, because: "a fair"}}')
    said = flywheel("rules", "explain", "--config", "config", "--text", "希望增加深色模式")
    assert "nobody is troubled by it before 20" in said.out
    assert "a fair" in said.out


def test_what_people_decided_is_learnt_and_asked(flywheel: Flywheel, tmp_path: Path) -> None:
    """Without a word of it in any lexicon; and a line that says nothing that can be read is named."""
    sales = [{"text": f"The hedgehog stall at the fair, day {day}", "team": "sales"} for day in range(25)]
    product = [{"text": f"Beavers gnaw the mast, day {day}", "team": "product", "kind": "bug"} for day in range(25)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*sales, *product])))
    question = ("rules", "explain", "--json", "--text", "hedgehogs at our fair")
    before = flywheel(*question).json
    assert (before["team"], before["decided_by"]) == ("support", "default")
    said = flywheel("learn", "train", "--from", "rows.jsonl", "--json")
    assert (said.code, said.json["rows"], said.json["in_force"]) == (0, 50, True)
    assert said.json["heads"]["team"]["examples"] == 50
    assert said.json["held_back"] >= 5
    assert said.json["macro_f1"]["team"] > said.json["before"]["macro_f1"]["team"]
    after = flywheel(*question).json
    assert (after["team"], after["decided_by"]) == ("sales", "model")
    reason = next(reason for reason in after["reasons"] if reason["code"] == "model.team")
    assert reason["model"] == said.json["version"]
    assert set(reason["words"]) & {"hedgehogs", "fair"}
    first = said.json["version"]
    worse = [row | {"team": ("support", "product")[number % 2]} for number, row in enumerate([*sales, *product])]
    (tmp_path / "worse.jsonl").write_text("\n".join(map(json.dumps, worse)))
    said = flywheel("learn", "train", "--from", "worse.jsonl", "--json")
    assert said.json["in_force"] == (said.json["macro_f1"]["team"] > said.json["before"]["macro_f1"]["team"])
    assert said.json["before"]["version"] == first
    assert flywheel("learn", "promote", said.json["version"][:8], "--json").json == {"in_force": said.json["version"]}
    assert [one["version"] for one in flywheel("learn", "status", "--json").json["models"]] == [
        first,
        said.json["version"],
    ]
    while flywheel("learn", "status", "--json").json["in_force"] != first:
        assert flywheel("learn", "rollback").code == 0
    assert flywheel(*question).json["team"] == "sales"
    assert "the lexicons alone" in flywheel("learn", "rollback").out
    assert flywheel(*question).json == before
    assert flywheel("learn", "rollback").code == 2
    assert flywheel("learn", "promote", "nope").code == 2
    assert flywheel("learn", "promote", first).code == 0
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "team": "sales"}\n{"text": "x", "kind": "wish"}\n')
    said = flywheel("learn", "train", "--from", "rows.jsonl", "--out", "other.model", "--json")
    assert (said.code, "rows.jsonl:2: kind" in said.err, said.json["rows"]) == (1, True, 1)
    named = flywheel(*question, "--model", "other.model").json
    assert said.json["version"] in {reason.get("model") for reason in named["reasons"]}
    assert flywheel("rules", "explain", "--text", "x", "--model", "rows.jsonl").code == 2
    assert flywheel("rules", "explain", "--text", "x", "--model", "nowhere").code == 2
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    assert flywheel("learn", "train", "--from", "rows.jsonl").code == 2


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


def test_explain_says_which_rules_almost_did(flywheel: Flywheel, tmp_path: Path) -> None:
    said = flywheel("rules", "explain", "--text", "The app crashes when I ask for a refund").out
    assert (
        '  almost does-not-work: It holds too because the text says "crash*", but rule "billing" stood before it'
        in said
    )
    row = {"text": "Automatic reply: I am away", "scores": [{"metric": "nps", "value": 9}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    said = flywheel("rules", "explain", "--from", "rows.jsonl").out
    assert "almost automatic-reply: It is short of one condition, channel is " in said
    assert (
        "almost unhappy-score: It is short of one condition, score nps ≤ 6: it is 9. What it would have done: " in said
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "channel": "email"}))
    said = flywheel("rules", "explain", "--from", "rows.jsonl").out
    assert said.startswith("nobody  discarded: an automatic reply\n")
    assert 'Besides, rule "automatic-reply" stood before it and had discarded it already.' in said


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


def test_a_model_that_comes_into_force_judges_without_a_restart(
    asked: Flywheel, up: Deployment, tmp_path: Path
) -> None:
    rows = [{"text": f"The hedgehog stall at the fair, day {day}", "team": "sales"} for day in range(25)]
    rows += [{"text": f"Beavers gnaw the mast, day {day}", "team": "product"} for day in range(25)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def team() -> Any:
        return up.http("router").post("/v1/rules/explain", json={"text": "hedgehogs at our fair"}).json()["team"]

    assert team() == "support"
    assert asked("learn", "train", "--from", "rows.jsonl", "--json").json["in_force"] is True
    up.until(lambda: team() == "sales")
    assert asked("learn", "rollback").code == 0
    up.until(lambda: team() == "support")


def test_open_cases_go_to_whom_the_rules_in_force_give_them_and_back(asked: Flywheel, up: Deployment) -> None:
    folder = Path(up.env["FLYWHEEL_CONFIG"])
    file = folder / "routing.yaml"
    before = file.read_text(encoding="utf-8")
    for number in range(3):
        sent = asked("send", "--text", f"The yak number {number}?", "--customer", f"yak-{number}", "--json").json["id"]
    console = up.http("console")

    def team() -> Any:
        found = console.get(f"/v1/feedback/{sent}/trace")
        return found.status_code == 200 and found.json()["case"] and found.json()["case"]["team"]

    assert up.until(team) == "support"
    rule = "  - {name: yaks, when: {text: {contains: yak}}, then: [{assign: sales}]}\n"
    edit(folder, "routing.yaml", "\nrules:\n", f"\nrules:\n{rule}")

    def dry() -> Any:
        found = asked("rules", "reown", "--since", "1h", "--dry-run", "--samples", "5", "--json").json
        return found if {"rule": "yaks", "count": 3} in found["by_rule"] else None

    try:
        would = up.until(dry)
        assert {"from": "support", "to": "sales", "count": 3} in would["by_team"]
        assert "The yak number 0?" in {one["said"] for one in would["samples"]}
        assert (would["batch"], team()) == (None, "support")
        done = asked("rules", "reown", "--since", "1h", "--json").json
        assert done["moved"] == would["differ"]
        assert team() == "sales"
        told = asked("rules", "reown", "--undo", done["batch"])
        assert f"{done['moved']} went back" in told.out
        assert team() == "support"
        assert asked("rules", "reown", "--undo", "nonsense").code == 2
    finally:  # and in force again, before another test looks
        file.write_text(before, encoding="utf-8")
        rules = up.http("router")
        up.until(lambda: "yaks" not in [one["name"] for one in rules.get("/v1/rules").json()["rules"]])


def test_rules_are_changed_looked_at_and_taken_back(asked: Flywheel, up: Deployment) -> None:
    """A change in the folder, what it would move before and after, and back in one command, while it still stands there."""
    folder = Path(up.env["FLYWHEEL_CONFIG"])
    file = folder / "routing.yaml"
    before = file.read_text(encoding="utf-8")
    history = asked("rules", "history", "--json").json  # others may have changed their files before
    in_force, turns = history[0], len(history)
    sent = asked("send", "--text", "The zebra feature eats my grass", "--external-id", "zebra-1", "--json").json["id"]
    assert asked("send", "--text", "An example of nothing", "--external-id", "zebra-2").code == 0

    rule = "  - {name: zebras, when: {text: {contains: zebra}}, then: [{assign: sales}]}\n"
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    change = "change: {by: li@example.com, why: zebras are sold}\n"
    edit(other, "routing.yaml", "\nrules:\n", f"\n{change}rules:\n{rule}")

    diff = asked("rules", "diff", str(folder), str(other), "--json").json
    assert [one["name"] for one in diff["added"]] == ["zebras"]
    assert (diff["removed"], diff["changed"], diff["moved"]) == ([], [], [])
    assert (
        "+ zebras: the text contains “zebra” → assign to sales" in asked("rules", "diff", str(folder), str(other)).out
    )

    def moved(*arguments: str) -> dict[str, Any]:
        found = asked("rules", "backtest", "--since", "1d", "--config", str(other), "--json", *arguments)
        assert found.code == 0, found.err
        return dict(found.json)

    found = moved()
    assert (found["old"], found["moved"], found["samples"]) == (in_force["version"], 1, [])
    went = asked("rules", "explain", "--text", "The zebra feature eats my grass", "--json").json["team"]
    assert went == "product"  # "feature" leans there
    assert found["by_team"] == [{"from": went, "to": "sales", "count": 1}]
    (sample,) = moved("--samples", "5")["samples"]
    assert (sample["id"], sample["said"]) == (sent, "The zebra feature eats my grass")
    assert asked("rules", "backtest", "--since", "1h").code == 0

    shutil.copyfile(other / "routing.yaml", file)
    up.until(lambda: len(asked("rules", "history", "--json").json) == turns + 1)
    newest, oldest, *_ = asked("rules", "history", "--json").json
    assert (newest["author"], newest["reason"]) == ("li@example.com", "zebras are sold")
    assert newest["rules"] == {"added": 1, "removed": 0, "changed": 0, "moved": 0, "lexicons": 0}
    assert oldest["version"] == in_force["version"]

    back = asked("rules", "rollback", "--reason", "they are not", "--author", "wang", "--json").json
    assert (back["rolled_back_to"], back["version"]) == (in_force["version"], in_force["version"])
    up.until(lambda: asked("rules", "explain", "--text", "a zebra", "--json").json["team"] == "support")
    again = asked("rules", "rollback", in_force["version"])
    assert (again.code, "in force already" in again.err) == (2, True)
    assert "there never was a version 'ffffffffffff'" in asked("rules", "rollback", "ffffffffffff").err

    # The folder still holds those rules: its other files are taken up, and they are not.
    with (folder / "teams.yaml").open("a", encoding="utf-8") as teams:
        teams.write("\n# touched\n")
    up.until(lambda: len(asked("rules", "history", "--json").json) == turns + 3)
    assert asked("rules", "explain", "--text", "a zebra", "--json").json["team"] == "support"
    up.procs["all"].terminate()
    up.procs["all"].start()
    up.wait_ready()
    assert asked("rules", "explain", "--text", "a zebra", "--json").json["team"] == "support"
    assert len(asked("rules", "history", "--json").json) == turns + 3
    file.write_text(before, encoding="utf-8")  # for whoever comes next
    assert [row["author"] for row in asked("rules", "history", "--json").json][1:3] == ["wang", "li@example.com"]


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
    told = asked("dlq", "redrive", "--dry-run").out
    assert told == f"would send {letter['id']} to feedback.received\n"
    assert asked("dlq", "redrive", letter["id"]).out == f"sent {letter['id']}\n"
    again = up.until(lambda: len(found := _letters(asked)) == 2 and found)
    assert sorted((row["attempts"], row["redrives"]) for row in again) == [(1, 0), (2, 1)]
    done = "SELECT person, action, object FROM published.audit WHERE action LIKE 'dead-letter%'"
    assert [tuple(row) for row in asyncio.run(_sql(up, done))] == [
        ("operator@localhost", "dead-letter.redriven", letter["id"])
    ]


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


async def _sql(up: Deployment, statement: str) -> list[Any]:
    connection = await asyncpg.connect(json.loads((up.data_dir / "running.json").read_text())["database_url"])
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


def test_a_webhooks_dead_letter_goes_on_once_its_source_can_read_it(up: Deployment, asked: Flywheel) -> None:
    config = Path(up.env["FLYWHEEL_CONFIG"])
    edit(config, "sources.yaml", "sources: []", "sources: [{name: open, connector: zendesk, verify: none}]")
    body = json.dumps({"text": "验证码收不到"}).encode()
    with up.http("ingest") as ingest:
        up.until(lambda: ingest.post("/v1/webhooks/open", content=body).status_code == 200)
    letter = up.until(lambda: [row for row in _letters(asked) if row["service"] == "ingest"])[0]
    everything = asked("dlq", "redrive", "--dry-run", "--json").json
    assert letter["id"] in everything["not_redriven"]
    assert letter["id"] not in everything["redriven"]
    named = asked("dlq", "redrive", letter["id"])
    assert (named.code, named.err) == (1, "")
    assert "still cannot be read" in named.out

    edit(config, "sources.yaml", "{name: open, connector: zendesk", "{name: open, connector: standard")
    told = f"would send {letter['id']} to feedback.received\n"
    up.until(lambda: asked("dlq", "redrive", "--dry-run", letter["id"]).out == told)
    before = {row["id"] for row in asked("cases", "--json").json["items"]}
    sent = asked("dlq", "redrive", letter["id"])
    assert (sent.code, sent.out) == (0, f"sent {letter['id']}\n")
    up.until(lambda: {row["id"] for row in asked("cases", "--json").json["items"]} - before)


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


def test_whose_export_a_file_is(flywheel: Flywheel, tmp_path: Path) -> None:
    path = tmp_path / "delighted.csv"
    path.write_text("ID,Score,Comment,Survey Type,Delighted Source\n71,9,Smooth all the way,nps,Email\n")
    shown = flywheel("import", str(path), "--dry-run")
    assert shown.code == 0
    assert "tool       Delighted  (its columns; --as none reads it as any other file)" in shown.out
    assert "as the tool calls it" in shown.out
    facts = flywheel("import", str(path), "--dry-run", "--as", "none", "--json").json["facts"]
    assert "tool" not in {fact["what"] for fact in facts}
    wrong = flywheel("import", str(path), "--dry-run", "--as", "zendesk")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--as zendesk: its columns are not those of Zendesk" in wrong.err
