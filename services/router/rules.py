"""routing.yaml read, compiled and proved against its own examples, or refused whole."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import AwareDatetime, BaseModel, ValidationError

from services.router.feedback import Unreadable
from services.router.parse import MAX_RULES, Faults, Parser, unknown
from services.router.route import explain
from services.router.ruleset import Rule, Ruleset, compiled
from shared.config import Config
from shared.config.document import ConfigError, Document, Issue
from shared.config.document import Path as Place
from shared.config.teams import Teams, read_teams
from shared.events.feedback import METRIC_RANGES, Feedback

EXPECTATIONS = (
    "team",
    "tags",
    "kind",
    "priority",
    "sentiment",
    "language",
    "watchers",
    "follow_up",
    "rule",
    "decided_by",
    "discarded",
)
EXAMPLE_SOURCE = "example"


def load(config: Config) -> Ruleset:
    """Pure. Raises `ConfigError` with every issue found; examples are tried once all the rules can be read, and where every
    word of theirs is known (`Config.elsewhere`)."""
    teams = read_teams(config.document("teams.yaml"))
    document = config.document("routing.yaml")
    metrics = {**METRIC_RANGES, **_metrics(config.partly("sources.yaml"))}
    parser = Parser(document, teams.names, metrics)
    rules = _rules(document, parser)
    ruleset = compiled(
        version=config.version,
        teams=teams.names,
        default_team=teams.default_team,
        rules=rules,
        terms=parser.terms,
        metrics=metrics,
        examples=0,
    )
    return ruleset if document.unfilled else replace(ruleset, examples=_prove(document, ruleset, teams))


def _rules(document: Document, parser: Parser) -> list[Rule]:
    data = {"rules": []} if document.data is None else document.data
    if not isinstance(data, dict) or not isinstance(data.get("rules"), list):
        raise document.error((), "a list is wanted under `rules:` (it may be empty: `rules: []`)")
    if len(data["rules"]) > MAX_RULES:
        raise document.error(("rules",), f"more than {MAX_RULES} rules")
    faults = Faults()
    for name in data:
        if name != "rules":
            faults.add(document.error((name,), unknown("key", name, ("rules",))))
    rules: dict[str, Rule] = {}
    for index, item in enumerate(data["rules"]):
        place: Place = ("rules", index)
        with faults:
            rule = parser.rule(item, place)
            if rule.name in rules:
                raise document.error((*place, "name"), f'two rules are named "{rule.name}"')
            rules[rule.name] = rule
    faults.settle()
    return list(rules.values())


def _metrics(sources: Document) -> dict[str, tuple[float, float]]:
    """`metrics:` of sources.yaml, as far as it can be read: ingest's own check says what is wrong with it."""
    found = sources.data.get("metrics") if isinstance(sources.data, dict) else None
    ranges = {}
    for name, bounds in (found or {}).items() if isinstance(found, dict) else ():
        if isinstance(bounds, dict):
            least, most = bounds.get("min"), bounds.get("max")
            if isinstance(least, int | float) and isinstance(most, int | float):
                ranges[name] = (float(least), float(most))
    return ranges


# ── examples ──


def _prove(document: Document, ruleset: Ruleset, teams: Teams) -> int:
    issues: list[Issue] = []
    proved = 0
    for index, item in enumerate((document.data or {}).get("rules") or ()):
        examples = item.get("examples") or []
        place: Place = ("rules", index, "examples")
        if not isinstance(examples, list):
            issues.append(document.issue(place, "a list of examples is wanted"))
            continue
        for number, example in enumerate(examples):
            found = _try(document, (*place, number), ruleset, item["name"], example, teams)
            issues += found
            proved += not found
    if issues:
        raise ConfigError(issues)
    return proved


def _try(document: Document, place: Place, ruleset: Ruleset, rule: str, example: Any, teams: Teams) -> list[Issue]:
    if not isinstance(example, dict):
        return [document.issue(place, 'an example is wanted: {text: "…", expect: {team: …}}')]
    expect = example.get("expect", {})
    body = example.get("feedback", {key: value for key, value in example.items() if key != "expect"})
    if not isinstance(expect, dict) or not isinstance(body, dict):
        return [document.issue(place, "expect and feedback are mappings")]
    issues = [
        document.issue((*place, "expect", name), unknown("expectation", name, EXPECTATIONS))
        for name in expect
        if name not in EXPECTATIONS
    ]
    if "team" in expect and expect["team"] not in teams.names:
        issues.append(document.issue((*place, "expect", "team"), unknown("team", str(expect["team"]), teams.names)))
    if issues:
        return issues
    try:
        decision = explain(ruleset, _received(body))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        return [document.issue(place, f"no feedback: {'.'.join(map(str, first['loc']))}: {first['msg']}")]
    except Unreadable as error:
        return [document.issue(place, f"no feedback: {error}")]
    if not expect and rule not in decision["rules"]:
        return [document.issue(place, f"the example fails: this rule does not match it; {_came_out(decision)}")]
    return [
        document.issue(
            (*place, "expect", name),
            f"the example fails: {name} is {_shown(came)}, not {_shown(wanted)}; {_came_out(decision)}",
        )
        for name, wanted in expect.items()
        if not _as_expected(wanted, came := _of(decision, name))
    ]


def _received(body: Mapping[str, Any]) -> dict[str, Any]:
    """As it would come from ingest. An example may say when it came, for rules that ask about the time."""
    given = {"source": EXAMPLE_SOURCE, **body}
    when = _Moment.model_validate({"received_at": given.pop("received_at", None)})
    feedback = Feedback.model_validate(given)
    return feedback.model_dump(mode="json", exclude_none=True) | when.model_dump(mode="json", exclude_none=True)


class _Moment(BaseModel):
    received_at: AwareDatetime | None = None


def _of(decision: Mapping[str, Any], name: str) -> Any:
    return decision["sentiment"]["label"] if name == "sentiment" else decision[name]


def _as_expected(wanted: Any, came: Any) -> bool:
    """Of tags and watchers, at least those named."""
    if isinstance(came, list):
        return all(item in came for item in (wanted if isinstance(wanted, list) else [wanted]))
    if isinstance(came, str) and isinstance(wanted, bool):
        return wanted is True
    return bool(wanted == came) or (wanted is False and came is None)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _came_out(decision: Mapping[str, Any]) -> str:
    why = " ".join(reason["text"] for reason in decision["reasons"] if reason["code"].startswith(("rule.", "default.")))
    return f"out came team {decision['team']}. {why}"
