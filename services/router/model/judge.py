"""What a ruleset needs of a model, whatever it is made of and wherever it was kept. ●"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol


class Answer(NamedTuple):
    answer: str
    confidence: float
    """How often it is right when it says so, as told by examples that were held back."""


class Judged(NamedTuple):
    """What a model says of a text; None of what it has not learnt."""

    team: Answer | None
    kind: Answer | None
    sentiment: Answer | None
    priority: Answer | None
    feeling: float
    """What speaks for positive less what speaks for negative, −1 to 1."""
    seen: Any
    """The model's own, for `Judge.words`."""


class Judge(Protocol):
    """Pure: the same text and evidence, the same judgement."""

    @property
    def version(self) -> str: ...

    def judge_all(
        self, asked: Sequence[tuple[bytes, Sequence[float]]], teams: Collection[str] | None = None
    ) -> list[Judged]:
        """`asked`: the folded text and the evidence of each. What is said of one does not depend on the others."""
        ...

    def words(self, judged: Judged, head: str, answer: str) -> list[str]:
        """The few words and pieces of the text that spoke most for this answer."""
        ...
