"""What `flywheel rules` does that is more than one question: another file's difference, the past decided again, versions."""

import asyncio
import getpass
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from services.cli import EXPLICIT_CONFIG, client, operate, show
from services.cli.database import reading, writing
from services.console.render import words
from services.console.wording import Line, actions, condition
from services.router.backtest import Replay, Tally, pair, report
from services.router.difference import DEFAULT, Difference, by_name, difference, examples_decided
from services.router.kept import KeptModels
from services.router.lint import remarks
from services.router.rules import load
from services.router.ruleset import Ruleset
from services.router.shadow_kept import KeptShadows
from shared.clock import SystemClock
from shared.config import RULES, Config, ConfigError, config_of, read_dir
from shared.config.proof import prove
from shared.config.store import ConfigStore, InForce, change_of, rules_hash
from shared.config.teams import teams_of
from shared.database import Database
from shared.errors import Misuse
from shared.events.envelope import rfc3339
from shared.log import Log, TopicPartition
from shared.log.choose import open_log
from shared.settings import read_settings
from shared.topics import DEFAULT_WORKSPACE, RECEIVED, all_topics, named

T = TypeVar("T")
_VERSION = re.compile(r"[0-9a-f]{12}\Z")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SHOWN = 20
SAID_MAX_CHARS = 100


class _At(NamedTuple):
    """What these verbs stand on."""

    store: ConfigStore
    shadows: KeptShadows
    models: KeptModels
    log: Log


def _with_log(work: Callable[[_At], Awaitable[T]]) -> Callable[[Database], Awaitable[T]]:
    async def run(database: Database) -> T:
        log = await open_log(read_settings().with_database(database.url))
        try:
            return await work(_At(ConfigStore(database), KeptShadows(database), KeptModels(database), log))
        finally:
            await log.close()

    return run


# ── check ──


def check() -> tuple[Ruleset, list[str]]:
    """The local configuration's rules, every file checked by its owner, every example proved; and what they say in vain."""
    ruleset: Ruleset = operate.checked()
    return ruleset, [str(issue) for issue in remarks(ruleset, client.local_config().written[RULES])]


# ── diff ──


def named_config(name: str) -> Config:
    """A folder, or a version that was in force. Raises `Misuse`, `ConfigError`."""
    if Path(name).is_dir() or not _VERSION.match(name):
        return config_of(read_dir(Path(name)), os.environ)
    return config_of(reading(lambda database: _files(ConfigStore(database), name)), os.environ)


async def _files(store: ConfigStore, version: str) -> Mapping[str, str]:
    found = await store.files(version)
    if found is None:
        raise Misuse(f"there never was a version {version!r}: `flywheel rules history` names those there were")
    return found


def diff(old: Config, new: Config) -> dict[str, Any]:
    """As plain data. Raises `ConfigError`."""
    before, after = load(old), load(new)
    was, then = _routing(old), _routing(new)
    rules = difference(was, then)
    asked, examples = examples_decided(before, after, was, then)
    rule_was, rule_then = by_name(was), by_name(then)
    changed = [
        {"rule": one.name, "what": list(one.what), "old": _part(rule_was, one), "new": _part(rule_then, one)}
        for one in rules.changed
    ]
    return {
        "old": old.version,
        "new": new.version,
        "default_team": {"old": before.default_team, "new": after.default_team},
        "teams": {"added": sorted(after.teams - before.teams), "removed": sorted(before.teams - after.teams)},
        "added": [rule_then[name] for name in rules.added],
        "removed": [rule_was[name] for name in rules.removed],
        "changed": changed,
        "moved": [one._asdict() for one in rules.moved],
        "lexicons": {
            name: {"added": list(came), "removed": list(went)} for name, (came, went) in rules.lexicons.items()
        },
        "examples": {"asked": asked, "otherwise": [one._asdict() for one in examples]},
    }


def _routing(config: Config) -> Mapping[str, Any]:
    return config.written[RULES].data or {}


def _part(rules: Mapping[str, Mapping[str, Any]], one: Any) -> dict[str, Any]:
    return {part: rules[one.name].get(part) for part in one.what}


def tell_diff(found: dict[str, Any]) -> None:
    show.say(f"{found['old']} → {found['new']}")
    default = found["default_team"]
    if default["old"] != default["new"]:
        show.say(f"default team: {default['old']} → {default['new']}")
    for what in ("added", "removed"):
        if found["teams"][what]:
            show.say(f"teams {what}: {', '.join(found['teams'][what])}")
    for rule in found["added"]:
        show.say(f"+ {rule['name']}: {_rule(rule)}")
    for rule in found["removed"]:
        show.say(f"- {rule['name']}: {_rule(rule)}")
    for rule in found["changed"]:
        show.say(f"~ {rule['rule']}: {', '.join(rule['what'])}")
        for part in rule["what"]:
            if part in _IN_WORDS:
                show.say(f"    {part} was  {_IN_WORDS[part](rule['old'][part])}")
                show.say(f"    {part} is   {_IN_WORDS[part](rule['new'][part])}")
    for one in found["moved"]:
        show.say(f"> {one['name']}: from place {one['before']} to place {one['after']}")
    for name, lexicon in found["lexicons"].items():
        went = f"; without {', '.join(lexicon['removed'])}" if lexicon["removed"] else ""
        show.say(f"~ lexicon {name}: with {', '.join(lexicon['added']) or 'nothing new'}{went}")
    if not any(found[part] for part in ("added", "removed", "changed", "moved", "lexicons")):
        show.say("the rules are the same")
    examples = found["examples"]
    show.say(f"{examples['asked']} examples asked, {len(examples['otherwise'])} decided otherwise")
    for one in examples["otherwise"][:SHOWN]:
        show.say(f"  “{show.short(_said(one['feedback']), SAID_MAX_CHARS)}”  {_otherwise(one)}")


def _rule(rule: Mapping[str, Any]) -> str:
    return f"{_when(rule.get('when'))} → {_then(rule.get('then'))}"


def _when(when: Any) -> str:
    return _in_english(condition(when))


def _then(then: Any) -> str:
    return ", ".join(_in_english(line) for line in actions(then))


_IN_WORDS: Mapping[str, Callable[[Any], str]] = {"when": _when, "then": _then}


def _in_english(line: Line) -> str:
    sentence = words("en")[line.key].format(**line.values)
    return f"{sentence} ({'; '.join(map(_in_english, line.parts))})" if line.parts else sentence


def _said(feedback: Mapping[str, Any]) -> str:
    words_ = [str(feedback[name]) for name in ("title", "text") if feedback.get(name)]
    return " · ".join(words_) or show.scores(feedback.get("scores"))


def _otherwise(one: Mapping[str, Any]) -> str:
    """What is not the same, before and after."""
    return ", ".join(f"{name}: {_value(one['old'].get(name))} → {_value(one['new'].get(name))}" for name in one["what"])


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


# ── backtest ──


def since(text: str, now: datetime) -> datetime:
    """`7d`, `12h`, or a time with its zone. Raises `Misuse`."""
    span = _SPAN.match(text)
    if span is not None:
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Misuse(f"--since takes a span such as 90m, 12h, 7d, or a time with its zone, not {text!r}")
    return found


def backtest(since_: str, against: str | None, samples: int) -> dict[str, Any]:
    """What came in since then, decided by the rules in force (or `against`) and by those of `--config`, where one is named; the
    model in force judges beside both, as it does beside the router's."""
    from_ = since(since_, SystemClock().now())
    new = client.explicit_config() if os.environ.get(EXPLICIT_CONFIG) else None
    old = named_config(against) if against is not None else None

    async def work(at: _At) -> dict[str, Any]:
        before = old or await _in_force(at.store)
        model = await at.models.in_force()
        judge = await at.models.model(model) if model is not None else None
        rules = await asyncio.to_thread(pair, before, new or before, judge)
        tally = Tally(samples=samples)
        until = await _replay(at.log, from_, Replay(rules, tally))
        return {"since": rfc3339(from_), "until": until, "model": model} | report(rules, tally)

    return reading(_with_log(work))


async def _in_force(store: ConfigStore) -> Config:
    version = await store.version_in_force()
    if version is None:
        raise Misuse("no configuration is in force yet: name one with --against")
    return await store.load(version, os.environ)


async def _replay(log: Log, from_: datetime, replay: Replay) -> str | None:
    """Partition by partition; when the last record came."""
    topic = named(DEFAULT_WORKSPACE, RECEIVED)
    reader = await log.reader()
    last_ms: int | None = None
    try:
        for number in range(await reader.partitions(topic)):
            tp = TopicPartition(topic, number)
            start = await reader.offset_at(tp, int(from_.timestamp() * 1000))
            _, end = await reader.bounds(tp)
            if start >= end:
                continue
            async for records in reader.scan(tp, start, end):
                replay.take(records)
                if records:
                    last_ms = max(last_ms or 0, records[-1].timestamp_ms)
    finally:
        await reader.close()
    return rfc3339(datetime.fromtimestamp(last_ms / 1000).astimezone()) if last_ms is not None else None


def tell_backtest(found: dict[str, Any]) -> None:
    compared = found["old"] != found["new"]
    show.say(f"{found['feedback']} pieces of feedback since {found['since']}")
    if compared:
        show.say(
            f"{found['old']} → {found['new']}: {found['moved']} move, {found['otherwise']} stay with something else"
        )
        _tell_pairs(found)
        for one in found["samples"]:
            show.say(f"  {one['id']}  {_otherwise(one)}")
            show.say(f"      “{show.short(one['said'], SAID_MAX_CHARS)}”")
    if found["never"]:
        show.say(f"never held: {', '.join(found['never'])}")
    for one in found["most"]:
        show.say(f"held for {one['share']:.0%}: {one['rule']}")


def _tell_pairs(found: dict[str, Any]) -> None:
    for one in found["by_team"]:
        show.say(f"  {one['count']:>7}  {one['from']} → {one['to']}")
    if found["by_rule"]:
        show.say("by the rule that decided, and the one that would:")
        for one in found["by_rule"][:SHOWN]:
            show.say(f"  {one['count']:>7}  {one['from']} → {one['to']}")


# ── versions ──


def history(limit: int) -> list[dict[str, Any]]:
    """The newest first, each with what it changed of the rules of the one before."""

    async def work(database: Database) -> list[dict[str, Any]]:
        store = ConfigStore(database)
        turns = await store.history(limit + 1)
        rules = [_written(await _files(store, turn.version)) for turn in turns]
        rows = []
        for number, turn in enumerate(turns[:limit]):
            before = rules[number + 1] if number + 1 < len(turns) else None
            changes = _counted(difference(before, rules[number])) if before is not None else None
            rows.append({**turn._asdict(), "since": rfc3339(turn.since), "in_force": number == 0, "rules": changes})
        return rows

    return reading(work)


def _written(files: Mapping[str, str]) -> Mapping[str, Any]:
    return _routing(config_of(files))


def _counted(found: Difference) -> dict[str, int]:
    named_ = {"added": found.added, "removed": found.removed, "changed": found.changed, "moved": found.moved}
    return {what: len(rules) for what, rules in named_.items()} | {"lexicons": len(found.lexicons)}


def tell_history(rows: list[dict[str, Any]]) -> None:
    show.table(
        ["version", "since", "rules", "by", "why"],
        [
            (
                row["version"] + (" (in force)" if row["in_force"] else ""),
                show.clock(row["since"]),
                ", ".join(f"{n} {what}" for what, n in (row["rules"] or {}).items() if n) or "–",
                row["author"],
                (f"back to {row['rolled_back_to']}. " if row["rolled_back_to"] else "") + (row["reason"] or ""),
            )
            for row in rows
        ],
        empty="no configuration was ever in force",
    )


def roll_back(version: str | None, author: str | None, reason: str | None) -> dict[str, Any]:
    """The rules of that version, with the other files as they are, put in force; without one, the last other rules.
    Raises `Misuse`, `ConfigError`."""

    async def work(at: _At) -> dict[str, Any]:
        in_force, files = await _files_in_force(at.store)
        to = version or await _version_before(at.store, files)
        target = await _files(at.store, to)
        if target[RULES] == files[RULES]:
            raise Misuse(f"the rules of {to} are in force already")
        config = await _put_in_force(at, in_force, files, target[RULES], author, reason, rolled_back_to=to)
        return {"version": config.version, "rolled_back_to": to, "from": in_force.version}

    return writing(_with_log(work))


async def _put_in_force(
    at: _At,
    in_force: InForce,
    files: Mapping[str, str],
    rules: str,
    author: str | None,
    reason: str | None,
    rolled_back_to: str | None = None,
) -> Config:
    """Those rules with the other files as they are, proved first; what still stands in a folder stays back. Raises
    `ConfigError`."""
    config = config_of({**files, RULES: rules}, os.environ)
    prove(config, {})
    await at.log.ensure_topics(all_topics(teams_of(config).names))
    await at.store.put_in_force(
        config,
        author=author or getpass.getuser(),
        reason=reason,
        rolled_back_to=rolled_back_to,
        taken_back=_taken_back(in_force, files, config.files),
    )
    return config


def _taken_back(in_force: InForce, files: Mapping[str, str], target: Mapping[str, str]) -> frozenset[str]:
    return (in_force.taken_back | {rules_hash(files)}) - {rules_hash(target)}


async def _files_in_force(store: ConfigStore) -> tuple[InForce, Mapping[str, str]]:
    in_force = await store.in_force()
    if in_force is None:
        raise Misuse("no configuration is in force yet")
    return in_force, await _files(store, in_force.version)


async def _version_before(store: ConfigStore, files: Mapping[str, str]) -> str:
    for turn in await store.history(1000):
        if (await _files(store, turn.version))[RULES] != files[RULES]:
            return turn.version
    raise Misuse("no other rules were ever in force")


# ── a shadow ──

NONE_RUNS = "no rules run as a shadow: `flywheel rules shadow FILE` starts some"


def start_shadow(file: Path, author: str | None, reason: str | None) -> dict[str, Any]:
    """The rules of that file, proved with the other files in force, beside those in force. Raises `Misuse`, `ConfigError`."""
    rules = _routing_of(file)

    async def work(database: Database) -> dict[str, Any]:
        in_force, files = await _files_in_force(ConfigStore(database))
        with _said_of(file):
            config = config_of({**files, RULES: rules}, os.environ)
            prove(config, {})
        said = change_of(config)
        by, why = author or said.by or getpass.getuser(), reason or said.why
        name = await KeptShadows(database).start(rules, SystemClock().now(), by, why)
        return {"rules": name, "beside": in_force.version, "author": by, "reason": why}

    return writing(work)


def _routing_of(file: Path) -> str:
    """A routing.yaml, or that of a folder. Raises `Misuse`."""
    try:
        return (file / RULES if file.is_dir() else file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Misuse(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Misuse(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from None


@contextmanager
def _said_of(file: Path) -> Iterator[None]:
    """What is wrong is told by the name under which the file was given."""
    try:
        yield
    except ConfigError as error:
        name = str(file / RULES if file.is_dir() else file)
        raise ConfigError(
            [replace(issue, file=name) if issue.file == RULES else issue for issue in error.issues]
        ) from None


def stop_shadow() -> dict[str, Any]:
    async def work(database: Database) -> bool:
        return await KeptShadows(database).end(SystemClock().now(), "stopped")

    if not writing(work):
        raise Misuse(NONE_RUNS)
    return {"ended": "stopped"}


def adopt_shadow(author: str | None, reason: str | None) -> dict[str, Any]:
    """What runs as a shadow comes into force, as a version like any other. Raises `Misuse`, `ConfigError`."""

    async def work(at: _At) -> dict[str, Any]:
        running = await at.shadows.running()
        if running is None:
            raise Misuse(NONE_RUNS)
        in_force, files = await _files_in_force(at.store)
        version = in_force.version
        if running.rules != files[RULES]:  # else somebody wrote them to the folder meanwhile
            why = reason or running.reason
            version = (await _put_in_force(at, in_force, files, running.rules, author, why)).version
        await at.shadows.end(SystemClock().now(), "adopted")
        return {"version": version, "from": in_force.version, "rules": running.hash}

    return writing(_with_log(work))


def shadow(samples: int) -> dict[str, Any]:
    """What the rules that run as a shadow would have decided otherwise, and what was said in so many."""

    async def work(database: Database) -> dict[str, Any]:
        return await KeptShadows(database).status(await ConfigStore(database).version_in_force())

    found = reading(work)
    for one in found["samples"][:samples]:
        one["said"] = _said_in(one["id"])
    return found


def _said_in(feedback_id: str) -> str | None:
    """None where it is not there any more."""
    try:
        return _said(client.call("console", "GET", f"/v1/feedback/{quote(feedback_id, safe='')}/trace")["feedback"])
    except client.Refused as error:
        if error.status == 404:
            return None
        raise


def tell_shadow(found: dict[str, Any]) -> None:
    about = found["shadow"]
    if about is None:
        show.say(NONE_RUNS)
        return
    ended = f", {about['ended']} at {about['ended_at']}" if about["ended"] else ""
    by, why = (f" by {about['author']}" if about["author"] else ""), (f": {about['reason']}" if about["reason"] else "")
    show.say(f"rules {about['rules']} as a shadow since {about['since']}{by}{why}{ended}")
    if about["refused"] and not ended:
        show.say(f"they cannot be asked by the configuration in force:\n{about['refused']}")
    show.say(
        f"beside {found['live']}: {found['compared']} pieces of feedback compared, {found['differ']} "
        f"({found['share']:.1%}) differ: {found['moved']} move, {found['otherwise']} stay with something else"
    )
    if not_asked := [f"{found[what]} {what}" for what in ("failed", "skipped") if found[what]]:
        show.say(f"not compared: {', '.join(not_asked)}")
    _tell_pairs(found)
    for one in found["samples"][:SHOWN]:
        sides = {"old": one["live"], "new": one["shadow"], "what": one["what"]}
        rules = " → ".join(one[side]["rule"] or DEFAULT for side in ("live", "shadow"))
        show.say(f"  {one['id']}  {_otherwise(sides)}  by {rules}")
        if "said" in one:
            show.say(
                f"      “{show.short(one['said'], SAID_MAX_CHARS)}”"
                if one["said"]
                else "      it is not there any more"
            )
    for one in found["earlier"]:
        show.say(f"before, beside {one['live']}: {one['compared']} compared, {one['differ']} differ")
