"""Data sets to Part 10 files in Explicit VR Little Endian or a transfer syntax that encapsulates pixels (PS3.5 7, A.4;
PS3.10 7). Pure: the file comes as segments, bytes or `Span`s that the caller copies from where the bulk values lie, so
no big value is ever in memory. Text is written as UTF-8 and Specific Character Set says so."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.json_model import TEXT_VRS, DataSet, Element, Span, Value
from app.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from app.dicom.uid import require_uid
from app.errors import LimitExceeded

Segment = bytes | Span

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
PIXEL_DATA = 0x7FE00010
UTF_8 = "ISO_IR 192"

_LONG_VRS = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Explicit VRs with a 32-bit length (PS3.5 Table 7.1-1)."""
_PACKED = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_UNDEFINED = 0xFFFFFFFF
_LARGE = 1 << 16
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITATION = b"\xfe\xff\xdd\xe0\0\0\0\0"


class _Segments:
    """Segments and their length together; neighbouring bytes are joined."""

    __slots__ = ("_bytes", "length", "segments")

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.length = 0
        self._bytes = bytearray()

    def add(self, data: bytes | bytearray) -> None:
        """Appends bytes; many of them as a segment of their own, without a copy."""
        if len(data) >= _LARGE and isinstance(data, bytes):
            self.flush().append(data)
        else:
            self._bytes += data
        self.length += len(data)

    def add_span(self, span: Span) -> None:
        """Appends bytes that lie elsewhere."""
        self.flush()
        self.segments.append(span)
        self.length += span.length

    def extend(self, other: _Segments) -> None:
        """Appends all of `other`."""
        if other.segments:
            self.flush()
            self.segments += other.segments
            self.length += other.length - len(other._bytes)
        self.add(other._bytes)

    def flush(self) -> list[Segment]:
        """All segments so far."""
        if self._bytes:
            self.segments.append(bytes(self._bytes))
            self._bytes.clear()
        return self.segments


def part10(data_set: DataSet, syntax: str) -> list[Segment]:
    """The whole file of `data_set` in transfer syntax `syntax`, which is Explicit VR Little Endian or an encapsulated
    one; Pixel Data must be in the form that it wants. Raises `Unreadable` when SOP Class or Instance UID is missing."""
    sop_class = require_uid(_first_text(data_set, SOP_CLASS_UID), "the SOP Class UID")
    sop_instance = require_uid(_first_text(data_set, SOP_INSTANCE_UID), "the SOP Instance UID")
    out = _Segments()
    out.add(bytes(128) + b"DICM" + _file_meta(sop_class, sop_instance, syntax))
    out.extend(_data_set(data_set, transfer_syntax(syntax)))
    return out.flush()


def _first_text(data_set: DataSet, tag: int) -> str:
    element = data_set.get(tag)
    return str(element.values[0] or "") if element and element.values else ""


def _file_meta(sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """File Meta Information (PS3.10 7.1) with its group length."""
    rest = b"".join(
        (
            _header(0x00020001, "OB", 2) + b"\0\1",
            *(
                _header(tag, vr, len(value)) + value
                for tag, vr, value in (
                    (0x00020002, "UI", _pad(sop_class.encode(), "UI")),
                    (0x00020003, "UI", _pad(sop_instance.encode(), "UI")),
                    (0x00020010, "UI", _pad(syntax.encode(), "UI")),
                    (0x00020012, "UI", _pad(IMPLEMENTATION_CLASS_UID.encode(), "UI")),
                    (0x00020013, "SH", _pad(IMPLEMENTATION_VERSION_NAME.encode(), "SH")),
                )
            ),
        )
    )
    return _header(0x00020000, "UL", 4) + struct.pack("<I", len(rest)) + rest


def _data_set(data_set: DataSet, syntax: TransferSyntax | None) -> _Segments:
    """The elements in the order of their tags. `syntax` is None in items, which have no encapsulated pixels."""
    out = _Segments()
    if syntax is not None:
        data_set = {**data_set, SPECIFIC_CHARACTER_SET: Element("CS", [UTF_8])}
    for tag in sorted(data_set):
        element = data_set[tag]
        if tag == PIXEL_DATA and syntax is not None and syntax.encapsulated and element.bulk is not None:
            _encapsulated(out, element.bulk, with_offsets=not syntax.video)
        elif element.vr == "SQ":
            _sequence(out, tag, element.values)
        elif tag != SPECIFIC_CHARACTER_SET or syntax is not None:
            _element(out, tag, element)
    return out


def _sequence(out: _Segments, tag: int, items: list[Value]) -> None:
    content = _Segments()
    for item in items:
        encoded = _data_set(item, None) if isinstance(item, dict) else _Segments()
        content.add(_ITEM + _length(tag, encoded.length))
        content.extend(encoded)
    out.add(_header(tag, "SQ", content.length))
    out.extend(content)


def _element(out: _Segments, tag: int, element: Element) -> None:
    if element.bulk is None:
        value = _pad(_value(element), element.vr)
        out.add(_header(tag, element.vr, len(value)))
        out.add(value)
        return
    length = sum(span.length for span in element.bulk)
    out.add(_header(tag, element.vr, length + length % 2))
    for span in element.bulk:
        out.add_span(span)
    if length % 2:
        out.add(_padding(element.vr))


def _value(element: Element) -> bytes:
    if element.binary is not None:
        return element.binary
    vr, values = element.vr, element.values
    if vr in TEXT_VRS:
        return "\\".join("" if value is None else str(value) for value in values).encode("utf-8")
    if vr == "AT":
        return b"".join(struct.pack("<HH", *divmod(tag, 0x10000)) for tag in values if isinstance(tag, int))
    return struct.pack(f"<{len(values)}{_PACKED[vr]}", *values) if values else b""


def _encapsulated(out: _Segments, frames: Sequence[Span], *, with_offsets: bool) -> None:
    """Pixel Data of undefined length: offset table, a fragment for each frame (PS3.5 A.4). Offsets that need more than
    32 bits go to the Extended Offset Table; the Basic one is then empty (PS3.3 C.7.6.3.1.8), as it is for video."""
    offsets = [0, *accumulate(8 + frame.length + frame.length % 2 for frame in frames[:-1])]
    table = b""
    if with_offsets and offsets[-1] < _UNDEFINED:
        table = struct.pack(f"<{len(offsets)}I", *offsets)
    elif with_offsets:
        out.add(_header(EXTENDED_OFFSET_TABLE, "OV", 8 * len(offsets)) + struct.pack(f"<{len(offsets)}Q", *offsets))
        lengths = struct.pack(f"<{len(frames)}Q", *(frame.length for frame in frames))
        out.add(_header(EXTENDED_OFFSET_TABLE_LENGTHS, "OV", len(lengths)) + lengths)
    out.add(_header(PIXEL_DATA, "OB", _UNDEFINED) + _ITEM + _length(PIXEL_DATA, len(table)) + table)
    for frame in frames:
        out.add(_ITEM + _length(PIXEL_DATA, frame.length + frame.length % 2))
        out.add_span(frame)
        if frame.length % 2:
            out.add(b"\0")
    out.add(_SEQUENCE_DELIMITATION)


def _header(tag: int, vr: str, length: int) -> bytes:
    """Tag, VR and length. A value too long for the length field of its VR is written as UN (PS3.5 6.2.2)."""
    group, number = divmod(tag, 0x10000)
    if vr not in _LONG_VRS:
        if length <= 0xFFFF:
            return struct.pack("<HH2sH", group, number, vr.encode(), length)
        vr = "UN"
    if length != _UNDEFINED:
        _length(tag, length)
    return struct.pack("<HH2sHI", group, number, vr.encode(), 0, length)


def _length(tag: int, length: int) -> bytes:
    if length >= _UNDEFINED:
        raise LimitExceeded("part", f"the value of {tag:08X} is too long for one element or fragment of DICOM")
    return struct.pack("<I", length)


def _pad(value: bytes, vr: str) -> bytes:
    return value + _padding(vr) if len(value) % 2 else value


def _padding(vr: str) -> bytes:
    return b" " if vr in TEXT_VRS and vr != "UI" else b"\0"
