"""What people say of texts → what a model learns from. ●

A row is `text` (and a title, as feedback has them) with any of `team`, `kind`, `sentiment`, `priority`; a kind may be a
list of several that are right. `tags` are read and kept for whoever learns from them; no head does yet.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from services.router.model.learner import Example
from services.router.route import observed
from services.router.ruleset import Ruleset
from shared.errors import Rejected
from shared.events.feedback import TEXT_MAX_CHARS, Kind, Label, Priority, SentimentLabel

SOURCE = "example"
_OTHER_NAMES = {"medium": "normal", "critical": "urgent"}
"""As other tools call a priority."""


class Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    text: Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX_CHARS)]
    title: Annotated[str, StringConstraints(max_length=1000)] | None = None
    team: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    kind: tuple[Kind, ...] = ()
    sentiment: SentimentLabel | None = None
    priority: Priority | None = None
    tags: tuple[Label, ...] = Field(default=())

    @field_validator("kind", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("priority", mode="before")
    @classmethod
    def _ours(cls, value: Any) -> Any:
        return _OTHER_NAMES.get(value, value) if isinstance(value, str) else value


def row_of(value: Any) -> Row:
    """Raises `Rejected`, the first wrong field named."""
    try:
        return Row.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Rejected(f"{place}: {first['msg']}" if place else "an object is wanted") from None


def example_of(row: Row, ruleset: Ruleset) -> Example:
    """`ruleset`: any; its words are looked for, its rules are not asked."""
    feedback: Mapping[str, Any] = {"source": SOURCE, "text": row.text} | ({"title": row.title} if row.title else {})
    folded, evidence = observed(feedback, ruleset)
    answers = {
        "team": (row.team,) if row.team else (),
        "kind": row.kind,
        "sentiment": (row.sentiment,) if row.sentiment else (),
        "priority": (row.priority,) if row.priority else (),
    }
    return Example(folded, evidence, {head: said for head, said in answers.items() if said})
