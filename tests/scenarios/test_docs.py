"""Every command of the pages is run, in order, in a folder of its own, or is listed with why it cannot be; and their YAML
is taken up as it stands. docs/rules.md and docs/clocks.md need nothing but the command line, README.md and the pages for
those who run it one `flywheel up`."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xlsxwriter
import yaml

from services.cli import run
from shared.config import STARTER, read_dir
from tests.deployment import Deployment
from tests.scenarios.test_cli import _poison

DOCS = Path(__file__).resolve().parents[2] / "docs"
FLYWHEEL = [sys.executable, "-c", "from services.cli import main; main()"]


def blocks(page: str, kind: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def test_a_rule_is_written_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init, prove, compare = blocks("rules.md", "sh")
    rule, change, pressing, lexicons, holding, known_as = blocks("rules.md", "yaml")
    monkeypatch.chdir(tmp_path)
    _typed(init, tmp_path)
    file = tmp_path / "config" / "routing.yaml"
    text = file.read_text(encoding="utf-8")
    place = text.index("  - name: billing")
    indented = "\n".join(f"  {line}" for line in rule.splitlines())
    file.write_text(f"{text[:place]}{indented}\n\n{text[place:]}", encoding="utf-8")
    said = _typed(prove, tmp_path)
    assert "product" in said
    said = _typed(compare, tmp_path)
    assert "+ wants-invoices-by-mail: all of these hold: (" in said
    for whole in (change, _listed(pressing), lexicons, _listed(holding)):
        file.write_text(whole, encoding="utf-8")
        assert run(["rules", "check", "--config", str(tmp_path / "config")]) == 0
    (tmp_path / "config" / "teams.yaml").write_text(f"default_team: billing\n{known_as}", encoding="utf-8")
    file.write_text("rules: []", encoding="utf-8")
    assert run(["rules", "check", "--config", str(tmp_path / "config")]) == 0


def _listed(rules: str) -> str:
    return "\n".join(["rules:", *(f"  {line}" for line in rules.splitlines())])


def test_the_signals_of_the_page_are_taken_up(tmp_path: Path) -> None:
    _typed("flywheel init config", tmp_path)
    (signals,) = blocks("signals.md", "yaml")
    (tmp_path / "config" / "routing.yaml").write_text(signals, encoding="utf-8")
    (check,) = blocks("signals.md", "sh")
    _typed(check, tmp_path)


def test_the_clocks_end_when_the_page_says(tmp_path: Path) -> None:
    (explain,) = blocks("clocks.md", "sh")
    said = _typed(explain, tmp_path)
    assert re.search(r"acknowledge +8h +Mon 2026-11-30 16:00 +Sat 2026-11-28 00:00", said), said


def test_the_yaml_of_the_clocks_page_is_taken_up(tmp_path: Path) -> None:
    policies, hours = blocks("clocks.md", "yaml")
    files = read_dir(STARTER)
    teams = yaml.safe_load(files["teams.yaml"])
    teams["teams"][0]["hours"] = yaml.safe_load(hours)["teams"][0]["hours"]
    for name, text in {**files, "sla.yaml": policies, "teams.yaml": yaml.safe_dump(teams)}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert run(["rules", "check", "--config", str(tmp_path)]) == 0


def _typed(block: str, folder: Path) -> str:
    """What its lines print, one after the other; each must succeed."""
    said = ""
    for line in filter(None, map(str.strip, block.splitlines())):
        words = shlex.split(line)
        assert words[0] == "flywheel", line
        done = subprocess.run(
            [*FLYWHEEL, *words[1:]], cwd=folder, check=False, capture_output=True, text=True, timeout=60, env=_env()
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said += done.stdout
    return said


def _env() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    return {**kept, "PYTHONPATH": str(DOCS.parent)}


# ── every command of the pages for those who run it ──

PAGES = (
    "README.md",
    "docs/operate.md",
    "docs/files.md",
    "docs/accounts.md",
    "docs/initiatives.md",
    "docs/subscribe.md",
    "docs/privacy.md",
)
NOT_HERE: dict[str, str] = {
    r"make up\b": "builds a machine's own .venv, and is `flywheel up`, which all of this runs against",
    r"make test\b": "is what runs this",
    r"export DATABASE_URL=postgresql://…": "what each is set to is the operator's; tests/deployment.py sets them",
    r"python -m services\.router & ": "four for good; tests/scenarios/test_the_loop_turns.py starts these",
    r"docker compose up\b": "a Docker engine's; tests/deploy/test_compose.py starts what it starts",
    r"docker compose (stop|start)\b": "a Docker engine's; of containers that are not here",
    r"docker run --rm -v feedback-flywheel_kafka": "a Docker engine's, of a volume that is not here",
    r"docker compose exec -T postgres ": "tests/scenarios/test_restore.py types these lines on servers of its own",
    r"kafka-console-consumer\.sh": "tests/scenarios/test_a_team_subscribes.py runs it, where there is a broker",
}
"""How a command begins that is not run here → why. What is no longer on a page has to go from here too."""
LISTENS = re.compile(r"flywheel tail|curl -N")
"""Never ends by itself: it has to show what comes in."""
CODES = {"flywheel import reviews-2025.xlsx": 1, "flywheel import reviews-2025.xlsx --dry-run": 1}
"""Rows are refused, which docs/files.md says the exit code tells."""
SHIMS = {
    "flywheel": f'exec {shlex.join(FLYWHEEL)} "$@"',
    "docker": '[ "$1 $2" = "compose exec" ] || exit 125\nshift 2\n[ "$1" = console ] || exit 125\nshift\nexec "$@"',
}
"""The image's `flywheel` is this checkout's, and the container where it runs is here."""


def commands(page: str) -> list[str]:
    """Of its `sh` blocks, a whole command each, without what is said behind it."""
    found: list[str] = []
    for block in blocks(f"../{page}", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            told = re.sub(r"(^|\s+)# .*", "", line).strip()
            found += [part for part in re.split(r"\s+&&\s+", told) if part]
    return found


def excluded(command: str) -> bool:
    return any(re.match(how, command) for how in NOT_HERE)


class Typing:
    """Somebody who types what the pages say, beside one `flywheel up`, in a folder of their own."""

    def __init__(self, up: Deployment, folder: Path) -> None:
        self.up, self.folder = up, folder
        tools = folder / "tools"
        tools.mkdir()
        for name, script in SHIMS.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (tools / name).chmod(0o755)
        shutil.copy(DOCS.parent / ".env.example", folder)
        self._env = {
            **up.env,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(DOCS.parent),
            "FLYWHEEL_API_KEY": up.api_key,
        }
        self._ids = {"feedback": "", "case": "", "letter": ""}

    def types(self, page: str, command: str) -> str:
        """What it prints; it must succeed, or be refused as the page says."""
        self._prepares(command)
        line = self._filled(page, command)
        if LISTENS.match(command):
            return self._listens(line)
        code = CODES.get(command, 0)

        def done() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["/bin/sh", "-c", line],
                cwd=self.folder,
                env=self._env,
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )

        said = done()
        if command.startswith("flywheel trace"):  # what was accepted a moment ago is not seen yet
            said = self.up.until(lambda: (again := done()).returncode == code and again)
        assert said.returncode == code, f"{page}: {line}\n{said.stdout}\n{said.stderr}"
        assert "Traceback" not in said.stderr, said.stderr
        if command.startswith("curl -X POST"):
            self._ids["feedback"] = json.loads(said.stdout)["id"]
        return said.stdout

    def _filled(self, page: str, command: str) -> str:
        """What a page leaves to whoever reads it."""
        line = command.replace("http://127.0.0.1:8080", self.up.urls["ingest"])
        line = line.replace("Bearer …", f"Bearer {self.up.api_key}")
        line = re.sub(r"\bCASE\b", self._ids["case"], line)
        line = re.sub(r"\bID\b", self._ids["letter" if "dlq" in command else "feedback"], line)
        assert "…" not in line, f"{page} leaves something open that nobody here knows: {line}"
        return line

    def _prepares(self, command: str) -> None:
        """What has to be there before: a case, a dead letter, last year's spreadsheet, the mended rows."""
        if re.search(r"\bCASE\b", command) and not self._ids["case"]:
            self.say()
            cases = self.up.until(lambda: json.loads(self._asked("cases", "--team", "product"))["items"])
            self._ids["case"] = cases[0]["id"]
        if "dlq" in command and not self._ids["letter"]:
            asyncio.run(_poison(self.up, b"not json"))
            self._ids["letter"] = self.up.until(lambda: json.loads(self._asked("dlq", "list"))["items"])[0]["id"]
        if command == "flywheel import reviews-2025.xlsx --dry-run":
            book = xlsxwriter.Workbook(str(self.folder / "reviews-2025.xlsx"))
            sheet = book.add_worksheet()
            rows = [
                ("id", "comment", "email"),
                ("R1", "闪退", "li@example.com"),
                ("R2", "too slow", f"{'x' * 400}@example.com"),
            ]
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
            book.close()
        if command == "flywheel accounts import accounts.csv --dry-run":
            page = (DOCS / "accounts.md").read_text(encoding="utf-8")
            (self.folder / "accounts.csv").write_text(page.partition("```\n")[2].partition("```")[0], encoding="utf-8")
        if command == "flywheel import reviews-2025.refused.csv":
            refused = self.folder / "reviews-2025.refused.csv"
            text = refused.read_text("utf-8-sig")
            assert "x" * 400 in text
            refused.write_text(text.replace("x" * 400, "wang"), encoding="utf-8-sig")

    def say(self) -> None:
        with self.up.http("ingest") as ingest:
            body = {
                "source": "app-store",
                "text": "希望增加深色模式",
                "customer": {"id": "c-2", "email": "a@example.cn"},
            }
            assert ingest.post("/v1/feedback", json=body).status_code == 202

    def _asked(self, *words: str) -> str:
        return self.up.flywheel(*words, "--json").stdout

    def _listens(self, line: str) -> str:
        """Until it has shown something that was said while it listened, or before."""
        with subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as listening:
            assert listening.stdout is not None
            shown = b""
            try:
                os.set_blocking(listening.stdout.fileno(), False)

                def seen() -> bool:
                    nonlocal shown
                    self.say()
                    assert listening.poll() is None, f"{line} ended: {shown!r}"
                    shown += listening.stdout.read() or b""  # type: ignore[union-attr]
                    return "深色模式" in shown.decode("utf-8", "replace")

                self.up.until(seen)
            finally:
                os.killpg(listening.pid, signal.SIGKILL)
        return shown.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def typing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typing]:
    folder = tmp_path_factory.mktemp("typing")
    with Deployment.all_in_one(folder / "up", None, "--no-sample") as up:
        yield Typing(up, folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_is_run(typing: Typing, page: str) -> None:
    run_here = [command for command in commands(page) if not excluded(command)]
    assert run_here, f"nothing of {page} is run"
    for command in run_here:
        typing.types(page, command)


def test_what_is_not_run_is_on_a_page_and_says_why() -> None:
    everything = [command for page in PAGES for command in commands(page)]
    for how, why in NOT_HERE.items():
        assert why
        assert any(re.match(how, command) for command in everything), f"no page has it any more: {how}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_in_blocks_that_are_looked_for(page: str) -> None:
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    kinds = re.findall(r"^ *```(.*)$", text, re.MULTILINE)[::2]
    assert set(kinds) <= {"", "sh", "yaml", "python", "json"}, "another name for a shell is not run"


def test_the_secret_of_the_page_is_one_that_a_webhook_takes(tmp_path: Path) -> None:
    (line,) = [command for command in commands("docs/subscribe.md") if command.startswith("export PRODUCT_")]
    told = subprocess.run(
        ["/bin/sh", "-c", f'{line}; printf %s "$PRODUCT_WEBHOOK_SECRET"'], check=True, capture_output=True, text=True
    ).stdout
    for number, yaml_of_the_page in enumerate(blocks("subscribe.md", "yaml")):
        found = _subscribed(tmp_path / str(number), yaml_of_the_page, told)
        assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [(0, "webhook,", "webhok,"), (1, "slack,", "slak,"), (2, "email,", "emial,"), (3, "accounts:", "acounts:")],
)
def test_the_yaml_of_the_page_would_be_refused_if_it_were_wrong(
    tmp_path: Path, number: int, right: str, wrong: str
) -> None:
    """So that taking it up says something."""
    text = blocks("subscribe.md", "yaml")[number]
    assert right in text
    found = _subscribed(
        tmp_path / "config", text.replace(right, wrong), "whsec_c2VjcmV0IG9mIDMyIGJ5dGVzLCBsb25nIGVub3VnaA=="
    )
    assert found.returncode == 2
    assert wrong.rstrip(",:") in found.stderr


def _subscribed(folder: Path, team: str, secret: str) -> subprocess.CompletedProcess[str]:
    """`flywheel rules check` of the starter with the page's team in the place of its own."""
    folder.mkdir()
    files = read_dir(STARTER)
    teams = yaml.safe_load(files["teams.yaml"])
    (ours,) = yaml.safe_load(team)
    teams["teams"] = [ours if one["name"] == ours["name"] else one for one in teams["teams"]]
    for name, text in {**files, "teams.yaml": yaml.safe_dump(teams)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    env = {
        **_env(),
        "PRODUCT_WEBHOOK_SECRET": secret,
        "SLACK_BOT_TOKEN": "xoxb-1",
        "SLACK_SIGNING_SECRET": "0123456789abcdef0123456789abcdef",
    }
    return subprocess.run(
        [*FLYWHEEL, "rules", "check", "--config", str(folder)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )
