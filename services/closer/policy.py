"""sla.yaml: how soon a customer is acknowledged, answered and told. First match wins; the last policy has no `when`.

A policy promises; the team's calendar says what its hours are. Both together, at the moment a clock starts, are a
`ClockSnapshot`: what a case keeps.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Struct
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.closer import sla
from services.closer.calendar import Calendar, UnknownHolidays, calendar_of, statutory
from services.closer.sla import TARGETS, ClockSnapshot, Duration, Target
from shared.config import Config
from shared.config.document import ConfigError, Document, Issue, Path
from shared.config.teams import FILE, Team, Teams, read_teams
from shared.events.feedback import Priority

DEFAULT_WARN_AT_PERCENT = 75
DEFAULT_ASSUME_AFTER = Duration(14, "d")


def _percent(value: Any) -> Any:
    text = str(value).removesuffix("%").strip()
    if not text.isdigit() or not 1 <= int(text) <= 99:
        raise ValueError(f"{value!r} is not a share: write 75%, from 1% to 99%")
    return int(text)


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_Duration = Annotated[Duration, BeforeValidator(Duration.read)]
_Several = BeforeValidator(_several)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class When(_Strict):
    """All that is named must match; of a list, one."""

    priority: Annotated[tuple[Priority, ...], _Several] = ()
    team: Annotated[tuple[str, ...], _Several] = ()
    tier: Annotated[tuple[str, ...], _Several] = ()
    kind: Annotated[tuple[str, ...], _Several] = ()
    theme: Annotated[tuple[str, ...], _Several] = ()

    @property
    def empty(self) -> bool:
        return not (self.priority or self.team or self.tier or self.kind or self.theme)

    def matches(self, subject: "Subject") -> bool:
        return (
            (not self.priority or subject.priority in self.priority)
            and (not self.team or subject.team in self.team)
            and (not self.tier or subject.tier in self.tier)
            and (not self.kind or subject.kind in self.kind)
            and (not self.theme or subject.theme in self.theme)
        )


class Policy(_Strict):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    when: When = When()
    acknowledge: _Duration | None = None
    resolve: _Duration | None = None
    tell_customer: _Duration | None = None
    warn_at: Annotated[int, BeforeValidator(_percent)] = DEFAULT_WARN_AT_PERCENT
    escalate_to: Annotated[tuple[str, ...], _Several] = ()
    """Whom a breach is told besides the team: addresses, or names of teams. Without it: the team."""

    @property
    def targets(self) -> tuple[tuple[Target, Duration], ...]:
        found = ((target, getattr(self, target)) for target in TARGETS)
        return tuple((target, duration) for target, duration in found if duration is not None)


class SlaFile(_Strict):
    policies: Annotated[tuple[Policy, ...], Field(min_length=1)]
    assume_after: _Duration = DEFAULT_ASSUME_AFTER
    """A customer who was told and says nothing is assumed content after this (wall time)."""


class Subject(Struct, frozen=True, gc=False):
    """What a policy is chosen by."""

    team: str
    priority: Priority
    tier: str | None = None
    kind: str = ""
    theme: str = ""


class Policies:
    """sla.yaml and the teams' hours, ready to answer for one configuration."""

    def __init__(self, file: SlaFile, teams: Teams) -> None:
        self.file = file
        self._teams: Mapping[str, Team] = {team.name: team for team in teams.teams}
        # One configuration meets few subjects and fewer snapshots; tiers and themes are the sender's words.
        self._policy_of = lru_cache(10_000)(self._find)
        self._snapshot_of = lru_cache(1_000)(self._make)
        self._calendar_of = lru_cache(1_000)(self._calendar)

    def policy(self, subject: Subject) -> Policy:
        """The first policy that matches."""
        return self._policy_of(subject)

    def snapshot(self, subject: Subject, at: datetime) -> ClockSnapshot:
        """What is promised for a clock that starts then. One object per policy, team and year."""
        return self._snapshot_of(self._policy_of(subject).name, subject.team, at.year)

    def explain(self, subject: Subject, at: datetime) -> dict[str, Any]:
        """What `flywheel sla explain --json` prints."""
        told = sla.explain(self.snapshot(subject, at.astimezone(UTC)), at)
        return {**told, "team": subject.team, "priority": subject.priority}

    def _find(self, subject: Subject) -> Policy:
        return next(policy for policy in self.file.policies if policy.when.matches(subject))

    def _make(self, name: str, team: str, year: int) -> ClockSnapshot:
        policy = next(policy for policy in self.file.policies if policy.name == name)
        return ClockSnapshot(
            policy=policy.name,
            targets=policy.targets,
            warn_at_percent=policy.warn_at,
            assume_after=self.file.assume_after,
            escalate_to=policy.escalate_to,
            calendar=self._calendar_of(team, year),
        )

    def _calendar(self, team: str, year: int) -> Calendar | None:
        # A team that the configuration no longer names may still own cases: it is taken as round the clock.
        found = self._teams.get(team)
        return calendar_of(found.hours, year) if found is not None and found.hours is not None else None


def read_policies(document: Document, teams: Teams) -> Policies:
    """sla.yaml. Raises `ConfigError` with every issue, each with its line and column."""
    file = document.read(SlaFile)
    issues = list(_issues(document, file, teams))
    if issues:
        raise ConfigError(issues)
    return Policies(file, teams)


def check(config: Config) -> Policies:
    """sla.yaml, and the calendars of teams.yaml. Raises `ConfigError` with every issue."""
    teams_document = config.document(FILE, but="subscribe")
    teams = read_teams(teams_document)
    issues = _calendar_issues(teams_document, teams)
    try:
        policies = read_policies(config.document("sla.yaml"), teams)
    except ConfigError as error:
        raise ConfigError([*issues, *error.issues]) from None
    if issues:
        raise ConfigError(issues)
    return policies


def _issues(document: Document, file: SlaFile, teams: Teams) -> list[Issue]:
    issues: list[Issue] = []
    names: set[str] = set()
    last = len(file.policies) - 1

    def say(path: Path, message: str) -> None:
        issues.append(document.issue(("policies", *path), message))

    for index, policy in enumerate(file.policies):
        if policy.name in names:
            say((index, "name"), f"two policies have the name {policy.name!r}")
        names.add(policy.name)
        if not policy.targets:
            say((index,), f"promises nothing: give at least one of {', '.join(TARGETS)}")
        if policy.when.empty and index < last:
            say((index,), "has no `when`, so those below are never reached: put it last")
        for team in policy.when.team:
            if team not in teams.names:
                say((index, "when", "team"), f"{team!r} is not a team (there are {', '.join(teams.names)})")
        for to in policy.escalate_to:
            if "@" not in to and to not in teams.names:
                say((index, "escalate_to"), f"{to!r} is neither an address nor a team")
    if not file.policies[last].when.empty:
        say((last,), "has a `when`, so some cases would have no policy: the last one must be without")
    return issues


def _calendar_issues(document: Document, teams: Teams) -> list[Issue]:
    issues: list[Issue] = []
    for index, team in enumerate(teams.teams):
        if team.hours is None:
            continue
        path: Path = ("teams", index, "hours")
        try:
            # The year does not matter: a code is known or not, a day can be read or not.
            statutory(team.hours.holidays, date(2026, 1, 1), date(2026, 12, 31))
        except UnknownHolidays as error:
            issues.append(document.issue((*path, "holidays"), str(error)))
        issues.extend(
            document.issue((*path, "working_days", day), message)
            for day, weekday in team.hours.working_days.items()
            if (message := _made_up_issue(day, weekday))
        )
    return issues


def _made_up_issue(day: str, weekday: str | None) -> str | None:
    try:
        date.fromisoformat(day)
    except ValueError:
        return f"{day!r} is not a day: write 2026-10-10"
    if weekday is not None and weekday not in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"):
        return f"{weekday!r} is not a weekday: write mon … sun, or nothing for Friday's hours"
    return None
