"""Lookup tables of a data set (PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.9.2) → the form that recipes hold: first value mapped,
bits of an entry, entries as 16-bit little endian words in base64."""

from __future__ import annotations

import base64
import binascii
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.errors import Undecodable

Members = Mapping[str, Any]
_ENTRIES = 1 << 16
LONGEST = 4 * _ENTRIES
"""Bytes of table data that are read at most."""


def lookup_table(item: Members, signed: bool, bulk: Mapping[str, bytes]) -> dict[str, object] | None:
    """The table of an item of a Modality or VOI LUT Sequence; `signed`: values before it may be negative. None when it
    has no usable one."""
    described = _descriptor(item.get("00283002"), signed)
    data = _bytes(item.get("00283006"), bulk)
    if described is None or not data:
        return None
    count, first, bits = described
    return _table(first, bits, _words(data, count, bits)[:count])


def palette(members: Members, signed: bool, bulk: Mapping[str, bytes]) -> list[dict[str, object]]:
    """The red, green and blue tables of a PALETTE COLOR image; raises `Undecodable` when one is missing."""
    tables = []
    for number in (1, 2, 3):
        described = _descriptor(members.get(f"0028110{number}"), signed)
        plain = _bytes(members.get(f"0028120{number}"), bulk)
        segments = _bytes(members.get(f"0028122{number}"), bulk)
        if described is None or not (plain or segments):
            raise Undecodable("the image has no usable palette")
        count, first, bits = described
        words = _words(plain, count, bits)[:count] if plain else _expanded(segments, count)
        if not words:
            raise Undecodable("the image has no usable palette")
        tables.append(_table(first, bits, words))
    return tables


def _descriptor(element: Members | None, signed: bool) -> tuple[int, int, int] | None:
    """Number of entries, first value mapped, bits of an entry."""
    values: Sequence[Any] = (element or {}).get("Value") or ()
    if len(values) < 3 or not all(isinstance(value, int) for value in values[:3]):
        return None
    count, first, bits = values[0] & 0xFFFF or _ENTRIES, values[1], values[2]
    if not 1 <= bits <= 16:
        return None
    if first >= 1 << 15 and signed:
        first -= 1 << 16
    return count, first, bits


def _bytes(element: Members | None, bulk: Mapping[str, bytes]) -> bytes:
    """The data of a table as little endian octets, wherever the JSON has them."""
    if not element:
        return b""
    if "InlineBinary" in element:
        try:
            return base64.b64decode(element["InlineBinary"])
        except (binascii.Error, ValueError):
            return b""
    if "BulkDataURI" in element:
        return bulk.get(str(element["BulkDataURI"]), b"")
    values = element.get("Value") or []
    return struct.pack(f"<{len(values)}H", *(value & 0xFFFF if isinstance(value, int) else 0 for value in values))


def _words(data: bytes, count: int, bits: int) -> Sequence[int]:
    """The entries; those of 8 bits may stand one in each octet."""
    if bits <= 8 and len(data) < 2 * count:
        return data
    return struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])


def _table(first: int, bits: int, words: Sequence[int]) -> dict[str, object]:
    packed = struct.pack(f"<{len(words)}H", *words)
    return {"first": first, "bits": bits, "entries": base64.b64encode(packed).decode()}


def _expanded(data: bytes, count: int) -> Sequence[int]:
    """A segmented table (PS3.3 C.7.9.2); raises `Undecodable` when a segment makes no sense."""
    words = struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])
    entries = array("H")
    starts: list[int] = []
    at = 0
    while at + 1 < len(words) and len(entries) < count:
        starts.append(at)
        kind, length = words[at], words[at + 1]
        if kind == 2:
            for start in _indirect(words, at, starts, length):
                _segment(words, start, entries)
            at += 4
        else:
            at = _segment(words, at, entries)
    if len(entries) < count:
        raise Undecodable("a segmented palette ends before its last entry")
    return entries[:count]


def _indirect(words: Sequence[int], at: int, starts: Sequence[int], length: int) -> Iterator[int]:
    """Where the segments begin that an indirect one repeats."""
    if at + 3 >= len(words):
        raise Undecodable("a segment of the palette is cut short")
    offset = words[at + 2] | words[at + 3] << 16
    begin = offset // 2 if offset // 2 in starts else offset
    if begin not in starts:
        raise Undecodable("a segment of the palette repeats what is no segment")
    known = starts[starts.index(begin) :][:length]
    if any(words[start] == 2 for start in known) or len(known) < length:
        raise Undecodable("a segment of the palette repeats itself")
    return iter(known)


def _segment(words: Sequence[int], at: int, entries: array[int]) -> int:
    """Adds a discrete (0) or linear (1) segment; where the next one begins."""
    kind, length = words[at], words[at + 1]
    if len(entries) + length > _ENTRIES:
        raise Undecodable("a segmented palette has too many entries")
    if kind == 0:
        entries.extend(words[at + 2 : at + 2 + length])
        return at + 2 + length
    if kind != 1 or not entries or at + 2 >= len(words):
        raise Undecodable("a segment of the palette has no known kind")
    last, end = entries[-1], words[at + 2]
    entries.extend(last + (end - last) * step // length for step in range(1, length + 1))
    return at + 3
