"""How a file begins: preamble, prefix and file meta (PS3.10 7.1), or a bare data set; and which encoding follows."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from app.dicom.dictionary import standard_vr
from app.dicom.elements import LONG, SHORT
from app.dicom.levels import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, Encoding
from app.dicom.transfer_syntaxes import DEFLATED_LE, transfer_syntax
from app.dicom.transfer_syntaxes import EXPLICIT_BE as EXPLICIT_BE_UID
from app.dicom.transfer_syntaxes import EXPLICIT_LE as EXPLICIT_LE_UID
from app.dicom.transfer_syntaxes import IMPLICIT_LE as IMPLICIT_LE_UID
from app.dicom.uid import is_uid, strip_padding
from app.errors import LimitExceeded

PREAMBLE = 128
SNIFF = 8
"""Bytes of the data set that tell its encoding."""
_LONGEST_META = 1024 * 1024
_LONGEST_FIRST = 0x00FFFFFF
_FIRST_GROUPS = (b"\0\0", b"\x08\0", b"\0\x08")
_UID_OF = {EXPLICIT_LE: EXPLICIT_LE_UID, EXPLICIT_BE: EXPLICIT_BE_UID, IMPLICIT_LE: IMPLICIT_LE_UID}
_VRS = frozenset(vr.encode() for vr in SHORT | LONG)
_LONG = frozenset(vr.encode() for vr in LONG)
_MEDIA_CLASS, _MEDIA_INSTANCE, _TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
_GROUP_LENGTH = 0x00020000
_TAKEN = frozenset({0x0000, 0x0002, 0x0003, 0x0010})
_ELEMENT = struct.Struct("<HH2sH").unpack_from


@dataclass
class FileStart:
    """What the file meta says, and what is wrong with it."""

    transfer_syntax: str = ""
    sop_class: str = ""
    sop_instance: str = ""
    faults: list[tuple[str, str]] = field(default_factory=list)


def meta_at(data: bytes) -> int | None:
    """Where the file meta begins in the first 132 bytes of a file; None for a bare data set."""
    if data[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return PREAMBLE + 4
    if data[:4] == b"DICM":
        return 4
    return 0 if data[:2] == b"\x02\0" and data[4:6] in _VRS else None


class MetaReader:
    """The file meta as it comes by. Elements are taken as long as their group is 0002; Group Length is only believed
    where nothing else tells, before a deflated data set."""

    def __init__(self, pos: int) -> None:
        self.start = FileStart()
        self.pos = self._begin = pos
        self._end_by_length = -1

    def read(self, data: bytes) -> int:
        """Go on in `data`, the file from its first byte: how many bytes of it must be there to go on, or 0 at the end
        of the file meta, which is then at `pos`."""
        while True:
            pos = self.pos
            if pos + 8 > len(data):
                return pos + 8
            group, element, letters, short = _ELEMENT(data, pos)
            length: int = short
            if group != 2 or (pos == self._end_by_length and self.start.transfer_syntax == DEFLATED_LE):
                if self._end_by_length not in (-1, pos):
                    self.start.faults.append((f"{_GROUP_LENGTH:08X}", "File Meta Information Group Length is wrong"))
                return 0
            header = 12 if letters in _LONG else 8
            if pos + header > len(data):
                return pos + header
            if header == 12 or letters not in _VRS:
                length = int.from_bytes(data[pos + header - 4 : pos + header], "little")
            end = pos + header + length
            if end - self._begin > _LONGEST_META:
                raise LimitExceeded("header", "the file meta is too long")
            if end > len(data):
                return end
            if element in _TAKEN:
                self._take(0x00020000 | element, data[pos + header : end], end)
            self.pos = end

    def _take(self, tag: int, value: bytes, end: int) -> None:
        """An element that matters."""
        if tag == _GROUP_LENGTH:
            self._end_by_length = end + int.from_bytes(value, "little")
            return
        start = self.start
        uid = strip_padding(value.decode("latin_1"))
        if not is_uid(uid):
            start.faults.append((f"{tag:08X}", "not a UID"))
        elif tag == _TRANSFER_SYNTAX:
            start.transfer_syntax = uid
        elif tag == _MEDIA_CLASS:
            start.sop_class = uid
        else:
            start.sop_instance = uid


def sniff(head: bytes) -> Encoding | None:
    """The encoding of a data set that begins with these bytes; None when they do not look like one."""
    if len(head) < SNIFF:
        return None
    if head[4:6] in _VRS:
        group = struct.unpack_from("<H", head)[0]
        return EXPLICIT_BE if group >= 0x0100 and group & 0xFF == 0 else EXPLICIT_LE
    if struct.unpack_from("<I", head, 4)[0] <= _LONGEST_FIRST:
        return IMPLICIT_LE
    return None


def begins_data_set(head: bytes) -> bool:
    """Whether a file without file meta may begin like this: with group 0000 or 0008, or with another standard tag that
    has a VR, or a length, of its own."""
    encoding = sniff(head)
    if encoding is None or head[:2] in _FIRST_GROUPS:
        return encoding is not None
    group, element = struct.unpack_from(f"{'>' if encoding is EXPLICIT_BE else '<'}HH", head)
    vr = standard_vr(group << 16 | element)
    if vr is None or group % 2 or not 8 <= group <= 0x7FE0:
        return False
    if encoding is not IMPLICIT_LE:
        return head[4:6].decode() in (*vr.split(" or "), "UN")
    length = struct.unpack_from("<I", head, 4)[0]
    return bool(length == 4 if element == 0 else length % 2 == 0)


def settle(start: FileStart, head: bytes) -> tuple[Encoding, bool]:
    """The encoding of the data set that begins with `head`, and whether it is deflated. What the bytes say wins over
    the file meta; `start` then gets the transfer syntax that the bytes have."""
    declared = start.transfer_syntax
    row = transfer_syntax(declared)
    found = sniff(head)
    if not declared:
        found = found or IMPLICIT_LE
        start.transfer_syntax = _UID_OF[found]
        start.faults.append(("00020010", "no transfer syntax, taken from the encoding of the data set"))
        return found, False
    if row.deflated:
        if found is EXPLICIT_LE and head[:2] == b"\x08\0":
            start.transfer_syntax = EXPLICIT_LE_UID
            start.faults.append(("00020010", "the data set is not deflated"))
            return EXPLICIT_LE, False
        return EXPLICIT_LE, True
    expected = IMPLICIT_LE if not row.explicit else EXPLICIT_BE if row.big_endian else EXPLICIT_LE
    if found is None or found == expected:
        return expected, False
    start.faults.append(("00020010", "the data set has another encoding than the transfer syntax says"))
    if not row.encapsulated:
        start.transfer_syntax = _UID_OF[found]
    return found, False
