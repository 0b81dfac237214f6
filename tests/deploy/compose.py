"""docker-compose.yml as `docker compose` reads it: YAML with its merges, and `${NAME}` from the environment.

No Docker engine is needed. Of the interpolations only those that the file uses are known: `${A}`, `${A:-else}`, `${A:?why}`.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.deployment import REPOSITORY

COMPOSE = REPOSITORY / "docker-compose.yml"
ENV_EXAMPLE = REPOSITORY / ".env.example"

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<text>[^}]*))?\}")


class Missing(Exception):
    """A variable that must be given; its text says how to make one."""


def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def read(env: Mapping[str, str]) -> dict[str, Any]:
    """Raises `Missing`."""
    found: dict[str, Any] = _filled(raw(), env)
    return found


def given_by(text: str) -> dict[str, str]:
    """What a .env file sets."""
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def _filled(node: Any, env: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _filled(value, env) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, env) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        found = env.get(match["name"], "")
        if found or match["how"] is None:
            return found
        if match["how"] == "?":
            raise Missing(f"{match['name']}: {match['text']}")
        return str(match["text"])

    filled = _VARIABLE.sub(value, node)
    assert "${" not in filled, f"an interpolation that this reader does not know: {node}"
    return filled
