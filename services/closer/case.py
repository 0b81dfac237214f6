"""(case, command, now) → (case, events): every transition of a case, in one place.

`shared.events.case.TABLE` is the law: which verb is legal in which state and where it leads. Documents, the legal verbs of a 409 and
the tests are read from it. A command that the table does not allow raises `IllegalTransition`, which names what
is allowed. Every event has the next number of its case (from 1, without gaps). What an event says in `data` goes
to a topic that is kept for good: ids, states, times, tags and reasons. Words and addresses stand in `private`,
which stays in the closer's own tables.

Every decision first lets the clocks catch up: what should have been warned or breached by `now` is said before
the command takes effect, so it does not matter whether a person or the timer came first.

What is made for every case is a msgspec Struct: a frozen dataclass in a tenth of the time; and since none of it can be
part of a cycle, the collector need not look through it (`gc=False`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from services.closer import sla
from services.closer.commands import (
    Acknowledge,
    Also,
    Assign,
    Command,
    Correct,
    CustomerSaid,
    Decline,
    Erase,
    Join,
    Merge,
    Note,
    NotificationKind,
    Open,
    Promise,
    Reassign,
    Reopen,
    Resolve,
    Resume,
    Silence,
    Telling,
    Thanked,
    Tick,
    Told,
    Untold,
    Upstream,
    Wait,
)
from services.closer.records import Hold
from services.closer.sla import Clocks
from shared.errors import Rejected
from shared.events.case import ANSWERED, BY_VERB, FINISHED, TABLE, UNFINISHED, By, State, Transition, legal_verbs
from shared.events.envelope import rfc3339
from shared.events.feedback import Priority

__all__ = [
    "ANSWERED",
    "CUSTOMER",
    "FINISHED",
    "SYSTEM",
    "TABLE",
    "Acknowledge",
    "Also",
    "Answer",
    "Assign",
    "By",
    "Case",
    "Command",
    "Correct",
    "CustomerSaid",
    "Decline",
    "Event",
    "IllegalTransition",
    "InvalidCommand",
    "Join",
    "Merge",
    "Note",
    "NotificationKind",
    "Open",
    "Outcome",
    "Promise",
    "Reassign",
    "Reopen",
    "Resolve",
    "Resume",
    "Silence",
    "Telling",
    "Thanked",
    "Tick",
    "Told",
    "Transition",
    "Untold",
    "Upstream",
    "Wait",
    "decide",
    "goes_along",
    "legal_verbs",
    "next_due",
    "open_case",
]

SYSTEM = "system"
CUSTOMER = "customer"

_RANK: Mapping[str, int] = {"low": 0, "normal": 1, "high": 2, "urgent": 3}
_NOTHING: Mapping[str, Any] = {}


class IllegalTransition(Rejected):
    """The case is in a state where that cannot be done: `legal_verbs` says what can."""

    def __init__(self, verb: str, state: State) -> None:
        self.verb = verb
        self.state = state
        self.legal_verbs = legal_verbs(state)
        can = ", ".join(self.legal_verbs) or "nothing"
        super().__init__(f"a case that is {state} cannot be given the verb {verb}; legal here: {can}")


class InvalidCommand(Rejected):
    """The command itself makes no sense, whatever the state."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the customer gets to read: what we did, or why not."""

    text: str
    language: str | None = None


class Case(Struct, frozen=True, gc=False):
    id: str
    workspace: str
    case_key: str
    """Fixed at opening; reassigning does not change it."""
    customer: str | None
    """`customer.id` as sent, else the lower-cased e-mail address."""
    team: str
    theme: str
    state: State
    priority: Priority
    opened_at: datetime
    kind: str = ""
    """Of the feedback that opened it: policies are chosen by it."""
    tier: str | None = None
    account: str | None = None
    """`customer.account_id` of the feedback that opened it."""
    language: str = "und"
    """What the customer wrote in."""
    assignee: str | None = None
    rota: str | None = None
    """Whose turn it was had it first. Team, person and rota stand beside each other: taking a case erases neither."""
    history: bool = False
    """Imported: no mails, no clocks; until feedback of today joins it."""
    clocks: Clocks | None = None
    held: Hold | None = None
    """While a rule holds it back: nobody has taken notice of it, nobody is told of it, and no deadline of it is said. The
    team's clock stands still; the customer's goes on."""
    answer: Answer | None = None
    untold: str | None = None
    """Why the customer of a resolved or declined case was not told."""
    linked_to: str | None = None
    """The finished case of the same key before this one."""
    merged_into: str | None = None
    also: tuple[Also, ...] = ()
    """Other customers' cases that go on in this one."""
    generation: int = 1
    """Counts up with each reopening: the customer is told once per generation."""
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    told_at: datetime | None = None
    """Of the answer that stands; a reopening takes it away."""
    first_told_at: datetime | None = None
    """Of the first one, whatever came of it."""
    assume_at: datetime | None = None
    """When silence is taken for content."""
    erased: bool = False
    """Nothing is known of its customer any more, and nothing can be said to them."""
    sequence: int = 0
    """The number of the last event."""
    version: int = 0
    """Counts decisions: the ETag."""

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED


class Event(Struct, frozen=True, gc=False):
    sequence: int
    at: datetime
    what: str
    state: State
    """After the event."""
    team: str
    actor: str
    reason: str = ""
    data: Mapping[str, Any] = {}
    """JSON; goes to `feedback.cases`, which is kept for good: no personal fields, no verbatims."""
    private: Mapping[str, Any] = {}
    """JSON; words and addresses, for the closer's own tables only."""

    def value(self, case: Case) -> dict[str, Any]:
        """The value of `feedback.cases` (`shared.events.case.CaseChanged`), JSON."""
        return {
            "case_id": case.id,
            "workspace": case.workspace,
            "sequence": self.sequence,
            "at": rfc3339(self.at),
            "what": self.what,
            "state": self.state,
            "team": self.team,
            "actor": self.actor,
            "reason": self.reason,
            "data": dict(self.data),
        }


class Outcome(Struct, frozen=True, gc=False):
    case: Case
    events: tuple[Event, ...]


# ── deciding ──────────────────────────────────────────────────────────────────────────────────────────────────────


def open_case(command: Open, now: datetime, actor: str = SYSTEM) -> Outcome:
    """A new case, its clocks running since the feedback was received."""
    clocks = None
    data: dict[str, Any] = {
        "feedback_id": command.feedback_id,
        "theme": command.theme,
        "priority": command.priority,
        "tier": command.tier,
        "kind": command.kind,
        "tags": list(command.tags),
        "language": command.language,
    }
    if command.history:
        data["history"] = True
    elif command.snapshot is not None:
        clocks = sla.start(command.snapshot, command.received_at)
        data["policy"] = command.snapshot.policy
    if command.linked_to is not None:
        data["linked_to"] = command.linked_to
    if command.rota is not None:
        data["rota"] = command.rota
    held = None if command.history else command.held
    if held is not None:
        data["held"] = {"until": rfc3339(held.until), "because": held.because}
        clocks = sla.pause(clocks, command.received_at) if clocks is not None else None
    # Handed to somebody who has not seen it yet: the promise to acknowledge it runs on.
    private = {"to": command.assignee} if command.assignee is not None else _NOTHING
    case = Case(
        id=command.case_id,
        workspace=command.workspace,
        case_key=command.case_key,
        customer=command.customer,
        team=command.team,
        theme=command.theme,
        state="open",
        priority=command.priority,
        opened_at=now,
        kind=command.kind,
        tier=command.tier,
        account=command.account,
        language=command.language,
        assignee=command.assignee,
        rota=command.rota,
        history=command.history,
        clocks=clocks,
        held=held,
        linked_to=command.linked_to,
        sequence=1,
        version=1,
    )
    return Outcome(case, (Event(1, now, "opened", "open", command.team, actor, "", data, private),))


def decide(case: Case, command: Command, now: datetime, actor: str = SYSTEM) -> Outcome:
    """What the command makes of the case. Raises `IllegalTransition` or `InvalidCommand`, and then nothing happened.

    No events: nothing changed, and the case's version stands."""
    change = _Change(case, now, actor)
    change.catch_up(command)
    _HANDLERS[type(command)](change, command)
    return change.outcome()


def _is_taken_notice_of(command: Command, actor: str) -> bool:
    """By a person, and not by rules in a person's name or by another tool, whose own rules move tickets as they come; or by the
    customer, who says what no rule holds back."""
    match command:
        case Join():
            return not command.quiet
        case CustomerSaid():
            return True
        case Reassign():
            return not command.reason
        case Note():
            return not command.heard
        case Upstream():
            return False
        case _:
            return actor not in (SYSTEM, CUSTOMER)


def goes_along(case: Case) -> tuple[Also, ...]:
    """Who waits for an answer of this case, and will of the one that it is merged into: its own customer, and the others."""
    answers = case.generation if case.state in FINISHED else case.generation - 1
    return (Also(case.id, answers), *(Also(one.case_id, one.before + answers) for one in case.also))


def next_due(case: Case) -> datetime | None:
    """When the case next wants a `Tick`, whether or not that is past; None: never, as it stands."""
    if case.held is not None:
        return case.held.until
    upcoming = sla.next_event(case.clocks) if case.clocks is not None else None
    if upcoming is None or case.assume_at is None:
        return upcoming[0] if upcoming is not None else case.assume_at
    return min(upcoming[0], case.assume_at)


class _Change:
    """A decision being made: the case so far, and what happened to it."""

    def __init__(self, case: Case, now: datetime, actor: str) -> None:
        self.before = case
        self.case = case
        self.now = now
        self.actor = actor
        self.events: list[Event] = []

    def record(
        self,
        what: str,
        reason: str = "",
        data: Mapping[str, Any] = _NOTHING,
        private: Mapping[str, Any] = _NOTHING,
        actor: str | None = None,
        **fields: Any,
    ) -> None:
        self.case = replace(self.case, sequence=self.case.sequence + 1, **fields)
        self.events.append(
            Event(
                self.case.sequence,
                self.now,
                what,
                self.case.state,
                self.case.team,
                actor or self.actor,
                reason,
                data,
                private,
            )
        )

    def to(self, verb: str) -> State:
        """Where the verb leads from here. Raises `IllegalTransition`."""
        transition = BY_VERB[verb]
        if self.case.state not in transition.sources:
            raise IllegalTransition(verb, self.case.state)
        return transition.to or self.case.state

    def catch_up(self, command: Command) -> None:
        """What is held is let go when its time is over, and else as soon as somebody takes notice of it: until then nothing is
        said of its clocks."""
        held = self.case.held
        if held is not None and held.until <= self.now:
            self._let_go(held, "its time is over", held.until)
        elif held is not None and _is_taken_notice_of(command, self.actor):
            why = "the customer says more" if self.actor in (SYSTEM, CUSTOMER) else "somebody acts on it"
            self._let_go(held, why, self.now)
        if self.case.clocks is not None and self.case.held is None:
            self._say_what_passed(self.case.clocks)

    def _let_go(self, held: Hold, reason: str, at: datetime) -> None:
        data = {"until": rfc3339(held.until), "because": held.because}
        clocks = self.clocks(lambda running: sla.resume(running, at))
        self.record("released", reason, data, actor=SYSTEM, held=None, clocks=clocks)

    def _say_what_passed(self, before: Clocks) -> None:
        clocks, passed = sla.passed(before, self.now)
        for one in passed:
            data: dict[str, Any] = {
                "target": one.target,
                "clock": one.clock,
                "due_at": rfc3339(one.due_at) if one.due_at else None,
                "policy": clocks.snapshot.policy,
                "generation": self.case.generation,
            }
            private: dict[str, Any] = {}
            if one.kind == "escalated":
                private["to"] = list(clocks.snapshot.escalate_to) or [self.case.team]
            self.record(f"clock.{one.kind}", f"{one.target} on the {one.clock} clock", data, private, SYSTEM)
        if clocks is not before:
            self.case = replace(self.case, clocks=clocks)

    def clocks(self, *steps: Callable[[Clocks], Clocks]) -> Clocks | None:
        found = self.case.clocks
        if found is None:
            return None
        for step in steps:
            found = step(found)
        return found

    def stop(self, *targets: sla.Target, met: bool = True) -> Callable[[Clocks], Clocks]:
        def step(clocks: Clocks) -> Clocks:
            for target in targets:
                clocks = sla.stop(clocks, target, self.now, met=met)
            return clocks

        return step

    def resume(self, clocks: Clocks) -> Clocks:
        return sla.resume(clocks, self.now)

    def outcome(self) -> Outcome:
        if self.case is self.before:
            return Outcome(self.before, ())
        return Outcome(replace(self.case, version=self.before.version + 1), tuple(self.events))


def _join(change: _Change, command: Join) -> None:
    case = change.case
    if not (command.on_loop and case.state in FINISHED):
        change.to("join")
    data: dict[str, Any] = {"feedback_id": command.feedback_id}
    fields: dict[str, Any] = {}
    if command.priority is not None and _RANK[command.priority] > _RANK[case.priority] and case.unfinished:
        # Whoever sorts by urgency must see it; the clocks keep the policy that they started with.
        data["priority"] = fields["priority"] = command.priority
    if command.promise is not None and case.history and case.unfinished:
        _wake(case, command.promise, data, fields)
    if command.merged is not None:
        data["from"] = command.merged
    if command.also:
        fields["also"] = (*case.also, *command.also)
    change.record("joined", "", data, _words(command.reason), **fields)
    _customer_spoke(change)


def _wake(case: Case, promise: Promise, data: dict[str, Any], fields: dict[str, Any]) -> None:
    """Imported, until now: somebody waits for its answer from here on."""
    if case.clocks is None:
        clocks = sla.start(promise.snapshot, promise.since, acknowledged=case.acknowledged_at is not None)
        fields["clocks"] = replace(clocks, generation=case.generation)
        data["policy"] = promise.snapshot.policy
    if promise.own:
        fields["history"] = data["history"] = False
    if promise.heard:
        data["heard"] = True


def _customer_spoke(change: _Change) -> None:
    """A new word from the customer ends the waiting for it."""
    if change.case.state == "waiting_on_customer":
        change.record(
            "resumed", "the customer wrote", actor=SYSTEM, state="in_progress", clocks=change.clocks(change.resume)
        )


def _acknowledge(change: _Change, _: Acknowledge) -> None:
    state = change.to("acknowledge")
    change.record(
        "acknowledged",
        state=state,
        acknowledged_at=change.case.acknowledged_at or change.now,
        clocks=change.clocks(change.stop("acknowledge")),
    )


def _assign(change: _Change, command: Assign) -> None:
    state = change.to("assign")
    change.record(
        "assigned",
        private={"to": command.to},
        state=state,
        assignee=command.to,
        acknowledged_at=change.case.acknowledged_at or change.now,
        clocks=change.clocks(change.stop("acknowledge")),
    )


def _reassign(change: _Change, command: Reassign) -> None:
    if command.team is None and command.to is None:
        raise InvalidCommand("reassign names a team, a person, or both")
    change.to("reassign")
    case = change.case
    team = command.team or case.team
    # A person belongs to a team: who has it now keeps it only within that team, and so does a rota.
    assignee = command.to or (case.assignee if team == case.team else None)
    rota = case.rota if team == case.team else None
    data = {"from": case.team, "team": team} if team != case.team else {}
    change.record(
        "reassigned", command.reason, data=data, private={"to": assignee}, team=team, assignee=assignee, rota=rota
    )


def _correct(change: _Change, command: Correct) -> None:
    """In any state: whoever learns from it does not mind, and an unfinished case goes by what is right from now on. Its
    clocks keep the policy that they started with."""
    fields = {name: command.said[name] for name in ("kind", "priority") if name in command.said}
    data = {"feedback_id": command.feedback_id, **command.said}
    change.record("corrected", data=data, **(fields if change.case.unfinished else {}))


def _note(change: _Change, command: Note) -> None:
    change.to("note")
    change.record("noted", private={"text": command.text})


def _wait(change: _Change, command: Wait) -> None:
    state = change.to("wait")
    clocks = change.clocks(lambda running: sla.pause(running, change.now))
    change.record("waiting", private=_words(command.reason), state=state, clocks=clocks)


def _resume(change: _Change, command: Resume) -> None:
    state = change.to("resume")
    change.record("resumed", private=_words(command.reason), state=state, clocks=change.clocks(change.resume))


def _words(text: str) -> Mapping[str, Any]:
    return {"text": text} if text else _NOTHING


def _resolve(change: _Change, command: Resolve) -> None:
    _answer(change, "resolve", "resolved", Answer(command.answer, command.language))


def _decline(change: _Change, command: Decline) -> None:
    _answer(change, "decline", "declined", Answer(command.answer, command.language))


def _answer(change: _Change, verb: str, what: str, answer: Answer) -> None:
    state = change.to(verb)
    change.record(
        what,
        data={"generation": change.case.generation},
        private={"answer": answer.text, "language": answer.language},
        state=state,
        answer=answer,
        untold=None,
        resolved_at=change.now,
        acknowledged_at=change.case.acknowledged_at or change.now,
        # An answer is more than an acknowledgement, and what is answered waits no longer.
        clocks=change.clocks(change.resume, change.stop("acknowledge", "resolve")),
    )


def _merge(change: _Change, command: Merge) -> None:
    change.to("merge")
    _merge_into(change, command.into, private=_words(command.reason))


def _merge_into(
    change: _Change,
    into: str,
    reason: str = "",
    data: Mapping[str, Any] = _NOTHING,
    private: Mapping[str, Any] = _NOTHING,
) -> None:
    if into == change.case.id:
        raise InvalidCommand("a case cannot be merged into itself")
    change.record(
        "merged",
        reason,
        data={"into": into, **data},
        private=private,
        state="merged",
        merged_into=into,
        assume_at=None,
        # The promise goes on in the other case; here it is neither kept nor broken.
        clocks=change.clocks(change.resume, change.stop(*sla.TARGETS, met=False)),
    )


def _reopen(change: _Change, command: Reopen) -> None:
    change.to("reopen")
    _reopened(change, command, private=_words(command.reason))


def _reopened(
    change: _Change,
    command: Reopen | CustomerSaid,
    reason: str = "",
    data: Mapping[str, Any] = _NOTHING,
    private: Mapping[str, Any] = _NOTHING,
) -> None:
    if command.other_unfinished is not None:
        why = "reopened while another case of its key is unfinished"
        _merge_into(change, command.other_unfinished, why, {**data, "reopened": True}, private)
        return
    case = change.case
    # Who says no to an answer has read it, even if the mail's receipt is still on its way.
    told_now = change.now if isinstance(command, CustomerSaid) else None
    change.record(
        "reopened",
        reason,
        data={**data, "generation": case.generation + 1},
        private=private,
        state="reopened",
        generation=case.generation + 1,
        resolved_at=None,
        told_at=None,
        first_told_at=case.first_told_at or told_now,
        untold=None,
        assume_at=None,
        clocks=change.clocks(lambda running: sla.restart(running, change.now, command.snapshot)),
    )


def _customer_said(change: _Change, command: CustomerSaid) -> None:
    case = change.case
    data: dict[str, Any] = {"solved": command.solved}
    if command.feedback_id is not None:
        data["feedback_id"] = command.feedback_id
    if case.state == "merged":
        raise IllegalTransition("yes" if command.solved else "no", case.state)
    if not command.solved and case.state in FINISHED:
        change.to("no")
        _reopened(change, command, "the customer said that it is not solved", data)
        return
    if command.solved and command.confirms and case.state in ANSWERED:
        # Who answers has been told, even if the mail's receipt is still on its way.
        _notified(change, "the customer answered", {"generation": case.generation})
    if command.solved and command.confirms and change.case.state == "notified":
        state = change.to("yes")
        change.record("confirmed", "the customer said that it is solved", data, state=state, assume_at=None)
        return
    change.record("joined", "an answer on the customer's page", data)
    _customer_spoke(change)


def _notified(change: _Change, reason: str, data: Mapping[str, Any]) -> None:
    state = change.to("told")
    clocks = change.clocks(change.stop("tell_customer"))
    change.record(
        "notified",
        reason,
        data,
        state=state,
        untold=None,
        told_at=change.now,
        first_told_at=change.case.first_told_at or change.now,
        assume_at=change.now + clocks.snapshot.assume_after.wall if clocks else None,
        clocks=clocks,
    )


def _telling(change: _Change, command: Telling) -> None:
    change.record("notification.sending", data=_notification(command))


def _told(change: _Change, command: Told) -> None:
    data = _notification(command)
    if change.case.state == "merged" and command.kind != "heard" and command.generation >= change.case.generation:
        # The answer is the other case's; the customer is this one's.
        first = change.case.first_told_at or change.now
        change.record("notification.sent", data=data, told_at=change.now, first_told_at=first)
        return
    change.record("notification.sent", data=data)
    # The receipt of an earlier generation, or of "we heard you", tells nothing about this answer.
    if command.kind != "heard" and command.generation == change.case.generation and change.case.state in ANSWERED:
        _notified(change, "", {"generation": command.generation})


def _notification(command: Telling | Told) -> dict[str, Any]:
    return {
        "kind": command.kind,
        "generation": command.generation,
        "dedup_key": command.dedup_key,
        "channel": command.channel,
    }


def _untold(change: _Change, command: Untold) -> None:
    what = "notification.failed" if command.failed else "notification.withheld"
    data = {"kind": command.kind, "generation": command.generation, "dedup_key": command.dedup_key}
    about_this = command.kind != "heard" and command.generation == change.case.generation
    if about_this and change.case.state in ANSWERED:
        change.record(
            what,
            command.reason,
            data,
            untold=command.reason,
            # Nobody can be told: that promise is neither kept nor broken.
            clocks=change.clocks(change.stop("tell_customer", met=False)),
        )
    else:
        change.record(what, command.reason, data)


_FOLLOWS = {"answer": "said with the yes", "praise": "praise of a customer who had been told"}


def _thanked(change: _Change, command: Thanked) -> None:
    data = {"feedback_id": command.feedback_id, "why": command.why}
    change.record("thanked", _FOLLOWS[command.why], data, {"to": command.person} if command.person else _NOTHING)


def _upstream(change: _Change, command: Upstream) -> None:
    """In any state, and it stays: who did the work does not say what its customer is told."""
    reason = f"{command.work_id} was {command.how} in {command.source}"
    change.record(f"work.{command.how}", reason, {"source": command.source, "work_id": command.work_id})


def _erase(change: _Change, command: Erase) -> None:
    """Nobody can be told: what is promised falls away, neither kept nor broken, and no silence is taken for content."""
    case = change.case
    fields: dict[str, Any] = {"erased": True, "assume_at": None}
    if case.unfinished and not command.goes_on:
        fields |= {
            "state": "declined",
            "resolved_at": change.now,
            "untold": "erased",
            "clocks": change.clocks(change.resume, change.stop(*sla.TARGETS, met=False)),
        }
    elif case.state in ANSWERED:
        fields |= {"untold": "erased", "clocks": change.clocks(change.stop("tell_customer", met=False))}
    if not command.goes_on:
        fields["answer"] = None
    change.record("erased", "the customer was erased", **fields)


def _silence(change: _Change, _: Silence) -> None:
    state = change.to("silence")
    change.record("assumed", "told, and no word since", state=state, assume_at=None, actor=SYSTEM)


def _tick(change: _Change, _: Tick) -> None:
    case = change.case
    if case.state == "notified" and case.assume_at is not None and case.assume_at <= change.now:
        _silence(change, Silence())


_HANDLERS: Mapping[type, Callable[[_Change, Any], None]] = {
    Join: _join,
    Acknowledge: _acknowledge,
    Assign: _assign,
    Reassign: _reassign,
    Correct: _correct,
    Note: _note,
    Wait: _wait,
    Resume: _resume,
    Resolve: _resolve,
    Decline: _decline,
    Merge: _merge,
    Reopen: _reopen,
    CustomerSaid: _customer_said,
    Telling: _telling,
    Told: _told,
    Untold: _untold,
    Silence: _silence,
    Thanked: _thanked,
    Upstream: _upstream,
    Erase: _erase,
    Tick: _tick,
}
