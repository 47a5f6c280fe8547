"""Feeding a state machine with bytes in any portions, so that it sees the same whatever the portions were.

A step takes what is complete from the position on, and says in `_need` how many bytes it must see at once before it
can go on. Bytes taken are dropped; a value that is not kept is passed over without being looked at."""

from __future__ import annotations

from collections.abc import Callable

from app.dicom.limits import Limits
from app.errors import LimitExceeded, Unreadable

Step = Callable[[bytes, int], int]
"""Takes the bytes at hand and a position in them; returns the position it came to."""


class Stepper:
    """The part of a reader that knows about portions. Subclasses set `_step`; `_base` is the offset of the first byte
    that a step sees."""

    _step: Step

    def __init__(self, limits: Limits, start: int) -> None:
        self.limits = limits
        self._start = self._base = self._at = start
        self._skip = self._skipped = 0
        self._need = self._have = 0
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes, pos: int = 0) -> None:
        """Take `chunk` from `pos` on."""
        size = len(chunk) - pos
        if self._skip >= size:
            self._skip -= size
            self._at += size
            return
        if self._parts:
            self._parts.append(chunk[pos:] if pos else chunk)
            self._have += size
            if self._have < self._need:
                return
            chunk, pos = b"".join(self._parts), 0
            self._parts = []
        self._base = self._at - pos
        pos += self._skip
        self._skip = self._need = 0
        while not self._need:
            try:
                pos = self._step(chunk, pos)
            except Unreadable as error:
                pos = self._forgive(chunk, error)
            self._check(self._base + pos)
        self._at = self._base + pos
        if pos < len(chunk):
            self._parts = [chunk[pos:]]
            self._have = len(chunk) - pos

    def _forgive(self, data: bytes, error: Unreadable) -> int:
        """Go on after bytes that contradict themselves, or raise `error`."""
        raise error

    def _check(self, at: int) -> None:
        """Hold the limits, after each step."""
        if at - self._start - self._skipped > self.limits.header:
            raise LimitExceeded("header", f"more than {self.limits.header} bytes of kept values")

    def _pass_over(self, data: bytes, start: int, length: int) -> int:
        """Go on after a value that is not kept."""
        self._skipped += length
        end = start + length
        if end <= len(data):
            return end
        self._skip = end - len(data)
        self._need = 1
        return len(data)

    def _rest(self) -> bytes:
        """What no step has taken."""
        return b"".join(self._parts)
