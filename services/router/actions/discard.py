"""`discard: "automatic reply"`: no team gets it. It is kept as a decision, with this reason, and no later rule is asked."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import RootModel, StringConstraints

from services.router.actions import Draft, Name


class Params(RootModel[Annotated[str, StringConstraints(min_length=1, max_length=200)]]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.discarded = params.root


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    return f"discarded: {params.root}"
