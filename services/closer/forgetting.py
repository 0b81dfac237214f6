"""What stays of a piece of feedback, and of what people wrote about it, when its customer is erased. ●

What stays is named, and everything else goes: a member that is added to events is forgotten until somebody says that it is
nobody's. Ids, times, scores and what was decided stay, so that what was counted is counted still. The words go, and with
them the reasons that repeat them; so do the sender's own id and whatever else it attached.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

ERASED_PREFIX = "erased-"
"""Before the pseudonym that stands for the customer."""

_FEEDBACK = (
    "id",
    "workspace",
    "received_at",
    "occurred_at",
    "source",
    "channel",
    "language",
    "scores",
    "solicited",
    "touchpoint",
    "lifecycle_stage",
)
_ROUTING = (
    "role",
    "team",
    "watchers",
    "tags",
    "theme",
    "kind",
    "sentiment",
    "priority",
    "language",
    "confidence",
    "decided_by",
    "rule",
    "ruleset_version",
    "follow_up",
    "history",
    "triage",
    "tier",
    "person",
    "rota",
    "held",
)
_CUSTOMER = ("tier", "account_id")
"""Of a company, not of a person."""
_COLLEAGUE = ("to",)
"""Whom a step names that is no customer."""
_ASKED_LEAST_CHARS = 3
"""Of a name that is looked for within words: shorter ones are found everywhere."""


def forgotten(value: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A routed value, as it stays. `names`: of who is erased, in lower case; a company may be called like its one person."""
    routing = value["routing"]
    customer = {
        name: said
        for name in _CUSTOMER
        if (said := (value.get("customer") or {}).get(name)) and str(said).lower() not in names
    }
    kept = {name: value[name] for name in _FEEDBACK if name in value}
    kept["routing"] = {
        **{name: routing[name] for name in _ROUTING if name in routing},
        "reasons": [stripped for one in routing.get("reasons") or () if (stripped := _without_words(one))],
        "erased": True,
    }
    return kept | ({"customer": customer} if customer else {})


def _without_words(reason: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a customer felt and what pressed is told by reasons alone, so of those what it was stays."""
    found: dict[str, Any] = {"code": reason.get("code", ""), "text": ""}
    if reason.get("code") == "emotion.words":
        return found | {"emotion": reason.get("emotion"), "words": []}
    if "urgency" in reason:
        return found | {"urgency": [{"cause": one.get("cause"), "words": []} for one in reason["urgency"]]}
    return None


def step_without_words(private: Mapping[str, Any]) -> dict[str, Any] | None:
    """The private part of a step, as it stays."""
    return {name: private[name] for name in _COLLEAGUE if name in private} or None


def query_without(query: str, names: Collection[str], whole: str = "…") -> str:
    """A query string that somebody once asked by, without those names: as a customer, or among words that were looked for.
    As it was, where none stands in it."""
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(name, whole if _names_one(name, value, names) else value) for name, value in pairs]
    return urlencode(kept) if kept != pairs else query


def _names_one(name: str, value: str, names: Collection[str]) -> bool:
    said = value.strip().lower()
    if name == "customer":
        return said in names
    return name == "q" and any(len(one) >= _ASKED_LEAST_CHARS and one in said for one in names)
