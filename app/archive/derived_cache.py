"""Pictures that were made from stored ones, transcoded or rendered, kept in a folder that all workers share. A key
names the version that it was made from, so nothing kept can be out of date; anything may vanish at any time.

A file appears whole, by rename, and holds the checksum of its content: what a power loss left is not given out. What
was not asked for longest goes first once the folder has grown over its limit."""

from __future__ import annotations

import hashlib
import os
import time
from io import FileIO
from pathlib import Path

import xxhash

from app.blobs.threads import Threads

_DIGEST = 8
_TOUCH_SECONDS = 60.0
_PART_OF_LIMIT = 16
"""After this part of the limit was written, the folder is looked through."""
_LEFT = 0.9
"""What is left of the limit after that."""
_STALE_SECONDS = 3600.0


class DerivedCache:
    """`limit` is in bytes, 0 keeps nothing; a single value may take an eighth of it."""

    def __init__(self, folder: Path = Path("derived"), limit: int = 0) -> None:
        self._folder = str(folder)
        self._limit = limit
        self._written = 0
        self._looking = False
        self._threads = Threads(1, "derived-write")

    def get(self, key: str) -> bytes | None:
        """What is kept under `key`."""
        if not self._limit:
            return None
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                content = file.read(status.st_size)
        except OSError:
            return None
        value = content[_DIGEST:]
        if xxhash.xxh3_64_digest(value) != content[:_DIGEST]:
            _remove(path)
            return None
        if time.time() - status.st_mtime > _TOUCH_SECONDS:
            _touch(path)
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Keeps `value`; a full or missing disk only means that it is not kept."""
        if len(value) + _DIGEST > self._limit // 8:
            return
        await self._threads.run(self._write, self._path(key), value)
        self._written += len(value)
        if self._written > self._limit // _PART_OF_LIMIT and not self._looking:
            self._written, self._looking = 0, True
            try:
                await self._threads.run(self.shrink)
            finally:
                self._looking = False

    def _path(self, key: str) -> str:
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        return f"{self._folder}/{name[:2]}/{name[2:]}"

    def _write(self, path: str, value: bytes) -> None:
        fresh = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            with _create(fresh) as file:
                os.writev(file.fileno(), [xxhash.xxh3_64_digest(value), value])
            os.replace(fresh, path)
        except OSError:
            _remove(fresh)

    def shrink(self) -> None:
        """Removes the oldest files while all together are over the limit, and what a killed process left behind."""
        found = []
        for path in Path(self._folder).glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            if path.suffix and time.time() - status.st_mtime > _STALE_SECONDS:
                _remove(path)
            else:
                found.append((status.st_mtime, status.st_blocks * 512, path))
        total = sum(size for _, size, _ in found)
        if total <= self._limit:
            return
        for _, size, path in sorted(found):
            _remove(path)
            total -= size
            if total <= self._limit * _LEFT:
                return


def _create(path: str) -> FileIO:
    try:
        return open(path, "xb", buffering=0)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb", buffering=0)


def _remove(path: str | Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _touch(path: str) -> None:
    try:
        os.utime(path)
    except OSError:
        pass
