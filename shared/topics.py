"""Which topics there are, how many partitions and how long they keep, and what the key is and why.

The key decides the partition, so everything that must stay in order or meet in one place shares a key:
a customer's events (order, and repeats of one delivery meet in one partition), a case's events.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

DEFAULT_WORKSPACE = "default"
DEFAULT_PARTITIONS = 6
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

RECEIVED = "feedback.received"
DECISIONS = "feedback.decisions"
CASES = "feedback.cases"
CORRECTIONS = "feedback.corrections"
SIGNALS = "feedback.signals"
ERASURES = "feedback.erasures"
DEAD_LETTER = "feedback.dead-letter"
REDRIVE = "feedback.redrive"
ROUTED_PREFIX = "feedback.routed."


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be. `retention` None keeps for good."""

    name: str
    retention: timedelta | None
    partitions: int = DEFAULT_PARTITIONS


def routed(team: str) -> str:
    return ROUTED_PREFIX + team


def named(workspace: str, topic: str) -> str:
    """The topic's name in that workspace: the default one's stand bare, another's carry its name first,
    so that a subscriber's ACL can be one prefix."""
    return topic if workspace == DEFAULT_WORKSPACE else f"{workspace}.{topic}"


def all_topics(
    teams: Iterable[str], workspace: str = DEFAULT_WORKSPACE, partitions: int = DEFAULT_PARTITIONS
) -> list[Topic]:
    """Every topic of a workspace. Received: customer's key, 7 days, which is also how far back a repeat is
    recognised. Routed and decisions: customer's key. Cases: the case's id, for good. Corrections: the feedback's id, as
    long as what they correct can be read. Signals: the signal's id. Erasures: the customer's key, for good, since whoever
    was away for months must hear of them. Dead letters, and what is sent again of those whose topic others read too: the
    original key."""
    month = timedelta(days=30)
    wanted = [
        Topic(RECEIVED, timedelta(days=7), partitions),
        *(Topic(routed(team), month, partitions) for team in teams),
        Topic(DECISIONS, month, partitions),
        Topic(CASES, None, partitions),
        Topic(CORRECTIONS, month, partitions),
        Topic(SIGNALS, month, partitions),
        Topic(ERASURES, None, partitions),
        Topic(DEAD_LETTER, month, partitions),
        Topic(REDRIVE, month, partitions),
    ]
    return [Topic(named(workspace, t.name), t.retention, t.partitions) for t in wanted]
