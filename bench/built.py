"""Peers that tools build which not everybody has: Bento by Go, Kafka Streams by Maven and `javac`. Into `.cache`, once for
what they are built of, complete or not there at all.

Who has no such tool, or no registry behind it, measures without that peer, and a line of the part says why.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from bench.options import Options
from bench.processes import REPOSITORY
from bench.table import Part

CACHE = REPOSITORY / ".cache"
PEERS = REPOSITORY / "bench" / "peers"
PATIENCE_S = 900.0
"""Bento is some 300 modules, fetched and compiled."""


class Unavailable(Exception):
    """That peer cannot be built here; the text says why, in one line."""


def bento(part: Part, options: Options) -> Path | None:
    """The program, or None and a line that says why not."""
    folder = PEERS / "bento"

    def build(into: Path) -> None:
        _run("go", "build", "-C", str(folder), "-trimpath", "-o", str(into / "bento"), ".")

    home = _built(part, options, "Bento", [folder / name for name in ("go.mod", "go.sum", "main.go")], build)
    return home / "bento" if home else None


def streams(part: Part, options: Options) -> str | None:
    """The class path of `Router`, or None and a line that says why not."""
    pom, source = (PEERS / "streams" / name for name in ("pom.xml", "Router.java"))

    def build(into: Path) -> None:
        _run("mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={into}/jars")
        _run("javac", "-cp", f"{into}/jars/*", "-d", f"{into}/classes", str(source))

    home = _built(part, options, "Kafka Streams", [pom, source], build)
    return f"{home}/classes:{home}/jars/*" if home else None


def _built(
    part: Part, options: Options, name: str, sources: Sequence[Path], build: Callable[[Path], None]
) -> Path | None:
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    home = CACHE / f"{name.lower().replace(' ', '-')}-{digest}"
    if home.exists():
        return home
    options.progress(f"building {name} into {home.relative_to(CACHE.parent)}")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
        made = Path(unfinished) / "made"
        made.mkdir()
        try:
            build(made)
        except Unavailable as reason:
            part.notes.append(f"{name} is left out: {reason}")
            options.progress(part.notes[-1])
            return None
        made.rename(home)
    return home


def _run(tool: str, *arguments: str) -> None:
    """Raises `Unavailable`: the tool is not there, does not end, or ends badly."""
    if shutil.which(tool) is None:
        raise Unavailable(f"no {tool} on the path")
    try:
        done = subprocess.run(
            [tool, *arguments], check=False, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{tool} did not end within {PATIENCE_S:.0f} s") from None
    if done.returncode:
        raise Unavailable(f"{tool} failed: {_reason(done.stdout + done.stderr)}")


def _reason(said: str) -> str:
    """Maven's first error, after which it explains how to read errors; what anybody else said last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line.partition("[ERROR] ")[2] for line in lines if "[ERROR] " in line]
    return [*errors, lines[-1]][0][:300]
