"""YAML in which every value knows its line and column, so that an error can point at it.

YAML 1.2's core schema, not 1.1's: `no`, `on` and `09:00` stay words. Duplicate keys, tags and runaway aliases
are refused. `${NAME}` in a value is filled from the environment, and what comes out is read as if it stood there:
in quotes always a word, else maybe a number. `$${NAME}` stands for itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from shared.errors import Rejected

Path = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser where the wheel has it: a start should not wait for YAML. What kind of value a word is, we say
    ourselves: telling it by YAML 1.1 first takes a third of the time."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


MAX_NODES = 200_000
MAX_DEPTH = 32
_VARIABLE = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Issue:
    file: str
    line: int
    column: int
    message: str
    unsure: bool = field(default=False, compare=False)
    """Within it stands a variable that is not set here: whoever has it may find nothing wrong."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ConfigError(Rejected):
    """The configuration is refused whole; the one in force stays in force."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = list(dict.fromkeys(issues))  # two services may see the same mistake
        super().__init__("\n".join(str(issue) for issue in self.issues))


@dataclass(frozen=True, slots=True)
class Document:
    """A file's plain data (dict, list, str, int, float, bool, None) and where each value stands."""

    file: str
    data: Any
    marks: Mapping[Path, tuple[int, int]]
    unfilled: frozenset[Path] = frozenset()
    """Values whose variable is not set here, where the file was read `partly`."""

    def issue(self, path: Path, message: str) -> Issue:
        """An issue at that value, or at the nearest one around it that was written."""
        at = path
        while at and at not in self.marks:
            at = at[:-1]
        line, column = self.marks.get(at, (1, 1))
        where = ".".join(str(part) for part in path)
        unsure = any(_within(path, one) or _within(one, path) for one in self.unfilled)
        return Issue(self.file, line, column, f"{where}: {message}" if where else message, unsure)

    def error(self, path: Path, message: str) -> ConfigError:
        return ConfigError([self.issue(path, message)])

    def read(self, model: type[Model], at: Path = ()) -> Model:
        """The data, or what stands there, as that model. Raises `ConfigError` with every field that does not fit."""
        data = self.data
        for part in at:
            data = data[part]
        try:
            return model.model_validate({} if data is None else data)
        except ValidationError as error:
            raise ConfigError([self.issue((*at, *_path(e["loc"])), _say(e, model)) for e in error.errors()]) from None


def parse(
    file: str, text: str, env: Mapping[str, str] | None, *, partly: bool = False, but: str | None = None
) -> Document:
    """Raises `ConfigError`. `env` None leaves `${NAME}` as it stands; `partly` leaves those that are not set, `but` does
    so under that key alone."""
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError([Issue(file, line, column, f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([Issue(file, 1, 1, f"not YAML: {str(error).splitlines()[0]}")]) from None
    builder = _Builder(file, env, partly, but)
    data = builder.build(root, ()) if root is not None else None
    if builder.issues:
        raise ConfigError(builder.issues)
    return Document(file, data, builder.marks, frozenset(builder.unfilled))


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)  # says the same, and better where


class _Builder:
    def __init__(self, file: str, env: Mapping[str, str] | None, partly: bool, but: str | None) -> None:
        self.file = file
        self.env = env
        self.partly = partly
        self.but = but
        self.marks: dict[Path, tuple[int, int]] = {}
        self.unfilled: set[Path] = set()
        self.issues: list[Issue] = []
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ConfigError([self.at(node, "is too large or too deep")])
        self.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.issues.append(self.at(key_node, "a key must be a word"))
                continue
            key = str(key_node.value)
            if _VARIABLE.search(key):
                self.issues.append(self.at(key_node, "a variable fills a value, not a key"))
            if key in found:
                self.issues.append(self.at(key_node, f"the key {key!r} stands twice"))
            self.marks[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            found[key] = self.build(child, (*path, key))
        return found

    def scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        value = str(node.value)
        if "${" in value:
            value = self.expand(node, value, path)
        return value if node.style in {"'", '"', "|", ">"} else _plain(value)

    def expand(self, node: yaml.Node, value: str, path: Path) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[0].startswith("$$"):
                return match[0][1:] if self.env is not None else match[0]
            if self.env is None:
                return match[0]
            if match[1] not in self.env:
                if self.partly or self.but in path:
                    self.unfilled.add(path)
                    return match[0]
                self.issues.append(self.at(node, f"the environment variable {match[1]} is not set"))
                return ""
            return self.env[match[1]]

        return _VARIABLE.sub(fill, value)

    def at(self, node: yaml.Node, message: str) -> Issue:
        return Issue(self.file, node.start_mark.line + 1, node.start_mark.column + 1, message)


def _plain(value: str) -> Any:
    """What a word without quotes is."""
    if value in {"", "~", "null", "Null", "NULL"}:
        return None
    if value in {"true", "True", "TRUE"}:
        return True
    if value in {"false", "False", "FALSE"}:
        return False
    if _INT.match(value):
        return int(value)
    if _FLOAT.match(value):
        return float(value)
    return value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes what YAML 1.1 takes for a word and we do not (1e3), and writes out what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represented(dumper: Any, value: str) -> Any:
    style = None if isinstance(_plain(value), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represented)


def dump(data: Any) -> str:
    """As people write it: `parse` reads the same data."""
    text: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)
    return text


def _within(inner: Path, outer: Path) -> bool:
    return inner[: len(outer)] == outer


def _path(loc: tuple[str | int, ...]) -> Path:
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith(("function-", "tagged-"))))


def _say(error: Any, model: type[BaseModel]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not known here" + _meant(error["loc"][-1], _names(model))
        case "literal_error":
            legal = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            return f"must be one of {', '.join(legal)}" + _meant(error["input"], legal)
        case "missing":
            return "is required"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def _meant(written: Any, names: Iterable[str]) -> str:
    near = get_close_matches(str(written), list(names), n=1)
    return f': did you mean "{near[0]}"?' if near else ""


def _names(model: type[BaseModel]) -> set[str]:
    """Every key that this model or one within it knows."""
    schema = model.model_json_schema()
    return {name for part in (schema, *schema.get("$defs", {}).values()) for name in part.get("properties", {})}
