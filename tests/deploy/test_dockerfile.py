"""deploy/Dockerfile, its steps done again in a clean folder: what would stand in the image runs, and can write nothing.

No Docker engine is needed. `FROM` is this machine's Python of the same release, `pip` is uv (which has in its cache what
`make setup` brought), and the image's root is a folder; every COPY and RUN is taken from the file as it stands.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deployment import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
IGNORED = REPOSITORY / ".dockerignore"
PLACES = ("/venv", "/app", "/build", "/data")

PIP = """#!{python}
import os, sys
# pip --python X install … → uv pip install --python X …
flags = ["--no-cache-dir", "--disable-pip-version-check"]
_, venv, verb, *rest = (word for word in sys.argv[1:] if word not in flags)
os.execv({uv!r}, [{uv!r}, "pip", verb, "--quiet", "--python", venv, *rest])
"""


@dataclass(frozen=True)
class Step:
    verb: str
    rest: str


def stages() -> list[list[Step]]:
    """Of the file, each begun by its FROM."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        verb, _, rest = line.partition(" ")
        if verb == "FROM":
            found.append([])
        found[-1].append(Step(verb, rest.strip()))
    return found


def said(verb: str, stage: int = -1) -> list[str]:
    return [step.rest for step in stages()[stage] if step.verb == verb]


def data_dir() -> str:
    """Where what runs from it keeps what it keeps."""
    given = (pair.partition("=") for rest in said("ENV") for pair in shlex.split(rest))
    return {name: value for name, _, value in given}["FLYWHEEL_DATA_DIR"]


def test_it_is_small_pinned_and_nobodys() -> None:
    froms = [stage[0].rest.split(" AS ")[0] for stage in stages()]
    assert len(froms) == 2, "what builds is left behind"
    assert set(froms) == {"python:3.11-slim-bookworm"}
    assert said("USER") == ["10001:10001"], "a number, so that whoever runs it can see that it is not root"
    assert all("--from=build" in rest for rest in said("COPY")), "nothing but what was built"
    assert not said("RUN"), "nothing is installed into what is shipped"
    assert any("org.opencontainers.image.licenses" in rest for rest in said("LABEL"))
    assert "--require-hashes" in " ".join(said("RUN", 0))
    assert not re.search(r"SECRET|PASSWORD|TOKEN|\bARG\b", DOCKERFILE.read_text())


def test_the_data_folder_is_its_users_and_outlives_what_is_in_memory() -> None:
    """A new volume takes over whose the folder is that the image has in its place."""
    assert data_dir() == "/data"
    user = said("USER")[0]
    assert f"--from=build --chown={user} {data_dir()} {data_dir()}" in said("COPY")


def test_the_builder_is_sent_what_is_copied_and_no_secret() -> None:
    ignored = IGNORED.read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*", "what is not named is not sent"
    copied = [source for rest in said("COPY", 0) for source in rest.split()[:-1]]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert any(Path(source).is_relative_to(place) for place in sent), source


class Image:
    """The image's root, as a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tools = root / "tools"

    def build(self) -> None:
        self._tools.mkdir()
        python, uv = self._tools / "python", shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        python.symlink_to(Path(sys.base_prefix, "bin", "python3"))
        pip = self._tools / "pip"
        pip.write_text(PIP.format(python=sys.executable, uv=uv))
        pip.chmod(0o755)
        for step in stages()[0]:
            if step.verb == "COPY":
                self._copy(step.rest)
            elif step.verb == "RUN":
                self._run(step.rest)
            else:
                assert step.verb in {"FROM"}, f"a step that this replay does not know: {step}"

    def here(self, text: str) -> str:
        """Paths of the image → paths of this machine."""
        return re.sub(rf"(?<![\w/.-])({'|'.join(PLACES)})(?![\w-])", lambda found: str(self.root) + found[1], text)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        into = Path(self.here(target))
        for source in sources:
            origin = REPOSITORY / source
            if origin.is_dir():
                shutil.copytree(origin, into, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                assert target.endswith("/")
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, into)

    def _run(self, command: str) -> None:
        env = {**os.environ, "PATH": f"{self._tools}:/usr/bin:/bin"}  # where packages come from, the machine knows
        done = subprocess.run(
            ["/bin/sh", "-c", self.here(command)], env=env, check=False, capture_output=True, text=True, timeout=170
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def run(self, *command: str, tmp: Path, **given: str) -> "subprocess.CompletedProcess[str]":
        """As a container of it does: the environment, the folder and the rights that it has. Who is to reach this machine's
        Postgres, which another user's folder hides, keeps root's."""
        pairs = (pair.partition("=") for rest in said("ENV") for pair in shlex.split(self.here(rest)))
        env = {name: value for name, _, value in pairs}
        env |= {"FLYWHEEL_DATA_DIR": str(tmp / "flywheel"), "TMPDIR": str(tmp), **given}
        env["PYTHONPYCACHEPREFIX"] = str(self.root / "compiled")  # uv leaves to the first run what pip does at once
        program = shutil.which(command[0], path=env["PATH"]) or command[0]
        return subprocess.run(
            [*([] if "DATABASE_URL" in given else unprivileged()), program, *command[1:]],
            env=env,
            cwd=self.here(said("WORKDIR")[0]),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )


def unprivileged() -> list[str]:
    """root may write whatever it likes, unless it lays that right down."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("as root only setpriv (util-linux) can try a read-only tree")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the image is of Python 3.11, and its steps are done again by that one only")
    root = tmp_path_factory.mktemp("image")
    made = Image(root)
    made.build()
    for place in (root / "app", root / "venv"):
        subprocess.run(["chmod", "-R", "a-w", str(place)], check=True)
    yield made
    for place in (root / "app", root / "venv"):
        subprocess.run(["chmod", "-R", "u+w", str(place)], check=True)


def test_flywheel_is_on_the_path(image: Image, tmp_path: Path) -> None:
    default = json.loads(said("CMD")[0])
    done = image.run(*default, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage: flywheel" in done.stdout
    assert image.run("flywheel", "rules", "check", tmp=tmp_path).returncode == 0, "it finds its own configuration"


def test_the_page_of_sources_tells_how_to_connect_each_tool(image: Image, tmp_path: Path) -> None:
    """It reads them from the disk, and would show none without a word if they were left behind."""
    listed = "from services.console.pages.sources import guides; print(*(guide.path for guide in guides()), sep='\\n')"
    done = image.run("python", "-c", listed, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted((REPOSITORY / "docs" / "connect").glob("*.md"))
    assert done.stdout.split() == [f"docs/connect/{page.name}" for page in written] != []


@pytest.mark.parametrize("service", ["ingest", "router", "closer", "console"])
def test_each_service_starts_from_it(image: Image, tmp_path: Path, service: str) -> None:
    """As far as to ask for its database: what it imports is there."""
    done = image.run("python", "-m", f"services.{service}", tmp=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "DATABASE_URL is not set" in done.stderr


def test_the_schema_is_laid_out_from_it(image: Image, tmp_path: Path, empty_database_url: str) -> None:
    done = image.run("flywheel", "db", "migrate", tmp=tmp_path, DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stderr


def test_everything_is_compiled_and_nothing_of_it_can_be_written(image: Image, tmp_path: Path) -> None:
    for source in (image.root / "app").rglob("*.py"):
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
    tried = image.run(
        "python", "-c", "import services.cli, pathlib; pathlib.Path(services.cli.__file__).write_text('')", tmp=tmp_path
    )
    assert "PermissionError" in tried.stderr, tried.stderr
    assert not list((image.root / "venv" / "bin").glob("pip*")), "no builder's tool is left in it"
