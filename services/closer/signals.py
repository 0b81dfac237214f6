"""`signals:` of routing.yaml: what is counted of the feedback that is routed, and how much of it is too much. Pure.

A definition counts a *series* (what matches `when`, for each value of `by` apart) and has one test: `more_than` so many,
`rises` above the same hours of past weeks, or a score that `falls` below its past. Which series a piece of feedback belongs to
follows from its routed value alone, so it is the same for who counts it as it comes and who counts it again later.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any, NamedTuple, Self

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from services.closer.records import Value
from services.closer.sla import Duration
from shared.config import RULES, Config
from shared.config.document import ConfigError, Document, Issue, Path
from shared.config.metrics import metrics_of
from shared.events.feedback import Channel, Kind, Priority, SentimentLabel
from shared.habits import WEEK, WEEKS
from shared.topics import DEFAULT_WORKSPACE

SECTION = "signals"
MAX_SIGNALS = 100
GROUP_MAX_CHARS = 100
"""A longer value is no name of anything that is counted."""
GROUPS_OF_ONE = 20
"""Of a list (tags, or an attribute that is one), the first so many."""
WITHIN = Duration(1, "h")
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=7)
LONGEST_COMPARED = timedelta(days=1)
"""Against past weeks."""
AT_LEAST = 10
COMPARED = timedelta(hours=(WEEKS + 1) * WEEK + 2)
"""How far back weeks are looked at: the windows of `WEEKS` of them, each moved by an hour too."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float | bool) else value


def _factor(value: Any) -> Any:
    text = str(value)
    number = text.removesuffix("x").strip()
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not text.endswith("x") or not 1.5 <= found <= 100:
        raise ValueError(f"{value!r} is not a factor: write 3x, from 1.5x to 100x")
    return found


def _words(value: Any) -> Any:
    """As they stand in feedback: `true`, `5`."""
    items = value if isinstance(value, list | tuple) else [value]
    found = tuple(text for item in items if (text := _word(item)) is not None)
    if len(found) < len(items) or not found:
        raise ValueError("a word, a number, true or false is wanted, or a list of them")
    return found


_Several = BeforeValidator(_several)
_Words = Annotated[tuple[str, ...], _Several]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ScoreWithin(_Strict):
    metric: str
    at_least: float | None = None
    at_most: float | None = None


class When(_Strict):
    """All that is named must hold; of a list, one."""

    team: _Words = ()
    tag: _Words = ()
    kind: Annotated[tuple[Kind, ...], _Several] = ()
    sentiment: Annotated[tuple[SentimentLabel, ...], _Several] = ()
    priority: Annotated[tuple[Priority, ...], _Several] = ()
    source: _Words = ()
    channel: Annotated[tuple[Channel, ...], _Several] = ()
    touchpoint: _Words = ()
    lifecycle_stage: _Words = ()
    tier: _Words = ()
    language: _Words = ()
    account: _Words = ()
    attributes: Mapping[str, Annotated[tuple[str, ...], BeforeValidator(_words)]] = Field(default_factory=dict)
    score: ScoreWithin | None = None


class Falls(_Strict):
    metric: str
    by: Annotated[float, Field(gt=0)]
    """So much lower than it used to be, on the metric's own scale."""


class Definition(_Strict):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    note: str | None = None
    when: When = When()
    by: str | None = None
    """A field, or `attributes.NAME`: each of its values is counted apart, and is a signal of its own."""
    more_than: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rises: Annotated[float, BeforeValidator(_factor)] | None = None
    falls: Falls | None = None
    at_least: Annotated[int, Field(ge=1, le=1_000_000)] = AT_LEAST
    """Beside `rises` and `falls`: fewer say nothing."""
    within: Annotated[Duration, BeforeValidator(Duration.read)] = WITHIN
    team: str | None = None
    """Whose it is; without it, whoever owns most of what was counted."""
    watch: _Words = ()

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        tests = [name for name in ("more_than", "rises", "falls") if getattr(self, name) is not None]
        if len(tests) != 1:
            raise ValueError("one test is wanted: more_than: 20, rises: 3x, or falls: {metric: csat, by: 0.5}")
        if self.more_than is not None and "at_least" in self.model_fields_set:
            raise ValueError("at_least stands beside rises and falls: more_than says by itself how many")
        longest = LONGEST if self.more_than is not None else LONGEST_COMPARED
        if not SHORTEST <= self.within.wall <= longest:
            raise ValueError(f"within {self.within}: from 1m to {'7d' if longest is LONGEST else '1d'}")
        return self

    @property
    def test(self) -> str:
        return "more_than" if self.more_than is not None else "rises" if self.rises is not None else "falls"

    @property
    def metric(self) -> str | None:
        return self.falls.metric if self.falls is not None else None

    @property
    def compared(self) -> timedelta:
        """How far back must be counted for it: for whatever else may be asked of the same series one day."""
        return LONGEST if self.more_than is not None else COMPARED

    @property
    def series(self) -> str:
        """What is counted, by a hash of it."""
        counted = [self.when.model_dump(mode="json"), self.by, self.metric, self.more_than is None]
        return sha256(msgspec.json.encode(counted, order="sorted")).hexdigest()[:12]


class Hit(NamedTuple):
    series: str
    group: str
    """Empty where there is no `by`."""
    number: float | None
    """The metric's, where it is one that may fall."""


_attributes = msgspec.json.Decoder(dict[str, Any])


class Facts:
    """One piece of feedback as conditions ask of it. Attributes are decoded when the first asks."""

    __slots__ = ("_attributes", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self._attributes: dict[str, Any] | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        if self._attributes is None:
            try:
                self._attributes = _attributes.decode(self.value.attributes)
            except msgspec.MsgspecError:  # null
                self._attributes = {}
        return self._attributes


def _word(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.strip()
        return text if 0 < len(text) <= GROUP_MAX_CHARS else None
    return f"{value:g}" if isinstance(value, int | float) else None


def _primary(language: str) -> str:
    """`zh` of zh-CN."""
    return language.replace("_", "-").partition("-")[0].lower()


def _tier(facts: Facts) -> str | None:
    """As it was decided: what a rule set, else the event's own."""
    value = facts.value
    return value.routing.tier or (value.customer.tier if value.customer is not None else None)


def _account(facts: Facts) -> str | None:
    return facts.value.customer.account_id if facts.value.customer is not None else None


_FIELDS: Mapping[str, Callable[[Facts], Any]] = {
    "team": lambda f: f.value.routing.team,
    "tag": lambda f: f.value.routing.tags,
    "kind": lambda f: f.value.routing.kind,
    "sentiment": lambda f: f.value.routing.sentiment.label,
    "priority": lambda f: f.value.routing.priority,
    "source": lambda f: f.value.source,
    "channel": lambda f: f.value.channel,
    "touchpoint": lambda f: f.value.touchpoint,
    "lifecycle_stage": lambda f: f.value.lifecycle_stage,
    "tier": _tier,
    "language": lambda f: _primary(f.value.routing.language),
    "account": _account,
}
"""What may be asked of a field, and counted by. None of these names a person."""
BY_ATTRIBUTE = "attributes."


def _getter(path: str) -> Callable[[Facts], Any]:
    if path.startswith(BY_ATTRIBUTE):
        name = path.removeprefix(BY_ATTRIBUTE)
        return lambda facts: facts.attributes.get(name)
    return _FIELDS[path]


Check = Callable[[Facts], bool]


def _one_of(get: Callable[[Facts], Any], wanted: frozenset[str]) -> Check:
    def holds(facts: Facts) -> bool:
        found = get(facts)
        if type(found) is str:
            return found in wanted
        if isinstance(found, list):
            return any(_word(item) in wanted for item in found)
        return _word(found) in wanted

    return holds


def _score(wanted: ScoreWithin) -> Check:
    low = wanted.at_least if wanted.at_least is not None else float("-inf")
    high = wanted.at_most if wanted.at_most is not None else float("inf")
    return lambda facts: any(one.metric == wanted.metric and low <= one.value <= high for one in facts.value.scores)


@dataclass(frozen=True, slots=True)
class Series:
    id: str
    checks: Sequence[Check]
    group: Callable[[Facts], Any] | None
    metric: str | None
    compared: timedelta

    def add_hits(self, facts: Facts, found: list[Hit]) -> None:
        """Asked of every event for every series: most end at the first question."""
        number = None
        if self.metric is not None:
            for one in facts.value.scores:
                if one.metric == self.metric:
                    number = one.value
                    break
            else:
                return
        for check in self.checks:
            if not check(facts):
                return
        if self.group is None:
            found.append(Hit(self.id, "", number))
            return
        given = self.group(facts)
        words = dict.fromkeys(map(_word, given[:GROUPS_OF_ONE] if isinstance(given, list) else (given,)))
        found += [Hit(self.id, word, number) for word in words if word is not None]


def _series(one: Definition) -> Series:
    when = one.when
    checks = [
        _one_of(get, frozenset(map(_primary, wanted) if name == "language" else wanted))
        for name, get in _FIELDS.items()
        if (wanted := getattr(when, name))
    ]
    checks += [_one_of(_getter(BY_ATTRIBUTE + name), frozenset(words)) for name, words in when.attributes.items()]
    if when.score is not None:
        checks.append(_score(when.score))
    return Series(one.series, checks, _getter(one.by) if one.by is not None else None, one.metric, one.compared)


class Signals:
    """Those of one configuration. False where there are none."""

    def __init__(self, definitions: Iterable[Definition] = (), workspace: str = DEFAULT_WORKSPACE) -> None:
        self.definitions = tuple(definitions)
        self.workspace = workspace
        """A configuration is one workspace's: another's feedback is not counted by it."""
        self.by_name = {one.name: one for one in self.definitions}
        self.series: Mapping[str, Series] = {one.series: _series(one) for one in self.definitions}
        self._series = tuple(self.series.values())

    def __bool__(self) -> bool:
        return bool(self.definitions)

    def hits(self, value: Value, among: Sequence[Series] | None = None) -> Sequence[Hit]:
        """What it counts for, of all series or of these. Imported history counts for nothing: it did not come now."""
        if value.routing.history or value.workspace != self.workspace:
            return ()
        facts, found = Facts(value), list[Hit]()
        for series in among or self._series:
            series.add_hits(facts, found)
        return found


NO_SIGNALS = Signals()


def read_signals(config: Config, teams: Sequence[str]) -> Signals:
    """Raises `ConfigError` with every issue, each with its line and column. What else stands in the file is the router's to
    judge, and the variables there are its own."""
    document = config.partly(RULES)
    data = document.data.get(SECTION) if isinstance(document.data, dict) else None
    if data is None:
        return NO_SIGNALS
    if not isinstance(data, list):
        raise document.error((SECTION,), "a list is wanted: - {name: …, when: {tag: …}, more_than: 20, within: 1h}")
    if len(data) > MAX_SIGNALS:
        raise document.error((SECTION,), f"more than {MAX_SIGNALS} signals")
    unset = [path for path in document.unfilled if path[:1] == (SECTION,)]
    if unset:
        raise ConfigError([document.issue(path, "names an environment variable that is not set") for path in unset])
    found: dict[str, Definition] = {}
    issues: list[Issue] = []
    metrics = metrics_of(config)
    for index in range(len(data)):
        at: Path = (SECTION, index)
        try:
            one = document.read(Definition, at)
        except ConfigError as error:
            issues += error.issues
            continue
        issues += _issues(document, at, one, teams, metrics)
        if one.name in found:
            issues.append(document.issue((*at, "name"), f"two signals are named {one.name!r}"))
        found[one.name] = one
    if issues:
        raise ConfigError(issues)
    return Signals(found.values())


def _issues(
    document: Document, at: Path, one: Definition, teams: Sequence[str], metrics: Mapping[str, tuple[float, float]]
) -> Iterator[Issue]:
    for name, given in (("team", (one.team,) if one.team else ()), ("watch", one.watch), ("when.team", one.when.team)):
        for team in given:
            if team not in teams:
                yield document.issue((*at, *name.split(".")), f"{team!r} is not a team (there are {', '.join(teams)})")
    if one.by is not None and not (one.by in _FIELDS or one.by.startswith(BY_ATTRIBUTE)):
        known = ", ".join([*_FIELDS, f"{BY_ATTRIBUTE}NAME"])
        yield document.issue((*at, "by"), f"{one.by!r} cannot be counted by: one of {known}")
    for path, metric in (
        (("falls", "metric"), one.metric),
        (("when", "score", "metric"), one.when.score.metric if one.when.score is not None else None),
    ):
        if metric is not None and metric not in metrics:
            yield document.issue(
                (*at, *path), f"there is no metric {metric!r} (there are {', '.join(sorted(metrics))})"
            )
    if one.falls is not None and (bounds := metrics.get(one.falls.metric)) and one.falls.by > bounds[1] - bounds[0]:
        yield document.issue((*at, "falls", "by"), f"{one.falls.metric} cannot fall by {one.falls.by:g}")
    if one.when.score is not None and one.when.score.at_least is None and one.when.score.at_most is None:
        yield document.issue((*at, "when", "score"), "at_least or at_most is wanted")
