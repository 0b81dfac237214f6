"""The case: every state with every verb as the contract has it, and what holds whatever is done to it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.closer import case as core
from services.closer.case import (
    TABLE,
    Acknowledge,
    Also,
    Assign,
    Case,
    Command,
    CustomerSaid,
    Decline,
    IllegalTransition,
    InvalidCommand,
    Join,
    Merge,
    Note,
    Open,
    Outcome,
    Promise,
    Reassign,
    Reopen,
    Resolve,
    Resume,
    Silence,
    Telling,
    Tick,
    Told,
    Untold,
    Wait,
    decide,
    goes_along,
    legal_verbs,
    next_due,
    open_case,
)
from services.closer.sla import ClockSnapshot, Duration
from shared.events.case import UNFINISHED, CaseChanged, State

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SNAPSHOT = ClockSnapshot(
    policy="default",
    targets=(
        ("acknowledge", Duration(8, "h")),
        ("resolve", Duration(3, "d")),
        ("tell_customer", Duration(5, "d")),
    ),
    warn_at_percent=75,
    assume_after=Duration(14, "d"),
    escalate_to=("boss@example.com",),
    calendar=None,
)
WORDS = "the words of somebody"
ADDRESS = "li@example.com"
KEY = "default/c/answered/1"


def opening(**changes: Any) -> Open:
    command = Open(
        case_id="case-1",
        workspace="default",
        case_key="key-1",
        customer="c-1",
        team="support",
        theme="general",
        priority="normal",
        feedback_id="f-1",
        received_at=NOW,
        snapshot=SNAPSHOT,
        language="zh-CN",
    )
    return msgspec.structs.replace(command, **changes)


def opened(**changes: Any) -> Case:
    return open_case(opening(**changes), NOW).case


def through(case: Case, *commands: Command, step: timedelta = MINUTE) -> Case:
    now = NOW
    for command in commands:
        now += step
        case = decide(case, command, now, "key-7").case
    return case


RESOLVE, DECLINE = Resolve("fixed", "en"), Decline("cannot", "en")
TOLD = Told("answered", 1, KEY, "email")
WAY: dict[State, tuple[Command, ...]] = {
    "open": (),
    "acknowledged": (Acknowledge(),),
    "in_progress": (Assign(ADDRESS),),
    "waiting_on_customer": (Assign(ADDRESS), Wait()),
    "resolved": (RESOLVE,),
    "declined": (DECLINE,),
    "merged": (Merge("case-2"),),
    "notified": (RESOLVE, TOLD),
    "confirmed": (RESOLVE, TOLD, CustomerSaid(solved=True)),
    "assumed": (RESOLVE, TOLD, Silence()),
    "reopened": (RESOLVE, Reopen()),
}
VERBS: dict[str, Command] = {
    "acknowledge": Acknowledge(),
    "assign": Assign(ADDRESS),
    "reassign": Reassign(team="product"),
    "note": Note(WORDS),
    "wait": Wait(),
    "resume": Resume(),
    "resolve": RESOLVE,
    "decline": DECLINE,
    "merge": Merge("case-2"),
    "reopen": Reopen(),
    "join": Join("f-2"),
    "silence": Silence(),
}
# The contract's table, written out: in which state which verb leads where; what stands not here is refused.
CONTRACT: dict[State, dict[str, State]] = {
    "open": {"acknowledge": "acknowledged", "assign": "in_progress"},
    "acknowledged": {"assign": "in_progress"},
    "in_progress": {"wait": "waiting_on_customer"},
    "waiting_on_customer": {"resume": "in_progress"},
    "reopened": {"acknowledge": "acknowledged", "assign": "in_progress"},
    "resolved": {"reopen": "reopened"},
    "declined": {"reopen": "reopened"},
    "notified": {"reopen": "reopened", "silence": "assumed"},
    "confirmed": {"reopen": "reopened"},
    "assumed": {"reopen": "reopened"},
    "merged": {},
}
for unfinished in UNFINISHED:
    CONTRACT[unfinished] |= {
        "reassign": unfinished,
        "note": unfinished,
        "resolve": "resolved",
        "decline": "declined",
        "merge": "merged",
        # A new word from the customer resumes.
        "join": "in_progress" if unfinished == "waiting_on_customer" else unfinished,
    }


@pytest.mark.parametrize("state", sorted(WAY))
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_in_every_state_as_the_contract_has_it(state: State, verb: str) -> None:
    case = through(opened(), *WAY[state])
    assert case.state == state
    expected = CONTRACT[state].get(verb)
    if expected is not None:
        outcome = decide(case, VERBS[verb], NOW + HOUR, "key-7")
        assert outcome.case.state == expected
        assert outcome.case.version == case.version + 1
        return
    with pytest.raises(IllegalTransition) as refused:
        decide(case, VERBS[verb], NOW + HOUR, "key-7")
    people = {"acknowledge", "assign", "reassign", "note", "wait", "resume", "resolve", "decline", "merge", "reopen"}
    assert set(refused.value.legal_verbs) == people & set(CONTRACT[state])


def test_the_table_says_the_same_as_the_contract() -> None:
    for state in WAY:
        assert set(legal_verbs(state)) == set(CONTRACT[state]) - {"join", "silence"}
    assert len({transition.verb for transition in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    ("state", "solved", "expected", "what"),
    [
        ("notified", True, "confirmed", ["confirmed"]),
        ("notified", False, "reopened", ["reopened"]),
        # Who answers has been told, though the mail's receipt may still be on its way.
        ("resolved", True, "confirmed", ["notified", "confirmed"]),
        ("declined", True, "confirmed", ["notified", "confirmed"]),
        ("resolved", False, "reopened", ["reopened"]),
        ("declined", False, "reopened", ["reopened"]),
        ("confirmed", False, "reopened", ["reopened"]),
        ("assumed", False, "reopened", ["reopened"]),
        # Silence was taken for content already: the yes is heard, and assumed stays apart from confirmed.
        ("assumed", True, "assumed", ["joined"]),
        ("confirmed", True, "confirmed", ["joined"]),
        ("open", True, "open", ["joined"]),
        ("open", False, "open", ["joined"]),
        ("reopened", False, "reopened", ["joined"]),
        ("waiting_on_customer", False, "in_progress", ["joined", "resumed"]),
    ],
)
def test_what_the_customer_says_on_the_page(state: State, solved: bool, expected: State, what: list[str]) -> None:
    outcome = decide(through(opened(), *WAY[state]), CustomerSaid(solved, "f-9"), NOW + HOUR, core.CUSTOMER)
    assert outcome.case.state == expected
    assert [event.what for event in outcome.events] == what
    assert outcome.events[-1 if what[-1] != "resumed" else 0].data["feedback_id"] == "f-9"


@pytest.mark.parametrize("state", ["resolved", "declined", "notified", "assumed", "open"])
def test_a_yes_that_is_not_about_this_answer_or_not_this_customers_closes_nothing(state: State) -> None:
    said = CustomerSaid(True, "f-9", confirms=False)
    outcome = decide(through(opened(), *WAY[state]), said, NOW + HOUR, core.CUSTOMER)
    assert (outcome.case.state, [event.what for event in outcome.events]) == (state, ["joined"])


@pytest.mark.parametrize(
    ("way", "also", "expected"),
    [
        ("open", (), (Also("case-1", 0),)),
        ("reopened", (), (Also("case-1", 1),)),
        ("notified", (), (Also("case-1", 1),)),
        ("open", (Also("x", 2),), (Also("case-1", 0), Also("x", 2))),
        ("reopened", (Also("x", 2),), (Also("case-1", 1), Also("x", 3))),
    ],
)
def test_who_goes_along_when_a_case_is_merged_and_after_how_many_answers(
    way: State, also: tuple[Also, ...], expected: tuple[Also, ...]
) -> None:
    case = opened()
    if also:
        case = through(case, Join("f-2", merged="x", also=also))
    assert goes_along(through(case, *WAY[way])) == expected


@pytest.mark.parametrize(
    ("state", "targets"),
    [
        ("open", {"acknowledge", "resolve", "tell_customer"}),
        ("in_progress", {"resolve", "tell_customer"}),
        ("waiting_on_customer", {"resolve", "tell_customer"}),
        ("reopened", {"resolve", "tell_customer"}),
    ],
)
def test_history_that_is_woken_runs_on_the_clocks_of_what_is_still_to_be_done(state: State, targets: set[str]) -> None:
    since = NOW + 30 * MINUTE
    command = Join("f-9", promise=Promise(since, SNAPSHOT, heard=True))
    outcome = decide(through(opened(history=True), *WAY[state]), command, NOW + HOUR)
    case = outcome.case
    assert case.clocks is not None
    assert not case.history
    assert not case.clocks.paused
    assert dict(case.clocks.running) == dict.fromkeys(targets, since)
    assert case.clocks.generation == case.generation
    assert outcome.events[0].data == {"feedback_id": "f-9", "policy": "default", "history": False, "heard": True}


def test_a_word_to_a_merged_case_is_refused_so_that_the_caller_follows_it() -> None:
    with pytest.raises(IllegalTransition):
        decide(through(opened(), Merge("case-2")), CustomerSaid(solved=False), NOW + HOUR)


@pytest.mark.parametrize(
    "command", [Reopen(other_unfinished="case-2"), CustomerSaid(solved=False, other_unfinished="case-2")]
)
def test_reopened_while_another_of_its_key_is_unfinished_merges(command: Command) -> None:
    outcome = decide(through(opened(), RESOLVE, TOLD), command, NOW + HOUR)
    assert (outcome.case.state, outcome.case.merged_into) == ("merged", "case-2")
    assert [event.what for event in outcome.events] == ["merged"]
    assert outcome.case.clocks is not None
    assert not outcome.case.clocks.running


@pytest.mark.parametrize("command", [Merge("case-1"), Reassign()])
def test_commands_that_make_no_sense_are_refused(command: Command) -> None:
    with pytest.raises(InvalidCommand):
        decide(opened(), command, NOW + HOUR)


def test_opening() -> None:
    outcome = open_case(opening(tags=("speed",), kind="bug", linked_to="case-0"), NOW + MINUTE)
    (event,) = outcome.events
    assert (event.sequence, event.what, event.state, outcome.case.sequence) == (1, "opened", "open", 1)
    assert event.data["tags"] == ["speed"]
    assert event.data["linked_to"] == "case-0"
    assert outcome.case.clocks is not None
    # The clocks run since the feedback was received, not since we got round to it.
    assert set(outcome.case.clocks.running.values()) == {NOW}
    assert next_due(outcome.case) == NOW + 6 * HOUR


def test_history_has_no_clocks() -> None:
    case = opened(history=True)
    assert case.clocks is None
    assert next_due(case) is None
    assert through(case, RESOLVE, Reopen(), RESOLVE).state == "resolved"


def test_assigning_stops_the_acknowledge_clock_as_acknowledging_does() -> None:
    for command in (Acknowledge(), Assign(ADDRESS)):
        case = through(opened(), command)
        assert case.clocks is not None
        assert set(case.clocks.running) == {"resolve", "tell_customer"}
        assert case.acknowledged_at == NOW + MINUTE


def test_resolving_without_acknowledging_acknowledges() -> None:
    case = through(opened(), RESOLVE)
    assert case.clocks is not None
    assert set(case.clocks.running) == {"tell_customer"}
    assert (case.acknowledged_at, case.resolved_at) == (NOW + MINUTE, NOW + MINUTE)


def test_waiting_pauses_the_team_and_resolving_ends_the_wait() -> None:
    case = through(opened(), Assign(ADDRESS), Wait())
    assert case.clocks is not None
    assert case.clocks.paused
    case = through(case, RESOLVE)
    assert case.clocks is not None
    assert not case.clocks.paused


def test_told_once_per_generation_and_silence_after_that() -> None:
    case = through(opened(), RESOLVE, TOLD)
    assert case.told_at == NOW + 2 * MINUTE
    assert case.assume_at == NOW + 2 * MINUTE + 14 * DAY
    assert case.clocks is not None
    assert not case.clocks.running
    assert next_due(case) == case.assume_at
    assert decide(case, Tick(), NOW + 14 * DAY) == Outcome(case, ())
    outcome = decide(case, Tick(), NOW + 15 * DAY)
    assert outcome.case.state == "assumed"
    assert next_due(outcome.case) is None


def test_reopening_counts_a_generation_and_a_receipt_of_the_last_one_tells_nothing() -> None:
    case = through(opened(), RESOLVE, Reopen("still broken"), Resolve("fixed again"))
    assert case.generation == 2
    late = decide(case, TOLD, NOW + HOUR)
    assert late.case.state == "resolved"
    assert [event.what for event in late.events] == ["notification.sent"]
    now = decide(late.case, Told("answered", 2, "default/c/answered/2", "email"), NOW + HOUR)
    assert now.case.state == "notified"


@pytest.mark.parametrize("kind", ["heard", "answered"])
def test_we_heard_you_moves_nothing(kind: Any) -> None:
    case = through(opened(), Telling(kind, 1, KEY, "email"), Told(kind, 1, KEY, "email"))
    assert case.state == "open"
    case = through(opened(), RESOLVE, Told("heard", 1, KEY, "email"))
    assert case.state == "resolved"


def test_who_cannot_be_reached_leaves_the_case_resolved_with_the_reason_and_no_broken_promise() -> None:
    outcome = decide(through(opened(), RESOLVE), Untold("answered", 1, "no-address"), NOW + HOUR)
    assert (outcome.case.state, outcome.case.untold) == ("resolved", "no-address")
    assert [(event.what, event.reason) for event in outcome.events] == [("notification.withheld", "no-address")]
    assert next_due(outcome.case) is None
    failed = decide(through(opened(), RESOLVE), Untold("answered", 1, "rejected", failed=True), NOW + HOUR)
    assert failed.events[0].what == "notification.failed"


def test_a_withheld_we_heard_you_says_nothing_about_the_answer() -> None:
    assert through(opened(), Untold("heard", 1, "no-address")).untold is None
    assert through(opened(), RESOLVE, Untold("heard", 1, "no-address")).untold is None


def test_reassigning_to_a_team_frees_the_person_and_keeps_key_and_clocks() -> None:
    before = through(opened(), Assign(ADDRESS))
    after = through(before, Reassign(team="product"))
    assert (after.team, after.assignee, after.state) == ("product", None, "in_progress")
    assert (after.case_key, after.clocks) == (before.case_key, before.clocks)
    assert through(before, Reassign(to="wang@example.com")).assignee == "wang@example.com"
    assert through(before, Reassign(team="support")).assignee == ADDRESS


def test_more_urgent_feedback_makes_the_case_more_urgent_and_moves_no_clock() -> None:
    case = opened()
    after = through(case, Join("f-2", "urgent"))
    assert (after.priority, after.clocks) == ("urgent", case.clocks)
    assert through(after, Join("f-3", "low")).priority == "urgent"


def test_an_answer_on_the_page_joins_whatever_the_state() -> None:
    states: tuple[State, ...] = ("resolved", "notified", "confirmed", "assumed")
    for state in states:
        case = through(opened(), *WAY[state])
        outcome = decide(case, Join("f-9", on_loop=True), NOW + HOUR)
        assert (outcome.case.state, [event.what for event in outcome.events]) == (state, ["joined"])


def test_a_command_that_comes_after_a_deadline_finds_it_said_first() -> None:
    outcome = decide(opened(), Acknowledge(), NOW + 9 * HOUR, "key-7")
    what = [event.what for event in outcome.events]
    assert what == ["clock.breached", "clock.escalated", "clock.breached", "acknowledged"]
    assert outcome.events[0].data["due_at"] == "2026-11-02T17:00:00.000Z"
    assert outcome.events[0].actor == "system"
    # Whom is escalated to is an address: it stays with us.
    assert outcome.events[1].private == {"to": ["boss@example.com"]}
    assert outcome.events[-1].actor == "key-7"


def test_a_refused_command_leaves_everything() -> None:
    case = through(opened(), Merge("case-2"))
    with pytest.raises(IllegalTransition):
        decide(case, Acknowledge(), NOW + 90 * DAY)
    assert decide(case, Tick(), NOW + 90 * DAY) == Outcome(case, ())


def test_each_clock_rings_once_over_a_whole_life() -> None:
    case, rung = opened(), Counter[tuple[str, str, str]]()
    for hour in range(0, 24 * 20):
        outcome = decide(case, Tick(), NOW + hour * HOUR)
        case = outcome.case
        rung.update((event.what, event.data["target"], event.data["clock"]) for event in outcome.events)
    for target in ("acknowledge", "resolve", "tell_customer"):
        for clock in ("business", "wall"):
            assert rung["clock.warned", target, clock] == 1
            assert rung["clock.breached", target, clock] == 1
        assert rung["clock.escalated", target, "business"] + rung["clock.escalated", target, "wall"] == 1


# ── through anything ──────────────────────────────────────────────────────────────────────────────────────────────

COMMANDS = st.one_of(
    st.sampled_from([Acknowledge(), Assign(ADDRESS), Wait(WORDS), Resume(WORDS), Note(WORDS), Silence(), Tick()]),
    st.sampled_from(
        [Resolve(WORDS, "zh"), Decline(WORDS), Reopen(WORDS), Reopen(WORDS, "case-2"), Merge("case-2", WORDS)]
    ),
    st.builds(Join, st.just("f-2"), st.sampled_from([None, "low", "urgent"]), st.booleans()),
    st.builds(Reassign, st.sampled_from(["product", "support"]), st.sampled_from([None, ADDRESS])),
    st.builds(Join, st.just("f-4"), promise=st.builds(Promise, st.just(NOW), st.just(SNAPSHOT), own=st.booleans())),
    st.builds(Join, st.just("f-5"), merged=st.just("case-3"), reason=st.just(WORDS), also=st.just((Also("case-3"),))),
    st.builds(CustomerSaid, st.booleans(), st.just("f-3"), st.sampled_from([None, "case-2"]), confirms=st.booleans()),
    st.builds(
        Told, st.sampled_from(["heard", "answered", "declined"]), st.integers(1, 3), st.just(KEY), st.just("email")
    ),
    st.builds(
        Telling, st.sampled_from(["heard", "answered", "declined"]), st.integers(1, 3), st.just(KEY), st.just("email")
    ),
    st.builds(
        Untold,
        st.sampled_from(["heard", "answered", "declined"]),
        st.integers(1, 3),
        st.just("no-address"),
        st.booleans(),
    ),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(COMMANDS, st.integers(0, 4 * 86_400)), max_size=40),
    st.booleans(),
)
def test_whatever_is_done_to_a_case(commands: list[tuple[Command, int]], history: bool) -> None:
    outcome = open_case(opening(history=history), NOW)
    case, events, now = outcome.case, list(outcome.events), NOW
    rung: Counter[tuple[str, str, str, int]] = Counter()
    for command, seconds in commands:
        now += timedelta(seconds=seconds)
        try:
            outcome = decide(case, command, now, "key-7")
        except IllegalTransition:
            continue
        assert outcome.case.version == case.version + bool(outcome.events)
        if not outcome.events:
            assert outcome.case == case
        case = outcome.case
        events += outcome.events
        for event in outcome.events:
            if event.what.startswith("clock."):
                rung[event.what, event.data["target"], event.data["clock"], event.data["generation"]] += 1
    # Numbers from 1, without gaps; times never run back; the last event shows the case's state.
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert case.sequence == len(events)
    assert events[-1].state == case.state
    assert all(count == 1 for count in rung.values()), rung
    # What goes to the topic is what the topic's model says, and holds nobody's words and no address.
    for event in events:
        value = event.value(case)
        CaseChanged.model_validate(value)
        text = msgspec.json.encode(value)
        assert WORDS.encode() not in text
        assert b"@" not in text
        assert b"c-1" not in text
    # State and fields agree.
    assert (case.merged_into is not None) == (case.state == "merged")
    assert (case.assume_at is not None) == (case.state == "notified" and case.clocks is not None)
    assert case.history <= history, "nothing makes history of a case"
    assert case.clocks is not None or case.history
    assert case.generation == 1 + sum(event.what == "reopened" for event in events)
    # Silence is never counted as confirmed: a confirmed case has the customer's yes.
    if case.state == "confirmed":
        assert [event.data["solved"] for event in events if event.what == "confirmed"][-1] is True
    if case.clocks is not None:
        assert case.clocks.paused == (case.state == "waiting_on_customer")
        assert ("resolve" in case.clocks.running) == case.unfinished
        if case.state in ("notified", "confirmed", "assumed", "merged"):
            assert not case.clocks.running
