"""Runs the archive: checks who could reach it, starts the database, workers and jobs; ends them in reverse order."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from app.catalog.bell import Bell
from app.catalog.embedded import MAJOR, Embedded
from app.catalog.migrate import prepare
from app.errors import CannotStart
from app.serving.companion import Companion
from app.serving.feed import open_feed
from app.serving.listener import Board, addresses, is_loopback, listen
from app.serving.processes import Child, Processes, call_in_child
from app.serving.worker import Lifeline, Post, run_worker
from app.settings import Settings
from app.telemetry.logging import configure_logging
from app.telemetry.metrics import Metrics
from app.ui.viewer_package import HOW_TO_ADD, find_package

log = logging.getLogger("fileroom.serve")

_DATABASE_RETRY_SECONDS = 2.0
_LOOK_SECONDS = 10.0
_LOOK_UNTOLD_SECONDS = 0.5
"""The same where the kernel does not tell that a process ended."""
_DESCRIPTORS = 65536


def serve(settings: Settings, open_bridge: Callable[[], Companion] | None = None) -> int:
    """Serves until a signal ends it, with the bridge beside the archive that `open_bridge` makes; the exit status.
    Raises `CannotStart`."""
    configure_logging(settings)
    check_exposure(settings)
    _prepare_process()
    with _data_folder(settings), _Database(settings) as database:
        sockets = listen(settings.http_host, settings.http_port)
        feed = open_feed(settings)
        bridge = open_bridge() if open_bridge else None
        if not call_in_child(lambda: _migrate(database.url)):
            return 2
        processes = _processes(settings, database, sockets, bridge, feed)
        served = processes.run(database.look)
        _leave([*sockets, *feed, *(bridge.sockets if bridge else ())])
        if served:
            _say("Stopping: requests under way are finished first. Again: stop at once.")
        processes.end(settings.shutdown_seconds)
        return 0 if served else 1


def check_exposure(settings: Settings) -> None:
    """Without authentication only this machine may reach the archive; raises `CannotStart`."""
    if settings.auth != "none":
        return
    reachable = [address for _, address in addresses(settings.http_host, 0) if not is_loopback(address)]
    if reachable:
        raise CannotStart(
            f"FILEROOM_HTTP_HOST={settings.http_host} is {', '.join(reachable)}, which other machines can reach,\n"
            "and FILEROOM_AUTH=none would let each of them read and delete everything. Either\n"
            "  set FILEROOM_AUTH=token and make tokens: fileroom token create NAME --scope read --scope write\n"
            "  or listen on this machine only: FILEROOM_HTTP_HOST=127.0.0.1"
        )


def _prepare_process() -> None:
    """As many file descriptors as we may have; and an orderly end when a signal comes while things start."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads, and the parent forks
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def _data_folder(settings: Settings) -> Iterator[None]:
    """One archive a data folder, when the database is in it. Waits a moment for a killed one's processes to go."""
    settings.data.mkdir(parents=True, exist_ok=True)
    if settings.database_url:
        yield
        return
    lock = os.open(settings.data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + 3
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise CannotStart(f"Another Fileroom serves the data folder {settings.data.resolve()} already.")
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Database:
    """The database of the settings, or the embedded one, which is started again when it dies."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.database_url
        self._data = settings.data
        self._embedded = None if settings.database_url else Embedded()
        self._retry_at = 0.0
        self._watched, self._descriptor = 0, -1

    def __enter__(self) -> _Database:
        if self._embedded:
            self.url = self._embedded.start(self._data)
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded:
            self._embedded.stop()

    @property
    def name(self) -> str:
        """How people call it, without its password."""
        if self._embedded:
            how = "found running" if self._embedded.attached else "started"
            return f"embedded PostgreSQL {MAJOR} ({how}), {self._data.resolve() / 'postgres'}"
        parts = urlsplit(self.url)
        return f"{parts.hostname or 'local'}:{parts.port or 5432}{parts.path}"

    def look(self) -> tuple[float, Sequence[int]]:
        """Starts a server that died again. Seconds after which, and a descriptor upon which, to look again."""
        if self._embedded is None:
            return _LOOK_SECONDS, ()
        if not self._embedded.alive():
            self._start_again(self._embedded)
        if (left := self._retry_at - time.monotonic()) > 0:
            return left, ()
        descriptor = self._watch(self._embedded.pid)
        return (_LOOK_UNTOLD_SECONDS, ()) if descriptor < 0 else (_LOOK_SECONDS, (descriptor,))

    def _start_again(self, embedded: Embedded) -> None:
        if time.monotonic() < self._retry_at:
            return
        log.error("PostgreSQL ended; it starts again")
        try:
            embedded.start(self._data)
        except CannotStart as error:
            log.error("PostgreSQL does not start: %s", error.detail)
            self._retry_at = time.monotonic() + _DATABASE_RETRY_SECONDS

    def _watch(self, pid: int) -> int:
        """A descriptor that is readable when the process `pid`, whoever its parent is, has ended; -1: none."""
        if pid != self._watched:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._watched, self._descriptor = pid, -1
            with suppress(OSError):  # it is dead already, or the kernel is old
                self._descriptor = os.pidfd_open(pid)
        return self._descriptor


def _migrate(url: str) -> None:
    """In a child process, so that what it imports does not stay in memory."""
    try:
        asyncio.run(prepare(url))
    except CannotStart as error:
        print(f"fileroom: {error.detail}", file=sys.stderr, flush=True)
        os._exit(2)


def _processes(
    settings: Settings,
    database: _Database,
    sockets: list[socket.socket],
    bridge: Companion | None,
    feed: list[socket.socket],
) -> Processes:
    from app.main import create_app, make_bridges, make_context

    count = settings.worker_count
    metrics = Metrics(count + 1 + (bridge.slots if bridge else 0))
    metrics.use(count)
    own = (bridge.remote, bridge.token) if bridge else ("", "")
    app = create_app(settings, database.url, metrics, bridge_token=own[1], bridge_remote=own[0])
    app.state.context.catalog.bell = bell = Bell(shared=True)
    post = Post(app, settings, metrics, sockets, Board(count), Lifeline.make())

    root = f"{_roots(sockets)[0]}/dicom-web"

    def worker(slot: int) -> Child:
        def work() -> None:
            _leave([*feed, *(bridge.sockets if bridge else ())])
            run_worker(post, slot)

        def died() -> None:
            post.board[slot] = -1
            metrics.own.add("fileroom_process_restarts_total")

        return Child(f"worker {slot + 1}", work, died)

    def jobs() -> None:
        from app.serving.background import work

        post.lifeline.hold("fileroom-jobs")
        _leave([*sockets, *(bridge.sockets if bridge else ())])
        context = make_context(settings, database.url)
        context.catalog.bell = bell
        context.bridges = make_bridges(settings, *own)
        work(context, settings, feed)

    def speak_dimse() -> None:
        assert bridge is not None
        post.lifeline.hold("fileroom-dimse")
        _leave([*sockets, *feed])
        bridge.run(root, bridge.token, metrics, count + 1)

    children = [worker(slot) for slot in range(count)] + [Child("jobs", jobs, lambda: None)]
    if bridge:
        children.append(Child("bridge", speak_dimse, lambda: None, ends_first=True))
    gc.collect()
    gc.freeze()  # the children share what is there now, and their collectors do not touch it
    return Processes(children, post.lifeline, count, lambda: _say(_welcome(settings, database, sockets, bridge, feed)))


def _leave(sockets: Sequence[socket.socket]) -> None:
    """Closes sockets that are other processes'."""
    for listener in sockets:
        listener.close()


def _roots(sockets: list[socket.socket]) -> list[str]:
    """The addresses at which this machine reaches the sockets."""
    roots = []
    for listener in sockets:
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        roots.append(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    return roots


def _welcome(
    settings: Settings,
    database: _Database,
    sockets: list[socket.socket],
    bridge: Companion | None,
    feed: list[socket.socket],
) -> str:
    roots = _roots(sockets)
    access = "API tokens: fileroom token create NAME --scope read --scope write"
    if settings.auth == "none":
        access = "everybody on this machine (FILEROOM_AUTH=none)"
    token = "-H 'Authorization: Bearer TOKEN' " if settings.auth == "token" else ""
    lines = [
        "Fileroom is ready.",
        *(f"  DICOMweb  {root}/dicom-web" for root in roots),
        *([bridge.welcome] if bridge else []),
        *("  HL7 v2    {}:{}".format(*one.getsockname()[:2]) for one in feed),
        f"  API       {roots[0]}/docs",
        f"  viewer    {f'{roots[0]}/viewer/' if find_package(settings.viewer) else f'not installed: {HOW_TO_ADD}'}",
        f"  data      {settings.data.resolve()}",
        f"  database  {database.name}",
        f"  access    {access}",
        f"  processes {settings.worker_count} workers, 1 for jobs; this is {os.getpid()}",
        "Store, then search:",
        f"  curl {token}-H 'Content-Type: application/dicom' --data-binary @image.dcm {roots[0]}/dicom-web/studies",
        f"  curl {token}{roots[0]}/dicom-web/studies",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, flush=True)
