"""`prioritise: urgent`: overrules what the words, the scores and the customer's tier suggest."""

from collections.abc import Iterable

from pydantic import RootModel

from services.router.actions import Draft, Name
from shared.events.feedback import Priority


class Params(RootModel[Priority]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.priority = params.root


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    return f"priority {params.root}"
