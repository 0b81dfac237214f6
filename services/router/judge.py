"""One record → its outcome: what is written for it, and what it is called. Values in, values out; the memory of ids
is the only thing that changes, and it is told afterwards whether the batch was committed.

Many records are judged in four passes: what they are and whether they came before; what stands in their texts; what that
says, where a model is asked about all of them at once; what becomes of them. Each record's outcome is its own all the same. The words looked for and everything else that a decision
touches do not fit into a processor's nearest cache together: in turns, record by record, looking through a text costs
a third to a half more (measured: 45 µs instead of 24 to 35).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from services.router.feedback import FeedbackValue, Unreadable, read_feedback, read_object
from services.router.outputs import decision_message, routed_messages
from services.router.route import Discarded, Routing, Seen, Text, look, route, see
from services.router.ruleset import Ruleset
from services.router.seen import Earlier, SeenIds, identify, workspace_of
from shared.events.dead_letter import dead_letter_of
from shared.events.envelope import (
    CUSTOMER_ACTIVITY,
    FEEDBACK_RECEIVED,
    INCOMING_TYPES,
    WORK_DECLINED,
    WORK_MOVED,
    WORK_SHIPPED,
    Envelope,
    NotAnEvent,
)
from shared.log import Message, Record

SERVICE = "router"
CRASH = "crash"
MAX_TRIES = 3
DECIDED = frozenset({"routed", "discarded"})
"""What becomes of feedback that rules were asked about."""

_FEEDBACK = FEEDBACK_RECEIVED.encode()


class Decided(NamedTuple):
    """What was decided about some feedback, and by what it was: for whoever asks other rules about the same."""

    feedback: FeedbackValue
    seen: Seen
    history: bool
    decision: Routing | Discarded


class Outcome(msgspec.Struct, frozen=True):
    what: str
    """routed, duplicate, conflict, discarded, activity.noted, work.noted or dead-letter: the metric's label."""
    messages: list[Message]
    detail: str = ""
    """Why, where a log line is owed: a slug and a sentence without personal fields."""
    decided: Decided | None = None
    """Of feedback that was routed or discarded; None where it had to be looked at more than once."""


class _New(NamedTuple):
    """A record that has not come before."""

    record: Record
    workspace: str
    headers: Mapping[str, bytes]


_Looked = tuple[FeedbackValue, Text]
_Known = tuple[FeedbackValue, Seen]


def judge(record: Record, seen: SeenIds, ruleset: Ruleset, decided_at: str) -> Outcome:
    """Never raises for what the record holds. What fails without a reason is tried again, then dead-lettered as `crash`."""
    return judge_all([record], seen, ruleset, decided_at)[0]


def judge_all(records: Sequence[Record], seen: SeenIds, ruleset: Ruleset, decided_at: str) -> list[Outcome]:
    """What `judge` says of each of them, which are one partition's, in their order."""
    met = [_meet(record, seen, decided_at) for record in records]
    looked = [None if isinstance(found, Outcome) else _look(found, ruleset) for found in met]
    seen_in = _see(looked, ruleset)
    return [
        found if isinstance(found, Outcome) else _outcome(found, said, ruleset, decided_at)
        for found, said in zip(met, seen_in, strict=True)
    ]


def _meet(record: Record, seen: SeenIds, decided_at: str) -> _New | Outcome:
    workspace, encoded = workspace_of(record[0])
    headers = dict(record[6])
    identity = identify(headers, encoded)
    if identity is None:
        return _dead(record, workspace, "bad-headers", _what_is_wrong(record, workspace))
    earlier = seen.earlier(identity, record[2], record[3])
    if earlier is not None:
        return _repeat(record, workspace, headers, earlier, decided_at)
    return _New(record, workspace, headers)


def _look(new: _New, ruleset: Ruleset) -> _Looked | None:
    """None where there is nothing to look at, or where it fails: whoever decides meets that again, and says why."""
    if new.headers["ce_type"] != _FEEDBACK:
        return None
    try:
        feedback = read_feedback(new.record.value)
        return feedback, look(feedback, ruleset)
    except Exception:  # noqa: BLE001
        return None


def _see(looked: Sequence[_Looked | None], ruleset: Ruleset) -> list[_Known | None]:
    """Where it fails for one of them each is seen again by itself, and whose fault it is will be known."""
    there = [found for found in looked if found is not None]
    try:
        said = iter(see(there, ruleset))
    except Exception:  # noqa: BLE001
        return [None] * len(looked)
    return [None if found is None else (found[0], next(said)) for found in looked]


def _outcome(new: _New, known: _Known | None, ruleset: Ruleset, decided_at: str) -> Outcome:
    record, workspace = new.record, new.workspace
    tries = 0
    while True:
        try:
            return _decide(new, known, ruleset, decided_at)
        except Unreadable as error:
            return _dead(record, workspace, error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - one record's defect must not stop the others; the breaker sees it
            tries += 1
            if tries == MAX_TRIES:
                # Its text may quote the customer, so only its kind and its place are told.
                failure = f"an unexpected {type(error).__name__} {_place(error)}"
                return _dead(record, workspace, CRASH, failure, attempts=tries)


def refused(record: Record, seen: SeenIds, why: str) -> Outcome:
    """For one whose outputs the log will never take. It was seen, like any other dead letter."""
    workspace, encoded = workspace_of(record.topic)
    identity = identify(dict(record.headers), encoded)
    if identity is not None:
        seen.earlier(identity, record.offset, record.timestamp_ms)
    return _dead(record, workspace, "refused-by-log", why)


def _what_is_wrong(record: Record, workspace: str) -> str:
    try:
        envelope = Envelope.from_headers(record.headers)
    except NotAnEvent as error:
        return str(error)
    if envelope.type not in INCOMING_TYPES:
        return "ce_type is none that is expected here"
    if envelope.workspace != workspace:
        return "ce_workspace is not the topic's"
    return "ce_id or redrive cannot be read"


def _decide(new: _New, known: _Known | None, ruleset: Ruleset, decided_at: str) -> Outcome:
    record, workspace, headers = new
    kind = headers["ce_type"]
    if kind != _FEEDBACK:
        return _OTHERS[kind.decode()](record, workspace, headers, decided_at)
    feedback, seen = known or (read_feedback(record.value), None)
    history = headers.get("ce_history") == b"1" or feedback.history is True
    decision = route(feedback, ruleset, history, seen)
    decided = Decided(feedback, seen, history, decision) if seen is not None else None
    if not isinstance(decision, Discarded):
        return Outcome("routed", routed_messages(record, decision, workspace), decided=decided)
    found = _decision(workspace, headers, "discarded", f"Rule {decision.rule!r}: {decision.why}.", decided_at)
    found |= {"rule": decision.rule, "ruleset_version": ruleset.version, "reasons": decision.reasons}
    return Outcome("discarded", [decision_message(record, workspace, found)], decided=decided)


def _repeat(record: Record, workspace: str, headers: Mapping[str, bytes], earlier: Earlier, decided_at: str) -> Outcome:
    what = "duplicate" if earlier.same_body else "conflict"
    reason = (
        "The same delivery came before, with the same content."
        if earlier.same_body
        else "The same delivery came before, with other content: the first one stays."
    )
    found = _decision(workspace, headers, what, reason, decided_at)
    found["of"] = f"{record.topic}/{record.partition}/{earlier.offset}"
    return Outcome(what, [decision_message(record, workspace, found)], reason)


def _activity(record: Record, workspace: str, headers: Mapping[str, bytes], decided_at: str) -> Outcome:
    value = read_object(record.value)
    if not isinstance(value.get("activity"), str) or not isinstance(value.get("customer"), dict):
        raise Unreadable("wrong-type", "activity must be a string and customer an object")
    found = _decision(workspace, headers, "activity.noted", "What a customer did; nobody has to answer it.", decided_at)
    return Outcome("activity.noted", [decision_message(record, workspace, _with(found, value))])


def _work(record: Record, workspace: str, headers: Mapping[str, bytes], decided_at: str) -> Outcome:
    value = read_object(record.value)
    if not isinstance(value.get("work_id"), str) or not isinstance(value.get("feedback_ids") or [], list):
        raise Unreadable("wrong-type", "work_id must be a string and feedback_ids a list")
    found = _decision(workspace, headers, "work.noted", "Work that feedback is linked to has ended.", decided_at)
    found["type"] = headers["ce_type"].decode()
    return Outcome("work.noted", [decision_message(record, workspace, _with(found, value))])


def _moved(record: Record, workspace: str, headers: Mapping[str, bytes], decided_at: str) -> Outcome:
    value = read_object(record.value)
    if not isinstance(value.get("work_id"), str) or not isinstance(value.get("source"), str):
        raise Unreadable("wrong-type", "work_id and source must be strings")
    reason = "A ticket that feedback came from has another team in its own tool."
    found = _decision(workspace, headers, "work.noted", reason, decided_at)
    found["type"] = WORK_MOVED
    return Outcome("work.noted", [decision_message(record, workspace, _with(found, value))])


_Other = Callable[[Record, str, Mapping[str, bytes], str], Outcome]
_OTHERS: Mapping[str, _Other] = {
    CUSTOMER_ACTIVITY: _activity,
    WORK_SHIPPED: _work,
    WORK_DECLINED: _work,
    WORK_MOVED: _moved,
}


def _with(decision: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The event's own members, which the closer and the console may need, under the decision's."""
    return value | decision


def _decision(workspace: str, headers: Mapping[str, bytes], what: str, reason: str, decided_at: str) -> dict[str, Any]:
    return {
        "id": headers["ce_id"].decode(),
        "workspace": workspace,
        "decision": what,
        "of": None,
        "reason": reason,
        "decided_at": decided_at,
    }


def _dead(record: Record, workspace: str, reason: str, detail: str, attempts: int = 1) -> Outcome:
    letter = dead_letter_of(record, service=SERVICE, reason=reason, detail=detail, attempts=attempts)
    return Outcome("dead-letter", letter.messages(workspace), f"{reason}: {detail}")


def _place(error: BaseException) -> str:
    """The innermost line of ours or a library's: `route.py:120`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "somewhere"
    return f"in {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
