"""sla.yaml: what is refused and where it says so; which policy applies; what a case keeps of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from services.closer.policy import Policies, Subject, check
from shared.config import STARTER, Config, ConfigError, config_of, read_dir

NOW = datetime(2026, 9, 30, 9, tzinfo=UTC)
TEAMS = """\
default_team: support
teams:
  - name: support
  - name: product
    hours: {zone: Asia/Shanghai, days: {mon-fri: ["09:00-12:00", "13:00-18:00"]}, holidays: CN}
"""
SLA = """\
policies:
  - {name: urgent, when: {priority: urgent}, acknowledge: 1h, resolve: 8h, tell_customer: 24h, warn_at: 75%}
  - {name: big, when: {tier: [enterprise, gold], team: product}, acknowledge: 2h, escalate_to: [boss@example.com, support]}
  - {name: bugs, when: {kind: bug, theme: [login, payment]}, resolve: 1d, warn_at: 0050}
  - {name: default, acknowledge: 8h, resolve: 3d, tell_customer: 5d}
"""


def config(sla: str = SLA, teams: str = TEAMS) -> Config:
    return config_of({**read_dir(STARTER), "sla.yaml": sla, "teams.yaml": teams})


@pytest.fixture
def policies() -> Policies:
    return check(config(SLA.replace("0050", "50%")))


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"priority": "urgent"}, "urgent"),
        ({"priority": "urgent", "tier": "gold", "team": "product"}, "urgent"),
        ({"tier": "gold", "team": "product"}, "big"),
        ({"tier": "enterprise", "team": "product"}, "big"),
        ({"tier": "gold"}, "default"),
        ({"tier": None, "team": "product"}, "default"),
        ({"kind": "bug", "theme": "login"}, "bugs"),
        ({"kind": "bug", "theme": "other"}, "default"),
        ({}, "default"),
    ],
)
def test_the_first_that_matches(policies: Policies, subject: Mapping[str, Any], expected: str) -> None:
    asked = Subject(**{"team": "support", "priority": "normal", **subject})
    assert policies.policy(asked).name == expected
    assert policies.snapshot(asked, NOW).policy == expected


def test_the_snapshot_holds_targets_calendar_and_whom_to_call(policies: Policies) -> None:
    snapshot = policies.snapshot(Subject("product", "normal", tier="gold"), NOW)
    assert {target: str(duration) for target, duration in snapshot.targets} == {"acknowledge": "2h"}
    assert snapshot.warn_at_percent == 75
    assert snapshot.escalate_to == ("boss@example.com", "support")
    assert str(snapshot.assume_after) == "14d"
    assert snapshot.calendar is not None
    assert snapshot.calendar.zone == "Asia/Shanghai"
    assert policies.snapshot(Subject("support", "normal"), NOW).calendar is None
    # One object for all cases of a year, so that opening a case makes none.
    assert policies.snapshot(Subject("product", "normal", tier="gold"), NOW.replace(month=1)) is snapshot
    assert policies.snapshot(Subject("product", "normal", tier="gold"), NOW.replace(year=2027)) is not snapshot


def test_a_team_that_is_gone_from_the_configuration_is_round_the_clock(policies: Policies) -> None:
    assert policies.snapshot(Subject("gone", "normal"), NOW).calendar is None


def test_explain(policies: Policies) -> None:
    told = policies.explain(Subject("product", "normal"), datetime.fromisoformat("2026-09-30T17:00:00+08:00"))
    assert told["policy"] == "default"
    assert told["acknowledge"]["business"] == "2026-10-08T09:00:00.000Z"
    assert told["acknowledge"]["wall"] == "2026-09-30T17:00:00.000Z"
    assert told["team"] == "product"


DEFAULT = "{name: default, resolve: 3d}"


@pytest.mark.parametrize(
    ("case", "sla", "where", "says"),
    [
        ("no policy", "policies: []", "1:1", "at least 1"),
        ("nothing", "", "1:1", "is required"),
        ("a typo", f"policies:\n  - {DEFAULT}\n  - {{name: x, resolv: 3d}}", "3:15", "is not known here"),
        ("no such duration", "policies:\n  - {name: default, resolve: 3 days}", "2:21", "write 30m, 8h, 3d or 2w"),
        ("a bare number", "policies:\n  - {name: default, resolve: 3}", "2:21", "write 30m, 8h, 3d or 2w"),
        ("yes is no duration", "policies:\n  - {name: default, resolve: true}", "2:21", "write 30m, 8h, 3d or 2w"),
        ("zero", "policies:\n  - {name: default, resolve: 0h}", "2:21", "write 30m"),
        ("promises nothing", "policies:\n  - {name: default}", "2:5", "promises nothing"),
        ("the last has a when", "policies:\n  - {name: a, when: {priority: urgent}, resolve: 3d}", "2:5", "must be without"),
        ("below is never reached", f"policies:\n  - {DEFAULT}\n  - {{name: b, resolve: 3d}}", "2:5", "put it last"),
        ("an empty when is none", f"policies:\n  - {{name: a, when: {{}}, resolve: 1d}}\n  - {DEFAULT}", "2:5", "put it last"),
        ("unknown team", f"policies:\n  - {{name: a, when: {{team: slaes}}, resolve: 1d}}\n  - {DEFAULT}", "2:22", "'slaes' is not a team"),
        ("unknown priority", f"policies:\n  - {{name: a, when: {{priority: asap}}, resolve: 1d}}\n  - {DEFAULT}", "2:22", "urgent"),
        ("one name twice", f"policies:\n  - {{name: default, when: {{tier: x}}, resolve: 1d}}\n  - {DEFAULT}", "3:6", "two policies have the name"),
        ("warned after the end", "policies:\n  - {name: default, resolve: 3d, warn_at: 100%}", "2:34", "from 1% to 99%"),
        ("nobody to call", "policies:\n  - {name: default, resolve: 3d, escalate_to: boss}", "2:34", "neither an address nor a team"),
        ("assume_after", f"policies:\n  - {DEFAULT}\nassume_after: soon", "3:1", "write 30m, 8h, 3d or 2w"),
    ],
)  # fmt: skip
def test_refused_with_line_and_column(case: str, sla: str, where: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(config(sla))
    assert f"sla.yaml:{where}: " in str(refused.value), case
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("case", "hours", "where", "says"),
    [
        ("country", "{days: {mon: [\"09:00-17:00\"]}, holidays: XX}", "5:", "not a country"),
        ("subdivision", "{days: {mon: [\"09:00-17:00\"]}, holidays: DE-XX}", "5:", "not a country"),
        ("day", "{days: {mon: [\"09:00-17:00\"]}, holidays: [2026-13-01]}", "5:", "days are written"),
        ("made up", "{days: {mon: [\"09:00-17:00\"]}, working_days: {10.10.2026: fri}}", "5:", "is not a day"),
        ("as what", "{days: {mon: [\"09:00-17:00\"]}, working_days: {2026-10-10: friday}}", "5:", "is not a weekday"),
    ],
)  # fmt: skip
def test_a_calendar_that_cannot_be_is_refused_where_it_stands(case: str, hours: str, where: str, says: str) -> None:
    teams = f"default_team: support\nteams:\n  - name: support\n  - name: product\n    hours: {hours}\n"
    with pytest.raises(ConfigError) as refused:
        check(config("policies:\n  - {name: default, resolve: 3d}", teams))
    assert f"teams.yaml:{where}" in str(refused.value), case
    assert says in str(refused.value)


def test_every_issue_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        check(
            config(
                "policies:\n  - {name: a, when: {team: [nobody, noone]}}\n  - {name: a, when: {tier: x}, resolve: 1d}"
            )
        )
    assert len(refused.value.issues) == 5


@pytest.mark.parametrize(("written", "percent"), [("75%", 75), ("75", 75), ("'1%'", 1), ("99 %", 99)])
def test_how_a_share_may_be_written(written: str, percent: int) -> None:
    policies = check(config(f"policies:\n  - {{name: default, resolve: 3d, warn_at: {written}}}"))
    assert policies.file.policies[0].warn_at == percent


def test_the_starter_loads_with_no_variable_set() -> None:
    policies = check(config_of(read_dir(STARTER)))
    assert policies.policy(Subject("product", "urgent")).name == "urgent"
    assert policies.policy(Subject("sales", "low")).name == "default"
