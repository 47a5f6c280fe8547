"""Which AE title holds which association, in memory that the parent and its children share: the limits of PS3.8's
"local limit exceeded" count over all processes.

A slot is a mark and a title of 16 bytes; the mark stands in no AE title, so that counting is one search. Each child
writes only its own slots, takes one before it counts, and the parent clears those of a child that died."""

from __future__ import annotations

import mmap

_MARK = b"\xff"
_TITLE = 16
_SLOT = 1 + _TITLE
_COUNTER = 8
SLOTS_WITHOUT_LIMIT = 4096
"""Associations of one child that are counted when nothing limits them in all."""


class Board:
    """The slots and counters of `children` processes; `most` and `most_of_peer` 0: no limit."""

    def __init__(self, children: int, most: int, most_of_peer: int) -> None:
        self._most = most
        self._most_of_peer = most_of_peer
        self._slots = most + 1 if most else SLOTS_WITHOUT_LIMIT
        self._region = self._slots * _SLOT
        self._memory = mmap.mmap(-1, children * (self._region + _COUNTER))
        self._base = children * _COUNTER
        self._free = list(range(self._slots))
        self._closed = memoryview(self._memory)[: self._base].cast("Q")

    def closed(self, child: int) -> int:
        """How many of the connections that `child` was given are over."""
        return self._closed[child]

    def close(self, child: int) -> None:
        """A connection of `child` is over. Called in it."""
        self._closed[child] += 1

    def take(self, child: int, title: str) -> int | None:
        """A slot for an association with `title`, or None when there would be too many. Called in the child."""
        if not self._free:
            return None if self._most else -1
        slot = self._free.pop()
        entry = self._entry(title)
        start = self._start(child, slot)
        self._memory[start : start + _SLOT] = entry
        everything = self._memory[self._base :]
        too_many = self._most and everything.count(_MARK) > self._most
        if too_many or (self._most_of_peer and everything.count(entry) > self._most_of_peer):
            self.give(child, slot)
            return None
        return slot

    def give(self, child: int, slot: int) -> None:
        """The association of `slot` is over. Called in the child."""
        if slot >= 0:
            start = self._start(child, slot)
            self._memory[start : start + _SLOT] = bytes(_SLOT)
            self._free.append(slot)

    def clear(self, child: int) -> None:
        """A child died: it has no associations. Called in the parent."""
        start = self._start(child, 0)
        self._memory[start : start + self._region] = bytes(self._region)
        self._closed[child] = 0

    def count(self) -> int:
        """Associations in all."""
        return self._memory[self._base :].count(_MARK)

    def _start(self, child: int, slot: int) -> int:
        return self._base + child * self._region + slot * _SLOT

    @staticmethod
    def _entry(title: str) -> bytes:
        return _MARK + title.encode("ascii", "replace")[:_TITLE].ljust(_TITLE)
