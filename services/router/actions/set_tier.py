"""`set_tier: vip`: the tier whose clocks and order the case goes by, whatever the customer's own says. What the sender wrote
stays as it came; rules that ask for the customer's tier ask for that."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import RootModel, StringConstraints

from services.router.actions import Draft, Name


class Params(RootModel[Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.tier = params.root


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    return f"tier {params.root}"
