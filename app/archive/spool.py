"""Bytes of one request that must be seen whole before they can be stored: one nameless file, gone when it is closed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from app.errors import BlobStoreFailed, StorageFull


class Spool:
    """Written at its end, read anywhere. Raises `StorageFull` or `BlobStoreFailed`. Calls block."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._dirty = False
        self.length = 0

    def write(self, chunk: bytes) -> None:
        """Appends."""
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _failure(error) from error
        self._dirty = True
        self.length += len(chunk)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer at the end."""
        try:
            if self._dirty:
                self._file.flush()
                self._dirty = False
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Frees the bytes."""
        try:
            self._file.close()
        except OSError as error:
            raise _failure(error) from error


def _failure(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("no space for the bulk data of the request")
    return BlobStoreFailed("the bulk data of the request could not be kept")
