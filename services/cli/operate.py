"""What the verbs do that is more than one request: configuration, keys, topics, dead letters, the doctor."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args

from services.cli import EXPLICIT_CONFIG, client
from services.cli.database import reading, writing
from services.console.check import check
from shared.auth import Keys
from shared.clock import YEARS, SystemClock
from shared.config import FILES, STARTER, ConfigError
from shared.config.proof import checks, prove
from shared.config.store import ConfigStore
from shared.config.teams import teams_of
from shared.database import Database
from shared.database.migrate import head, upgrade
from shared.dead_letters import REDRIVEN, DeadLetters, Kept, Plan, WhyNot, plan
from shared.errors import FlywheelError, Misuse, Transient
from shared.events.envelope import rfc3339
from shared.events.feedback import Priority
from shared.log import Log, Unlike
from shared.log.choose import open_log
from shared.people import OPERATOR, Person
from shared.sessions import Audit, Sessions
from shared.settings import Settings, read_settings
from shared.topics import DEFAULT_WORKSPACE, RECEIVED, all_topics

T = TypeVar("T")


# ── configuration ──


def where() -> str:
    """Whose configuration the verbs work by, for people."""
    return os.environ.get("FLYWHEEL_CONFIG") or "the starter configuration"


def checked() -> Any:
    """The local configuration's ruleset, every file checked by its owner, every example proved."""
    return prove(client.local_config(), checks())["router"]


def sla_explained(team: str, priority: str, tier: str | None, at: str) -> dict[str, Any]:
    """By the running service's configuration, unless one was named or none runs."""
    if not os.environ.get(EXPLICIT_CONFIG) and client.is_up("closer"):
        params = {"team": team, "priority": priority, "at": at} | ({"tier": tier} if tier else {})
        found: dict[str, Any] = client.call("closer", "GET", "/v1/sla/explain", params=params)
        return found
    from services.closer.policy import Subject, check

    if priority not in get_args(Priority):
        raise Misuse(f"--priority is one of {', '.join(get_args(Priority))}, not {priority!r}")
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        raise Misuse(f"--at takes a time such as 2026-10-01T09:00:00+08:00, not {at!r}") from None
    if when.tzinfo is None:
        raise Misuse("--at needs a zone: 2026-10-01T09:00:00+08:00, or …Z")
    if when.year not in YEARS:
        raise Misuse(f"--at must lie in the years {YEARS.start} to {YEARS.stop - 1}")
    config = client.local_config()
    names = teams_of(config).names
    if team not in names:
        raise Misuse(f"there is no team {team!r}: the teams are {', '.join(names)}")
    return check(config).explain(Subject(team, cast(Priority, priority), tier), when)


def write_starter(directory: Path) -> list[str]:
    """The starter's four files into a new or empty folder; their paths."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Misuse(f"{directory} is not empty: name a new or an empty folder")
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(STARTER / name, directory / name)
    return [str(directory / name) for name in FILES]


# ── the database and the log, directly ──


def _settings() -> Settings:
    return read_settings().with_database(client.database_url())


def _with_log(work: Callable[[Log], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = _settings() if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS") else read_settings()
        if settings.database_url and not settings.kafka_bootstrap_servers:
            await upgrade(settings.database_url)
        log = await open_log(settings)
        try:
            return await work(log)
        finally:
            await log.close()

    return asyncio.run(run())


def create_key(workspace: str, name: str, scopes: Sequence[str]) -> tuple[str, str]:
    return writing(lambda database: Keys(database, SystemClock()).create(workspace, name, list(scopes)))


def list_keys(workspace: str) -> list[dict[str, Any]]:
    async def work(database: Database) -> list[dict[str, Any]]:
        return [asdict(key) for key in await Keys(database, SystemClock()).list(workspace)]

    return reading(work)


def revoke_key(workspace: str, key_id: str) -> None:
    if not writing(lambda database: Keys(database, SystemClock()).revoke(workspace, key_id)):
        raise Misuse(f"there is no key {key_id!r}: `flywheel keys list` names those there are")


def login_link(email: str | None) -> str:
    """A token for whoever stands in teams.yaml under that address; without one, for the operator. Raises `Misuse`."""

    async def work(database: Database) -> str:
        sessions, store = Sessions(database, SystemClock()), ConfigStore(database)
        if email is None:
            return await sessions.link(DEFAULT_WORKSPACE, OPERATOR, "admin")
        version = await store.version_in_force()
        crew = check(await store.load(version, os.environ)) if version else None
        if crew is None or crew.people.find(email) is None:
            raise Misuse(f"{email} stands in no team of teams.yaml and not under its `people:` either; add them there")
        return await sessions.link(DEFAULT_WORKSPACE, email.lower(), None)

    return writing(work)


def migrate() -> tuple[str | None, str]:
    return asyncio.run(upgrade(client.database_url()))


def apply_topics(dry_run: bool) -> tuple[list[str], list[Unlike]]:
    """What was (or would be) created, and what was not as it should be."""
    wanted = all_topics(teams_of(client.local_config()).names)

    async def work(log: Log) -> tuple[list[str], list[Unlike]]:
        unlike = await log.unlike(wanted)
        if dry_run:
            there = await log.topics()
            return [topic.name for topic in wanted if topic.name not in there], unlike
        created = await log.ensure_topics(wanted)
        await log.mend(unlike)
        return created, unlike

    return _with_log(work)


# ── dead letters ──


def dead_letters() -> list[dict[str, Any]]:
    """What stands on all that the topic keeps, oldest first within a partition."""

    async def work(log: Log) -> list[dict[str, Any]]:
        return [letter_summary(kept) async for kept in DeadLetters(log).everything()]

    return _with_log(work)


def dead_letter(letter_id: str) -> Kept:
    async def work(log: Log) -> Kept:
        return (await _named(DeadLetters(log), [letter_id]))[0]

    return _with_log(work)


async def _named(letters: DeadLetters, ids: Sequence[str]) -> list[Kept]:
    """Of several with one id the newest. Raises `Misuse`."""
    wanted = set(ids)
    by_id = {kept.letter.id: kept async for kept in letters.everything() if kept.letter.id in wanted}
    missing = [one for one in ids if one not in by_id]
    if missing:
        raise Misuse(f"no dead letter {', '.join(missing)}: `flywheel dlq list` names those there are")
    return [by_id[one] for one in ids]


class Redriven(NamedTuple):
    """What became (or would become) of a dead letter: where it went, or why it went nowhere."""

    id: str
    place: str
    topic: str | None
    why_not: str | None
    is_webhook: bool = False
    """Ingest reads it again, and says what becomes of it."""

    @classmethod
    def of(cls, done: Plan) -> "Redriven":
        """Without its bytes: there may be many."""
        topic = done.message.topic if done.message is not None else None
        left = _LEFT[done.why_not] if done.why_not else None
        return cls(done.kept.letter.id, str(done.kept.place), topic, left, done.why_not == "webhook")


_LEFT: Mapping[WhyNot, str] = {
    "webhook": "it came by webhook",
    "unknown": "it does not say which topic it came by",
    "foreign": "the topic that it came by is not this workspace's",
}
_READ: Mapping[str, str] = {
    "ignored": "it came by webhook, and can be read now: it is no feedback",
    "unreadable": "it came by webhook, and still cannot be read",
    "no_source": "it came by webhook, and its source is not in sources.yaml any more",
    "gone": "it is not there any more",
}
_HOOKS_AT_ONCE = 200


def redrive(ids: Sequence[str], dry_run: bool) -> list[Redriven]:
    """The original bytes to who could not process them; a webhook's are read again by ingest. A line in the audit trail for each."""
    done = _redriven_by_topic(ids, dry_run)
    read = _read_again([one for one in done if one.is_webhook], dry_run)
    return [read.get(one.place, one) for one in done]


def _read_again(hooks: Sequence[Redriven], dry_run: bool) -> dict[str, Redriven]:
    """By place, what ingest makes of them by now."""
    found: dict[str, Redriven] = {}
    for start in range(0, len(hooks), _HOOKS_AT_ONCE):
        some = hooks[start : start + _HOOKS_AT_ONCE]
        try:
            says = _quarantine(some, dry_run=True)
            going = [one for one in some if says[one.place]["outcome"] == "accepted"]
            if going and not dry_run:
                asyncio.run(_recorded(going))
                says |= _quarantine(going, dry_run=False)
        except Transient as error:
            left = f"it came by webhook, and ingest is to read it: {error}"
            return found | {one.place: one._replace(why_not=left) for one in some}
        for one in some:
            outcome, reason = says[one.place]["outcome"], says[one.place]["reason"]
            if outcome == "accepted":
                found[one.place] = one._replace(topic=RECEIVED, why_not=None)
            else:
                found[one.place] = one._replace(why_not=_READ[outcome] + (f" ({reason})" if reason else ""))
    return found


def _quarantine(hooks: Sequence[Redriven], *, dry_run: bool) -> dict[str, Any]:
    body = {"letters": [one.place for one in hooks], "dry_run": dry_run}
    answer = client.call("ingest", "POST", "/v1/quarantine/redrive", json=body)
    return {one["letter"]: one for one in answer["letters"]}


async def _recorded(hooks: Sequence[Redriven]) -> None:
    async with _audit_trail() as audit:
        if audit is not None:
            rows = [(one.id, f"{one.place} → {RECEIVED}") for one in hooks]
            await audit.record_all(DEFAULT_WORKSPACE, Person(OPERATOR, "admin"), REDRIVEN, rows)


def _redriven_by_topic(ids: Sequence[str], dry_run: bool) -> list[Redriven]:

    async def work(log: Log) -> list[Redriven]:
        letters = DeadLetters(log)
        if not ids:
            return await _redriven(letters, letters.everything(), dry_run)
        return await _redriven(letters, _each(await _named(letters, ids)), dry_run)

    return _with_log(work)


async def _each(letters: Iterable[Kept]) -> AsyncIterator[Kept]:
    for one in letters:
        yield one


async def _redriven(letters: DeadLetters, chosen: AsyncIterator[Kept], dry_run: bool) -> list[Redriven]:
    """Raises `Transient`, saying how many were sent before."""
    if dry_run:
        return [Redriven.of(plan(kept)) async for kept in chosen]
    done: list[Redriven] = []
    sent = 0
    async with _audit_trail() as audit:
        try:
            async for one in letters.redrive(chosen, Person(OPERATOR, "admin"), audit):
                done.append(Redriven.of(one))
                sent += one.message is not None
        except Transient as error:
            again = "the same again is safe, for what was sent already counts as a repeat"
            raise Transient(f"{error}; {sent} were sent before that, and {again}") from None
    return done


@contextlib.asynccontextmanager
async def _audit_trail() -> AsyncIterator[Audit | None]:
    """None where only the log is known from here."""
    try:
        url = client.database_url()
    except Misuse:
        yield None
        return
    database = Database(url, application_name="flywheel-cli", pool_size=1)
    try:
        yield Audit(database, SystemClock())
    finally:
        await database.close()


def letter_summary(kept: Kept) -> dict[str, Any]:
    letter = kept.letter
    return {
        "id": letter.id,
        "at": rfc3339(kept.at),
        "service": letter.service,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "came_by": letter.came_by,
        "original_topic": letter.original_topic,
        "bytes": len(letter.value),
    }


def letter_whole(kept: Kept) -> dict[str, Any]:
    """With the original bytes, as text where they are UTF-8 and in base64 always."""
    letter = kept.letter
    try:
        text: str | None = letter.value.decode()
    except UnicodeDecodeError:
        text = None
    return letter_summary(kept) | {
        "headers": {name: value.decode(errors="replace") for name, value in letter.headers},
        "value": text,
        "value_base64": base64.b64encode(letter.value).decode(),
    }


# ── the doctor ──


def diagnose() -> list[dict[str, str]]:
    """Each check with `ok`, `warning` or `failed`, and for the last two how to mend it."""
    return asyncio.run(_diagnose())


async def _diagnose() -> list[dict[str, str]]:
    findings: list[dict[str, str]] = []

    async def check(name: str, look: Callable[[], Awaitable[str | tuple[str, str]]], mend: str = "") -> None:
        try:
            found = await look()
            status, message = ("ok", found) if isinstance(found, str) else found
        except (Misuse, ConfigError) as error:  # these say how
            status, message = "failed", str(error)
        except (FlywheelError, OSError) as error:
            status, message = "failed", f"{error}{mend and ': ' + mend}"
        findings.append({"check": name, "status": status, "message": message})

    await check("python", _look_python)
    await check("configuration", _look_config)
    await check("data folder", _look_data_dir, "name another by --data-dir")
    await check("secret", _look_secret)
    await check("database", _look_database, "is the server running, and does DATABASE_URL name it?")
    await check("log", _look_log, f"is it running, and does {_log_setting()} name it?")
    await check("mail", _look_mail)
    await check("unknown mails", _look_unknown)
    await check("given up", _look_given_up)
    await check("service", _look_service)
    return findings


def _log_setting() -> str:
    return "KAFKA_BOOTSTRAP_SERVERS" if os.environ.get("KAFKA_BOOTSTRAP_SERVERS") else "DATABASE_URL"


async def _look_python() -> str | tuple[str, str]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return version if sys.version_info >= (3, 11) else ("failed", f"{version}: Python 3.11 or newer is needed")


async def _look_config() -> str:
    ruleset = await asyncio.to_thread(checked)
    return f"{where()}: version {ruleset.version}, {len(ruleset.rules)} rules, {ruleset.examples} examples proved"


async def _look_data_dir() -> str | tuple[str, str]:
    directory = client.data_dir()
    if not directory.exists():
        above = next(folder for folder in directory.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            return "failed", f"{directory} cannot be made in {above}: name another by --data-dir"
        return f"{directory} is not there yet: the first `flywheel up` makes it"
    free = shutil.disk_usage(directory).free
    if not os.access(directory, os.W_OK):
        return "failed", f"{directory} cannot be written: change its owner, or name another by --data-dir"
    if free < 1 << 30:
        return "warning", f"{directory}: {free >> 20} MiB free: make room, the database stops when the disk is full"
    return f"{directory}, {free >> 30} GiB free"


async def _look_secret() -> str | tuple[str, str]:
    if os.environ.get("FLYWHEEL_SECRET"):
        return "from FLYWHEEL_SECRET"
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return "warning", "FLYWHEEL_SECRET is not set: every process must have the same one, or links and keys differ"
    path = client.data_dir() / "secret"
    return f"kept in {path}" if path.exists() else f"will be made in {path}"


async def _look_database() -> str | tuple[str, str]:
    try:
        url = client.database_url()
    except Misuse:
        return "warning", "none given and nothing runs: `flywheel up` brings its own, or set DATABASE_URL"
    database = Database(url, application_name="flywheel-doctor", pool_size=1)
    try:
        await database.ping()
        async with database.transaction() as connection:
            from sqlalchemy import text

            server = (await connection.execute(text("SHOW server_version"))).scalar_one()
            versioned = (await connection.execute(text("SELECT to_regclass('alembic_version')"))).scalar_one()
            if versioned is None:
                return "warning", f"PostgreSQL {server}, no schema yet: `flywheel db migrate` (or start a service)"
            now = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    finally:
        await database.close()
    if now != head():
        return "warning", f"PostgreSQL {server}, schema {now}, newest {head()}: `flywheel db migrate`"
    return f"PostgreSQL {server}, schema {now}"


async def _look_log() -> str | tuple[str, str]:
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        settings = read_settings()
    else:
        try:
            url = client.database_url()
        except Misuse:
            bring = "embedded in the database that `flywheel up` brings, or set KAFKA_BOOTSTRAP_SERVERS"
            return "warning", f"none yet: {bring}"
        settings = read_settings().with_database(url)
    log = await open_log(settings)
    try:
        await log.ping()
        there = await log.topics()
        teams = teams_of(client.local_config())
        wanted = all_topics(teams.names)
        missing = [topic.name for topic in wanted if topic.name not in there]
        unlike = [one for one in await log.unlike(wanted) if one.mendable]
    finally:
        await log.close()
    kind = f"Kafka at {settings.kafka_bootstrap_servers}" if settings.kafka_bootstrap_servers else "embedded"
    if missing:
        return "warning", f"{kind}; missing: {', '.join(missing)}: `flywheel topics apply`"
    if unlike:
        first = f"{unlike[0].topic} {unlike[0].setting} is {unlike[0].found}, not {unlike[0].wanted}"
        return "warning", f"{kind}; {len(unlike)} settings are not as they should be ({first}): `flywheel topics apply`"
    return f"{kind}, {len(there)} topics"


async def _look_mail() -> str | tuple[str, str]:
    url = os.environ.get("SMTP_URL")
    if not url:
        where = client.data_dir() / "mail"
        return "warning", f"SMTP_URL is not set: mails are written to {where} and count as sent, nobody gets them"
    import aiosmtplib

    from services.closer.channels.email import read_smtp_url

    server = read_smtp_url(url)
    smtp = aiosmtplib.SMTP(hostname=server.host, port=server.port, use_tls=server.tls, start_tls=False, timeout=5)
    try:
        await smtp.connect()
        await smtp.quit()
    except (aiosmtplib.SMTPException, OSError) as error:
        return "failed", f"the mail server {server.host}:{server.port} does not answer ({error}): check SMTP_URL"
    return f"{server.host}:{server.port} answers"


async def _look_unknown() -> str | tuple[str, str]:
    """How many messages nobody knows the fate of, in all workspaces."""
    try:
        unknown = await _count(client.database_url(), "published.notifications", "unknown")
    except FlywheelError:  # no database, or it does not answer: another finding says so
        return "not looked for: the database cannot be asked"
    if not unknown:
        return "none"
    return "warning", (
        f"{unknown} may or may not have reached their customers, and are not sent again:"
        " `flywheel notifications --status unknown` lists them"
    )


async def _look_given_up() -> str | tuple[str, str]:
    """How much teams' subscriptions could not be told, in all workspaces."""
    try:
        failed = await _count(client.database_url(), "published.deliveries", "failed")
    except FlywheelError:  # as above
        return "not looked for: the database cannot be asked"
    if not failed:
        return "none"
    return "warning", (
        f"{failed} could not be told to teams that subscribe: `flywheel deliveries --status failed` says why, and"
        " `flywheel deliveries redrive` sends them again"
    )


async def _count(url: str, view: str, status: str) -> int:
    from sqlalchemy import text

    database = Database(url, application_name="flywheel-doctor", pool_size=1)
    try:
        async with database.transaction() as connection:
            there = await connection.execute(text("SELECT to_regclass(:view)"), {"view": view})
            if there.scalar_one() is None:
                return 0
            query = text(f"SELECT count(*) FROM {view} WHERE status = :status")  # noqa: S608
            return int((await connection.execute(query, {"status": status})).scalar_one())
    finally:
        await database.close()


async def _look_service() -> str | tuple[str, str]:
    url = client.base_url("console")
    if not await asyncio.to_thread(client.is_up, "console"):
        return "warning", f"nothing answers at {url}: `flywheel up` starts everything"
    import httpx2

    answer = (await asyncio.to_thread(httpx2.get, f"{url}/readyz", timeout=5)).json()
    if answer["status"] != "ready":
        return "failed", f"{url} is not ready: {json.dumps(answer.get('reasons'), ensure_ascii=False)}"
    return f"ready at {url}"
