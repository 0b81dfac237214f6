"""Which metrics the rules and the dashboard ask for. Names with a colon are recorded by the rules themselves."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deployment import REPOSITORY

RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "dashboard.json"

_METRIC = re.compile(r"(?<![\w:{,\"])(?:ingest|router|closer|console|flywheel)_\w+")
_RECORDED = re.compile(r"\bflywheel:[\w:]+")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL)."""
    for rule in rules():
        yield f"rules.yml, {rule.get('alert') or rule['record']}", rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard.json, {panel['title']}", target["expr"]


def metrics_named() -> dict[str, set[str]]:
    return {where: set(_METRIC.findall(expression)) for where, expression in expressions()}


def recorded_named() -> dict[str, set[str]]:
    return {where: set(_RECORDED.findall(expression)) for where, expression in expressions()}
