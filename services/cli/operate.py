"""What the verbs do that is more than one request: configuration, keys, topics, dead letters, the doctor."""

import asyncio
import base64
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from services.cli import EXPLICIT_CONFIG, client
from shared.auth import Keys
from shared.clock import YEARS, SystemClock
from shared.config import FILES, STARTER, ConfigError
from shared.config.proof import checks, prove
from shared.config.teams import read_teams
from shared.database import Database
from shared.database.migrate import head, upgrade
from shared.errors import FlywheelError, Misuse, Rejected
from shared.events.dead_letter import DeadLetter, redriven, whole
from shared.events.feedback import Priority
from shared.log import Log, Record, TopicPartition, Unlike
from shared.log.choose import open_log
from shared.settings import Settings, read_settings
from shared.topics import DEAD_LETTER, all_topics
from shared.web import strict_json

T = TypeVar("T")
EXPLAINED_AT_ONCE = 100


# ── configuration ──


def where() -> str:
    """Whose configuration the verbs work by, for people."""
    return os.environ.get("FLYWHEEL_CONFIG") or "the starter configuration"


def checked() -> Any:
    """The local configuration's ruleset, every file checked by its owner, every example proved."""
    return prove(client.local_config(), checks())["router"]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Who decides: the running service, unless a configuration was named or none runs."""

    ranges: Mapping[str, tuple[float, float]]
    decide: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    at_once: int

    def explained(self, bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """One decision for each."""
        waiting = iter(bodies)
        while some := list(islice(waiting, self.at_once)):
            yield from self.decide(some)

    def body(self, value: Any) -> dict[str, Any]:
        """What `POST /v1/feedback` would take, where `source` may be left out. Raises `Rejected`, each field named."""
        from services.ingest.normalize import feedback_content

        if not isinstance(value, dict):
            raise Rejected("an object is wanted")
        body = {"source": "cli", **value}
        feedback_content(body, self.ranges)
        return body

    def text(self, text: str) -> dict[str, Any]:
        """Raises `Misuse`."""
        try:
            return self.body({"text": text})
        except Rejected as error:
            raise Misuse(f"--{error}") from None


def explainer() -> Explainer:
    if not os.environ.get(EXPLICIT_CONFIG) and client.is_up("router"):
        ranges = client.call("router", "GET", "/v1/rules")["metrics"]
        decide = partial(client.call, "router", "POST", "/v1/rules/explain")
        return Explainer(ranges, lambda some: cast(list[dict[str, Any]], decide(json=some)), EXPLAINED_AT_ONCE)
    from services.router.route import explain
    from services.router.rules import load

    ruleset = load(client.local_config())
    return Explainer(ruleset.metrics, lambda some: [explain(ruleset, one) for one in some], 1)


def feedback_lines(
    path: Path, read: Callable[[Any], dict[str, Any]], wrong: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The good lines of a JSONL file (`-`: stdin); `wrong` hears of each other one, by file and line."""
    try:
        file = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                yield read(strict_json.loads(line))
            except strict_json.Malformed as error:
                said = str(error).replace("The body", "the line").replace("line 1, ", "")
                wrong(f"{path}:{number}: {said}")
            except strict_json.Unacceptable as error:
                wrong(f"{path}:{number}: {error.path}: {error}")
            except Rejected as error:
                wrong(f"{path}:{number}: {error}")


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
    names = read_teams(config.document("teams.yaml")).names
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


def _with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database(client.database_url(), application_name="flywheel-cli", pool_size=1)
        try:
            await upgrade(database.url)
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


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
    return _with_database(lambda database: Keys(database, SystemClock()).create(workspace, name, list(scopes)))


def list_keys(workspace: str) -> list[dict[str, Any]]:
    async def work(database: Database) -> list[dict[str, Any]]:
        return [asdict(key) for key in await Keys(database, SystemClock()).list(workspace)]

    return _with_database(work)


def revoke_key(workspace: str, key_id: str) -> None:
    if not _with_database(lambda database: Keys(database, SystemClock()).revoke(workspace, key_id)):
        raise Misuse(f"there is no key {key_id!r}: `flywheel keys list` names those there are")


def migrate() -> tuple[str | None, str]:
    return asyncio.run(upgrade(client.database_url()))


def apply_topics(dry_run: bool) -> tuple[list[str], list[Unlike]]:
    """What was (or would be) created, and what was not as it should be."""
    wanted = all_topics(read_teams(client.local_config().document("teams.yaml")).names)

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


def dead_letters() -> list[DeadLetter]:
    """All that the topic keeps, oldest first within a partition."""
    return _with_log(_read_dead_letters)


async def _read_dead_letters(log: Log) -> list[DeadLetter]:
    reader = await log.reader()
    found: list[DeadLetter] = []
    try:
        for partition in range(await reader.partitions(DEAD_LETTER)):
            place = TopicPartition(DEAD_LETTER, partition)
            records: list[Record] = []
            async for batch in reader.scan(place, *await reader.bounds(place)):
                records += batch
            found += whole(records)
    finally:
        await reader.close()
    return found


def dead_letter(letter_id: str) -> DeadLetter:
    return _picked(dead_letters(), [letter_id])[0]


def _picked(letters: list[DeadLetter], ids: Sequence[str]) -> list[DeadLetter]:
    by_id = {letter.id: letter for letter in letters}
    missing = [wanted for wanted in ids if wanted not in by_id]
    if missing:
        raise Misuse(f"no dead letter {', '.join(missing)}: `flywheel dlq list` names those there are")
    return [by_id[wanted] for wanted in ids] if ids else letters


def redrive(ids: Sequence[str], dry_run: bool) -> tuple[list[str], list[str]]:
    """The original bytes to their topic again; the ids of what was (or would be) sent, and of what has no topic."""

    async def work(log: Log) -> tuple[list[str], list[str]]:
        picked = _picked(await _read_dead_letters(log), ids)
        letters = [letter for letter in picked if letter.came_by_topic]
        if letters and not dry_run:
            producer = await log.producer()
            try:
                await producer.append([redriven(letter) for letter in letters])
            finally:
                await producer.close()
        return [letter.id for letter in letters], [letter.id for letter in picked if not letter.came_by_topic]

    return _with_log(work)


def letter_summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "service": letter.service,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "original_topic": letter.original_topic,
        "bytes": len(letter.value),
    }


def letter_whole(letter: DeadLetter) -> dict[str, Any]:
    """With the original bytes, as text where they are UTF-8 and in base64 always."""
    try:
        text: str | None = letter.value.decode()
    except UnicodeDecodeError:
        text = None
    return letter_summary(letter) | {
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
        teams = read_teams(client.local_config().document("teams.yaml"))
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
        unknown = await _count_unknown(client.database_url())
    except FlywheelError:  # no database, or it does not answer: another finding says so
        return "not looked for: the database cannot be asked"
    if not unknown:
        return "none"
    return "warning", (
        f"{unknown} may or may not have reached their customers, and are not sent again:"
        " `flywheel notifications --status unknown` lists them"
    )


async def _count_unknown(url: str) -> int:
    from sqlalchemy import text

    database = Database(url, application_name="flywheel-doctor", pool_size=1)
    try:
        async with database.transaction() as connection:
            if (await connection.execute(text("SELECT to_regclass('published.notifications')"))).scalar_one() is None:
                return 0
            counted = await connection.execute(
                text("SELECT count(*) FROM published.notifications WHERE status = 'unknown'")
            )
            return int(counted.scalar_one())
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
