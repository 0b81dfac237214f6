"""`subscribe:` in teams.yaml: what is refused and where it says so; who hears what."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from services.closer.check import check
from services.closer.subscribers import NOBODY, Subscribers, read_subscribers
from services.router.check import check as router_check
from shared.config import STARTER, Config, ConfigError, config_of, read_dir
from shared.config.proof import prove

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
TOKEN, SIGNING = "xoxb-1-2-abc", "8f742231b10e8888abcd99yyyzzz85a5"
HEAD = "default_team: support\nteams:\n  - name: support\n    subscribe:\n"
HOOK = f'url: "https://hooks.example.com/x", secret: "{SECRET}"'
SLACK = f'token: "{TOKEN}", signing_secret: "{SIGNING}", to: C0123ABC'


def config(*entries: str, env: Mapping[str, str] | None = None, head: str = HEAD) -> Config:
    teams = head + "".join(f"      - {{{entry}}}\n" for entry in entries)
    routing, sla = "rules: []", "policies: [{name: default, resolve: 3d}]"
    return config_of({**read_dir(STARTER), "teams.yaml": teams, "routing.yaml": routing, "sla.yaml": sla}, env or {})


def read(*entries: str, env: Mapping[str, str] | None = None) -> Subscribers:
    return read_subscribers(config(*entries, env=env))


REFUSED = [
    ("no such channel", "channel: webhok, url: x", "5:10", 'there is no channel \'webhok\': did you mean "webhook"?'),
    ("far from any", "channel: pigeon", "5:10", "(there are email, slack, webhook)"),
    ("no url", f'channel: webhook, secret: "{SECRET}"', "5:9", "url: is required"),
    ("no secret", 'channel: webhook, url: "https://hooks.example.com/x"', "5:9", "secret: is required"),
    ("empty secrets", 'channel: webhook, url: "https://hooks.example.com/x", secret: []', "5:64", "at least 1"),
    ("not https", f'channel: webhook, url: "http://hooks.example.com/x", secret: "{SECRET}"', "5:28", "must begin with https"),
    ("within", f'channel: webhook, url: "https://10.0.0.7/x", secret: "{SECRET}"', "5:28", "no public address"),
    ("metadata", f'channel: webhook, url: "https://169.254.169.254/", secret: "{SECRET}"', "5:28", "CLOSER_WEBHOOK_ALLOW"),
    ("a secret that is none", 'channel: webhook, url: "https://hooks.example.com/x", secret: hunter2', "5:64", "whsec_ and 24 to 64 bytes"),
    ("a short secret", 'channel: webhook, url: "https://hooks.example.com/x", secret: whsec_YWJj', "5:64", "24 to 64 bytes"),
    ("one of two", f'channel: webhook, url: "https://hooks.example.com/x", secret: ["{SECRET}", whsec_x]', "5:", "24 to 64 bytes"),
    ("no such event", f"channel: webhook, {HOOK}, events: [feedback.route]", "5:", 'did you mean "feedback.routed"?'),
    ("no event", f"channel: webhook, {HOOK}, events: []", "5:", "at least 1"),
    ("a typo", f"channel: webhook, {HOOK}, event: [case.changed]", "5:", 'is not known here: did you mean "events"?'),
    ("no variable", 'channel: webhook, url: "https://hooks.example.com/x", secret: "${NOT_SET}"', "5:72", "NOT_SET is not set"),
    ("slack without a token", f'channel: slack, signing_secret: "{SIGNING}", to: C0123', "5:9", "token: is required"),
    ("slack without a secret", f'channel: slack, token: "{TOKEN}", to: C0123', "5:9", "signing_secret: is required"),
    ("slack by name", f'channel: slack, token: "{TOKEN}", signing_secret: "{SIGNING}", to: "#support"', "5:", "must be a channel's id"),
    ("a user's token", f'channel: slack, token: abc, signing_secret: "{SIGNING}", to: C0123', "5:26", "must be a bot token"),
    ("a digest without a rhythm", "channel: email, to: members", "5:9", "every: is required"),
    ("a rhythm that is none", "channel: email, every: weekly, to: members", "5:26", "daily"),
    ("a digest to nobody", "channel: email, every: daily", "5:9", "to: is required"),
    ("no members", "channel: email, every: daily, to: members", "5:40", "the team has no members"),
    ("no address", "channel: email, every: daily, to: [li]", "5:", "must be an e-mail address"),
    ("no time of day", 'channel: email, every: daily, at: "9", to: [li@example.com]', "5:40", "in quotes"),
    ("an hourly time", 'channel: email, every: hourly, at: "09:00", to: [li@example.com]', "5:9", "leave `at` out"),
    ("a kind that is none", f"channel: webhook, {HOOK}, kinds: [bugs]", "5:", 'did you mean "bug"?'),
    ("an empty account", f'channel: webhook, {HOOK}, accounts: [""]', "5:", "at least 1"),
    ("a short signing secret", f'channel: slack, token: "{TOKEN}", signing_secret: abc, to: C0123', "5:49", "Basic Information"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "entry", "where", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_with_line_and_column(case: str, entry: str, where: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(config(entry))
    assert f"teams.yaml:{where}" in str(refused.value), case
    assert says in str(refused.value)


def test_the_same_destination_twice_is_one_too_many_and_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"channel: webhook, {HOOK}", f"channel: webhook, {HOOK}", "channel: nowhere", "channel: webhook")
    said = [str(issue) for issue in refused.value.issues]
    assert [line.split(":")[1] for line in said] == ["6", "7", "8", "8"]
    assert "support hears at hooks.example.com already" in said[0]


def test_what_is_wrong_with_clocks_and_with_subscriptions_is_said_together() -> None:
    wrong = config("channel: nowhere")
    files = {**wrong.files, "sla.yaml": "policies: []"}
    with pytest.raises(ConfigError) as refused:
        check(config_of(files))
    assert {issue.file for issue in refused.value.issues} == {"sla.yaml", "teams.yaml"}


def test_our_own_address_is_refused_for_it_would_go_round_in_a_circle() -> None:
    env = {"PUBLIC_URL": "https://hooks.example.com"}
    with pytest.raises(ConfigError, match="our own address"):
        read(f"channel: webhook, {HOOK}", env=env)


def test_an_operator_may_allow_what_is_not_public() -> None:
    entry = f'channel: webhook, url: "http://10.1.2.3:9000/x", secret: "{SECRET}"'
    with pytest.raises(ConfigError):
        read(entry)
    assert read(entry, env={"CLOSER_WEBHOOK_ALLOW": "10.1.0.0/16"})


def test_who_hears_what() -> None:
    subscribers = read(
        f"channel: webhook, {HOOK}",
        f'channel: webhook, name: archive, url: "https://a.example.com/", secret: ["{SECRET}", "{OTHER}"], events: [case.changed, feedback.routed]',
        f"channel: slack, {SLACK}",
    )
    one, two, three = subscribers.of("default", "support")
    assert one.tells == "events"
    by_default = ["feedback.routed", "signal.raised", "signal.resolved"]
    assert (sorted(one.events), one.destination) == (by_default, "hooks.example.com")
    assert (sorted(two.events), two.destination) == (["case.changed", "feedback.routed"], "archive")
    assert len(two.entry.secret) == 2
    assert three.tells == "cases"
    assert (sorted(three.events), three.destination) == ([], "C0123ABC")
    assert subscribers.channels == {"webhook", "slack"}
    assert subscribers.on("slack") == [three]


def test_a_teams_name_in_another_workspace_is_another_team() -> None:
    assert read(f"channel: webhook, {HOOK}").of("acme", "support") == ()


def test_a_subscription_is_the_same_while_its_destination_is_and_a_named_one_while_its_name_is() -> None:
    def identity(entry: str) -> Any:
        return next(iter(read(entry).by_id))

    plain = identity(f"channel: webhook, {HOOK}")
    assert identity(f'channel: webhook, url: "https://hooks.example.com/x", secret: "{OTHER}"') == plain
    assert identity(f'channel: webhook, url: "https://hooks.example.com/y", secret: "{SECRET}"') != plain
    named = identity(f"channel: webhook, name: a, {HOOK}")
    assert identity(f'channel: webhook, name: a, url: "https://hooks.example.com/y", secret: "{SECRET}"') == named
    assert "hooks" not in plain
    assert plain != named


def test_nobody_subscribes_in_the_starter() -> None:
    assert not check(config_of(read_dir(STARTER))).subscribers
    assert not NOBODY


def test_the_secrets_of_subscriptions_are_needed_by_who_tells_teams_and_by_nobody_else() -> None:
    entry = 'channel: slack, token: "${TOKEN}", signing_secret: "${SIGNING}", to: "${TO}"'
    without = config(entry)
    router_check(without)
    prove(without, {"router": router_check})  # the closer runs elsewhere, and may have them
    with pytest.raises(ConfigError, match="TOKEN is not set"):
        check(without)
    env = {"TOKEN": TOKEN, "SIGNING": SIGNING, "TO": "C0123"}
    assert check(config(entry, env=env)).subscribers
    with pytest.raises(ConfigError, match="ZONE is not set"):
        router_check(
            config(entry, head=HEAD.replace("    sub", '    hours: {zone: "${ZONE}", days: {mon: []}}\n    sub'))
        )


def test_what_the_closers_own_environment_may_allow_is_left_to_it() -> None:
    """The router's process puts a configuration in force, and knows nothing of CLOSER_WEBHOOK_ALLOW."""
    entry = f'channel: webhook, url: "http://10.1.2.3:9000/x", secret: "{SECRET}"'
    prove(config(entry), {"router": router_check})
    with pytest.raises(ConfigError, match="no host"):
        prove(config(entry.replace("10.1.2.3", "127.1")), {"router": router_check})
