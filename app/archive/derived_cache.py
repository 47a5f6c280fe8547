"""Pictures that were made from stored ones, transcoded or rendered, kept in a folder that all workers share. A key
names the version that it was made from, so nothing kept can be out of date; anything may vanish at any time.

Values are appended to segments, each written by one worker, and a common index of fixed size says where they are: no
file is made for a value, which would cost more than to write it. The checksum of a value covers its key too: what a
power loss or an old entry of the index leads to is not given out. The oldest segment goes first."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from string import hexdigits

import xxhash

from app.blobs.threads import Crew

_ENTRY = struct.Struct("<16sIII4x")
"""Digest of the key, number of the segment, offset and length of the value."""
_WAYS = 4
"""Places in the index that an entry may have: one page of the file holds them all."""
_TYPICAL = 8192
"""Bytes of a small value: so many values as fit can be found."""
_DIGITS = 8
"""Of the name of a segment."""
_SEGMENTS = 32
"""Segments that together take the limit."""
_FILES = 4 * _SEGMENTS
"""Segments that are kept, however small."""
_WAITING = 32 << 20
"""Bytes that may wait to be written; more is not kept."""


class DerivedCache:
    """`limit` is in bytes, 0 keeps nothing; a single value may take an eighth of it."""

    def __init__(self, folder: Path = Path("derived"), limit: int = 0) -> None:
        self._folder = str(folder)
        self.limit = limit
        self._buckets = max(limit // _TYPICAL // _WAYS, 64)
        self._index = -1
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self._writer = Crew(1, "derived-write")
        self._own, self._end, self._out = 0, limit, -1
        """The segment that the writer's thread appends to, where, and its descriptor there."""

    def get(self, key: str) -> bytes | None:
        """What is kept under `key`."""
        if not self.limit:
            return None
        digest = _digest(key)
        value = self._waiting.get(digest)
        if value is not None:
            return value
        try:
            for name, segment, offset, length in _ENTRY.iter_unpack(self._bucket(digest)):
                if name == digest:
                    return self._read(digest, segment, offset, length)
        except OSError:
            pass
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value`; a full or missing disk only means that it is not kept. It is written a little later."""
        if len(value) <= self.limit // 8:
            self._keep(_digest(key), value)

    def close(self) -> None:
        """Writes what waits, and closes the files. It must not be used any more."""
        self._writer.close()
        for handle in (self._index, self._out, *self._open.values()):
            if handle >= 0:
                os.close(handle)
        self._open.clear()
        self._index = self._out = -1

    def _keep(self, digest: bytes, value: bytes) -> None:
        with self._lock:
            if self._waiting_bytes + len(value) > _WAITING:
                return
            self._waiting[digest] = value
            self._waiting_bytes += len(value)
        self._writer.start(lambda: self._write(digest, value))

    # -------------------------------------------------------------------------------------------------------- reading

    def _bucket(self, digest: bytes) -> bytes:
        if self._index < 0:
            os.makedirs(self._folder, exist_ok=True)
            self._index = os.open(f"{self._folder}/index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._index, self._buckets * _WAYS * _ENTRY.size)
        size = _WAYS * _ENTRY.size
        return os.pread(self._index, size, self._place(digest)).ljust(size, b"\0")

    def _place(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") % self._buckets * _WAYS * _ENTRY.size

    def _read(self, digest: bytes, segment: int, offset: int, length: int) -> bytes | None:
        stored = os.pread(self._handle(segment), 8 + length, offset)
        value = stored[8:]
        if stored[:8] != _checksum(digest, value):
            return None
        if self._own > segment + _SEGMENTS // 2:
            self._keep(digest, value)  # still asked for when its segment will go soon
        return value

    def _handle(self, segment: int) -> int:
        """A descriptor of a segment; those of segments that are gone are closed."""
        handle = self._open.get(segment)
        if handle is None:
            there = self._segments()
            for gone in self._open.keys() - there.keys():
                os.close(self._open.pop(gone))
            handle = self._open[segment] = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
        return handle

    def _path(self, segment: int) -> str:
        return f"{self._folder}/{segment:08x}"

    def _segments(self) -> dict[int, int]:
        """Their numbers and lengths, the oldest first."""
        found = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if len(entry.name) == _DIGITS and not set(entry.name) - set(hexdigits):
                    found[int(entry.name, 16)] = entry.stat().st_size
        return dict(sorted(found.items()))

    # -------------------------------------------------------------------------------------------------------- writing

    def _write(self, digest: bytes, value: bytes) -> None:
        """In the writer's thread."""
        try:
            bucket = self._bucket(digest)
            segment, offset = self._append(_checksum(digest, value), value)
            entries = list(_ENTRY.iter_unpack(bucket))
            way = next((at for at, entry in enumerate(entries) if entry[0] == digest), None)
            if way is None:
                way = min(range(_WAYS), key=lambda at: entries[at][1])  # a free one, or that of the oldest segment
            place = self._place(digest) + way * _ENTRY.size
            os.pwrite(self._index, _ENTRY.pack(digest, segment, offset, len(value)), place)
        except OSError:
            self._end = self.limit  # the next value is tried in another segment
        finally:
            with self._lock:
                if self._waiting.get(digest) is value:
                    del self._waiting[digest]
                self._waiting_bytes -= len(value)

    def _append(self, checksum: bytes, value: bytes) -> tuple[int, int]:
        """The segment that the value is in now, and where."""
        if self._end >= self.limit // _SEGMENTS:
            self._begin()
        offset = self._end
        if os.pwritev(self._out, [checksum, value], offset) < len(checksum) + len(value):
            raise OSError("the disk is full")
        self._end += len(checksum) + len(value)
        return self._own, offset

    def _begin(self) -> None:
        """A segment of this worker's own; the oldest ones go when all together are over the limit."""
        there = self._segments()
        room = sum(there.values()) + self.limit // 8 - self.limit
        left = len(there)
        for segment, length in there.items():
            if room <= 0 and left <= _FILES:
                break
            with suppress(FileNotFoundError):
                os.unlink(self._path(segment))
            room, left = room - length, left - 1
        number = max(there, default=0) + 1
        while True:
            try:
                made = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                break
            except FileExistsError:
                number += 1  # another worker was quicker
        if self._out >= 0:
            os.close(self._out)
        self._own, self._end, self._out = number, 0, made


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _checksum(digest: bytes, value: bytes) -> bytes:
    return xxhash.xxh3_64_digest(value, int.from_bytes(digest[8:], "little"))
