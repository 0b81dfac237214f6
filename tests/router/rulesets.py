"""Rulesets for tests, from YAML."""

from services.router.rules import load
from services.router.ruleset import Ruleset
from shared.config import Config, config_of

TEAMS = """
default_team: support
teams: [{name: product}, {name: support}, {name: sales}]
"""


def config(rules: str, *, teams: str = TEAMS, sources: str = "sources: []") -> Config:
    files = {
        "sources.yaml": sources,
        "teams.yaml": teams,
        "routing.yaml": rules,
        "sla.yaml": "policies: []",
    }
    return config_of(files)


def ruleset(rules: str = "rules: []", *, teams: str = TEAMS, sources: str = "sources: []") -> Ruleset:
    return load(config(rules, teams=teams, sources=sources))
