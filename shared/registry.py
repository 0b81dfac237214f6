"""Plug-ins: one file each, found by looking into a folder, all of them sound or the process does not start.

A package's protocol says which names a plug-in module must have: constants and functions. Nothing imports a plug-in
by name and no list is kept, so adding one is one file. What a list would have caught (a file that is no plug-in, a
function under another name, two plug-ins with one name) is refused at start-up, all of it at once.

Modules whose name begins with an underscore are helpers of their neighbours, not plug-ins.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from shared.errors import Misuse


class BrokenPlugin(Misuse):
    """A plug-in package cannot be used: each line names a module and what is wrong with it."""


def load(package: ModuleType, protocol: type, within: str | None = None) -> dict[str, Any]:
    """The plug-ins of this package by their `NAME` (without one, by file name). Raises `BrokenPlugin`.

    `within`: the plug-ins are the modules of that name in the folders of this package, by the folder's name."""
    constants, functions = _required(protocol)
    found: dict[str, ModuleType] = {}
    wrong: list[str] = []
    for place, path in _modules(package, within):
        try:
            module = importlib.import_module(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this file and is told with its name
            wrong.append(f"{place}: cannot be imported: {type(error).__name__}: {error}")
            continue
        issues = [*_missing(module, constants), *_unlike(module, functions)]
        wrong.extend(f"{place}: {issue}" for issue in issues)
        name = getattr(module, "NAME", place)
        if not isinstance(name, str) or not name:
            wrong.append(f"{place}: NAME must be a word")
        elif name in found:
            wrong.append(f"{place}: the name {name!r} is taken by {found[name].__name__.rpartition('.')[2]}")
        else:
            found[name] = module
    if wrong:
        raise BrokenPlugin(f"{package.__name__} cannot be used:\n" + "\n".join(wrong))
    return found


def _modules(package: ModuleType, within: str | None) -> Iterator[tuple[str, str]]:
    """What a plug-in is called, and its module's path, in order."""
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        path = f"{package.__name__}.{info.name}"
        if info.name.startswith("_"):
            continue
        if within is None:
            yield info.name, path
        elif info.ispkg and importlib.util.find_spec(f"{path}.{within}") is not None:
            yield info.name, f"{path}.{within}"


def _required(protocol: type) -> tuple[list[str], dict[str, list[str]]]:
    """The protocol's constants that have no default, and its functions with the names of their parameters (without `self`)."""
    constants = [name for name in inspect.get_annotations(protocol) if name[0] != "_" and not hasattr(protocol, name)]
    functions = {
        name: list(inspect.signature(value).parameters)[1:]
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    return constants, functions


def _missing(module: ModuleType, constants: list[str]) -> list[str]:
    return [f"{name} is missing" for name in constants if not hasattr(module, name)]


def _unlike(module: ModuleType, functions: dict[str, list[str]]) -> list[str]:
    issues = []
    for name, parameters in functions.items():
        function = getattr(module, name, None)
        if not callable(function):
            issues.append(f"{name}({', '.join(parameters)}) is missing")
        elif list(inspect.signature(function).parameters) != parameters:
            issues.append(f"{name} must take ({', '.join(parameters)}), not {inspect.signature(function)}")
    return issues
