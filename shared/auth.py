"""Who may: API keys, their scopes, their workspaces; and people, by the passes of `shared.people`.

A key is `fw_` and 256 random bits; the database knows its SHA-256 only. A request shows it as `Authorization: Bearer
KEY` and nowhere else: a key in an address ends up in logs, so it is refused there.

`Authenticator` keeps what it has learnt, by digest, so that a known key costs a hash and a look-up:

* A revoked key stops working in every process at once (LISTEN/NOTIFY), and after `FRESH_S` at the latest where the
  notification was lost.
* While the database is away, keys seen in the last `STALE_S` go on working; for others the answer is 503, not 401.
* Unknown keys are remembered too, within a bound: a flood of made-up ones costs neither memory nor the pool.
"""

import asyncio
import re
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import insert, select, text, update

from shared.clock import Clock
from shared.database import Database
from shared.database.listening import until_lost
from shared.database.tables import api_key, workspace
from shared.errors import Misuse, Transient
from shared.links import Links
from shared.people import PASS_PREFIX, read_pass
from shared.tasks import keep
from shared.telemetry import get_logger
from shared.web.problems import Problem

ADMIN: Final = "admin"
SCOPES: Final = frozenset({"feedback:write", "feedback:read", "cases:read", "cases:write", ADMIN})

FRESH_S = 5.0
STALE_S = 600.0
RETRY_S = 1.0
"""How soon an absent database is asked again for a key that goes on working meanwhile."""
PATIENCE_S = 1.0
"""How long a request with a known key waits for an answer from the database before the known one does."""
MAX_KNOWN = 10_000
MAX_UNKNOWN = 10_000
LOOKUPS_AT_ONCE = 4
CONNECT_TIMEOUT_S = 5.0
_CHANNEL = "flywheel_api_key"

_KEY = re.compile(rb"fw_[A-Za-z0-9_-]{43}")
_PASS = re.compile(PASS_PREFIX.encode() + rb"[A-Za-z0-9._-]{1,4096}")
_KEY_IN_QUERY = re.compile(
    rb"(?:^|&)(?:api[_-]?key|access[_-]?token|authorization)=|fw_[A-Za-z0-9_-]{43}", re.IGNORECASE
)

_log = get_logger("auth")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is, and what it may do."""

    workspace: str
    key_id: str
    """The key's id, or the pseudonym of the person for whom a service asks."""
    scopes: frozenset[str]
    name: str = ""
    """The person's; a key's is asked of the database by who shows it."""

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be shown of a key."""

    id: str
    workspace: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


class CreatedKey(NamedTuple):
    id: str
    key: str
    """Shown once; nobody can find it again."""


class Keys:
    """Making and revoking keys."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, workspace_name: str, name: str, scopes: Iterable[str]) -> CreatedKey:
        """Raises `Misuse` for an unknown scope or workspace."""
        wanted = sorted(set(scopes))
        unknown = [scope for scope in wanted if scope not in SCOPES]
        if unknown or not wanted:
            raise Misuse(
                f"unknown scope {', '.join(unknown)}: the scopes are {', '.join(sorted(SCOPES))}"
                if unknown
                else f"a key needs at least one scope of {', '.join(sorted(SCOPES))}"
            )
        created = CreatedKey(str(uuid.uuid4()), "fw_" + secrets.token_urlsafe(32))
        async with self._database.transaction() as connection:
            known = await connection.execute(select(workspace.c.name).where(workspace.c.name == workspace_name))
            if known.first() is None:
                raise Misuse(f"there is no workspace {workspace_name!r}")
            await connection.execute(
                insert(api_key).values(
                    id=created.id,
                    workspace=workspace_name,
                    name=name,
                    digest=_digest(created.key.encode()),
                    scopes=wanted,
                    created_at=self._clock.now(),
                )
            )
        return created

    async def list(self, workspace_name: str) -> list[ApiKey]:
        """All of the workspace, the revoked ones too, oldest first."""
        columns = [c for c in api_key.c if c.name != "digest"]
        statement = select(*columns).where(api_key.c.workspace == workspace_name)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(statement.order_by(api_key.c.created_at, api_key.c.id))).all()
        return [ApiKey(r.id, r.workspace, r.name, tuple(r.scopes), r.created_at, r.revoked_at) for r in rows]

    async def revoke(self, workspace_name: str, key_id: str) -> bool:
        """From now on it opens nothing. False when the workspace has no such key; revoking twice is no error."""
        try:
            uuid.UUID(key_id)
        except ValueError:
            return False
        ours = (api_key.c.id == key_id) & (api_key.c.workspace == workspace_name)
        async with self._database.transaction() as connection:
            row = (await connection.execute(select(api_key.c.digest).where(ours))).first()
            if row is None:
                return False
            await connection.execute(
                update(api_key).where(ours, api_key.c.revoked_at.is_(None)).values(revoked_at=self._clock.now())
            )
            await connection.execute(text("SELECT pg_notify(:c, :d)"), {"c": _CHANNEL, "d": row.digest.hex()})
        return True


@dataclass(slots=True)
class _Known:
    """A key that opened something when the database was last asked. Monotonic seconds."""

    principal: Principal
    verified_at: float
    fresh_until: float


class Authenticator:
    """Turns an `Authorization` header into a `Principal`."""

    def __init__(
        self, database: Database, links: Links | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`links` reads the passes of people; None: nobody has one."""
        self._database = database
        self._links = links
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._turns = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._revocations = 0
        self._away_until = 0.0
        self._listener: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    async def start(self) -> None:
        """Begins to listen for revocations."""
        if self._listener is None:
            self._listener = keep(self._listen(), "auth-listen")

    async def close(self) -> None:
        tasks = [task for task in (self._listener, *self._asking.values()) if task is not None]
        self._listener = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cached(self, header: bytes | str | None) -> Principal | None:
        """The principal where it is known and fresh, at once; None says nothing: ask `principal`."""
        if header is None:
            return None
        given = header.encode("utf-8", "replace") if isinstance(header, str) else header
        if given[:7] != b"Bearer ":
            return None
        entry = self._known.get(sha256(given[7:]).digest())
        if entry is None or entry.fresh_until <= self._monotonic():
            return None
        return entry.principal

    async def identify(self, scope: MutableMapping[str, Any]) -> Principal:
        """The principal of an ASGI request. Raises as `principal` does, and 401 for a key in the query string."""
        refuse_key_in_query(scope["query_string"])
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(headers) > 1:
            raise _refused("There is more than one Authorization header.")
        header = headers[0] if headers else None
        return self.cached(header) or await self.principal(header)

    async def principal(self, header: bytes | str | None) -> Principal:
        """Raises `Problem` 401, or `Transient` when the database is away and the key is not known."""
        key = _presented(header)
        if key.startswith(PASS_PREFIX.encode()):
            return self._passed(key.decode())
        digest = _digest(key)
        now = self._monotonic()
        entry = self._known.get(digest)
        if entry is not None and entry.fresh_until > now:
            return entry.principal
        if self._unknown.get(digest, 0.0) > now:
            raise _refused()
        found = await (self._look_up(digest) if entry is None else self._refresh(digest, entry))
        if found is None:
            raise _refused()
        return found

    def _passed(self, token: str) -> Principal:
        found = read_pass(self._links, token) if self._links is not None else None
        if found is None:
            raise _refused()
        return Principal(found.workspace, found.actor, found.scopes, found.name)

    async def _refresh(self, digest: bytes, entry: _Known) -> Principal | None:
        """Ask again about a key that was good; while nobody answers, it still is."""
        try:
            return await asyncio.wait_for(self._look_up(digest), PATIENCE_S)
        except (Transient, TimeoutError):
            now = self._monotonic()
            if digest not in self._known or now - entry.verified_at > STALE_S:
                raise Transient("the database is away, and this key was not seen for too long") from None
            entry.fresh_until = min(now + RETRY_S, entry.verified_at + STALE_S)
            return entry.principal

    async def _look_up(self, digest: bytes) -> Principal | None:
        if self._away_until > self._monotonic():
            raise Transient("the database is away", retry_after=RETRY_S)
        return await asyncio.shield(self._ask(digest))

    def _ask(self, digest: bytes) -> "asyncio.Task[Principal | None]":
        """One question at a time for each key, however many requests carry it."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._read(digest), name="auth.read")
            asking.add_done_callback(lambda task: self._answered(digest, task))
        return asking

    def _answered(self, digest: bytes, task: "asyncio.Task[Principal | None]") -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; nobody may be waiting any more

    async def _read(self, digest: bytes) -> Principal | None:
        statement = select(api_key.c.id, api_key.c.workspace, api_key.c.scopes).where(
            api_key.c.digest == digest, api_key.c.revoked_at.is_(None)
        )
        # Known keys do not queue behind a flood of made-up ones.
        async with nullcontext() if digest in self._known else self._turns:
            revocations = self._revocations
            try:
                async with self._database.transaction() as connection:
                    row = (await connection.execute(statement)).first()
            except Transient:
                self._away_until = self._monotonic() + RETRY_S
                raise
        now = self._monotonic()
        if row is None:
            self._known.pop(digest, None)
            _remember(self._unknown, digest, now + FRESH_S, MAX_UNKNOWN)
            return None
        principal = Principal(row.workspace, row.id, frozenset(row.scopes))
        # A revocation that came while we read may be of this key: what we read is good for this request only.
        fresh_until = now + FRESH_S if revocations == self._revocations else now
        _remember(self._known, digest, _Known(principal, now, fresh_until), MAX_KNOWN)
        return principal

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                # What we miss meanwhile is found by FRESH_S; no request need fail for it.
                _log.warning("auth.waiting", reason=str(error) or type(error).__name__)
            finally:
                self.listening.clear()
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        """Until the connection ends. It stands in no transaction, which would keep the server's queue from draining."""
        connection = await asyncpg.connect(
            self._database.url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"application_name": "flywheel auth", "tcp_keepalives_idle": "30"},
        )
        try:
            await connection.add_listener(_CHANNEL, self._revoked)
            for entry in self._known.values():
                entry.fresh_until = 0.0  # a revocation may have gone by while nobody listened
            self.listening.set()
            await until_lost(connection)
        finally:
            connection.terminate()

    def _revoked(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._revocations += 1
        self._known.pop(bytes.fromhex(str(payload)), None)


def require(principal: Principal, scope: str) -> Principal:
    """The same principal. Raises `Problem` 403 when it lacks the scope."""
    if not principal.may(scope):
        raise Problem(403, "forbidden", "This key may not do this.", f"It needs the scope {scope}.")
    return principal


def refuse_key_in_query(query_string: bytes) -> None:
    """Raises `Problem` 401: addresses end up in logs, histories and referrers."""
    if query_string and _KEY_IN_QUERY.search(query_string):
        raise _refused(
            "A key never stands in an address, where logs keep it. Revoke it if it was real, and send the new one as "
            "`Authorization: Bearer KEY`."
        )


_bearer = HTTPBearer(auto_error=False, description="An API key: `fw_…`")


def needs(scope: str) -> Callable[..., Awaitable[Principal]]:
    """A FastAPI dependency: `principal: Annotated[Principal, Depends(needs("cases:read"))]`."""
    if scope not in SCOPES:
        raise Misuse(f"there is no scope {scope}")

    async def principal(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        authenticator: Authenticator = request.app.state.runtime.authenticator
        return require(await authenticator.identify(request.scope), scope)

    return principal


def _refused(detail: str | None = None) -> Problem:
    return Problem(
        401,
        "unauthorized",
        "A valid API key is required.",
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="flywheel"'},
    )


def _remember(kept: "OrderedDict[bytes, Any]", digest: bytes, value: Any, most: int) -> None:
    kept[digest] = value
    kept.move_to_end(digest)
    if len(kept) > most:
        kept.popitem(last=False)


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _presented(header: bytes | str | None) -> bytes:
    """The key in an `Authorization` header. Raises 401 when there is none, or none of ours."""
    if not header:
        raise _refused("Send it as `Authorization: Bearer KEY`.")
    given = header.encode("utf-8", "replace") if isinstance(header, str) else header
    scheme, _, key = given.partition(b" ")
    if scheme.lower() != b"bearer":
        raise _refused("Send it as `Authorization: Bearer KEY`.")
    key = key.strip(b" ")
    if not _KEY.fullmatch(key) and not _PASS.fullmatch(key):
        raise _refused()
    return key
