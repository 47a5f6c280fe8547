"""The bridge's parent: accepts, hands each connection to the child that has the fewest, starts again what dies, and
ends all of it in order. It has no threads and no event loop, so that forking is safe and memory is shared.

Hash-spread listening (SO_REUSEPORT) would put four associations of one modality on one core as soon as not.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType

from dimse_bridge.board import Board
from dimse_bridge.listening import Bound

log = logging.getLogger("fileroom.bridge")

Run = Callable[[int, socket.socket], None]

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LOOK_SECONDS = 10.0
"""Between two looks when no child ended and nobody called."""
_EXHAUSTED_SECONDS = 0.2
_LONGEST_PAUSE = 10.0
_SETTLED_SECONDS = 30.0
_HOPELESS = 5
_KILLED_AFTER = 2.0
_BEYOND_LIMIT = 256
"""Connections over the limit of associations that are still given the answer which says so."""


@dataclass(slots=True)
class Child:
    """One process, and the channel by which it gets connections."""

    number: int
    pid: int = 0
    channel: socket.socket | None = None
    given: int = 0
    failures: int = 0
    started_at: float = 0.0
    start_at: float = 0.0


class Parent:
    """Keeps `children` processes running `run`, until a signal ends them."""

    def __init__(
        self, bound: Sequence[Bound], board: Board, run: Run, *, children: int, most: int, on_ready: Callable[[], None]
    ) -> None:
        self._bound = bound
        self._board = board
        self._run = run
        self._children = [Child(number) for number in range(children)]
        self._most = most + _BEYOND_LIMIT if most else 0
        self._on_ready = on_ready
        self._is_ready = False
        self._endings = 0
        self._accepts = False
        self._rests_until = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> bool:
        """Returns True after a signal to end; False when no child ever came to serve."""
        self._take_signals()
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        while not self._endings:
            self._reap()
            if not self._is_ready and any(child.failures >= _HOPELESS for child in self._children):
                return False
            self._start_due()
            self._accept_or_rest()
            self._wait(self._until_due())
        return True

    def end(self, seconds: float) -> None:
        """Listens no more, asks the children to finish, kills those that have not after `seconds`."""
        self._on_ready = lambda: None  # a child that begins to serve now is no news; what it would serve on is closed
        self._rest(float("inf"))
        for bound in self._bound:
            bound.socket.close()
        signals_before = self._endings
        deadline = time.monotonic() + seconds + _KILLED_AFTER
        self._signal(signal.SIGTERM)
        while self._living() and time.monotonic() < deadline and self._endings == signals_before:
            self._wait(0.1)
            self._reap(quietly=True)
        self._signal(signal.SIGKILL)
        for child in self._living():
            os.waitpid(child.pid, 0)
            child.pid = 0

    def _until_due(self) -> float:
        """Seconds until a child is to be started again, or the rest of the listeners is over."""
        due = [child.start_at for child in self._children if not child.pid]
        if not self._accepts and self._living():
            due.append(self._rests_until)
        return min(max(min(due) - time.monotonic(), 0.0), _LOOK_SECONDS) if due else _LOOK_SECONDS

    # -------------------------------------------------------------- connections

    def _accept_or_rest(self) -> None:
        if not self._living():
            self._rest(0.0)
        elif not self._accepts and time.monotonic() >= self._rests_until:
            self._accepts = True
            for number, bound in enumerate(self._bound):
                self._selector.register(bound.socket, selectors.EVENT_READ, self._acceptor(number, bound.socket))

    def _rest(self, seconds: float) -> None:
        self._rests_until = time.monotonic() + seconds
        if self._accepts:
            self._accepts = False
            for bound in self._bound:
                self._selector.unregister(bound.socket)

    def _acceptor(self, number: int, listener: socket.socket) -> Callable[[], None]:
        def accept() -> None:
            if not self._accepts:
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptors or no memory left
                log.error("cannot accept connections: %s", error.strerror)
                self._rest(_EXHAUSTED_SECONDS)
                return
            with connection:
                self._give(connection, number)

        return accept

    def _give(self, connection: socket.socket, listener: int) -> None:
        loads = {child.number: child.given - self._board.closed(child.number) for child in self._living()}
        if self._most and sum(loads.values()) >= self._most:
            return  # far over the limit: closed without a word
        for child in sorted(self._living(), key=lambda child: loads[child.number]):
            assert child.channel is not None
            try:
                socket.send_fds(child.channel, [bytes((listener,))], [connection.fileno()])
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EAGAIN, errno.ENOBUFS):
                    log.error("a connection cannot be handed over: %s", error.strerror)
                continue
            child.given += 1
            return

    # -------------------------------------------------------------- children

    def _living(self) -> list[Child]:
        return [child for child in self._children if child.pid]

    def _signal(self, number: signal.Signals) -> None:
        for child in self._living():
            os.kill(child.pid, number)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.start_at <= now:
                child.started_at = now
                self._start(child)

    def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        parent = os.getpid()
        child.pid = os.fork()
        if not child.pid:
            self._be_child(child, parent, theirs, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        child.channel = ours
        child.given = 0
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._heard(ours))

    def _be_child(self, child: Child, parent: int, channel: socket.socket, signals_before: Iterable[int]) -> None:
        """In the new process; does not return."""
        status = 1
        try:
            _hold(parent, f"fileroom-dimse{child.number + 1}")
            signal.set_wakeup_fd(-1)
            for number in (*_ENDING, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, signals_before)
            self._selector.close()
            for bound in self._bound:
                bound.socket.close()
            for other in self._children:
                if other.channel is not None:
                    other.channel.close()
            self._run(child.number, channel)
            status = 0
        except BaseException:
            log.exception("a process of the bridge failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _heard(self, channel: socket.socket) -> None:
        try:
            said = channel.recv(16)
        except (BlockingIOError, ConnectionError):
            said = b""
        if not said:
            self._selector.unregister(channel)  # it ends: `_reap` sees to it
        elif not self._is_ready:
            self._is_ready = True
            self._on_ready()

    def _reap(self, *, quietly: bool = False) -> None:
        for child in self._living():
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            self._forget(child)
            if quietly:
                continue
            now = time.monotonic()
            child.failures = 0 if now - child.started_at > _SETTLED_SECONDS else child.failures + 1
            pause = min(0.05 * 2**child.failures, _LONGEST_PAUSE)
            child.start_at = now + pause
            code = os.waitstatus_to_exitcode(status)
            log.error("bridge process %d ended with status %d; it starts again in %.1f s", child.number, code, pause)

    def _forget(self, child: Child) -> None:
        child.pid = 0
        self._board.clear(child.number)
        channel, child.channel = child.channel, None
        if channel is not None:
            if channel in self._selector.get_map():
                self._selector.unregister(channel)
            channel.close()

    # -------------------------------------------------------------- signals

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, self._on_ending)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _on_ending(self, number: int, frame: FrameType | None) -> None:
        self._endings += 1

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)

    def _wait(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()


def _hold(parent: int, name: str) -> None:
    """In a child: the kernel kills it as soon as the parent is dead, so that it never keeps a peer waiting."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
