"""Checksums taken while bytes pass: xxh3-64 of each MiB for every later read, SHA-256 of a file's halves for custody.

The halves are the preamble with the file meta, and the data set (PS3.10 7.1): the digest of the data set is the
identity of the content, whatever the file meta says. Reads compare before a byte is handed on."""

from __future__ import annotations

import hashlib
import struct

from xxhash import xxh3_64, xxh3_64_intdigest

from app.errors import Corrupt

PIECE = 1 << 20
"""Bytes under one fast checksum."""
CHECK = struct.Struct("<Q")
"""One fast checksum as the catalog keeps it."""


class Checks:
    """Sums of one file, fed in order. Set `dataset_offset` as soon as it is known, before the update or after it: bytes
    that came earlier wait, so it must become known within the first few chunks."""

    __slots__ = ("_checks", "_dataset", "_meta", "_piece", "_room", "_waiting", "dataset_offset", "length")

    def __init__(self) -> None:
        self.dataset_offset: int | None = None
        self.length = 0
        self._checks = bytearray()
        self._piece = xxh3_64()
        self._room = PIECE
        self._meta = hashlib.sha256()
        self._dataset = hashlib.sha256()
        self._waiting: list[tuple[int, bytes]] = []

    def update(self, chunk: bytes) -> None:
        """Takes the next bytes of the file."""
        size = len(chunk)
        if size < self._room:
            self._piece.update(chunk)
            self._room -= size
        else:
            self._cut(chunk)
        if self.dataset_offset is None or self._waiting:
            self._waiting.append((self.length, chunk))
            self._settle()
        elif self.length >= self.dataset_offset:
            self._dataset.update(chunk)
        else:
            self._split(self.length, chunk, self.dataset_offset)
        self.length += size

    def finish(self) -> tuple[tuple[bytes, bytes], bytes]:
        """SHA-256 of the data set and of what precedes it, and one `CHECK` for each `PIECE` (the last may be short). A
        file whose data set was never found counts as file meta altogether."""
        if self.dataset_offset is None:
            self.dataset_offset = self.length
        self._settle()
        checks = bytes(self._checks)
        if self._room < PIECE:
            checks += CHECK.pack(self._piece.intdigest())
        return (self._dataset.digest(), self._meta.digest()), checks

    def _cut(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while len(view) >= self._room:
            self._piece.update(view[: self._room])
            view = view[self._room :]
            self._checks += CHECK.pack(self._piece.intdigest())
            self._piece = xxh3_64()
            self._room = PIECE
        self._piece.update(view)
        self._room -= len(view)

    def _settle(self) -> None:
        if self.dataset_offset is None:
            return
        for start, chunk in self._waiting:
            self._split(start, chunk, self.dataset_offset)
        self._waiting.clear()

    def _split(self, start: int, chunk: bytes, offset: int) -> None:
        cut = min(max(offset - start, 0), len(chunk))
        view = memoryview(chunk)
        self._meta.update(view[:cut])
        self._dataset.update(view[cut:])


def pieces_of(offset: int, length: int, total: int) -> range:
    """Numbers of the pieces that hold `length` bytes from `offset` of a file of `total` bytes; raises `Corrupt` when
    the file cannot hold them."""
    if offset < 0 or length < 0 or offset + length > total:
        raise Corrupt("a read goes beyond the end of the stored bytes")
    return range(offset // PIECE, (offset + length - 1) // PIECE + 1 if length else offset // PIECE)


def piece_length(number: int, total: int) -> int:
    """Bytes in piece `number` of a file of `total` bytes."""
    return min(PIECE, total - number * PIECE)


def verify_piece(piece: bytes | memoryview, number: int, checks: bytes) -> None:
    """Raises `Corrupt` unless `piece` is what was stored as piece `number`."""
    place = number * CHECK.size
    if checks[place : place + CHECK.size] != CHECK.pack(xxh3_64_intdigest(piece)):
        raise Corrupt("the stored bytes do not match their checksum")
