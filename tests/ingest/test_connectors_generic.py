"""Any JSON by JMESPath: what is wrong with an option is told where and how to mend it, what comes out of the wrong
kind is named; and `flywheel sources try`, which says what would become of a payload of any tool.
"""

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.cli import run
from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, generic
from services.ingest.sources import Source
from shared.config import STARTER

DOCS = Path(__file__).resolve().parents[2] / "docs" / "connect"


def source(options: dict[str, Any], *, verify: str = "none") -> Source:
    secrets = () if verify == "none" else ("x:y",)
    header = "x-token" if verify == "header" else None
    return Source(name="s", connector="generic", verify=verify, secrets=secrets, header=header, options=options)


def request(payload: Any, **headers: str) -> WebhookRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebhookRequest("POST", "https://x.example/s", names, json.dumps(payload).encode())


def parsed(options: dict[str, Any], payload: Any, **headers: str) -> list[Draft]:
    found = generic.parse(request(payload, **headers), source(options))
    assert not isinstance(found, Ignored), found.reason
    return list(found)


# ── options ──

TEXT = {"text": "a"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"map": TEXT}, None),
        ({"map": {"text": "a || b", "customer": {"id": "c", "email": "d"}, "attributes": "@"}}, None),
        ({"map": {"text": "a", "solicited": True, "scores": [{"metric": "effort10", "value": 5}]}}, None),
        ({"map": {"activity": "a", "customer.id": "b"}, "type": "customer.activity"}, None),
        ({"map": {"work_id": "a"}, "type": "join('.', ['work', b])"}, None),
        ({}, "map must say what stands where"),
        ({"map": {}}, "map must say what stands where"),
        ({"map": ["text"]}, "map must say what stands where"),
        ({"map": TEXT, "mapping": 1}, "there is: map, each, when, delivery, type, signature"),
        ({"map": {"txt": "a"}}, "map.txt is none of ours; there is: "),
        ({"map": {"source": "a"}}, "map.source is none of ours"),
        ({"map": {"text": "a", "activity": "b"}}, "map.activity is none of ours"),
        ({"map": {"text": "a", "customer.phone": "b"}}, "map.customer.phone is none of ours"),
        ({"map": {"text": "a", "channel": "survey"}}, "a fixed word stands in quotes: \"'survey'\""),
        ({"map": {"text": ["a"]}}, "map.text must be an expression in quotes"),
        ({"map": {"text": ""}}, "map.text: is empty"),
        ({"map": {"text": "a."}}, "map.text: 'a.', column 3: it ends too early: close every bracket"),
        ({"map": {"text": "a b"}}, "map.text: 'a b', column 3: 'b' is not expected here: put a name with spaces"),
        ({"map": {"text": "a-b"}}, "column 2: unknown token '-': put a name in other letters"),
        ({"map": {"text": "客户.邮箱"}}, "column 1: unknown token 客: put a name in other letters"),
        ({"map": {"text": "'x"}}, "column 1: unclosed ' delimiter"),
        ({"map": {"text": "a[?b=='c'"}}, "column 10: it ends too early"),
        ({"map": {"text": "[\n  a,\n  b c\n]"}}, "line 3, column 5: 'c' is not expected here"),
        ({"map": {"text": "a && upper(b)"}}, "column 6: there is no function upper: there is: abs, "),
        ({"map": {"text": "join(a)"}}, "column 1: join takes 2, and has 1"),
        ({"map": {"text": "merge()"}}, "merge"),
        ({"map": {"text": "a" * 2_001}}, "longer than 2000"),
        ({"map": {"text": "(" * 1_900}}, "map.text"),
        ({"map": TEXT, "when": 5}, "when must be an expression"),
        ({"map": TEXT, "each": "a["}, "each: 'a[', column 3"),
        ({"map": TEXT, "delivery": "id.."}, "delivery: 'id..'"),
        ({"map": TEXT, "type": "a b"}, "type: 'a b'"),
        ({"map": {"scores": "a"}}, "map.scores must be a list"),
        ({"map": {"scores": [{"metric": "nps"}]}}, "map.scores.0 must have a metric and a value"),
        ({"map": {"scores": [{"metric": "a b", "value": "x"}]}}, "map.scores.0.metric must be a name"),
        ({"map": {"scores": [{"metric": "nps", "value": "x."}]}}, "map.scores.0.value: 'x.'"),
        ({"map": TEXT, "signature": "sha256"}, "signature must say how the body is signed"),
        ({"map": TEXT, "signature": {"header": "x sig"}}, "signature.header"),
        ({"map": TEXT, "signature": {"header": "x", "algorithm": "md5"}}, "must be one of sha256, sha1, sha512"),
        ({"map": TEXT, "signature": {"header": "x", "encoding": "b64"}}, "must be one of hex, base64"),
        ({"map": TEXT, "signature": {"header": "x", "prefix": 5}}, "signature.prefix"),
        ({"map": TEXT, "signature": {"header": "x", "salt": 5}}, "signature.salt is not known here"),
    ],
)
def test_options_are_looked_at(options: dict[str, Any], told: str | None) -> None:
    issues = list(generic.check(source(options)))
    assert len(issues) == (0 if told is None else 1), issues
    assert told is None or told in issues[0]


def test_who_verifies_by_signature_says_how() -> None:
    (issue,) = generic.check(source({"map": TEXT}, verify="signature"))
    assert "x-signature" in issue
    assert generic.check(source({"map": TEXT}, verify="header")) == []


def test_the_service_refuses_the_configuration_with_the_line(tmp_path: Path, flywheel: "Flywheel") -> None:
    folder = config(flywheel, tmp_path, {"map": {"text": "a."}}, verify="none")
    said = flywheel("rules", "check", "--config", str(folder))
    assert said.code == 2
    assert re.search(r"sources\.yaml:\d+:\d+: .*map\.text: 'a\.', column 3", said.err)


# ── kinds of values ──


@pytest.mark.parametrize(
    ("fields", "payload", "told"),
    [
        ({"text": "a"}, {"a": {"b": 1}}, "map.text must be a text, and is an object"),
        ({"text": "a"}, {"a": ["x"]}, "map.text must be a text, and is a list"),
        ({"text": "a"}, {"a": True}, "map.text must be a text, and is true or false"),
        ({"text": "a", "customer": {"id": "b"}}, {"a": "x", "b": {}}, "map.customer.id must be a text"),
        ({"text": "a", "attributes": "b"}, {"a": "x", "b": 5}, "map.attributes must be an object, and is a number"),
        ({"text": "a", "solicited": "b"}, {"a": "x", "b": "maybe"}, "map.solicited must be true or false"),
        ({"text": "a", "occurred_at": "b"}, {"a": "x", "b": {}}, "map.occurred_at must be a text"),
        ({"text": "a", "occurred_at": "b"}, {"a": "x", "b": -5}, "map.occurred_at must be a time"),
        ({"scores": [{"metric": "nps", "value": "a"}]}, {"a": "ten"}, "map.scores.0.value must be a number"),
        ({"text": "join(', ', a)"}, {"a": [1]}, "map.text: join() cannot take"),
        ({"text": "a"}, {"a": "  "}, "options.when"),
        ({"text": "a"}, ["x"], "options.when"),
        ({"text": "a"}, None, "options.when"),
    ],
)
def test_a_result_of_another_kind_is_unreadable_and_its_field_is_named(
    fields: dict[str, Any], payload: Any, told: str
) -> None:
    with pytest.raises(Unreadable) as raised:
        generic.parse(request(payload), source({"map": fields}))
    assert told in str(raised.value)
    assert "ten" not in str(raised.value), "no word of the customer's"


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("text", 5, "5"),
        ("language", None, None),
        ("solicited", "true", True),
        ("solicited", 0, False),
        ("occurred_at", 1789459200, "2026-09-15T08:00:00.000Z"),
        ("occurred_at", "1789459200123", "2026-09-15T08:00:00.123Z"),
        ("occurred_at", "2026-09-15T08:00:00+0000", "2026-09-15T08:00:00.000Z"),
        ("occurred_at", "yesterday", "yesterday"),
    ],
)
def test_what_is_taken_for_a_field(name: str, value: Any, read: Any) -> None:
    (draft,) = parsed({"map": {"text": "'x'", name: "a"}}, {"a": value})
    assert draft.body.get(name) == read


@pytest.mark.parametrize(("value", "score"), [(7, 7), ("7", 7), ("6.5", 6.5), (True, 1), (None, None), ("", None)])
def test_what_is_taken_for_a_score(value: Any, score: Any) -> None:
    (draft,) = parsed({"map": {"text": "'x'", "scores": [{"metric": "nps", "value": "a"}]}}, {"a": value})
    assert draft.body.get("scores") == (None if score is None else [{"metric": "nps", "value": score}])


@pytest.mark.parametrize(
    ("when", "payload", "taken"),
    [
        ("kind == 'review'", {"kind": "review"}, True),
        ("kind == 'review'", {"kind": "order"}, False),
        ("kind", {"kind": 0}, True),
        ("kind", {"kind": ""}, False),
        ("kind", {"kind": []}, False),
        ("kind", {}, False),
        ("contains(tags, '投诉')", {"tags": ["投诉"]}, True),
        ("_headers.\"x-event\" == 'created'", {}, True),
        ("_headers.x == 'created'", {}, False),
    ],
)
def test_when(when: str, payload: dict[str, Any], taken: bool) -> None:
    options = {"when": when, "map": {"text": "'x'"}}
    found = generic.parse(request(payload, x_event="created"), source(options))
    assert isinstance(found, Ignored) is not taken


# ── deliveries ──


def test_without_a_name_the_same_is_the_same_however_it_is_written() -> None:
    options = {"map": {"text": "a"}}
    one = generic.parse(WebhookRequest("POST", "u", {}, b'{"a": "x", "b": 1}'), source(options))
    same = generic.parse(WebhookRequest("POST", "u", {}, b'{"b":1,\n"a":"x"}'), source(options))
    other = generic.parse(WebhookRequest("POST", "u", {}, b'{"b":2,"a":"x"}'), source(options))
    assert not isinstance(one, Ignored)
    assert not isinstance(other, Ignored)
    assert one == same
    assert one[0].delivery != other[0].delivery


def test_two_of_one_name_that_differ_are_kept_aside_and_not_lost() -> None:
    options = {"each": "@", "delivery": "id", "map": {"text": "a"}}
    first, aside = parsed(options, [{"id": 1, "a": "x"}, {"id": 1, "a": "y"}])
    assert (first.body["text"], dict(aside.body)) == ("x", {})
    assert len(parsed(options, [{"id": 1, "a": "x"}, {"id": 1, "a": "x"}])) == 1


def test_one_item_that_cannot_be_read_keeps_no_other_from_being_heard() -> None:
    drafts = parsed({"each": "@", "delivery": "id", "map": {"text": "a"}}, [{"id": 1, "a": {}}, {"id": 2, "a": "y"}])
    assert [dict(draft.body) for draft in drafts] == [{"text": "y"}, {}]


def test_no_header_goes_where_everything_goes() -> None:
    (draft,) = parsed({"map": {"text": "a", "attributes": "@"}}, {"a": "x"}, authorization="Bearer secret")
    assert draft.body["attributes"] == {"a": "x"}


# ── flywheel sources try ──


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


Flywheel = Callable[..., Said]


@pytest.fixture
def flywheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flywheel:
    for name in list(os.environ):
        if name.startswith(("FLYWHEEL_", "PUBLIC_URL", "INGEST_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    asked_in = dict(os.environ)

    def ask(*arguments: str, stdin: bytes = b"", **env: str) -> Said:
        capsys.readouterr()
        os.environ.update(env)
        with monkeypatch.context() as here:
            here.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            try:
                code = run(arguments)
            finally:
                os.environ.clear()
                os.environ.update(asked_in)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Said(code, told.out, told.err)

    return ask


def config(flywheel: Flywheel, folder: Path, options: dict[str, Any], **source: Any) -> Path:
    assert flywheel("init", "config").code == 0
    one = {"name": "tool", "connector": "generic", "options": options, **source}
    mail = {"name": "mail", "connector": "mailgun", "verify": "none"}
    (folder / "config" / "sources.yaml").write_text(json.dumps({"sources": [one, mail]}), encoding="utf-8")
    return folder / "config"


SIMPLE = {"delivery": "id", "when": "text", "map": {"text": "text", "customer": {"email": "mail"}, "language": "lang"}}


def test_it_prints_what_would_be_published_after_it_was_made_to_fit(flywheel: Flywheel, tmp_path: Path) -> None:
    folder = str(config(flywheel, tmp_path, SIMPLE, verify="none"))
    payload = json.dumps({"id": 5, "text": "慢", "mail": "not an address", "lang": "zh"}).encode()
    said = flywheel("sources", "try", "tool", "--config", folder, "--json", stdin=payload)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    (event,) = found["events"]
    value = event["value"]
    assert (found["outcome"], event["type"], event["delivery"]) == ("accepted", "feedback.received", "id/5")
    assert (value["id"], value["source"], value["text"], value["language"]) == (event["id"], "tool", "慢", "zh")
    assert value["attributes"] == {"left_out": ["customer.email"]}
    again = json.loads(flywheel("sources", "try", "tool", "-", "--json", "--config", folder, stdin=payload).out)
    assert again["events"][0]["id"] == event["id"], "the id that the service would give it"
    for_people = flywheel("sources", "try", "tool", "--config", folder, stdin=payload)
    assert for_people.code == 0
    assert "慢" in for_people.out
    assert "accepted" in for_people.out


def test_what_is_not_to_be_kept_is_not_in_it_either(flywheel: Flywheel, tmp_path: Path) -> None:
    folder = str(config(flywheel, tmp_path, SIMPLE, verify="none", pii={"mask": ["text"], "drop": ["customer.email"]}))
    payload = json.dumps({"id": 5, "text": "call 13812345678", "mail": "a@example.com"}).encode()
    said = flywheel("sources", "try", "tool", "--config", folder, "--json", stdin=payload)
    value = json.loads(said.out)["events"][0]["value"]
    assert value["text"] == "call [phone]"
    assert "customer" not in value


def test_a_secret_that_retires_is_believed_as_the_service_believes_it(flywheel: Flywheel, tmp_path: Path) -> None:
    secrets = {"verify": "header", "header": "X-Token", "secrets": ["the new one"]}
    retiring = [{"secret": "gone", "until": "2020-01-01T00:00:00Z"}, {"secret": "old", "until": "2999-01-01T00:00:00Z"}]
    folder = str(config(flywheel, tmp_path, SIMPLE, **secrets, retiring=retiring))
    for secret, holds in (("the new one", True), ("old", True), ("gone", False)):
        given = ("--header", f"X-Token: {secret}", "--config", folder, "--json")
        said = flywheel("sources", "try", "tool", *given, stdin=b'{"id":1,"text":"x"}')
        assert json.loads(said.out)["signature"]["holds"] is holds


@pytest.mark.parametrize(
    ("payload", "code", "outcome", "reason"),
    [
        (b'{"id": 1, "text": ""}', 0, "ignored", "options.when is not true of it"),
        (b'{"id": 1, "text": {"a": "secret words"}}', 1, "quarantined", "map.text must be a text, and is an object"),
        (b"not json", 1, "quarantined", "the body is not JSON"),
        (b"", 1, "quarantined", "the body is not JSON"),
    ],
)
def test_it_says_why_not(
    flywheel: Flywheel, tmp_path: Path, payload: bytes, code: int, outcome: str, reason: str
) -> None:
    folder = str(config(flywheel, tmp_path, SIMPLE, verify="none"))
    file = tmp_path / "payload.json"
    file.write_bytes(payload)
    said = flywheel("sources", "try", "tool", str(file), "--config", folder, "--json")
    found = json.loads(said.out)
    assert (said.code, found["outcome"], found["reason"], found["events"]) == (code, outcome, reason, [])
    told = flywheel("sources", "try", "tool", str(file), "--config", folder)
    assert (told.code, f"{outcome}: {reason}" in told.out) == (code, True)
    assert "secret words" not in told.out + told.err


def test_of_several_it_prints_the_good_and_says_that_something_would_be_kept_aside(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    folder = str(config(flywheel, tmp_path, {**SIMPLE, "each": "@"}, verify="none"))
    payload = json.dumps([{"id": 1, "text": "a"}, {"id": 2, "text": {}, "x": 1}, {"id": 3, "text": {"y": 1}}]).encode()
    said = flywheel("sources", "try", "tool", "--config", folder, "--json", stdin=payload)
    found = json.loads(said.out)
    assert said.code == 1
    assert (found["outcome"], len(found["events"]), bool(found["reason"])) == ("accepted", 1, True)
    assert "kept aside" in flywheel("sources", "try", "tool", "--config", folder, stdin=payload).out


@pytest.mark.parametrize(
    ("headers", "env", "holds", "why"),
    [
        ([], {"TOKEN": "a secret"}, None, "no --header was given"),
        (["X-Token: a secret"], {"TOKEN": "a secret"}, True, "would be believed"),
        (["x-token:another"], {"TOKEN": "a secret"}, False, "refused (401)"),
        (["X-Token: a secret"], {}, None, "a variable of secrets is not set here"),
    ],
)
def test_what_a_look_at_the_signature_would_say(
    flywheel: Flywheel, tmp_path: Path, headers: list[str], env: dict[str, str], holds: bool | None, why: str
) -> None:
    folder = str(config(flywheel, tmp_path, SIMPLE, verify="header", header="x-token", secrets=["${TOKEN}"]))
    given = [word for header in headers for word in ("--header", header)]
    said = flywheel("sources", "try", "tool", *given, "--config", folder, "--json", stdin=b'{"id":1,"text":"x"}', **env)
    looked = json.loads(said.out)["signature"]
    assert (said.code, looked["holds"]) == (0, holds)
    assert why in looked["why"]


def test_forms_are_tried_as_forms(flywheel: Flywheel, tmp_path: Path) -> None:
    folder = str(config(flywheel, tmp_path, SIMPLE, verify="none"))
    plain = b"from=Jo+%3Cjo%40example.com%3E&subject=Hi&body-plain=slow"
    parts = b'--B\r\nContent-Disposition: form-data; name="body-plain"\r\n\r\nslow\r\n--B--\r\n'
    for body in (plain, parts):
        said = flywheel("sources", "try", "mail", "--config", folder, "--json", stdin=body)
        assert json.loads(said.out)["events"][0]["value"]["text"] == "slow", said.out
    challenge = flywheel("sources", "try", "tool", "--config", folder, "--query", "a=b", stdin=b'{"id":1,"text":"x"}')
    assert challenge.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sources"], "Usage:"),
        (["sources", "try"], "Missing argument"),
        (["sources", "try", "nobody"], "the starter configuration has no source 'nobody'; there is: none"),
        (["sources", "try", "nobody", "--config", "config"], "there is: mail, tool"),
        (["sources", "try", "tool", "nowhere.json", "--config", "config"], "nowhere.json: No such file"),
        (["sources", "try", "tool", "--header", "X-Token", "--config", "config"], "--header takes 'Name: value'"),
        (["sources", "try", "tool", "--config", "nowhere"], "nowhere"),
    ],
)
def test_misuse_is_2_and_says_what_is_wanted(
    flywheel: Flywheel, tmp_path: Path, arguments: list[str], says: str
) -> None:
    config(flywheel, tmp_path, SIMPLE, verify="none")
    said = flywheel(*arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_an_expression_that_cannot_be_read_is_told_though_a_variable_is_not_set(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    wrong = {"map": {"text": "a."}}
    folder = str(config(flywheel, tmp_path, wrong, verify="header", header="x-token", secrets=["${TOKEN}"]))
    said = flywheel("sources", "try", "tool", "--config", folder, stdin=b"{}")
    assert said.code == 1
    assert "map.text: 'a.', column 3" in said.err


# ── the page ──


def blocks(page: str, kind: str) -> list[str]:
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def test_what_the_page_tries_is_tried_so(flywheel: Flywheel, tmp_path: Path) -> None:
    page = (DOCS / "generic.md").read_text(encoding="utf-8")
    ((sources,), (payload,), (lines,)) = (blocks(page, kind) for kind in ("yaml", "json", "bash"))
    assert flywheel("init", "config").code == 0
    (tmp_path / "config" / "sources.yaml").write_text(sources, encoding="utf-8")
    (tmp_path / "payload.json").write_text(payload, encoding="utf-8")
    first, second = lines.splitlines()
    said = flywheel(*shlex.split(first)[1:], SURVEY_TOOL_SECRET="s")
    assert (said.code, said.err) == (0, "")
    assert "结账步骤太多了。" in said.out
    arguments, _, file = second.partition(" < ")
    said = flywheel(*shlex.split(arguments)[1:], stdin=(tmp_path / file).read_bytes(), SURVEY_TOOL_SECRET="s")
    found = json.loads(said.out)
    assert (said.code, found["outcome"], len(found["events"])) == (0, "accepted", 1)
    value = found["events"][0]["value"]
    assert (value["scores"], value["attributes"]) == ([{"metric": "nps", "value": 4}], {"survey": "Checkout"})
    assert found["signature"]["holds"] is False


def test_the_starter_configuration_has_no_source_to_try() -> None:
    assert "sources: []" in (STARTER / "sources.yaml").read_text(encoding="utf-8")
