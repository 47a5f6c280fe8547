"""DICOM files byte by byte, as no library would write them."""

from __future__ import annotations

import struct

from app.dicom.elements import LONG
from app.dicom.header import Header
from app.dicom.limits import DEFAULT, Limits
from app.dicom.part10 import HeaderReader

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, JPEG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
UNDEFINED = 0xFFFFFFFF
CLASS = "1.2.840.10008.5.1.4.1.1.7"


def element(tag: int, vr: str, value: bytes | str = b"", order: str = "<", length: int | None = None) -> bytes:
    """One element with explicit VR; text is padded to even length."""
    value = padded(value)
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (b"\0\0" + struct.pack(f"{order}I", size) if vr in LONG else struct.pack(f"{order}H", size)) + value


def implicit(tag: int, value: bytes | str = b"", length: int | None = None) -> bytes:
    """One element with implicit VR."""
    value = padded(value)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def padded(value: bytes | str) -> bytes:
    """Text as ASCII bytes of even length; bytes as they are."""
    if isinstance(value, bytes):
        return value
    raw = value.encode("latin_1")
    return raw + b" " * (len(raw) % 2)


def item(content: bytes, undefined: bool = False) -> bytes:
    """An item of a sequence, or a fragment."""
    if undefined:
        return implicit(0xFFFEE000, content, UNDEFINED) + implicit(0xFFFEE00D)
    return implicit(0xFFFEE000, content)


def fragments(*values: bytes, table: bytes = b"") -> bytes:
    """Encapsulated pixel data of undefined length."""
    stream = item(table) + b"".join(item(value) for value in values) + implicit(0xFFFEE0DD)
    return element(0x7FE00010, "OB", stream, length=UNDEFINED)


def identified(*more: bytes, order: str = "<") -> bytes:
    """A data set with explicit VR: the identifiers and, sorted among them, `more`."""
    own = [
        element(0x00080016, "UI", CLASS + "\0", order),
        element(0x00080018, "UI", "1.2.3.4\0", order),
        element(0x0020000D, "UI", "1.2\0", order),
        element(0x0020000E, "UI", "1.2.3\0", order),
    ]
    tags = struct.Struct(f"{order}HH").unpack_from
    return b"".join(sorted([*own, *more], key=lambda raw: tags(raw)))


def image(*more: bytes, frames: int = 1, rows: int = 2, columns: int = 3, bits: int = 8) -> bytes:
    """A data set with explicit VR that describes an image."""
    return identified(
        element(0x00280002, "US", struct.pack("<H", 1)),
        element(0x00280008, "IS", str(frames)),
        element(0x00280010, "US", struct.pack("<H", rows)),
        element(0x00280011, "US", struct.pack("<H", columns)),
        element(0x00280100, "US", struct.pack("<H", bits)),
        *more,
    )


def part10(dataset: bytes, syntax: str = EXPLICIT, meta: bytes = b"") -> bytes:
    """A file: preamble, prefix, file meta and `dataset`."""
    uid = syntax + "\0" * (len(syntax) % 2)
    body = element(0x00020010, "UI", uid) + meta
    return b"\0" * 128 + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(body))) + body + dataset


def read(data: bytes, limits: Limits = DEFAULT, portion: int = 0) -> Header:
    """The header of `data`, fed whole or in equal portions."""
    reader = HeaderReader(limits)
    for pos in range(0, len(data), portion or len(data) or 1):
        reader.feed(data[pos : pos + portion] if portion else data)
    return reader.finish()
