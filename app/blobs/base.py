"""What a blob store is: create under a final key, sync, read ranges, remove, scan. Knows bytes and keys, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `offset`."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob found by `scan`. `modified` is in seconds since the epoch."""

    key: str
    length: int
    modified: float


class BlobWriter(Protocol):
    """One new blob. Nothing is durable, nor known to anybody, before `BlobStore.sync` returned."""

    key: str

    async def write(self, chunk: bytes) -> None:
        """Appends; raises `StorageFull` or `BlobStoreFailed`."""

    async def close(self) -> None:
        """Ends writing; the bytes may still be in memory only."""

    async def abandon(self) -> None:
        """Removes the unpublished blob."""


class BlobStore(Protocol):
    """Where objects live."""

    def create(self, key: str) -> BlobWriter:
        """A new blob under its final `key` (O_EXCL: raises `BlobStoreFailed` when it exists)."""

    async def sync(self, writers: Sequence[BlobWriter], journal: Sequence[tuple[str, bytes]]) -> None:
        """Makes closed blobs durable, with their folders and new parents, and appends each (study UID, line) of
        `journal` to its study's journal durably, all concurrently. Raises `BlobStoreFailed`; nothing is retried."""

    def read(self, key: str, part: ByteRange, chunk: int = 1 << 20) -> AsyncIterator[bytes]:
        """The bytes of `part` in chunks of `chunk` bytes at most; raises `BlobStoreFailed` when they are not there."""

    async def remove(self, key: str) -> None:
        """Removes a blob durably; a missing one is no error."""

    def scan(self) -> Iterator[BlobInfo]:
        """Every blob, in no order. Blocking: for jobs and commands, not for the event loop."""

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """(study UID, line) for each journal line, each study's in the order written. Blocking, as `scan`."""

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
