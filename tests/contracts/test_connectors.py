"""What every connector must do, proved on the payloads recorded beside it.

A file of `payloads/<connector>/` is one webhook: `headers`, `payload` (or `body`, where the raw bytes matter) and what
it must become, `expected`: `{"drafts": [{"delivery", "type"?, "body"}]}`, `{"ignored": reason}`, `{"unreadable": true}`
or `{"answer": {"status", "body"}}`. With `secrets` and `at` its signature must hold at that time. `options`, `method`
and `query` where they matter. A connector without a recorded case fails; one that signs needs a signed case.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest import connectors as package
from services.ingest.connectors import (
    Connector,
    Draft,
    Ignored,
    Outcome,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    plain_reply,
)
from services.ingest.connectors._fields import signs_nothing
from services.ingest.sources import Source
from services.ingest.tidy import tidy_content
from services.ingest.understanding import _id_of, sayable
from shared import registry
from shared.events.acceptable import Invalid
from shared.events.envelope import FEEDBACK_RECEIVED
from shared.events.feedback import METRIC_RANGES

PAYLOADS = Path(__file__).parent / "payloads"
CONNECTORS: dict[str, Connector] = registry.load(package, Connector)
OTHER_PLUGINS = {"actions", "channels"}
"""Their recorded cases stand in folders beside the connectors'."""
TEN_YEARS = timedelta(days=3650)
SIGN_NO_TIME = {"github", "gitlab", "intercom", "typeform", "discourse", "delighted", "helpscout", "teams", "wjx"}
SIGN_NO_TIME |= {"aftership", "jira", "qualtrics", "segment", "sentry", "shopify", "survicate", "surveymonkey", "tally"}
SIGN_NO_TIME |= {"facebook_page", "whatsapp", "twitter", "twilio", "wootric", "generic"}
"""Their replays are caught by the delivery alone."""
SIGN_A_PART = {"canny", "dingtalk", "mailgun", "wecom", "wechat_mp", "wjx"}
"""What they sign is not the body as it came: nothing of it, or one field. Each has tests of its own for that."""
SIGN_IN_BODY = {"qualtrics"}
"""Their signature stands in what they send, and in no header."""


@dataclass(frozen=True)
class Case:
    connector: str
    file: str
    said: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.connector}/{self.file}"

    @property
    def module(self) -> Connector:
        return CONNECTORS[self.connector]

    @property
    def body(self) -> bytes:
        raw = self.said["body"] if "body" in self.said else json.dumps(self.said.get("payload"), ensure_ascii=False)
        return str(raw).encode()

    @property
    def source(self) -> Source:
        return source_of(self.connector, self.said)

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.said["at"])

    def request(self, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> WebhookRequest:
        names = {name.lower(): value for name, value in {**self.said.get("headers", {}), **(headers or {})}.items()}
        query = self.said.get("query", "")
        url = f"https://feedback.example.com/v1/webhooks/{self.connector}" + (f"?{query}" if query else "")
        return WebhookRequest(self.said.get("method", "POST"), url, names, self.body if body is None else body)


def source_of(connector: str, said: Mapping[str, Any]) -> Source:
    secrets = tuple(said.get("secrets", ()))
    return Source(
        name="recorded",
        connector=connector,
        secrets=secrets,
        verify="signature" if secrets else "none",
        options=said.get("options", {}),
    )


def recorded() -> Iterator[Case]:
    for path in sorted(PAYLOADS.glob("*/*.json")):
        if path.parent.name in OTHER_PLUGINS:
            continue
        yield Case(path.parent.name, path.stem, json.loads(path.read_bytes()))


CASES = list(recorded())
SIGNED = [case for case in CASES if "secrets" in case.said]


def ids(cases: list[Case]) -> dict[str, Any]:
    return {"argvalues": cases, "ids": [str(case) for case in cases]}


def judged(case: Case, request: WebhookRequest) -> dict[str, Any]:
    """What the connector makes of it, in the words of the recorded files."""
    reply = case.module.answer(request, case.source, True)
    if reply is not None:
        return {"answer": {"status": reply.status, "body": reply.body.decode()}}
    try:
        found = case.module.parse(request, case.source)
    except Unreadable:
        return {"unreadable": True}
    if isinstance(found, Ignored):
        return {"ignored": found.reason}
    return {"drafts": [said_of(draft) for draft in found]}


def said_of(draft: Draft) -> dict[str, Any]:
    said = {"delivery": draft.delivery, "body": dict(draft.body)}
    return said if draft.type == "feedback.received" else {**said, "type": draft.type}


# ── the recorded cases ──


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_connector_has_recorded_cases(name: str) -> None:
    cases = [case for case in CASES if case.connector == name]
    assert any("drafts" in case.said["expected"] for case in cases), f"{name}: no recorded case becomes a draft"
    if CONNECTORS[name].SIGNS:
        assert any(case.connector == name for case in SIGNED), f"{name} signs, and no recorded case is signed"


def test_every_recorded_case_has_a_connector() -> None:
    assert {case.connector for case in CASES} <= set(CONNECTORS)


@pytest.mark.parametrize("case", **ids(CASES))
def test_it_becomes_what_was_recorded(case: Case) -> None:
    assert judged(case, case.request()) == case.said["expected"]


@pytest.mark.parametrize("case", **ids(CASES))
def test_the_same_delivery_again_is_the_same(case: Case) -> None:
    """Nothing is remembered, nothing is changed, nothing depends on when."""
    request = case.request()
    before = (dict(request.headers), request.body)
    assert judged(case, request) == judged(case, request) == judged(case, case.request())
    assert (dict(request.headers), request.body) == before


@pytest.mark.parametrize("case", **ids([case for case in CASES if "drafts" in case.said["expected"]]))
def test_its_drafts_fit_the_model_whole(case: Case) -> None:
    found = case.module.parse(case.request(), case.source)
    assert not isinstance(found, Ignored)
    assert len({draft.delivery for draft in found}) == len(found), "each delivery has its own name"
    for draft in found:
        content = tidy_content(draft.type, draft.body, "recorded", METRIC_RANGES)
        assert b"left_out" not in content.canonical, content.canonical


# ── signatures ──


@pytest.mark.parametrize("case", **ids(SIGNED))
def test_a_recorded_signature_holds(case: Case) -> None:
    assert case.module.check(case.source) in ((), [])
    case.module.verify(case.request(), case.source, case.now)


@pytest.mark.parametrize("case", **ids([case for case in SIGNED if case.connector not in SIGN_A_PART]))
def test_35_36_45_a_changed_byte_or_header_breaks_it(case: Case) -> None:
    body = case.body
    changed = [body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :] for i in range(0, len(body), max(1, len(body) // 20))]
    requests = [case.request(other) for other in (*changed, b"", body + b" ", body[:-1])]
    if case.connector not in SIGN_IN_BODY:
        requests.append(WebhookRequest("POST", case.request().url, {}, body))
    for request in requests:
        with pytest.raises(SignatureInvalid):
            case.module.verify(request, case.source, case.now)


@pytest.mark.parametrize("case", **ids(SIGNED))
def test_42_without_its_secret_it_does_not_hold(case: Case) -> None:
    good = 0
    for secret in case.said["secrets"]:
        try:
            case.module.verify(case.request(), source_of(case.connector, {**case.said, "secrets": [secret]}), case.now)
            good += 1
        except SignatureInvalid:
            pass
    assert good == 1, "of several secrets one signed it"


@pytest.mark.parametrize("name", [name for name, connector in CONNECTORS.items() if not connector.SIGNS])
def test_a_tool_that_signs_nothing_says_so_in_the_one_way(name: str) -> None:
    assert CONNECTORS[name].verify is signs_nothing


@pytest.mark.parametrize("case", **ids(SIGNED))
def test_37_a_signed_time_is_near(case: Case) -> None:
    if case.connector in SIGN_NO_TIME:
        pytest.skip(f"{case.connector} signs no time")
    for now in (case.now + TEN_YEARS, case.now - TEN_YEARS):
        with pytest.raises(SignatureInvalid):
            case.module.verify(case.request(), case.source, now)


# ── whatever comes ──

header_values = st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=60),
    st.sampled_from(["v1,", "v1," * 9, "=", "sha256=", "\xff", "1e400", "-1", "9" * 30, "0001-01-01T00:00:00+00:00"]),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["\0\ud800", "\ud800", "zen:event-type:\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
MANY = 10 if os.environ.get("FLYWHEEL_FAULTS") == "full" else 1
many = settings(max_examples=30 * MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("case", **ids(SIGNED))
@many
@given(data=st.data())
def test_no_header_is_more_than_invalid(case: Case, data: st.DataObject) -> None:
    """Whatever the headers hold, the signature holds or is invalid; nothing else is raised."""
    recorded = case.request().headers
    names = data.draw(st.lists(st.sampled_from(sorted(recorded)), min_size=1, unique=True))
    changed = {name: data.draw(header_values) for name in names}
    try:
        case.module.verify(case.request(headers=changed), case.source, case.now)
    except SignatureInvalid:
        return
    assert all(recorded[name] == value for name, value in changed.items() if name != "content-type")


@pytest.mark.parametrize("name", CONNECTORS)
@settings(many, max_examples=50 * MANY)
@given(data=st.data())
def test_no_payload_is_more_than_unreadable(name: str, data: st.DataObject) -> None:
    """Of a recorded payload with any value put anywhere: drafts, ignored or unreadable; nothing else is raised."""
    case = data.draw(st.sampled_from([case for case in CASES if case.connector == name and "payload" in case.said]))
    payload = json.loads(json.dumps(case.said["payload"]))
    spots = list(places(payload))
    if not spots:
        return
    for place in data.draw(st.lists(st.sampled_from(spots), min_size=1, max_size=3)):
        put(payload, place, data.draw(values))
    said = judged(case, case.request(json.dumps(payload).encode()))
    assert set(said) <= {"answer", "drafts", "ignored", "unreadable"}
    outcomes = [Outcome("ignored", reason=sayable(said["ignored"]))] if "ignored" in said else []
    for draft in said.get("drafts", ()):
        assert isinstance(draft["delivery"], str)
        kind, body = draft.get("type", FEEDBACK_RECEIVED), draft["body"]
        # What is sloppy in it is left out by the caller; what is left is feedback, or is kept aside whole.
        with contextlib.suppress(Invalid):
            content = tidy_content(kind, body, "recorded", METRIC_RANGES)
            delivered = _id_of(Draft(draft["delivery"], body, kind), content, case.source)
            outcomes.append(Outcome("accepted", (delivered,)))
    for outcome in outcomes:
        assert 200 <= case.module.reply(outcome).status < 300


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from places(inner, (*path, name))


def put(value: Any, place: tuple[Any, ...], new: Any) -> None:
    """Where an earlier change has taken the place away, nothing happens."""
    for name in place[:-1]:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return
    last = place[-1]
    if isinstance(value, dict) or (isinstance(value, list) and isinstance(last, int) and last < len(value)):
        value[last] = new


@pytest.mark.parametrize("name", CONNECTORS)
def test_every_outcome_has_a_success_reply(name: str) -> None:
    outcomes = [Outcome("accepted", ("a", "b")), Outcome("ignored", reason="r"), Outcome("quarantined", reason="r")]
    for outcome in outcomes:
        reply = CONNECTORS[name].reply(outcome)
        assert 200 <= reply.status < 300
    assert json.loads(plain_reply(outcomes[0]).body) == {"outcome": "accepted", "id": "a", "ids": ["a", "b"]}


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_secret_that_cannot_work_is_told(name: str) -> None:
    """`check` is asked with good and with empty options, and raises nothing."""
    source = Source(name="s", connector=name, secrets=("x",), options={"no_such_option": 1})
    assert all(isinstance(issue, str) and issue for issue in CONNECTORS[name].check(source))
