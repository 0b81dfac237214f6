"""Could every service work by this configuration, whichever of them run in this process?

A service that works by a file says what it makes of it in a module `check` of its own folder. They are found by looking
into the folders, as plug-ins are: nothing here imports a service by name, and no service another. What is loaded is
pure, so a process takes up the others' judgement and none of their work.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared import registry
from shared.config import Config, ConfigError, Issue

SERVICES = "services"
Judge = Callable[[Config], Any]


class Check(Protocol):
    """The module `check` of a service."""

    def check(self, config: Config) -> Any:
        """What it would work by. Raises `ConfigError` with every issue. Pure."""


def checks() -> dict[str, Judge]:
    """Each service's own check, by its name. Raises `BrokenPlugin`."""
    found = registry.load(importlib.import_module(SERVICES), Check, within="check")
    return {name: module.check for name, module in found.items()}


def prove(config: Config, here: Mapping[str, Judge]) -> dict[str, Any]:
    """What each service makes of it. Raises `ConfigError` with every issue that any of them finds. `here`: those that
    work in this process. Of the others' files, values that hold a variable which is not set here are left to them."""
    others = {name: judge for name, judge in checks().items() if name not in here}
    made, issues = _asked(config, here)
    made_elsewhere, found = _asked(config.elsewhere(), others)
    issues += [issue for issue in found if not issue.unsure]
    if issues:
        raise ConfigError(issues)
    return made | made_elsewhere


def ask(config: Config, judges: Mapping[str, Judge]) -> None:
    """Whether all of these could work by it. Raises `ConfigError` with every issue that any of them finds."""
    _, issues = _asked(config, judges)
    if issues:
        raise ConfigError(issues)


def _asked(config: Config, judges: Mapping[str, Judge]) -> tuple[dict[str, Any], list[Issue]]:
    made: dict[str, Any] = {}
    issues: list[Issue] = []
    for name, judge in judges.items():
        try:
            made[name] = judge(config)
        except ConfigError as error:
            issues += error.issues
    return made, issues
