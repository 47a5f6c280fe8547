"""Of which SOP class and instance a data set is: (0008,0016) and (0008,0018), read from its first bytes in any transfer
syntax. It looks no further than it must and never refuses: what cannot be told here, the archive's receipt tells."""

from __future__ import annotations

import struct
import zlib

from app.dicom.elements import LONG
from app.dicom.transfer_syntaxes import transfer_syntax

HEAD = 4096
"""Bytes of a data set that are enough, but for unusual ones."""
_CLASS, _INSTANCE = 0x00080016, 0x00080018
_LONG = frozenset(vr.encode() for vr in LONG)
_SHORT_HEADERS = {order: struct.Struct(f"{order}HH2sH").unpack_from for order in "<>"}
_IMPLICIT_HEADER = struct.Struct("<HHI").unpack_from
_WHOLE = {order: struct.Struct(f"{order}I").unpack_from for order in "<>"}


def identity_of(head: bytes, syntax: str) -> tuple[str, str]:
    """SOP Class and SOP Instance UID of the data set of transfer syntax `syntax` that begins with `head`; an empty
    string for one that is not found."""
    row = transfer_syntax(syntax)
    if row.deflated:
        head = _inflated(head)
    found = _explicit(head, ">" if row.big_endian else "<") if row.explicit else _implicit(head)
    return _text(found.get(_CLASS, b"")), _text(found.get(_INSTANCE, b""))


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEAD)
    except zlib.error:
        return b""


def _implicit(head: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    pos, end = 0, len(head)
    while pos + 8 <= end:
        group, element, length = _IMPLICIT_HEADER(head, pos)
        tag = group << 16 | element
        pos += 8
        if tag > _INSTANCE or length > end - pos:
            break
        if tag >= _CLASS:
            found[tag] = head[pos : pos + length]
        pos += length
    return found


def _explicit(head: bytes, order: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    unpack, whole = _SHORT_HEADERS[order], _WHOLE[order]
    pos, end = 0, len(head)
    while pos + 12 <= end:
        group, element, vr, length = unpack(head, pos)
        tag = group << 16 | element
        pos += 8
        if vr in _LONG:
            length = whole(head, pos)[0]
            pos += 4
        if tag > _INSTANCE or length > end - pos:
            break
        if tag >= _CLASS:
            found[tag] = head[pos : pos + length]
        pos += length
    return found
