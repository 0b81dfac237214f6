"""The embedded Postgres, through every end that a process can come to. Real servers, real kills."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.database import embedded
from shared.database.embedded import EmbeddedPostgres
from shared.errors import Misuse

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 60

as_root = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="is about what root may not do")

# Starts a server, commits one row after another, and says each number once it is committed.
OWNER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from shared.database.embedded import EmbeddedPostgres

server = EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.pid, flush=True)

async def write() -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE IF NOT EXISTS written (n int)")
    for n in range(1_000_000):
        await connection.execute("INSERT INTO written VALUES ($1)", n)
        print(n, flush=True)

asyncio.run(write())
"""

# Starts a server and takes its watcher away, as a kill of everything but Postgres would.
UNWATCHED = """
import os, signal, sys
from pathlib import Path
from shared.database import embedded

server = embedded.EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.pid, flush=True)
embedded._dismiss_watcher(server._process)
os.kill(os.getpid(), signal.SIGKILL)
"""

START = """
import sys
from pathlib import Path
from shared.database.embedded import EmbeddedPostgres
from shared.errors import Misuse

try:
    server = EmbeddedPostgres.start(Path(sys.argv[1]))
except Misuse as misuse:
    print(misuse)
    sys.exit(2)
print(server.pid)
server.stop()
"""


def run(url: str, *statements: str) -> Any:
    """The first value that the last statement returns."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(ask())


def child(script: str, data_dir: Path, *prefix: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (*prefix, sys.executable, "-c", script, str(data_dir)),
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_running(pid: int) -> bool:
    """Alive, and not a zombie that nobody has reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def write_until_killed(data_dir: Path, rows: int) -> tuple[int, int]:
    """Start an owner, kill -9 it after that many more commits: (its server's pid, the last committed number)."""
    with child(OWNER, data_dir) as owner:
        assert owner.stdout is not None
        server = int(owner.stdout.readline())
        last = [int(owner.stdout.readline()) for _ in range(rows)][-1]
        owner.kill()
    return server, last


@pytest.fixture
def start() -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """`EmbeddedPostgres.start`, and at the end a stop for each that was started."""
    started: list[EmbeddedPostgres] = []

    def remember(data_dir: Path) -> EmbeddedPostgres:
        started.append(EmbeddedPostgres.start(data_dir))
        return started[-1]

    yield remember
    for server in started:
        server.stop()


PASSING_PARENTS = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")

Start = Callable[[Path], EmbeddedPostgres]


def test_what_was_written_is_there_after_a_stop(tmp_path: Path, start: Start) -> None:
    first = start(tmp_path)
    run(first.url, "CREATE TABLE kept (text text)", "INSERT INTO kept VALUES ('希望增加深色模式')")
    first.stop()
    assert not is_running(first.pid)
    assert not first.socket_dir.exists()

    second = start(tmp_path)
    assert run(second.url, "SELECT text FROM kept") == "希望增加深色模式"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("max_connections", "200"),
        ("TimeZone", "UTC"),
    ],
)
def test_it_is_set_up_to_keep_data_and_to_itself(postgres_server: EmbeddedPostgres, setting: str, value: str) -> None:
    assert run(postgres_server.url, f"SHOW {setting}") == value


def test_text_sorts_and_folds_the_same_on_every_machine(postgres_server: EmbeddedPostgres) -> None:
    built_in = "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database WHERE datname = 'template1'"
    assert run(postgres_server.url, built_in) == "b C.UTF-8"
    assert run(postgres_server.url, "SELECT lower('ÄÉЖ')") == "äéж"


def test_the_socket_is_ours_alone_however_long_the_path(tmp_path: Path, start: Start) -> None:
    far = tmp_path.joinpath(*["港湾-a-name-that-is-long"] * 8)
    server = start(far)
    assert len(os.fsencode(server.socket_dir)) < 80
    assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    assert run(server.url, "SELECT 1") == 1


def test_a_directory_that_somebody_put_in_the_sockets_place_is_refused(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    server.stop()
    server.socket_dir.mkdir(mode=0o755)
    try:
        with pytest.raises(Misuse, match="not ours alone"):
            EmbeddedPostgres.start(tmp_path)
    finally:
        server.socket_dir.rmdir()


def test_ctrl_c_in_a_terminal_does_not_reach_it(postgres_server: EmbeddedPostgres) -> None:
    assert os.getsid(postgres_server.pid) != os.getsid(0)
    assert os.getpgid(postgres_server.pid) != os.getpgid(0)


def test_a_second_start_is_refused_and_names_the_first(tmp_path: Path, start: Start) -> None:
    first = start(tmp_path)
    with pytest.raises(Misuse, match=rf"process {os.getpid()}\b.*--data-dir"):
        EmbeddedPostgres.start(tmp_path)
    with child(START, tmp_path) as second:
        said, _ = second.communicate()
        assert second.returncode == 2
        assert f"process {os.getpid()}" in said
    assert run(first.url, "SELECT 1") == 1


def test_killed_with_its_owner_it_goes_and_comes_back_with_every_commit(tmp_path: Path, start: Start) -> None:
    server, last = write_until_killed(tmp_path, rows=20)
    wait_until(lambda: not is_running(server), "the server ends by itself")
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()  # it was shut down, not killed
    assert run(start(tmp_path).url, "SELECT max(n) FROM written") >= last


def test_a_start_right_after_a_kill_waits_for_the_one_that_is_going(tmp_path: Path, start: Start) -> None:
    for _ in range(3):
        before, last = write_until_killed(tmp_path, rows=3)
        server = start(tmp_path)
        assert not is_running(before)
        assert run(server.url, "SELECT max(n) FROM written") >= last
        # A late signal of the last watcher must not end the new one.
        assert run(server.url, "SELECT pg_sleep(0.05)", "SELECT 1") == 1
        server.stop()


def test_a_server_that_was_left_running_is_taken_over(tmp_path: Path, start: Start) -> None:
    with child(UNWATCHED, tmp_path) as owner:
        assert owner.stdout is not None
        orphan = int(owner.stdout.readline())
    assert is_running(orphan)

    server = start(tmp_path)
    assert not is_running(orphan)
    assert run(server.url, "SELECT 1") == 1
    server.stop()
    assert not is_running(server.pid)


def test_a_killed_postmaster_is_recovered_from(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    run(server.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    again = start(tmp_path)
    assert run(again.url, "SELECT n FROM kept") == 7
    assert "automatic recovery in progress" in (tmp_path / "postgres.log").read_text()


async def test_a_start_waits_for_the_children_of_a_killed_postmaster(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    connection = await asyncpg.connect(server.url)
    # It computes and looks up for nobody, so it outlives its parent and keeps hold of the memory.
    busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 8000000) n WHERE n % 7 = 3"))
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '% 7 = 3'"
    while not await asyncio.to_thread(run, server.url, running):
        pass
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    again = await asyncio.to_thread(start, tmp_path)
    assert "pre-existing shared memory block" in (tmp_path / "postgres.log").read_text()
    assert await asyncio.to_thread(run, again.url, "SELECT 1") == 1
    await busy  # and was let finish, not killed
    await connection.close()


def test_a_pid_file_whose_number_is_somebody_elses_now_is_no_obstacle(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    left = pid_file.read_text().splitlines()
    server.stop()
    account = embedded._Account.for_cluster(tmp_path / "postgres")
    stranger = subprocess.Popen((*account.prefix, "sleep", "600"))  # of the server's own user, as in a new container
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *left[1:], ""]))
        assert run(start(tmp_path).url, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("left", ["", "\n", "not a number\n"])
def test_a_pid_file_torn_by_a_crash_is_no_obstacle(tmp_path: Path, start: Start, left: str) -> None:
    start(tmp_path).stop()
    (tmp_path / "postgres" / "postmaster.pid").write_text(left)
    assert run(start(tmp_path).url, "SELECT 1") == 1


def test_a_stuck_backend_does_not_keep_it_from_stopping(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    run(server.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")

    async def freeze() -> None:
        connection = await asyncpg.connect(server.url)
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGSTOP)
        connection.terminate()

    asyncio.run(freeze())
    server.stop(timeout=0.5)
    assert not is_running(server.pid)
    assert run(start(tmp_path).url, "SELECT n FROM kept") == 7


def test_an_interrupted_first_start_leaves_nothing_in_the_way(tmp_path: Path, start: Start) -> None:
    half = tmp_path / "postgres.new-1"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    assert run(start(tmp_path).url, "SELECT 1") == 1
    assert not half.exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a-photo.jpg", "not ours", "not a Postgres cluster"),
        ("PG_VERSION", "17\n", "written by Postgres 17"),
    ],
)
def test_a_directory_that_holds_something_else_is_left_alone(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    there = tmp_path / "postgres" / name
    there.parent.mkdir()
    there.write_text(content)
    with pytest.raises(Misuse, match=says):
        EmbeddedPostgres.start(tmp_path)
    assert there.read_text() == content


def test_a_server_that_cannot_start_says_why(tmp_path: Path, start: Start) -> None:
    start(tmp_path).stop()
    with (tmp_path / "postgres" / "postgresql.conf").open("a") as file:
        file.write("\nno_such_setting = 1\n")
    with pytest.raises(Misuse, match="no_such_setting"):
        EmbeddedPostgres.start(tmp_path)


@as_root
def test_as_root_only_its_own_directory_changes_hands(tmp_path: Path, start: Start) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    parents = [closed, *closed.parents]
    before = [(p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in parents]
    users = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()

    server = start(closed / "data")
    assert run(server.url, "SELECT 1") == 1

    assert [(p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in parents] == before
    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == users
    nobody = pwd.getpwnam("nobody").pw_uid
    assert Path(f"/proc/{server.pid}").stat().st_uid == nobody
    assert {p.name: p.stat().st_uid for p in (closed / "data").iterdir()} == {
        "lock": 0,
        "postgres": nobody,
        "postgres.log": 0,
    }


@as_root
def test_root_without_the_capability_is_told_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with child(START, tmp_path / "data", "setpriv", "--bounding-set=-dac_override,-dac_read_search") as root:
        said, _ = root.communicate()
    assert root.returncode == 2, said
    assert "CAP_DAC_OVERRIDE" in said
    assert "DATABASE_URL" in said


@as_root
def test_a_normal_users_data_stays_that_users_when_root_starts_on_it(start: Start) -> None:
    nobody = pwd.getpwnam("nobody")
    # With the capability to pass the checkout's parents, wherever it stands; a normal user in all else.
    normal_user = (
        "setpriv",
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        *PASSING_PARENTS,
    )
    home = Path(tempfile.mkdtemp())
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        with child(START, home, *normal_user) as user:
            said, _ = user.communicate()
        assert user.returncode == 0, said
        server = start(home)
        assert run(server.url, "SELECT 1") == 1
        assert {p.stat().st_uid for p in home.iterdir()} == {nobody.pw_uid}
        server.stop()
    finally:
        shutil.rmtree(home)


def test_no_port_is_opened(postgres_server: EmbeddedPostgres) -> None:
    lines = (Path(run(postgres_server.url, "SHOW data_directory")) / "postmaster.pid").read_text().splitlines()
    assert lines[5] == ""  # the first address listened on
