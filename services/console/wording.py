"""A rule as it is written → lines for people, in whatever language. ●

The router has read the rules and vouches for them, so nothing is judged here: what this page does not know (an action that
was added, a test of a later release) is shown as it stands.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_SAID = 12
"""So many words of a list are said; the YAML beside it has all."""
_FIELD_TESTS = ("equals", "in", "exists", "at_least", "at_most", "contains", "starts_with", "ends_with")
_NAMED = {"tier": "customer.tier"}
"""Conditions that are short for a field, where the field's name is another."""
_PARTS = {"contains": "when.contains", "starts_with": "when.starts_with", "ends_with": "when.ends_with"}
_TEXT = {"contains": "when.text_contains", "says": "when.text_says", "matches": "when.text_matches"}
_TEXT_FORGIVING = _TEXT | {"contains": "when.text_contains_near", "says": "when.text_says_near"}
_ACTIONS = {
    "assign": "then.assign",
    "assign_to": "then.assign_to",
    "rota": "then.rota",
    "watch": "then.watch",
    "tag": "then.tag",
    "prioritise": "then.prioritise",
    "set_tier": "then.set_tier",
    "discard": "then.discard",
}


class Line(NamedTuple):
    key: str
    """Of the words."""
    values: Mapping[str, str] = {}
    parts: tuple["Line", ...] = ()


class Example(NamedTuple):
    said: str
    beside: str
    """What else is given with it."""
    expected: str


def condition(when: Any) -> Line:
    """`when:` of a rule. A mapping of several holds where all of them do."""
    if not isinstance(when, Mapping):
        return _other("when", when)
    tests = {name: value for name, value in when.items() if name in _FIELD_TESTS and "field" in when}
    lines = [line for name, value in when.items() if name not in tests for line in _lines(name, value, tests)]
    return lines[0] if len(lines) == 1 else Line("when.all", parts=tuple(lines))


def _lines(name: str, value: Any, tests: Mapping[str, Any]) -> list[Line]:
    match name, value:
        case "all", []:
            return [Line("when.always")]
        case "all" | "any", list():
            return [Line("when.all" if name == "all" else "when.any", parts=tuple(map(condition, value)))]
        case "not", _:
            return [Line("when.not", parts=(condition(value),))]
        case "text", dict():
            keys = _TEXT_FORGIVING if value.get("typos") else _TEXT
            return [_word(keys.get(how, "when.other"), name, words) for how, words in value.items() if how != "typos"]
        case "field", str() | list():
            return _field(value if isinstance(value, str) else ".".join(map(str, value)), tests)
        case "score", dict():
            equal = {"at_least": value["equals"], "at_most": value["equals"]} if "equals" in value else value
            return [Line("when.score", {"metric": str(value.get("metric")), "bounds": _bounds(equal)})]
        case "sentiment", dict():
            return [Line("when.range", {"what": name, "bounds": _bounds(value)})]
        case "time", dict():
            return [
                Line("when.occurred" if value.get("of") == "occurred" else "when.received", {"times": _times(value)})
            ]
        case (
            ("sentiment" | "emotion" | "urgency" | "kind" | "priority" | "language" | "tier" | "source" | "channel"),
            _,
        ):
            return [_word("when.is", _NAMED.get(name, name), value)]
        case _:
            return [_other(name, value)]


def _field(path: str, tests: Mapping[str, Any]) -> list[Line]:
    lines = []
    for name, value in tests.items():
        match name:
            case "equals" | "in":
                lines.append(_word("when.is", path, value))
            case "exists":
                lines.append(Line("when.given" if value else "when.not_given", {"what": path}))
            case "contains" | "starts_with" | "ends_with":
                lines.append(_word(_PARTS[name], path, value))
    if bounds := _bounds(tests):
        lines.append(Line("when.range", {"what": path, "bounds": bounds}))
    return lines


def actions(then: Any) -> list[Line]:
    steps = (
        [pair for step in then if isinstance(step, Mapping) for pair in step.items()] if isinstance(then, list) else []
    )
    return [_action(verb, value) for verb, value in steps]


def _action(verb: str, value: Any) -> Line:
    if verb == "follow_up":
        return Line("then.owed" if value else "then.not_owed")
    if verb == "suppress" and isinstance(value, Mapping):
        return _suppress(value)
    key = _ACTIONS.get(verb)
    return Line(key, {"value": ", ".join(map(str, _listed(value)))}) if key is not None else _other(verb, value)


def _suppress(given: Mapping[str, Any]) -> Line:
    key = "then.suppress_within" if "from" in given else "then.suppress_until"
    names = {"from": "since", "for": "span"}
    values = {names.get(name, name): _plain(value) for name, value in given.items()}
    return Line("then.suppress_for" if "for" in given else key, values)


def examples(given: Any) -> list[Example]:
    found = []
    for one in given if isinstance(given, list) else ():
        if isinstance(one, Mapping):
            body = one.get("feedback", {name: value for name, value in one.items() if name != "expect"})
            body = dict(body) if isinstance(body, Mapping) else {}
            said = " · ".join(str(words) for name in ("title", "text") if (words := body.pop(name, None)))
            found.append(Example(said, _members(body), _members(one.get("expect") or {})))
    return found


# ── small things ──


def _word(key: str, what: str, words: Any) -> Line:
    listed = _listed(words)
    said = ", ".join(f"“{word}”" if isinstance(word, str) else _plain(word) for word in listed[:MAX_SAID])
    return Line(
        key, {"what": what, "words": said if len(listed) <= MAX_SAID else f"{said} … (+{len(listed) - MAX_SAID})"}
    )


def _other(name: str, value: Any) -> Line:
    return Line("when.other", {"what": f"{name}: {_plain(value)}"})


def _bounds(given: Mapping[str, Any]) -> str:
    least, most = given.get("at_least"), given.get("at_most")
    if least is not None and least == most:
        return f"= {least}"
    return " … ".join(part for part in (f"≥ {least}" * (least is not None), f"≤ {most}" * (most is not None)) if part)


def _times(given: Mapping[str, Any]) -> str:
    days, hours = _listed(given.get("days", [])), _listed(given.get("hours", []))
    return " ".join([", ".join(map(str, days)), ", ".join(map(str, hours)), f"({given.get('zone', 'UTC')})"]).strip()


def _members(given: Any) -> str:
    return " · ".join(f"{name}: {_plain(value)}" for name, value in given.items()) if isinstance(given, Mapping) else ""


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_plain(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
