"""What is committed under deploy/ is what the code says; every value that we write fits its schema."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.router.asyncapi import document, files
from shared.config import STARTER, config_of, read_dir
from shared.config.teams import read_teams

DEPLOY = STARTER.parent
TEAMS = read_teams(config_of(read_dir(STARTER)).document("teams.yaml")).names


def test_committed_files_are_what_the_models_say() -> None:
    """To write them anew: `python -m tests.router.test_asyncapi`."""
    for path, wanted in files(TEAMS).items():
        assert json.loads((DEPLOY / path).read_text()) == wanted, f"deploy/{path} is out of date"
    assert {path.name for path in (DEPLOY / "schemas").iterdir()} == {
        Path(path).name for path in files(TEAMS) if path.startswith("schemas/")
    }


def test_every_reference_leads_somewhere() -> None:
    whole = document(["product"])

    def references(of: Any) -> list[str]:
        if isinstance(of, dict):
            own = [of["$ref"]] if isinstance(of.get("$ref"), str) else []
            return own + [ref for value in of.values() for ref in references(value)]
        return [ref for value in of for ref in references(value)] if isinstance(of, list) else []

    found = references(whole)
    assert found
    for reference in found:
        if reference.startswith("schemas/"):
            assert reference in files(["product"])
            continue
        at: Any = whole
        for name in reference.removeprefix("#/").split("/"):
            assert name in at, reference
            at = at[name]


def test_every_team_has_its_channel() -> None:
    assert document(["b", "a"]) == document(["a", "b"])
    assert {"feedback_routed_a", "feedback_routed_b"} <= set(document(["a", "b"])["channels"])


@pytest.mark.parametrize("kind", ["feedback.routed", "feedback.decided"])
def test_unknown_members_are_allowed_where_readers_keep_them(kind: str) -> None:
    assert files(TEAMS)[f"schemas/{kind}.json"]["additionalProperties"] is True


if __name__ == "__main__":
    for name, content in files(TEAMS).items():
        (DEPLOY / name).parent.mkdir(exist_ok=True)
        (DEPLOY / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
