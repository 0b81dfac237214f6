"""Surveys: which responses are one delivery, options that are wrong, and what each tool is known to trip over."""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.ingest.connectors import (
    Connector,
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    delighted,
    formbricks,
    google_forms,
    jotform,
    qualtrics,
    refiner,
    satismeter,
    surveymonkey,
    survicate,
    tally,
    wootric,
)
from services.ingest.connectors._answers import Answers
from tests.ingest.recorded import PAYLOADS, recorded, source_of

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SURVEYS = [
    delighted, formbricks, google_forms, jotform, qualtrics, refiner, satismeter, surveymonkey, survicate, tally, wootric,
]  # fmt: skip


def request(body: bytes, content_type: str = "application/json", **headers: str) -> WebhookRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebhookRequest("POST", "https://feedback.example.com/x", {"content-type": content_type, **names}, body)


def heard(found: Sequence[Draft] | Ignored) -> Sequence[Draft]:
    assert not isinstance(found, Ignored)
    return found


def parsed(connector: Any, payload: Any, **options: Any) -> Any:
    found = connector.parse(request(json.dumps(payload).encode()), source_of(connector, **options))
    return found if isinstance(found, Ignored) else [dict(draft.body) for draft in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("surveymonkey/response", "surveymonkey/response_again"),
        ("delighted/updated", "delighted/updated_tagged"),
        ("delighted/updated", "delighted/updated_signed"),
        ("formbricks/finished", "formbricks/finished_signed"),
        ("wootric/created", "wootric/created_again"),
        ("survicate/completed", "survicate/completed_again"),
        ("refiner/completed", "refiner/completed_again"),
        ("tally/response_signed", "tally/response_retried"),
        ("jotform/submission", "jotform/submission_json"),
        ("google_forms/response", "google_forms/response_signed"),
        ("qualtrics/response", "qualtrics/response_of_the_api"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("surveymonkey/response", "surveymonkey/response_edited"),
        ("delighted/created", "delighted/updated"),
        ("wootric/created", "wootric/updated"),
        ("jotform/submission", "jotform/submission_edited"),
        ("google_forms/response", "google_forms/response_edited"),
        ("survicate/answered", "survicate/answered_nps"),
    ],
)
def test_what_is_said_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


@pytest.mark.parametrize("connector", SURVEYS, ids=lambda connector: connector.NAME)
def test_the_options_that_all_surveys_have_are_looked_at(connector: Connector) -> None:
    def issues(**options: Any) -> list[str]:
        return list(connector.check(source_of(connector, **options)))

    assert issues(language="zh_CN", fields={"q1": "text", "q2": "effort10", "q3": "leave_out"}) == []
    for wrong, told in (
        ({"language": "Chinese!"}, "language"),
        ({"fields": ["q1"]}, "fields"),
        ({"fields": {"q1": 5}}, "fields: q1"),
        ({"fields": {5: "text"}}, "quotes"),
        ({"field": {}}, "there is: language, fields"),
    ):
        (issue,) = issues(**wrong)
        assert told in issue


@pytest.mark.parametrize(
    ("connector", "secret", "options", "told"),
    [
        (surveymonkey, "client&secret", {}, None),
        (surveymonkey, "secret", {}, "ampersand"),
        (formbricks, "whsec_" + "QUJD" * 8, {}, None),
        (formbricks, "secret", {}, "whsec_"),
        (google_forms, "secret", {}, "whsec_"),
        (delighted, "key", {"metrics": {"smileys": "csat"}}, None),
        (delighted, "key", {"metrics": {"smileys": 5}}, "metrics"),
        (delighted, "key", {"metrics": ["smileys"]}, "metrics"),
    ],
)
def test_secrets_and_options_of_their_own(
    connector: Connector, secret: str, options: dict[str, Any], told: str | None
) -> None:
    issues = list(connector.check(source_of(connector, *filter(None, [secret]), **options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


def test_an_option_that_is_changed_says_nothing_anew() -> None:
    """Whoever posts the same hundred responses every five minutes must be able to name what a question is."""
    said = json.loads((PAYLOADS / "surveymonkey" / "response.json").read_bytes())
    fields: Any
    deliveries = set()
    for fields in ({}, {"9001": "nps"}, {"9001": "leave_out", "9002": "answer"}):
        source = source_of(surveymonkey, fields=fields)
        (draft,) = heard(surveymonkey.parse(request(json.dumps(said["payload"]).encode()), source))
        deliveries.add(draft.delivery)
    assert len(deliveries) == 1


# ── what answers are ──


@pytest.mark.parametrize(
    ("value", "role", "text", "scores"),
    [
        ("慢", None, "慢", []),
        ("7", None, None, []),
        (7, "nps", None, [{"metric": "nps", "value": 7}]),
        ("7", "nps", None, [{"metric": "nps", "value": 7}]),
        ("3.5", "stars", None, [{"metric": "stars", "value": 3.5}]),
        (True, "hmd", None, [{"metric": "hmd", "value": 1}]),
        ("No", "hmd", None, [{"metric": "hmd", "value": 0}]),
        ("是", "hmd", None, [{"metric": "hmd", "value": 1}]),
        ("none of these", "nps", None, []),
        (["Web", "API"], None, None, []),
        ("secret", "leave_out", None, []),
        ("  ", None, None, []),
        (None, "nps", None, []),
    ],
)
def test_an_answer_is_words_or_a_score_or_told(
    value: Any, role: str | None, text: str | None, scores: list[Any]
) -> None:
    answers = Answers(source_of(tally))
    answers.take("so that there are words", ["w"], None, "text")
    answers.take(value, ["q"], "Q?", role)
    words = "so that there are words" + (f"\n\n{text}" if text else "")
    assert (answers.text, answers.scores) == (words, scores)


def test_an_address_that_somebody_types_yields_to_what_the_tool_knows() -> None:
    answers = Answers(source_of(tally))
    answers.take("colleague@example.com", ["Whom else shall we ask?"])
    answers.take("another@example.com", ["And whom else?"])
    assert answers.body({"email": "me@example.com"}, {})["customer"] == {"email": "me@example.com"}
    assert answers.body({"id": "1"}, {})["customer"] == {"id": "1", "email": "colleague@example.com"}
    answers.take("mine@example.com", ["Your address"], None, "email")
    assert answers.body({"email": "me@example.com"}, {})["customer"] == {"email": "mine@example.com"}


def test_who_answers_stands_in_customer_and_nowhere_else() -> None:
    answers = Answers(source_of(tally, fields={"first": "name", "last": "name", "number": "customer_id"}))
    for name, value in {"first": "Lin", "last": "Na", "number": 77, "mail": "lin@example.com", "why": "Slow."}.items():
        answers.take(value, [name])
    rest = answers.take_beside(
        {"Email": "other@example.com", "phone": "+86 1", "ip_address": "203.0.113.1", "city": "沪"}
    )
    body = answers.body({"name": "from the tool"}, {"beside": rest})
    assert body["customer"] == {"name": "Lin Na", "id": "77", "email": "other@example.com"}
    assert body["text"] == "Slow."
    assert body["attributes"] == {"beside": {"city": "沪"}, "answers": [{"ref": "why", "answer": "Slow."}]}


# ── traps ──


def test_wootric_has_brackets_in_names_and_any_brackets_are_read() -> None:
    for body in (
        b"=x&response[id]=1&response[score]=9&event_name=created",
        b"response[id]=1&response[id][x]=2&response[score]=9",
    ):
        (draft,) = heard(wootric.parse(request(body, "application/x-www-form-urlencoded"), source_of(wootric)))
        assert draft.body["scores"] == [{"metric": "nps", "value": 9}]


def test_a_score_out_of_the_range_of_its_metric_is_told_and_no_score() -> None:
    said = {
        "response": {"id": "1", "feedback": "x", "answers": [{"id": "a", "value": 9, "metric": "ces", "type": "scale"}]}
    }
    (body,) = parsed(satismeter, said)
    assert "scores" not in body
    assert body["attributes"]["answers"][0]["answer"] == 9


def test_what_tells_no_answer_says_how_to_be_heard() -> None:
    told = parsed(surveymonkey, {"event_type": "response_completed", "object_id": "1", "resources": {}})
    assert isinstance(told, Ignored)
    assert "post what the API says" in told.reason
    told = qualtrics.parse(
        request(b"Topic=t&SurveyID=SV_1&ResponseID=R_1", "application/x-www-form-urlencoded"), source_of(qualtrics)
    )
    assert isinstance(told, Ignored)
    assert "post what the API" in told.reason


def test_one_bad_response_of_a_page_keeps_no_other_from_being_heard() -> None:
    good = {"id": "1", "pages": [{"questions": [{"id": "q", "answers": [{"text": "Slow."}]}]}]}
    drafts = surveymonkey.parse(request(json.dumps({"data": [good, {"pages": []}]}).encode()), source_of(surveymonkey))
    assert not isinstance(drafts, Ignored)
    assert [bool(draft.body) for draft in drafts] == [True, False]
    with pytest.raises(Unreadable):
        parsed(surveymonkey, {"data": [{"pages": []}]})


def test_of_a_form_of_qualtrics_only_what_is_signed_is_read() -> None:
    """Its topic, and fields that somebody writes beside MSG, are not."""
    message = '{"ResponseID":"R_1"}'
    mac = hmac.new(b"key", message.encode(), "sha512").hexdigest()
    form = f"responseId=R_evil&values=x&MSG=%7B%22ResponseID%22%3A%22R_1%22%7D&HMAC={mac}".encode()
    sent = request(form, "application/x-www-form-urlencoded")
    qualtrics.verify(sent, source_of(qualtrics, "key"), NOW)
    assert isinstance(qualtrics.parse(sent, source_of(qualtrics, "key")), Ignored)
    for other in (form.replace(b"R_1", b"R_2"), b"HMAC=" + mac.encode(), b"\xff=%FF", b"", b"{}"):
        with pytest.raises(SignatureInvalid):
            qualtrics.verify(request(other, "application/x-www-form-urlencoded"), source_of(qualtrics, "key"), NOW)


def test_tally_signs_what_it_sends_and_nothing_that_looks_the_same() -> None:
    body = b'{"eventType": "FORM_RESPONSE", "data": {"responseId": "1", "fields": []}}'
    mac = base64.b64encode(hmac.digest(b"secret", body, "sha256")).decode()
    tally.verify(request(body, tally_signature=mac), source_of(tally, "secret"), NOW)
    with pytest.raises(SignatureInvalid):
        tally.verify(request(body.replace(b" ", b""), tally_signature=mac), source_of(tally, "secret"), NOW)


# ── real ones ──


@pytest.mark.parametrize(
    ("connector", "became"),
    [
        (formbricks, {"feedback.received": 2}),
        (wootric, {"feedback.received": 1, "ignored": 1}),
        (jotform, {"ignored": 1}),
        (google_forms, {"feedback.received": 1}),
    ],
    ids=lambda value: getattr(value, "NAME", ""),
)
def test_what_real_payloads_become(corpus: Path, connector: Connector, became: dict[str, int]) -> None:
    found: Counter[str] = Counter()
    for path in sorted((corpus / "webhooks" / connector.NAME).glob("*.json")):
        drafts = connector.parse(request(path.read_bytes()), source_of(connector))
        found.update(["ignored"] if isinstance(drafts, Ignored) else [draft.type for draft in drafts])
    assert found == became
