"""What a blob store is: create under a final key, sync, read ranges, remove, scan. Knows bytes and keys only."""

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

    @property
    def key(self) -> str:
        """The final key."""

    async def write(self, chunk: bytes) -> None:
        """Appends; raises `StorageFull` or `BlobStoreFailed`."""

    async def write_ahead(self) -> None:
        """Begins to write out what is held in memory, for those whose `sync` has to wait; raises as `write`."""

    async def close(self) -> None:
        """Ends writing; the bytes may still be in memory only."""

    async def abandon(self) -> None:
        """Removes the unpublished blob, synced or not; never a blob of another writer."""


class BlobStore(Protocol):
    """Where objects live."""

    def create(self, key: str) -> BlobWriter:
        """A new blob under its final `key`; raises `Unreadable` when that is no key. A key that exists already makes
        `write` or `sync` raise `BlobStoreFailed`: nothing is ever overwritten."""

    async def sync(self, writers: Sequence[BlobWriter], journal: Sequence[tuple[str, bytes]]) -> None:
        """Makes closed blobs durable, with their folders and new parents, and appends each (study UID, line) of
        `journal` to its study's journal durably. Calls made at the same time share their work, yet each fails or
        succeeds alone. Raises `StorageFull` or `BlobStoreFailed`; nothing is retried."""

    def read(self, key: str, part: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of `part`, a MiB at a time at most, unverified: for jobs that verify by other means. Raises
        `BlobMissing` when they are not there, `BlobStoreFailed` when that cannot be known."""

    def read_verified(self, key: str, part: ByteRange, checks: bytes, total: int) -> AsyncIterator[bytes]:
        """The bytes of `part` of a blob of `total` bytes, cut at whole MiBs of the blob. Each MiB is compared with its
        fast checksum in `checks` before any of it is yielded; raises `Corrupt` or `BlobStoreFailed`."""

    async def pread_verified(self, key: str, offset: int, length: int, checks: bytes, total: int) -> bytes:
        """As `read_verified`, at once: for small parts such as frames."""

    async def read_piece(self, key: str, number: int, checks: bytes, total: int) -> bytes | memoryview:
        """MiB `number` of a blob of `total` bytes, verified; raises as `read_verified`. The quickest when the bytes are
        in memory already."""

    async def read_into(self, key: str, numbers: range, checks: bytes, total: int, room: memoryview) -> None:
        """Reads the MiBs `numbers` of a blob of `total` bytes into `room`, one behind the other, and compares each with
        its fast checksum there; raises as `read_verified`. A read that is cancelled may go on writing."""

    async def remove(self, key: str) -> None:
        """Removes a blob durably; a missing one is no error."""

    def scan(self) -> Iterator[BlobInfo]:
        """Every blob, in no order. Blocking: for jobs and commands, not for the event loop."""

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """(study UID, line) for each journal line, each study's in the order written. Blocking, as `scan`."""

    def free_bytes(self) -> int:
        """Bytes that can still be written."""

    @property
    def suspect(self) -> bool:
        """Whether so many writes failed in the last minute that the archive should not count as ready."""

    def close(self) -> None:
        """Finishes what was begun; nothing may be asked of the store any more."""
