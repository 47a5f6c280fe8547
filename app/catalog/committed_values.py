"""Which values of studies and series are in the catalog, as far as the processes of this machine know: what a worker
has committed need not be sent again by its neighbour. A wrong belief costs a round trip, for the catalog compares."""

from __future__ import annotations

import mmap

from xxhash import xxh3_64_intdigest

SLOTS = 1 << 16
_SIZE = 8
_BITS = (1 << 64) - 1


class CommittedValues:
    """A table of hashes in memory that forked processes share. Each key has one slot, which the newest takes: what was
    there before is forgotten."""

    def __init__(self) -> None:
        self._table = memoryview(mmap.mmap(-1, SLOTS * _SIZE)).cast("Q")

    def holds(self, key: str, values: int) -> bool:
        """Whether the values with this hash were the last that were committed for `key`."""
        digest = xxh3_64_intdigest(key.encode())
        return self._table[digest % SLOTS] == (digest ^ values) & _BITS

    def put(self, key: str, values: int) -> None:
        """They are committed."""
        digest = xxh3_64_intdigest(key.encode())
        self._table[digest % SLOTS] = (digest ^ values) & _BITS
