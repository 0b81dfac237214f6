"""Accounts over HTTP, and what they are for: the tier of a case whose event says none."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.closer.activity import ATTRIBUTE_MAX_CHARS, ATTRIBUTES_KEPT, KEPT, Sweeper, kept
from tests.closer.served import Served, served
from tests.closer.world import START, World, config_with, decision, feedback

ACME: dict[str, Any] = {
    "name": "Acme 有限公司",
    "tier": "enterprise",
    "revenue": {"amount": 120000.5, "currency": "EUR"},
    "renewal_on": "2027-03-31",
    "owner": "li@example.com",
    "outcome": {"wanted": "Half the calls to support", "by": "2027-01-31", "reached": False},
}
NOTHING_MORE = {"tier": None, "revenue": None, "renewal_on": None, "owner": None, "outcome": None}


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as api:
        yield api


async def put(api: Served, path: str, body: Any, key: str | None = None) -> httpx2.Response:
    return await api.http.put(path, json=body, headers=api.headers(key))


async def known(api: Served, account_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/v1/accounts/{account_id}")).json()
    return found


# ── state ──


async def test_put_makes_an_account_replaces_it_whole_and_says_the_same_twice(api: Served) -> None:
    made = await put(api, "/v1/accounts/acme", ACME)
    assert made.status_code == 201, made.text
    found = made.json()
    assert {name: found[name] for name in ACME} == ACME
    assert (found["id"], found["created_at"], found["updated_at"]) == ("acme", found["created_at"], found["created_at"])
    api.world.clock.advance(timedelta(hours=1))
    again = await put(api, "/v1/accounts/acme", ACME)
    assert (again.status_code, again.json()) == (200, found), "nothing changed, and nothing says that it did"
    replaced = await put(api, "/v1/accounts/acme", {"name": "Acme"})
    assert replaced.status_code == 200
    assert {name: replaced.json()[name] for name in NOTHING_MORE} == NOTHING_MORE
    assert replaced.json()["created_at"] == found["created_at"] < replaced.json()["updated_at"]
    assert await known(api, "acme") == replaced.json()


async def test_an_id_is_what_a_crm_makes_of_it(api: Served) -> None:
    for account_id, path in (("eu/ACME GmbH", "eu/ACME%20GmbH"), ("上海-1", "上海-1"), ("a?b#c", "a%3Fb%23c")):
        assert (await put(api, f"/v1/accounts/{path}", {"name": "A"})).status_code == 201
        assert (await known(api, path))["id"] == account_id


async def test_what_is_deleted_is_forgotten_and_its_feedback_stays(api: Served) -> None:
    await put(api, "/v1/accounts/acme", ACME)
    said = feedback(customer={"id": "c-1", "account_id": "acme"})
    await api.world.take(said)
    gone = await api.http.delete("/v1/accounts/acme", headers=api.headers())
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await api.http.delete("/v1/accounts/acme", headers=api.headers())).status_code == 404
    assert (await api.get("/v1/accounts/acme")).status_code == 404
    assert (await api.world.case(said["id"]))["account_id"] == "acme"
    assert await api.world.value("SELECT count(*) FROM closer.account") == 0


WRONG: list[tuple[str, Any, str]] = [
    ("no name", {}, "name"),
    ("a name of nothing", {"name": " \u200b"}, "name"),
    ("a long name", {"name": "x" * 256}, "name"),
    ("a member that is not known", {"name": "A", "arr": 1}, "arr"),
    ("an id beside the path's", {"name": "A", "id": "b"}, "id"),
    ("an amount in words", {"name": "A", "revenue": {"amount": "1", "currency": "EUR"}}, "revenue.amount"),
    ("an amount below nothing", {"name": "A", "revenue": {"amount": -1, "currency": "EUR"}}, "revenue.amount"),
    ("an amount of nothing in particular", {"name": "A", "revenue": {"amount": 1}}, "revenue.currency"),
    ("a currency by its sign", {"name": "A", "revenue": {"amount": 1, "currency": "€"}}, "revenue.currency"),
    ("a renewal that is a number", {"name": "A", "renewal_on": 20270331}, "renewal_on"),
    ("a renewal with a time", {"name": "A", "renewal_on": "2027-03-31T00:00:00Z"}, "renewal_on"),
    ("a day that there is not", {"name": "A", "renewal_on": "2027-02-30"}, "renewal_on"),
    ("a day at the end of the calendar", {"name": "A", "renewal_on": "9999-12-31"}, "renewal_on"),
    ("an owner who is no address", {"name": "A", "owner": "Li"}, "owner"),
    ("two owners", {"name": "A", "owner": "li@example.com,max@example.com"}, "owner"),
    ("an outcome of nothing", {"name": "A", "outcome": {"wanted": ""}}, "outcome.wanted"),
    ("reached in words", {"name": "A", "outcome": {"wanted": "x", "reached": "yes"}}, "outcome.reached"),
]


@pytest.mark.parametrize(("body", "field"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_what_is_wrong_is_refused_by_its_name_and_nothing_is_written(api: Served, body: Any, field: str) -> None:
    one = await put(api, "/v1/accounts/acme", body)
    several = await put(api, "/v1/accounts", {"items": [{"id": "good", "name": "Good"}, {"id": "acme", **body}]})
    for answer, prefix in ((one, ""), (several, "items.1.")):
        if field == "id" and prefix:
            continue  # there it is the account's own
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert f"{prefix}{field}" in [error["field"] for error in answer.json()["errors"]]
        assert "^[" not in answer.text, "no regular expression is a sentence"
    if field != "id":
        assert await api.world.value("SELECT count(*) FROM closer.account") == 0


@pytest.mark.parametrize("account_id", ["%20a", "a%09b", "x" * 256, "a%E2%80%AEb"])
async def test_an_id_that_would_be_taken_for_another_is_refused(api: Served, account_id: str) -> None:
    answer = await put(api, f"/v1/accounts/{account_id}", {"name": "A"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "id")


async def test_a_list_is_written_whole_and_says_what_came_of_it(api: Served) -> None:
    items = [{"id": f"a-{n}", "name": f"Account {n}"} for n in range(100)]
    assert (await put(api, "/v1/accounts", {"items": items})).json() == {"created": 100, "changed": 0, "unchanged": 0}
    items[7]["name"], items[8]["id"] = "Seven", "new"
    assert (await put(api, "/v1/accounts", {"items": items})).json() == {"created": 1, "changed": 1, "unchanged": 98}
    for wrong in ([], [*items, {"id": "one-too-many", "name": "x"}]):
        assert (await put(api, "/v1/accounts", {"items": wrong})).status_code == 422
    twice = await put(api, "/v1/accounts", {"items": [items[0], items[1], items[0]]})
    assert (twice.status_code, twice.json()["errors"][0]["field"]) == (422, "items.2.id")


async def test_lists_by_id_or_by_renewal_and_a_cursor_goes_on(api: Served) -> None:
    days = ["2027-05-01", None, "2027-01-01", "2027-05-01", None]
    items = [
        {"id": f"a{n}", "name": f"Bank {n}" if n != 3 else "Mühle", "renewal_on": day} for n, day in enumerate(days)
    ]
    await put(api, "/v1/accounts", {"items": items})

    async def all_of(**params: Any) -> list[str]:
        found, cursor = list[str](), dict[str, str]()
        while True:
            page = (await api.get("/v1/accounts", limit="2", **params, **cursor)).json()
            found += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    assert await all_of() == ["a0", "a1", "a2", "a3", "a4"]
    assert await all_of(order="renewal") == ["a2", "a0", "a3", "a1", "a4"]
    assert await all_of(q="bank", order="renewal") == ["a2", "a0", "a1", "a4"]
    assert await all_of(q="MÜHLE") == ["a3"]
    assert await all_of(q="%") == []
    cursor = (await api.get("/v1/accounts", limit="2")).json()["next_cursor"]
    for params in ({"cursor": "x"}, {"cursor": cursor, "q": "bank"}, {"cursor": cursor, "order": "renewal"}):
        assert (await api.get("/v1/accounts", **params)).status_code == 400
    assert (await api.get("/v1/accounts", order="name")).status_code == 422


# ── who may ──


async def test_another_workspaces_account_is_as_if_it_were_not_there(api: Served) -> None:
    await put(api, "/v1/accounts/acme", ACME)
    await api.world.rows("INSERT INTO shared.workspace (name, created_at) VALUES ('other', now())")
    key = await api.new_key("cases:read", "cases:write", workspace="other")
    assert (await api.http.get("/v1/accounts/acme", headers=api.headers(key))).status_code == 404
    assert (await api.http.delete("/v1/accounts/acme", headers=api.headers(key))).status_code == 404
    assert (await api.http.get("/v1/accounts", headers=api.headers(key))).json()["items"] == []
    assert (await put(api, "/v1/accounts/acme", {"name": "Theirs"}, key)).status_code == 201
    assert (await known(api, "acme"))["name"] == ACME["name"]


async def test_who_may_read_may_not_write_and_who_has_no_key_may_nothing(api: Served) -> None:
    reader = await api.new_key("cases:read")
    assert (await put(api, "/v1/accounts/acme", ACME, reader)).status_code == 403
    assert (await put(api, "/v1/accounts", {"items": [{"id": "a", "name": "A"}]}, reader)).status_code == 403
    assert (await api.http.delete("/v1/accounts/acme", headers=api.headers(reader))).status_code == 403
    sender = await api.new_key("feedback:write", "feedback:read")
    assert (await api.http.get("/v1/accounts", headers=api.headers(sender))).status_code == 403
    assert (await api.http.get("/v1/accounts/acme")).status_code == 401
    admin = await api.new_key("admin")
    assert (await put(api, "/v1/accounts/acme", ACME, admin)).status_code == 201


# ── the tier of a case ──

BY_TIER = """\
policies:
  - {name: gold, when: {tier: gold}, resolve: 1h}
  - {name: default, resolve: 3d}
"""


async def test_the_accounts_tier_counts_where_the_event_says_none_as_it_is_when_the_case_opens(
    database_url: str, tmp_path: Path
) -> None:
    config = config_with(tmp_path, sla=BY_TIER)
    async with World.open(database_url, config) as world, served(world, database_url, tmp_path) as api:
        await put(api, "/v1/accounts/acme", {"name": "Acme", "tier": "gold"})
        cases = []
        for customer, policy, tier in (
            ({"id": "c-1", "account_id": "acme"}, "gold", "gold"),
            ({"id": "c-2", "account_id": "acme", "tier": "basic"}, "default", "basic"),
            ({"id": "c-3", "account_id": "nobody-put-it"}, "default", None),
            ({"id": "c-4"}, "default", None),
        ):
            value = feedback(customer=customer)
            await api.world.take(value)
            case = await api.world.case(value["id"])
            assert (case["policy"], case["tier"]) == (policy, tier), customer
            assert case["account_id"] == customer.get("account_id")
            cases.append(case["id"])
        await put(api, "/v1/accounts/acme", {"name": "Acme", "tier": "basic"})
        await api.post(f"/v1/cases/{cases[0]}/resolve", {"answer": "Done.", "language": "en"})
        found = (await api.post(f"/v1/cases/{cases[0]}/reopen", {})).json()
        assert (found["policy"], found["tier"], found["account_id"]) == ("gold", "gold", "acme"), "a promise stands"


# ── what customers did ──


def noted(**changes: Any) -> dict[str, Any]:
    """Of `feedback.decisions`, as the router writes activity."""
    value = {
        "type": "customer.activity",
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "received_at": "2026-11-23T09:29:58.000Z",
        "source": "shop",
        "customer": {"id": "c-1", "email": "ann@example.com", "name": "Ann", "account_id": "acme"},
        "activity": "order.cancelled",
        "attributes": {"order": "A-17", "total": 12.5, "paid": True},
        "decision": "activity.noted",
        "of": None,
        "reason": "What a customer did; nobody has to answer it.",
        "decided_at": "2026-11-23T09:29:59.000Z",
    } | changes
    return {name: member for name, member in value.items() if member is not None}


async def did(world: World, *values: dict[str, Any]) -> None:
    await world.send(*map(decision, values))
    async with world.running():
        await world.caught_up()


async def test_what_customers_do_is_kept_once_beside_the_decision(api: Served) -> None:
    world = api.world
    one = noted(occurred_at="2026-11-22T08:00:00+01:00")
    by_mail = noted(customer={"email": "Bo@Example.com"}, attributes=None, source=None)
    await did(world, one, one, by_mail, noted(decision="work.noted", work_id="W-1", customer=None, activity=None))
    rows = await world.rows("SELECT * FROM published.activity ORDER BY at")
    assert [(row["customer"], row["account_id"], row["activity"], row["source"]) for row in rows] == [
        ("c-1", "acme", "order.cancelled", "shop"),
        ("bo@example.com", None, "order.cancelled", ""),
    ]
    assert str(rows[0]["at"]) == "2026-11-22 07:00:00+00:00"
    assert str(rows[1]["at"]) == "2026-11-23 09:29:58+00:00"
    assert rows[0]["attributes"] == {"order": "A-17", "total": 12.5, "paid": True}
    assert await world.value("SELECT count(DISTINCT id) FROM published.decisions") == 3


async def test_of_a_person_the_row_of_a_deed_has_the_id_alone_and_an_erasure_finds_it_by_that(api: Served) -> None:
    """What POST /v1/erasures has to take: one statement, and nothing of the person is left."""
    world = api.world
    await did(world, noted(), noted(customer={"id": "c-2", "account_id": "acme"}))
    (kept_of,) = await world.rows("SELECT to_jsonb(a)::text AS row FROM closer.activity a WHERE customer = 'c-1'")
    assert "ann@example.com" not in kept_of["row"]
    assert '"Ann"' not in kept_of["row"]
    await world.rows("DELETE FROM closer.activity WHERE workspace = 'default' AND customer = 'c-1'")
    assert [row["customer"] for row in await world.rows("SELECT customer FROM closer.activity")] == ["c-2"]


async def test_a_deed_that_cannot_be_read_is_a_dead_letter_and_costs_nobody_else(api: Served) -> None:
    await did(api.world, noted(activity=7), noted(customer={"id": 5}), noted())
    assert await api.world.value("SELECT count(*) FROM closer.activity") == 1
    assert len(await api.world.records("feedback.dead-letter")) == 2


async def test_what_is_older_than_it_is_kept_goes(api: Served) -> None:
    world = api.world
    old = START - KEPT - timedelta(minutes=1)
    await did(world, noted(received_at=old.isoformat()), noted(), noted(occurred_at=old.isoformat()))
    assert await Sweeper(world.transactions, world.clock).sweep() == 1
    assert await world.value("SELECT count(*) FROM closer.activity") == 2
    assert await Sweeper(world.transactions, world.clock).sweep() == 0


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"a": "x", "b": 1, "c": 1.5, "d": False}, {"a": "x", "b": 1, "c": 1.5, "d": False}),
        ({"a": "x" * (ATTRIBUTE_MAX_CHARS + 1), "b": "y" * ATTRIBUTE_MAX_CHARS}, {"b": "y" * ATTRIBUTE_MAX_CHARS}),
        ({"a": {"b": 1}, "c": [1], "d": None}, {}),
        ({str(n): n for n in range(30)}, {str(n): n for n in range(ATTRIBUTES_KEPT)}),
        ([1], {}),
    ],
    ids=["short ones", "a long text", "what holds others", "very many", "none"],
)
def test_of_attributes_what_a_line_can_show_is_kept(given: Any, found: Any) -> None:
    assert kept(given) == found
