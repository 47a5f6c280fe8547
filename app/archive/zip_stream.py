"""A ZIP file made while it is sent (PKWARE APPNOTE 6.3): entries stored, not deflated; Zip64 where a number needs it.

Sizes and CRC follow each entry in a data descriptor, since they are not known before; nothing but the list of entries
is kept in memory."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_DESCRIPTOR = struct.Struct("<4sL2Q")
_EXTRA = struct.Struct("<2H3Q")
_LOCAL_EXTRA = struct.Struct("<2H2Q")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_VERSION = 45
_FLAGS = 0x0808
"""Bit 3: a data descriptor follows; bit 11: names are UTF-8."""
_DATE = 0x0021
"""1 January 1980: an answer made of the same instances is the same bytes."""
_MANY, _LARGE = 0xFFFF, 0xFFFFFFFF


class _Entry(NamedTuple):
    name: bytes
    crc: int
    size: int
    offset: int


class ZipStream:
    """Call `begin`, then `count` for each piece of the entry; `finish` ends the file. What `begin` and `finish` return
    is to be sent, and so is each piece."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._name = b""
        self._crc = self._size = self._start = self._offset = 0

    def begin(self, name: str) -> bytes:
        """Ends the entry before, and begins the one of this name."""
        ended = self._end_entry()
        self._name = name.encode()
        self._crc = self._size = 0
        self._start = self._offset
        extra = _LOCAL_EXTRA.pack(1, 16, 0, 0)
        header = _LOCAL.pack(b"PK\3\4", _VERSION, _FLAGS, 0, 0, _DATE, 0, _LARGE, _LARGE, len(self._name), len(extra))
        head = header + self._name + extra
        self._offset += len(head)
        return ended + head

    def count(self, piece: bytes | memoryview) -> None:
        """Takes the next bytes of the entry into account."""
        self._crc = zlib.crc32(piece, self._crc)
        self._size += len(piece)
        self._offset += len(piece)

    def finish(self) -> bytes:
        """Ends the last entry; the directory and what closes the file."""
        ended = self._end_entry()
        directory = b"".join(map(_central, self._entries))
        place, count = self._offset, len(self._entries)
        end64 = _END64.pack(b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, count, count, len(directory), place)
        locator = _LOCATOR.pack(b"PK\6\7", 0, place + len(directory), 1)
        few = min(count, _MANY)
        end = _END.pack(b"PK\5\6", 0, 0, few, few, min(len(directory), _LARGE), min(place, _LARGE), 0)
        return ended + directory + end64 + locator + end

    def _end_entry(self) -> bytes:
        if not self._name:
            return b""
        self._entries.append(_Entry(self._name, self._crc, self._size, self._start))
        self._name = b""
        descriptor = _DESCRIPTOR.pack(b"PK\7\x08", self._crc, self._size, self._size)
        self._offset += len(descriptor)
        return descriptor


def _central(entry: _Entry) -> bytes:
    large = entry.size >= _LARGE or entry.offset >= _LARGE
    extra = _EXTRA.pack(1, 24, entry.size, entry.size, entry.offset) if large else b""
    size, offset = (_LARGE, _LARGE) if large else (entry.size, entry.offset)
    lengths = (len(entry.name), len(extra), 0, 0, 0)
    head = _CENTRAL.pack(b"PK\1\2", _VERSION, _VERSION, _FLAGS, 0, 0, _DATE, entry.crc, size, size, *lengths, 0, offset)
    return head + entry.name + extra
