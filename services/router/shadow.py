"""Rules beside those in force, asked about what these have decided, and what they would have decided otherwise. ●

Both are asked about one look: the text is folded, its language told, its feeling, kind and haste judged, and a model asked,
once and by the rules in force alone. A shadow looks through the text only for words that none of theirs names, and asks its
own rules. Nothing that the rules in force see or say is touched by it.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from services.router.difference import DEFAULT, NOBODY, alike, as_compared, unlike
from services.router.judge import Decided
from services.router.matcher import Matcher, Scan
from services.router.model.judge import Judge
from services.router.route import Discarded, Routing, Seen, Text, route
from services.router.rules import load_beside
from services.router.ruleset import Ruleset
from shared.config import RULES, Config, config_of

SAMPLES_EACH = 10
"""So many are kept of what goes from one team to another, the newest."""

# What is counted, each by what the rules in force said and what these do.
TEAM, RULE, WHAT, OTHERWISE, FAILED, SKIPPED = "team", "rule", "what", "otherwise", "failed", "skipped"
Key = tuple[str, str, str]


class Sample(NamedTuple):
    """One that would be decided otherwise: by its id, for its words are kept elsewhere."""

    id: str
    one: str
    other: str
    """The teams."""
    what: tuple[str, ...]
    live: dict[str, Any]
    shadow: dict[str, Any]


@dataclass
class Tally:
    counts: Counter[Key] = field(default_factory=Counter)
    _samples: dict[tuple[str, str], deque[Sample]] = field(default_factory=dict)

    def keep(self, sample: Sample) -> None:
        self._samples.setdefault((sample.one, sample.other), deque(maxlen=SAMPLES_EACH)).append(sample)

    @property
    def samples(self) -> Iterator[Sample]:
        return (sample for kept in self._samples.values() for sample in kept)

    def add(self, other: "Tally") -> None:
        self.counts.update(other.counts)
        for sample in other.samples:
            self.keep(sample)

    @property
    def differ(self) -> int:
        return self.counts[OTHERWISE, "", ""] + sum(
            count for (what, one, other), count in self.counts.items() if what == TEAM and one != other
        )

    @property
    def compared(self) -> int:
        return sum(count for (what, *_), count in self.counts.items() if what == TEAM)


@dataclass(frozen=True, slots=True)
class Shadow:
    id: int
    live: str
    """The version beside which it stands: it knows that one's terms by their numbers."""
    ruleset: Ruleset
    shared: int
    """Terms up to this number are those of the rules in force."""
    own: Matcher | None
    """For the words that only these rules name."""

    def judged_by(self, judge: Judge | None) -> "Shadow":
        return self if self.ruleset.judge is judge else replace(self, ruleset=replace(self.ruleset, judge=judge))

    def route(self, decided: Decided) -> Routing | Discarded:
        """Raises whatever a defect raises."""
        return route(decided.feedback, self.ruleset, decided.history, self._seen(decided.seen))

    def compare(self, decided: Decided, tally: Tally) -> None:
        """Never raises: what fails is counted, and nothing else comes of it."""
        try:
            self._compare(decided, tally)
        except Exception:  # noqa: BLE001 - whatever it is, the rules in force have decided
            tally.counts[FAILED, "", ""] += 1

    def _compare(self, decided: Decided, tally: Tally) -> None:
        live, shadow = decided.decision, self.route(decided)
        one, other = _team(live), _team(shadow)
        if not alike(live, shadow) and (what := unlike(before := as_compared(live), after := as_compared(shadow))):
            tally.counts.update((WHAT, name, "") for name in what)
            if one == other:
                tally.counts[OTHERWISE, "", ""] += 1
            tally.keep(Sample(decided.feedback.id, one, other, what, before, after))
        tally.counts[TEAM, one, other] += 1
        tally.counts[RULE, live.rule or DEFAULT, shadow.rule or DEFAULT] += 1

    def _seen(self, seen: Seen) -> Seen:
        if self.own is None:
            return seen
        folded, scan = seen.text
        return seen._replace(text=Text(folded, self._with(scan, self.own.scan(folded))))

    def _with(self, scan: Scan, found: Scan) -> Scan:
        """Without the words that lean towards a team: in the scan of the rules in force they have the numbers of our terms."""
        terms = {number for number in scan.terms if number < self.shared}
        terms.update(number + self.shared for number in found.terms)
        typos = scan.typos | {number + self.shared: span for number, span in found.typos.items()}
        return Scan(scan.data, terms, scan.words, typos, dict(scan.said))


def _team(decision: Routing | Discarded) -> str:
    return decision.team if isinstance(decision, Routing) else NOBODY


def beside(number: int, rules: str, config: Config, live: Ruleset) -> Shadow:
    """These rules (a routing.yaml) with the other files of that configuration, beside its own. Raises `ConfigError`."""
    ruleset = load_beside(with_rules(config, rules), live.terms)
    shared = len(live.terms)
    own: Sequence[Any] = ruleset.terms[shared:]
    forgiven = [place for place, term in enumerate(own) if term.forgiven]
    matcher = Matcher([term.text for term in own], {}, forgiven) if own else None
    return Shadow(number, live.version, replace(ruleset, judge=live.judge), shared, matcher)


def with_rules(config: Config, rules: str) -> Config:
    """Raises `ConfigError`."""
    return config_of({**config.files, RULES: rules}, config.env)
