"""A team's digest: one mail a period to each reader, on the team's calendar, in their language and the customers' words."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from services.closer.case import decide
from services.closer.channels.email import SmtpChannel, read_smtp_url
from services.closer.commands import Acknowledge, Command, Resolve
from services.closer.digest import Counts, Digest, Owed, Quote
from services.closer.digest_mail import _WORDS, language_for, written
from services.closer.digests import SETTLED, Digests
from services.closer.render import quote
from services.closer.shown import Digests as DigestsShown
from services.closer.subscribers import read_subscribers
from services.closer.subscriptions import Subscription, Way
from services.closer.subscriptions.email import Mails
from services.closer.tell import LEASE_S, Teller
from shared.config import STARTER, Config, config_of, read_dir
from shared.events.feedback import Kind
from shared.retry import WEBHOOK
from tests.closer.served import served
from tests.closer.world import START, World, feedback
from tests.mailbox import Mailbox, plain

URL = "https://feedback.example.com"
FROM = "Feedback team <feedback@example.com>"
RETRY = replace(WEBHOOK, jitter=0.0)
DAILY = '{channel: email, every: daily, at: "09:00", to: members}'
HOURLY = "{channel: email, every: hourly, to: [ann@example.com]}"
HOURS = '{zone: UTC, days: {mon-fri: ["09:00-18:00"]}, holidays: ["2026-11-25"]}'
MEMBERS = "[{email: li@example.com, languages: [ja, zh]}, {email: bo@example.com}]"
# START is Monday the 23rd, half past nine.
TUESDAY = datetime(2026, 11, 24, 9, tzinfo=UTC) + SETTLED


def config(*subscribe: str, members: str = MEMBERS, hours: str = HOURS) -> Config:
    teams = ["default_team: support", "teams:"]
    for team in ("support", "product", "sales"):
        teams += [f"  - name: {team}", f"    hours: {hours}", f"    members: {members}"]
        teams += [f"    subscribe: [{', '.join(subscribe)}]"] if team == "support" else []
    sla = "policies: [{name: default, resolve: 2d}]"
    return config_of({**read_dir(STARTER), "teams.yaml": "\n".join(teams), "sla.yaml": sla})


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Support's members have had a digest since the start."""
    async with World.open(database_url, config(DAILY)) as world:
        await digests(world).make_due()
        yield world


def digests(world: World) -> Digests:
    """As another process would have it."""
    return Digests(world.unit)


async def teller(world: World, url: str) -> Teller:
    def opened(_channel: str) -> Way:
        return Mails(SmtpChannel(read_smtp_url(url), FROM), URL)

    made = Teller(world.unit, opened, RETRY)
    await made.configure(read_subscribers(world.config))
    return made


async def post(world: World, url: str) -> int:
    """Everything that is owed goes; how many sends."""
    at_work, count = await teller(world, url), 0
    while claims := await at_work.claim():
        await asyncio.gather(*(at_work.tell(claim) for claim in claims))
        count += len(claims)
    return count


async def act(world: World, feedback_id: str, *commands: Command, actor: str = "key-1") -> None:
    case = await world.case(feedback_id)
    for command in commands:
        async with world.unit.work() as (driver, effects):
            held = (await world.unit.cases.by_id(driver, [str(case["id"])]))[str(case["id"])]
            effects.record(held, decide(held.case, command, effects.now, actor))


def at(world: World, moment: datetime) -> None:
    world.clock.advance(moment - world.clock.now())


async def told(world: World, mailbox: Mailbox, moment: datetime) -> int:
    at(world, moment)
    await world.timers.fire_due()
    await digests(world).make_due()
    return await post(world, mailbox.url)


def line(mail: EmailMessage, name: str) -> str:
    """What the table of the plain text says of it."""
    (found,) = [one for one in plain(mail).splitlines() if one.startswith(f"{name}:")]
    return found.partition(": ")[2]


# ── what it says ──


async def test_each_reader_gets_one_mail_with_counts_and_quotes_in_their_own_language(
    world: World, mailbox: Mailbox
) -> None:
    late = feedback(text="Where is my refund? <b>Now</b>", priority="urgent", customer={"id": "c-1"})
    zh = feedback(text="退款还没有到账", tags=["refund", "payment"], language="zh", customer={"id": "c-2"})
    praise = feedback(text="You are great", kind="praise", follow_up=False, tags=[], customer={"id": "c-3"})
    others = feedback(text="Of another team", team="sales", customer={"id": "c-4"})
    imported = feedback(text="Of last year", history=True, customer={"id": "c-5"})
    await world.take(late, zh, praise, others, imported)
    assert await told(world, mailbox, TUESDAY) == 2
    (english,), (chinese,) = mailbox.to("bo@example.com"), mailbox.to("li@example.com")
    assert english["Subject"] == "support: 3 new, 3 to do, 0 overdue"
    assert chinese["Subject"] == "support：新反馈 3，待处理 3，已超时 0"
    assert (english["Content-Language"], chinese["Content-Language"]) == ("en", "zh")
    said = plain(english)
    assert line(english, "New feedback") == "3"
    assert line(english, "New cases") == "2"
    assert line(english, "What it was") == "complaint 2, praise 1"
    assert line(english, "What it was about") == "refund 2, payment 1"
    assert (
        said.index("> Where is my refund? <b>Now</b>") < said.index("> 退款还没有到账") < said.index("> You are great")
    )
    assert "From 2026-11-23 09:30 to 2026-11-24 09:00 (UTC)." in said
    assert f"{URL}/cases/{(await world.case(late['id']))['id']}" in said
    assert f"{URL}/feedback/{praise['id']}" in said
    assert "The next one goes at 2026-11-26 09:00" in said  # the 25th is a holiday
    assert "Of another team" not in said
    assert "Of last year" not in said
    assert "c-1" not in said
    html = english.get_body(("html",))
    assert html is not None
    assert "&lt;b&gt;Now&lt;/b&gt;" in html.get_content()
    assert "客户原话" in plain(chinese)
    assert "In-Reply-To" not in english


async def test_the_next_one_says_what_changed_and_what_was_done(world: World, mailbox: Mailbox) -> None:
    first, second = feedback(customer={"id": "c-1"}), feedback(customer={"id": "c-2"})
    await world.take(first, second)
    await told(world, mailbox, TUESDAY)
    await act(world, first["id"], Acknowledge(), Resolve("We paid it back."))
    case = await world.case(first["id"])
    await world.rows(
        "UPDATE closer.notification SET status = 'sent', sent_at = $2 WHERE case_id = $1 AND kind = 'answered'",
        case["id"],
        world.clock.now(),
    )
    await told(world, mailbox, datetime(2026, 11, 26, 9, 1, tzinfo=UTC))
    mail = mailbox.to("bo@example.com")[-1]
    assert line(mail, "New feedback") == "0 (2)"
    assert line(mail, "Cases to do") == "1 (2)"
    assert line(mail, "Overdue") == "1 (0)"
    assert line(mail, "Promises broken") == "1 (0)"
    assert line(mail, "Customers told") == "1 (0)"
    assert "from 2026-11-23 09:30 to 2026-11-24 09:00" in plain(mail)
    assert mail["Subject"] == "support: 0 new, 1 to do, 1 overdue"


async def test_what_is_held_back_is_in_the_digest_of_the_time_in_which_it_is_let_go(
    world: World, mailbox: Mailbox
) -> None:
    values = [feedback(customer={"id": f"c-{number}"}) for number in range(3)]
    for value in values[1:]:
        value["routing"]["held"] = {"until": "2026-11-24T10:00:00.000Z", "because": "maintenance"}
    await world.take(*values)
    at(world, START + timedelta(hours=1))
    await act(world, values[2]["id"], Acknowledge())
    await told(world, mailbox, TUESDAY)
    mail = mailbox.to("bo@example.com")[-1]
    assert [line(mail, name) for name in ("New feedback", "Cases to do")] == ["2", "2"], "one is held still"
    await told(world, mailbox, datetime(2026, 11, 26, 9, 1, tzinfo=UTC))
    mail = mailbox.to("bo@example.com")[-1]
    assert [line(mail, name) for name in ("New feedback", "Cases to do")] == ["1 (2)", "3 (2)"]


async def test_words_that_were_erased_meanwhile_are_not_sent(world: World, mailbox: Mailbox) -> None:
    gone, stays = feedback(text="My name is Ann", customer={"id": "c-1"}), feedback(customer={"id": "c-2"})
    await world.take(gone, stays)
    at(world, TUESDAY)
    await digests(world).make_due()
    await world.rows("UPDATE closer.feedback SET value = value - 'text' - 'title' WHERE id = $1", gone["id"])
    await post(world, mailbox.url)
    (mail,) = mailbox.to("bo@example.com")
    assert "My name is Ann" not in mail.as_string()
    assert line(mail, "New feedback") == "2"
    kept = await world.value("SELECT string_agg(convert_from(body, 'UTF8'), '') FROM closer.delivery")
    assert "refund?" not in kept


async def test_what_is_long_is_cut_and_what_is_many_is_few(world: World, mailbox: Mailbox) -> None:
    many = [feedback(text=f"{number} " + "long " * 500, customer={"id": f"c-{number}"}) for number in range(30)]
    same = [feedback(text="the same", priority="urgent", customer={"id": f"d-{number}"}) for number in range(10)]
    await world.take(*many, *same)
    await told(world, mailbox, TUESDAY)
    quotes = [one for one in plain(mailbox.to("bo@example.com")[0]).splitlines() if one.startswith(">")]
    assert len(quotes) == 5
    assert quotes[0] == "> the same"
    assert all(len(one) <= 290 for one in quotes)


# ── when ──


async def test_nothing_to_say_is_no_mail_and_what_is_overdue_is_worth_saying_every_day(
    world: World, mailbox: Mailbox
) -> None:
    assert await told(world, mailbox, TUESDAY) == 0
    await world.take(feedback())
    assert await told(world, mailbox, datetime(2026, 11, 26, 10, tzinfo=UTC)) == 2
    assert await told(world, mailbox, datetime(2026, 11, 27, 10, tzinfo=UTC)) == 2, "the team's clock ran out too"
    assert await told(world, mailbox, datetime(2026, 11, 30, 10, tzinfo=UTC)) == 2
    mail = mailbox.to("bo@example.com")[-1]
    assert [line(mail, name) for name in ("New feedback", "Overdue", "Promises broken")] == ["0 (0)", "1 (1)", "0 (1)"]


async def test_a_day_off_has_none_and_the_next_one_tells_what_was_missed(world: World, mailbox: Mailbox) -> None:
    at(world, TUESDAY)
    await digests(world).make_due()
    await world.take(feedback())
    assert await told(world, mailbox, datetime(2026, 11, 25, 15, tzinfo=UTC)) == 0
    assert await told(world, mailbox, datetime(2026, 11, 26, 8, 59, tzinfo=UTC)) == 0
    assert await told(world, mailbox, datetime(2026, 11, 26, 9, tzinfo=UTC) + SETTLED) == 2
    assert line(mailbox.to("bo@example.com")[0], "New feedback") == "1 (0)"


async def test_whatever_is_on_its_way_at_the_end_of_a_period_is_waited_for(world: World, mailbox: Mailbox) -> None:
    await world.take(feedback())
    assert await told(world, mailbox, TUESDAY - timedelta(milliseconds=1)) == 0
    assert await told(world, mailbox, TUESDAY) == 2


async def test_a_service_that_comes_back_first_says_the_deadlines_that_passed(world: World) -> None:
    await world.take(feedback())
    at(world, datetime(2026, 11, 30, 10, tzinfo=UTC))
    assert await digests(world).make_due() == 0
    await world.timers.fire_due()
    assert await digests(world).make_due() == 2
    counts = await world.value("SELECT convert_from(counts, 'UTF8')::jsonb->>'breached' FROM closer.digest")
    assert counts == "1"


async def test_feedback_that_the_log_held_back_is_in_the_next_one(world: World, mailbox: Mailbox) -> None:
    """It is older than the period's end, and came after it."""
    assert await told(world, mailbox, TUESDAY) == 0
    await world.take(feedback(received_at="2026-11-23T10:00:00.000Z"))
    assert await told(world, mailbox, datetime(2026, 11, 26, 10, tzinfo=UTC)) == 2


async def test_hourly_goes_within_the_teams_hours_and_nags_nobody(world: World, mailbox: Mailbox) -> None:
    world.config = config(HOURLY)
    await digests(world).make_due()
    await world.take(feedback())
    assert await told(world, mailbox, START + timedelta(minutes=31)) == 1
    assert await told(world, mailbox, datetime(2026, 11, 23, 17, 5, tzinfo=UTC)) == 0
    assert await told(world, mailbox, datetime(2026, 11, 25, 12, 5, tzinfo=UTC)) == 0, "a holiday"
    assert await told(world, mailbox, datetime(2026, 11, 26, 9, 5, tzinfo=UTC)) == 1, "on which a promise was broken"
    assert await told(world, mailbox, datetime(2026, 11, 26, 10, 5, tzinfo=UTC)) == 1, "and now on the team's clock too"
    assert await told(world, mailbox, datetime(2026, 11, 26, 19, tzinfo=UTC)) == 0
    await world.take(feedback(customer={"id": "c-9"}, received_at="2026-11-26T18:59:00.000Z"))
    assert await told(world, mailbox, datetime(2026, 11, 27, 8, 5, tzinfo=UTC)) == 0
    assert await told(world, mailbox, datetime(2026, 11, 27, 9, 5, tzinfo=UTC)) == 1
    assert await told(world, mailbox, datetime(2026, 11, 27, 12, 5, tzinfo=UTC)) == 0


# ── once ──


async def test_several_processes_and_restarts_make_one(world: World, mailbox: Mailbox) -> None:
    await world.take(feedback())
    at(world, TUESDAY)
    made = await asyncio.gather(*(digests(world).make_due() for _ in range(8)))
    assert sorted(made)[-1] == 2
    assert sum(made) == 2
    assert await post(world, mailbox.url) == 2
    assert await digests(world).make_due() == 0
    assert await post(world, mailbox.url) == 0
    assert len(mailbox.all()) == 2


async def test_one_that_was_away_for_days_makes_one_of_all_that_it_missed(world: World, mailbox: Mailbox) -> None:
    await world.take(feedback())
    assert await told(world, mailbox, datetime(2026, 12, 4, 15, tzinfo=UTC)) == 2
    assert "From 2026-11-23 09:30 to 2026-12-04 09:00" in plain(mailbox.to("bo@example.com")[0])


async def test_a_lost_answer_is_sent_again_under_the_same_message_id(world: World) -> None:
    class Lost(Mailbox):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            taken = await super().handle_DATA(server, session, envelope)
            if len(self.all()) <= 2:
                session.loop.call_soon(server.transport.abort)
                await asyncio.sleep(0)
            return taken

    await world.take(feedback())
    at(world, TUESDAY)
    await digests(world).make_due()
    with Lost() as mailbox:
        await post(world, mailbox.url)
        assert {row["status"] for row in await world.rows("SELECT * FROM published.deliveries")} == {"pending"}
        world.clock.advance(timedelta(seconds=6))
        await post(world, mailbox.url)
        assert len(mailbox.all()) == 4
        for address in ("li@example.com", "bo@example.com"):
            first, again = mailbox.to(address)
            assert first["Message-ID"] == again["Message-ID"]
            assert first.as_bytes() == again.as_bytes()
    assert {row["status"] for row in await world.rows("SELECT * FROM published.deliveries")} == {"sent"}


async def test_a_sender_that_dies_leaves_it_to_another(world: World, mailbox: Mailbox) -> None:
    await world.take(feedback())
    at(world, TUESDAY)
    await digests(world).make_due()
    assert len(await (await teller(world, mailbox.url)).claim()) == 2  # and never heard of again
    assert await post(world, mailbox.url) == 0
    world.clock.advance(timedelta(seconds=LEASE_S + 1))
    assert await post(world, mailbox.url) == 2


async def test_whoever_left_the_team_meanwhile_gets_none(world: World, mailbox: Mailbox) -> None:
    await world.take(feedback())
    at(world, TUESDAY)
    await digests(world).make_due()
    world.config = config(DAILY, members="[{email: bo@example.com}]")
    await post(world, mailbox.url)
    assert [str(mail["To"]) for mail in mailbox.all()] == ["bo@example.com"]
    row = await world.one("SELECT * FROM published.deliveries WHERE status = 'failed'")
    assert "not among its readers" in row["reason"]


# ── for whom ──


async def test_only_what_speaks_for_an_account_a_tier_or_a_kind(world: World, mailbox: Mailbox) -> None:
    world.config = config(
        "{channel: email, name: acme, every: daily, to: acme@example.com, accounts: acme}",
        "{channel: email, name: big, every: daily, to: big@example.com, tiers: [enterprise]}",
        "{channel: email, name: bugs, every: daily, to: bugs@example.com, kinds: [bug]}",
        "{channel: email, name: none, every: daily, to: none@example.com, accounts: [nobody]}",
    )
    await digests(world).make_due()
    await world.rows(
        "INSERT INTO closer.account (workspace, id, name, tier, outcome_reached, created_at, updated_at)"
        " VALUES ('default', 'vast', 'Vast', 'enterprise', false, now(), now())"
    )
    await world.take(
        feedback(text="of acme", customer={"id": "c-1", "account_id": "acme"}),
        feedback(text="of a tier", customer={"id": "c-2", "tier": "enterprise"}),
        feedback(text="of a tier by its account", customer={"id": "c-3", "account_id": "vast"}, follow_up=False),
        feedback(text="of a kind", kind="bug", customer={"id": "c-4"}),
    )
    assert await told(world, mailbox, TUESDAY) == 3

    def said(to: str) -> list[str]:
        (mail,) = mailbox.to(f"{to}@example.com")
        return sorted(one for one in plain(mail).splitlines() if one.startswith("> "))

    assert said("acme") == ["> of acme"]
    assert said("big") == ["> of a tier", "> of a tier by its account"]
    assert said("bugs") == ["> of a kind"]
    (mail,) = mailbox.to("acme@example.com")
    assert (line(mail, "Cases to do"), line(mail, "Only")) == ("1", "acme")


# ── asked for ──


async def test_what_would_go_now_is_shown_and_sent_by_a_verb(
    world: World, mailbox: Mailbox, database_url: str, tmp_path: Path
) -> None:
    async with served(world, database_url, tmp_path) as api:
        (nothing,) = (await api.get("/v1/deliveries/digests", team="support")).json()["items"]
        assert nothing["mail"] is None
        assert datetime.fromisoformat(nothing["next_at"]) == TUESDAY - SETTLED
        assert (await api.post("/v1/deliveries/digests/send", {"team": "support"})).json() == {"owed": 0}
        await world.take(feedback())
        world.clock.advance(timedelta(minutes=5))
        answer = await api.get("/v1/deliveries/digests", team="support")
        DigestsShown.model_validate(answer.json())
        (shown,) = answer.json()["items"]
        assert shown["readers"] == ["li@example.com", "bo@example.com"]
        assert shown["mail"]["language"] == "zh"
        assert "新反馈: 1" in shown["mail"]["text"]
        assert not await world.rows("SELECT FROM closer.delivery")
        assert (await api.post("/v1/deliveries/digests/send", {"team": "support"})).json() == {"owed": 2}
        assert await post(world, mailbox.url) == 2
        (after,) = (await api.get("/v1/deliveries/digests", team="support")).json()["items"]
        assert after["mail"] is None, "nobody reads the same twice"
        assert (await api.get("/v1/deliveries/digests", team="sales")).status_code == 404
        assert (await api.get("/v1/deliveries/digests")).status_code == 422


async def test_what_is_still_on_its_way_when_it_is_sent_by_hand_is_in_the_next_one(
    world: World, mailbox: Mailbox, database_url: str, tmp_path: Path
) -> None:
    """What is being written while a period is counted has its time already, and would be in no digest."""
    async with served(world, database_url, tmp_path) as api:
        await api.get("/v1/deliveries/digests", team="support")
        world.clock.advance(timedelta(minutes=5))
        await world.take(feedback())
        world.clock.advance(SETTLED / 2)
        assert (await api.post("/v1/deliveries/digests/send", {"team": "support"})).json() == {"owed": 0}
        world.clock.advance(SETTLED)
        assert (await api.post("/v1/deliveries/digests/send", {"team": "support"})).json() == {"owed": 2}


def test_whoever_is_no_member_reads_in_the_subscriptions_language() -> None:
    def subscription(entry: str) -> Subscription:
        (one,) = read_subscribers(config(entry)).of("default", "support")
        return one

    given = subscription("{channel: email, every: daily, to: [cy@example.com, LI@example.com], language: zh}")
    assert [language_for(given, to) for to in ("cy@example.com", "li@example.com")] == ["zh", "zh"]
    plain_one = subscription("{channel: email, every: daily, to: [cy@example.com, Li@example.com]}")
    assert [language_for(plain_one, to) for to in ("cy@example.com", "Li@example.com")] == ["en", "zh"]


TAGS = frozenset(
    {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "div",
        "h1",
        "h2",
        "p",
        "br",
        "table",
        "tr",
        "td",
        "strong",
        "span",
        "bdi",
    }
    | {"a", "blockquote"}
)


class Elements(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def test_every_language_says_the_same_things() -> None:
    def keys(of: Any, at: str = "") -> set[str]:
        return (
            {at} if not isinstance(of, dict) else set().union(*(keys(one, f"{at}.{name}") for name, one in of.items()))
        )

    def named(of: Any) -> list[str]:
        return sorted(set(re.findall(r"\{[a-z]+\}", str(of))))

    assert keys(_WORDS["en"]) == keys(_WORDS["zh"])
    assert set(_WORDS["en"]["kinds"]) == set(get_args(Kind))
    for name, sentence in _WORDS["en"].items():
        assert named(sentence) == named(_WORDS["zh"][name]), name


@pytest.mark.parametrize(
    "words", ["<script>alert(1)</script><img src=x onerror=alert(1)>", "a\u202eb\r\n.\r\nc", "{{ 7 * 7 }}"]
)
def test_what_a_customer_wrote_stays_data_and_nothing_is_loaded(words: str) -> None:
    (one,) = read_subscribers(config(DAILY)).of("default", "support")
    owed = Owed("bo@example.com", START, START + timedelta(days=1), Counts(heard=1, tags={"<b>": 1}))
    said = Quote(quote(words), 'en" onload="x', "f-1", None, "comment", "normal", ("<i>",), "<u>")
    mail = written(one, Digest(owed, (said,), (said,)), URL)
    found = Elements()
    found.feed(mail.html)
    assert found.tags <= TAGS
    assert found.attributes <= {"lang", "dir", "charset", "name", "content", "style", "role", "href"}
    assert "url(" not in mail.html
    assert "49" not in mail.html
    assert "\u202e" not in mail.html + mail.text
    assert set(re.findall(r'href="([^"?]+)', mail.html)) <= {f"{URL}/cases", f"{URL}/feedback/f-1"}
