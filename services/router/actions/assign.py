"""`assign: product`: that team owns it. The first rule that matches and assigns decides; the rules after it are not asked."""

from collections.abc import Iterable

from pydantic import RootModel

from services.router.actions import Draft, Name
from shared.config.teams import TeamName


class Params(RootModel[TeamName]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.team = params.root


def names(params: Params) -> Iterable[Name]:
    return (("team", params.root),)


def says(params: Params) -> str:
    return f"assigned to {params.root}"
