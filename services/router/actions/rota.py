"""`rota: on-call`: whoever's turn it is has it from the start (`rotas:` of teams.yaml), whichever team owns it. Whose turn it is,
is found when its case opens."""

from collections.abc import Iterable

from pydantic import RootModel

from services.router.actions import Draft, Name
from shared.config.teams import RotaName


class Params(RootModel[RotaName]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.rota, draft.person = params.root, None


def names(params: Params) -> Iterable[Name]:
    return (("rota", params.root),)


def says(params: Params) -> str:
    return f"handed to the rota {params.root}"
