"""Who hears what: `subscribe:` of every team in teams.yaml, read by its channels. Pure."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from typing import Any

from services.closer import subscriptions
from services.closer.subscriptions import Plugin, Subscription, Tells, only_of, quiet_of
from shared import registry
from shared.config import Config
from shared.config.document import ConfigError, Document, Issue, Path
from shared.config.teams import FILE, Team, everybody, read_teams
from shared.people import People
from shared.topics import DEFAULT_WORKSPACE


class Subscribers:
    """Those of one configuration. False where there are none."""

    def __init__(self, every: Iterable[Subscription] = (), workspace: str = DEFAULT_WORKSPACE) -> None:
        self.by_id: Mapping[str, Subscription] = {one.id: one for one in every}
        self._workspace = workspace
        by_team: dict[str, tuple[Subscription, ...]] = {}
        for one in self.by_id.values():
            by_team[one.team] = (*by_team.get(one.team, ()), one)
        self._by_team = by_team

    def __bool__(self) -> bool:
        return bool(self.by_id)

    def of(self, workspace: str, team: str) -> tuple[Subscription, ...]:
        """The team's. A workspace's teams are its own: another's of the same name hears nothing of it."""
        return self._by_team.get(team, ()) if workspace == self._workspace else ()

    def on(self, channel: str) -> list[Subscription]:
        return [one for one in self.by_id.values() if one.channel == channel]

    def telling(self, what: Tells) -> list[Subscription]:
        return [one for one in self.by_id.values() if one.tells == what]

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(one.channel for one in self.by_id.values())


NOBODY = Subscribers()


@cache
def plugins() -> Mapping[str, Any]:
    """The channels there are. Raises `BrokenPlugin`."""
    return registry.load(subscriptions, Plugin)


def read_subscribers(config: Config) -> Subscribers:
    """Raises `ConfigError` with every issue, each with its line and column."""
    document = config.document(FILE)
    found: dict[str, Subscription] = {}
    issues: list[Issue] = []
    teams = read_teams(document)
    people = everybody(
        [*((one, team.name) for team in teams.teams for one in team.members), *((one, "") for one in teams.people)]
    )
    for index, team in enumerate(teams.teams):
        for number in range(len(team.subscribe)):
            at: Path = ("teams", index, "subscribe", number)
            try:
                one = _read(config, document, at, team, people)
            except ConfigError as error:
                issues += error.issues
                continue
            if one.id in found:
                issues.append(
                    document.issue(
                        at,
                        f"{team.name} hears at {one.destination} already (for something else there, give one a `name`)",
                    )
                )
            found[one.id] = one
    if issues:
        raise ConfigError(issues)
    return Subscribers(found.values())


def _read(config: Config, document: Document, at: Path, team: Team, people: People) -> Subscription:
    channel = team.subscribe[int(at[-1])].channel
    plugin = plugins().get(channel)
    if plugin is None:
        near = get_close_matches(channel, plugins(), n=1)
        meant = f': did you mean "{near[0]}"?' if near else f" (there are {', '.join(sorted(plugins()))})"
        raise document.error((*at, "channel"), f"there is no channel {channel!r}{meant}")
    entry = document.read(plugin.Entry, at)
    wrong = plugin.check(entry, team.members, None if config.is_elsewhere else config.env)
    if wrong:
        raise ConfigError([document.issue((*at, member), message) for member, message in wrong])
    address, shown = plugin.destination(entry)
    return Subscription(
        id=sha256("\0".join((team.name, channel, entry.name or address)).encode()).hexdigest()[:16],
        team=team.name,
        members=team.members,
        channel=channel,
        tells=plugin.TELLS,
        destination=shown,
        events=frozenset(getattr(entry, "events", ())),
        quiet=quiet_of(plugin),
        entry=entry,
        only=only_of(entry),
        hours=team.hours,
        people=people,
    )
