"""A team hears by Slack: one message a case, kept as the case is, its thread, and its buttons."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.closer.check import check
from services.closer.subscriptions import slack as plugin
from services.closer.subscriptions._card import escaped, quoted
from services.closer.tell import LEASE_S, Teller
from shared.config import STARTER, Config, config_of, read_dir
from shared.events.envelope import rfc3339
from shared.events.signal import SignalChanged, TagCount
from tests.closer.served import Served, served
from tests.closer.test_page import routed_back, token_of
from tests.closer.test_tell import once
from tests.closer.test_two_customers import Desk
from tests.closer.test_works import ended, heard
from tests.closer.world import START, World, feedback
from tests.hook_server import Reply
from tests.slack_server import CHANNEL, SIGNING_SECRET, TOKEN, Message, SlackServer, pressed, signed

ANSWER = {"answer": "We refunded you.", "language": "en"}
LI = "{email: li@example.com, name: Li Lei, slack: U0LI}"


def entry(to: str = CHANNEL, secret: str = SIGNING_SECRET) -> str:
    return f'{{channel: slack, token: "{TOKEN}", signing_secret: "{secret}", to: {to}}}'


def config(sales: str = "", members: str = f"{LI}, {{email: Wang@example.cn}}") -> Config:
    teams = f"""
default_team: support
teams:
  - name: support
    members: [{members}]
    subscribe: [{entry()}]
  - name: product
  - name: sales
    subscribe: [{sales}]
"""
    return config_of({**read_dir(STARTER), "teams.yaml": teams})


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as slack:
        yield slack


@pytest.fixture
async def api(database_url: str, tmp_path: Path, slack: SlackServer) -> AsyncIterator[Served]:
    async with (
        World.open(database_url, config()) as world,
        served(world, database_url, tmp_path, {"SLACK_API_URL": slack.url}) as api,
    ):
        yield api


def teller(api: Served) -> Teller:
    found: Teller = api.service._teller
    return found


async def settle(api: Served) -> None:
    """Until Slack has been told all that it is to be told: a step after the other, at the pace that Slack takes."""
    for _ in range(60):
        await once(teller(api))
        if not await api.world.value("SELECT count(*) FROM closer.delivery WHERE due_at IS NOT NULL"):
            return
        api.world.clock.advance(timedelta(seconds=2))
    raise AssertionError(await deliveries(api))


async def deliveries(api: Served) -> list[dict[str, Any]]:
    return await api.world.rows("SELECT * FROM published.deliveries ORDER BY created_at, id")


async def opened(api: Served, **changes: Any) -> str:
    """A case, and its card with it."""
    value = feedback(**changes)
    await api.world.take(value)
    await settle(api)
    return str((await api.world.case(value["id"]))["id"])


async def state(api: Served, case: str) -> str:
    return str((await api.get(f"/v1/cases/{case}")).json()["state"])


async def press(api: Served, card: Message, action: str, user: str = "U0LI", **changes: Any) -> httpx2.Response:
    at = changes.pop("at", api.world.clock.now().timestamp())
    body, headers = pressed(card, action, user, at, **changes)
    return await api.http.post("/v1/cases/callbacks/slack", content=body, headers=headers)


# ── the card ──


async def test_a_case_is_one_message_with_all_that_its_team_needs(api: Served, slack: SlackServer) -> None:
    case = await opened(api, title="Refund", text="Where is my refund?\nI wait.", priority="urgent")
    (card,) = slack.cards
    assert card.channel == CHANNEL
    for part in (
        "*Refund*\n>Where is my refund?\n>I wait.",
        "*Priority*\nurgent",
        "*State*\nopen",
        "*Assigned to*\nnobody",
        "*Acknowledge* by: team's clock <!date^",
        "*Tell the customer* by: team's clock <!date^",
    ):
        assert part in card.shown
    # Both clocks of each promise: urgent is acknowledged within an hour of 09:29:58.
    due = re.search(
        r"\*Acknowledge\* by: team's clock <!date\^(\d+)\^\S+ \S+>, customer's clock <!date\^(\d+)\^", card.shown
    )
    assert due is not None
    assert {int(at) for at in due.groups()} == {int((START + timedelta(minutes=59, seconds=58)).timestamp())}
    link = next(one for one in card.blocks[-1]["elements"] if one["action_id"] == "open")
    assert link["url"] == f"https://feedback.example.com/cases/{case}"
    assert set(card.buttons) == {"acknowledge", "assign"}
    assert card.metadata is not None
    assert set(card.metadata["event_payload"]) == {"telling", "sequence"}, "ids, and nothing that a customer said"


async def test_what_is_held_back_has_its_message_when_it_is_let_go(api: Served, slack: SlackServer) -> None:
    """Once, as the case is then: by its time, or because somebody acts on it."""
    values = [feedback(customer={"id": f"c-{number}"}, text=f"It is down {number}") for number in range(2)]
    for value in values:
        value["routing"]["held"] = {"until": rfc3339(START + timedelta(hours=3)), "because": "<!here> maintenance"}
    await api.world.take(*values)
    api.world.clock.advance(timedelta(hours=1))
    await once(teller(api))
    assert slack.cards == []
    await api.post(f"/v1/cases/{(await api.world.case(values[0]['id']))['id']}/acknowledge")
    while await once(teller(api)):
        api.world.clock.advance(timedelta(seconds=2))
    (card,) = slack.cards
    assert "It is down 0" in card.shown
    assert "*State*\nacknowledged" in card.shown
    assert slack.thread(card) == [":arrow_forward: Held back no more (somebody acts on it): &lt;!here&gt; maintenance."]
    api.world.clock.advance(timedelta(hours=2))
    await api.world.timers.fire_due()
    await settle(api)
    assert len(slack.cards) == 2
    assert slack.thread(slack.cards[1]) == [
        ":arrow_forward: Held back no more (its time is over): &lt;!here&gt; maintenance."
    ]


async def test_what_a_customer_wrote_calls_nobody_and_links_nowhere(api: Served, slack: SlackServer) -> None:
    evil = "<!channel> <@U0LI> <https://evil.example|your bank> & *bold*\u202e \x07"
    await opened(api, text=evil, title=evil, theme="<!here>", tags=["<!here>"])
    (card,) = slack.cards
    assert "&lt;!channel&gt; &lt;@U0LI&gt; &lt;https://evil.example|your bank&gt; &amp;" in card.shown
    without_dates = re.sub(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[0-9TZ:.-]+>", "", card.shown)
    assert not re.search("[<>]", without_dates.replace("\n>", "\n")), "angle brackets are our own dates' and quotes'"
    assert "\u202e" not in card.shown
    assert "\x07" not in card.shown
    assert all(block["text"]["verbatim"] for block in card.blocks if "text" in block)


@pytest.mark.parametrize(
    "text",
    ["&" * 30_000, "<" * 499, "\n".join("<" * 300), "字" * 30_000, ">", "\u200b"],
    ids=lambda text: repr(text[:3]),
)
async def test_whatever_the_words_slack_takes_them(api: Served, slack: SlackServer, text: str) -> None:
    await opened(api, text=text, title=text[:1000])
    assert len(slack.cards) == 1
    assert (await deliveries(api))[0]["status"] == "sent"


def test_a_quotation_fits_its_text_object_whatever_it_holds() -> None:
    for text in ("&" * 10_000, "\n".join("&" * 5_000), "a" * 10_000):
        assert len(quoted(text)) <= 2000
        assert all(line.startswith(">") for line in quoted(text).split("\n"))
    assert escaped("&amp; <b>") == "&amp;amp; &lt;b&gt;"


async def test_however_much_happens_the_message_is_updated_and_never_posted_again(
    api: Served, slack: SlackServer
) -> None:
    case = await opened(api)
    for verb, body in (("acknowledge", None), ("assign", {"to": "li@example.com"}), ("wait", {}), ("resume", {})):
        assert (await api.post(f"/v1/cases/{case}/{verb}", body)).status_code == 200
    await api.post(f"/v1/cases/{case}/note", {"text": "among us"})
    calls = len(slack.calls)
    await settle(api)
    (card,) = slack.cards
    assert slack.calls[calls:] == ["chat.update"], "one update of what it has become, not one for each change"
    assert "*State*\nin progress" in card.shown
    assert "*Assigned to*\nli@example.com" in card.shown
    assert "among us" not in card.shown
    assert set(card.buttons) == {"assign"}
    assert slack.thread(card) == []
    for verb, body in (("resolve", ANSWER), ("reopen", {"reason": "too early"}), ("decline", ANSWER)):
        assert (await api.post(f"/v1/cases/{case}/{verb}", body)).status_code == 200
        await settle(api)
    assert len(slack.cards) == 1
    assert card.buttons == {}
    assert [text.split("\n")[0] for text in slack.thread(card)] == [
        "Resolved by li; the customer gets:",
        ":repeat: Reopened by li.",
        "Declined by li; the customer gets:",
    ]
    assert slack.thread(card)[0].endswith(">We refunded you.")


async def test_what_matters_is_said_in_the_thread_in_order(api: Served, slack: SlackServer) -> None:
    case = await opened(api, priority="urgent")
    await api.world.take(feedback(text="Still waiting <!here>"))
    await settle(api)
    await api.post(f"/v1/cases/{case}/assign", {"to": "li@example.com"})
    api.world.clock.advance(timedelta(days=3))
    await api.world.timers.fire_due()
    await settle(api)
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    await api.http.post(f"/loop/{token_of(case)}", data={"solved": "no", "words": "It is not there."})
    await routed_back(api)
    await settle(api)
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    await api.http.post(f"/loop/{token_of(case)}", data={"solved": "yes", "words": "Thank you"})
    await routed_back(api)
    await settle(api)
    (card,) = slack.cards
    said = slack.thread(card)
    assert said[0] == "The customer wrote again.\n>Still waiting &lt;!here&gt;"
    breached = [text for text in said if ":rotating_light: Overdue" in text]
    assert breached
    assert all(text.endswith("<@U0LI>") for text in breached), "whoever has the case is called by name"
    assert [text.split("\n")[0] for text in said if not text.startswith(":rotating_light:")] == [
        "The customer wrote again.",
        "Resolved by li; the customer gets:",
        ":repeat: The customer says that it is not solved: reopened.",
        "Resolved by li; the customer gets:",
        ":white_check_mark: The customer says that it is solved.",
    ]
    assert said[-1].endswith(">Thank you")
    assert "*State*\nconfirmed" in card.shown
    assert len({json.dumps(m.metadata) for m in slack.messages}) == len(slack.messages)


async def test_a_team_is_told_that_its_customer_cannot_be(api: Served, slack: SlackServer) -> None:
    case = await opened(api, customer={"id": "c-1"})
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    await settle(api)
    (card,) = slack.cards
    assert slack.thread(card)[1:] == [":warning: The customer is not told: no-address."]


async def test_work_that_was_shipped_is_said_in_the_thread(api: Served, slack: SlackServer) -> None:
    await opened(api, source="jira", attributes={"work_id": "JIRA<7>"})
    await heard(Desk(api), ended(work_id="JIRA<7>"))
    await settle(api)
    (card,) = slack.cards
    assert slack.thread(card) == [":package: JIRA&lt;7&gt; was shipped in jira."]


async def test_a_warning_comes_before_the_breach_and_the_card_shows_what_is_overdue(
    api: Served, slack: SlackServer
) -> None:
    await opened(api, priority="urgent")
    api.world.clock.advance(timedelta(minutes=50))
    await api.world.timers.fire_due()
    await settle(api)
    (card,) = slack.cards
    assert all(text.startswith(":hourglass: Soon due: acknowledge") for text in slack.thread(card))
    assert len(slack.thread(card)) == 2, "one of each clock"
    api.world.clock.advance(timedelta(minutes=20))
    await api.world.timers.fire_due()
    await settle(api)
    assert [text.startswith(":rotating_light:") for text in slack.thread(card)] == [False, False, True, True]
    assert "*overdue*" in card.shown


async def test_a_burst_before_the_card_is_one_card_and_its_thread(api: Served, slack: SlackServer) -> None:
    await api.world.take(feedback(), *(feedback(text=f"again {n}") for n in range(3)))
    await settle(api)
    (card,) = slack.cards
    assert [text.split("\n>")[1] for text in slack.thread(card)] == ["again 0", "again 1", "again 2"]
    assert "chat.update" not in slack.calls


async def test_imported_history_makes_no_message_until_somebody_writes_today(api: Served, slack: SlackServer) -> None:
    await api.world.take(feedback(history=True))
    await settle(api)
    assert slack.cards == []
    await api.world.take(feedback(text="And now?"))
    await settle(api)
    assert len(slack.cards) == 1


async def test_a_case_that_goes_to_another_team_leaves_one_and_comes_to_the_other(
    api: Served, slack: SlackServer
) -> None:
    slack.members.add("C0SALES")
    api.world.config = config(sales=entry("C0SALES"))
    await api.service.configure(api.world.config)
    case = await opened(api)
    await api.post(f"/v1/cases/{case}/reassign", {"team": "sales"})
    await settle(api)
    left, came = slack.cards
    assert (left.channel, came.channel) == (CHANNEL, "C0SALES")
    assert "*Now with*\nsales" in left.shown
    assert left.buttons == {}
    assert "by: team's clock" not in left.shown
    assert set(came.buttons) == {"acknowledge", "assign"}
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    await settle(api)
    assert slack.thread(left) == []
    assert len(slack.thread(came)) == 1


async def test_a_subscription_that_comes_later_shows_a_case_from_its_next_change_on(
    api: Served, slack: SlackServer
) -> None:
    subscribed, api.world.config = api.world.config, config_of(read_dir(STARTER))
    value = feedback()
    await api.world.take(value, feedback(text="again"))
    api.world.config = subscribed
    await api.world.take(feedback(text="and again"))
    await settle(api)
    (card,) = slack.cards
    assert [text.split("\n>")[1] for text in slack.thread(card)] == ["and again"]


# ── when Slack refuses, or says nothing ──


async def test_a_post_whose_answer_was_lost_is_found_and_not_posted_again(api: Served, slack: SlackServer) -> None:
    slack.lose = {"chat.postMessage"}
    await opened(api)
    assert len(slack.cards) == 1
    await api.world.take(feedback(text="again"))
    slack.lose = {"chat.postMessage"}
    await settle(api)
    (card,) = slack.cards
    assert len(slack.thread(card)) == 1
    assert {"conversations.history", "conversations.replies"} <= set(slack.calls)


async def test_it_is_found_among_many(api: Served, slack: SlackServer) -> None:
    await api.world.take(*(feedback(customer={"id": f"c-{n}"}) for n in range(6)))
    slack.lose = {"chat.postMessage"}
    await settle(api)
    assert len(slack.cards) == 6
    assert len({json.dumps(card.metadata) for card in slack.cards}) == 6


async def test_a_sender_that_died_after_posting_leaves_no_second_message(api: Served, slack: SlackServer) -> None:
    await api.world.take(feedback())
    (claim,) = await teller(api).claim()
    await teller(api)._send(claim)  # … and here the process is killed
    teller(api)._in_hand.clear()
    api.world.clock.advance(timedelta(seconds=LEASE_S))
    await settle(api)
    assert len(slack.cards) == 1
    assert (await deliveries(api))[0]["status"] == "sent"


async def test_who_may_not_look_posts_again_rather_than_not_at_all(api: Served, slack: SlackServer) -> None:
    slack.scopes = {"chat:write"}
    slack.lose = {"chat.postMessage"}
    await opened(api)
    assert len(slack.cards) == 2


async def test_slack_is_left_alone_for_as_long_as_it_asks_and_nothing_is_lost(api: Served, slack: SlackServer) -> None:
    busy = Reply(429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": "40"})
    slack.plan = [lambda _: busy]
    await api.world.take(*(feedback(customer={"id": f"c-{n}"}) for n in range(3)))
    await once(teller(api))
    api.world.clock.advance(timedelta(seconds=39))
    assert await once(teller(api)) == 0, "nor is any other case's message sent there"
    await settle(api)
    assert len(slack.cards) == 3


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        ("ratelimited", "pending", "Slack says ratelimited"),
        ("internal_error", "pending", "Slack says internal_error"),
        ("service_unavailable", "pending", "Slack says service_unavailable"),
        ("channel_not_found", "failed", "is `to` the channel's id"),
        ("not_in_channel", "failed", "invite the app"),
        ("invalid_auth", "failed", "the token is wrong"),
        ("missing_scope", "failed", "lacks a scope"),
        ("some_new_error", "failed", "Slack says some_new_error"),
        ("<b>what\never", "failed", "Slack says no reason that can be read"),
    ],
)
async def test_what_slack_says_no_with(api: Served, slack: SlackServer, error: str, status: str, reason: str) -> None:
    slack.refuse = {"chat.postMessage": error}
    await api.world.take(feedback())
    await once(teller(api))
    (found,) = await deliveries(api)
    assert found["status"] == status
    assert reason in found["reason"]
    assert TOKEN not in str(found)
    assert TOKEN not in repr(check(api.world.config).subscribers.by_id)
    assert SIGNING_SECRET not in repr(check(api.world.config).subscribers.by_id)


@pytest.mark.parametrize(
    "reply",
    [Reply(500), Reply(200, b"<html>"), Reply(200, b"[]"), Reply(200, b""), Reply(302, headers={"Location": "/"})],
)
async def test_an_answer_that_is_none_of_slacks_is_tried_again(api: Served, slack: SlackServer, reply: Reply) -> None:
    slack.plan = [lambda _: reply]
    await api.world.take(feedback())
    await once(teller(api))
    assert (await deliveries(api))[0]["status"] == "pending"
    await settle(api)
    assert len(slack.cards) == 1


async def test_what_was_given_up_is_tried_again_with_the_next_change_or_by_hand(
    api: Served, slack: SlackServer
) -> None:
    slack.refuse = {"chat.postMessage": "not_in_channel"}
    await api.world.take(feedback(), feedback(customer={"id": "c-2"}))
    await settle(api)
    assert {row["status"] for row in await deliveries(api)} == {"failed"}
    slack.refuse = {}
    await api.world.take(feedback(text="again"))
    await settle(api)
    assert len(slack.cards) == 1
    answer = await api.post("/v1/deliveries/redrive", {})
    assert len(answer.json()["redriven"]) == 1
    await settle(api)
    assert len(slack.cards) == 2
    assert {row["status"] for row in await deliveries(api)} == {"sent"}


# ── the buttons ──


async def test_acknowledge_does_what_the_verb_does_in_the_name_of_who_pressed(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    answer = await press(api, card, "acknowledge", "U0NOBODY")
    assert (answer.status_code, answer.content) == (200, b"")
    found = (await api.get(f"/v1/cases/{case}")).json()
    assert found["state"] == "acknowledged"
    assert [step["actor"] for step in found["timeline"]] == ["system", "name of U0NOBODY"]
    assert [one["actor"] for one in await api.world.outbox() if one["what"] == "acknowledged"] == ["slack:U0NOBODY"]
    await settle(api)
    assert set(card.buttons) == {"assign"}
    assert "*State*\nacknowledged" in card.shown
    assert slack.whispers == []


async def test_assign_to_me_is_to_the_member_whom_teams_yaml_knows(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    await press(api, card, "assign", "U0LI")
    found = (await api.get(f"/v1/cases/{case}")).json()
    assert (found["state"], found["assignee"]) == ("in_progress", "li@example.com")
    assert found["timeline"][-1]["actor"] == "Li Lei"
    assert "users.info" not in slack.calls
    topic = json.dumps(await api.world.outbox()).lower()
    assert "li@example.com" not in topic
    assert "li lei" not in topic


async def test_or_to_the_member_whose_address_slack_knows_them_by(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    slack.users = {"U0WANG": "wang@EXAMPLE.cn"}
    await press(api, card, "assign", "U0LI")
    await press(api, card, "assign", "U0WANG")
    found = (await api.get(f"/v1/cases/{case}")).json()
    assert found["assignee"] == "Wang@example.cn", "who has it gives it over"
    assert [step["what"] for step in found["timeline"]] == ["opened", "assigned", "reassigned"]


@pytest.mark.parametrize(
    "known", [{}, {"U0X": "stranger@example.org"}, {"U0X": None}], ids=["nobody", "a stranger", "hidden"]
)
async def test_whoever_is_nobody_of_the_team_is_told_so_alone(
    api: Served, slack: SlackServer, known: dict[str, str | None]
) -> None:
    case = await opened(api)
    (card,) = slack.cards
    slack.users = known
    assert (await press(api, card, "assign", "U0X")).status_code == 200
    ((who, text),) = slack.whispers
    assert who == "U0X"
    assert "slack: U0X" in text
    assert "teams.yaml" in text
    assert await state(api, case) == "open"


async def test_what_cannot_be_done_is_said_to_who_pressed_with_what_can(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    before = Message(**{**card.__dict__, "blocks": card.blocks})
    await api.post(f"/v1/cases/{case}/resolve", ANSWER)
    assert (await press(api, before, "acknowledge")).status_code == 200
    assert (await press(api, before, "assign")).status_code == 200
    assert [who for who, _ in slack.whispers] == ["U0LI", "U0LI"]
    assert all("resolved" in text and "legal here: reopen" in text for _, text in slack.whispers)
    assert await state(api, case) == "resolved"


async def test_a_button_of_a_case_that_went_elsewhere_does_nothing(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    before = Message(**{**card.__dict__, "blocks": card.blocks})
    await api.post(f"/v1/cases/{case}/reassign", {"team": "sales"})
    await press(api, before, "acknowledge")
    assert "with the team sales" in slack.whispers[0][1]
    assert await state(api, case) == "open"


async def test_a_press_whose_answer_cannot_be_given_is_done_all_the_same(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    slack.refuse = {"chat.postEphemeral": "not_in_channel"}
    await press(api, card, "acknowledge")
    assert (await press(api, card, "acknowledge")).status_code == 200
    assert await state(api, case) == "acknowledged"


Forge = Callable[[bytes, dict[str, str], float], tuple[bytes, dict[str, str]]]

FORGED: dict[str, Forge] = {
    "another secret": lambda body, headers, at: (body, signed(body, at, "another" * 4)),
    "too old": lambda body, headers, at: (body, signed(body, at - 301)),
    "from the future": lambda body, headers, at: (body, signed(body, at + 301)),
    "another time": lambda body, headers, at: (body, headers | {"X-Slack-Request-Timestamp": str(int(at) - 1)}),
    "another body": lambda body, headers, at: (body + b"&x=1", headers),
    "no signature": lambda body, headers, at: (body, {k: v for k, v in headers.items() if "Signature" not in k}),
    "no time": lambda body, headers, at: (body, {k: v for k, v in headers.items() if "Timestamp" not in k}),
    "no time that is one": lambda body, headers, at: (body, headers | {"X-Slack-Request-Timestamp": "nan"}),
    "a huge time": lambda body, headers, at: (body, headers | {"X-Slack-Request-Timestamp": "9" * 400}),
    "another scheme": lambda body, headers, at: (
        body,
        headers | {"X-Slack-Signature": headers["X-Slack-Signature"].replace("v0=", "v1=")},
    ),
    "upper case": lambda body, headers, at: (
        body,
        headers | {"X-Slack-Signature": "v0=" + headers["X-Slack-Signature"][3:].upper()},
    ),
    "a signature that is none": lambda body, headers, at: (body, headers | {"X-Slack-Signature": "v0="}),
    "an empty secret": lambda body, headers, at: (body, signed(body, at, "")),
}


@pytest.mark.parametrize("forged", FORGED)
async def test_what_slack_has_not_signed_just_now_does_nothing(api: Served, slack: SlackServer, forged: str) -> None:
    case = await opened(api)
    (card,) = slack.cards
    at = api.world.clock.now().timestamp()
    body, headers = FORGED[forged](*pressed(card, "acknowledge", "U0LI", at), at)
    answer = await api.http.post("/v1/cases/callbacks/slack", content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert SIGNING_SECRET not in answer.text
    assert await state(api, case) == "open"


@pytest.mark.parametrize(
    "body",
    [
        b"ssl_check=1&token=x",
        b"payload=",
        b"payload=%7B",
        b"payload=[]",
        b"\xff\xfe",
        b"",
        b"payload=%00",
        b"payload={}",
        b'payload={"type":"block_actions","user":{"id":"U0"},"actions":[{"action_id":"open"}]}',
        b'payload={"type":"view_submission","user":{"id":"U0"}}',
    ],
)
async def test_what_is_signed_and_no_button_of_ours_is_answered_and_passed_over(api: Served, body: bytes) -> None:
    headers = signed(body, api.world.clock.now().timestamp())
    answer = await api.http.post("/v1/cases/callbacks/slack", content=body, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("value", ["", "x", "0" * 32, "../../x", "é" * 16])
async def test_a_button_that_leads_nowhere_is_answered_and_passed_over(
    api: Served, slack: SlackServer, value: str
) -> None:
    await opened(api)
    assert (await press(api, slack.cards[0], "acknowledge", value=value)).status_code == 200
    assert slack.whispers == []


async def test_one_teams_app_cannot_press_anothers_buttons(api: Served, slack: SlackServer) -> None:
    theirs = "another-signing-secret"
    slack.members.add("C0SALES")
    api.world.config = config(sales=entry("C0SALES", theirs))
    await api.service.configure(api.world.config)
    case = await opened(api)
    (card,) = slack.cards
    assert (await press(api, card, "acknowledge", secret=theirs)).status_code == 200
    assert await state(api, case) == "open"
    assert (await press(api, card, "acknowledge")).status_code == 200
    assert await state(api, case) == "acknowledged"


async def test_no_other_channel_calls_back(api: Served) -> None:
    assert (await api.http.post("/v1/cases/callbacks/webhook", content=b"{}")).status_code == 401
    assert (await api.http.post("/v1/cases/callbacks/pigeon", content=b"{}")).status_code == 404
    assert (await api.http.get("/v1/cases/callbacks/slack")).status_code in (404, 405)


async def test_a_double_press_is_done_once(api: Served, slack: SlackServer) -> None:
    case = await opened(api)
    (card,) = slack.cards
    answers = await asyncio.gather(*(press(api, card, "acknowledge", f"U{n}") for n in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(slack.whispers) == 4
    assert (await api.world.timeline(case)).count("acknowledged") == 1


def test_slacks_own_example_of_a_signature() -> None:
    """From its documentation of request signing."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack."
        b"com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
        b"803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    made = plugin.Entry(channel="slack", token=TOKEN, signing_secret="8f742231b10e8888abcd99yyyzzz85a5", to=CHANNEL)
    assert plugin.signed(made, headers, body, datetime.fromtimestamp(1531420618, UTC))
    assert not plugin.signed(made, headers, body + b" ", datetime.fromtimestamp(1531420618, UTC))


# ── a channel for an important customer ──


async def test_an_accounts_channel_holds_its_cases_and_what_their_customers_say_of_them(
    api: Served, slack: SlackServer
) -> None:
    api.world.config = config(sales=entry().removesuffix("}") + ", accounts: [acme]}")
    await api.service.configure(api.world.config)
    of_acme = await opened(api, team="sales", customer={"id": "c-1", "account_id": "acme", "email": "a@acme.example"})
    await opened(api, team="sales", customer={"id": "c-2", "account_id": "globex"})
    await opened(api, team="sales", customer={"id": "c-3"})
    (card,) = slack.cards
    assert of_acme in str(card.blocks)
    assert (await api.post(f"/v1/cases/{of_acme}/assign", {"to": "li@example.com"})).status_code == 200
    await api.post(f"/v1/cases/{of_acme}/resolve", ANSWER)
    await api.world.rows(
        "UPDATE closer.case SET data = data || jsonb_build_object('told_at', $2::text) WHERE id = $1",
        of_acme,
        rfc3339(api.world.clock.now()),
    )
    api.world.clock.advance(timedelta(hours=1))
    now = rfc3339(api.world.clock.now())
    await api.world.take(
        feedback(kind="praise", follow_up=False, text="Thank you", customer={"id": "c-1"}, received_at=now)
    )
    await settle(api)
    (thanks,) = [one for one in slack.messages if "says thank you" in one.text]
    assert (thanks.thread_ts, thanks.text) == (card.ts, ":heart: The customer says thank you.\n>Thank you")


# ── a signal ──


async def test_a_signal_is_one_message_that_says_when_it_has_passed(api: Served, slack: SlackServer) -> None:
    hostile = "<!channel> & more"
    said = SignalChanged(
        signal_id="0190a3c2-0000-4000-8000-000000000001", workspace="default", what="raised", at=START,
        name="many-bugs", by="attributes.product", group=hostile, team="support", reason="4 within 1h, more than 3",
        test="more_than", since=START, window_s=3600, count=4, threshold=3, feedback=4, cases=4, customers=4,
        tags=[TagCount(tag="bug", count=4)],
    )  # fmt: skip
    for what in ("raised", "resolved"):
        now = said.model_copy(update={"what": what})
        async with api.service._unit.work() as (_, effects):
            effects.tellings.signalled(now, now.model_dump_json().encode(), "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        await settle(api)
        (message,) = slack.messages
        assert "&lt;!channel&gt; &amp; more" in message.shown
        assert (":white_check_mark:" in message.shown, message.edited) == (what == "resolved", int(what == "resolved"))
    assert message.buttons == {}, "there is nothing to press but the way to its page"


async def test_a_channel_for_some_customers_hears_of_no_signal(api: Served, slack: SlackServer) -> None:
    said = SignalChanged(
        signal_id="0190a3c2-0000-4000-8000-000000000002", workspace="default", what="raised", at=START,
        name="many-bugs", by=None, group=None, team="sales", reason="4 within 1h, more than 3", test="more_than",
        since=START, window_s=3600, count=4, threshold=3, feedback=4, cases=4, customers=4, tags=[],
    )  # fmt: skip
    shown = {}
    for limits in (", accounts: [acme]}", "}"):
        api.world.config = config(sales=entry().removesuffix("}") + limits)
        await api.service.configure(api.world.config)
        async with api.service._unit.work() as (_, effects):
            effects.tellings.signalled(said, said.model_dump_json().encode(), "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        await settle(api)
        shown[limits] = len(slack.messages)
    assert shown == {", accounts: [acme]}": 0, "}": 1}
