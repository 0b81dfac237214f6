"""What people decided: four YAML files, read whole or refused whole.

`document`: YAML with a line and a column for every value. `${ENV}` is filled in where a file is read for its meaning,
by each process from its own environment: one that never reads a file needs none of its variables. `teams`: teams.yaml, which more than one service reads.
`store`: the version in force, in Postgres, the same for every process. What the other files mean is their own
service's business: ingest reads sources.yaml, the router routing.yaml, the closer sla.yaml. `proof`: asks all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from shared.config.document import ConfigError, Document, Issue, parse

FILES = ("sources.yaml", "teams.yaml", "routing.yaml", "sla.yaml")
RULES = "routing.yaml"
STARTER = Path(__file__).resolve().parents[2] / "deploy" / "config"
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

__all__ = [
    "FILES",
    "RULES",
    "STARTER",
    "Config",
    "ConfigError",
    "Document",
    "Issue",
    "config_of",
    "read_dir",
    "version_of",
]


@dataclass(frozen=True, slots=True)
class Config:
    """One version of all files, and the environment that this process reads them with."""

    version: str
    files: Mapping[str, str]
    written: Mapping[str, Document]
    """As they stand, `${ENV}` unfilled: to be shown, never to be worked by."""
    env: Mapping[str, str]
    is_elsewhere: bool = False
    _read: dict[tuple[str, str | None], Document] = field(default_factory=dict, repr=False, compare=False)

    def document(self, file: str, *, but: str | None = None) -> Document:
        """That file, to be worked by. Raises `ConfigError` naming each variable that is not set, where it stands.

        `but`: a key under which it is another service's, whose variables may be set there alone."""
        if "${" not in self.files[file]:
            return self.written[file]
        found = self._read.get((file, but))
        if found is None:
            found = parse(file, self.files[file], self.env, partly=self.is_elsewhere, but=but)
            self._read[file, but] = found
        return found

    def elsewhere(self) -> "Config":
        """The same, to be judged in the stead of a service that runs elsewhere: its variables may be set there alone, so
        a value that holds one of them is left to it (`Issue.unsure`)."""
        return replace(self, is_elsewhere=True, _read={})

    def partly(self, file: str) -> Document:
        """That file as far as this process knows its variables: of another service's file, the part that concerns us."""
        return parse(file, self.files[file], self.env, partly=True) if "${" in self.files[file] else self.written[file]


def read_dir(directory: Path) -> dict[str, str]:
    """The four files' texts. Raises `ConfigError` naming each that is missing or is not UTF-8."""
    files, issues = {}, []
    for name in FILES:
        try:
            files[name] = (directory / name).read_bytes().decode("utf-8-sig")
        except OSError as error:
            issues.append(
                Issue(
                    str(directory / name),
                    0,
                    0,
                    f"cannot be read: {error.strerror}. `flywheel init DIR` writes a starter",
                )
            )
        except UnicodeDecodeError as error:
            issues.append(Issue(name, 0, 0, f"is not UTF-8 (byte {error.start}): save it as UTF-8"))
    if issues:
        raise ConfigError(issues)
    return files


def config_of(files: Mapping[str, str], env: Mapping[str, str] = NO_VARIABLES) -> Config:
    """Parse all four. The version is a hash of their content. Raises `ConfigError` with every issue found but that a
    variable is not set: only who reads the file for its meaning needs it."""
    documents, issues = {}, []
    for name in FILES:
        try:
            documents[name] = parse(name, files[name], None)
        except ConfigError as error:
            issues.extend(error.issues)
    if issues:
        raise ConfigError(issues)
    return Config(version_of(files), dict(files), documents, env)


def version_of(files: Mapping[str, str]) -> str:
    """A hash of their content: the same for who can read them and who cannot."""
    digest = sha256()
    for name in FILES:
        data = files[name].encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]
