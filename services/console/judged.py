"""What a customer feels and what presses, as the reasons of a decision tell it: they are kept whole, beside what has a column. ●"""

from collections.abc import Mapping, Sequence
from typing import Any

Reasons = Sequence[Mapping[str, Any]]


def emotion_in(reasons: Reasons | None) -> dict[str, Any] | None:
    """`routing.emotion` of the routed event."""
    found = next((one for one in reasons or () if one.get("code") == "emotion.words"), None)
    return {"label": found["emotion"], "words": found["words"]} if found is not None else None


def urgency_in(reasons: Reasons | None) -> list[dict[str, Any]]:
    """`routing.urgency` of the routed event."""
    return next((list(one["urgency"]) for one in reasons or () if "urgency" in one), [])
