"""Data sets of one native encoding, rewritten in another while they pass (PS3.5 7, A.1 to A.3).

Sequences and items are written with undefined length, so that nothing has to be known before it came; group lengths,
which would be wrong, are left out (PS3.5 7.2). A value too long for its VR's 16-bit length is written as UN (PS3.18
8.7.3.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.dicom.dictionary import (
    LUT_DESCRIPTOR,
    PIXEL_REPRESENTATION,
    SIGNED_OR_NOT,
    WAVEFORM_BITS_ALLOCATED,
    private_vr,
    standard_vr,
)
from app.dicom.elements import LONG, SHORT
from app.dicom.frames import PIXEL_TAGS
from app.dicom.levels import ENDLESS, EXPLICIT_LE, IMPLICIT_LE, Encoding
from app.dicom.limits import DEFAULT, Limits
from app.dicom.octets import Piece, Swapper, swap_words
from app.errors import LimitExceeded, Unreadable

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LITTLE_ITEM = b"\xfe\xff\x00\xe0"
_SHORT_HEADER = {order: struct.Struct(f"{order}HH2sH").pack for order in "<>"}
_LONG_HEADER = {order: struct.Struct(f"{order}HH2sHI").pack for order in "<>"}
_NO_VR_HEADER = {order: struct.Struct(f"{order}HHI").pack for order in "<>"}
_BEGIN_ITEM = {order: pack(0xFFFE, 0xE000, _UNDEFINED) for order, pack in _NO_VR_HEADER.items()}
_END_ITEM = {order: pack(0xFFFE, 0xE00D, 0) for order, pack in _NO_VR_HEADER.items()}
_END_SEQUENCE = {order: pack(0xFFFE, 0xE0DD, 0) for order, pack in _NO_VR_HEADER.items()}
_SMALL = 4096
"""Values up to this length are taken at once."""
_LARGE = 64 * 1024
"""Values from this length on are handed on without being joined to others."""
_WORDS = {"AT": 2, "US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
_WORDS |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
_NUMBERS = frozenset({PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED, LUT_DESCRIPTOR})
_HEADERS = {order: struct.Struct(f"{order}HHI").unpack_from for order in "<>"}
_HALVES = {order: struct.Struct(f"{order}H").unpack_from for order in "<>"}
_WHOLES = {order: struct.Struct(f"{order}I").unpack_from for order in "<>"}


Edits = Mapping[int, tuple[str, bytes] | None]
"""Elements of one level that are no sequences: tag → VR and value of even length, None to leave the element out. Only
what they replace may be encapsulated."""


@dataclass(slots=True)
class _Level:
    """A data set, item or sequence under way: from `encoding` to `target`. `end` is absolute; `known` are values that
    other VRs depend on. `path` and, of a sequence, the number of `items` are known when items are edited; `due` are
    the tags of `edits` still to come."""

    end: int
    encoding: Encoding
    target: Encoding
    is_sequence: bool = False
    path: tuple[int, ...] = ()
    items: int = 0
    known: dict[int, int] = field(default_factory=dict)
    creators: dict[int, str] = field(default_factory=dict)
    edits: Edits = field(default_factory=dict)
    due: list[int] = field(default_factory=list)


class Reencoder:
    """Takes one data set in any portions. `published_vrs`: private attributes without a VR get the one that is known
    for them; otherwise they become UN, and sequences among them stay in Implicit VR Little Endian (PS3.5 6.2.2).
    `edits` replace, add or remove elements of the data set, `item_edits` those of items of its sequences, by the path
    to the item: tag of a sequence, number of its item from 1, and so on down. Their values are in the byte order of
    `target`."""

    def __init__(
        self,
        encoding: Encoding,
        limits: Limits = DEFAULT,
        *,
        target: Encoding = EXPLICIT_LE,
        published_vrs: bool = True,
        edits: Edits | None = None,
        item_edits: Mapping[tuple[int, ...], Edits] | None = None,
    ) -> None:
        self._levels = [_Level(ENDLESS, encoding, target, edits=edits or {}, due=sorted(edits or {}))]
        self._item_edits = item_edits or {}
        self._skips_fragments = False
        self._limits = limits
        self._published_vrs = published_vrs
        self._rest = b""
        self._at = 0
        self._left = 0
        self._drop = False
        self._swapper = Swapper(1)
        self._joined = bytearray()
        self._out: list[Piece] = []

    def feed(self, piece: Piece) -> list[Piece]:
        """What has become complete with these bytes."""
        data = memoryview(self._rest + bytes(piece) if self._rest else piece)
        pos = 0
        while True:
            if self._left:
                pos = self._pass_value(data, pos)
                if self._left:
                    break
            after = self._next(data, pos)
            if after < 0:
                break
            self._at += after - pos
            pos = after
        self._rest = bytes(data[pos:])
        return self._taken()

    def finish(self) -> list[Piece]:
        """The delimiters that are still due; raises `Unreadable` when the data set is not complete."""
        if self._left or self._rest.strip(b"\0"):
            raise Unreadable("the data set ends inside an element")
        self._close_ended()
        if len(self._levels) > 1:
            raise Unreadable("the data set ends inside a sequence")
        self._edit_up_to(ENDLESS)
        return self._taken()

    def _taken(self) -> list[Piece]:
        self._flush()
        out, self._out = self._out, []
        return out

    def _flush(self) -> None:
        if self._joined:
            self._out.append(bytes(self._joined))
            self._joined.clear()

    # ----------------------------------------------------------------- values

    def _pass_value(self, data: memoryview, pos: int) -> int:
        """The rest of a long value, as far as it is there."""
        part = data[pos : pos + self._left]
        self._left -= len(part)
        self._at += len(part)
        if not self._drop:
            self._emit(self._swapper.feed(part))
            if not self._left:
                self._emit(self._swapper.finish())
        return pos + len(part)

    def _emit(self, part: Piece) -> None:
        if len(part) >= _LARGE:
            self._flush()
            self._out.append(part)
        else:
            self._joined += part

    # --------------------------------------------------------------- elements

    def _next(self, data: memoryview, pos: int) -> int:
        """Takes what stands at `pos`; where the next thing stands, or -1 when more bytes are needed."""
        if self._skips_fragments:
            return self._skip_fragment(data, pos)
        self._close_ended()
        level = self._levels[-1]
        if len(data) - pos < 8:
            return -1
        order = level.encoding.order
        if level.is_sequence and order == ">" and data[pos : pos + 4] == _LITTLE_ITEM:
            level.encoding = IMPLICIT_LE
            order = "<"
        group, element, length = _HEADERS[order](data, pos)
        tag = group << 16 | element
        if group == 0xFFFE:
            return self._delimiter(data, pos, tag, length)
        if level.is_sequence:
            raise Unreadable("a sequence holds something that is no item")
        if not level.encoding.explicit:
            return self._element(data, pos, 8, tag, self._vr_of(tag), length)
        return self._explicit(data, pos, tag, order)

    def _explicit(self, data: memoryview, pos: int, tag: int, order: str) -> int:
        vr = str(data[pos + 4 : pos + 6], "latin-1")
        if vr in SHORT:
            return self._element(data, pos, 8, tag, vr, _HALVES[order](data, pos + 6)[0])
        if len(data) - pos < 12:
            return -1
        if vr in LONG:
            return self._element(data, pos, 12, tag, vr, _WHOLES[order](data, pos + 8)[0])
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            return self._element(data, pos, 8, tag, self._vr_of(tag), _WHOLES[order](data, pos + 4)[0])
        short = _HALVES[order](data, pos + 6)[0]
        if short:
            return self._element(data, pos, 8, tag, "UN", short)
        return self._element(data, pos, 12, tag, "UN", _WHOLES[order](data, pos + 8)[0])

    def _element(self, data: memoryview, pos: int, header: int, tag: int, vr: str, length: int) -> int:
        """An element whose header has `header` bytes."""
        start = pos + header
        if length == _UNDEFINED or vr == "SQ":
            if tag in PIXEL_TAGS and self._edit_up_to(tag):
                self._skips_fragments = True
                return start
            if vr not in ("SQ", "UN") or tag in PIXEL_TAGS:
                raise Unreadable("encapsulated values are not converted without a codec")
            self._begin_sequence(ENDLESS if length == _UNDEFINED else self._at + header + length, tag, vr)
            return start
        if length <= _SMALL and start + length > len(data):
            return -1
        if self._at + header + length > self._levels[-1].end:
            raise Unreadable("an element is longer than the item that holds it")
        edited = self._edit_up_to(tag)
        self._drop = edited or not tag & 0xFFFF
        if not self._drop:
            self._write_header(tag, vr, length)
        level = self._levels[-1]
        word = _WORDS.get(vr, 1) if level.encoding.order != level.target.order else 1
        if length > _SMALL:
            self._left = length
            self._swapper = Swapper(word)
            return start
        value = data[start : start + length]
        if not self._drop:
            self._joined += swap_words(value, word) if word > 1 else value
            self._learn(tag, value)
        return start + length

    def _edit_up_to(self, tag: int) -> bool:
        """Writes the edits that are due before `tag` or instead of it; whether one stands for it."""
        level = self._levels[-1]
        while level.due and level.due[0] <= tag:
            due = level.due.pop(0)
            if (edit := level.edits[due]) is not None:
                self._write_header(due, edit[0], len(edit[1]))
                self._joined += edit[1]
        return tag in level.edits

    def _write_header(self, tag: int, vr: str, length: int) -> None:
        target = self._levels[-1].target
        if not target.explicit:
            self._joined += _NO_VR_HEADER[target.order](tag >> 16, tag & 0xFFFF, length)
        elif vr in SHORT and length <= 0xFFFF:
            self._joined += _SHORT_HEADER[target.order](tag >> 16, tag & 0xFFFF, vr.encode(), length)
        else:
            vr = "UN" if vr in SHORT else vr
            self._joined += _LONG_HEADER[target.order](tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)

    # ----------------------------------------------------------------- levels

    def _begin_sequence(self, end: int, tag: int, vr: str) -> None:
        level = self._levels[-1]
        self._edit_up_to(tag)
        stays = vr == "UN" and not self._published_vrs and not level.encoding.explicit and level.target.explicit
        self._write_header(tag, "UN" if stays else "SQ", _UNDEFINED)
        self._enter(end, is_sequence=True)
        if self._item_edits:
            self._levels[-1].path = (*level.path, tag)
        if stays:
            self._levels[-1].target = IMPLICIT_LE

    def _enter(self, end: int, *, is_sequence: bool, encoding: Encoding | None = None) -> None:
        if len(self._levels) > 2 * self._limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"more than {self._limits.sequence_depth} nested sequences")
        if end != ENDLESS and end > self._levels[-1].end:
            raise Unreadable("an item or sequence is longer than what holds it")
        level = self._levels[-1]
        self._levels.append(_Level(end, encoding or level.encoding, level.target, is_sequence))

    def _close_ended(self) -> None:
        """Ends the levels whose length says so."""
        while len(self._levels) > 1 and self._at >= self._levels[-1].end:
            self._close()

    def _close(self) -> None:
        if not self._levels[-1].is_sequence:
            self._edit_up_to(ENDLESS)
        level = self._levels.pop()
        self._joined += (_END_SEQUENCE if level.is_sequence else _END_ITEM)[level.target.order]

    def _delimiter(self, data: memoryview, pos: int, tag: int, length: int) -> int:
        level = self._levels[-1]
        if tag == _ITEM and level.is_sequence:
            return self._begin_item(data, pos, length)
        if tag == _SEQUENCE_END and not level.is_sequence and len(self._levels) > 2 and level.end == ENDLESS:
            self._close()
            return pos
        if len(self._levels) == 1:
            return pos + 8
        if tag == (_SEQUENCE_END if level.is_sequence else _ITEM_END):
            if level.end not in (ENDLESS, self._at + 8):
                raise Unreadable("a sequence or item ends before its length says")
            self._close()
            return pos + 8
        raise Unreadable("a delimitation item where none may be")

    def _skip_fragment(self, data: memoryview, pos: int) -> int:
        """Passes over one item of an encapsulated value that was replaced, or its end."""
        if len(data) - pos < 8:
            return -1
        group, element, length = _HEADERS["<"](data, pos)
        tag = group << 16 | element
        if tag == _ITEM and length != _UNDEFINED:
            self._left, self._drop = length, True
        elif tag == _SEQUENCE_END:
            self._skips_fragments = False
        else:
            raise Unreadable("encapsulated pixel data hold something that is no fragment")
        return pos + 8

    def _begin_item(self, data: memoryview, pos: int, length: int) -> int:
        """An item; in explicit VR, one whose first element has no VR is in implicit VR (PS3.5 6.2.2, Note 4)."""
        encoding = self._levels[-1].encoding
        if encoding.explicit and length >= 8:
            if len(data) - pos < 16:
                return -1
            letters = bytes(data[pos + 12 : pos + 14])
            ends = _HEADERS[encoding.order](data, pos + 8)[:2] == (0xFFFE, 0xE00D)
            if not ends and not (letters.isalpha() and letters.isupper()):
                encoding = Encoding(False, encoding.order)
        sequence = self._levels[-1]
        self._enter(ENDLESS if length == _UNDEFINED else self._at + 8 + length, is_sequence=False, encoding=encoding)
        if self._item_edits:
            sequence.items += 1
            level = self._levels[-1]
            level.path = (*sequence.path, sequence.items)
            level.edits = self._item_edits.get(level.path, {})
            level.due = sorted(level.edits)
        self._joined += _BEGIN_ITEM[self._levels[-1].target.order]
        return pos + 8

    # -------------------------------------------------------------------- VRs

    def _learn(self, tag: int, value: memoryview) -> None:
        """Remembers values that the VR of others depends on."""
        level = self._levels[-1]
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF < 0x100:
            level.creators[tag] = str(value, "latin-1").strip(" \0")
        elif tag in _NUMBERS and len(value) >= 2:
            level.known[tag] = _HALVES[level.encoding.order](value)[0]

    def _vr_of(self, tag: int) -> str:
        """The VR of an element that does not say it, as `app.dicom.levels.DataSet.vr_of` has it."""
        if not tag & 0x10000:
            return self._settled(standard_vr(tag) or "UN")
        element = tag & 0xFFFF
        if 0x10 <= element < 0x100:
            return "LO"
        if not self._published_vrs:
            return "UN"
        creator = self._levels[-1].creators.get((tag & 0xFFFF0000) | element >> 8, "")
        return self._settled(private_vr(tag, creator)) if creator else "UN"

    def _settled(self, vr: str) -> str:
        if " " not in vr:
            return vr
        level = self._levels[-1]
        if vr == SIGNED_OR_NOT:
            known = [one.known[PIXEL_REPRESENTATION] for one in self._levels if PIXEL_REPRESENTATION in one.known]
            return "SS" if known and known[-1] else "US"
        if vr == "US or OW":
            return "US" if level.known.get(LUT_DESCRIPTOR) == 1 else "OW"
        return "OB" if level.encoding.explicit and level.known.get(WAVEFORM_BITS_ALLOCATED) == 8 else "OW"
