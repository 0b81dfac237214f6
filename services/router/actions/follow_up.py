"""`follow_up: false`: nobody owes an answer; `true`: somebody does, even to praise."""

from collections.abc import Iterable

from pydantic import RootModel, StrictBool

from services.router.actions import Draft, Name


class Params(RootModel[StrictBool]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.follow_up = params.root


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    return "an answer is owed" if params.root else "no answer is owed"
