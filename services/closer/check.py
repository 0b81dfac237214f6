"""Could the closer work by this configuration? Asked by whoever puts one in force (`shared.config.proof`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.closer import policy
from services.closer.policy import Policies
from services.closer.rotas import Rotas
from services.closer.signals import Signals, read_signals
from services.closer.subscribers import Subscribers, read_subscribers
from shared.config import Config
from shared.config.document import ConfigError, Issue
from shared.config.teams import teams_of


@dataclass(frozen=True, slots=True)
class InForce:
    """What the closer works by."""

    version: str
    teams: frozenset[str]
    default_team: str
    policies: Policies
    subscribers: Subscribers
    rotas: Rotas
    signals: Signals
    known_as: Mapping[str, str]
    """What upstream tools call a team, folded → its name here."""


def check(config: Config) -> InForce:
    """Raises `ConfigError` with every issue, of the clocks, of how teams hear and of the signals."""
    issues: list[Issue] = []
    try:
        policies = policy.check(config)
    except ConfigError as error:
        issues += error.issues
    try:
        subscribers = read_subscribers(config)
    except ConfigError as error:
        issues += error.issues
    try:
        teams = teams_of(config)
        signals = read_signals(config, teams.names)
    except ConfigError as error:
        issues += error.issues
    if issues:
        raise ConfigError(issues)
    return InForce(
        config.version,
        frozenset(teams.names),
        teams.default_team,
        policies,
        subscribers,
        Rotas(teams),
        signals,
        teams.known_as,
    )
