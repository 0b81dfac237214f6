"""What people and tools do to cases, over HTTP."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.channels import Unknown
from services.closer.search import Indexer
from tests.closer.served import Served, served
from tests.closer.test_deliver import Sink, deliverer, once
from tests.closer.test_page import routed_back, token_of
from tests.closer.world import World, config_with, feedback

ANSWER = {"answer": "We refunded you.", "language": "en"}


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as api:
        yield api


async def opened(api: Served, **changes: Any) -> str:
    value = feedback(**changes)
    await api.world.take(value)
    return str((await api.world.case(value["id"]))["id"])


# ── verbs ──


async def test_a_case_from_open_to_answered_with_everything_that_follows(api: Served) -> None:
    case = await opened(api)
    for verb, body, state in (
        ("acknowledge", None, "acknowledged"),
        ("assign", {"to": "li@example.com"}, "in_progress"),
        ("note", {"text": "Asked finance."}, "in_progress"),
        ("wait", {"reason": "asked for the order number"}, "waiting_on_customer"),
        ("resume", {}, "in_progress"),
        ("resolve", ANSWER, "resolved"),
    ):
        answer = await api.post(f"/v1/cases/{case}/{verb}", body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == state
    found = (await api.get(f"/v1/cases/{case}")).json()
    assert [step["what"] for step in found["timeline"]] == [
        "opened",
        "acknowledged",
        "assigned",
        "noted",
        "waiting",
        "resumed",
        "resolved",
    ]
    assert {step["actor"] for step in found["timeline"]} == {"system", "li"}
    assert found["answer"] == ANSWER["answer"]
    assert found["feedback"][0]["text"] == "Where is my refund?"
    assert {note["kind"]: note["status"] for note in found["notifications"]} == {
        "heard": "pending",
        "answered": "pending",
    }
    assert {clock["target"]: clock["open"] for clock in found["clocks"]} == {
        "acknowledge": False,
        "resolve": False,
        "tell_customer": True,
    }
    events = await api.world.outbox()
    assert [event["sequence"] for event in events] == list(range(1, 8))
    assert "refunded" not in str(events)
    assert "finance" not in str(events)


async def test_reopen_starts_the_clocks_anew(api: Served) -> None:
    case = await opened(api)
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    api.world.clock.advance(timedelta(days=1))
    found = (await api.post(f"/v1/cases/{case}/reopen", {"reason": "not yet"})).json()
    assert (found["state"], found["reopened_count"], found["resolved_at"]) == ("reopened", 1, None)
    running = [(clock["target"], clock["generation"]) for clock in found["clocks"] if clock["open"]]
    assert sorted(running) == [("resolve", 2), ("tell_customer", 2)]


SLA_BY_KIND = """\
policies:
  - {name: complaints, when: {kind: complaint}, resolve: 1h}
  - {name: default, resolve: 3d}
"""


async def test_reopened_by_us_or_by_the_customer_a_case_keeps_the_policy_of_its_kind(
    database_url: str, tmp_path: Path
) -> None:
    """Policies chosen by `kind` were forgotten when a case was opened again."""
    config = config_with(tmp_path, sla=SLA_BY_KIND)
    async with World.open(database_url, config) as world, served(world, database_url, tmp_path) as api:
        case = await opened(api)
        assert (await api.get(f"/v1/cases/{case}")).json()["policy"] == "complaints"
        await api.post(f"/v1/cases/{case}/resolve", ANSWER)
        assert (await api.post(f"/v1/cases/{case}/reopen", {})).json()["policy"] == "complaints"
        await api.post(f"/v1/cases/{case}/resolve", ANSWER)
        await api.http.post(f"/loop/{token_of(case)}", data={"solved": "no"})
        await routed_back(api)
        found = (await api.get(f"/v1/cases/{case}")).json()
        assert (found["state"], found["policy"]) == ("reopened", "complaints")


async def test_reassign_keeps_the_key_so_that_more_feedback_still_joins(api: Served) -> None:
    case = await opened(api)
    found = (await api.post(f"/v1/cases/{case}/reassign", {"team": "product"})).json()
    assert found["team"] == "product"
    again = feedback()
    await api.world.take(again)
    assert str((await api.world.case(again["id"]))["id"]) == case


async def test_an_illegal_transition_names_what_is_legal(api: Served) -> None:
    case = await opened(api)
    before = (await api.get(f"/v1/cases/{case}")).json()
    answer = await api.post(f"/v1/cases/{case}/resume", {})
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["type"] == "/problems/illegal-transition"
    assert problem["state"] == "open"
    assert set(problem["legal"]) == {"acknowledge", "assign", "reassign", "note", "resolve", "decline", "merge"}
    assert (await api.get(f"/v1/cases/{case}")).json() == before


async def test_if_match_refuses_whoever_decided_on_an_older_state(api: Served) -> None:
    case = await opened(api)
    tag = (await api.get(f"/v1/cases/{case}")).headers["etag"]
    assert (await api.post(f"/v1/cases/{case}/acknowledge", if_match=tag)).status_code == 200
    stale = await api.post(f"/v1/cases/{case}/assign", {"to": "li@example.com"}, if_match=tag)
    assert stale.status_code == 412
    assert (await api.get(f"/v1/cases/{case}")).json()["state"] == "acknowledged"
    assert (
        await api.post(f"/v1/cases/{case}/assign", {"to": "li@example.com"}, if_match=stale.headers["etag"])
    ).status_code == 200


async def test_of_two_who_act_at_once_on_the_same_state_one_is_refused(api: Served) -> None:
    case = await opened(api)
    tag = (await api.get(f"/v1/cases/{case}")).headers["etag"]
    answers = await asyncio.gather(
        *(api.post(f"/v1/cases/{case}/assign", {"to": f"p{n}@example.com"}, if_match=tag) for n in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]


async def test_merge_goes_on_in_the_other_case_words_and_all(api: Served) -> None:
    one, two = await opened(api), await opened(api, theme="login", tags=["login"])
    found = (await api.post(f"/v1/cases/{one}/merge", {"into": two})).json()
    assert (found["state"], found["merged_into"]) == ("merged", two)
    other = (await api.get(f"/v1/cases/{two}")).json()
    assert [step["what"] for step in other["timeline"]] == ["opened", "joined"]
    assert len(other["feedback"]) == 2


async def test_the_case_that_goes_on_lists_all_that_was_said_in_those_merged_into_it(api: Served) -> None:
    """Only what had opened a merged case was listed; what had joined it was not."""
    one = await opened(api, text="First")
    await opened(api, text="Joined the first")
    two, three = await opened(api, text="Second", theme="login"), await opened(api, text="Third", theme="other")
    await opened(api, text="Joined the second", theme="login")
    for case, into in ((one, two), (two, three)):
        assert (await api.post(f"/v1/cases/{case}/merge", {"into": into})).status_code == 200

    async def said(case: str) -> set[str]:
        return {item["text"] for item in (await api.get(f"/v1/cases/{case}")).json()["feedback"]}

    first, second = {"First", "Joined the first"}, {"Second", "Joined the second"}
    assert await said(one) == first
    assert await said(two) == first | second
    assert await said(three) == first | second | {"Third"}


async def test_a_case_reopened_while_another_of_its_key_is_open_is_merged_into_that(api: Served) -> None:
    one = await opened(api)
    await api.post(f"/v1/cases/{one}/resolve", ANSWER)
    two = await opened(api, text="Again!")
    assert two != one
    found = (await api.post(f"/v1/cases/{one}/reopen", {"reason": "She called again."})).json()
    assert (found["state"], found["merged_into"]) == ("merged", two)
    assert await api.world.value("SELECT count(*) FROM closer.case WHERE unfinished") == 1
    (step,) = [step for step in (await api.get(f"/v1/cases/{two}")).json()["timeline"] if step["what"] == "joined"]
    assert (step["words"], step["actor"], step["data"]["from"]) == ("She called again.", "li", one)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("assign", {}),
        ("assign", {"to": "nobody"}),
        ("assign", {"to": "a@example.com,b@example.com"}),
        ("resolve", {}),
        ("resolve", {"answer": ""}),
        ("resolve", {"answer": " \u200b "}),
        ("resolve", {"answer": "x" * 30_001}),
        ("resolve", {"answer": "x", "language": "not a language"}),
        ("resolve", {"answer": "x", "state": "confirmed"}),
        ("acknowledge", {"at": "2020-01-01T00:00:00Z"}),
        ("reassign", {}),
        ("reassign", {"team": "no-such-team"}),
        ("merge", {"into": "not-an-id"}),
        ("merge", {"into": str(uuid.uuid4())}),
        ("note", {"text": ""}),
    ],
)
async def test_a_body_that_makes_no_sense_is_422_and_changes_nothing(api: Served, verb: str, body: Any) -> None:
    case = await opened(api)
    before = (await api.get(f"/v1/cases/{case}")).json()
    answer = await api.post(f"/v1/cases/{case}/{verb}", body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.get(f"/v1/cases/{case}")).json() == before


async def test_a_case_cannot_be_merged_into_itself_or_into_a_finished_one(api: Served) -> None:
    case, other = await opened(api), await opened(api, theme="login")
    assert (await api.post(f"/v1/cases/{case}/merge", {"into": case})).status_code == 422
    await api.post(f"/v1/cases/{other}/resolve", ANSWER)
    refused = await api.post(f"/v1/cases/{case}/merge", {"into": other})
    assert refused.status_code == 422, "a 409 would speak of the case that was addressed, and what is legal for it"
    (error,) = refused.json()["errors"]
    assert error == {"field": "into", "message": "is finished (resolved); merge into an unfinished one"}
    assert "state" not in refused.json()
    assert (await api.get(f"/v1/cases/{case}")).json()["state"] == "open"


# ── who may ──


async def test_46_47_other_workspaces_unknown_ids_and_missing_scopes(api: Served) -> None:
    case = await opened(api)
    await api.world.rows("INSERT INTO shared.workspace (name) VALUES ('acme')")
    stranger = await api.new_key("admin", workspace="acme")
    reader = await api.new_key("cases:read")
    paths = [f"/v1/cases/{case}", f"/v1/cases/{uuid.uuid4()}", "/v1/cases/not-an-id", f"/v1/cases/{case.upper()}X"]
    for path in paths:
        key = stranger if path == paths[0] else None
        found = await api.http.get(path, headers=api.headers(key))
        assert found.status_code == 404, path
        acted = await api.http.post(f"{path}/acknowledge", headers=api.headers(key))
        assert acted.status_code == 404, path
    merged = await api.http.post(f"/v1/cases/{case}/merge", json={"into": case}, headers=api.headers(stranger))
    assert merged.status_code == 404
    assert (await api.http.get("/v1/cases", headers=api.headers(stranger))).json()["items"] == []
    assert (await api.http.post(f"/v1/cases/{case}/acknowledge", headers=api.headers(reader))).status_code == 403
    assert (await api.http.get("/v1/cases")).status_code == 401
    writer = await api.new_key("feedback:write")
    assert (await api.http.get("/v1/cases", headers=api.headers(writer))).status_code == 403


# ── lists ──


async def test_lists_are_the_newest_first_and_a_cursor_goes_through_all_of_them(api: Served) -> None:
    values = [feedback(customer={"id": f"c-{n}"}, received_at=f"2026-11-23T09:{n:02d}:00.000Z") for n in range(25)]
    await api.world.take(*values)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/v1/cases", limit="10", **cursor)).json()
        seen += [item["customer"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [f"c-{n}" for n in reversed(range(25))]


async def test_filters(api: Served) -> None:
    one = await opened(api)
    two = await opened(api, team="sales", customer={"id": "c-2"}, priority="urgent", text="报价太贵了")
    three = await opened(api, customer={"id": "c-3"}, theme="login")
    await api.post(f"/v1/cases/{three}/assign", {"to": "li@example.com"})
    await api.post(f"/v1/cases/{one}/resolve", ANSWER)
    api.world.clock.advance(timedelta(hours=2))
    await api.world.timers.fire_due()
    await Indexer(api.world.transactions).index()
    for wanted, found in (
        ({"team": "sales"}, {two}),
        ({"state": "resolved"}, {one}),
        ({"state": "open,in_progress"}, {two, three}),
        ({"assignee": "li@example.com"}, {three}),
        ({"customer": "c-3"}, {three}),
        ({"breached": "true"}, {two}),
        ({"breached": "false"}, {one, three}),
        ({"q": "太贵"}, {two}),
        ({"q": "REFUNDED you"}, {one}),
        ({"q": "100%"}, set()),
        ({"q": "' OR 1=1 --"}, set()),
        ({"team": "sales", "state": "resolved"}, set()),
    ):
        answer = await api.get("/v1/cases", **wanted)
        assert {item["id"] for item in answer.json()["items"]} == found, wanted


async def test_52_a_limit_or_cursor_that_is_none_of_ours_is_400(api: Served) -> None:
    for n in range(3):
        await opened(api, customer={"id": f"c-{n}"})
    cursor = (await api.get("/v1/cases", limit="1")).json()["next_cursor"]
    bad: list[dict[str, str]] = [{"limit": one} for one in ("1000000000", "0", "-1", "x", "1e3", "201", "")]
    bad += [{"cursor": one} for one in ("x", cursor[:-1], cursor + "A", cursor.swapcase(), str(uuid.uuid4()), "")]
    bad += [{"cursor": cursor, "team": "support"}, {"state": "closed"}, {"breached": "maybe"}, {"q": "x" * 201}]
    for params in bad:
        answer = await api.get("/v1/cases", **params)
        assert answer.status_code == 400, params
        assert answer.json()["type"] == "/problems/malformed"


async def test_mails_whose_fate_nobody_knows_are_listed_page_by_page(api: Served) -> None:
    cases = [await opened(api, customer={"id": f"c-{n}", "email": f"c{n}@example.com"}) for n in range(4)]
    sender = deliverer(api.world, Sink(answers=[Unknown("no answer")] * 3))
    assert await once(sender) == 4
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/v1/notifications", status="unknown", limit="2", **cursor)).json()
        assert len(page["items"]) <= 2
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    everything = (await api.get("/v1/notifications")).json()["items"]
    assert [row["case_id"] for row in everything] == sorted(cases, reverse=True)
    assert [row for row in everything if row["status"] == "unknown"] == seen
    assert len(seen) == 3
    assert {(row["kind"], row["channel"], row["reason"], row["attempts"]) for row in seen} == {
        ("heard", "email", "no answer", 1)
    }
    assert set(seen[0]) >= {"id", "case_id", "kind", "channel", "status", "reason", "created_at", "attempts"}
    assert "example.com" not in str(everything)


async def test_a_list_of_notifications_is_ones_own_and_asked_for_properly(api: Served) -> None:
    for n in range(2):
        await opened(api, customer={"id": f"c-{n}", "email": f"c{n}@example.com"})
    cursor = (await api.get("/v1/notifications", limit="1")).json()["next_cursor"]
    for params in (
        {"status": "lost"},
        {"status": "unknown' OR '1'='1"},
        {"limit": "0"},
        {"cursor": "x"},
        {"cursor": cursor + "A"},
        {"cursor": cursor, "status": "pending"},
    ):
        answer = await api.get("/v1/notifications", **params)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed"), params
    await api.world.rows("INSERT INTO shared.workspace (name) VALUES ('acme')")
    acme = await api.new_key("cases:read", workspace="acme")
    other = await api.http.get("/v1/notifications", headers=api.headers(acme))
    assert other.json() == {"items": [], "next_cursor": None}
    writer = await api.new_key("feedback:write")
    assert (await api.http.get("/v1/notifications", headers=api.headers(writer))).status_code == 403


async def test_sla_explain_answers_by_the_configuration_in_force(api: Served) -> None:
    answer = await api.get("/v1/sla/explain", team="support", priority="urgent", at="2026-11-23T09:00:00Z")
    assert answer.status_code == 200
    assert answer.json()["acknowledge"]["wall"] == "2026-11-23T10:00:00.000Z"
    at = ("yesterday", "2026-11-23T09:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z")
    for wrong in ({"team": "nobody"}, {"priority": "soon"}, *({"at": one} for one in at)):
        params = {"team": "support", "at": "2026-11-23T09:00:00Z"} | wrong
        assert (await api.get("/v1/sla/explain", **params)).status_code == 422, wrong


async def test_who_did_it_is_named_to_colleagues_and_is_an_id_on_the_topic_that_is_kept_for_good(api: Served) -> None:
    case = await opened(api)
    api.key = await api.new_key("cases:read", "cases:write", name="Li Wei <li@example.com>")
    assert (await api.post(f"/v1/cases/{case}/acknowledge")).status_code == 200
    found = (await api.get(f"/v1/cases/{case}")).json()
    assert found["timeline"][-1]["actor"] == "Li Wei <li@example.com>"
    said = (await api.world.outbox())[-1]
    assert said["what"] == "acknowledged"
    keys = await api.runtime.keys.list("default")
    assert said["actor"] in {key.id for key in keys}
