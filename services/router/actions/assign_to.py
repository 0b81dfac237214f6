"""`assign_to: li@example.com`: that person has it from the start, whichever team owns it; somebody of teams.yaml. A person who is
away does not get it: then it waits with its team."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import RootModel, StringConstraints

from services.router.actions import Draft, Name


class Params(
    RootModel[Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=320, to_lower=True)]]
):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.person, draft.rota = params.root, None


def names(params: Params) -> Iterable[Name]:
    return (("person", params.root),)


def says(params: Params) -> str:
    return f"handed to {params.root}"
