"""The environment, read once and frozen. The same names in every process."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import Misuse

DEFAULT_DATA_DIR = Path(".flywheel")


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str | None
    kafka_bootstrap_servers: str | None
    smtp_url: str | None
    public_url: str
    secret: str
    config_dir: Path | None
    data_dir: Path
    env: Mapping[str, str]
    """For `${NAME}` in the configuration."""
    log_may_be_away: bool = False
    """At the start: this process can do without for a while."""

    def with_database(self, url: str) -> "Settings":
        return replace(self, database_url=url)


def read_settings(
    env: Mapping[str, str] | None = None,
    *,
    data_dir: Path | None = None,
    config_dir: Path | None = None,
    public_url: str = "http://127.0.0.1:8080",
) -> Settings:
    """Arguments win over the environment, which wins over the defaults. Raises `Misuse`."""
    env = dict(os.environ if env is None else env)
    data = data_dir or Path(env.get("FLYWHEEL_DATA_DIR") or DEFAULT_DATA_DIR)
    config = config_dir or (Path(env["FLYWHEEL_CONFIG"]) if env.get("FLYWHEEL_CONFIG") else None)
    if config is not None and not config.is_dir():
        raise Misuse(f"the configuration folder {config} does not exist: `flywheel init {config}` writes a starter")
    return Settings(
        database_url=env.get("DATABASE_URL") or None,
        kafka_bootstrap_servers=env.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        smtp_url=env.get("SMTP_URL") or None,
        public_url=(env.get("PUBLIC_URL") or public_url).rstrip("/"),
        secret=env.get("FLYWHEEL_SECRET") or kept_secret(data),
        config_dir=config,
        data_dir=data,
        env=env,
    )


def kept_secret(data_dir: Path) -> str:
    """Made once, readable by us alone. Processes on several machines need one FLYWHEEL_SECRET instead."""
    path = data_dir / "secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        except FileExistsError:
            pass  # another process was first
        return path.read_text().strip()
