"""`tag: billing` or `tag: [billing, refund]`. The first tag of the rule that assigns is the theme: feedback of one
customer with one theme makes one case."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field, RootModel, StringConstraints

from services.router.actions import Draft, Name, one_or_more

Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\s,]+$")]


class Params(RootModel[Annotated[list[Tag], Field(min_length=1, max_length=32), BeforeValidator(one_or_more)]]):
    pass


def apply(draft: Draft, params: Params) -> None:
    draft.tags.extend(tag for tag in params.root if tag not in draft.tags)


def names(params: Params) -> Iterable[Name]:
    return ()


def says(params: Params) -> str:
    return f"tagged {', '.join(params.root)}"
