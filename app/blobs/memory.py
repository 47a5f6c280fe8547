"""A blob store in memory, for tests and trials: the same contract as a folder, durable as long as the process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence

from app.blobs.base import BlobInfo, BlobWriter, ByteRange
from app.blobs.checksum import PIECE, piece_length, pieces_of, verify_piece
from app.blobs.keys import folder, parse_key
from app.errors import BlobMissing, BlobStoreFailed, Corrupt, StorageFull, Unreadable

SPACE = 1 << 30
"""Bytes that fit."""


class MemoryWriter:
    """A new blob."""

    __slots__ = ("_content", "_made", "_store", "key")

    def __init__(self, store: MemoryBlobStore, key: str) -> None:
        self.key = key
        self._store = store
        self._content = bytearray()
        self._made = False

    async def write(self, chunk: bytes) -> None:
        """Appends."""
        if len(chunk) > self._store.free_bytes():
            raise StorageFull("the blob store is full")
        self._content += chunk

    async def write_ahead(self) -> None:
        """There is nothing slower to write to."""

    async def close(self) -> None:
        """Nothing more will be written."""

    async def abandon(self) -> None:
        """Removes the blob if this writer made it."""
        self._content.clear()
        if self._made:
            self._made = False
            await self._store.remove(self.key)

    def publish(self) -> None:
        """Puts the bytes under their key."""
        self._store.put(self.key, bytes(self._content))
        self._made = True


class MemoryBlobStore:
    """Blobs in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, float]] = {}
        self._lines: dict[str, list[bytes]] = {}

    def create(self, key: str) -> MemoryWriter:
        """A writer for `key`."""
        _require_key(key)
        return MemoryWriter(self, key)

    def close(self) -> None:
        """There is nothing to finish."""

    def put(self, key: str, content: bytes) -> None:
        """Adds a blob; refuses a key that exists."""
        if key in self._blobs:
            raise BlobStoreFailed("the blob store cannot write (EEXIST)")
        self._blobs[key] = (content, time.time())

    async def sync(self, writers: Sequence[BlobWriter], journal: Sequence[tuple[str, bytes]]) -> None:
        """Publishes the writers' bytes and appends the lines."""
        for study, _ in journal:
            folder(study)
        for writer in writers:
            if isinstance(writer, MemoryWriter):
                writer.publish()
        for study, line in journal:
            self._lines.setdefault(study, []).extend(line.splitlines())

    async def read(self, key: str, part: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of `part`, unverified."""
        for chunk in self._pieces(key, part, None, part.offset + part.length):
            yield chunk

    async def read_verified(self, key: str, part: ByteRange, checks: bytes, total: int) -> AsyncIterator[bytes]:
        """The bytes of `part`, each MiB verified before it is yielded."""
        for chunk in self._pieces(key, part, checks, total):
            yield chunk

    async def pread_verified(self, key: str, offset: int, length: int, checks: bytes, total: int) -> bytes:
        """The bytes at once."""
        return b"".join(self._pieces(key, ByteRange(offset, length), checks, total))

    async def read_piece(self, key: str, number: int, checks: bytes, total: int) -> bytes:
        """One MiB."""
        return await self.pread_verified(key, number * PIECE, piece_length(number, total), checks, total)

    async def read_into(self, key: str, numbers: range, checks: bytes, total: int, room: memoryview) -> None:
        """Copies them."""
        begin, end = numbers.start * PIECE, min(numbers.stop * PIECE, total)
        room[: end - begin] = b"".join(self._pieces(key, ByteRange(begin, end - begin), checks, total))

    def _pieces(self, key: str, part: ByteRange, checks: bytes | None, total: int) -> Iterator[bytes]:
        _require_key(key)
        end = part.offset + part.length
        for number in pieces_of(part.offset, part.length, total):
            if key not in self._blobs:
                raise BlobMissing("the stored blob is missing")
            content = self._blobs[key][0]
            first, last = number * PIECE, min((number + 1) * PIECE, total)
            if len(content) < last:
                raise Corrupt("the stored blob is shorter than what was stored")
            if checks is not None:
                verify_piece(content[first:last], number, checks)
            yield content[max(first, part.offset) : min(last, end)]

    async def remove(self, key: str) -> None:
        """Removes a blob."""
        _require_key(key)
        self._blobs.pop(key, None)

    def scan(self) -> Iterator[BlobInfo]:
        """Every blob."""
        for key, (content, modified) in list(self._blobs.items()):
            yield BlobInfo(key, len(content), modified)

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """Every journal line."""
        for study, lines in list(self._lines.items()):
            for line in lines:
                yield study, line

    def free_bytes(self) -> int:
        """What is left of `SPACE`."""
        return SPACE - sum(len(content) for content, _ in self._blobs.values())

    @property
    def suspect(self) -> bool:
        """Never: there is no disk."""
        return False


def _require_key(key: str) -> None:
    if parse_key(key) is None:
        raise Unreadable("not a blob key")
