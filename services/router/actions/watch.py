"""`watch: sales` or `watch: [sales, product]`: these teams get a copy, beside the owner's."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field, RootModel

from services.router.actions import Draft, Name, one_or_more
from shared.config.teams import TeamName


class Params(RootModel[Annotated[list[TeamName], Field(min_length=1), BeforeValidator(one_or_more)]]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.watchers.extend(team for team in params.root if team not in draft.watchers)


def names(params: Params) -> Iterable[Name]:
    return (("team", team) for team in params.root)


def says(params: Params) -> str:
    return f"watched by {', '.join(params.root)}"
