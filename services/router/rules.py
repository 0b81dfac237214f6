"""routing.yaml read, compiled and proved against its own examples, or refused whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from services.router.feedback import Unreadable
from services.router.parse import MAX_RULES, Faults, Parser, unknown
from services.router.route import decided
from services.router.ruleset import Rule, Ruleset, Term, compiled
from shared.config import Config
from shared.config.document import ConfigError, Document, Issue
from shared.config.document import Path as Place
from shared.config.metrics import metrics_of
from shared.config.teams import Teams, teams_of
from shared.events.feedback import Feedback

CLOSERS = "signals"
"""The closer's to read (`services/closer/signals.py`), and its variables are."""
SECTIONS = ("change", "lexicons", "rules", CLOSERS)
EXPECTATIONS = (
    "team",
    "tags",
    "kind",
    "priority",
    "sentiment",
    "emotion",
    "urgency",
    "language",
    "watchers",
    "follow_up",
    "rule",
    "decided_by",
    "tier",
    "person",
    "rota",
    "held",
    "discarded",
)
EXAMPLE_SOURCE = "example"


def load(config: Config) -> Ruleset:
    """Pure. Raises `ConfigError` with every issue found; examples are tried once all the rules can be read, and where every
    word of theirs is known (`Config.elsewhere`)."""
    return load_beside(config, ())


def load_beside(config: Config, known: Sequence[Term]) -> Ruleset:
    """The same, where another ruleset's `terms` keep their numbers, so that one look at a text serves both."""
    teams = teams_of(config)
    document = config.document("routing.yaml", but=CLOSERS)
    metrics = metrics_of(config)
    names = {"team": teams.names, "person": teams.addresses, "rota": [rota.name for rota in teams.rotas]}
    parser = Parser(document, names, metrics, known)
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
    unsure = any(path[0] != CLOSERS for path in document.unfilled)
    return ruleset if unsure else replace(ruleset, examples=_prove(document, ruleset, teams))


def _rules(document: Document, parser: Parser) -> list[Rule]:
    data = {"rules": []} if document.data is None else document.data
    if not isinstance(data, dict) or not isinstance(data.get("rules"), list):
        raise document.error((), "a list is wanted under `rules:` (it may be empty: `rules: []`)")
    if len(data["rules"]) > MAX_RULES:
        raise document.error(("rules",), f"more than {MAX_RULES} rules")
    faults = Faults()
    for name in data:
        if name not in SECTIONS:
            faults.add(document.error((name,), unknown("key", name, SECTIONS)))
    if "change" in data:
        with faults:
            document.read(Change, ("change",))
    if "lexicons" in data:
        with faults:
            parser.lexicons(data["lexicons"], ("lexicons",))
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
        decision = decided(ruleset, received(body))
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


def received(body: Mapping[str, Any]) -> dict[str, Any]:
    """As it would come from ingest. An example may say when it came, for rules that ask about the time."""
    given = {"source": EXAMPLE_SOURCE, **body}
    when = _Moment.model_validate({"received_at": given.pop("received_at", None)})
    feedback = Feedback.model_validate(given)
    return feedback.model_dump(mode="json", exclude_none=True) | when.model_dump(mode="json", exclude_none=True)


class Change(BaseModel):
    """Who wrote these rules, and why; for the history (`flywheel rules history`)."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, StringConstraints(min_length=1, max_length=320)] | None = None
    why: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None


class _Moment(BaseModel):
    received_at: AwareDatetime | None = None


def _of(decision: Mapping[str, Any], name: str) -> Any:
    match name:
        case "sentiment":
            return decision["sentiment"]["label"]
        case "emotion":
            return (decision["emotion"] or {"label": "none"})["label"]
        case "held":
            return (decision.get("held") or {}).get("because")
        case "urgency":
            return [one["cause"] for one in decision["urgency"]]
        case _:
            return decision.get(name)


def _as_expected(wanted: Any, came: Any) -> bool:
    """Of tags, watchers and urgency, at least those named."""
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
