"""Configuration: every mistake with its line and column; taken up whole or refused whole."""

from pathlib import Path

import pytest

from shared.config import FILES, RULES, STARTER, ConfigError, config_of, read_dir
from shared.config.document import parse
from shared.config.proof import checks, prove
from shared.config.store import ConfigStore, InForce, rules_hash
from shared.config.teams import minutes, read_teams, weekdays
from shared.database import Database

TEAMS = """\
default_team: support
teams:
  - name: support
    hours: {zone: Asia/Shanghai, days: {mon-fri: ["09:00-12:00", "13:00-18:00"]}, holidays: CN}
"""


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: [1, 2", 1, 9, "not YAML"),
        ("a: 1\na: 2", 2, 1, "stands twice"),
        ("a: ${NOT_SET}", 1, 4, "NOT_SET is not set"),
        ('a:\n  - b\n  - "x${NOT_SET}"', 3, 5, "NOT_SET is not set"),
        ("a: 1\n${NOT_SET}: 1", 2, 1, "not a key"),
        ("a: !!python/object:os.system x", 1, 4, None),
        ("? [a]\n: 1", 1, 3, "a key must be a word"),
    ],
    ids=[
        "broken",
        "duplicate key",
        "variable",
        "variable in a word",
        "variable as key",
        "tag is only a word",
        "list as key",
    ],
)
def test_a_mistake_has_its_line_and_column(text: str, line: int, column: int, says: str | None) -> None:
    if says is None:
        assert parse("f.yaml", text, {}).data == {"a": "x"}
        return
    with pytest.raises(ConfigError) as caught:
        parse("f.yaml", text, {})
    issue = caught.value.issues[0]
    assert (issue.file, issue.line, issue.column) == ("f.yaml", line, column)
    assert says in issue.message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"),
        ("on", "on"),
        ("09:00", "09:00"),
        ("true", True),
        ("1", 1),
        ("1.5", 1.5),
        ("~", None),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_words_stay_words_as_yaml_1_2_has_them(written: str, read: object) -> None:
    assert parse("f.yaml", f"a: {written}", {}).data["a"] == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"x-${NAME}-$${NAME}"', "x-7-${NAME}"),
        ('"${NAME}"', "7"),
        ("${NAME}", 7),
        ("x ${NAME}", "x 7"),
        ("${TRUE}", True),
        ("'${TRUE}'", "true"),
        ("${TRICK}", "[1, 2]"),
        ("costs $5 or ${5}", "costs $5 or ${5}"),
    ],
)
def test_what_a_variable_holds_is_read_as_if_it_stood_there_and_is_never_yaml(written: str, read: object) -> None:
    env = {"NAME": "7", "TRUE": "true", "TRICK": "[1, 2]"}
    assert parse("f.yaml", f"a: {written}", env).data == {"a": read}


def test_a_process_needs_the_variables_of_the_files_it_reads() -> None:
    files = read_dir(STARTER)
    files["sources.yaml"] = 'sources: [{name: z, connector: zendesk, secrets: ["${SECRET}"]}]\nmetrics: {m: {max: 5}}'
    files["sla.yaml"] = files["sla.yaml"].replace("acknowledge: 8h", 'acknowledge: "${SOON}"')
    config = config_of(files, {"SOON": "2h"})
    assert config.document("sla.yaml").data["policies"][-1]["acknowledge"] == "2h"
    assert config.written["sla.yaml"].data["policies"][-1]["acknowledge"] == "${SOON}"
    assert config.partly("sources.yaml").data["metrics"] == {"m": {"max": 5}}
    with pytest.raises(ConfigError, match="SECRET is not set"):
        config.document("sources.yaml")
    assert config.version == config_of(files).version, "what is in force is what was written, the same everywhere"


def test_what_a_variable_of_another_process_may_mend_is_unsure() -> None:
    files = read_dir(STARTER)
    zones = 'zone: "${ZONE}", days: {mon-fri: ["09:00-17:30"]'
    files["teams.yaml"] = files["teams.yaml"].replace('zone: UTC, days: {mon-fri: ["09:00-17:30"]', zones)
    files["teams.yaml"] = files["teams.yaml"].replace('mon-fri: ["08:00', 'mon-frx: ["08:00')
    with pytest.raises(ConfigError) as caught:
        read_teams(config_of(files).elsewhere().document("teams.yaml"))
    assert [issue.unsure for issue in caught.value.issues] == [False, True]
    with pytest.raises(ConfigError) as caught:
        prove(config_of(files), {})
    assert ["not a day" in issue.message for issue in caught.value.issues] == [True]
    with pytest.raises(ConfigError, match="ZONE is not set"):
        prove(config_of(files), checks())


def test_every_service_that_works_by_a_file_says_what_it_makes_of_it() -> None:
    assert sorted(checks()) == ["closer", "console", "ingest", "router"]
    assert sorted(prove(config_of(read_dir(STARTER)), {})) == ["closer", "console", "ingest", "router"]


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("default_team: support", "default_team: nobody", 1, "not among the teams"),
        ("zone: Asia/Shanghai", "zone: Asia/Peking2", 4, "not a time zone"),
        ("mon-fri", "mon-freitag", 4, "not a day"),
        ('"09:00-12:00", "13:00-18:00"', '"09:00-14:00", "13:00-18:00"', 4, "must not overlap"),
        ('"09:00-12:00", "13:00-18:00"', "", 4, "never works"),
        ("name: support", "name: Support.Team", 3, "pattern"),
        ("holidays: CN", "holiday: CN", 4, 'is not known here: did you mean "holidays"?'),
        ("default_team: support\n", "default_team: support\njurney: {}\n", 2, 'did you mean "journey"?'),
    ],
)
def test_teams_are_refused_where_they_are_wrong(before: str, after: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_teams(parse("teams.yaml", TEAMS.replace(before, after), None))
    assert caught.value.issues[0].line == line
    assert says in caught.value.issues[0].message


def test_what_tools_call_a_team_is_one_teams_and_refused_where_it_stands_twice() -> None:
    teams = 'default_team: a\nteams:\n  - {name: a, known_as: [Tier 1, A]}\n  - {name: b, known_as: ["desk:7"%s]}\n'
    known = read_teams(parse("teams.yaml", teams % "", None)).known_as
    assert known == {"a": "a", "tier 1": "a", "b": "b", "desk:7": "b"}
    for twice in (", TIER  1", ", A"):
        with pytest.raises(ConfigError) as caught:
            read_teams(parse("teams.yaml", teams % twice, None))
        (issue,) = caught.value.issues
        assert (issue.line, issue.column) == (4, 36)
        assert "is 'a' already" in issue.message


def test_days_and_periods() -> None:
    assert weekdays("sat-mon") == [5, 6, 0]
    assert minutes("00:00-24:00") == (0, 1440)
    for wrong in ("9:00-12:00", "09:00", "09:00-25:00"):
        with pytest.raises(ValueError, match="period"):
            minutes(wrong)


def test_the_starter_loads_with_no_variable_set() -> None:
    config = config_of(read_dir(STARTER))
    for name in FILES:
        config.document(name)
    assert read_teams(config.document("teams.yaml")).names == ["product", "support", "sales"]


def test_the_version_is_a_hash_of_all_content() -> None:
    files = read_dir(STARTER)
    assert config_of(files).version == config_of(dict(files)).version
    for name in FILES:
        assert config_of({**files, name: files[name] + "\n# a word\n"}).version != config_of(files).version


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    for name in FILES[1:]:
        (tmp_path / name).write_text((STARTER / name).read_text())
    with pytest.raises(ConfigError, match=FILES[0]):
        read_dir(tmp_path)
    (tmp_path / FILES[0]).write_bytes("名".encode("gb18030"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_dir(tmp_path)


async def test_the_version_in_force_is_one_for_all_and_every_version_is_kept(database_url: str) -> None:
    first, second = Database(database_url), Database(database_url)
    try:
        one, other = ConfigStore(first), ConfigStore(second)
        assert await one.version_in_force() is None
        old = config_of(read_dir(STARTER))
        new = config_of({**old.files, "sla.yaml": old.files["sla.yaml"] + "\n# later\n"})
        await one.put_in_force(old)
        await one.put_in_force(new)
        assert await other.version_in_force() == new.version
        assert (await other.load(old.version)).files == old.files
        await other.put_in_force(old)
        assert await one.version_in_force() == old.version
    finally:
        await first.close()
        await second.close()


async def test_who_put_what_in_force_and_what_was_taken_back_is_kept(database_url: str) -> None:
    database = Database(database_url)
    store = ConfigStore(database)
    first = config_of({**read_dir(STARTER), RULES: "rules: []"})
    second = config_of({**first.files, RULES: "change: {by: li@example.com, why: none are needed}\nrules: []"})
    try:
        assert await store.in_force() is None
        assert await store.files(first.version) is None
        await store.put_in_force(first)
        await store.put_in_force(second)
        await store.put_in_force(
            first,
            author="wang",
            reason="they are",
            rolled_back_to=first.version,
            taken_back=[rules_hash(second.files)],
        )
        assert await store.in_force() == InForce(first.version, frozenset({rules_hash(second.files)}))
        said = [(turn.version, turn.author, turn.reason, turn.rolled_back_to) for turn in await store.history(10)]
        assert said == [
            (first.version, "wang", "they are", first.version),
            (second.version, "li@example.com", "none are needed", None),
            (first.version, None, None, None),
        ]
        assert len(await store.history(2)) == 2
        await store.put_in_force(second)
        assert await store.in_force() == InForce(second.version, frozenset())
    finally:
        await database.close()
