"""Every routing action against its recorded cases; one without any fails.

`payloads/actions/<verb>.json`: params as they stand in routing.yaml, the draft before and after, or `refused`.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from services.router import actions
from services.router.actions import Action, Draft
from shared import registry

ACTIONS: dict[str, Action] = registry.load(actions, Action)
PAYLOADS = Path(__file__).parent / "payloads" / "actions"
CASES: list[tuple[str, dict[str, Any]]] = [
    (path.stem, case) for path in sorted(PAYLOADS.glob("*.json")) for case in json.loads(path.read_text())
]


def test_every_action_has_a_recorded_case_that_holds_and_one_that_is_refused() -> None:
    for verb in ACTIONS:
        cases = [case for name, case in CASES if name == verb]
        assert any("after" in case for case in cases), f"{verb} has no recorded case"
        assert any(case.get("refused") for case in cases), f"{verb} has no recorded case that is refused"
    assert {name for name, _ in CASES} == set(ACTIONS)


@pytest.mark.parametrize(("verb", "case"), CASES, ids=[f"{verb}: {case['case']}" for verb, case in CASES])
def test_case(verb: str, case: dict[str, Any]) -> None:
    action = ACTIONS[verb]
    if case.get("refused"):
        with pytest.raises(ValidationError):
            action.Params.model_validate(case["params"])
        return
    params = action.Params.model_validate(case["params"])
    draft = msgspec.convert(case["before"], Draft)
    action.apply(draft, params)
    assert draft == msgspec.convert(case["after"], Draft)
    assert action.says(params) == case["says"]
    assert [list(name) for name in action.names(params)] == case["names"]


def test_every_action_says_how_it_is_written() -> None:
    for verb in ACTIONS:
        module = importlib.import_module(f"services.router.actions.{verb}")
        assert f"`{verb}: " in (module.__doc__ or ""), verb
