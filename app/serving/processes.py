"""The parent's part: it starts the children, starts again what dies, and ends all of it in order.

It has no threads and no event loop, so forking is safe and its memory is shared with the children.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from app.serving.worker import Lifeline

log = logging.getLogger("fileroom.serve")

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_SECONDS = 10.0
_LONGEST_PAUSE = 10.0
_SETTLED_SECONDS = 30.0
_HOPELESS = 5
_KILLED_AFTER = 2.0


Look = Callable[[], tuple[float, Sequence[int]]]
"""Looks after something else that must run; seconds and descriptors, after or upon which it wants to look again."""


@dataclass(slots=True)
class Child:
    """One process to keep running. `run` is called in it; `died` in the parent, before it is started again. One that
    `ends_first` needs the others to finish what it does."""

    name: str
    run: Callable[[], None]
    died: Callable[[], None]
    ends_first: bool = False
    pid: int = 0
    failures: int = 0
    started_at: float = 0.0
    start_at: float = 0.0


class Processes:
    """Keeps `children` running until a signal ends them. It sleeps as long as none of them ends."""

    def __init__(self, children: list[Child], lifeline: Lifeline, serving: int, on_ready: Callable[[], None]) -> None:
        self._children = children
        self._lifeline = lifeline
        self._serving = serving
        self._on_ready = on_ready
        self._ready = 0
        self._endings = 0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, look: Look) -> bool:
        """Returns after a signal to end, True; or False when no child ever came to serve."""
        self._take_signals()
        while not self._endings:
            self._reap()
            if not self._ready and any(child.failures >= _HOPELESS for child in self._children):
                return False
            self._start_due()
            seconds, descriptors = look()
            self._wait(min(seconds, self._until_start()), descriptors)
        return True

    def end(self, seconds: float) -> None:
        """Asks the children to finish; kills those that have not after `seconds`, or at another signal."""
        self._on_ready = lambda: None  # a child that begins to serve now is no news; what it would serve on is closed
        signals_before = self._endings
        deadline = time.monotonic() + seconds + _KILLED_AFTER
        for group in ([child for child in self._children if child.ends_first], self._children):
            _signal(group, signal.SIGTERM)
            while _living(group) and time.monotonic() < deadline and self._endings == signals_before:
                self._wait(0.1)
                self._reap(quietly=True)
        left = _living(self._children)
        if left:
            log.warning("ended before all requests were finished")
        _signal(left, signal.SIGKILL)
        for child in left:
            os.waitpid(child.pid, 0)
            child.pid = 0

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, self._on_ending)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _on_ending(self, number: int, frame: FrameType | None) -> None:
        self._endings += 1

    def _wait(self, seconds: float, descriptors: Sequence[int] = ()) -> None:
        readable, _, _ = select.select([self._wake_read, self._lifeline.ready_read, *descriptors], [], [], seconds)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        if self._lifeline.ready_read in readable:
            before, self._ready = self._ready, self._ready + len(os.read(self._lifeline.ready_read, 4096))
            if before < self._serving <= self._ready:
                self._on_ready()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.start_at <= now:
                child.started_at = now
                child.pid = _fork(child.run)

    def _until_start(self) -> float:
        """Seconds until a child is to be started again."""
        due = [child.start_at for child in self._children if not child.pid]
        return min(max(min(due) - time.monotonic(), 0.0), _LOOK_SECONDS) if due else _LOOK_SECONDS

    def _reap(self, *, quietly: bool = False) -> None:
        for child in _living(self._children):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            child.pid = 0
            child.died()
            if quietly:
                continue
            now = time.monotonic()
            child.failures = 0 if now - child.started_at > _SETTLED_SECONDS else child.failures + 1
            pause = min(0.05 * 2**child.failures, _LONGEST_PAUSE)
            child.start_at = now + pause
            code = os.waitstatus_to_exitcode(status)
            log.error("%s ended with status %d; it starts again in %.1f s", child.name, code, pause)


def _living(children: list[Child]) -> list[Child]:
    return [child for child in children if child.pid]


def _signal(children: list[Child], number: signal.Signals) -> None:
    for child in _living(children):
        os.kill(child.pid, number)


def _fork(run: Callable[[], None]) -> int:
    """The process id of a child that calls `run` and ends. It gets the default signals, and none is lost between."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_ENDING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        run()
        status = 0
    except BaseException:
        log.exception("a process of the archive failed")
    finally:
        logging.shutdown()
        os._exit(status)


def call_in_child(run: Callable[[], None]) -> bool:
    """Calls `run` in a process of its own, whose memory goes with it; whether it returned."""
    _, status = os.waitpid(_fork(run), 0)
    return status == 0
