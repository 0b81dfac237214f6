"""A decision → what is written to the log for it. The event itself is never decoded and encoded again: the routing is
spliced into the original bytes, so members that we do not know reach the teams as they came."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from services.router.feedback import Unreadable
from services.router.route import Routing
from shared.events.envelope import FEEDBACK_DECIDED, FEEDBACK_RECEIVED, FEEDBACK_ROUTED
from shared.log import Headers, Message, Record
from shared.topics import DECISIONS, MAX_MESSAGE_BYTES, named, routed

# What the log adds to a record beside key, value and headers.
OVERHEAD_BYTES = 4096

_encode = msgspec.json.Encoder().encode
_RECEIVED_TYPE = ("ce_type", FEEDBACK_RECEIVED.encode())
_ROUTED_TYPE = ("ce_type", FEEDBACK_ROUTED.encode())
_DECIDED_TYPE = ("ce_type", FEEDBACK_DECIDED.encode())


def spliced(value: bytes, routing: bytes) -> bytes:
    """`value` is one JSON object without a member `routing`, with at least one other."""
    if value[-1] != 0x7D:
        value = value.rstrip()
    return value[:-1] + b',"routing":' + routing + b"}"


def routed_messages(record: Record, routing: Routing, workspace: str) -> list[Message]:
    """One for the owner, one for each team that watches. Raises `Unreadable` where one would not fit the topic."""
    headers = retyped(record.headers, _ROUTED_TYPE)
    value = spliced(record.value, _encode(routing))
    if len(value) + OVERHEAD_BYTES > MAX_MESSAGE_BYTES:
        raise Unreadable("too-large", f"with its routing it has {len(value)} bytes: more than a topic takes")
    key = record.key
    messages = [Message(_topic(workspace, routing.team), key, value, headers)]
    if routing.watchers:
        copy = msgspec.structs.replace(routing, role="watcher")
        value = spliced(record.value, _encode(copy))
        messages += [Message(_topic(workspace, team), key, value, headers) for team in routing.watchers]
    return messages


@lru_cache(maxsize=1024)
def _topic(workspace: str, team: str) -> str:
    return named(workspace, routed(team))


def decision_message(record: Record, workspace: str, decision: Mapping[str, Any]) -> Message:
    """`decision`: the members of `shared.events.feedback.Decision`."""
    return Message(named(workspace, DECISIONS), record.key, _encode(decision), retyped(record.headers, _DECIDED_TYPE))


def retyped(headers: Headers, ours: tuple[str, bytes]) -> Headers:
    """The same headers under another `ce_type`."""
    copy = headers.copy()
    try:
        copy[headers.index(_RECEIVED_TYPE)] = ours
    except ValueError:
        return [ours if name == "ce_type" else (name, value) for name, value in headers]
    return copy
