"""A cache of one worker's memory, bounded in bytes; what was not asked for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that takes `len()` bytes in memory."""

    def __len__(self) -> int: ...


_K = TypeVar("_K")
_V = TypeVar("_V", bound=Sized)


class SizedCache(Generic[_K, _V]):
    """Keeps values up to `limit` bytes together; one that would take more than half of it is not kept."""

    def __init__(self, limit: int) -> None:
        self.largest = limit // 2
        self._limit = limit
        self._kept: OrderedDict[_K, _V] = OrderedDict()
        self._size = 0

    def get(self, key: _K) -> _V | None:
        """What is kept under `key`."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> None:
        """Keeps `value` instead of what was under `key`."""
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= len(old)
        if len(value) > self.largest:
            return
        self._kept[key] = value
        self._size += len(value)
        while self._size > self._limit:
            _, gone = self._kept.popitem(last=False)
            self._size -= len(gone)
