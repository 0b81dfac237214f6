"""What people decided: four YAML files, read whole or refused whole.

`document`: YAML with a line and a column for every value. `teams`: teams.yaml, which more than one service reads.
`store`: the version in force, in Postgres, the same for every process. What the other files mean is their own
service's business: ingest reads sources.yaml, the router routing.yaml, the closer sla.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from shared.config.document import ConfigError, Document, Issue, parse

FILES = ("sources.yaml", "teams.yaml", "routing.yaml", "sla.yaml")
STARTER = Path(__file__).resolve().parents[2] / "deploy" / "config"

__all__ = ["FILES", "STARTER", "Config", "ConfigError", "Document", "Issue", "config_of", "read_dir"]


@dataclass(frozen=True, slots=True)
class Config:
    """One version of all files, parsed; `${ENV}` stands unexpanded, because not every process has every variable."""

    version: str
    files: Mapping[str, str]
    documents: Mapping[str, Document]

    def expanded(self, file: str, env: Mapping[str, str]) -> Document:
        """That file with its `${ENV}` filled in. Raises `ConfigError` naming each variable that is not set."""
        return parse(file, self.files[file], env)


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


def config_of(files: Mapping[str, str]) -> Config:
    """Parse all four. The version is a hash of their content. Raises `ConfigError` with every issue found."""
    documents, issues = {}, []
    for name in FILES:
        try:
            documents[name] = parse(name, files[name], None)
        except ConfigError as error:
            issues.extend(error.issues)
    if issues:
        raise ConfigError(issues)
    digest = sha256()
    for name in FILES:
        data = files[name].encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return Config(digest.hexdigest()[:12], dict(files), documents)
