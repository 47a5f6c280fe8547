"""A stored file in another native transfer syntax, converted while it passes (PS3.18 8.7.3.4; PS3.5 7, A.1 to A.5,
PS3.10 7.1).

What needs a codec is not converted. Memory does not depend on the size of the file: the file meta is gathered and
written anew with the transfer syntax that follows, the data set is handed through `Reencoder` or inflated."""

from __future__ import annotations

import struct

from app.dicom.convert_elements import Reencoder
from app.dicom.elements import LONG, SHORT
from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.inflate import Inflater
from app.dicom.levels import EXPLICIT_BE as BIG_ENDIAN
from app.dicom.levels import EXPLICIT_LE as EXPLICIT
from app.dicom.levels import IMPLICIT_LE as IMPLICIT
from app.dicom.levels import Encoding
from app.dicom.limits import DEFAULT, Limits
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import EXPLICIT_LE, is_native, transfer_syntax
from app.errors import Unreadable

_PREAMBLE = 128
_PREFIX = b"DICM"
_GROUP_LENGTH, _SOP_INSTANCE, _SYNTAX = 0x0000, 0x0003, 0x0010
_ELEMENT = struct.Struct("<HH2sH")
_LONG = frozenset(vr.encode() for vr in LONG)
_VRS = frozenset(vr.encode() for vr in SHORT | LONG)


def encoding_of(syntax: str) -> Encoding:
    """How the elements of a data set in transfer syntax `syntax` are encoded."""
    row = transfer_syntax(syntax)
    return BIG_ENDIAN if row.big_endian else EXPLICIT if row.explicit else IMPLICIT


class Conversion:
    """One file of transfer syntax `syntax`, whose data set begins at `dataset_offset`, in `to`; the UIDs are for the
    file meta of a file that has none. Feed it the bytes in order, then call `finish`. Raises `Refused` for what it
    cannot convert."""

    def __init__(
        self,
        syntax: str,
        dataset_offset: int,
        sop_class: str,
        sop_instance: str,
        limits: Limits = DEFAULT,
        *,
        to: str = EXPLICIT_LE,
    ) -> None:
        if not is_native(syntax):
            raise Unreadable("this transfer syntax is not converted without a codec")
        row = transfer_syntax(syntax)
        self._meta_left = dataset_offset
        self._meta: list[bytes] = []
        self._uids = sop_class, sop_instance
        self._opened = False
        self._inflater = Inflater(limits) if row.deflated else None
        self._reencoder: Reencoder | None = None
        self._to = to
        if encoding_of(syntax) != encoding_of(to):
            self._reencoder = Reencoder(encoding_of(syntax), limits, target=encoding_of(to))

    def feed(self, piece: Piece) -> list[Piece]:
        """What `piece` becomes."""
        out: list[Piece] = []
        if not self._opened:
            take = min(self._meta_left, len(piece))
            self._meta.append(bytes(piece[:take]))
            self._meta_left -= take
            piece = memoryview(piece)[take:]
            if self._meta_left:
                return out
            self._opened = True
            out.append(rewrite_meta(b"".join(self._meta), *self._uids, self._to))
        plain: list[Piece] = [piece] if self._inflater is None else list(self._inflater.feed(bytes(piece)))
        for one in plain:
            out += [one] if self._reencoder is None else self._reencoder.feed(one)
        return [one for one in out if one]

    def finish(self) -> list[Piece]:
        """What is left when the file has ended."""
        if not self._opened:
            raise Unreadable("the file ends before its data set begins")
        if self._inflater is not None:
            self._inflater.finish()
        return self._reencoder.finish() if self._reencoder is not None else []


def rewrite_meta(
    meta: bytes, sop_class: str, sop_instance: str, syntax: str = EXPLICIT_LE, *, renamed: bool = False
) -> bytes:
    """Preamble and file meta `meta`, with `syntax` as the transfer syntax and the right group length; made anew when
    there is none. `renamed`: the file becomes that of `sop_instance`."""
    begin = meta.find(_PREFIX, 0, _PREAMBLE + len(_PREFIX))
    preamble = meta[:_PREAMBLE] if begin == _PREAMBLE else bytes(_PREAMBLE)
    pos = begin + len(_PREFIX) if begin in (0, _PREAMBLE) else 0
    elements = dict(_elements(meta, pos))
    elements.pop(_GROUP_LENGTH, None)
    if not elements:
        elements = {
            0x0001: (b"OB", b"\0\1"),
            0x0002: (b"UI", sop_class.encode()),
            0x0003: (b"UI", sop_instance.encode()),
            0x0012: (b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            0x0013: (b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
        }
    elements[_SYNTAX] = (b"UI", syntax.encode())
    if renamed:
        elements[_SOP_INSTANCE] = (b"UI", sop_instance.encode())
    rest = b"".join(_element(element, *elements[element]) for element in sorted(elements))
    return preamble + _PREFIX + _element(_GROUP_LENGTH, b"UL", struct.pack("<I", len(rest))) + rest


def _elements(meta: bytes, pos: int) -> list[tuple[int, tuple[bytes, bytes]]]:
    """(element, (VR, value)) of each element of group 0002 from `pos` on, read as `app.dicom.filestart` does."""
    found = []
    while pos + 8 <= len(meta):
        group, element, vr, length = _ELEMENT.unpack_from(meta, pos)
        header = 12 if vr in _LONG else 8
        if header == 12 or vr not in _VRS:
            length = int.from_bytes(meta[pos + header - 4 : pos + header], "little")
        if group != 2:
            break
        value = meta[pos + header : pos + header + length]
        found.append((element, (vr if vr in _VRS else b"UN", value)))
        pos += header + length
    return found


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr == b"SH" else b"\0"
    if vr in _LONG:
        return _ELEMENT.pack(2, element, vr, 0) + struct.pack("<I", len(value)) + value
    return _ELEMENT.pack(2, element, vr, len(value)) + value
