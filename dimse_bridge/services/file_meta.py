"""The File Meta Information of what comes by C-STORE (PS3.10 7.1), built before its first byte has come."""

from __future__ import annotations

import struct
from functools import lru_cache

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_ELEMENT = struct.Struct("<HH2sH")
_VERSION = _ELEMENT.pack(2, 1, b"OB", 0) + struct.pack("<I", 2) + b"\0\1"


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, source: str) -> bytes:
    """Preamble, prefix and file meta. `source` is the AE title that sends the data set (0002,0016)."""
    before, after, length = _around(sop_class, transfer_syntax, source)
    instance = _element(0x0003, b"UI", sop_instance)
    group = _ELEMENT.pack(2, 0, b"UL", 4) + struct.pack("<I", length + len(instance))
    return b"".join((bytes(128), b"DICM", group, before, instance, after))


@lru_cache(maxsize=256)
def _around(sop_class: str, transfer_syntax: str, source: str) -> tuple[bytes, bytes, int]:
    """What goes before and after the SOP Instance UID, which alone differs from file to file; and its length."""
    before = _VERSION + _element(0x0002, b"UI", sop_class)
    after = b"".join(
        (
            _element(0x0010, b"UI", transfer_syntax),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", source),
        )
    )
    return before, after, len(before) + len(after)


def _element(element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii", "replace")
    if len(encoded) % 2:
        encoded += b"\0" if vr == b"UI" else b" "
    return _ELEMENT.pack(2, element, vr, len(encoded)) + encoded
