"""One deadline over one loop timer: moving the deadline forth costs no system call and no new timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls `expired` when the time that was last set is over."""

    __slots__ = ("_due", "_expired", "_fires_at", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._due: float | None = None
        self._fires_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float | None) -> None:
        """Sets the time anew; None never expires."""
        if seconds is None:
            self._due = None
            return
        self._due = due = self._loop.time() + seconds
        if self._handle is None or due < self._fires_at:
            self._schedule(due)

    def stop(self) -> None:
        """Forgets the time. A loop timer that is under way fires once into nothing."""
        self._due = None

    def close(self) -> None:
        """Forgets the time and its loop timer."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = due
        self._handle = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._loop.time() + 0.001 < self._due:
            self._schedule(self._due)
            return
        self._due = None
        self._expired()
