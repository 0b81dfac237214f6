"""What a batch of routed feedback makes of the cases: opens, joins, answers. Reads first, for all of it at once; then
decides one after the other, on what was read and on what the earlier ones of the batch have changed.
"""

from collections.abc import Sequence
from datetime import datetime

from services.closer.activity import done
from services.closer.case import Case, IllegalTransition, Outcome, decide, open_case
from services.closer.commands import CustomerSaid, Join, Open, Promise, Thanked
from services.closer.erased import NOTHING_KEPT, Known, who_was_erased
from services.closer.lookups import (
    KnownFeedback,
    answers,
    known_feedback,
    last_finished,
    last_turns,
    others_to_tell,
    tiers_of,
    who_unsubscribed,
)
from services.closer.news import heard
from services.closer.notify import another, names_of
from services.closer.policy import Policies, Subject
from services.closer.records import MERGES_FOLLOWED, DecisionRead, Feedback, Routing, Value, Watched, case_id_of
from services.closer.rotas import Rotas
from services.closer.sla import ClockSnapshot
from services.closer.store import Cases, Effects, Held, Personal
from services.closer.thanks import WITHIN, followed, told_lately, who_handled, why_thanks
from services.closer.transactions import Driver
from shared.events.identity import Pseudonyms
from shared.telemetry import new_traceparent


class Desk:
    """Decides about the feedback of one batch, one after the other, on what was read for all of them at once."""

    def __init__(
        self,
        driver: Driver,
        effects: Effects,
        outcomes: dict[str, list[str]],
        cases: Cases,
        policies: Policies,
        pseudonyms: Pseudonyms,
        rotas: Rotas,
    ) -> None:
        self._cases = cases
        self._rotas = rotas
        self._policies = policies
        self._pseudonyms = pseudonyms
        self._driver = driver
        self.effects = effects
        self._outcomes = outcomes
        self._known: dict[tuple[str, str], KnownFeedback] = {}
        self._erased = Known(pseudonyms, {})
        self._open: dict[tuple[str, str], Held] = {}
        """(workspace, case key) → the unfinished case."""
        self._by_id: dict[str, Held] = {}
        self._finished: dict[tuple[str, str], str] = {}
        self._said: dict[tuple[str, str], tuple[str, int]] = {}
        """An answer from the page → which case's, and which answer of ours it judges."""
        self._tiers: dict[tuple[str, str], str] = {}
        """(workspace, account) → its tier, of those whose events say none."""
        self._told: dict[tuple[str, str], Sequence[tuple[datetime, str]]] = {}
        """(workspace, customer) → when they were told of the answer to which case, of those who praise."""
        self._last: dict[tuple[str, str], str | None] = {}
        """(workspace, rota) → who had the last turn."""
        self._keys: dict[int, tuple[str, str]] = {}
        self._promises: dict[tuple[str, str, str | None, str, str, int], ClockSnapshot] = {}

    async def look_who_was_erased(
        self, feedback: Sequence[Feedback], watched: Sequence[Watched], decisions: Sequence[DecisionRead]
    ) -> None:
        """Before anything of them is taken, and after the batch's positions are moved, on which an erasure waits."""
        self._erased = await who_was_erased(self._driver, self._pseudonyms, feedback, watched, decisions)

    async def prepare(self, batch: Sequence[Feedback]) -> None:
        """Everything that the decisions need, in a handful of reads a workspace, of which there is one as a rule."""
        by_workspace: dict[str, list[Feedback]] = {}
        for feedback in batch:
            by_workspace.setdefault(feedback.value.workspace, []).append(feedback)
        unsubscribed: set[tuple[str, str]] = set()
        for workspace, some in by_workspace.items():
            names = {name for f in some if f.value.customer for name in names_of(f.customer, f.value.customer.email)}
            gone = await who_unsubscribed(self._driver, workspace, names)
            unsubscribed.update((workspace, name) for name in gone)
            await self._prepare(workspace, some)
        self.effects.unsubscribed = frozenset(unsubscribed)

    async def _prepare(self, workspace: str, batch: Sequence[Feedback]) -> None:
        driver = self._driver
        known = await known_feedback(driver, workspace, [f.value.id for f in batch])
        self._known.update({(workspace, identity): found for identity, found in known.items()})
        await self._learn_tiers(workspace, [f.value for f in batch])
        if rotas := {rota for f in batch if (rota := f.value.routing.rota) and not f.value.routing.history}:
            turns = await last_turns(driver, workspace, rotas)
            self._last.update({(workspace, name): last for name, last in turns.items()})
        on_page = [f.value.id for f in batch if f.loop is not None]
        if on_page:
            said = await answers(driver, workspace, on_page)
            self._said.update({(workspace, identity): judged for identity, judged in said.items()})
        praise = [f for f in batch if why_thanks(f, self._is_answer(f)) == "praise"]
        if praise:
            customers = sorted({f.customer for f in praise if f.customer is not None})
            since = min(f.value.received_at for f in praise) - WITHIN
            told = await told_lately(driver, workspace, customers, since)
            self._told.update({(workspace, customer): cases for customer, cases in told.items()})
        keys = {self._key_of(f)[1]: None for f in batch if f.value.routing.follow_up and not self._is_answer(f)}
        if not keys:
            return
        for held in await self._cases.unfinished(driver, workspace, list(keys)):
            self._open[workspace, held.case.case_key] = held
            self._by_id[held.case.id] = held
        without = [key for key in keys if (workspace, key) not in self._open]
        if without:
            finished = await last_finished(driver, workspace, without)
            self._finished.update({(workspace, key): case_id for key, case_id in finished.items()})

    async def _learn_tiers(self, workspace: str, values: Sequence[Value]) -> None:
        untiered = {value.customer.account_id for value in values if value.customer and not value.customer.tier}
        tiers = await tiers_of(self._driver, workspace, {account for account in untiered if account})
        self._tiers.update({(workspace, account): tier for account, tier in tiers.items()})

    async def watched(self, batch: Sequence[Watched]) -> None:
        """Copies of watching teams: their subscriptions are told, and that is all."""
        if self.effects.tellings is None:
            return
        for workspace in {one.value.workspace for one in batch}:
            await self._learn_tiers(workspace, [one.value for one in batch if one.value.workspace == workspace])
        for one in batch:
            if self._erased.has(one.value):
                continue
            self.effects.tellings.routed(one.value, one.record, one.traceparent, self._tier_of(one.value))

    async def take(self, feedback: Feedback) -> None:
        value = feedback.value
        identity = (value.workspace, value.id)
        known = self._known.get(identity)
        if known is not None:
            self._again(feedback, known)
            return
        if self._erased.has(value):
            self._count("erased", value.id)
            self._decided(feedback, "erased", NOTHING_KEPT)
            return
        self._known[identity] = KnownFeedback(feedback.bodyhash, feedback.customer)
        if self._is_answer(feedback):
            case_id = await self._answered(feedback)
        elif value.routing.follow_up:
            case_id = self._follow_up(feedback)
        else:
            case_id = None
            self._count("counted", value.id)
        await self._thank(feedback)
        record, held = feedback.record, None if value.routing.history else value.routing.held
        if self.effects.tellings is not None:
            self.effects.tellings.routed(value, record, feedback.traceparent, self._tier_of(value))
        if self.effects.counted is not None:
            self.effects.counted.take(value)
        self.effects.feedback.append(
            (
                value.workspace,
                value.id,
                value.received_at,
                feedback.customer,
                case_id,
                feedback.bodyhash,
                record.topic,
                record.partition,
                record.offset,
                record.timestamp_ms,
                feedback.traceparent,
                record.value.decode(),
                # In the digest of the time in which teams hear of it.
                self.effects.now if held is None else max(self.effects.now, held.until),
            )
        )

    def note(self, decision: DecisionRead) -> None:
        """What the router decided besides."""
        value, record = decision.value, decision.record
        self._count("decision", value.id)
        self.effects.decisions.append(
            (
                value.workspace,
                value.id,
                value.decision,
                value.of,
                value.reason,
                value.decided_at,
                record.topic,
                record.partition,
                record.offset,
            )
        )
        deed = decision.deed
        if deed is not None and self._erased.has_deed(value.workspace, deed, value.decided_at):
            deed = None
        row = done(value, deed) if deed is not None else None
        if row is not None:
            self.effects.activity.append(row)
        if decision.work is not None:
            self.effects.news.append(heard(value, decision.work, self.effects.now))

    def _again(self, feedback: Feedback, known: KnownFeedback) -> None:
        """The id has had its effect. The same words of the same customer are a repeat; others are a conflict, and the
        first stays. What was erased comes back by neither."""
        value = feedback.value
        if known.erased:
            self._count("erased", value.id)
            return
        if (known.bodyhash, known.customer) == (feedback.bodyhash, feedback.customer):
            self._count("repeat", value.id)
            return
        self._count("conflict", value.id)
        what = "customer" if known.customer != feedback.customer else "body"
        self._decided(feedback, "conflict", f"the id was already there with another {what}; the first stays")

    def _decided(self, feedback: Feedback, decision: str, reason: str) -> None:
        """Found here, beside what the router decided."""
        value, record = feedback.value, feedback.record
        self.effects.decisions.append(
            (
                value.workspace,
                value.id,
                decision,
                None,
                reason,
                self.effects.now,
                record.topic,
                record.partition,
                record.offset,
            )
        )

    # ── a new piece of feedback that is owed an answer ──

    def _follow_up(self, feedback: Feedback) -> str:
        key = self._key_of(feedback)
        held = self._open.get(key)
        return self._joined(feedback, held) if held is not None else self._opened(feedback, key)

    def _joined(self, feedback: Feedback, held: Held) -> str:
        value, case = feedback.value, held.case
        promise = None
        if case.history and not value.routing.history:
            tier = self._tier_of(value) or case.tier
            subject = Subject(case.team, value.routing.priority, tier, value.routing.kind, case.theme)
            snapshot = self._policies.snapshot(subject, value.received_at)
            promise = Promise(value.received_at, snapshot, heard=True)
        quiet = value.routing.history or value.routing.held is not None
        outcome = decide(case, Join(value.id, value.routing.priority, promise=promise, quiet=quiet), self.effects.now)
        self._learn_contact(held, feedback)
        self.effects.record(held, outcome, words=value.text, feedback_id=value.id)
        self._count("joined", value.id)
        return held.case.id

    def _opened(self, feedback: Feedback, key: tuple[str, str]) -> str:
        value = feedback.value
        routing, customer = value.routing, value.customer
        tier = self._tier_of(value)
        outcome = open_case(
            Open(
                case_id=case_id_of(value.id, value.received_at),
                workspace=value.workspace,
                case_key=key[1],
                customer=feedback.customer,
                team=routing.team,
                theme=routing.theme,
                priority=routing.priority,
                feedback_id=value.id,
                received_at=value.received_at,
                snapshot=None if routing.history else self._promise(routing, tier, value.received_at),
                tier=tier,
                account=customer.account_id if customer is not None else None,
                language=routing.language,
                history=routing.history,
                linked_to=self._finished.get(key),
                kind=routing.kind,
                tags=tuple(routing.tags),
                assignee=self._whose(feedback),
                rota=routing.rota,
                held=routing.held,
            ),
            self.effects.now,
        )
        personal = Personal()
        if customer is not None:
            personal = Personal(email=customer.email, name=customer.name, locale=customer.locale)
        held = Held(outcome.case, value.id, personal, feedback.traceparent or new_traceparent(), new=True)
        self._open[key] = held
        self._by_id[held.case.id] = held
        self.effects.record(held, outcome)
        self._count("opened", value.id)
        return held.case.id

    def _whose(self, feedback: Feedback) -> str | None:
        """Whom a rule hands it to, or whose turn it is; nobody for history, which is done."""
        value = feedback.value
        person, rota = value.routing.person, value.routing.rota
        if value.routing.history:
            return None
        if rota is None:
            return self._rotas.there(person, self.effects.now) if person is not None else None
        place = (value.workspace, rota)
        whose = self._rotas.whose(rota, self._last[place], self.effects.now)
        if whose is not None:
            self._last[place] = self.effects.turns[place] = whose
        return whose

    def _tier_of(self, value: Value) -> str | None:
        """What a rule set, else the event's own, else the account's as it is now."""
        customer = value.customer
        if value.routing.tier:
            return value.routing.tier
        if customer is None or customer.tier or not customer.account_id:
            return customer.tier if customer is not None else None
        return self._tiers.get((value.workspace, customer.account_id))

    def _promise(self, routing: Routing, tier: str | None, at: datetime) -> ClockSnapshot:
        """Policy and calendar for a clock that starts then; asked once a batch for all that are alike."""
        alike = (routing.team, routing.priority, tier, routing.kind, routing.theme, at.year)
        found = self._promises.get(alike)
        if found is None:
            subject = Subject(routing.team, routing.priority, tier, routing.kind, routing.theme)
            found = self._promises[alike] = self._policies.snapshot(subject, at)
        return found

    def _policy_of(self, case: Case, at: datetime) -> ClockSnapshot:
        """For a clock of a case that is there already."""
        return self._policies.snapshot(Subject(case.team, case.priority, case.tier, case.kind, case.theme), at)

    # ── an answer given on the customer's page ──

    async def _answered(self, feedback: Feedback) -> str:
        """It names its case and joins it, whatever the router decided. The customer of a case that was merged into another
        one's says no for both, since nothing is solved then; their yes is theirs alone."""
        assert feedback.loop is not None
        speaker, held = await self._case(feedback.value.workspace, feedback.loop.case_id)
        case = held.case
        judged = self._said[feedback.value.workspace, feedback.value.id]
        other = None if feedback.loop.solved else await self._other_unfinished(case)
        snapshot = None
        if not case.history:
            snapshot = self._policy_of(case, feedback.value.received_at)
        said = CustomerSaid(
            feedback.loop.solved,
            feedback.value.id,
            other_unfinished=other.case.id if other is not None else None,
            snapshot=snapshot,
            confirms=judged == (case.id, case.generation) and not another(speaker.names, held.names),
        )
        also = await others_to_tell(self._driver, self._cases, held, other) if other is not None else ()
        now = self.effects.now
        try:
            outcome: Outcome = decide(case, said, now, actor="customer")
        except IllegalTransition:
            outcome = decide(case, Join(feedback.value.id, on_loop=True), now, actor="customer")
        was_open = case.unfinished
        words = feedback.value.text
        self.effects.record(held, outcome, words=words, feedback_id=feedback.value.id)
        self._count("answered", feedback.value.id)
        key = (case.workspace, case.case_key)
        if held.case.state == "merged" and other is not None:
            promise = Promise(feedback.value.received_at, snapshot) if snapshot is not None else None
            join = Join(feedback.value.id, case.priority, True, promise, merged=case.id, also=also)
            joined_outcome = decide(other.case, join, now, "customer")
            self.effects.record(other, joined_outcome, words=words, feedback_id=feedback.value.id)
            return other.case.id
        if held.case.unfinished:
            self._open[key] = held
        elif was_open:
            self._open.pop(key, None)
            self._finished[key] = held.case.id
        return held.case.id

    async def _thank(self, feedback: Feedback) -> None:
        """Praise is passed on to who handled the case that it follows."""
        value = feedback.value
        why = why_thanks(feedback, self._is_answer(feedback))
        case_id = None
        if why == "answer":
            case_id = feedback.loop.case_id if feedback.loop is not None else None
        elif why == "praise":
            case_id = followed(self._told.get((value.workspace, feedback.customer or ""), ()), value.received_at)
        if why is None or case_id is None:
            return
        _, held = await self._case(value.workspace, case_id)
        person = await who_handled(self._driver, held)
        outcome = decide(held.case, Thanked(value.id, why, person), self.effects.now, "customer")
        # With a yes, the words stand on the step before.
        words = value.text if why == "praise" else None
        self.effects.record(held, outcome, words=words, feedback_id=value.id)
        case = held.case
        self.effects.thanks.append((case.workspace, value.id, case.id, case.team, person, why, self.effects.now))

    async def _case(self, workspace: str, case_id: str) -> tuple[Held, Held]:
        """The case, and the one that goes on: where it was merged, maybe earlier in this batch."""
        first = held = await self._held(workspace, case_id)
        for _ in range(MERGES_FOLLOWED):
            if held.case.merged_into is None:
                break
            held = await self._held(workspace, held.case.merged_into)
        return first, held

    async def _held(self, workspace: str, case_id: str) -> Held:
        if case_id not in self._by_id:
            for found in await self._cases.trail(self._driver, workspace, case_id):
                # One object a row: what was decided in this batch stands in the one that we already hold.
                self._by_id.setdefault(found.case.id, found)
        return self._by_id[case_id]

    async def _other_unfinished(self, case: Case) -> Held | None:
        """Another unfinished case of this one's key: then this one cannot be unfinished too."""
        key = (case.workspace, case.case_key)
        if key not in self._open:
            for found in await self._cases.unfinished(self._driver, key[0], [key[1]]):
                # One object a row: what was decided in this batch stands in the one that we already hold.
                held = self._by_id.setdefault(found.case.id, found)
                if held.case.unfinished:
                    self._open[key] = held
        other = self._open.get(key)
        return other if other is not None and other.case.id != case.id else None

    # ── small things ──

    def _is_answer(self, feedback: Feedback) -> bool:
        return feedback.loop is not None and (feedback.value.workspace, feedback.value.id) in self._said

    def _key_of(self, feedback: Feedback) -> tuple[str, str]:
        found = self._keys.get(id(feedback))
        if found is None:
            found = self._keys[id(feedback)] = (feedback.value.workspace, self._case_key(feedback))
        return found

    def _case_key(self, feedback: Feedback) -> str:
        """Workspace, customer, team and theme. The record's key is the workspace's and the customer's pseudonym already: it
        may stand on `feedback.cases`, which is kept for good."""
        value = feedback.value
        key = feedback.record.key or self._pseudonyms.key(value.workspace, feedback.customer or value.id)
        return f"{key.decode('latin-1')}/{value.routing.team}/{value.routing.theme}"

    def _learn_contact(self, held: Held, feedback: Feedback) -> None:
        """The newest address is the one that the customer reads."""
        customer = feedback.value.customer
        if customer is not None and customer.email and customer.email != held.personal.email:
            held.personal = held.personal.reached_at(customer.email, customer.name, customer.locale)

    def _count(self, outcome: str, feedback_id: str) -> None:
        self._outcomes.setdefault(outcome, []).append(feedback_id)
