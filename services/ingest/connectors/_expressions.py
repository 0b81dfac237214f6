"""JMESPath, for the connector `generic`: read once, and what is wrong with it said so that it can be mended. Pure."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jmespath  # type: ignore[import-untyped]
from jmespath import exceptions as wrong
from jmespath.functions import Functions  # type: ignore[import-untyped]

from services.ingest.connectors import Unreadable
from services.ingest.connectors._fields import kind_of

EXPRESSION_MAX_CHARS = 2_000
KEPT = 4_096
"""Expressions that stay compiled: more than anybody's configuration has."""

_MEND = "put a name with spaces or hyphens in double quotes"
_MEND_LETTER = "put a name in other letters than a-z, 0-9 and _ in double quotes, and a fixed word in single ones"
_MEND_END = "close every bracket and quote, and end with a name"


def issues_of(expression: str) -> list[str]:
    """What is wrong with it, where, and what to do."""
    if not expression.strip():
        return ["is empty: write a path such as comment.body, or leave it out"]
    if len(expression) > EXPRESSION_MAX_CHARS:
        return [f"is longer than {EXPRESSION_MAX_CHARS} characters"]
    try:
        parsed = _compiled(expression).parsed
    except wrong.LexerError as error:
        return [_issue(expression, error.lexer_position, str(error.message).lower(), _MEND_LETTER)]
    except wrong.IncompleteExpressionError as error:
        return [_issue(expression, error.lex_position, "it ends too early", _MEND_END)]
    except wrong.ParseError as error:
        if not error.token_value:
            return [_issue(expression, error.lex_position, "it ends too early", _MEND_END)]
        return [_issue(expression, error.lex_position, f"{error.token_value!r} is not expected here", _MEND)]
    except (wrong.JMESPathError, ValueError, TypeError, RecursionError):
        return [_issue(expression, 0, "it cannot be read", _MEND)]
    return [_issue(expression, expression.find(f"{name}("), found, mend) for name, found, mend in _miscalled(parsed)]


def evaluated(name: str, expression: str, seen: Any) -> Any:
    """Raises `Unreadable` where a function of it cannot work on what is there: `name` is what people know it by."""
    try:
        return _compiled(expression).search(seen)
    except wrong.JMESPathTypeError as error:
        raise Unreadable(f"{name}: {error.function_name}() cannot take {kind_of(error.current_value)}") from None
    except (wrong.JMESPathError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{name} cannot be evaluated: {type(error).__name__}") from None


@lru_cache(maxsize=KEPT)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _issue(expression: str, position: int, found: str, mend: str) -> str:
    """At which line and column of the expression."""
    before = expression[: max(position, 0)]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    place = f"line {line}, column {column}" if "\n" in expression else f"column {column}"
    return f"{expression[:80]!r}, {place}: {found}: {mend}"


def _miscalled(parsed: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Functions that there are not, or with too few arguments or too many: JMESPath tells of them only when it runs."""
    if parsed.get("type") == "function_expression":
        name, given = str(parsed["value"]), len(parsed["children"])
        known = Functions.FUNCTION_TABLE.get(name)
        if known is None:
            yield name, f"there is no function {name}", f"there is: {', '.join(sorted(Functions.FUNCTION_TABLE))}"
        else:
            needed, variadic = len(known["signature"]), any(one.get("variadic") for one in known["signature"])
            if (given < needed) if variadic else (given != needed):
                least = "at least " if variadic else ""
                yield name, f"{name} takes {least}{needed}, and has {given}", "give it as many arguments"
    for child in parsed.get("children", ()):
        if isinstance(child, dict):
            yield from _miscalled(child)
