"""Inflation of a deflated data set (PS3.5 A.5) chunk by chunk, with limits before anything is allocated."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from app.dicom.limits import MIB, Limits
from app.errors import LimitExceeded, Unreadable

_STEP = 256 * 1024
TOO_EARLY = "the deflated data set ends too early"


class Inflater:
    """Turns deflated chunks into inflated ones of at most 256 KiB."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fresh = True
        self._taken = 0
        self._given = 0
        self.trailing = 0
        """Bytes after the end of the deflated stream."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The inflated bytes of `chunk`; raises `Unreadable` or `LimitExceeded`."""
        if self._fresh and chunk:
            self._fresh = False
            if chunk[0] == 0x78:
                self._stream = zlib.decompressobj()
        self._taken += len(chunk)
        more = bool(chunk)
        while more and not self._stream.eof:
            try:
                out = self._stream.decompress(chunk, _STEP)
            except zlib.error:
                raise Unreadable("the deflated data set is damaged") from None
            chunk = self._stream.unconsumed_tail
            more = bool(chunk) or len(out) == _STEP
            self._given += len(out)
            self._check()
            yield out
        if self._stream.eof:
            self.trailing = self.trailing + len(self._stream.unused_data or chunk)

    def _check(self) -> None:
        limits = self._limits
        if self._given > limits.inflated:
            raise LimitExceeded("inflated", f"more than {limits.inflated} bytes after inflation")
        if self._given > MIB and self._given > limits.inflate_ratio * self._taken:
            raise LimitExceeded("inflate_ratio", f"inflates to more than {limits.inflate_ratio} times its size")

    @property
    def has_ended(self) -> bool:
        """Whether the end of the deflated stream has come."""
        return self._stream.eof

    def finish(self) -> None:
        """Raises `Unreadable` when the stream has not ended."""
        if not self.has_ended:
            raise Unreadable(TOO_EARLY)
