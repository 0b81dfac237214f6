"""Keys on a real Postgres: who may, from when on, until when, and what happens while the database is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx2
import pytest
from fastapi import Depends, FastAPI

from shared import auth
from shared.auth import (
    ADMIN,
    FRESH_S,
    SCOPES,
    STALE_S,
    Authenticator,
    Keys,
    Principal,
    needs,
    refuse_key_in_query,
    require,
)
from shared.clock import ManualClock
from shared.database import Database
from shared.errors import Misuse, Transient
from shared.web.problems import Problem, install

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WAIT_S = 10.0
FAKE = "fw_" + "A" * 43


@dataclass
class Monotonic:
    """Seconds turned by hand: no test waits for a key to grow stale."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Setup:
    database: Database
    keys: Keys
    authenticator: Authenticator
    monotonic: Monotonic

    async def bearer(self, *scopes: str) -> tuple[str, str]:
        created = await self.keys.create("default", "a test", scopes or ("feedback:write",))
        return created.id, f"Bearer {created.key}"


@pytest.fixture
async def setup(database_url: str) -> AsyncIterator[Setup]:
    database = Database(database_url)
    monotonic = Monotonic()
    authenticator = Authenticator(database, monotonic=monotonic)
    await authenticator.start()
    async with asyncio.timeout(WAIT_S):
        await authenticator.listening.wait()
    yield Setup(database, Keys(database, ManualClock(NOW)), authenticator, monotonic)
    await authenticator.close()
    await database.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


async def refused(waiting: Awaitable[Any], status: int, slug: str) -> Problem:
    with pytest.raises(Problem) as found:
        await waiting
    assert (found.value.status, found.value.slug) == (status, slug)
    return found.value


# ── keys ──


async def test_a_key_opens_what_it_was_made_for(setup: Setup) -> None:
    key_id, header = await setup.bearer("cases:read", "feedback:read")
    principal = await setup.authenticator.principal(header)
    assert principal == Principal("default", key_id, frozenset({"cases:read", "feedback:read"}))
    assert require(principal, "cases:read") is principal
    with pytest.raises(Problem) as found:
        require(principal, "cases:write")
    assert (found.value.status, found.value.slug) == (403, "forbidden")


async def test_admin_may_everything(setup: Setup) -> None:
    principal = await setup.authenticator.principal((await setup.bearer(ADMIN))[1])
    assert all(principal.may(scope) for scope in SCOPES)


async def test_row_75_only_the_digest_is_stored(setup: Setup, database_url: str) -> None:
    _, header = await setup.bearer()
    key = header.removeprefix("Bearer ")
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT t::text AS shown, digest FROM shared.api_key t")
    await connection.close()
    assert [row["digest"] for row in rows] == [sha256(key.encode()).digest()]
    assert all(key not in row["shown"] for row in rows)


async def test_keys_are_listed_and_revoked_within_their_workspace(setup: Setup, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO shared.workspace (name) VALUES ('acme')")
    await connection.close()
    ours = await setup.keys.create("default", "ours", ["admin"])
    theirs = await setup.keys.create("acme", "theirs", ["cases:read", "cases:read"])
    [listed] = await setup.keys.list("acme")
    assert (listed.id, listed.name, listed.scopes, listed.created_at) == (theirs.id, "theirs", ("cases:read",), NOW)
    assert listed.revoked_at is None
    assert (await setup.authenticator.principal(f"Bearer {theirs.key}")).workspace == "acme"

    for workspace, key_id in (("default", theirs.id), ("acme", ours.id), ("acme", "no-uuid"), ("nowhere", ours.id)):
        assert await setup.keys.revoke(workspace, key_id) is False
    assert await setup.keys.revoke("acme", theirs.id) is True
    assert await setup.keys.revoke("acme", theirs.id) is True
    assert [key.revoked_at for key in await setup.keys.list("acme")] == [NOW]
    assert [key.revoked_at for key in await setup.keys.list("default")] == [None]


@pytest.mark.parametrize(
    ("workspace", "scopes", "says"),
    [("default", ["cases:delete"], "cases:delete"), ("default", [], "at least one"), ("nowhere", ["admin"], "nowhere")],
)
async def test_a_key_that_cannot_be(setup: Setup, workspace: str, scopes: list[str], says: str) -> None:
    with pytest.raises(Misuse, match=says):
        await setup.keys.create(workspace, "x", scopes)
    assert await setup.keys.list("default") == []


# ── what is no key ──


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", FAKE, f"Bearer {FAKE}", f"Bearer {FAKE[:-1]}", f"Bearer {FAKE}A",
        f"Bearer  {FAKE} x", "Bearer fw_" + "é" * 43, "Bearer " + "x" * 10_000, "Bearer fw_\ud800", f"Bearer {FAKE}\n", b"\xff\xfe",
    ],
)  # fmt: skip
async def test_row_47_what_is_no_key_is_401(setup: Setup, header: str | bytes | None) -> None:
    problem = await refused(setup.authenticator.principal(header), 401, "unauthorized")
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
    assert setup.authenticator.cached(header) is None


async def test_the_scheme_is_named_in_any_case(setup: Setup) -> None:
    _, header = await setup.bearer()
    for spelling in (header, header.replace("Bearer", "bearer"), header.replace("Bearer", "BEARER "), header.encode()):
        assert (await setup.authenticator.principal(spelling)).workspace == "default"


async def test_a_changed_key_is_another(setup: Setup) -> None:
    _, header = await setup.bearer()
    await setup.authenticator.principal(header)
    changed = header[:-1] + ("A" if header[-1] != "A" else "B")
    for wrong in (changed, header.swapcase().replace("bEARER FW_", "Bearer fw_")):
        await refused(setup.authenticator.principal(wrong), 401, "unauthorized")
        assert setup.authenticator.cached(wrong) is None


@pytest.mark.parametrize(
    "query", [f"key={FAKE}", f"x=1&api_key={FAKE}", "api_key=anything", "access_token=x", "API-KEY=x", f"q={FAKE}", "a=b&apikey="]
)  # fmt: skip
def test_row_48_a_key_in_the_address_is_refused(query: str) -> None:
    with pytest.raises(Problem) as found:
        refuse_key_in_query(query.encode())
    assert (found.value.status, found.value.slug) == (401, "unauthorized")
    assert FAKE not in str(found.value.document())
    assert "Authorization" in (found.value.detail or "")


@pytest.mark.parametrize(
    "query", ["", "team=product&state=open", "q=fw_&limit=10", "q=my+api_key+is+lost", "cursor=eyJ4IjoxfQ"]
)
def test_an_ordinary_query_passes(query: str) -> None:
    refuse_key_in_query(query.encode())


# ── what is remembered ──


async def test_a_known_key_is_found_without_the_database(setup: Setup) -> None:
    _, header = await setup.bearer()
    assert setup.authenticator.cached(header) is None
    principal = await setup.authenticator.principal(header)
    for spelling in (header, header.encode()):
        assert setup.authenticator.cached(spelling) is principal
    assert setup.authenticator.cached(header.replace("Bearer ", "Basic! ")) is None
    setup.monotonic.now += FRESH_S
    assert setup.authenticator.cached(header) is None


async def test_a_revoked_key_stops_at_once_in_every_process(setup: Setup, database_url: str) -> None:
    elsewhere = Database(database_url)
    other = Authenticator(elsewhere, monotonic=setup.monotonic)
    await other.start()
    async with asyncio.timeout(WAIT_S):
        await other.listening.wait()
    key_id, header = await setup.bearer()
    for authenticator in (setup.authenticator, other):
        await authenticator.principal(header)
        assert authenticator.cached(header) is not None
    await setup.keys.revoke("default", key_id)
    # No time passes on their clocks: only the notification can have told them.
    await until(lambda: setup.authenticator.cached(header) is None and other.cached(header) is None)
    for authenticator in (setup.authenticator, other):
        await refused(authenticator.principal(header), 401, "unauthorized")
    await other.close()
    await elsewhere.close()


async def test_a_lost_notification_costs_five_seconds_at_most(setup: Setup) -> None:
    assert FRESH_S <= 5
    key_id, header = await setup.bearer()
    await setup.authenticator.principal(header)
    await setup.authenticator.close()  # deaf from here on
    await setup.keys.revoke("default", key_id)
    assert setup.authenticator.cached(header) is not None
    setup.monotonic.now += FRESH_S
    await refused(setup.authenticator.principal(header), 401, "unauthorized")


async def test_a_lost_connection_is_replaced_and_what_was_known_is_asked_again(setup: Setup, database_url: str) -> None:
    _, header = await setup.bearer()
    await setup.authenticator.principal(header)
    connection = await asyncpg.connect(database_url)
    killed = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flywheel auth' AND datname = current_database()"
    )
    await connection.close()
    assert len(killed) == 1
    await until(lambda: not setup.authenticator.listening.is_set())
    async with asyncio.timeout(WAIT_S):
        await setup.authenticator.listening.wait()
    assert setup.authenticator.cached(header) is None
    assert (await setup.authenticator.principal(header)).workspace == "default"


async def test_an_unknown_key_is_remembered_for_a_moment(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_reads(setup.authenticator, monkeypatch)
    for _ in range(3):
        await refused(setup.authenticator.principal(f"Bearer {FAKE}"), 401, "unauthorized")
    assert len(asked) == 1
    setup.monotonic.now += FRESH_S
    await refused(setup.authenticator.principal(f"Bearer {FAKE}"), 401, "unauthorized")
    assert len(asked) == 2


async def test_row_50_made_up_keys_fill_no_memory(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_UNKNOWN", 100)
    for n in range(1000):
        await refused(setup.authenticator.principal(f"Bearer fw_{n:043d}"), 401, "unauthorized")
    assert len(setup.authenticator._unknown) == 100
    assert setup.authenticator._asking == {}
    assert auth.MAX_KNOWN <= 10_000


async def test_row_50_what_does_not_look_like_a_key_asks_nobody(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_reads(setup.authenticator, monkeypatch)
    for n in range(100):
        await refused(setup.authenticator.principal(f"Bearer fw_{n}"), 401, "unauthorized")
    assert asked == []


async def test_many_requests_with_one_new_key_ask_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_reads(setup.authenticator, monkeypatch)
    _, header = await setup.bearer()
    found = await asyncio.gather(*(setup.authenticator.principal(header) for _ in range(64)))
    assert len(asked) == 1
    assert len(set(found)) == 1


async def test_a_request_that_is_cancelled_harms_no_other(setup: Setup) -> None:
    _, header = await setup.bearer()
    one = asyncio.create_task(setup.authenticator.principal(header))
    two = asyncio.create_task(setup.authenticator.principal(header))
    await asyncio.sleep(0)
    one.cancel()
    assert (await two).workspace == "default"
    assert one.cancelled()


def count_reads(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The digests that the database was asked for; it is asked all the same."""
    asked: list[bytes] = []
    read = authenticator._read

    async def counting(digest: bytes) -> Principal | None:
        asked.append(digest)
        return await read(digest)

    monkeypatch.setattr(authenticator, "_read", counting)
    return asked


# ── the database is away ──


class Road:
    """A unix socket in between, which can be closed for repairs: the server itself serves other tests."""

    def __init__(self, directory: Path, behind: str) -> None:
        self._path = directory / ".s.PGSQL.5432"
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.hangs = False

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self._path)

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._path.unlink(missing_ok=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._behind)
        self._writers |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        self._writers -= {writer, back}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                while self.hangs:
                    await asyncio.sleep(0.01)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def road(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Road, str]]:
    behind = parse_qs(urlsplit(database_url).query)["host"][0]
    with_room = Path(tmp_path_factory.mktemp("r"))
    road = Road(with_room, f"{behind}/.s.PGSQL.5432")
    await road.open()
    yield road, database_url.replace(behind, str(with_room))
    road.hangs = False
    await road.shut()


async def test_while_the_database_is_away_known_keys_work_and_others_are_told_to_wait(
    road: tuple[Road, str], database_url: str
) -> None:
    the_road, by_road = road
    direct, database = Database(database_url), Database(by_road)
    monotonic = Monotonic()
    authenticator = Authenticator(database, monotonic=monotonic)
    keys = Keys(direct, ManualClock(NOW))
    known, other = [f"Bearer {(await keys.create('default', n, ['admin'])).key}" for n in ("known", "other")]
    principal = await authenticator.principal(known)

    await the_road.shut()
    monotonic.now += FRESH_S + 1
    assert authenticator.cached(known) is None
    assert await authenticator.principal(known) is principal
    assert authenticator.cached(known) is principal  # the hot path goes on without asking each time
    for header in (other, f"Bearer {FAKE}"):
        with pytest.raises(Transient):
            await authenticator.principal(header)
    await refused(authenticator.principal("Bearer nonsense"), 401, "unauthorized")

    monotonic.now = 1000 + STALE_S - 1
    assert await authenticator.principal(known) is principal
    monotonic.now = 1000 + STALE_S + 1
    with pytest.raises(Transient):
        await authenticator.principal(known)

    await the_road.open()
    monotonic.now += 2
    for header in (known, other):
        assert (await authenticator.principal(header)).workspace == "default"
    await refused(authenticator.principal(f"Bearer {FAKE}"), 401, "unauthorized")
    await authenticator.close()
    await database.close()
    await direct.close()


async def test_a_database_that_hangs_does_not_hang_known_keys(
    road: tuple[Road, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "PATIENCE_S", 0.1)
    the_road, by_road = road
    direct, database = Database(database_url), Database(by_road)
    monotonic = Monotonic()
    authenticator = Authenticator(database, monotonic=monotonic)
    keys = Keys(direct, ManualClock(NOW))
    created = await keys.create("default", "known", ["admin"])
    principal = await authenticator.principal(f"Bearer {created.key}")

    the_road.hangs = True
    monotonic.now += FRESH_S
    async with asyncio.timeout(WAIT_S):
        assert await authenticator.principal(f"Bearer {created.key}") is principal

    # What it then says counts, though nobody waits for it any more.
    await keys.revoke("default", created.id)
    monotonic.now += FRESH_S
    the_road.hangs = False
    await until(lambda: not authenticator._asking)
    await refused(authenticator.principal(f"Bearer {created.key}"), 401, "unauthorized")
    await authenticator.close()
    await database.close()
    await direct.close()


# ── in an application ──


async def test_needs_as_a_dependency(setup: Setup) -> None:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    install(app)
    app.state.runtime = SimpleNamespace(authenticator=setup.authenticator)

    @app.get("/cases")
    async def cases(principal: Annotated[Principal, Depends(needs("cases:read"))]) -> str:
        return principal.workspace

    reader, writer = (await setup.bearer("cases:read"))[1], (await setup.bearer("feedback:write"))[1]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        for headers, path, status, slug in (
            ([("Authorization", reader)], "/cases", 200, None),
            ([("Authorization", reader)], "/cases", 200, None),
            ([("Authorization", writer)], "/cases", 403, "/problems/forbidden"),
            ([], "/cases", 401, "/problems/unauthorized"),
            ([("Authorization", "Basic x")], "/cases", 401, "/problems/unauthorized"),
            ([("Authorization", reader)], f"/cases?api_key={FAKE}", 401, "/problems/unauthorized"),
            ([("Authorization", reader), ("Authorization", writer)], "/cases", 401, "/problems/unauthorized"),
        ):
            reply = await client.get(path, headers=headers)
            document = reply.json()
            assert (reply.status_code, document["type"] if slug else None) == (status, slug), path
            assert FAKE not in reply.text
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["HTTPBearer"]["scheme"] == "bearer"


def test_a_dependency_on_a_scope_that_does_not_exist_is_found_at_import() -> None:
    with pytest.raises(Misuse):
        needs("cases:delete")
