"""routing.yaml → conditions and actions, every fault named with its line and column, and what was probably meant."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo, available_timezones

from services.router import actions
from services.router import conditions as c
from services.router.actions import Action
from services.router.feedback import CUSTOMER_MEMBERS, MEMBERS
from services.router.matcher import BadTerm, can_be_forgiven, pattern
from services.router.ruleset import Rule, Step, Term, rule_of
from services.router.text import primary
from shared.config.document import ConfigError, Document, Issue
from shared.config.document import Path as Place
from shared.config.teams import minutes, weekdays
from shared.events.feedback import Channel, EmotionLabel, Kind, Priority, SentimentLabel, UrgencyCause
from shared.folding import fold
from shared.registry import load

ACTIONS: Mapping[str, Action] = load(actions, Action)

RATES = frozenset({"rate", "rates", "more_than", "rises", "falls", "per", "within", "count"})
RULE_MEMBERS = ("name", "when", "then", "examples", "note")
FIELD_TESTS = ("equals", "in", "exists", "at_least", "at_most", "contains", "starts_with", "ends_with")
EVERY_DAY = frozenset(range(7))
INFINITY = float("inf")
TEXT_TESTS = ("contains", "says", "matches")
MAX_RULES = 5_000
MAX_PATTERNS = 500
"""A pattern is asked of every text, from its first character to its last, where words are looked for all at once."""

ALL_DAY: tuple[tuple[int, int], ...] = ((0, 24 * 60),)

Parse = Callable[[Any, Place], c.Condition]
In = TypeVar("In")
Out = TypeVar("Out")


class Parser:
    """Reads one document. `terms` grows: the words to look for, by their number."""

    def __init__(
        self,
        document: Document,
        names: Mapping[str, Sequence[str]],
        metrics: Mapping[str, tuple[float, float]],
        known: Sequence[Term] = (),
    ) -> None:
        """`names`: the teams, persons and rotas that rules may name. `known`: terms that have their numbers already."""
        self._document = document
        self._names = names
        self._metrics = metrics
        self._numbers: dict[Term, int] = {term: number for number, term in enumerate(known)}
        self._patterns = 0
        self._lexicons: dict[str, Sequence[str]] = {}
        self._conditions: Mapping[str, Parse] = {
            "all": lambda data, place: c.All(self._many(data, place)),
            "any": self._any,
            "not": lambda data, place: c.Not(self.condition(data, place)),
            "text": self._text,
            "score": self._score,
            "sentiment": self._sentiment,
            "emotion": lambda data, place: c.Said(
                "emotion", self._known(data, place, (*get_args(EmotionLabel), "none"))
            ),
            "urgency": lambda data, place: c.Presses(self._known(data, place, get_args(UrgencyCause))),
            "time": self._time,
            "language": self._language,
            "kind": lambda data, place: c.Said("kind", self._known(data, place, get_args(Kind))),
            "priority": lambda data, place: c.Said("priority", self._known(data, place, get_args(Priority))),
            "tier": lambda data, place: self._is(("customer", "tier"), data, place),
            "source": lambda data, place: self._is(("source",), data, place),
            "channel": lambda data, place: self._is(("channel",), data, place, get_args(Channel)),
        }

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(self._numbers)

    # ── lexicons ──

    def lexicons(self, data: Any, place: Place) -> None:
        """`{billing: [invoice, 发票]}`: words that rules name together. Before the rules. Raises `ConfigError` with every fault."""
        if not isinstance(data, dict):
            raise self.wrong(place, "a mapping is wanted: a name, and behind it a list of words")
        faults = Faults()
        for name, words in data.items():
            with faults:
                self._lexicons[name] = self._each(self._strings(words, (*place, name)), (*place, name), self._term)
        faults.settle()

    # ── rules ──

    def rule(self, data: Any, place: Place) -> Rule:
        """Raises `ConfigError` with every fault in it."""
        self._mapping(data, place, RULE_MEMBERS)
        name = data.get("name")
        faults = Faults()
        if not isinstance(name, str) or not name:
            faults.add(self.wrong(place, "name is required: a word or two that people will read in the reasons"))
        with faults:
            if "when" not in data:
                raise self.wrong(place, "when is required; `when: {all: []}` holds for everything")
            when = self.condition(data["when"], (*place, "when"))
        with faults:
            then = self._then(data.get("then"), (*place, "then"))
        faults.settle()
        return rule_of(str(name), when, then)

    def _then(self, data: Any, place: Place) -> tuple[Step, ...]:
        if not isinstance(data, list) or not data:
            raise self.wrong(place, "a list of actions is wanted, for example [{assign: support}, {tag: [refund]}]")
        return self._each(data, place, self._step)

    def _step(self, data: Any, place: Place) -> Step:
        if not isinstance(data, dict) or len(data) != 1:
            raise self.wrong(place, "an action is one key and its value, for example {assign: support}")
        (verb,) = data
        action = ACTIONS.get(verb)
        if action is None:
            raise self.wrong((*place, verb), unknown("action", verb, ACTIONS))
        params = self._document.read(action.Params, (*place, verb))
        for what, name in action.names(params):
            if name not in self._names[what]:
                raise self.wrong((*place, verb), unknown(what, name, self._names[what]))
        return Step(verb, params, action.apply, action.says(params))

    # ── conditions ──

    def condition(self, data: Any, place: Place) -> c.Condition:
        """A mapping: all its members hold. `field` takes its test beside it. Raises `ConfigError`."""
        if not isinstance(data, dict) or not data:
            raise self.wrong(place, f"a condition is wanted: one of {', '.join([*self._conditions, 'field'])}")
        tests = {name: value for name, value in data.items() if name in FIELD_TESTS and "field" in data}
        names = [name for name in data if name not in tests]

        def parse(name: str, here: Place) -> c.Condition:
            if name in RATES:
                raise self.wrong(
                    (*place, name),
                    "how many came is no condition of a rule, which decides about one: it stands under `signals:`",
                )
            if name == "field":
                return self._field(data[name], tests, place)
            if name not in self._conditions:
                raise self.wrong((*place, name), unknown("condition", name, [*self._conditions, "field", *FIELD_TESTS]))
            return self._conditions[name](data[name], (*place, name))

        return c.joined(self._each(names, place, parse))

    def _many(self, data: Any, place: Place) -> tuple[c.Condition, ...]:
        if not isinstance(data, list):
            raise self.wrong(place, "a list of conditions is wanted")
        return self._each(data, place, self.condition)

    def _any(self, data: Any, place: Place) -> c.Condition:
        parts = self._many(data, place)
        if not parts:
            raise self.wrong(place, "any of nothing never holds: name at least one condition")
        return c.Any_(parts)

    def _text(self, data: Any, place: Place) -> c.Condition:
        self._mapping(data, place, (*TEXT_TESTS, "typos"))
        typos = self._typos(data, place)
        parse: Mapping[str, Parse] = {
            "contains": lambda words, here: c.Contains(self._terms(words, here, typos)),
            "says": lambda words, here: c.Says(self._terms(words, here, typos)),
            "matches": self._matches,
        }
        names = [name for name in data if name != "typos"]
        return c.joined(self._each(names, place, lambda name, _: parse[name](data[name], (*place, name))))

    def _typos(self, data: Mapping[str, Any], place: Place) -> bool:
        typos = data.get("typos", 0)
        if typos not in {0, 1} or isinstance(typos, bool):
            raise self.wrong(
                (*place, "typos"), "0 or 1 is wanted: so many letters may be wrong in a word of five or more"
            )
        if "contains" not in data and "says" not in data:
            if "typos" in data:
                raise self.wrong((*place, "typos"), "contains or says is wanted beside it")
            if "matches" not in data:
                raise self.wrong(place, f"a test is wanted: {', '.join(TEXT_TESTS)}")
        return bool(typos)

    def _terms(self, data: Any, place: Place, typos: bool) -> Mapping[int, str]:
        """Words, or `{lexicon: name}` for those of a lexicon."""
        found: dict[int, str] = {}
        any_forgiven = False
        items = data if isinstance(data, list) else [data]
        words = [
            self._lexicon(item, (*place, index)) if isinstance(item, dict) else (item,)
            for index, item in enumerate(items)
        ]
        for index, some in enumerate(words):
            here = (*place, index)
            for term in some if isinstance(items[index], dict) else self._strings(list(some), place):
                self._term(term, here)
                forgiven = typos and can_be_forgiven(term)
                any_forgiven = any_forgiven or forgiven
                found[self._numbers.setdefault(Term(term, forgiven), len(self._numbers))] = term
        if not found:
            raise self.wrong(place, "a word or a list of words is wanted (a number in quotes)")
        if typos and not any_forgiven:
            raise self.wrong(
                (*place[:-1], "typos"),
                "none of these words has five letters or more, in a script with words, and no * at its end",
            )
        return found

    def _term(self, term: str, place: Place) -> str:
        try:
            pattern(term)
        except BadTerm as error:
            raise self.wrong(place, str(error)) from None
        return term

    def _lexicon(self, data: Mapping[str, Any], place: Place) -> Sequence[str]:
        self._mapping(data, place, ("lexicon",))
        name = data["lexicon"]
        if not isinstance(name, str) or name not in self._lexicons:
            raise self.wrong((*place, "lexicon"), unknown("lexicon", str(name), self._lexicons))
        return self._lexicons[name]

    def _matches(self, data: Any, place: Place) -> c.Condition:
        def compiled(text: str, here: Place) -> c.Condition:
            self._patterns += 1
            if self._patterns > MAX_PATTERNS:
                raise self.wrong(
                    here,
                    f"more than {MAX_PATTERNS} patterns in one file: each is asked of every text; say words (contains) instead",
                )
            try:
                return c.matches(text)
            except ValueError as error:
                raise self.wrong(here, f"no pattern that RE2 can take in linear time: {error}") from None

        parts = self._each(self._strings(data, place), place, compiled)
        return parts[0] if len(parts) == 1 else c.Any_(parts)

    def _field(self, data: Any, tests: Mapping[str, Any], place: Place) -> c.Condition:
        path = self._path(data, (*place, "field"))
        if not tests:
            raise self.wrong((*place, "field"), f"a test is wanted beside it: {', '.join(FIELD_TESTS)}")
        names = [name for name in tests if name not in {"at_least", "at_most"}]
        parts = self._each(names, place, lambda name, _: self._test(path, name, tests[name], (*place, name)))
        if len(names) < len(tests):
            parts += (c.InRange(path, *self._range(tests, place)),)
        return c.joined(parts)

    def _path(self, data: Any, place: Place) -> c.Path:
        """`attributes.form`, or a list where a name has a dot in it: [attributes, "a.b"]."""
        names = data.split(".") if isinstance(data, str) else data
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            raise self.wrong(place, "a path is wanted, for example attributes.form")
        if names[0] not in MEMBERS:
            raise self.wrong(place, unknown("member of feedback", names[0], MEMBERS))
        if names[0] == "customer" and len(names) > 1 and names[1] not in CUSTOMER_MEMBERS:
            raise self.wrong(place, unknown("member of customer", names[1], CUSTOMER_MEMBERS))
        return tuple(names)

    def _test(self, path: c.Path, name: str, data: Any, place: Place) -> c.Condition:
        match name:
            case "equals" | "in":
                if (name == "in") != isinstance(data, list):
                    raise self.wrong(place, "in takes a list, equals takes one value")
                return self._is(path, data, place)
            case "exists":
                if not isinstance(data, bool):
                    raise self.wrong(place, "true or false is wanted")
                return c.Exists(path, data)
            case _:
                parts = tuple(fold(text) for text in self._strings(data, place))
                if not all(parts):
                    raise self.wrong(place, "nothing is left of it once spaces and invisible characters are taken away")
                return c.HasPart(path, name, parts)

    def _is(self, path: c.Path, data: Any, place: Place, known: Sequence[str] | None = None) -> c.Condition:
        values: dict[c.Scalar, Any] = {}
        for value in data if isinstance(data, list) else [data]:
            key = c.comparable(value)
            if key is None:
                raise self.wrong(place, "a word, a number, true or false is wanted, or a list of them")
            if known is not None and value not in known:
                raise self.wrong(place, unknown(path[-1], str(value), known))
            values[key] = value
        if not values:
            raise self.wrong(place, "the list is empty")
        return c.Is(path, values)

    def _score(self, data: Any, place: Place) -> c.Condition:
        self._mapping(data, place, ("metric", "at_most", "at_least", "equals"))
        metric = data.get("metric")
        if metric not in self._metrics:
            raise self.wrong((*place, "metric"), unknown("metric", str(metric), self._metrics))
        if "equals" in data:
            data = {**data, "at_least": data["equals"], "at_most": data["equals"]}
        return c.ScoreIs(metric, *self._range(data, place, self._metrics[metric]))

    def _sentiment(self, data: Any, place: Place) -> c.Condition:
        if isinstance(data, dict):
            self._mapping(data, place, ("at_most", "at_least"))
            return c.Feels(*self._range(data, place, (-1.0, 1.0)))
        return c.Said("sentiment", self._known(data, place, get_args(SentimentLabel)))

    def _language(self, data: Any, place: Place) -> c.Condition:
        """`zh` holds for zh-CN and zh_CN too."""
        return c.Said("language", frozenset(primary(text) for text in self._strings(data, place)))

    def _known(self, data: Any, place: Place, known: Sequence[str]) -> frozenset[str]:
        values = self._strings(data, place)
        for value in values:
            if value not in known:
                raise self.wrong(place, unknown(str(place[-1]), value, known))
        return frozenset(values)

    def _time(self, data: Any, place: Place) -> c.Condition:
        self._mapping(data, place, ("of", "zone", "days", "hours"))
        of = data.get("of", "received")
        if of not in {"received", "occurred"}:
            raise self.wrong((*place, "of"), unknown("time", str(of), ("received", "occurred")))
        zone = data.get("zone", "UTC")
        if zone not in available_timezones():
            raise self.wrong((*place, "zone"), "an IANA time zone is wanted, such as Asia/Shanghai")
        days, periods = EVERY_DAY, ALL_DAY
        try:
            if "days" in data:
                names = self._strings(data["days"], (*place, "days"))
                days = frozenset(day for name in names for day in weekdays(name))
            if "hours" in data:
                periods = tuple(minutes(text) for text in self._strings(data["hours"], (*place, "hours")))
        except ValueError as error:
            raise self.wrong(place, str(error)) from None
        if any(end <= start for start, end in periods):
            raise self.wrong((*place, "hours"), 'a period over midnight is two: ["22:00-24:00", "00:00-06:00"]')
        return c.When(f"{of}_at", ZoneInfo(zone), days, periods)

    # ── small things ──

    def _range(
        self, data: Mapping[str, Any], place: Place, bounds: tuple[float, float] = (-INFINITY, INFINITY)
    ) -> tuple[float, float]:
        found = {"at_least": -INFINITY, "at_most": INFINITY}
        for name in found:
            value = data.get(name)
            if name not in data:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.wrong((*place, name), "a number is wanted")
            if not bounds[0] <= value <= bounds[1]:
                raise self.wrong((*place, name), f"{value:g} is outside of {bounds[0]:g} to {bounds[1]:g}")
            found[name] = float(value)
        if "at_least" not in data and "at_most" not in data:
            raise self.wrong(place, "at_least or at_most is wanted")
        if found["at_least"] > found["at_most"]:
            raise self.wrong(place, "at_least is above at_most")
        return found["at_least"], found["at_most"]

    def _strings(self, data: Any, place: Place) -> list[str]:
        """One word or a list of words."""
        items = data if isinstance(data, list) else [data]
        if not items or not all(isinstance(item, str) and item for item in items):
            raise self.wrong(place, "a word or a list of words is wanted (a number in quotes)")
        return items

    def _mapping(self, data: Any, place: Place, members: Sequence[str]) -> None:
        if not isinstance(data, dict) or not data:
            raise self.wrong(place, f"a mapping is wanted, with {', '.join(members)}")
        faults = Faults()
        for name in data:
            if name not in members:
                faults.add(self.wrong((*place, name), unknown("key", name, members)))
        faults.settle()

    def _each(self, items: Sequence[In], place: Place, parse: Callable[[In, Place], Out]) -> tuple[Out, ...]:
        """All of them, or the faults of all of them."""
        faults = Faults()
        found: list[Out] = []
        for index, item in enumerate(items):
            with faults:
                found.append(parse(item, (*place, index)))
        faults.settle()
        return tuple(found)

    def wrong(self, place: Place, message: str) -> ConfigError:
        return self._document.error(place, message)


class Faults:
    """Goes on after a fault, to find the others."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def add(self, error: ConfigError) -> None:
        self.issues += error.issues

    def __enter__(self) -> None:
        """What is raised inside is kept."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ConfigError):
            self.add(error)
            return True
        return False

    def settle(self) -> None:
        """Raises `ConfigError` with all of them, if there were any."""
        if self.issues:
            raise ConfigError(self.issues)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`there is no condition "txt": did you mean "text"?`"""
    names = sorted(known)
    if not names:
        return f'there is no {what} "{name}", and none of any other name'
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}"
    return f'there is no {what} "{name}": {hint}'
