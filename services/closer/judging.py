"""One turn of the judge, in one transaction: raises what is too much, gathers what belongs to what is up, says what has passed.

Its rows, the row of the outbox and what teams are owed are written together: a signal is raised with its message or not at
all, and once, for `closer.signal_up` allows one of a name and group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from services.closer import metrics
from services.closer.filling import LATE
from services.closer.rates import Past, Sums, Verdict, could_be, judge
from services.closer.signals import Definition, Signals
from services.closer.subscribers import Subscribers
from services.closer.tellings import Tellings
from services.closer.transactions import Driver
from services.closer.windows import Counts, Window
from shared.database.outbox import append_raw
from shared.events.envelope import SIGNAL_RAISED, SIGNAL_RESOLVED, Envelope, rfc3339
from shared.events.signal import SignalChanged
from shared.log import Message
from shared.telemetry import get_logger, new_traceparent
from shared.topics import SIGNALS, named

SOURCE = "flywheel/closer"
LOOK_S = 10.0
"""How often one that is up is looked at."""
UP_MAX = 50
"""Of one definition, at a time: an attribute with a million values raises no more."""
FEEDBACK_MAX = 5_000
"""That belongs to one signal, or a few more."""
IDS_SAID = 100
TAGS_SAID = 5
ABANDONED_AFTER = timedelta(minutes=5)
"""Nobody has looked at it for so long: its definition is gone. A process whose configuration is a moment behind ends nothing."""

_UP = "SELECT name, group_name FROM closer.signal WHERE workspace = $1 AND resolved_at IS NULL"
_RAISE = """
INSERT INTO closer.signal (id, workspace, name, series, by, group_name, test, metric, team, watchers, within, from_at,
                           raised_at, reason, came, number, expected, threshold, latest, latest_number, look_at, feedback,
                           cases, customers, tags)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', $9, $10, $11, $12, '', $13, $14, $15, $16, $13, $14, $17, 0, 0, 0, '[]')
ON CONFLICT (workspace, name, group_name) WHERE resolved_at IS NULL DO NOTHING RETURNING id
"""
_GATHER = """
INSERT INTO closer.signal_feedback (signal_id, feedback_id, workspace, at, case_id)
SELECT $1, h.feedback_id, h.workspace, h.at, f.case_id
FROM closer.hit h JOIN closer.feedback f ON f.workspace = h.workspace AND f.id = h.feedback_id
WHERE h.workspace = $2 AND h.series = $3 AND h.group_name = $4 AND h.at >= $5
ORDER BY h.at LIMIT $6 ON CONFLICT (signal_id, feedback_id) DO NOTHING
"""
_EVIDENCE = """
WITH ours AS (
    SELECT s.feedback_id, s.case_id, s.at, f.customer, f.value->'routing'->>'team' AS team, f.value->'routing'->'tags' AS tags
    FROM closer.signal_feedback s JOIN closer.feedback f ON f.workspace = s.workspace AND f.id = s.feedback_id
    WHERE s.signal_id = $1
)
SELECT (SELECT count(*) FROM ours) AS feedback,
       (SELECT count(DISTINCT case_id) FROM ours) AS cases,
       (SELECT count(DISTINCT customer) FROM ours) AS customers,
       (SELECT team FROM ours GROUP BY team ORDER BY count(*) DESC, team LIMIT 1) AS team,
       ARRAY(SELECT feedback_id::text FROM ours ORDER BY at, feedback_id LIMIT $2) AS feedback_ids,
       ARRAY(SELECT case_id::text FROM ours WHERE case_id IS NOT NULL GROUP BY case_id ORDER BY min(at), case_id LIMIT $2)
           AS case_ids,
       coalesce((SELECT jsonb_agg(jsonb_build_object('tag', tag, 'count', n)) FROM (
           SELECT tag, count(*) AS n FROM ours CROSS JOIN LATERAL jsonb_array_elements_text(tags) AS tag
           GROUP BY tag ORDER BY n DESC, tag LIMIT $3) AS top), '[]')::text AS tags
"""
_SET = """
UPDATE closer.signal SET team = $2, reason = $3, latest = $4, latest_number = $5, look_at = $6, resolved_at = $7,
                         feedback = $8, cases = $9, customers = $10, tags = $11 WHERE id = $1
"""
_LOOK = """
SELECT id, name, series, by, group_name, test, metric, team, watchers, within, from_at, raised_at, reason, came, expected,
       threshold, latest, latest_number, look_at, feedback, cases, customers, tags::text
FROM closer.signal WHERE workspace = $1 AND resolved_at IS NULL AND look_at <= $2 AND (name = ANY ($3) OR look_at <= $4)
ORDER BY look_at LIMIT 200 FOR UPDATE
"""

_log = get_logger("closer")


class Turn:
    """One transaction of the judge."""

    def __init__(
        self, driver: Driver, signals: Signals, counts: Counts, now: datetime, subscribers: Subscribers
    ) -> None:
        self._driver = driver
        self._counts = counts
        self._signals = signals
        self._now = now
        self._tellings = Tellings(subscribers, now)
        self._messages: list[Message] = []
        self._up: dict[str, set[str]] | None = None
        self.said: list[SignalChanged] = []

    async def raise_what_is_too_much(self, one: Definition, groups: Sequence[str]) -> None:
        window = Window.until(self._now, one.within.wall)
        sums = await self._counts.within(self._driver, one, groups, window)
        candidates = [group for group, now in sums.items() if could_be(one, now)]
        if not candidates:
            return
        up = await self._names_up()
        for group in sorted(candidates):
            ours = up.setdefault(one.name, set())
            if group in ours:
                continue
            if len(ours) >= UP_MAX:
                # Said once a turn: of an attribute with a million values there would be no end.
                metrics.SIGNALS.labels("withheld").inc()
                _log.warning("signal.withheld", name=one.name, group=group, reason=f"{UP_MAX} are up already")
                return
            past = await self._counts.past(self._driver, one, group, window)
            verdict = judge(one, sums[group], past)
            if not verdict.is_up:
                continue
            await self._raise(one, group, window, sums[group], verdict)
            ours.add(group)

    async def _names_up(self) -> dict[str, set[str]]:
        if self._up is None:
            self._up = {}
            for row in await self._driver.fetch(_UP, self._signals.workspace):
                self._up.setdefault(row["name"], set()).add(row["group_name"])
        return self._up

    async def _raise(self, one: Definition, group: str, window: Window, now: Sums, verdict: Verdict) -> None:
        number = now.mean if one.metric is not None else None
        identity = await self._driver.fetchval(
            _RAISE,
            str(uuid4()),
            self._signals.workspace,
            one.name,
            one.series,
            one.by,
            group,
            one.test,
            one.metric,
            list(one.watch),
            one.within.wall,
            window.start,
            self._now,
            now.came,
            number,
            verdict.expected,
            verdict.threshold,
            self._now + timedelta(seconds=LOOK_S),
        )
        if identity is None:
            return
        up = _Up(
            str(identity), one.name, one.series, one.by, group, one.test, one.metric, one.watch, one.within.wall,
            window.start, verdict,
        )  # fmt: skip
        await self._gather(up, up.from_at)
        found = await self._evidence(up)
        team = one.team or found["team"] or ""  # nobody's where all of it was erased meanwhile
        reason = _too_much(one, now, verdict)
        await self._say("raised", up, team, reason, now.came, number, found)
        await self._keep(up, team, reason, now.came, number, found, None)

    async def look_at_what_is_up(self) -> None:
        # Those without a definition wait, and must not stand before the others meanwhile.
        known, abandoned = list(self._signals.by_name), self._now - ABANDONED_AFTER
        for row in await self._driver.fetch(_LOOK, self._signals.workspace, self._now, known, abandoned):
            one = self._signals.by_name.get(row["name"])
            up = _up_of(row)
            if one is not None and one.series == row["series"] and one.test == row["test"]:
                await self._look(one, up, row)
            else:
                await self._abandon(up, row)

    async def _look(self, one: Definition, up: "_Up", row: Any) -> None:
        window = Window.until(self._now, one.within.wall)
        sums = await self._counts.within(self._driver, one, [up.group], window)
        now = sums.get(up.group, Sums())
        past = Past()
        if one.rises is not None:
            past = await self._counts.past(self._driver, one, up.group, window)
        verdict = judge(one, now, past, up_since=up.verdict)
        number = now.mean if one.metric is not None and now.came else None
        found: Mapping[str, Any] = row
        since = max(up.from_at, row["look_at"] - timedelta(seconds=LOOK_S) - LATE)
        came = row["feedback"] < FEEDBACK_MAX and await self._gather(up, since)
        if came or not verdict.is_up:
            found = await self._evidence(up)
        reason = row["reason"]
        if not verdict.is_up:
            reason = _passed(one, now)
            await self._say("resolved", up, row["team"], reason, now.came, number, found)
        resolved_at = None if verdict.is_up else self._now
        await self._keep(up, row["team"], reason, now.came, number, found, resolved_at)

    async def _abandon(self, up: "_Up", row: Any) -> None:
        """Its definition is gone, or counts something else now."""
        if row["look_at"] > self._now - ABANDONED_AFTER:
            return
        found, reason = await self._evidence(up), "its definition was taken out of routing.yaml, or changed"
        await self._say("resolved", up, row["team"], reason, row["latest"], row["latest_number"], found)
        await self._keep(up, row["team"], reason, row["latest"], row["latest_number"], found, self._now)

    async def _gather(self, up: "_Up", since: datetime) -> bool:
        """What belongs to it: who was counted, and who came since then. Whether any is new."""
        values = (up.id, self._signals.workspace, up.series, up.group, since, FEEDBACK_MAX)
        said = await self._driver.execute(_GATHER, *values)
        return not said.endswith(" 0")

    async def _evidence(self, up: "_Up") -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._driver.fetchrow(_EVIDENCE, up.id, IDS_SAID, TAGS_SAID)
        return found

    async def _keep(
        self,
        up: "_Up",
        team: str,
        reason: str,
        came: int,
        number: float | None,
        found: Mapping[str, Any],
        resolved_at: datetime | None,
    ) -> None:
        counts = (found["feedback"], found["cases"], found["customers"], found["tags"])
        look_at = self._now + timedelta(seconds=LOOK_S)
        await self._driver.execute(_SET, up.id, team, reason, came, number, look_at, resolved_at, *counts)

    async def _say(
        self,
        what: Any,
        up: "_Up",
        team: str,
        reason: str,
        came: int,
        number: float | None,
        found: Mapping[str, Any],
    ) -> None:
        """On the topic by the outbox, and to whoever subscribes."""
        said = SignalChanged(
            signal_id=up.id,
            workspace=self._signals.workspace,
            what=what,
            at=self._now,
            name=up.name,
            by=up.by,
            group=up.group or None,
            team=team,
            watchers=[one for one in up.watchers if one != team],
            reason=reason,
            test=up.test,
            since=up.from_at,
            window_s=int(up.within.total_seconds()),
            count=came,
            threshold=up.verdict.threshold,
            expected=up.verdict.expected,
            metric=up.metric,
            mean=number,
            feedback=found["feedback"],
            cases=found["cases"],
            customers=found["customers"],
            feedback_ids=found["feedback_ids"],
            case_ids=found["case_ids"],
            tags=msgspec.json.decode(found["tags"]),
        )
        value, traceparent = said.model_dump_json().encode(), new_traceparent()
        kind = SIGNAL_RAISED if what == "raised" else SIGNAL_RESOLVED
        envelope = Envelope(
            f"{up.id}/{what}", kind, SOURCE, rfc3339(self._now), said.workspace, traceparent=traceparent
        )
        self._messages.append(Message(named(said.workspace, SIGNALS), up.id.encode(), value, envelope.headers()))
        self._tellings.signalled(said, value, traceparent)
        self.said.append(said)

    async def write(self) -> None:
        if self._messages:
            await append_raw(self._driver, self._messages)
            await self._tellings.write(self._driver)


@dataclass(frozen=True, slots=True)
class _Up:
    """A signal that is up."""

    id: str
    name: str
    series: str
    by: str | None
    group: str
    test: Any
    metric: str | None
    watchers: Sequence[str]
    within: timedelta
    from_at: datetime
    verdict: Verdict
    """That raised it."""


def _up_of(row: Any) -> _Up:
    return _Up(
        str(row["id"]),
        row["name"],
        row["series"],
        row["by"],
        row["group_name"],
        row["test"],
        row["metric"],
        row["watchers"],
        row["within"],
        row["from_at"],
        Verdict(True, row["threshold"], row["expected"]),
    )


def _too_much(one: Definition, now: Sums, verdict: Verdict) -> str:
    """Why, in a sentence."""
    within, expected = f"within {one.within}", verdict.expected or 0.0
    if one.rises is not None:
        return f"{now.came} {within}, usually {expected:.3g} in these hours (raised from {verdict.threshold:.3g})"
    if one.falls is not None:
        return f"{one.metric} {now.mean:.2f} on {now.came} answers {within}, usually {expected:.2f}"
    return f"{now.came} {within}, more than {one.more_than}"


def _passed(one: Definition, now: Sums) -> str:
    if one.falls is not None and now.came:
        return f"passed: {one.metric} {now.mean:.2f} on {now.came} answers within {one.within}"
    return f"passed: {now.came} within {one.within}"
