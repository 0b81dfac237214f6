"""Any tool that posts JSON: what stands where in it is said in `sources.yaml`, in JMESPath (jmespath.org).

    options:
      each: "records[]"                      # one webhook, several things
      when: "event == 'comment.created'"     # what is not so is ignored
      delivery: "id"                         # what names it; without it, everything that it holds
      map:
        text: comment.body
        title: comment.subject
        customer.email: comment.author.email
        scores: [{metric: nps, value: answers.recommend}]
        channel: "'survey'"                  # a fixed word stands in single quotes
        solicited: true                      # yes, no and numbers stand as they are
        attributes.plan: account.plan

`map` names the members of our own feedback body (docs/http.md), `customer.…` and `attributes.…` within it. `type:` is
one of our event types, or an expression that gives one: for `customer.activity` `map` has `activity`, for
`work.shipped` and `work.declined` it has `work_id`, for `work.moved` `team` or `team_id` beside it. An expression sees one item; the whole payload is `_root` to it,
the headers are `_headers`, in small letters: `_headers."x-event-id"`. A form is an object of texts.

Expressions are read when the configuration is, and what is wrong with one is told by the option's name and the place.
What comes out of one and is of another kind than its field (an object for a text) makes the webhook unreadable, with
the field's name; null is nothing. A number in digits is a number, a time may be seconds or milliseconds.

Signature: most tools sign alike, and `options: {signature: {header: x-signature, algorithm: sha256, encoding: hex,
prefix: "sha256="}}` says in which header and how: an HMAC of the body, keyed with one of `secrets`. Without it,
verify by header, basic or none.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, get_args

from pydantic import BaseModel

from services.ingest.connectors import (
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    hex_bytes,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    iso_time,
    kind_of,
    present,
    text_of,
    time_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import (
    CUSTOMER_ACTIVITY,
    FEEDBACK_RECEIVED,
    INCOMING_TYPES,
    WORK_DECLINED,
    WORK_MOVED,
    WORK_SHIPPED,
)
from shared.events.feedback import Activity, Channel, Customer, Feedback, Moved, Work

NAME = "generic"
SIGNS = True

answer = no_challenge
reply = plain_reply

_MILLISECONDS = 100_000_000_000
"""No event of ours is from the year 5138: a larger number of seconds is one of milliseconds."""
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_OPTIONS = ("map", "each", "when", "delivery", "type", "signature")
_MODELS: Mapping[str, type[BaseModel]] = {
    FEEDBACK_RECEIVED: Feedback,
    CUSTOMER_ACTIVITY: Activity,
    WORK_SHIPPED: Work,
    WORK_DECLINED: Work,
    WORK_MOVED: Moved,
}
_OBJECTS = ("customer", "attributes")
_METRIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?\Z")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}\Z")
_DECODE: Mapping[str, Callable[[str], bytes]] = {"hex": hex_bytes, "base64": base64_bytes}
_ALGORITHMS = ("sha256", "sha1", "sha512")
_SIGNATURE = ("header", "algorithm", "encoding", "prefix")


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def check(source: Source) -> Sequence[str]:
    options = source.options
    issues = unknown_options(source, *_OPTIONS)
    for name in ("each", "when", "delivery"):
        if name in options:
            issues += _expression_issues(name, options[name], fixed=False)
    kinds = [options["type"]] if options.get("type") in INCOMING_TYPES else list(INCOMING_TYPES)
    if "type" in options and len(kinds) > 1:
        issues += _expression_issues("type", options["type"], fixed=False)
    if source.verify == "signature" or "signature" in options:
        issues += _signature_issues(options.get("signature"))
    fields = options.get("map")
    if not isinstance(fields, dict) or not fields:
        return [*issues, "options: map must say what stands where, such as {text: comment.body}"]
    known = {field for kind in (kinds if "type" in options else [FEEDBACK_RECEIVED]) for field in _fields_of(kind)}
    for name, value in _flat(fields):
        if name not in known and not name.startswith("attributes."):
            there = ", ".join(sorted(known))
            issues.append(f"options: map.{name} is none of ours; there is: {there}, attributes.…")
        elif name == "scores":
            issues += _scores_issues(value)
        elif name == "channel" and value in get_args(Channel):
            issues.append(f"options: map.channel: {value} is a path; a fixed word stands in quotes: \"'{value}'\"")
        else:
            issues += _expression_issues(f"map.{name}", value, fixed=True)
    return issues


def _fields_of(kind: str) -> Iterator[str]:
    for name in _MODELS[kind].model_fields:
        if name == "customer":
            yield from (f"customer.{inner}" for inner in Customer.model_fields)
        elif name not in {"source", "external_id"}:
            yield name


def _flat(fields: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """`customer: {email: …}` is `customer.email: …`."""
    for name, value in fields.items():
        if name in _OBJECTS and isinstance(value, dict):
            yield from ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield str(name), value


def _scores_issues(given: Any) -> list[str]:
    if not isinstance(given, list):
        return ["options: map.scores must be a list, such as [{metric: nps, value: answers.recommend}]"]
    issues = []
    for number, one in enumerate(given):
        name = f"map.scores.{number}"
        if not isinstance(one, dict) or set(one) != {"metric", "value"}:
            issues.append(f"options: {name} must have a metric and a value, such as {{metric: nps, value: score}}")
        elif not (isinstance(one["metric"], str) and _METRIC.match(one["metric"])):
            issues.append(f"options: {name}.metric must be a name such as nps, csat or one of your metrics")
        else:
            issues += _expression_issues(f"{name}.value", one["value"], fixed=True)
    return issues


def _signature_issues(given: Any) -> list[str]:
    example = "such as {header: x-signature, algorithm: sha256, encoding: hex}"
    if not isinstance(given, dict):
        return [f"options: signature must say how the body is signed, {example}; or verify by header, basic or none"]
    issues = [f"options: signature.{name} is not known here" for name in set(given) - set(_SIGNATURE)]
    if not (isinstance(given.get("header"), str) and _HEADER.match(given["header"])):
        issues.append(f"options: signature.header must be the name of a header, {example}")
    for name, known in (("algorithm", _ALGORITHMS), ("encoding", tuple(_DECODE))):
        if given.get(name, known[0]) not in known:
            issues.append(f"options: signature.{name} must be one of {', '.join(known)}")
    if not isinstance(given.get("prefix", ""), str):
        issues.append('options: signature.prefix must be a text, such as "sha256="')
    return issues


def _expression_issues(name: str, expression: Any, *, fixed: bool) -> list[str]:
    """`fixed`: yes, no and numbers may stand for themselves."""
    if fixed and isinstance(expression, bool | int | float):
        return []
    if not isinstance(expression, str):
        return [f"options: {name} must be an expression in quotes, such as comment.body"]
    return [f"options: {name}: {issue}" for issue in _jmespath().issues_of(expression)]


def _jmespath() -> Any:
    """Whoever has no source of this kind starts without it."""
    from services.ingest.connectors import _expressions

    return _expressions


# ── what comes ───────────────────────────────────────────────────────────────────────────────────


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    how = source.options.get("signature")
    if not isinstance(how, dict):
        raise SignatureInvalid("options do not say how it is signed")
    given, prefix = request.header(str(how.get("header")).lower()), how.get("prefix", "")
    signature = _DECODE[how.get("encoding", "hex")](given.removeprefix(prefix)) if given.startswith(prefix) else b""
    algorithm = how.get("algorithm", "sha256")
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature], algorithm=algorithm)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = dict(request.form) if request.content_type in _FORMS else request.json
    read = partial(_item, source.options, payload, request.headers)
    each = source.options.get("each")
    if each is None:
        return read(payload)
    items = _Sight(payload, payload, request.headers).at("each", each)
    if items is None:
        return Ignored("options.each finds nothing in it")
    if not isinstance(items, list):
        raise Unreadable(f"options.each must give a list, and gave {kind_of(items)}")
    bodies: dict[str, Draft] = {}

    def once(item: Any) -> Sequence[Draft] | Ignored:
        found = read(item)
        for draft in () if isinstance(found, Ignored) else found:
            if bodies.setdefault(draft.delivery, draft) != draft:
                raise Unreadable("options.delivery gives two that differ the same name")
        return found

    return each_of(items, once)


def _item(options: Mapping[str, Any], payload: Any, headers: Mapping[str, str], item: Any) -> Sequence[Draft] | Ignored:
    sight = _Sight(item, payload, headers)
    if "when" in options and not _is_true(sight.at("when", options["when"])):
        return Ignored("options.when is not true of it")
    kind = options.get("type", FEEDBACK_RECEIVED)
    if kind not in INCOMING_TYPES:
        kind = sight.at("type", kind)
        if kind not in INCOMING_TYPES:
            raise Unreadable(f"options.type must give one of {', '.join(INCOMING_TYPES)}")
    body = _body(options["map"], sight, str(kind))
    if kind == FEEDBACK_RECEIVED and not (text_of(body.get("text")) or body.get("scores")):
        raise Unreadable(
            "neither map.text nor map.scores finds anything: what is no feedback is for options.when to say"
        )
    if "delivery" not in options:
        return [Draft(f"digest/{digest_of(_written(item))}", body, str(kind))]
    named = sight.at("delivery", options["delivery"])
    if isinstance(named, bool) or not isinstance(named, str | int | float) or not str(named).strip():
        raise Unreadable(f"options.delivery must give a text or a number, and gave {kind_of(named)}")
    return [Draft(f"id/{named}", body, str(kind))]


def _body(fields: Mapping[Any, Any], sight: "_Sight", kind: str) -> dict[str, Any]:
    known = set(_fields_of(kind))
    body: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    customer: dict[str, Any] = {}
    for name, expression in _flat(fields):
        outer, dot, inner = name.partition(".")
        if name not in known and outer != "attributes":
            continue  # another type's
        if name == "scores":
            body[name] = _scores(expression, sight)
            continue
        found = sight.at(f"map.{name}", expression)
        if found is None:
            continue
        if name == "attributes":
            attributes |= _object(name, found)
        elif outer == "attributes":
            attributes[inner] = found
        else:
            read: Callable[[str, Any], Any] = _READ.get(name) or _text
            (customer if dot else body)[inner if dot else name] = read(f"map.{name}", found)
    return present(body | {"customer": present(customer), "attributes": attributes})


def _scores(given: Any, sight: "_Sight") -> list[dict[str, Any]]:
    found = []
    for number, one in enumerate(given if isinstance(given, list) else []):
        name = f"map.scores.{number}.value"
        value = sight.at(name, one["value"])
        if value is not None and value != "":
            found.append({"metric": one["metric"], "value": _number(name, value)})
    return found


class _Sight:
    """What an expression sees."""

    def __init__(self, item: Any, payload: Any, headers: Mapping[str, str]) -> None:
        self._item, self._payload, self._headers = item, payload, headers

    def at(self, name: str, expression: Any) -> Any:
        """Raises `Unreadable` where a function of it cannot work on what is there."""
        if not isinstance(expression, str):
            return expression
        return _jmespath().evaluated(f"options.{name}", expression, self._seen_by(expression))

    def _seen_by(self, expression: str) -> Any:
        """Headers may hold secrets: `@` alone, which takes all there is, takes none of them."""
        if not isinstance(self._item, dict) or not ("_root" in expression or "_headers" in expression):
            return self._item
        return {**self._item, "_root": self._payload, "_headers": dict(self._headers)}


def _is_true(value: Any) -> bool:
    """As JMESPath has it: 0 is true, what is empty is not."""
    return not (value is None or value is False or value in ("", [], {}))


# ── kinds of values ──────────────────────────────────────────────────────────────────────────────


def _text(name: str, value: Any) -> str:
    """A number is a text as well: ids, and answers such as 5."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unreadable(f"{name} must be a text, and is {kind_of(value)}")
    return str(value)


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and _NUMBER.match(value.strip()):
        value = float(value)
        return int(value) if value.is_integer() else value
    if not isinstance(value, int | float):
        raise Unreadable(f"{name} must be a number, and is {kind_of(value)}")
    return value


def _yes_or_no(name: str, value: Any) -> bool:
    said = value.strip().lower() if isinstance(value, str) else value
    if said in (True, False):
        return bool(said)
    if said in ("true", "false"):
        return said == "true"
    raise Unreadable(f"{name} must be true or false, and is {kind_of(value)}")


def _time(name: str, value: Any) -> str:
    """What is no time after all is left as it is: its caller says that it left it out."""
    number = float(value) if isinstance(value, str) and _NUMBER.match(value.strip()) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        found = time_of_ms(number) if number >= _MILLISECONDS else time_of(number)
        if found is None:
            raise Unreadable(f"{name} must be a time, and is a number that is none")
        return found
    return iso_time(value) or _text(name, value)


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Unreadable(f"{name} must be a list, and is {kind_of(value)}")
    return [_text(name, one) for one in value]


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"map.{name} must be an object, and is {kind_of(value)}")
    return value


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "occurred_at": _time,
    "solicited": _yes_or_no,
    "feedback_ids": _texts,
}


def _written(item: Any) -> str:
    """The same for the same, however it was written."""
    return json.dumps(item, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
